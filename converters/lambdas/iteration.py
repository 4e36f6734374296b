"""What the instructions of loops, comprehensions, generators and raise statements do on a stack of expressions.

The third part of `instructions`, registered the same way.
"""

from __future__ import annotations

from converters.lambdas import loops
from converters.lambdas.code_object import BytecodeError, WrongVersion
from converters.lambdas.expression import Attr, Call, Const, Name, Node, Raise, walk
from converters.lambdas.lists import appended
from converters.lambdas.loops import EXHAUSTED, YIELDED, Iter
from converters.lambdas.machine import UNBOUND, Machine, on
from converters.lambdas.opcodes import Instruction

_LAZY = frozenset(["zip", "map", "enumerate", "reversed", "filter", "iter"])  # empty the second time, in Python 3
_UNORDERED = frozenset(["keys", "values", "items", "iterkeys", "itervalues", "iteritems"])


@on("GET_ITER")
def _get_iter(machine: Machine, this: Instruction) -> None:
    if machine.stack and isinstance(machine.stack[-1], Iter):
        return
    of = machine.pop()
    inside = walk(of)
    machine.shared.budget.spend(len(inside) // 4)
    lazy = {id(node) for node in inside if isinstance(node, Call) and _name(node) in _LAZY}
    if lazy and machine.version >= (3, 0):
        held = walk(*machine.variables.values())
        machine.shared.budget.spend(len(held) // 4)
        if any(id(node) in lazy for node in held):
            raise BytecodeError("it goes through an iterator that is kept in a variable, which works only once")
    method = of.function if isinstance(of, Call) else None
    if machine.version < (3, 6) and isinstance(method, Attr) and method.name in _UNORDERED:
        raise BytecodeError("it goes through a dict, which has no order in the Python that wrote it")
    machine.push(Iter(of))


def _name(node: Call) -> str:
    return node.function.name if isinstance(node.function, Name) else ""


@on("FOR_ITER")
def _for_iter(machine: Machine, this: Instruction) -> None:
    loops.begin(machine, this)


@on("END_FOR")
def _end_for(machine: Machine, this: Instruction) -> None:
    if machine.pop_any() is not EXHAUSTED:
        raise WrongVersion("it ends a loop where there is none")
    if machine.version < (3, 13):
        _pop_iter(machine, this)


@on("POP_ITER")
def _pop_iter(machine: Machine, this: Instruction) -> None:
    if not isinstance(machine.pop_any(), Iter):
        raise WrongVersion("it ends a loop where there is none")


@on("SETUP_LOOP", "POP_BLOCK", "GEN_START")
def _block(machine: Machine, this: Instruction) -> None:
    """Only leaving a loop early would use the block."""
    if this.name == "GEN_START" and not machine.generator:
        raise WrongVersion("it starts a generator that is none")


@on("JUMP_BACKWARD")
def _jump_backward(machine: Machine, this: Instruction) -> None:
    assert machine.state is not None
    assert this.target is not None
    machine.send(this.target, machine.state)
    machine.leave()


@on("LOAD_FAST_AND_CLEAR")
def _load_and_clear(machine: Machine, this: Instruction) -> None:
    machine.push(machine.variables.pop(machine.code.slots[this.arg], UNBOUND))


@on("RETURN_GENERATOR")
def _return_generator(machine: Machine, this: Instruction) -> None:
    if not machine.generator:
        raise BytecodeError("it is a generator or coroutine, or holds a generator expression")
    machine.push(Const(None))


@on("YIELD_VALUE")
def _yield(machine: Machine, this: Instruction) -> None:
    if not machine.generator or not machine.loops:
        raise BytecodeError("it uses a yield or await")
    machine.variables[YIELDED] = appended(machine.variables[YIELDED], machine.pop())
    machine.push(Const(None))


@on("LOAD_ASSERTION_ERROR")
def _assertion_error(machine: Machine, this: Instruction) -> None:
    machine.push(Name("AssertionError"))


@on("LOAD_COMMON_CONSTANT")
def _common_constant(machine: Machine, this: Instruction) -> None:
    if this.arg > 1:
        raise BytecodeError("it uses a call of all, any or tuple that Python 3.14 has changed")
    machine.push(Name("NotImplementedError" if this.arg else "AssertionError"))


@on("RAISE_VARARGS")
def _raise(machine: Machine, this: Instruction) -> None:
    if not 0 < this.arg <= (2 if machine.version < (3, 0) else 1) or machine.loops:
        raise BytecodeError("it uses a raise or assert statement")
    parts: list[Node] = machine.pop_many(this.arg)
    machine.give(Raise(parts[0] if len(parts) == 1 else Call(parts[0], (parts[1],))))
