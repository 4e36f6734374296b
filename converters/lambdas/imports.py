"""What an import inside a function does: a name stands for a module of a known library. Nothing is imported."""

from __future__ import annotations

from converters.lambdas.code_object import BytecodeError, WrongVersion
from converters.lambdas.expression import Attr, Const, Import, Node
from converters.lambdas.limits import show
from converters.lambdas.machine import Machine, on
from converters.lambdas.opcodes import Instruction
from converters.lambdas.values import LIBRARIES


@on("IMPORT_NAME")
def _import(machine: Machine, this: Instruction) -> None:
    """`import a.b` gives `a`; `from a.b import c` gives `a.b`, of which c is taken next."""
    level, names = machine.pop_many(2)
    if not isinstance(level, Const) or not isinstance(level.value, int) or not isinstance(names, Const):
        raise WrongVersion("it imports by something that is no constant")
    path = machine.code.names[this.arg].split(".")
    if level.value > 0 or path == [""]:  # Python 2 says -1 where it looks beside the author's own file first
        raise BytecodeError(f"it imports {show('.' * level.value + '.'.join(path))}, a module of the author's own")
    if path[0] not in LIBRARIES:
        raise BytecodeError(f"it imports {show('.'.join(path))}, a module that is not known")
    machine.push(Import(tuple(path if names.value is not None else path[:1])))


@on("IMPORT_FROM")
def _import_from(machine: Machine, this: Instruction) -> None:
    """Takes a name from the module, which stays; `import a.b as c` is so compiled too."""
    module = machine.pop()
    if not isinstance(_root(module), Import):
        raise WrongVersion("it takes a name from a module that is none")
    machine.push(module, Attr(module, machine.code.names[this.arg]))


def _root(node: Node) -> Node:
    while isinstance(node, Attr):
        node = node.of
    return node
