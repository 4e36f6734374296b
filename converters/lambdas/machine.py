"""CPython's stack machine, run on expressions; what has no handler in `instructions` is refused by its meaning."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Sequence
from typing import Final

from converters.lambdas import loops
from converters.lambdas.branches import Budget, Decisions, Path, State
from converters.lambdas.code_object import BytecodeError, Code, ConstantSlice, WrongVersion, is_name
from converters.lambdas.expression import (
    Arg,
    Call,
    Const,
    Constant,
    Dict,
    Free,
    Lambda,
    List,
    Node,
    Raise,
    Slice,
    Starred,
    Tuple,
)
from converters.lambdas.handlers import only_raise
from converters.lambdas.limits import show
from converters.lambdas.lists import is_list
from converters.lambdas.loops import Iter, Loop
from converters.lambdas.opcodes import Instruction, Version, disassemble

__all__ = ["HANDLERS", "NULL", "UNBOUND", "Cell", "Cells", "Function", "Machine", "evaluate", "is_comprehension"]

_LOOP: Final = loops.REFUSAL.removeprefix("it uses ")
_REFUSED: Final = {  # what instructions that begin so stand for in the source
    _LOOP: "FOR_ITER JUMP_BACKWARD BREAK_ CONTINUE",
    "a change of an object in place": "STORE_SUBSCR STORE_SLICE STORE_ATTR DELETE_SUBSCR DELETE_SLICE DELETE_ATTR",
    "an f-string with a conversion or a format": "FORMAT_ CONVERT_VALUE",
    "a template string": "BUILD_TEMPLATE BUILD_INTERPOLATION",
    "a with statement": "SETUP_WITH BEFORE_WITH WITH_ LOAD_SPECIAL",
    "a try statement": "SETUP_FINALLY SETUP_EXCEPT POP_EXCEPT PUSH_EXC CHECK_E",
    "an import of all names": "IMPORT_STAR",
    "an assignment to a global variable": "STORE_GLOBAL DELETE_GLOBAL STORE_NAME DELETE_NAME",
    "a raise or assert statement": "RERAISE",
    "a yield or await": "YIELD GET_YIELD GET_A SEND RETURN_GENERATOR END_ASYNC",
    "a match statement": "MATCH_ GET_LEN",
    "a class": "LOAD_BUILD_CLASS BUILD_CLASS LOAD_SUPER LOAD_CLASSDEREF",
    "a print or exec statement": "PRINT_ EXEC_",
    "a starred assignment": "UNPACK_EX",
}
_NOTHING: Final = ("NOP", "RESUME", "MAKE_CELL", "PRECALL", "NOT_TAKEN", "TO_BOOL")
_FUNCTION_FLAGS: Final = 0x03  # optimised, with locals of its own: what every function and no class or module has
_GENERATOR_FLAGS: Final = 0x2A0

NULL: Final = object()  # what CPython puts beside a callable that is no method
UNBOUND: Final = object()  # what a variable without a value is saved as
_COMPREHENSIONS: Final = ("<listcomp>", "<setcomp>", "<dictcomp>", "<genexpr>")


@dataclasses.dataclass(frozen=True)
class Cell:
    name: str


@dataclasses.dataclass(frozen=True)
class Cells:
    names: tuple[str, ...]


@dataclasses.dataclass
class Function:
    """A function that is being made; 3.13 adds its parts one after another."""

    code: Code
    defaults: Node | None = None
    keyword_defaults: Node | None = None
    closure: tuple[Node, ...] = ()


class Evaluation:
    """What the evaluation of one stored function shares with that of the functions nested in it."""

    def __init__(self, version: Version, budget: Budget) -> None:
        self.version, self.budget = version, budget
        self.calls: list[Call] = []


def evaluate(code: Code, version: Version, budget: Budget) -> tuple[Lambda, list[Call]]:
    """The function as one expression, and every call in its code, whether or not the expression needs it.

    Raises:
        WrongVersion: if CPython `version` did not write this code.
        BytecodeError: if it does something that an expression cannot say.
    """
    shared = Evaluation(version, budget)
    function = _lambda(Function(code), shared, tuple(map(Free, code.freevars)))
    return function, shared.calls


def is_comprehension(code: Code) -> bool:
    """Whether it is the code of a comprehension, a function of its own that is called at once."""
    return code.name in _COMPREHENSIONS and code.varnames[:1] == (".0",) and code.argcount + code.kwonly == 1


def _lambda(function: Function, shared: Evaluation, closure: tuple[Node, ...]) -> Lambda:
    code = function.code
    if len(closure) != len(code.freevars):
        raise WrongVersion("a nested function has another number of closure variables")
    if code.flags & _GENERATOR_FLAGS:
        raise BytecodeError("it is a generator or coroutine, or holds a generator expression")
    if is_comprehension(code):
        raise BytecodeError(loops.REFUSAL)
    if code.flags & _FUNCTION_FLAGS != _FUNCTION_FLAGS:
        raise BytecodeError("it is a class or module, not a function")
    names, count = list(code.varnames), code.argcount + code.kwonly
    stars = names[count:]
    scope = shared.budget.scope()
    arguments = names[: count + code.varargs + code.varkeywords]
    shown = {name: _argument(name, names) for name in arguments}
    variables: dict[str, Node] = {name: Arg(shown[name], scope) for name in arguments}
    variables.update(zip(code.freevars, closure, strict=True))
    machine = Machine(code, shared, variables)
    body = machine.run()
    return Lambda(
        positional=tuple(shown[name] for name in names[: code.argcount]),
        body=body,
        keyword=tuple(shown[name] for name in names[code.argcount : count]),
        varargs=stars.pop(0) if code.varargs else None,
        varkeywords=stars.pop(0) if code.varkeywords else None,
        posonly=code.posonly,
        defaults=machine.items(function.defaults) if function.defaults else (),
        keyword_defaults=machine.kwargs(function.keyword_defaults) if function.keyword_defaults else (),
        scope=scope,
    )


def _argument(name: str, names: Sequence[str]) -> str:
    """An argument that Python 2 was given as a tuple has no name of its own: `.0`."""
    if name.startswith("."):
        name = f"arg{name[1:]}"
        while name in names:
            name += "_"
    return name


def _items(node: Node) -> tuple[Node, ...]:
    if isinstance(node, Const) and isinstance(node.value, tuple):
        return tuple(map(Const, node.value))
    if isinstance(node, Const) and isinstance(node.value, frozenset):
        return tuple(map(Const, sorted(node.value, key=repr)))
    if isinstance(node, Tuple | List):
        return node.items
    return (Starred(node),)


def keyword_of(node: object) -> str:
    name = node.value if isinstance(node, Const) else node
    if not isinstance(name, str) or not is_name(name):
        raise BytecodeError(f"it passes a keyword that is no name ({show(name)})")
    return name


Handler = Callable[["Machine", Instruction], None]
HANDLERS: Final[dict[str, Handler]] = {}


def on(*names: str) -> Callable[[Handler], Handler]:
    """Registers what the instructions of these names do."""

    def register(handler: Handler) -> Handler:
        HANDLERS.update(dict.fromkeys(names, handler))
        return handler

    return register


class Machine:
    """One function's evaluation."""

    def __init__(
        self, code: Code, shared: Evaluation, variables: dict[str, Node], iterator: Iter | None = None
    ) -> None:
        """iterator: what a comprehension's function is called with."""
        self.iterator, self.generator = iterator, iterator is not None and bool(code.flags & _GENERATOR_FLAGS)
        self.loops: list[Loop] = []
        self.listing: tuple[Instruction, ...] = ()
        self.place = 0
        if self.generator:
            variables[loops.YIELDED] = List(())
        self.code, self.shared, self.version = code, shared, shared.version
        self.decisions = Decisions(shared.budget)
        self.state: State | None = State([], variables)
        self.pending: dict[int, list[State]] = {}
        self.returned: list[tuple[tuple[Path, ...], object]] = []
        self.captured: set[str] = set()
        self.keywords: tuple[str, ...] = ()
        self.consts: dict[int, object] = {}

    def run(self) -> Node:
        """The value that the function returns."""
        budget = self.shared.budget
        budget.spend(len(self.code.bytecode) // 2)
        self.listing = disassemble(self.code, self.version)
        resumed = sum(each.name == "RESUME" for each in self.listing)
        if self.version >= (3, 11) and (resumed < 1 if self.generator else resumed != 1):
            raise WrongVersion("it does not begin as this version's functions do")
        for place, instruction in enumerate(self.listing):
            self.place = place
            while self.loops and instruction.offset >= self.loops[-1].end:
                self.end_loop()
            arriving = self.pending.pop(instruction.offset, [])
            arriving += [self.state] if self.state else []
            if not arriving:  # old compilers leave code behind that is never reached
                continue
            self.state = self.decisions.meet(arriving)
            budget.spend(1)
            self.step(instruction)
            if self.state and len(self.state.stack) > self.code.stacksize:
                raise WrongVersion("it needs a larger stack than it declares")
        if self.state or not self.returned or self.loops:
            raise WrongVersion("it runs past its end")
        if all(isinstance(value, Raise) for _, value in self.returned):
            raise BytecodeError("it uses a raise or assert statement")
        value = self.decisions.choose(self.returned)
        assert isinstance(value, Node)
        if self.code.handlers and not only_raise(self.code.handlers, self.listing):
            raise BytecodeError("it uses a try or with statement")
        return value

    def step(self, instruction: Instruction) -> None:
        name = instruction.name
        if instruction.target is not None and name != "FOR_ITER" and name != "SETUP_LOOP":
            self.check_jump(instruction.offset, instruction.target)
        handler = HANDLERS.get(name)
        if handler is not None:
            handler(self, instruction)
        elif name not in _NOTHING:
            known = (what for what, starts in _REFUSED.items() if name.startswith(tuple(starts.split())))
            what = next(known, f"the instruction {name}")
            raise BytecodeError(f"it uses {what}")

    # The stack

    @property
    def stack(self) -> list[object]:
        assert self.state is not None
        return self.state.stack

    @property
    def variables(self) -> dict[str, Node]:
        assert self.state is not None
        return self.state.variables

    def push(self, *items: object) -> None:
        self.stack.extend(items)

    def pop_any(self) -> object:
        if not self.stack:
            raise WrongVersion("it takes from an empty stack")
        return self.stack.pop()

    def pop(self) -> Node:
        item = self.pop_any()
        if isinstance(item, Function):
            return self.finish(item)
        if isinstance(item, Iter | loops.Parts):
            raise BytecodeError(loops.REFUSAL)
        if not isinstance(item, Node):
            raise WrongVersion("it takes something that is no value from the stack")
        return item

    def pop_many(self, count: int) -> list[Node]:
        if count > len(self.stack):
            raise WrongVersion("it takes from an empty stack")
        return [self.pop() for _ in range(count)][::-1]

    # Constants, variables, functions

    def const(self, index: int) -> object:
        if index not in self.consts:
            value = self.code.consts[index]
            self.consts[index] = value if isinstance(value, Code) else self.converted(value)
        return self.consts[index]

    def converted(self, value: object) -> Node:
        self.shared.budget.spend(1)
        if isinstance(value, ConstantSlice):
            parts = [self.converted(part) for part in (value.start, value.stop, value.step)]
            return Slice(*(None if part == Const(None) else part for part in parts))
        if isinstance(value, tuple):
            return self.make_tuple([self.converted(item) for item in value])
        if isinstance(value, Code):
            raise BytecodeError("it keeps a function inside a constant")
        return Const(value)  # type: ignore[arg-type]

    def make_tuple(self, items: Sequence[Node]) -> Node:
        if not all(isinstance(item, Const) for item in items):
            return Tuple(tuple(items))
        value = tuple(item.value for item in items if isinstance(item, Const))
        weight, depth = _extent(value)
        self.shared.budget.spend(weight // 8)
        if depth > self.shared.budget.limits.depth:
            raise BytecodeError(f"it nests tuples deeper than {self.shared.budget.limits.depth} levels")
        return Const(value)

    def items(self, node: Node) -> tuple[Node, ...]:
        """The items of something iterated over, one by one where they are written out."""
        items = _items(node)
        self.shared.budget.spend(len(items) // 4)
        return items

    def kwargs(self, node: Node) -> tuple[tuple[str, Node], ...]:
        """The keywords that `**` passes, which must be written out."""
        if not isinstance(node, Dict):
            raise BytecodeError("it passes keywords (**) that are not written out")
        self.shared.budget.spend(len(node.items) // 4)
        return tuple((keyword_of(key), value) for key, value in node.items)

    def load(self, name: str) -> Node:
        if name not in self.variables:
            raise BytecodeError(f"it uses the variable {show(name)} where it may have no value")
        return self.variables[name]

    def comprehend(self, function: Function, iterator: Iter) -> Node:
        """What a comprehension's function gives for what it iterates over."""
        code = function.code
        if not is_comprehension(code) or len(function.closure) != len(code.freevars) or code.flags & 0x28C:
            raise BytecodeError(loops.REFUSAL)
        machine = Machine(code, self.shared, dict(zip(code.freevars, function.closure, strict=True)), iterator)
        return machine.run()

    def finish(self, function: Function) -> Lambda:
        return _lambda(function, self.shared, function.closure)

    def close(self, cells: object, code: Code) -> tuple[Node, ...]:
        """The values of a new function's closure variables, which must not change from here on if it is kept."""
        if cells == Const(()):
            return ()
        if not isinstance(cells, Cells):
            raise WrongVersion("it makes a function with a closure that is none")
        if not is_comprehension(code):
            self.captured.update(cells.names)
        return tuple(self.load(name) for name in cells.names)

    def is_list(self, node: Node) -> bool:
        """Whether it is a list of the function's own."""
        return is_list(node, lambda each: isinstance(each, Arg) and any(each in loop.lists for loop in self.loops))

    # Branches

    def end_loop(self) -> None:
        """The state becomes that after the innermost loop."""
        loop = self.loops[-1]
        state = loop.close(self)
        self.loops.pop()
        if self.version >= (3, 12):  # what remains is for END_FOR to take
            state.stack += [loop.before.stack[-1], loops.EXHAUSTED]
        self.state = state

    def check_jump(self, offset: int, target: int) -> None:
        """Back is only to the next turn of the innermost loop, and a loop is not left in its midst."""
        loop = self.loops[-1] if self.loops else None
        if target <= offset if loop is None else target != loop.start and not offset < target < loop.end:
            raise BytecodeError(loops.REFUSAL)

    def leave(self) -> None:
        self.state = None

    def send(self, target: int, state: State) -> None:
        self.pending.setdefault(target, []).append(state)

    def jump_if(self, instruction: Instruction, test: Node, holds: bool, kept: Sequence[Node] = ()) -> None:
        """Jumps if the truth of `test` is `holds`; `kept` is on the stack where it jumps only."""
        assert self.state is not None
        assert instruction.target is not None
        yes, no = self.decisions.part(self.state, instruction.offset, test)
        jumping, self.state = (yes, no) if holds else (no, yes)
        jumping.stack.extend(kept)
        self.send(instruction.target, jumping)

    def give(self, value: Node) -> None:
        assert self.state is not None
        if self.loops:
            raise BytecodeError(loops.REFUSAL)
        if self.generator:
            value = self.variables[loops.YIELDED]
        if self.state.stack and not isinstance(value, Raise):
            raise WrongVersion("it returns with more than a value on the stack")
        self.returned.append((self.state.paths, value))
        self.leave()


def _extent(value: Constant) -> tuple[int, int]:
    if not isinstance(value, tuple):
        return 1, 0
    below = [_extent(item) for item in value]
    return 1 + sum(weight for weight, _ in below), 1 + max((depth for _, depth in below), default=0)
