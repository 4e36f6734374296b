"""A recognised block in the words of `Dialect`: the nearest preset, and where the block computes otherwise."""

from __future__ import annotations

from typing import Any, Final

from converters.deploy.recognise import Block
from exporter.models.dialect import DIALECTS, PAPER, Dialect

__all__ = ["dialect_of", "facts", "nearest_dialect"]

_CHANNEL: Final = ("ratio", "channel_pools", "shared_mlp", "mlp_bias", "mlp_activation", "gate")
_SPATIAL: Final = ("pools", "kernel_size", "spatial_bias", "spatial_norm", "norm_epsilon", "gate")


def nearest_dialect(dialect: Dialect) -> tuple[str, tuple[str, ...]]:
    """The preset that differs from `dialect` in the fewest fields, and those fields. Ties go to the paper's."""
    name = min(DIALECTS, key=lambda name: (len(dialect.differs(DIALECTS[name])), DIALECTS[name] != PAPER))
    return name, dialect.differs(DIALECTS[name])


def dialect_of(block: Block) -> tuple[str, tuple[str, ...]]:
    """The preset nearest to a block, and the fields of `Dialect` in which it is not that one. Ties go to the paper's.

    A graph does not tell a ratio from a fraction, so a hidden width other than the preset's is `ratio` here;
    `channel_pools` is a channel gate that lacks one of its two pooled vectors. Of one gate alone only its own fields
    count.
    """
    if block.kind == "cbam" and block.layer is not None:
        return nearest_dialect(block.layer.dialect)
    found = {name: _differs(block, preset) for name, preset in DIALECTS.items()}
    name = min(found, key=lambda name: (len(found[name]), DIALECTS[name] != PAPER))
    return name, found[name]


def facts(block: Block) -> dict[str, Any]:
    """What a block is in figures and words, JSON-able; None for what it has not."""
    channel, spatial = block.channel, block.spatial
    return {
        "hidden": None if channel is None else channel.hidden,
        "reduction": None if channel is None else block.channels / channel.hidden,
        "mlp_activation": None if channel is None else channel.activation,
        "mlp_bias": None if channel is None else any(channel.biases),
        "kernel_size": None if spatial is None else spatial.kernel_size,
        "pools": None if spatial is None else list(spatial.pools),
        "spatial_bias": None if spatial is None else spatial.conv.bias is not None,
        "spatial_norm": None if spatial is None else spatial.norm is not None,
        "gates": list(dict.fromkeys(gate.gate for gate in (channel, spatial) if gate is not None)),
        "order": block.order if block.kind == "cbam" else None,
        "residual": block.residual,
        "data_format": block.data_format,
    }


def _differs(block: Block, preset: Dialect) -> tuple[str, ...]:
    other: dict[str, bool] = {}
    if block.kind == "cbam":
        other["order"] = block.order != preset.order
        other["residual"] = block.residual != preset.residual
    else:
        other["residual"] = block.residual  # a preset's residual is around both gates
    channel, spatial = block.channel, block.spatial
    if channel is not None:
        other |= {
            "ratio": channel.hidden != _hidden(preset, block.channels),
            "channel_pools": channel.pools != ("avg", "max"),
            "shared_mlp": channel.shared != preset.shared_mlp,
            "mlp_bias": channel.biases != (preset.mlp_bias, preset.mlp_bias),
            "mlp_activation": channel.activation != preset.mlp_activation,
        }
    if spatial is not None:
        norm = spatial.norm
        other |= {
            "pools": spatial.pools != preset.pools,
            "kernel_size": spatial.kernel_size != preset.kernel_size,
            "spatial_bias": (spatial.conv.bias is not None) != preset.spatial_bias,
            "spatial_norm": (norm is not None) != preset.spatial_norm,
            "norm_epsilon": norm is not None and preset.spatial_norm and norm.epsilon != preset.norm_epsilon,
        }
    other["gate"] = any(gate.gate != preset.gate for gate in (channel, spatial) if gate is not None)
    order = dict.fromkeys((*_CHANNEL[:-1], *_SPATIAL, "residual", "order"))
    return tuple(name for name in order if other.get(name))


def _hidden(preset: Dialect, channels: int) -> int:
    """The preset's hidden width; 0, which no block has, where the preset cannot be."""
    if preset.ratio is not None:
        return channels // preset.ratio
    return preset.hidden(channels) if channels * (preset.fraction or 0) >= 1 or preset.rounding == "nearest" else 0
