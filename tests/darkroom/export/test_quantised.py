"""Int8: what it loses is measured on labels, more than is allowed is refused, and only the network is quantised."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explanation_fixtures import digits_predictor

from darkroom.base.errors import InputError
from darkroom.export import int8
from darkroom.export.export import export_model
from darkroom.export.parity import Parity, run_each, stored_images
from darkroom.export.quantised import Speed, is_right, loss_of, refuse_loss
from darkroom.metrics.decision import Decision

pytestmark = pytest.mark.xdist_group("export")


# NNCF leaves the process with a stack for signals that is freed: with the next child that ends, a signal kills it.
ALONE = "DARKROOM_TEST_INT8_ALONE"


def rights(*wrong: int) -> np.ndarray:
    """Return which of 100 images are predicted correctly: all but these."""
    return ~np.isin(np.arange(100), wrong)


def test_points_that_are_lost_and_decisions_that_change() -> None:
    loss = loss_of(rights(1, 2, 3), rights(3, 4), Parity(100, 0.5, 1, 3))
    assert (loss.accuracy, loss.float32_accuracy) == (0.97, 0.98)
    assert loss.lost_points == pytest.approx(1)
    assert loss.lost_points_low < 0 < 1 < loss.lost_points_high < 8
    assert loss.changed == 0.04
    assert 0 < loss.changed_low < 0.04 < loss.changed_high < 0.12
    assert loss_of(rights(), rights(), Parity(100, 0, 0, 0)).changed_high > 0.01, "of 100 images none says little"


def test_more_than_is_allowed_is_refused_by_name() -> None:
    loss = loss_of(rights(1, 2, 3), rights(3), Parity(100, 0.5, 0, 2))
    refuse_loss("openvino-int8", loss, 100, 2.0, "--allow-loss")
    with pytest.raises(
        InputError, match=r"openvino-int8: loses 2 points .* on 100 images .*0\.9900 to 0\.9700.* set --allow-loss to 2$"
    ):
        refuse_loss("openvino-int8", loss, 100, 0.3, "--allow-loss")
    refuse_loss("openvino-int8", loss_of(rights(), rights(1), Parity(100, 0, 0, 1)), 100, 0.0, "--allow-loss")


def test_of_several_labels_all_have_to_be_right() -> None:
    probabilities, labels = np.array([[0.9, 0.1], [0.9, 0.9]]), np.array([[1, 0], [1, 0]], np.uint8)
    assert is_right(probabilities, labels, Decision(), multilabel=True).tolist() == [True, False]
    assert is_right(probabilities, np.array([0, 1]), Decision(), multilabel=False).tolist() == [True, False]


@pytest.mark.parametrize(
    ("flags", "why"), [("avx512f avx512_vnni", "gain little"), ("avx2", "no instructions"), (None, "not known")]
)
def test_too_little_speed_is_named(flags: str | None, why: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    if flags is not None:
        (tmp_path / "cpuinfo").write_text(f"flags: {flags}\n")
    monkeypatch.setattr(int8, "CPUINFO", tmp_path / "cpuinfo")
    assert why in Speed(100, 170).line("openvino-int8")
    assert Speed(100, 180).line("openvino-int8") == "export: openvino-int8: 180 images/s, 1.8 times those of float32 (100)"


@pytest.mark.slow
@pytest.mark.skipif(ALONE not in os.environ, reason="the next test runs it in a process of its own")
def test_digits_in_int8(digits: Any, tmp_path: Path) -> None:
    """Classes, thresholds and features come with it; what is lost stands beside parity; images of any size and batches."""
    predictor = digits_predictor(digits, positive_class=None, data_sha256={}, origin=None)
    rows, train = digits.split.rows["val"][:40], digits.split.rows["train"][:30]
    how: dict[str, Any] = {"calibration": train, "allowed": 100.0}
    formats = ["openvino", "openvino-int8"]
    plain, small = export_model(predictor, digits.pack, rows, formats, tmp_path / "exported", **how)
    assert small.loss is not None
    assert small.speed is not None
    weights = [each.path.with_suffix(".bin").stat().st_size for each in (plain, small)]
    assert weights[1] < weights[0] / 2
    record = json.loads((tmp_path / "exported" / "parity.json").read_text())
    assert {"accuracy", "float32_accuracy", "lost_points", "changed"} <= record["openvino-int8"].keys()
    assert "accuracy" not in record["openvino"]
    opened = int8_run(small.path)
    probabilities, features = run_each(opened, stored_images(digits.pack, rows))
    assert 1e-4 < small.parity.largest_difference < 1, "weights were rounded"
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-6)
    assert features.shape == (40, features.shape[1])
    images = np.random.default_rng(0).integers(0, 256, (3, 40, 90, 3), dtype=np.uint8)
    together = opened(images)[0]
    np.testing.assert_allclose(together, np.concatenate([opened(image[None])[0] for image in images]), atol=1e-5)


@pytest.mark.thorough
@pytest.mark.slow
def test_digits_in_int8_in_a_process_of_its_own() -> None:
    command = [sys.executable, "-m", "pytest", "-q", "-p", "no:cacheprovider", f"{__file__}::{test_digits_in_int8.__name__}"]
    run = subprocess.run(command, env=os.environ | {ALONE: "1"}, capture_output=True, text=True, timeout=300)
    assert "1 passed" in run.stdout, run.stdout + run.stderr


def int8_run(path: Path) -> Any:
    from darkroom.export.formats import FORMATS

    return FORMATS["openvino-int8"].open(path)
