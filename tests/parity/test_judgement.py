"""Verdicts by case and precision: what a candidate's distance from the truth means beside what rounding explains."""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Mapping

import numpy as np
import pytest

from converters.artifact import Precision
from exporter.parity.flips import find_flips
from exporter.parity.judgement import CaseVerdict, Criteria, judge_outputs
from exporter.parity.record import Record
from exporter.parity.tolerances import THROUGHOUT, WEIGHTS_ONLY, Overrides
from exporter.parity.verdict import Verdict

MakeRecord = Callable[..., Record]
CASES = ("inputs", "zeros", "extremes", "noise")


def judged(
    record: Record,
    given: np.ndarray | None,
    precision: Precision = Precision.FP32,
    overrides: Mapping[str, Overrides] | None = None,
    clipped: Mapping[str, str] | None = None,
) -> dict[str, CaseVerdict]:
    outputs = {} if given is None else {"scores": given}
    criteria = Criteria(precision, overrides or {}, clipped or {})
    return {each.case: each for each in judge_outputs(record, outputs, criteria)}


def verdicts(found: Mapping[str, CaseVerdict]) -> dict[str, Verdict]:
    return {case: each.verdict.verdict for case, each in found.items()}


def test_every_case_is_judged_by_its_own_truth(make_record: MakeRecord) -> None:
    record = make_record()
    given = record.outputs["scores"].copy()
    given[record.cases[2].start + 1] *= 1.001  # one sample of `extremes`
    assert verdicts(judged(record, given)) == {
        "inputs": Verdict.PASSED,
        "zeros": Verdict.NOT_INFORMATIVE,  # a product of zeros is zero
        "extremes": Verdict.FAILED,
        "noise": Verdict.PASSED,
    }


def test_the_references_own_error_is_no_excuse(make_record: MakeRecord) -> None:
    """A GPU's TF32 is in the recorded outputs; the candidate is held against the truth all the same."""
    record = make_record()
    truth = record.truth
    assert truth is not None
    off = np.random.default_rng(1).normal(size=truth["scores"].shape) * 1e-3
    coarse = dataclasses.replace(record, outputs={"scores": (truth["scores"] + off).astype(np.float32)})
    good = judged(coarse, truth["scores"].astype(np.float32))["inputs"]
    assert good.verdict.verdict is Verdict.PASSED
    assert good.vs_reference is not None
    assert good.vs_reference > 1e-3
    assert judged(coarse, coarse.outputs["scores"])["inputs"].verdict.verdict is Verdict.FAILED


@pytest.mark.parametrize("size", [1e-4, 1.0, 1e4])
def test_half_precision_has_the_tolerance_of_its_twin(size: float, make_record: MakeRecord) -> None:
    record = make_record()
    truth = record.truth
    assert truth is not None
    scaled = dataclasses.replace(
        record,
        outputs={"scores": record.outputs["scores"] * np.float32(size)},
        truth={"scores": truth["scores"] * size},
        noise={level: {"scores": errors["scores"] * size} for level, errors in record.noise.items()},
    )
    for factor, verdict in ((3.9, Verdict.PASSED), (4.2, Verdict.FAILED)):
        given = (truth["scores"] + factor * 2e-3) * size  # the twin is 2e-3 off
        assert verdicts(judged(scaled, given, Precision.FP16))["inputs"] is verdict
        assert verdicts(judged(scaled, given))["inputs"] is Verdict.FAILED


def test_where_half_precision_overflows_only_the_weights_count(make_record: MakeRecord) -> None:
    record = make_record()
    noise = dict(record.noise) | {"fp16": {"scores": np.full(record.samples, np.inf)}}
    record = dataclasses.replace(record, noise=noise)
    found = judged(record, record.outputs["scores"] + np.float32(3.9e-3), Precision.FP16)["inputs"]
    assert found.verdict.verdict is Verdict.PASSED
    assert found.verdict.tolerance is not None
    assert "float16 activations overflow here" in found.verdict.tolerance.source
    bad = record.outputs["scores"].copy()
    bad[3] = np.inf
    failed = judged(record, bad, Precision.FP16)["inputs"].verdict
    assert failed.verdict is Verdict.FAILED
    assert "overflow float16 on these inputs" in failed.reason


def test_a_file_that_stores_weights_only_in_half_precision_is_held_to_that(make_record: MakeRecord) -> None:
    record = make_record()
    given = record.outputs["scores"] + np.float32(6e-3)  # the twin with float16 weights is 1e-3 off, throughout 2e-3
    for half, verdict in ((THROUGHOUT, Verdict.PASSED), (WEIGHTS_ONLY, Verdict.FAILED)):
        found = judge_outputs(record, {"scores": given}, Criteria(Precision.FP16, half=half))
        assert found[0].verdict.verdict is verdict


def test_a_quantised_artifact_is_judged_on_real_inputs(make_record: MakeRecord) -> None:
    record = make_record()
    noise = np.random.default_rng(2).normal(size=record.outputs["scores"].shape).astype(np.float32)
    fine = record.outputs["scores"] + noise * np.float32(0.02)
    found = judged(record, fine, Precision.INT8)
    assert verdicts(found) == {
        "inputs": Verdict.PASSED,
        **dict.fromkeys(CASES[1:], Verdict.NOT_INFORMATIVE),
    }
    assert found["noise"].verdict.metrics is not None
    coarse = record.outputs["scores"] + noise * np.float32(2.0)
    assert verdicts(judged(record, coarse, Precision.INT8))["inputs"] is Verdict.FAILED
    broken = fine.copy()
    broken[record.cases[3].rows] = np.nan
    assert verdicts(judged(record, broken, Precision.INT8))["noise"] is Verdict.FAILED
    beyond = judged(record, fine, Precision.INT8, clipped={"noise": "16 of 16 samples go beyond"})
    assert beyond["noise"].verdict.reason == "16 of 16 samples go beyond"


def test_real_inputs_that_are_clipped_are_judged_as_the_device_clips_them(make_record: MakeRecord) -> None:
    record = make_record()
    clipped = {"inputs": "1 of 24 samples goes beyond 0..0.95"}
    wrong = judged(record, -record.outputs["scores"], Precision.INT8, clipped=clipped)["inputs"].verdict
    assert wrong.verdict is Verdict.FAILED
    assert wrong.reason.startswith("SQNR")
    assert wrong.reason.endswith("; 1 of 24 samples goes beyond 0..0.95")
    right = judged(record, record.outputs["scores"], Precision.INT8, clipped=clipped)["inputs"].verdict
    assert (right.verdict, right.reason) == (Verdict.PASSED, clipped["inputs"])


def test_what_is_missing_or_of_another_shape_fails_once(make_record: MakeRecord) -> None:
    record = make_record()
    for given, said in ((None, "no such output"), (record.outputs["scores"][:, :5], "shape")):
        (found,) = judged(record, given).values()
        assert (found.verdict.verdict, found.case) == (Verdict.FAILED, "all")
        assert said in found.verdict.reason


def test_overrides_replace_the_tolerance_and_are_told(make_record: MakeRecord) -> None:
    record = make_record()
    off = record.outputs["scores"] + np.float32(0.01)
    assert verdicts(judged(record, off))["inputs"] is Verdict.FAILED
    found = judged(record, off, overrides={"": Overrides(atol=0.011)})
    assert set(verdicts(found).values()) == {Verdict.PASSED}
    assert found["inputs"].overrides == "--atol 0.011"
    assert "asked for" in found["inputs"].verdict.tolerance.source  # type: ignore[union-attr]
    tight = judged(record, record.outputs["scores"], overrides={"scores": Overrides(atol=0.0), "": Overrides(atol=1.0)})
    assert verdicts(tight)["inputs"] is Verdict.FAILED
    assert "values are further off than --atol 0" in tight["inputs"].verdict.reason
    relative = record.outputs["scores"] * np.float32(1.001)
    assert verdicts(judged(record, relative, overrides={"": Overrides(rtol=2e-3)}))["inputs"] is Verdict.PASSED
    assert verdicts(judged(record, relative, overrides={"": Overrides(rtol=5e-4)}))["inputs"] is Verdict.FAILED


def test_minima_come_on_top(make_record: MakeRecord) -> None:
    record = make_record()
    exact = record.outputs["scores"]
    assert verdicts(judged(record, exact, overrides={"": Overrides(min_cosine=0.9999)}))["inputs"] is Verdict.PASSED
    found = judged(record, exact, overrides={"": Overrides(min_sqnr=200)})["inputs"].verdict
    assert found.verdict is Verdict.FAILED
    assert "below the 200 that was asked for" in found.reason
    noisy = exact + np.random.default_rng(2).normal(size=exact.shape).astype(np.float32) * np.float32(0.5)
    assert verdicts(judged(record, noisy, Precision.INT8))["inputs"] is Verdict.FAILED
    loose = {"": Overrides(min_agreement=0.5, min_sqnr=10)}
    assert verdicts(judged(record, noisy, Precision.INT8, loose))["inputs"] is Verdict.PASSED


def test_a_figure_that_an_output_has_not_got_fails_where_it_was_asked_for_by_name(make_record: MakeRecord) -> None:
    record = make_record()
    maps = dataclasses.replace(
        record,
        outputs={"scores": record.outputs["scores"].reshape(-1, 2, 3)},
        truth={"scores": record.truth["scores"].reshape(-1, 2, 3)},  # type: ignore[index]
    )
    for overrides, verdict in (({"scores": Overrides(min_agreement=0.5)}, "FAILED"), ({"": Overrides()}, "PASSED")):
        assert verdicts(judged(maps, maps.outputs["scores"], overrides=overrides))["inputs"] == verdict


def test_few_samples_are_allowed_the_rounding_of_many(make_record: MakeRecord) -> None:
    record = make_record()
    lucky = {level: {"scores": errors["scores"].copy()} for level, errors in record.noise.items()}
    lucky["float32"]["scores"][record.cases[2].rows] = 0.0  # these four happen to round to the very truth
    record = dataclasses.replace(record, noise=lucky)
    given = record.outputs["scores"] + np.float32(5e-6)
    assert verdicts(judged(record, given))["extremes"] is Verdict.PASSED


def test_an_output_without_a_batch_is_judged_whole(make_record: MakeRecord) -> None:
    record = make_record()
    assert record.truth is not None
    whole = dataclasses.replace(
        record,
        outputs={"scores": record.outputs["scores"][:7]},
        truth={"scores": record.truth["scores"][:7]},
        noise={level: {"scores": errors["scores"][:7]} for level, errors in record.noise.items()},
    )
    (found,) = judged(whole, whole.outputs["scores"]).values()
    assert (found.case, found.verdict.verdict) == ("all", Verdict.PASSED)


def test_without_truth_the_recorded_outputs_are_the_measure(make_record: MakeRecord) -> None:
    record = make_record(truth=None, noise={})
    assert verdicts(judged(record, record.outputs["scores"]))["inputs"] is Verdict.PASSED
    found = judged(record, record.outputs["scores"] * np.float32(1.01))["inputs"].verdict
    assert found.verdict is Verdict.FAILED
    half = record.outputs["scores"].astype(np.float16).astype(np.float32)
    assert verdicts(judged(record, half))["inputs"] is Verdict.FAILED
    assert verdicts(judged(record, half, Precision.FP16))["inputs"] is Verdict.PASSED


def test_a_flip_at_a_near_tie_is_told_from_a_real_one() -> None:
    expected = np.array([[0.5, 0.499, 0.0], [0.9, 0.05, 0.05], [0.1, 0.2, 0.7]])
    given = np.array([[0.499, 0.5, 0.0], [0.1, 0.8, 0.1], [0.1, 0.2, 0.7]])
    near, real = find_flips(expected, given, noise=0.001, start=10)
    assert (near.sample, near.expected, near.given, near.near_tie) == (10, 0, 1, True)
    assert (real.sample, real.expected, real.given, real.near_tie) == (11, 0, 1, False)
    assert real.margin == pytest.approx(0.85)
    assert find_flips(expected[:, :1], given[:, :1], 0.001, 0) == ()
    assert find_flips(expected[None], given[None], 0.001, 0) == ()


def test_one_near_tie_among_few_samples_is_no_lost_share(make_record: MakeRecord) -> None:
    """40 samples: the least agreement of 98% lets not one through, so a single near tie would fail a sound file."""
    record = make_record()
    truth = record.truth
    assert truth is not None

    found: Mapping[str, CaseVerdict] = {}
    overrides: dict[str, Overrides] = {}

    def turned(*margins: float) -> dict[str, Verdict]:
        """The verdicts where the first samples, which prefer their class by these margins, prefer another one."""
        exact, given = truth["scores"].copy(), truth["scores"].copy()
        for row, margin in enumerate(margins):
            second, top = np.argsort(exact[row])[-2:]
            exact[row, second] = exact[row, top] - margin
            given[row] = exact[row]
            given[row, [top, second]] = exact[row, [second, top]]
        changed = dataclasses.replace(record, truth={"scores": exact}, outputs={"scores": exact.astype(np.float32)})
        nonlocal found
        found = judged(changed, given.astype(np.float32), Precision.INT8, overrides)
        return verdicts(found)

    near, far = 0.01, 0.4 * float(np.sqrt(np.mean(truth["scores"][:40] ** 2)))
    assert turned()["inputs"] is Verdict.PASSED
    assert found["inputs"].verdict.reason == ""
    assert turned(near)["inputs"] is Verdict.PASSED
    assert "one of 40 samples turned, at a near tie" in found["inputs"].verdict.reason
    assert turned(near, near)["inputs"] is Verdict.FAILED
    assert turned(far)["inputs"] is Verdict.FAILED
    assert found["inputs"].verdict.reason.startswith("top-1 agrees")
    overrides = {"": Overrides(min_agreement=0.98)}  # what was asked for is not reasoned away
    assert turned(near)["inputs"] is Verdict.FAILED


def test_without_a_truth_scaled_inputs_fail_nothing(make_record: MakeRecord) -> None:
    """The fallback tolerance knows nothing of what a softmax does to scores that are many times larger."""
    record = dataclasses.replace(make_record(), truth=None, noise={})
    record = dataclasses.replace(
        record, cases=(*record.cases[:-1], dataclasses.replace(record.cases[-1], name="scaled"))
    )
    given = record.outputs["scores"].copy()
    given[record.cases[-1].rows] *= 2
    found = judged(record, given)["scaled"].verdict
    assert found.verdict is Verdict.NOT_INFORMATIVE
    assert "no float64 truth tells" in found.reason
    given[record.cases[0].rows] *= 2
    assert judged(record, given)["inputs"].verdict.verdict is Verdict.FAILED


def test_a_flip_far_from_a_tie_is_one_under_any_bound(make_record: MakeRecord) -> None:
    record = make_record()
    found = judged(record, -record.outputs["scores"], overrides={"": Overrides(atol=1e6)})["inputs"]
    assert found.verdict.verdict is Verdict.PASSED
    assert found.flips
    assert not any(flip.near_tie for flip in found.flips)
