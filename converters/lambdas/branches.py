"""Conditionals in straight-line bytecode: states that part at a jump and meet again become one, with `Cond` values.

As only forward jumps are evaluated, taking instructions in their order visits every state before the place where it
meets others. A state knows the decisions that lead to it; where states meet, each value that differs between them
becomes a tree of those decisions.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from converters.lambdas.code_object import BytecodeError, BytecodeLimits, WrongVersion
from converters.lambdas.expression import Bool, Cond, Node, UnaryOp

Path = tuple[tuple[int, bool], ...]  # (offset of the jump, whether its test held), in the order of execution


@dataclasses.dataclass
class State:
    """What the code has at one place: its stack, its variables, and the ways that lead there."""

    stack: list[object]
    variables: dict[str, Node]
    paths: tuple[Path, ...] = ((),)


class Budget:
    """Counts what one evaluation, nested functions included, has spent of its limits."""

    def __init__(self, limits: BytecodeLimits) -> None:
        self.limits = limits
        self.steps = 0
        self.scopes = 0

    def spend(self, steps: int) -> None:
        self.steps += steps
        if self.steps > self.limits.steps:
            raise BytecodeError(f"its code takes more than {self.limits.steps} steps")

    def scope(self) -> int:
        self.scopes += 1
        return self.scopes - 1


class Decisions:
    """The tests of one function's jumps, and the values that depend on them."""

    def __init__(self, budget: Budget) -> None:
        self.budget = budget
        self.tests: dict[int, Node] = {}
        self.known: dict[tuple[int, int, int], Node] = {}
        self.simple: dict[int, tuple[Node, Node]] = {}  # id of a node: itself, its simplest form

    def part(self, state: State, offset: int, test: Node) -> tuple[State, State]:
        """The states after a jump: where `test` holds, and where it does not."""
        self.tests[offset] = test
        if any(len(path) >= self.budget.limits.levels for path in state.paths):
            raise BytecodeError(f"its conditions are nested deeper than {self.budget.limits.levels} levels")
        self.budget.spend(len(state.stack) + len(state.variables) // 4 + len(state.paths))
        yes, no = (
            State([*state.stack], dict(state.variables), tuple((*path, (offset, holds)) for path in state.paths))
            for holds in (True, False)
        )
        return yes, no

    def meet(self, states: Sequence[State]) -> State:
        """One state for several that arrive at the same place."""
        if len(states) == 1:
            return states[0]
        first = states[0]
        if any(len(state.stack) != len(first.stack) for state in states):
            raise WrongVersion("its branches leave stacks of different depths")
        self.budget.spend(len(states) * (len(first.stack) + len(first.variables) // 4))
        names = [name for name in first.variables if all(name in state.variables for state in states)]
        stack = [
            self.choose([(state.paths, state.stack[place]) for state in states]) for place in range(len(first.stack))
        ]
        variables = {name: self.choose([(state.paths, state.variables[name]) for state in states]) for name in names}
        paths = _shorten([path for state in states for path in state.paths])
        if len(paths) > self.budget.limits.paths:
            raise BytecodeError(f"its branches are open in more than {self.budget.limits.paths} ways at once")
        return State(stack, variables, paths)  # type: ignore[arg-type]

    def choose(self, values: Sequence[tuple[tuple[Path, ...], object]]) -> object:
        """The value that stands where several meet, each given with the paths that lead to it."""
        first = values[0][1]
        if all(value is first for _, value in values):
            return first
        entries = []
        for paths, value in values:
            if not isinstance(value, Node):
                raise WrongVersion("its branches leave something other than values")
            entries += [(path, value) for path in paths]
        self.budget.spend(len(entries))
        return self.simplest(self._tree(entries))

    def _tree(self, entries: list[tuple[Path, Node]]) -> Node:
        first = entries[0][1]
        if all(value is first for _, value in entries):
            return first
        if not all(path for path, _ in entries):
            raise BytecodeError("its branches are entangled")
        offset = entries[0][0][0][0]
        yes = [(path[1:], value) for path, value in entries if path[0] == (offset, True)]
        no = [(path[1:], value) for path, value in entries if path[0] == (offset, False)]
        if len(yes) + len(no) != len(entries):
            raise BytecodeError("its branches are entangled")
        if not yes or not no:  # the other way does not lead here
            return self._tree(yes or no)
        return self._cond(self.tests[offset], self._tree(yes), self._tree(no))

    def _cond(self, test: Node, yes: Node, no: Node) -> Node:
        """One node for one choice, so that the same choice is seen to be the same."""
        if yes is no:
            return yes
        key = (id(test), id(yes), id(no))
        if key not in self.known:
            self.known[key] = Cond(test, yes, no)  # which keeps the three, and so their ids, alive
        return self.known[key]

    def simplest(self, node: Node) -> Node:
        """A choice with `and`, `or` and `not` back in it, which are jumps as well: what they decide tells them."""
        if id(node) in self.simple:
            return self.simple[id(node)][1]
        found = node
        while isinstance(found, Cond):
            joined = _joined(found)
            if joined is None:
                yes, no = self.simplest(found.yes), self.simplest(found.no)
                if yes is found.yes and no is found.no:
                    break
                joined = Cond(found.test, yes, no)
            found = joined
        if isinstance(found, Bool):
            right = self.simplest(found.right)
            found = found if right is found.right else Bool(found.op, found.left, right)
        self.simple[id(node)] = (node, found)
        self.simple[id(found)] = (found, found)
        return found


def _joined(node: Cond) -> Node | None:
    test, yes, no = node.test, node.yes, node.no
    last = test.right if isinstance(test, Bool) else None
    if yes is test or (yes is last and isinstance(test, Bool) and test.op == "and"):
        return Bool("or", test, no)
    if no is test or (no is last and isinstance(test, Bool) and test.op == "or"):
        return Bool("and", test, yes)
    if isinstance(no, Cond) and no.yes is yes:
        return Cond(Bool("or", test, no.test), yes, no.no)
    if isinstance(yes, Cond) and yes.no is no:
        return Cond(Bool("and", test, yes.test), yes.yes, no)
    if isinstance(no, Cond) and no.no is yes:
        return Cond(Bool("and", UnaryOp("not", test), no.test), no.yes, yes)
    if isinstance(yes, Cond) and yes.yes is no:
        return Cond(Bool("and", test, UnaryOp("not", yes.test)), yes.no, no)
    return None


def _shorten(paths: Sequence[Path]) -> tuple[Path, ...]:
    """Two ways that differ in their last decision only are one way without it."""
    left = dict.fromkeys(paths)
    for path in sorted(left, key=len, reverse=True):
        while path and path in left and (*path[:-1], (path[-1][0], not path[-1][1])) in left:
            del left[path], left[(*path[:-1], (path[-1][0], not path[-1][1]))]
            path = path[:-1]
            left[path] = None
    return tuple(left)
