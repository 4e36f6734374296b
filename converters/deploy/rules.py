"""The rules of lowering: what each looks for, when it may, and what it makes of it.

A rule for blocks changes the `Form` in which a block is computed; a rule for calls replaces one call. `wanted` asks
whether the target prefers it for a map of this size, `check` whether it is possible; where it is wanted and not
possible, the reason is reported.
"""

from __future__ import annotations

import dataclasses
import math
from collections.abc import Callable
from typing import Any, Final

from converters.deploy.blocks import Block
from converters.deploy.columns import columns, paired
from converters.deploy.flat import Call, Flat
from converters.deploy.forms import Form, Weigh
from converters.deploy.targets import Preference
from converters.deploy.toeplitz import Blocking

__all__ = ["BLOCK_RULES", "CALL_RULES", "BlockRule", "CallRule", "blocking"]

_BEST: Final = 4  # of a target's blocks, for a map that none divides: the columns added have to be worth it


@dataclasses.dataclass(frozen=True, slots=True)
class BlockRule:
    """One way to compute a part of a block faster. check: why it cannot be, or ``."""

    name: str
    summary: str
    wanted: Callable[[Block, Preference], bool]
    check: Callable[[Block, Preference], str]
    apply: Callable[[Form, Block, Preference], Form]


@dataclasses.dataclass(frozen=True, slots=True)
class CallRule:
    """A call that converts badly, with those in front of it that have to go along.

    find: the calls that are replaced, one behind the other and the given one last; () where it is none for a target.
    check: why the last cannot be replaced, or ``. build: its result, from the calls, the value that the first takes,
    and what to make layers with.
    """

    name: str
    summary: str
    find: Callable[[Flat, Call, Preference], tuple[Call, ...]]
    check: Callable[[Call], str]
    build: Callable[[tuple[Call, ...], Any, Weigh], Any]


def _always(block: Block, preference: Preference) -> str:
    return ""


def _wants_merged(block: Block, preference: Preference) -> bool:
    start = preference.merged_from
    return block.channel is not None and len(block.channel.pools) == 2 and start is not None and block.channels >= start


def _can_merge(block: Block, preference: Preference) -> str:
    assert block.channel is not None
    if not block.channel.shared:
        return "its two vectors go through MLPs of their own"
    return ""


def _wants_two_steps(block: Block, preference: Preference) -> bool:
    start = preference.two_step_from
    return block.channel is not None and start is not None and block.channels >= start


def _wants_apart(block: Block, preference: Preference) -> bool:
    return preference.apart and block.spatial is not None and len(block.spatial.pools) == 2


def _wants_blocked(block: Block, preference: Preference) -> bool:
    return block.spatial is not None and (block.spatial.kernel_size > 1 or (block.width or 0) > 1)


def _can_block(block: Block, preference: Preference) -> str:
    if block.height is None or block.width is None:
        return "the size of its map is open; fix it with --input-shape"
    return ""


def _can_group(block: Block, preference: Preference) -> str:
    if reason := _can_block(block, preference):
        return reason
    assert block.width is not None
    if blocking(block.width, preference).whole(block.width) > block.width:
        return f"no block of {min(preference.blocks)} to {max(preference.blocks)} columns divides its {block.width}"
    return ""


def blocking(width: int, preference: Preference) -> Blocking:
    """The blocks and groups for a map of a width: of those that divide it the best, else the one of the best that needs
    the fewest columns more."""
    if width <= preference.whole_row:
        return Blocking(width, width)
    dividing = (each for each in preference.blocks if width % each == 0)
    block = next(dividing, None) or min(preference.blocks[:_BEST], key=lambda each: -width % each)
    return Blocking(block, next(each for each in preference.groups if block % each == 0))


def _blocked(form: Form, block: Block, preference: Preference) -> Form:
    assert block.width is not None
    return dataclasses.replace(form, blocking=blocking(block.width, preference))


def _wants_convolved_mean(block: Block, preference: Preference) -> bool:
    gate, width = block.spatial, block.width
    wide = width is not None and width > preference.whole_row
    return gate is not None and "avg" in gate.pools and wide and block.channels <= preference.mean_convolved_to


BLOCK_RULES: Final = (
    BlockRule(
        "vector-mlp",
        "the pooled vectors go through the MLP as vectors, whatever shape they were given",
        lambda block, preference: block.channel is not None,
        _always,
        lambda form, block, preference: form,
    ),
    BlockRule(
        "merged-mlp",
        "one call of the MLP for both pooled vectors",
        _wants_merged,
        _can_merge,
        lambda form, block, preference: dataclasses.replace(form, mlp="merged"),
    ),
    BlockRule(
        "two-step-max",
        "the maximum over the map is taken by rows, then by columns",
        _wants_two_steps,
        _always,
        lambda form, block, preference: dataclasses.replace(form, two_step=True),
    ),
    BlockRule(
        "blocked-convolution",
        "the spatial convolution gives neighbouring columns as channels",
        _wants_blocked,
        _can_block,
        _blocked,
    ),
    BlockRule(
        "convolved-apart",
        "the two pooled maps are convolved apart and added, not concatenated",
        _wants_apart,
        _always,
        lambda form, block, preference: dataclasses.replace(form, apart=True),
    ),
    BlockRule(
        "convolved-mean",
        "the mean over few channels is a 1x1 convolution, which gives the columns in groups",
        _wants_convolved_mean,
        _can_group,
        lambda form, block, preference: dataclasses.replace(form, mean_convolved=True),
    ),
)


def _wide_dense(flat: Flat, call: Call, preference: Preference) -> tuple[Call, ...]:
    return (call,) if call.kind == "layers.Dense" and len(call.inputs[0].shape) > 2 else ()


def _can_flatten(call: Call) -> str:
    shape = call.inputs[0].shape[1:]
    if None in shape:
        return "the size of what it takes is open; fix it with --input-shape"
    return _quantised(call)


def _dense(calls: tuple[Call, ...], x: Any, weigh: Weigh) -> Any:
    """On vectors if there is one for each example, else as a 1x1 convolution or on a matrix of rows."""
    from keras import ops

    (call,) = calls
    layer = call.operation
    *space, taken = (int(size or 0) for size in call.inputs[0].shape[1:])
    kernel, bias = weigh.values(layer.kernel), [weigh.values(layer.bias)] if layer.use_bias else []
    if math.prod(space) == 1:
        held = weigh.layer(
            "Dense", "dense", [kernel, *bias], (None, taken), units=layer.units, activation=layer.activation
        )
        flat = ops.reshape(x, (-1, taken))
    else:
        options = {"filters": layer.units, "kernel_size": 1, "data_format": "channels_last"}
        taken_by = (None, None, None, taken)
        held = weigh.layer(
            "Conv2D", "dense", [kernel[None, None], *bias], taken_by, activation=layer.activation, **options
        )
        flat = ops.reshape(x, (-1, space[0] if len(space) > 1 else 1, math.prod(space[1:] or space), taken))
    return ops.reshape(held(flat), (-1, *space, layer.units))


def _quantised(call: Call) -> str:
    layer = call.operation
    if getattr(layer, "quantization_mode", None) or getattr(layer, "lora_enabled", False):
        return "it is quantised or has LoRA weights"
    return ""


CALL_RULES: Final = (
    CallRule(
        "paired-columns",
        "a convolution with a stride of two over an image takes two columns as one",
        columns,
        _quantised,
        paired,
    ),
    CallRule(
        "dense-on-a-map",
        "a Dense on more than vectors becomes one on vectors, or a 1x1 convolution",
        _wide_dense,
        _can_flatten,
        _dense,
    ),
)
