"""What each instruction of CPython 2.7 and 3.5 to 3.14 does on a stack of expressions.

Each has one handler, which knows how its meaning differs between versions. Importing this module registers them.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Final

from converters.lambdas.code_object import BytecodeError, WrongVersion
from converters.lambdas.expression import (
    Attr,
    BinOp,
    Compare,
    Const,
    Dict,
    List,
    Name,
    Node,
    Set,
    Slice,
    Subscript,
    UnaryOp,
)
from converters.lambdas.filling import extended
from converters.lambdas.lists import appended
from converters.lambdas.loops import REFUSAL, pair
from converters.lambdas.machine import (
    NULL,
    UNBOUND,
    Cell,
    Cells,
    Machine,
    on,
)
from converters.lambdas.opcodes import BINARY, COMPARISONS, Instruction

_BINARY: Final = {
    "ADD": "+", "SUBTRACT": "-", "MULTIPLY": "*", "DIVIDE": "classic /", "TRUE_DIVIDE": "/", "FLOOR_DIVIDE": "//",
    "MODULO": "%", "POWER": "**", "MATRIX_MULTIPLY": "@", "LSHIFT": "<<", "RSHIFT": ">>", "AND": "&", "OR": "|",
    "XOR": "^",
}  # fmt: skip
_UNARY: Final = {"POSITIVE": "+", "NEGATIVE": "-", "INVERT": "~", "NOT": "not"}
_PYTHON2_CONSTANTS: Final = {"True": True, "False": False, "None": None}

# Operators


@on(*(f"{kind}_{word}" for kind in ("BINARY", "INPLACE") for word in _BINARY))
def _binary(machine: Machine, this: Instruction) -> None:
    kind, word = this.name.split("_", 1)
    _operate(machine, _BINARY[word], kind == "INPLACE")


@on("BINARY_OP")
def _binary_op(machine: Machine, this: Instruction) -> None:
    if this.arg == 2 * len(BINARY):
        _subscript(machine, this)
    else:
        _operate(machine, BINARY[this.arg % len(BINARY)], this.arg >= len(BINARY))


def _operate(machine: Machine, op: str, inplace: bool) -> None:
    left, right = machine.pop_many(2)
    if inplace and op == "+" and machine.is_list(left):
        machine.push(extended(machine, left, right))
        return
    if inplace and (isinstance(left, Set | Dict) or machine.is_list(left)):
        raise BytecodeError("it uses a change of an object in place")
    machine.push(BinOp(op, left, right, inplace))


@on(*(f"UNARY_{word}" for word in _UNARY))
def _unary(machine: Machine, this: Instruction) -> None:
    machine.push(UnaryOp(_UNARY[this.name.removeprefix("UNARY_")], machine.pop()))


@on("CALL_INTRINSIC_1")
def _intrinsic(machine: Machine, this: Instruction) -> None:
    if this.arg == 5:
        machine.push(UnaryOp("+", machine.pop()))
    elif this.arg == 6:
        _to_tuple(machine, this)
    else:
        raise BytecodeError(f"it uses the intrinsic function {this.arg}")


@on("COMPARE_OP")
def _compare(machine: Machine, this: Instruction) -> None:
    left, right = machine.pop_many(2)
    op = COMPARISONS[this.arg >> (5 if machine.version >= (3, 13) else 4 if machine.version >= (3, 12) else 0)]
    if op == "exception match":
        raise BytecodeError("it uses a try statement")
    machine.push(Compare(op, left, right))


@on("IS_OP", "CONTAINS_OP")
def _identity(machine: Machine, this: Instruction) -> None:
    left, right = machine.pop_many(2)
    names = ("is", "is not") if this.name == "IS_OP" else ("in", "not in")
    if this.arg > 1:
        raise WrongVersion(f"{this.name} has the argument {this.arg}")
    machine.push(Compare(names[this.arg], left, right))


@on("BINARY_SUBSCR")
def _subscript(machine: Machine, this: Instruction) -> None:
    machine.push(Subscript(*machine.pop_many(2)))


@on("BINARY_SLICE")
def _binary_slice(machine: Machine, this: Instruction) -> None:
    of, start, stop = machine.pop_many(3)
    machine.push(Subscript(of, Slice(_bound(start), _bound(stop))))


@on("SLICE+0", "SLICE+1", "SLICE+2", "SLICE+3")
def _old_slice(machine: Machine, this: Instruction) -> None:
    kind = int(this.name[-1])
    stop = machine.pop() if kind & 2 else None
    start = machine.pop() if kind & 1 else None
    machine.push(Subscript(machine.pop(), Slice(start, stop)))


@on("BUILD_SLICE")
def _slice(machine: Machine, this: Instruction) -> None:
    if this.arg not in (2, 3):
        raise WrongVersion(f"a slice has {this.arg} parts")
    machine.push(Slice(*map(_bound, machine.pop_many(this.arg))))


def _bound(node: Node) -> Node | None:
    return None if isinstance(node, Const) and node.value is None else node


# Names and constants


@on("LOAD_CONST")
def _load_const(machine: Machine, this: Instruction) -> None:
    machine.push(machine.const(this.arg))


@on("LOAD_SMALL_INT")
def _load_small_int(machine: Machine, this: Instruction) -> None:
    machine.push(Const(this.arg))


@on("LOAD_GLOBAL")
def _load_global(machine: Machine, this: Instruction) -> None:
    name = machine.code.names[this.arg >> (machine.version >= (3, 11))]
    constant = machine.version < (3, 0) and name in _PYTHON2_CONSTANTS
    node = Const(_PYTHON2_CONSTANTS[name]) if constant else Name(name)
    _push_callable(machine, node, machine.version >= (3, 11) and bool(this.arg & 1))


@on("LOAD_ATTR", "LOAD_METHOD")
def _load_attr(machine: Machine, this: Instruction) -> None:
    packed = machine.version >= (3, 12)
    node = Attr(machine.pop(), machine.code.names[this.arg >> packed])
    _push_callable(machine, node, this.name == "LOAD_METHOD" or (packed and bool(this.arg & 1)))


def _push_callable(machine: Machine, node: Node, with_null: bool) -> None:
    if not with_null:
        machine.push(node)
    elif machine.version >= (3, 13):
        machine.push(node, NULL)
    else:
        machine.push(NULL, node)


@on("PUSH_NULL")
def _push_null(machine: Machine, this: Instruction) -> None:
    machine.push(NULL)


@on("LOAD_FAST", "LOAD_FAST_CHECK", "LOAD_FAST_BORROW")
def _load_fast(machine: Machine, this: Instruction) -> None:
    _load_slot(machine, this.arg)


@on("LOAD_FAST_LOAD_FAST", "LOAD_FAST_BORROW_LOAD_FAST_BORROW")
def _load_two(machine: Machine, this: Instruction) -> None:
    _load_slot(machine, this.arg >> 4)
    _load_slot(machine, this.arg & 15)


def _load_slot(machine: Machine, index: int) -> None:
    name, code = machine.code.slots[index], machine.code
    if name == ".0" and machine.iterator is not None:
        machine.push(machine.iterator)
        return
    # 3.13 dropped LOAD_CLOSURE: the slot of a closure variable holds its cell.
    if machine.version >= (3, 13) and (name in code.cellvars or name in code.freevars):
        machine.push(Cell(name))
    else:
        machine.push(machine.load(name))


@on("STORE_FAST")
def _store_fast(machine: Machine, this: Instruction) -> None:
    _store(machine, machine.code.slots[this.arg])


@on("STORE_FAST_LOAD_FAST")
def _store_load(machine: Machine, this: Instruction) -> None:
    _store(machine, machine.code.slots[this.arg >> 4])
    _load_slot(machine, this.arg & 15)


@on("STORE_FAST_STORE_FAST")
def _store_two(machine: Machine, this: Instruction) -> None:
    _store(machine, machine.code.slots[this.arg >> 4])
    _store(machine, machine.code.slots[this.arg & 15])


@on("STORE_DEREF")
def _store_deref(machine: Machine, this: Instruction) -> None:
    name = machine.code.derefs[this.arg]
    if name in machine.code.freevars or name in machine.captured:
        raise BytecodeError(f"it assigns to the closure variable {name!r} after a function has used it")
    _store(machine, name)


def _store(machine: Machine, name: str) -> None:
    if machine.stack and machine.stack[-1] is UNBOUND:
        machine.pop_any()
        machine.variables.pop(name, None)
        return
    machine.variables[name] = machine.pop()


@on("DELETE_FAST")
def _delete_fast(machine: Machine, this: Instruction) -> None:
    machine.load(machine.code.slots[this.arg])
    del machine.variables[machine.code.slots[this.arg]]


@on("LOAD_DEREF")
def _load_deref(machine: Machine, this: Instruction) -> None:
    machine.push(machine.load(machine.code.derefs[this.arg]))


@on("LOAD_CLOSURE")
def _load_closure(machine: Machine, this: Instruction) -> None:
    machine.push(Cell(machine.code.derefs[this.arg]))


@on("COPY_FREE_VARS")
def _copy_free_vars(machine: Machine, this: Instruction) -> None:
    if this.arg != len(machine.code.freevars):
        raise WrongVersion("it has another number of closure variables than it says")


# Displays


@on("BUILD_TUPLE")
def _build_tuple(machine: Machine, this: Instruction) -> None:
    if this.arg and machine.stack and isinstance(machine.stack[-1], Cell):
        cells = [machine.pop_any() for _ in range(this.arg)][::-1]
        names = tuple(cell.name for cell in cells if isinstance(cell, Cell))
        if len(names) != this.arg:
            raise WrongVersion("it makes a tuple of closure variables and something else")
        machine.push(Cells(names))
    else:
        machine.push(machine.make_tuple(machine.pop_many(this.arg)))


@on("BUILD_LIST")
def _build_list(machine: Machine, this: Instruction) -> None:
    machine.push(List(tuple(machine.pop_many(this.arg))))


@on("BUILD_SET")
def _build_set(machine: Machine, this: Instruction) -> None:
    machine.push(Set(tuple(machine.pop_many(this.arg))))


@on("BUILD_MAP")
def _build_map(machine: Machine, this: Instruction) -> None:
    parts = machine.pop_many(2 * this.arg) if machine.version >= (3, 0) else []  # Python 2 only announces the size
    machine.push(Dict(tuple(zip(parts[::2], parts[1::2], strict=True))))


@on("STORE_MAP")
def _store_map(machine: Machine, this: Instruction) -> None:
    display, value, key = machine.pop_many(3)
    if not isinstance(display, Dict):
        raise WrongVersion("it adds to a dict that is none")
    machine.shared.budget.spend(len(display.items) // 8)
    machine.push(Dict((*display.items, (key, value))))


@on("BUILD_CONST_KEY_MAP")
def _build_const_key_map(machine: Machine, this: Instruction) -> None:
    *values, keys = machine.pop_many(this.arg + 1)
    names = machine.items(keys)
    if len(names) != len(values):
        raise WrongVersion("a dict has another number of keys than of values")
    machine.push(Dict(tuple(zip(names, values, strict=True))))


def _joined(machine: Machine, nodes: Iterable[Node]) -> tuple[Node, ...]:
    return tuple(item for node in nodes for item in machine.items(node))


@on("LIST_EXTEND", "SET_UPDATE")
def _extend(machine: Machine, this: Instruction) -> None:
    more = machine.pop()
    kind = List if this.name == "LIST_EXTEND" else Set
    display = machine.pop()
    if this.arg != 1 or not isinstance(display, kind):
        raise BytecodeError("it uses a loop or a comprehension")
    machine.shared.budget.spend(len(display.items) // 8)
    machine.push(kind((*display.items, *_joined(machine, [more]))))


@on("LIST_APPEND", "SET_ADD", "MAP_ADD")
def _append(machine: Machine, this: Instruction) -> None:
    """Long displays are built one by one; so are comprehensions, but those iterate first."""
    if this.arg > 1:
        _fill(machine, this)
        return
    parts = machine.pop_many(3 if this.name == "MAP_ADD" else 2)
    display = parts[0]
    if this.arg != 1 or not isinstance(display, {"LIST_APPEND": List, "SET_ADD": Set, "MAP_ADD": Dict}[this.name]):
        raise BytecodeError("it uses a loop or a comprehension")
    assert isinstance(display, List | Set | Dict)
    machine.shared.budget.spend(len(display.items) // 64)
    if isinstance(display, Dict):
        machine.push(Dict((*display.items, (parts[1], parts[2]))))
    else:
        machine.push(type(display)((*display.items, parts[1])))


def _fill(machine: Machine, this: Instruction) -> None:
    """A comprehension adds to what lies under its iterator."""
    item = machine.pop()
    if this.name == "MAP_ADD":  # up to 3.7 the value lies under the key
        other = machine.pop()
        item = pair(other, item) if machine.version >= (3, 8) else pair(item, other)
    if not machine.loops or this.arg > len(machine.stack):
        raise BytecodeError(REFUSAL)
    display = machine.stack[-this.arg]
    if not isinstance(display, Node) or not machine.is_list(display):
        raise BytecodeError(REFUSAL)
    machine.stack[-this.arg] = appended(display, item)


@on("DICT_UPDATE", "DICT_MERGE")
def _merge(machine: Machine, this: Instruction) -> None:
    display, more = machine.pop_many(2)
    if this.arg != 1 or not isinstance(display, Dict) or not isinstance(more, Dict):
        raise BytecodeError("it uses a dict (**) that is not written out")
    machine.shared.budget.spend((len(display.items) + len(more.items)) // 8)
    machine.push(Dict((*display.items, *more.items)))


@on("LIST_TO_TUPLE")
def _to_tuple(machine: Machine, this: Instruction) -> None:
    machine.push(machine.make_tuple(machine.items(machine.pop())))


@on("BUILD_TUPLE_UNPACK", "BUILD_TUPLE_UNPACK_WITH_CALL")
def _tuple_unpack(machine: Machine, this: Instruction) -> None:
    machine.push(machine.make_tuple(_joined(machine, machine.pop_many(this.arg))))


@on("BUILD_LIST_UNPACK")
def _list_unpack(machine: Machine, this: Instruction) -> None:
    machine.push(List(_joined(machine, machine.pop_many(this.arg))))


@on("BUILD_SET_UNPACK")
def _set_unpack(machine: Machine, this: Instruction) -> None:
    machine.push(Set(_joined(machine, machine.pop_many(this.arg))))


@on("BUILD_MAP_UNPACK", "BUILD_MAP_UNPACK_WITH_CALL")
def _map_unpack(machine: Machine, this: Instruction) -> None:
    parts = machine.pop_many(this.arg & 255)  # 3.5 packs another number above
    items: list[tuple[Node, Node]] = []
    for part in parts:
        if not isinstance(part, Dict):
            raise BytecodeError("it uses a dict (**) that is not written out")
        machine.shared.budget.spend(len(part.items) // 8)
        items += part.items
    machine.push(Dict(tuple(items)))
