"""Dialects: the hidden width, the presets, configs there and back, and what is refused."""

from __future__ import annotations

import dataclasses
import json
import pickle
import re
import subprocess
import sys
from typing import Any

import pytest

from converters.errors import ModelError, OptionError
from exporter.models.dialect import BLOG, DIALECTS, PAPER, TIMM, Dialect

OTHER: dict[str, Any] = {  # a value of each field that no preset has, or that PAPER has not
    "ratio": 8,
    "fraction": 0.3,
    "rounding": "nearest",
    "shared_mlp": False,
    "mlp_bias": False,
    "mlp_activation": "sigmoid",
    "pools": ("avg", "max"),
    "kernel_size": 4,
    "spatial_bias": True,
    "spatial_norm": False,
    "norm_epsilon": 1e-3,
    "norm_momentum": 0.9,
    "norm_gamma": "ones",
    "gate": "hard_sigmoid",
    "residual": True,
    "order": "parallel",
}


def changed(field: str) -> Dialect:
    extra: dict[str, Any] = {"ratio": None} if field == "fraction" else {}
    return dataclasses.replace(PAPER, **{field: OTHER[field], **extra})


def test_every_field_has_another_value_here() -> None:
    assert list(OTHER) == [field.name for field in dataclasses.fields(Dialect)]


def test_dialects_need_neither_keras_nor_numpy() -> None:
    code = (
        "import sys; from exporter.models.dialect import PAPER; assert PAPER.hidden(64) == 4; "
        "assert not {'keras', 'tensorflow', 'numpy'} & set(sys.modules), sorted(sys.modules)"
    )
    subprocess.run([sys.executable, "-c", code], check=True)


def test_the_presets() -> None:
    assert dict(DIALECTS) == {"paper": PAPER, "blog": BLOG, "timm": TIMM}
    assert Dialect() == PAPER
    assert PAPER.differs(BLOG) == (
        "ratio",
        "fraction",
        "mlp_activation",
        "kernel_size",
        "spatial_norm",
        "residual",
    )
    assert PAPER.differs(TIMM) == ("ratio", "fraction", "rounding", "mlp_bias", "pools")
    assert (PAPER.norm_gamma, PAPER.norm_momentum) == ("zeros", 0.99)
    assert (TIMM.norm_gamma, TIMM.norm_momentum) == ("ones", 0.9)


@pytest.mark.parametrize("field", OTHER)
def test_differs_names_the_field_unless_training_alone_sees_it(field: str) -> None:
    expected = {"fraction": ("ratio", "fraction"), "norm_momentum": (), "norm_gamma": ()}.get(field, (field,))
    assert changed(field).differs(PAPER) == PAPER.differs(changed(field)) == expected
    assert changed(field) != PAPER
    assert changed(field).differs(changed(field)) == ()


@pytest.mark.parametrize("dialect", [*DIALECTS.values(), *map(changed, OTHER)], ids=[*DIALECTS, *OTHER])
def test_a_config_goes_through_json_and_back(dialect: Dialect) -> None:
    config = json.loads(json.dumps(dialect.to_config()))
    assert Dialect.of(config) == dialect
    assert hash(Dialect.of(config)) == hash(dialect)
    assert pickle.loads(pickle.dumps(dialect)) == dialect


def test_of_takes_a_dialect_a_name_and_a_part_of_a_config() -> None:
    assert Dialect.of(BLOG) is BLOG
    assert all(Dialect.of(name) is dialect for name, dialect in DIALECTS.items())
    assert Dialect.of({}) == PAPER
    assert Dialect.of({"kernel_size": 3}) == dataclasses.replace(PAPER, kernel_size=3)


def test_a_dialect_is_frozen() -> None:
    with pytest.raises(dataclasses.FrozenInstanceError):
        PAPER.ratio = 8  # type: ignore[misc]
    pools: Any = ["avg", "max"]
    assert Dialect(pools=pools).pools == ("avg", "max")


@pytest.mark.parametrize(
    ("dialect", "channels", "width"),
    [
        (PAPER, 64, 4),
        (PAPER, 31, 1),  # 31 // 16
        (PAPER, 2048, 128),
        (Dialect(ratio=1), 3, 3),
        (Dialect(ratio=8), 127, 15),
        (BLOG, 3, 1),  # int(1.5)
        (BLOG, 64, 32),
        (Dialect(ratio=None, fraction=0.125), 8, 1),
        (Dialect(ratio=None, fraction=0.7), 5, 3),  # int(3.5)
        (Dialect(ratio=None, fraction=2), 3, 6),
        (TIMM, 64, 4),
        (TIMM, 24, 2),  # int(1.5 + 0.5)
        (TIMM, 23, 1),
        (TIMM, 40, 3),  # int(2.5 + 0.5): up at the half, not to even
        (TIMM, 1, 1),  # never 0
    ],
)
def test_the_hidden_width(dialect: Dialect, channels: int, width: int) -> None:
    assert dialect.hidden(channels) == width


def test_a_hidden_width_of_zero_names_channels_ratio_and_the_smallest_that_works() -> None:
    with pytest.raises(ModelError) as raised:
        dataclasses.replace(BLOG, fraction=0.125).hidden(3)
    assert str(raised.value) == (
        "the channel MLP would have int(C * ratio) = int(3 * 0.125) = 0 hidden units; "
        "with C = 3 the smallest ratio that works is 1/3 = 0.3334"
    )
    with pytest.raises(ModelError) as raised:
        PAPER.hidden(15)
    assert str(raised.value) == (
        "the channel MLP would have C // ratio = 15 // 16 = 0 hidden units; "
        "with C = 15 the largest ratio that works is 15"
    )


def test_the_advised_ratio_works_and_is_tight_for_every_width() -> None:
    for channels in range(1, 2101):
        with pytest.raises(ModelError) as raised:
            Dialect(ratio=None, fraction=0.999 / channels).hidden(channels)
        found = re.search(rf"C = {channels} the smallest .* 1/{channels} = ([0-9.]+)$", str(raised.value))
        assert found
        assert Dialect(ratio=None, fraction=float(found[1])).hidden(channels) == 1
        assert 1 / channels <= float(found[1]) <= 1.001 / channels

        with pytest.raises(ModelError) as raised:
            Dialect(ratio=channels + 1).hidden(channels)
        found = re.search(r"the largest ratio that works is (\d+)$", str(raised.value))
        assert found
        assert Dialect(ratio=int(found[1])).hidden(channels) == 1


def test_the_sum_in_the_message_is_true() -> None:
    # 1/49 falls just short of it as a float; six digits of it would not.
    with pytest.raises(ModelError) as raised:
        Dialect(ratio=None, fraction=1 / 49).hidden(49)
    found = re.search(r"int\(49 \* ([0-9.]+)\) = 0 hidden", str(raised.value))
    assert found
    assert int(49 * float(found[1])) == 0


@pytest.mark.parametrize(
    ("fields", "message"),
    [
        ({"fraction": 0.5}, r"either ratio .* or fraction .*, not both or neither; got ratio=16, fraction=0.5"),
        ({"ratio": None}, r"not both or neither; got ratio=None, fraction=None"),
        ({"ratio": 0}, r"ratio .* a whole number of at least 1; got 0"),
        ({"ratio": 0.125}, r"ratio .* a whole number .* got 0.125 \(a fraction that multiplies them is `fraction`\)"),
        ({"ratio": 16.0}, r"ratio .* a whole number"),
        ({"ratio": "16"}, r"ratio .* got '16'"),
        ({"ratio": True}, r"ratio .* got True"),
        ({"ratio": None, "fraction": 0.0}, r"fraction .* must be above 0; got 0.0"),
        ({"ratio": None, "fraction": -0.5}, r"fraction .* must be above 0; got -0.5"),
        ({"ratio": None, "fraction": float("nan")}, r"fraction .* got nan"),
        ({"ratio": None, "fraction": float("inf")}, r"fraction .* got inf"),
        ({"ratio": None, "fraction": "0.5"}, r"fraction .* got '0.5'"),
        ({"kernel_size": 0}, r"kernel_size must be a whole number of at least 1; got 0"),
        ({"kernel_size": 3.0}, r"kernel_size must be a whole number"),
        ({"kernel_size": (7, 7)}, r"kernel_size .* got \(7, 7\)"),
        ({"pools": ("max", "max")}, r"pools must be \('max', 'avg'\) or \('avg', 'max'\); got \('max', 'max'\)"),
        ({"pools": ("max",)}, r"pools must be"),
        ({"pools": ("max", "mean")}, r"pools must be"),
        ({"pools": "max"}, r"pools must be .* got 'max'"),
        ({"pools": None}, r"pools must be .* got None"),
        ({"rounding": "ceil"}, r"rounding must be one of 'floor', 'nearest'; got 'ceil'"),
        ({"mlp_activation": "tanh"}, r"mlp_activation must be one of None, 'relu', 'sigmoid'; got 'tanh'"),
        ({"gate": "tanh"}, r"gate must be one of 'sigmoid', 'hard_sigmoid', 'linear'; got 'tanh'"),
        ({"order": "channel"}, r"order must be one of 'channel_spatial', 'spatial_channel', 'parallel'"),
        ({"norm_gamma": "one"}, r"norm_gamma must be one of 'zeros', 'ones'; got 'one'"),
        ({"norm_epsilon": -1e-5}, r"norm_epsilon must be at least 0; got -1e-05"),
        ({"norm_momentum": 1.5}, r"norm_momentum must be from 0 to 1; got 1.5"),
        ({"residual": "no"}, r"residual must be one of True, False; got 'no'"),
        ({"shared_mlp": None}, r"shared_mlp must be one of True, False; got None"),
    ],
)
def test_a_wrong_field_is_refused(fields: dict[str, Any], message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Dialect(**fields)
    with pytest.raises(OptionError, match=message):
        Dialect.of(fields)


@pytest.mark.parametrize(
    ("value", "message"),
    [
        ("papr", r"unknown dialect 'papr'; did you mean 'paper'\? \(known: paper, blog, timm\)"),
        ("zzz", r"unknown dialect 'zzz' \(known: paper, blog, timm\)"),
        ({"kernel_sise": 3}, r"unknown dialect field 'kernel_sise'; did you mean 'kernel_size'\?"),
        ({"zzz": 3}, r"unknown dialect field 'zzz' \(known: ratio, fraction, .*, residual, order\)"),
        (16, r"a dialect is a Dialect, a preset's name or a dict of its fields; got 16"),
    ],
)
def test_an_unknown_name_is_refused_with_the_nearest(value: Any, message: str) -> None:
    with pytest.raises(OptionError, match=message):
        Dialect.of(value)
