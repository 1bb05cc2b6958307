"""What predict makes of probabilities, for each task, and what it refuses."""

from collections.abc import Callable
from pathlib import Path

import numpy as np
import pytest

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.inference.calibrated import Rule, make_rule

SHA = "a" * 64


@pytest.fixture
def rule(make_params: Callable[..., Params], tmp_path: Path) -> Callable[..., Rule]:
    def make(changes: dict[str, object], task: str, thresholds: dict[str, float] | None, abstain: float | None = None) -> Rule:
        kept = None if abstain is None else {"confidence": abstain}
        content = {"format": 1, "weights_sha256": SHA, "temperature": 2.0, "thresholds": thresholds, "abstain": kept}
        files.write_sealed_json(tmp_path / "calibration.json", content)
        params = make_params({f"predict.{name}": value for name, value in changes.items()})
        data, positive = (tmp_path / "calibration.json").read_bytes(), 1 if task == "binary" else None
        return make_rule(params.predict, data, name="models", weights_sha256=SHA, task=task, positive=positive)

    return make


LOGITS = np.array([-3.0, -1.0, -0.5, 0.5, 2.0])
P = 1 / (1 + np.exp(-LOGITS))
CALIBRATED = 1 / (1 + np.exp(-LOGITS / 2))
BINARY = np.stack([1 - P, P], axis=1)


def test_fitted_thresholds_are_of_calibrated_probabilities(rule: Callable[..., Rule]) -> None:
    made = rule({"threshold": "fitted"}, "binary", {"cat": 0.4})
    found = made.predicted(BINARY)["probabilities"]
    np.testing.assert_allclose(found[:, 1], CALIBRATED, rtol=1e-6)
    assert made.decision.label(found).tolist() == (CALIBRATED > 0.4).astype(int).tolist() == [0, 0, 1, 1, 1]
    raw = rule({"threshold": "fitted", "calibrated": False}, "binary", {"cat": 0.4})
    found = raw.predicted(BINARY)["probabilities"]
    np.testing.assert_allclose(found[:, 1], P, rtol=1e-6)
    assert raw.decision.label(found).tolist() == [0, 0, 1, 1, 1]


def test_a_threshold_that_is_set_decides_the_same_with_and_without_calibration(rule: Callable[..., Rule]) -> None:
    for calibrated in (True, False):
        made = rule({"threshold": 0.8, "calibrated": calibrated}, "binary", {"cat": 0.4})
        assert made.decision.label(made.predicted(BINARY)["probabilities"]).tolist() == [0, 0, 0, 0, 1]


def test_each_of_several_labels_has_a_threshold(rule: Callable[..., Rule]) -> None:
    made = rule({"threshold": "fitted"}, "multilabel", {"a": 0.2, "b": 0.6}, abstain=0.9)
    found = made.predicted(np.stack([P, P], axis=1))
    assert made.decision.chosen(found["probabilities"]).tolist() == [
        [False, False],
        [True, False],
        [True, False],
        [True, False],
        [True, True],
    ]
    assert found["abstained"] is None


def test_a_binary_model_abstains_on_either_side(rule: Callable[..., Rule]) -> None:
    made = rule({"threshold": None}, "binary", {"cat": 0.4}, abstain=0.65)
    assert made.predicted(BINARY)["abstained"].tolist() == [False, True, True, True, False]


def test_thresholds_that_were_not_fitted_are_refused(rule: Callable[..., Rule]) -> None:
    with pytest.raises(InputError, match=r"^params\.yaml: predict\.threshold: is fitted, but models has no thresholds; run"):
        rule({"threshold": "fitted"}, "multilabel", None)


@pytest.mark.parametrize("found", [None, b""])
def test_a_model_that_was_not_evaluated_predicts_without_calibration(
    found: bytes | None, make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    predict = make_params({"predict.calibrated": True}).predict
    made = make_rule(predict, found, name="models", weights_sha256=SHA, task="multiclass", positive=None)
    assert (made.calibration, made.is_calibrated) == (None, False)
    assert "models: has no calibration.json, so its probabilities are not calibrated" in capsys.readouterr().err
