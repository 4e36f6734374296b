"""A model with Lambda layers -> the same model of Keras's own operations, running no byte of what the file holds."""

from __future__ import annotations

import dataclasses
import json
import math
import os
from collections.abc import Callable, Collection, Mapping
from typing import Any, Final

from converters.errors import CbamError, ModelError, OptionError
from converters.lambdas import masks
from converters.lambdas.apart import set_apart
from converters.lambdas.archive import ModelArchive, iter_layers, layer_name, read_archive
from converters.lambdas.era import RescueOptions, data_format_of, era_of, era_said, unsaid
from converters.lambdas.graph import Part
from converters.lambdas.limits import Limits, line, show
from converters.lambdas.optimizer import keep_optimizer
from converters.lambdas.rebuild import Rebuilder, is_replaced
from converters.lambdas.replace import Refused, Replaced, Replacer
from converters.lambdas.trust import REPLACEABLE, check_links, check_trusted, find_untrusted
from converters.lambdas.values import Era
from converters.lambdas.weights import copy_weights, restore, stored_for

__all__ = [
    "LambdaRefusedError",
    "Refused",
    "Replaced",
    "RewriteResult",
    "needs_rewrite",
    "rewrite",
    "rewrite_archive",
    "rewrite_model",
]

_STATES: Final = 1 << 26  # numbers in the sequences of recurrent layers that keep states
_REASON: Final = 1000  # characters
_SHOWN: Final = 8  # refusals in one message


class LambdaRefusedError(ModelError):
    """A model with Lambda layers that cannot be replaced; `refused` holds every one with its reason.

    without_reasons: the message for where the reasons stand elsewhere.
    """

    def __init__(
        self, message: str, refused: tuple[Refused, ...], replaced: tuple[Replaced, ...], without_reasons: str = ""
    ) -> None:
        super().__init__(message)
        self.refused, self.replaced, self.without_reasons = refused, replaced, without_reasons


@dataclasses.dataclass(frozen=True)
class RewriteResult:
    """A rescued model.

    model: the Keras model, compiled only if its optimizer was kept. replaced: every Lambda and raw operation. notes:
    what else was brought to today's form, one sentence each.
    """

    model: Any
    replaced: tuple[Replaced, ...]
    notes: tuple[str, ...]


def rewrite(
    path: str | os.PathLike[str],
    functions: Mapping[str, Any] | None = None,
    registered: Collection[str] = (),
    limits: Limits | None = None,
    on_step: Callable[[str], None] = lambda step: None,
    options: RescueOptions | None = None,
) -> RewriteResult:
    """The model of a `.keras` or HDF5 file with operations in the place of its Lambda layers; the file is only read.

    Args:
        functions: for functions that the file does not hold, by their name or by the layer's: the text of a lambda or
            of a file that defines it, or the function itself, which are read and not run; or a Keras layer.
        registered: names of classes registered with Keras that the file may use, as `trust.check_trusted` takes them.
        on_step: told what is being done, before it is done.
        options: None leaves the optimizer out, and nothing is said of the file.

    Raises:
        ModelError: the file cannot be read, or is not trusted.
        LambdaRefusedError: some Lambdas are not understood.
        OptionError: a function that was given is none, or is not needed; or an option contradicts the file.
    """
    archive = read_archive(path, limits)
    return rewrite_archive(archive, functions, registered, limits, on_step, options)


def rewrite_archive(
    archive: ModelArchive,
    functions: Mapping[str, Any] | None = None,
    registered: Collection[str] = (),
    limits: Limits | None = None,
    on_step: Callable[[str], None] = lambda step: None,
    options: RescueOptions | None = None,
) -> RewriteResult:
    """As `rewrite`, of a file that was read."""
    options = options or RescueOptions(keep_optimizer=False)
    check_trusted(archive, registered, replaceable=True)
    if archive.backend == "theano":
        raise ModelError(f"{archive.path} was saved on Theano, whose convolutions are mirrored; save it on TensorFlow")
    stored = check_links(archive, limits)
    on_step("starting Keras")
    era, taken = era_said(archive, options), _taken(archive.config)
    masked = masks.makes_masks(archive.config)
    lambdas = [path for path, layer in iter_layers(archive.config) if layer["class_name"] == "Lambda"]
    held = stored_for(archive, lambdas)
    made = {path: each.arrays for path, each in held.items()}
    on_step(f"rebuilding {archive.path.name}")
    still = _without_states(archive.config)
    if still != archive.config:  # measured first, since states take memory at once
        _weightless(archive, still, Replacer(era, functions or {}, set(taken), masks=masked, made=made), stored)
        _forget_weights()
    replacer = Replacer(era, functions or {}, set(taken), masks=masked, made=made)
    try:
        rebuilder, part = _weightless(archive, archive.config, replacer, stored)
        _fill(str(archive.path))
    except ModelError as error:
        if still == archive.config or "stateless scope" not in str(error):
            raise
        # States are variables of given values, which the scope does not take.
        replacer = Replacer(era, functions or {}, set(taken), masks=masked, made=made)
        rebuilder, part = _rebuild(str(archive.path), archive.config, replacer)
    on_step("restoring the weights")
    restore(archive, part, {path[-1] for path in replacer.replaced}, [held[path] for path in replacer.served])
    rebuilder.finish()
    part.layer, copied = set_apart(part.layer)
    notes = [*rebuilder.notes, *map(_copied, copied), *unsaid(archive)]
    dropped = keep_optimizer(archive, part, era.keras) if options.keep_optimizer else ""
    notes += [dropped] if dropped else []
    return RewriteResult(part.layer, tuple(replacer.replaced.values()), tuple(notes))


def rewrite_model(model: Any, functions: Mapping[str, Any] | None = None) -> RewriteResult:
    """As `rewrite`, of a Keras model in memory, whose functions are read and not called; the model is not changed.

    Raises:
        ModelError: the model is not made of layers in a graph, or Keras cannot tell its config.
        LambdaRefusedError: some Lambdas are not understood.
    """
    import keras

    from converters.lambdas.live import lambda_layers

    if not isinstance(model, keras.Sequential) and type(model) is not keras.Model and not hasattr(model, "operations"):
        raise ModelError(f"{model.name}: a subclassed model has no graph of layers, so nothing in it can be replaced")
    try:
        config = json.loads(json.dumps(keras.saving.serialize_keras_object(model)))  # as a file would hold it
    except (TypeError, ValueError, AttributeError, NotImplementedError) as error:
        raise ModelError(f"{model.name}: Keras cannot tell its config: {str(error).splitlines()[0][:300]}") from error
    era = Era(3, 2, data_format_of(config), True, True)
    replacer = Replacer(era, functions or {}, _taken(config), lambda_layers(model), masks.makes_masks(config))
    rebuilder, part = _rebuild(model.name, config, replacer)
    copy_weights(model, part)
    made, copied = set_apart(part.layer)
    return RewriteResult(made, tuple(replacer.replaced.values()), (*rebuilder.notes, *map(_copied, copied)))


def _copied(name: str) -> str:
    return (
        f"model {show(name)}: shares layers with a model around or beside it, which Keras 3 cannot write; it "
        "has copies of them with the same weights"
    )


def _weightless(
    archive: ModelArchive, config: dict[str, Any], replacer: Replacer, stored: int
) -> tuple[Rebuilder, Part]:
    """The rebuilt model before its weights take memory: a small file may ask for a huge layer."""
    import keras

    try:
        with keras.StatelessScope(initialize_variables=False):
            rebuilder, part = _rebuild(str(archive.path), config, replacer)
        wanted = sum(math.prod(variable.shape) for variable in part.layer.weights)
        if wanted > stored:
            raise ModelError(f"{archive.path}: its config asks for {wanted:,} weights, and it holds {stored:,}")
        if config is not archive.config and rebuilder.states > _STATES:
            raise ModelError(f"{archive.path}: its config asks for recurrent layers with {rebuilder.states:,} states")
    except BaseException:
        _forget_weights()
        raise
    return rebuilder, part


def _fill(where: str) -> None:
    """Give every weight its memory, and the first values that its layer's config asks for."""
    import keras

    try:
        with keras.StatelessScope():
            pass  # leaving it does
    except Exception as error:  # an initializer's numbers may be anything
        _forget_weights()
        raise ModelError(f"{where}: Keras cannot make the weights of its config: {line(error, _REASON)}") from error


def _forget_weights() -> None:
    """Weights without memory never get any; the next model that anyone builds would give it to them.

    keras.backend.clear_session would do as much, and throw away the caller's dtype policy and seed.
    """
    from keras.src.backend.common import global_state

    global_state.set_global_attribute("uninitialized_variables", [])


def _without_states(config: Any) -> Any:
    """A config whose recurrent layers keep no state from batch to batch."""
    if isinstance(config, dict):
        return {key: False if key == "stateful" else _without_states(each) for key, each in config.items()}
    return [_without_states(each) for each in config] if isinstance(config, list) else config


def _rebuild(where: str, config: dict[str, Any], replacer: Replacer) -> tuple[Rebuilder, Part]:
    for path, layer in iter_layers(config):
        if layer["class_name"] == "Lambda":
            replacer.resolve(path, layer)
    rebuilder = Rebuilder(replacer, replacer.era, replacer.unique)
    part = None
    try:
        part = rebuilder.model(config)
    except OptionError:
        raise
    except Exception as error:
        # What else goes wrong after a Lambda was refused says nothing of the file.
        if not replacer.refused:
            broken = f"its config is broken ({type(error).__name__}): "
            if isinstance(error, RecursionError):
                broken = "more of its layers and operations follow one on another than Keras can build: "
            elif isinstance(error, CbamError):
                broken = ""
            raise ModelError(f"{where}: {broken}{line(error, _REASON)}") from error
    if replacer.refused:
        raise _refusal(where, replacer)
    assert part is not None
    replacer.unused()
    return rebuilder, part


def needs_rewrite(archive: ModelArchive, registered: Collection[str] = ()) -> bool:
    """Whether Keras 3 cannot open the file as it is, or would open it as a model that computes something else.

    That is a file with Lambda layers or raw TensorFlow operations, and any file that Keras 2 wrote.
    """
    old = era_of(archive.config, archive.keras_version).keras < 3
    return old or any(finding.kind in REPLACEABLE for finding in find_untrusted(archive.config, registered))


def _taken(config: dict[str, Any]) -> set[str]:
    """The names that operations must not get; the one in a Lambda's place takes the Lambda's."""
    return {layer_name(layer) for _, layer in iter_layers(config) if not is_replaced(layer)}


def _refusal(where: str, replacer: Replacer) -> LambdaRefusedError:
    """One error for all Lambdas that were refused."""
    refused = tuple(replacer.refused.values())
    count = f"{len(refused)} of its Lambda layers" if len(refused) > 1 else "one of its Lambda layers"
    each = "; ".join(
        f"layer {show(one.layer)}: {line(one.reason, 1200 // len(refused[:_SHOWN]))}" for one in refused[:_SHOWN]
    )
    each += f"; and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    way_out = "; --function LAYER='lambda t: ...' says what such a layer computes"
    names = ", ".join(show(one.layer) for one in refused[:_SHOWN])
    names += f" and {len(refused) - _SHOWN} more" if len(refused) > _SHOWN else ""
    return LambdaRefusedError(
        f"{where}: {count} cannot be replaced: {each}{way_out}",
        refused,
        tuple(replacer.replaced.values()),
        f"{where}: {count} cannot be replaced, for the reasons above: {names}{way_out}",
    )
