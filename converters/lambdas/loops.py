"""Loops over an iterable, as `for` statements and comprehensions have them: the body is evaluated once, for any item.

What the body changes (local variables, the list that a comprehension fills) is an argument of the body, and what it
becomes at the end of a turn says what it is for the next one. A loop that is left early is refused.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from converters.lambdas.branches import State
from converters.lambdas.code_object import BytecodeError, WrongVersion
from converters.lambdas.expression import (
    Arg,
    Bool,
    Comprehension,
    Cond,
    Const,
    Dict,
    Fold,
    FoldValue,
    List,
    Node,
    Set,
    Starred,
    Target,
    Tuple,
    UnaryOp,
    names_of,
    walk,
)
from converters.lambdas.lists import appended, reaches
from converters.lambdas.opcodes import Instruction

if TYPE_CHECKING:
    from converters.lambdas.machine import Machine

__all__ = ["EXHAUSTED", "REFUSAL", "YIELDED", "Iter", "Loop", "Parts", "begin", "pair"]

REFUSAL: Final = "it uses a loop or a comprehension"
YIELDED: Final = ".yielded"  # stands for a variable: the list of what a generator gives
EXHAUSTED: Final = object()


@dataclasses.dataclass(frozen=True)
class Iter:
    """An iterator on the stack."""

    of: Node


@dataclasses.dataclass(frozen=True)
class Parts:
    """An item on the stack that is unpacked next."""

    target: tuple[Target, ...]
    scope: int


@dataclasses.dataclass
class Loop:
    """A loop whose body is being evaluated. start, end: offsets. places: of what it changes, on the stack by depth or
    among the variables by name, each with its argument and its value before.
    """

    start: int
    end: int
    scope: int
    target: Target
    iterable: Node
    before: State
    places: dict[int | str, tuple[Arg, Node]]
    stored: set[str]
    lists: set[Arg]

    def close(self, machine: Machine) -> State:
        """The state after the loop, without its iterator."""
        ends = machine.pending.pop(self.start, [])
        if machine.state is not None or not ends:
            raise BytecodeError(REFUSAL)
        end = machine.decisions.meet(ends)
        if len(end.stack) != len(self.before.stack) or end.stack[-1] is not self.before.stack[-1]:
            raise BytecodeError(REFUSAL)
        if self.stored & machine.captured:
            raise BytecodeError("it holds a function that uses a variable of a loop around it")
        after: dict[int | str, Node] = {}
        for place, (arg, _) in self.places.items():
            value = end.stack[place] if isinstance(place, int) else end.variables.get(place)
            if not isinstance(value, Node):
                raise BytecodeError(REFUSAL)
            if value is not arg:
                after[place] = value
        made = self._values(machine, after)
        self._check_lists(after, made)
        for place in range(len(end.stack) - 1):
            if place not in self.places and end.stack[place] is not self.before.stack[place]:
                raise BytecodeError(REFUSAL)
        state = State(self.before.stack[:-1], dict(self.before.variables), self.before.paths)
        for place, value in made.items():
            if isinstance(place, int):
                state.stack[place] = value
            else:
                state.variables[place] = value
        return state

    def _check_lists(self, after: dict[int | str, Node], made: dict[int | str, Node]) -> None:
        """What holds a list that changes must not be there before the loop or after a turn."""
        for place in made:
            arg, before = self.places[place]
            if arg not in self.lists:
                continue
            others = [value for name, value in self.before.variables.items() if name != place]
            others += [value for at, value in enumerate(self.before.stack) if at != place and isinstance(value, Node)]
            others += [value.of for value in self.before.stack if isinstance(value, Iter)]
            later = [value for name, value in after.items() if name != place]
            if reaches(others, before) or reaches(later, arg) or reaches(later, after[place]):
                raise BytecodeError("it uses a change of an object in place")

    def _values(self, machine: Machine, after: dict[int | str, Node]) -> dict[int | str, Node]:
        budget = machine.shared.budget
        outside = {id(value) for value in self.before.variables.values()}
        outside |= {id(value) for value in self.before.stack}
        bodies = {place: walk(value) for place, value in after.items()}
        budget.spend(sum(map(len, bodies.values())) // 4)
        known = {arg for arg, _ in self.places.values()}
        made: dict[int | str, Node] = {}
        left: dict[int | str, Node] = {}
        for place, value in after.items():
            arg, before = self.places[place]
            parts = _parts(value, arg) if arg in self.lists else None
            inside = walk(*parts) if parts else []
            if parts and not any(isinstance(node, Arg) and node in known for node in inside):
                outer = tuple(node for node in inside if id(node) in outside)
                kind = {Set: "set", Dict: "dict"}.get(type(before), "list")
                # `element for ... for ...`: the inner loop is the element of the outer one.
                whole = Comprehension(kind, parts[0], self.target, self.iterable, parts[1:], self.scope, outer)
                made[place] = whole if before == List(()) or kind != "list" else appended(before, Starred(whole))
            else:
                left[place] = value
        if not left:
            return made
        used = {node for place in left for node in bodies[place] if isinstance(node, Arg)}
        if any(isinstance(self.places[place][1], Set | Dict) for place in left):
            raise BytecodeError(REFUSAL)
        # A variable that the comprehensions above fill, and the rest of the body reads, is carried as well.
        places = [place for place in self.places if place in left or self.places[place][0] in used]
        carried = tuple((*self.places[place], after.get(place, self.places[place][0])) for place in places)
        outer = tuple(node for node in walk(*(each for _, _, each in carried)) if id(node) in outside)
        fold = Fold(carried, self.target, self.iterable, self.scope, outer)
        for index, place in enumerate(places):
            if place in after:
                made[place] = FoldValue(fold, index)
        return made


def _parts(value: Node, of: Arg) -> tuple[Node, ...] | None:
    """What a turn appends to the list, and the condition for it."""
    if isinstance(value, List) and len(value.items) == 2 and value.items[0] == Starred(of):
        return (value.items[1],)
    if not isinstance(value, Cond):
        return None
    if value.no is of or value.yes is of:
        parts = _parts(value.yes if value.no is of else value.no, of)
        test = value.test if value.no is of else UnaryOp("not", value.test)
        if parts is None:
            return None
        return (parts[0], Bool("and", test, parts[1]) if parts[1:] else test)
    yes, no = _parts(value.yes, of), _parts(value.no, of)
    if yes is None or no is None or len(yes) > 1 or len(no) > 1 or isinstance(yes[0], Starred):
        return None
    return None if isinstance(no[0], Starred) else (Cond(value.test, yes[0], no[0]),)


def begin(machine: Machine, this: Instruction) -> None:
    """FOR_ITER: from here on the state is that within the body."""
    state = machine.state
    assert state is not None
    assert this.target is not None
    if this.target <= this.next or not state.stack or not isinstance(state.stack[-1], Iter):
        raise BytecodeError(REFUSAL)
    if machine.loops and this.target > machine.loops[-1].end:
        raise BytecodeError(REFUSAL)
    body = [each for each in machine.listing[machine.place + 1 :] if each.offset < this.target]
    machine.shared.budget.spend(len(body) // 2 + len(state.stack) + len(state.variables))
    stored, filled = _changed(machine, body)
    scope = machine.shared.budget.scope()
    target = _target(machine, body)
    loop = Loop(this.offset, this.target, scope, target, state.stack[-1].of, state, {}, stored, set())
    taken = set(names_of(target))
    variables, stack = dict(state.variables), list(state.stack)
    displays = any(each.name in ("LIST_APPEND", "SET_ADD", "MAP_ADD") for each in body)
    for place, value in enumerate(stack[:-1]):
        empty = isinstance(value, Set | Dict) and not value.items
        if displays and isinstance(value, Node) and (empty or machine.is_list(value)):
            stack[place] = _carry(machine, loop, place, value, taken)
    for name, value in state.variables.items():
        if name in stored or name in filled:
            variables[name] = _carry(machine, loop, name, value, taken)
    item: object = Arg(target, scope) if isinstance(target, str) else Parts(target, scope)
    machine.state = State([*stack, item], variables)
    machine.loops.append(loop)


def _carry(machine: Machine, loop: Loop, place: int | str, value: Node, taken: set[str]) -> Arg:
    name = place.lstrip(".") if isinstance(place, str) else "items"
    while name in taken:
        name += "_"
    taken.add(name)
    arg = Arg(name, loop.scope)
    loop.places[place] = (arg, value)
    if isinstance(value, Set | Dict) or machine.is_list(value):
        loop.lists.add(arg)
    return arg


def _changed(machine: Machine, body: Sequence[Instruction]) -> tuple[set[str], set[str]]:
    """The variables that the body assigns, and those it may append to."""
    stored: set[str] = set()
    filled: set[str] = set()
    slots, derefs, names = machine.code.slots, machine.code.derefs, machine.code.names
    last = ""
    for each in body:
        loaded = ""
        match each.name:
            case "STORE_FAST" | "DELETE_FAST" | "LOAD_FAST_AND_CLEAR":
                stored.add(slots[each.arg])
            case "STORE_FAST_STORE_FAST":
                stored |= {slots[each.arg >> 4], slots[each.arg & 15]}
            case "STORE_FAST_LOAD_FAST":
                stored.add(slots[each.arg >> 4])
                loaded = slots[each.arg & 15]
            case "STORE_DEREF" | "DELETE_DEREF":
                stored.add(derefs[each.arg])
            case "YIELD_VALUE":
                filled.add(YIELDED)
            case "LOAD_FAST" | "LOAD_FAST_BORROW" | "LOAD_FAST_CHECK":
                loaded = slots[each.arg]
            case "LOAD_FAST_LOAD_FAST" | "LOAD_FAST_BORROW_LOAD_FAST_BORROW":
                loaded = slots[each.arg & 15]
            case "LOAD_ATTR" | "LOAD_METHOD" if last:
                if names[each.arg >> (machine.version >= (3, 12))] == "append":
                    filled.add(last)
        last = loaded
    return stored, filled


def _target(machine: Machine, body: Sequence[Instruction]) -> Target:
    """The names that an item is stored in."""
    stream: list[str | int] = []
    for each in body:
        match each.name:
            case "UNPACK_SEQUENCE":
                stream.append(each.arg)
            case "STORE_FAST":
                stream.append(machine.code.slots[each.arg])
            case "STORE_DEREF":
                stream.append(machine.code.derefs[each.arg])
            case "STORE_FAST_STORE_FAST":
                stream += [machine.code.slots[each.arg >> 4], machine.code.slots[each.arg & 15]]
            case "STORE_FAST_LOAD_FAST":
                stream.append(machine.code.slots[each.arg >> 4])
                break
            case "MAKE_CELL" | "NOP":
                continue
            case _:
                break
    return _read(stream, 0, 0)[0]


def _read(stream: Sequence[str | int], at: int, depth: int) -> tuple[Target, int]:
    if at >= len(stream) or depth > 8:
        return "item", at
    head = stream[at]
    if isinstance(head, str):
        return head, at + 1
    parts: list[Target] = []
    at += 1
    for _ in range(head):
        if at >= len(stream):
            raise WrongVersion("it takes an item of a loop apart and does not store it")
        part, at = _read(stream, at, depth + 1)
        parts.append(part)
    return tuple(parts), at


def pair(key: Node, value: Node) -> Node:
    both = (key, value)
    consts = tuple(each.value for each in both if isinstance(each, Const))
    return Const(consts) if len(consts) == 2 else Tuple(both)
