"""`out.append(item)` and `out += [item]`, of a list that one local variable holds and nothing else."""

from __future__ import annotations

from collections.abc import Sequence

from converters.lambdas.code_object import BytecodeError
from converters.lambdas.expression import Const, List, Node, Starred, Tuple, walk
from converters.lambdas.lists import appended, reaches
from converters.lambdas.loops import Iter
from converters.lambdas.machine import Machine

__all__ = ["extended", "filled"]


def filled(machine: Machine, of: Node, items: Sequence[Node]) -> Node:
    """The list with more items, which its variable holds from now on.

    Raises:
        BytecodeError: something else may hold the list as well, and would change with it.
    """
    held = [name for name, value in machine.variables.items() if value is of]
    others: list[Node] = [value for name, value in machine.variables.items() if name not in held]
    for each in machine.stack:
        others += [each] if isinstance(each, Node) else [each.of] if isinstance(each, Iter) else []
    machine.shared.budget.spend(len(walk(*others, *items)) // 8)
    shared = (*machine.code.cellvars, *machine.code.freevars)
    if len(held) != 1 or held[0] in shared or reaches([*others, *items], of):
        raise BytecodeError("it uses a change of an object in place")
    machine.variables[held[0]] = appended(of, *items)
    return machine.variables[held[0]]


def extended(machine: Machine, of: Node, more: Node) -> Node:
    """The list with what another list or a tuple holds behind it."""
    written = isinstance(more, Tuple) or (isinstance(more, Const) and isinstance(more.value, tuple))
    if not written and not machine.is_list(more):
        raise BytecodeError("it uses a change of an object in place")
    items = more.items if isinstance(more, List | Tuple) else (Starred(more),)
    return filled(machine, of, items)
