"""What CPython's calls, nested functions, jumps, returns and stack operations do on a stack of expressions.

The other half of `instructions`, registered the same way.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Sequence

from converters.lambdas.code_object import BytecodeError, Code, WrongVersion
from converters.lambdas.expression import (
    CONSUMERS,
    Arg,
    Attr,
    Call,
    Compare,
    Comprehension,
    Const,
    Dict,
    Name,
    Node,
    Set,
    Starred,
    Unpack,
)
from converters.lambdas.filling import filled
from converters.lambdas.loops import Iter, Parts
from converters.lambdas.machine import NULL, Function, Machine, is_comprehension, keyword_of, on
from converters.lambdas.opcodes import Instruction

_MUTATORS = {"append", "extend", "insert", "pop", "remove", "reverse", "sort", "update", "clear", "setdefault", "add"}

# Calls


@on("CALL_FUNCTION", "CALL_FUNCTION_VAR", "CALL_FUNCTION_VAR_KW", "CALL_METHOD")
def _call_function(machine: Machine, this: Instruction) -> None:
    if this.arg == 1 and _comprehension(machine):
        return
    if this.name == "CALL_METHOD":
        _call_beside_null(machine, machine.pop_many(this.arg))
    elif machine.version >= (3, 6):
        args = machine.pop_many(this.arg)
        _call(machine, machine.pop(), args)
    else:
        _old_call(machine, this)


@on("CALL_FUNCTION_KW")
def _call_function_kw(machine: Machine, this: Instruction) -> None:
    if machine.version < (3, 6):
        _old_call(machine, this)
        return
    names = _names(machine, machine.pop())
    args = machine.pop_many(this.arg)
    _call(machine, machine.pop(), args, names)


def _old_call(machine: Machine, this: Instruction) -> None:
    """2.7 and 3.5: keywords are pairs on the stack; sequences to unpack lie above them, or in 3.5 below."""
    positional, pairs = this.arg & 255, this.arg >> 8
    more = machine.kwargs(machine.pop()) if this.name.endswith("_KW") else ()
    stars: tuple[Node, ...] = ()
    if "_VAR" in this.name:
        if pairs and machine.version >= (3, 0):
            raise BytecodeError("it passes both keywords and an unpacked sequence, in the code of Python 3.5")
        stars = machine.items(machine.pop())
    flat = machine.pop_many(2 * pairs)
    kwargs = [(keyword_of(name), value) for name, value in zip(flat[::2], flat[1::2], strict=True)]
    args = [*machine.pop_many(positional), *stars]
    _finish_call(machine, machine.pop(), args, (*kwargs, *more))


@on("KW_NAMES")
def _kw_names(machine: Machine, this: Instruction) -> None:
    machine.keywords = _names(machine, machine.const(this.arg))


@on("CALL")
def _call_311(machine: Machine, this: Instruction) -> None:
    if this.arg == 0 and _comprehension(machine):
        return
    if this.arg == 0 and machine.stack[-2:-1] == [Name("AssertionError")]:  # called as a method of its message
        args = machine.pop_many(1)
        _finish_call(machine, machine.pop(), args, ())
        return
    names, machine.keywords = machine.keywords, ()
    _call_beside_null(machine, machine.pop_many(this.arg), names)


@on("CALL_KW")
def _call_kw(machine: Machine, this: Instruction) -> None:
    names = _names(machine, machine.pop())
    _call_beside_null(machine, machine.pop_many(this.arg), names)


@on("CALL_FUNCTION_EX")
def _call_ex(machine: Machine, this: Instruction) -> None:
    kwargs: tuple[tuple[str, Node], ...] = ()
    if machine.version >= (3, 14):
        above = machine.pop_any()  # always there, if only as NULL
        if above is not NULL:
            machine.push(above)
            kwargs = machine.kwargs(machine.pop())
    elif this.arg & 1:
        kwargs = machine.kwargs(machine.pop())
    args = machine.items(machine.pop())
    function = _callable(machine) if machine.version >= (3, 11) else machine.pop()
    _finish_call(machine, function, args, kwargs)


def _callable(machine: Machine) -> Node:
    """The function that lies beside NULL."""
    above = machine.pop_any()
    if machine.version >= (3, 13):
        if above is not NULL:
            raise WrongVersion("it calls without NULL on the stack")
        return machine.pop()
    machine.push(above)
    function = machine.pop()
    if machine.pop_any() is not NULL:
        raise WrongVersion("it calls without NULL on the stack")
    return function


def _call_beside_null(machine: Machine, args: Sequence[Node], names: tuple[str, ...] = ()) -> None:
    _call(machine, _callable(machine), args, names)


def _call(machine: Machine, function: Node, args: Sequence[Node], names: tuple[str, ...] = ()) -> None:
    if len(names) > len(args):
        raise WrongVersion("it calls with more keywords than values")
    first = len(args) - len(names)
    _finish_call(machine, function, args[:first], tuple(zip(names, args[first:], strict=True)))


def _finish_call(machine: Machine, function: Node, args: Sequence[Node], kwargs: tuple[tuple[str, Node], ...]) -> None:
    if len({name for name, _ in kwargs}) != len(kwargs):
        raise BytecodeError("it passes a keyword twice")
    own = isinstance(function, Attr) and (isinstance(function.of, Dict | Set) or machine.is_list(function.of))
    if own and isinstance(function, Attr) and function.name in _MUTATORS:
        if function.name == "append" and len(args) == 1 and not kwargs and not isinstance(args[0], Starred):
            filled(machine, function.of, args)
            machine.push(Const(None))
            return
        raise BytecodeError("it uses a change of an object in place")
    call = Call(function, tuple(args), kwargs)
    machine.shared.calls.append(call)
    machine.push(call)


def _comprehension(machine: Machine) -> bool:
    """Calls the function of a comprehension, if that is what lies under an iterator."""
    if len(machine.stack) < 2:
        return False
    function, iterator = machine.stack[-2:]
    if not isinstance(function, Function) or not isinstance(iterator, Iter):
        return False
    del machine.stack[-2:]
    made = machine.comprehend(function, iterator)
    if function.code.flags & 0x20:
        if not isinstance(made, Comprehension) or not _consumed(machine):
            raise BytecodeError("it is a generator or coroutine, or holds a generator expression")
        made = dataclasses.replace(made, kind="generator")
    machine.push(made)
    return True


def _consumed(machine: Machine) -> bool:
    """Whether a function that goes through its argument once is called with the generator next."""
    calls = [each for each in machine.listing[machine.place + 1 : machine.place + 3] if each.name != "PRECALL"]
    below = [each for each in machine.stack[-2:] if each is not NULL][-1:]
    known = bool(below) and isinstance(below[0], Name) and below[0].name in CONSUMERS
    return known and bool(calls) and calls[0].name in ("CALL", "CALL_FUNCTION") and calls[0].arg == 1


def _names(machine: Machine, node: object) -> tuple[str, ...]:
    if not isinstance(node, Const) or not isinstance(node.value, tuple):
        raise WrongVersion("the names of its keywords are no tuple")
    machine.shared.budget.spend(len(node.value) // 4)
    return tuple(keyword_of(name) for name in node.value)


# The order of the stack


@on("POP_TOP")
def _pop_top(machine: Machine, this: Instruction) -> None:
    if machine.version >= (3, 13) and machine.stack and isinstance(machine.stack[-1], Iter):
        machine.pop_any()  # as END_FOR left it
        return
    machine.pop()


@on("ROT_TWO", "ROT_THREE", "ROT_FOUR", "ROT_N")
def _rotate(machine: Machine, this: Instruction) -> None:
    count = {"ROT_TWO": 2, "ROT_THREE": 3, "ROT_FOUR": 4}.get(this.name, this.arg)
    _reach(machine, count)
    machine.stack.insert(len(machine.stack) - count, machine.pop_any())


@on("SWAP")
def _swap(machine: Machine, this: Instruction) -> None:
    _reach(machine, this.arg)
    stack = machine.stack
    stack[-1], stack[-this.arg] = stack[-this.arg], stack[-1]


@on("COPY", "DUP_TOP")
def _copy(machine: Machine, this: Instruction) -> None:
    place = this.arg if this.name == "COPY" else 1
    _reach(machine, place)
    machine.push(machine.stack[-place])


@on("DUP_TOP_TWO", "DUP_TOPX")
def _copy_several(machine: Machine, this: Instruction) -> None:
    count = 2 if this.name == "DUP_TOP_TWO" else this.arg
    _reach(machine, count)
    machine.push(*machine.stack[-count:])


def _reach(machine: Machine, count: int) -> None:
    if not 0 < count <= len(machine.stack):
        raise WrongVersion("it takes from an empty stack")


@on("UNPACK_SEQUENCE")
def _unpack(machine: Machine, this: Instruction) -> None:
    machine.shared.budget.spend(this.arg // 8)
    if machine.stack and isinstance(machine.stack[-1], Parts):
        _unpack_item(machine, this)
        return
    of = machine.pop()
    known = machine.items(of)
    if any(isinstance(item, Starred) for item in known):
        items: list[Node] = [Unpack(of, index, this.arg) for index in range(this.arg)]
    elif len(known) == this.arg:
        items = list(known)
    else:
        raise BytecodeError(f"it unpacks {len(known)} values to {this.arg} variables")
    machine.push(*reversed(items))


def _unpack_item(machine: Machine, this: Instruction) -> None:
    item = machine.pop_any()
    if not isinstance(item, Parts) or len(item.target) != this.arg:
        raise WrongVersion("it takes an item of a loop apart in another way than it stores it")
    machine.push(
        *(Arg(each, item.scope) if isinstance(each, str) else Parts(each, item.scope) for each in item.target[::-1])
    )


# Functions


@on("MAKE_FUNCTION", "MAKE_CLOSURE")
def _make_function(machine: Machine, this: Instruction) -> None:
    if (3, 5) <= machine.version < (3, 11):
        machine.pop()  # the qualified name
    code = machine.pop_any()
    if not isinstance(code, Code):
        raise WrongVersion("it makes a function of something that is no code")
    function = Function(code)
    if machine.version >= (3, 13):
        machine.push(function)  # SET_FUNCTION_ATTRIBUTE may follow
        return
    if machine.version < (3, 6):
        if this.name == "MAKE_CLOSURE":
            function.closure = machine.close(machine.pop_any(), function.code)
        if this.arg > 255:
            raise BytecodeError("it holds a function with annotations or keyword-only defaults, made by Python 3.5")
        function.defaults = machine.make_tuple(machine.pop_many(this.arg))
    else:
        for flag in (8, 4, 2, 1):
            if this.arg & flag:
                _attribute(machine, function, flag)
    machine.push(function if is_comprehension(code) else machine.finish(function))


@on("SET_FUNCTION_ATTRIBUTE")
def _set_function_attribute(machine: Machine, this: Instruction) -> None:
    function = machine.pop_any()
    if not isinstance(function, Function):
        raise WrongVersion("it completes a function that is none")
    _attribute(machine, function, this.arg)
    machine.push(function)


def _attribute(machine: Machine, function: Function, flag: int) -> None:
    if flag == 8:
        function.closure = machine.close(machine.pop_any(), function.code)
        return
    value = machine.pop()
    if flag == 1:
        function.defaults = value
    elif flag == 2:
        function.keyword_defaults = value
    elif flag not in (4, 16):  # annotations, which mean nothing to a model
        raise WrongVersion(f"a function has no part {flag}")


# Jumps


@on("POP_JUMP_IF_FALSE", "POP_JUMP_IF_TRUE", "POP_JUMP_FORWARD_IF_FALSE", "POP_JUMP_FORWARD_IF_TRUE",
    "POP_JUMP_BACKWARD_IF_FALSE", "POP_JUMP_BACKWARD_IF_TRUE")  # fmt: skip
def _pop_jump(machine: Machine, this: Instruction) -> None:
    machine.jump_if(this, machine.pop(), this.name.endswith("TRUE"))


@on(*(f"POP_JUMP_{word}IF_{test}" for word in ("", "FORWARD_", "BACKWARD_") for test in ("NONE", "NOT_NONE")))
def _pop_jump_none(machine: Machine, this: Instruction) -> None:
    # It skips what is for the other case, as the source says it.
    op = "is" if this.name.endswith("NOT_NONE") else "is not"
    machine.jump_if(this, Compare(op, machine.pop(), Const(None)), False)


@on("JUMP_IF_FALSE_OR_POP", "JUMP_IF_TRUE_OR_POP")
def _jump_or_pop(machine: Machine, this: Instruction) -> None:
    test = machine.pop()
    machine.jump_if(this, test, "TRUE" in this.name, (test,))


@on("JUMP_FORWARD", "JUMP_ABSOLUTE")
def _jump(machine: Machine, this: Instruction) -> None:
    assert machine.state is not None
    assert this.target is not None
    machine.send(this.target, machine.state)
    machine.leave()


@on("RETURN_VALUE")
def _return(machine: Machine, this: Instruction) -> None:
    machine.give(machine.pop())


@on("RETURN_CONST")
def _return_const(machine: Machine, this: Instruction) -> None:
    machine.push(machine.const(this.arg))
    machine.give(machine.pop())
