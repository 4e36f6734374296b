"""Write converters/lambdas/opcode_tables.py from the `opcode` modules of real interpreters.

    python scripts/make_opcode_tables.py python2.7 python3.6 python3.7 ... python3.13

Give one interpreter of each of 2.7 and 3.6 to 3.13. The tables of 3.5 and 3.14 are written down below: no such
interpreter was at hand. 3.5 is told as its differences from 3.6.
"""

from __future__ import annotations

import json
import subprocess
import sys
import textwrap
from pathlib import Path
from typing import Any

TARGET = Path(__file__).resolve().parent.parent / "converters" / "lambdas" / "opcode_tables.py"

# Runs under Python 2.7 as well. Real instructions only: no pseudo, instrumented or internal ones, which no file holds.
PROBE = """
import json, opcode, sys
top = min(getattr(opcode, "MIN_INSTRUMENTED_OPCODE", 256), 236)
skip = ("RESERVED", "INTERPRETER_EXIT", "ENTER_EXECUTOR", "STOP_CODE")
cache = getattr(opcode, "_inline_cache_entries", {})
if not isinstance(cache, dict):
    cache = dict((opcode.opname[code], count) for code, count in enumerate(cache) if count)
print(json.dumps({
    "version": list(sys.version_info[:2]),
    "opcodes": dict((name, code) for name, code in opcode.opmap.items() if code < top and name not in skip),
    "argument": opcode.HAVE_ARGUMENT,
    "cache": dict((name, count) for name, count in cache.items() if count),
}))
"""

ONLY_IN_35 = {"MAKE_CLOSURE": 134, "CALL_FUNCTION_VAR": 140, "CALL_FUNCTION_KW": 141, "CALL_FUNCTION_VAR_KW": 142}
NOT_IN_35 = {
    *("SETUP_ANNOTATIONS", "STORE_ANNOTATION", "FORMAT_VALUE", "BUILD_CONST_KEY_MAP", "BUILD_STRING"),
    *("CALL_FUNCTION_EX", "BUILD_TUPLE_UNPACK_WITH_CALL"),
}

FROM_314 = """
0 CACHE BINARY_SLICE BUILD_TEMPLATE
4 CALL_FUNCTION_EX CHECK_EG_MATCH CHECK_EXC_MATCH CLEANUP_THROW DELETE_SUBSCR END_FOR END_SEND EXIT_INIT_CHECK
12 FORMAT_SIMPLE FORMAT_WITH_SPEC GET_AITER GET_ANEXT GET_ITER
18 GET_LEN GET_YIELD_FROM_ITER
21 LOAD_BUILD_CLASS LOAD_LOCALS MAKE_FUNCTION MATCH_KEYS MATCH_MAPPING MATCH_SEQUENCE NOP NOT_TAKEN POP_EXCEPT POP_ITER
31 POP_TOP PUSH_EXC_INFO PUSH_NULL RETURN_GENERATOR RETURN_VALUE SETUP_ANNOTATIONS STORE_SLICE STORE_SUBSCR TO_BOOL
40 UNARY_INVERT UNARY_NEGATIVE UNARY_NOT WITH_EXCEPT_START BINARY_OP BUILD_INTERPOLATION BUILD_LIST BUILD_MAP BUILD_SET
49 BUILD_SLICE BUILD_STRING BUILD_TUPLE CALL CALL_INTRINSIC_1 CALL_INTRINSIC_2 CALL_KW COMPARE_OP CONTAINS_OP
58 CONVERT_VALUE COPY COPY_FREE_VARS DELETE_ATTR DELETE_DEREF DELETE_FAST DELETE_GLOBAL DELETE_NAME DICT_MERGE
67 DICT_UPDATE END_ASYNC_FOR EXTENDED_ARG FOR_ITER GET_AWAITABLE IMPORT_FROM IMPORT_NAME IS_OP JUMP_BACKWARD
76 JUMP_BACKWARD_NO_INTERRUPT JUMP_FORWARD LIST_APPEND LIST_EXTEND LOAD_ATTR LOAD_COMMON_CONSTANT LOAD_CONST LOAD_DEREF
84 LOAD_FAST LOAD_FAST_AND_CLEAR LOAD_FAST_BORROW LOAD_FAST_BORROW_LOAD_FAST_BORROW LOAD_FAST_CHECK LOAD_FAST_LOAD_FAST
90 LOAD_FROM_DICT_OR_DEREF LOAD_FROM_DICT_OR_GLOBALS LOAD_GLOBAL LOAD_NAME LOAD_SMALL_INT LOAD_SPECIAL LOAD_SUPER_ATTR
97 MAKE_CELL MAP_ADD MATCH_CLASS POP_JUMP_IF_FALSE POP_JUMP_IF_NONE POP_JUMP_IF_NOT_NONE POP_JUMP_IF_TRUE RAISE_VARARGS
105 RERAISE SEND SET_ADD SET_FUNCTION_ATTRIBUTE SET_UPDATE STORE_ATTR STORE_DEREF STORE_FAST STORE_FAST_LOAD_FAST
114 STORE_FAST_STORE_FAST STORE_GLOBAL STORE_NAME SWAP UNPACK_EX UNPACK_SEQUENCE YIELD_VALUE
128 RESUME
"""
CACHE_314 = """
BINARY_OP 5 CALL 3 CALL_KW 3 COMPARE_OP 1 CONTAINS_OP 1 FOR_ITER 1 JUMP_BACKWARD 1 LOAD_ATTR 9 LOAD_GLOBAL 4
LOAD_SUPER_ATTR 1 POP_JUMP_IF_FALSE 1 POP_JUMP_IF_NONE 1 POP_JUMP_IF_NOT_NONE 1 POP_JUMP_IF_TRUE 1 SEND 1
STORE_ATTR 4 STORE_SUBSCR 1 TO_BOOL 3 UNPACK_SEQUENCE 1
"""


def probe(interpreter: str) -> dict[str, Any]:
    ran = subprocess.run([interpreter, "-c", PROBE], capture_output=True, text=True, check=True)
    found: dict[str, Any] = json.loads(ran.stdout)
    found["version"] = tuple(found["version"])
    return found


def unpack(runs: str) -> dict[str, int]:
    opcodes, code = {}, 0
    for word in runs.split():
        if word.isdecimal():
            code = int(word)
        else:
            opcodes[word], code = code, code + 1
    return opcodes


def pack(opcodes: dict[str, int]) -> str:
    """The names in the order of their numbers; a number stands before each name that does not follow on."""
    words, expected = [], -1
    for name, code in sorted(opcodes.items(), key=lambda item: item[1]):
        words += [name] if code == expected else [str(code), name]
        expected = code + 1
    return " ".join(words)


def main() -> None:
    tables = {found["version"]: found for found in map(probe, sys.argv[1:])}
    if set(tables) != {(2, 7), *((3, minor) for minor in range(6, 14))}:
        sys.exit(__doc__)
    shared = {name: code for name, code in tables[3, 6]["opcodes"].items() if name not in NOT_IN_35}
    tables[3, 5] = {"opcodes": {**shared, **ONLY_IN_35}, "argument": 90, "cache": {}}
    words = CACHE_314.split()
    cache = {name: int(count) for name, count in zip(words[::2], words[1::2], strict=True)}
    tables[3, 14] = {"opcodes": unpack(FROM_314), "argument": 43, "cache": cache}
    lines = [
        '"""Opcode numbers of each CPython version, written by scripts/make_opcode_tables.py: do not edit."""',
        "",
        "from __future__ import annotations",
        "",
        "from typing import Final",
        "",
        "# version: names in the order of their numbers; a number stands before each name that does not follow on",
        "OPCODES: Final[dict[tuple[int, int], str]] = {",
    ]
    for version, table in sorted(tables.items()):
        lines.append(f"    {version}: (")
        rows = textwrap.wrap(pack(table["opcodes"]), 108)
        lines += [f'        "{row} "' if row is not rows[-1] else f'        "{row}"' for row in rows]
        lines.append("    ),")
    lines += ["}", "", "# the first opcode that takes an argument", "ARGUMENT: Final[dict[tuple[int, int], int]] = {"]
    lines += [f"    {version}: {table['argument']}," for version, table in sorted(tables.items())]
    lines += ["}", "", "# 16-bit cache entries that follow an instruction"]
    lines.append("CACHE: Final[dict[tuple[int, int], dict[str, int]]] = {")
    for version, table in sorted(tables.items()):
        if table["cache"]:
            lines.append(f"    {version}: {{")
            lines += [f'        "{name}": {count},' for name, count in sorted(table["cache"].items())]
            lines.append("    },")
    TARGET.write_text("\n".join([*lines, "}", ""]), encoding="utf-8")


if __name__ == "__main__":
    main()
