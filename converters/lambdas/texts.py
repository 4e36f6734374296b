"""f-strings: each field becomes a call of str.format, which the evaluator takes for whole numbers and texts alone."""

from __future__ import annotations

from converters.lambdas.code_object import BytecodeError
from converters.lambdas.expression import Attr, BinOp, Call, Const
from converters.lambdas.machine import Machine, on
from converters.lambdas.opcodes import Instruction


@on("FORMAT_VALUE", "FORMAT_SIMPLE")
def _format(machine: Machine, this: Instruction) -> None:
    if this.name == "FORMAT_VALUE" and this.arg:
        raise BytecodeError("it uses an f-string with a conversion or a format")
    machine.push(Call(Attr(Const("{}"), "format"), (machine.pop(),)))


@on("BUILD_STRING")
def _join(machine: Machine, this: Instruction) -> None:
    first, *rest = machine.pop_many(this.arg) if this.arg else [Const("")]
    for each in rest:
        first = BinOp("+", first, each)
    machine.push(first)
