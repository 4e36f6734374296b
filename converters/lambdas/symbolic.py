"""Marshalled bytecode of a Keras Lambda -> expression tree, whichever Python wrote it, running none of it.

`decode` tries every layout and every version's instructions, and gives an expression only if all that make sense of the
code agree on it.
"""

from __future__ import annotations

import dataclasses

from converters.lambdas import control, imports, instructions, iteration, texts
from converters.lambdas.branches import Budget
from converters.lambdas.code_object import BytecodeError, BytecodeLimits, Code, WrongVersion
from converters.lambdas.expression import Call, Free, Lambda, Node, children, meaning, measure, walk
from converters.lambdas.machine import evaluate
from converters.lambdas.marshal import read_code
from converters.lambdas.printer import to_source

__all__ = ["Decoded", "decode", "key_of", "to_source"]

Version = tuple[int, int]

# Importing these registered what each instruction does.
assert control
assert imports
assert instructions
assert iteration
assert texts


@dataclasses.dataclass(frozen=True)
class Decoded:
    """A function as an expression.

    function: with its arguments. versions: every CPython that may have written it. free: the closure variables that it
    uses, whose values are stored beside the bytecode; closure: all of them, in the order of those values. unused: calls
    that the function makes without using what they return, each of which must be known to do nothing else.
    """

    function: Lambda
    versions: tuple[Version, ...]
    free: tuple[str, ...]
    unused: tuple[Call, ...]
    closure: tuple[str, ...] = ()

    @property
    def expression(self) -> Node:
        return self.function.body

    @property
    def arguments(self) -> tuple[str, ...]:
        return self.function.arguments


def decode(data: bytes, limits: BytecodeLimits | None = None, only: Version | None = None) -> Decoded:
    """What the marshalled code in `data` computes. only: the Python that wrote it, where that is known.

    Raises:
        WrongVersion: if no Python can have written the data.
        BytecodeError: if it is no code, exceeds a limit, does something that an expression cannot say, or means
            different things to different Python versions.
    """
    limits = limits or BytecodeLimits()
    found: dict[Version, Decoded] = {}
    refused: dict[Version, str] = {}
    wrong: dict[Version, str] = {}
    for reading in read_code(data, limits):
        for version in reading.versions if only is None else {only} & {*reading.versions}:
            try:
                found[version] = _one(reading.code, version, limits)
            except WrongVersion as error:
                wrong[version] = str(error)
            except BytecodeError as error:
                refused[version] = str(error)
    if not found:
        raise (BytecodeError if refused else WrongVersion)(_reason(refused or wrong))
    meanings: dict[str, list[Version]] = {}
    for version, decoded in found.items():
        meanings.setdefault(key_of(decoded), []).append(version)
    if len(meanings) > 1:
        each = (f"{to_source(found[versions[0]].function)} ({_list(versions)})" for versions in meanings.values())
        raise BytecodeError(f"the stored function means different things to different Pythons: {'; '.join(each)}")
    return dataclasses.replace(next(iter(found.values())), versions=tuple(sorted(found)))


def key_of(decoded: Decoded) -> str:
    """What is equal for two functions if they compute the same in the same way."""
    return f"{meaning(decoded.function, *decoded.unused)} {decoded.closure!r}"


def _one(code: Code, version: Version, limits: BytecodeLimits) -> Decoded:
    function, calls = evaluate(code, version, Budget(limits))
    used = {id(node) for node in walk(function)}
    idle = [call for call in calls if id(call) not in used]
    below = {id(node) for node in walk(*(child for call in idle for child in children(call)))}
    unused = tuple(call for call in idle if id(call) not in below)
    for root in (function, *unused):
        size, levels = measure(root)
        if size > limits.nodes:
            raise BytecodeError(f"it is an expression of {size} parts; at most {limits.nodes} are read")
        if levels > limits.levels:
            raise BytecodeError(f"its calls are nested {levels} deep; at most {limits.levels} levels are read")
    free = {node.name for node in walk(function, *unused) if isinstance(node, Free)}
    return Decoded(function, (version,), tuple(name for name in code.freevars if name in free), unused, code.freevars)


def _reason(reasons: dict[Version, str]) -> str:
    by_reason: dict[str, list[Version]] = {}
    for version, reason in reasons.items():
        by_reason.setdefault(reason, []).append(version)
    each = [f"{reason} (as Python {_list(versions)})" for reason, versions in by_reason.items()]
    return f"the stored function is not understood: {'; '.join(each)}"


def _list(versions: list[Version]) -> str:
    return ", ".join(".".join(map(str, version)) for version in versions)
