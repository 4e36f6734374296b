"""Instructions made up from the opcode table of a version, from a single one to some dozens."""

from __future__ import annotations

from typing import Final

from fuzzing.case import Draw
from fuzzing.marshalled import Version, code, group, instruction, numbered, packed, raw_bytes, text

_NAMES: Final = ("K", "max", "tf", "reduce_sum", "x", "shape", "concatenate", "__class__", "os", "np", "range", "len")
_ARGS: Final = (0, 0, 0, 0, 1, 1, 2, 3, 4, 5, 8, 16, 26, 127, 255)
# What compilers use often: what it needs on the stack, what it adds, and arguments that it takes.
_USUAL: Final = {
    "LOAD_FAST": (0, 1, (0, 0, 0, 1)), "LOAD_CONST": (0, 1, range(11)), "LOAD_GLOBAL": (0, 1, range(12)),
    "LOAD_ATTR": (1, 0, range(12)), "BUILD_TUPLE": (2, -1, (2,)), "BUILD_LIST": (1, 0, (1,)),
    "BUILD_SLICE": (2, -1, (2,)), "BINARY_ADD": (2, -1, (0,)), "BINARY_MULTIPLY": (2, -1, (0,)),
    "BINARY_POWER": (2, -1, (0,)), "BINARY_SUBSCR": (2, -1, (0,)), "BINARY_OP": (2, -1, range(26)),
    "UNARY_NEGATIVE": (1, 0, (0,)), "UNARY_NOT": (1, 0, (0,)), "COMPARE_OP": (2, -1, (0, 1, 2, 3, 16, 40, 72)),
    "CONTAINS_OP": (2, -1, (0, 1)), "IS_OP": (2, -1, (0, 1)), "STORE_FAST": (1, -1, (0, 1)), "POP_TOP": (1, -1, (0,)),
    "DUP_TOP": (1, 1, (0,)), "ROT_TWO": (2, 0, (0,)), "ROT_THREE": (3, 0, (0,)), "COPY": (1, 1, (1,)),
    "SWAP": (2, 0, (2,)), "NOP": (0, 0, (0,)), "CALL_FUNCTION": (2, -1, (1,)), "CALL": (3, -2, (1,)),
    "CALL_FUNCTION_KW": (3, -2, (1,)), "PUSH_NULL": (0, 1, (0,)), "KW_NAMES": (0, 0, (1,)), "GET_ITER": (1, 0, (0,)),
    "POP_JUMP_IF_FALSE": (1, -1, (2, 4, 8, 12, 20)), "POP_JUMP_IF_TRUE": (1, -1, (2, 4, 8, 12, 20)),
    "JUMP_IF_TRUE_OR_POP": (1, -1, (2, 8, 20)), "JUMP_FORWARD": (0, 0, (0, 2, 4)), "FOR_ITER": (1, 1, (2, 6, 12)),
    "JUMP_ABSOLUTE": (0, 0, (0, 4, 10, 20)), "JUMP_BACKWARD": (0, 0, (1, 4, 8)), "BUILD_MAP": (2, -1, (1,)),
    "UNPACK_SEQUENCE": (1, 1, (2,)), "LIST_APPEND": (2, -1, (1,)), "LOAD_METHOD": (1, 1, range(12)),
    "CALL_METHOD": (3, -2, (1,)), "MAKE_FUNCTION": (2, -1, (0,)), "LIST_EXTEND": (2, -1, (1,)),
}  # fmt: skip


def _constants(version: Version) -> bytes:
    name = text("axis", version)
    inner = code(version, instruction(version, "LOAD_FAST") + instruction(version, "RETURN_VALUE"))
    numbers = (b"i" + packed("i", each) for each in (0, 3, -1, 2**31 - 1))
    return group([b"N", group([name]), name, b"g" + packed("d", 1.5), *numbers, group([b"i\1\0\0\0"] * 2), b"T", inner])


def _argument(draw: Draw, number: int) -> int:
    """An argument; below 43, as below 90 in most versions, an instruction takes none."""
    return draw.choice(_ARGS) if number >= 43 and draw.randrange(90) < number else 0


def of_opcode(draw: Draw, version: Version, number: int) -> bytes:
    """A function that has this opcode, known or not, on a stack of some depth."""
    begin = instruction(version, "RESUME") if version >= (3, 11) else b""
    kinds = ("LOAD_FAST", "LOAD_FAST", "LOAD_CONST", "LOAD_GLOBAL")
    stack = b"".join(
        instruction(version, draw.choice(kinds), draw.choice((0, 0, 0, 1))) for _ in range(draw.randrange(5))
    )
    wide = instruction(version, "EXTENDED_ARG", draw.choice((0, 1, 255))) if draw.randrange(8) == 0 else b""
    last = wide + instruction(version, number, _argument(draw, number)) + instruction(version, "RETURN_VALUE")
    return _function(draw, version, begin + stack + last)


def program(draw: Draw, version: Version) -> bytes:
    """A function of up to some dozens of instructions, mostly ones that compilers use often and where they use them."""
    numbers = numbered(version)
    parts = [instruction(version, "RESUME")] if version >= (3, 11) else []
    depth, orderly = 0, draw.choice((6, 20, 20, 100))
    for _ in range(draw.choice((2, 4, 8, 16, 40))):
        if draw.randrange(orderly) == 0:
            number = draw.choice(list(numbers.values()))
            parts.append(instruction(version, number, _argument(draw, number)))
            continue
        name = draw.choice([name for name, (needs, *_) in _USUAL.items() if name in numbers and needs <= depth])
        depth += _USUAL[name][1]
        parts.append(instruction(version, name, draw.choice(_USUAL[name][2])))
    if draw.randrange(20) == 0:  # a part hundreds of times, as in expressions that double or nest
        at = draw.randrange(len(parts))
        parts[at:at] = parts[at : at + 2] * draw.choice((100, 1000, 5000))
    elif "BUILD_TUPLE" in numbers and depth != 1 and draw.randrange(4):
        parts.append(instruction(version, "BUILD_TUPLE", max(0, depth)))
    parts.append(instruction(version, "RETURN_VALUE"))
    return _function(draw, version, b"".join(parts))


def _function(draw: Draw, version: Version, raw: bytes) -> bytes:
    fields = {}
    if draw.randrange(20) == 0:
        fields["flags"] = packed("i", draw.choice((0, 0x04, 0x08, 0x20, 0x63, 0x80, 0x100, 0x200)))
    handlers = bytes(draw.randrange(128) for _ in range(draw.choice((4, 8)))) if draw.randrange(20) == 0 else b""
    if draw.randrange(40) == 0:
        fields["lines"] = raw_bytes(bytes(draw.randrange(256) for _ in range(draw.randrange(9))))
    return code(version, raw, _constants(version), _NAMES, fields, handlers)
