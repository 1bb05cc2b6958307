"""What evaluate writes of the worst mistakes, and of the features of test images."""

import io
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from explanation_fixtures import digits_predictor
from numpy.typing import NDArray
from PIL import Image
from torch import Tensor, nn

from darkroom.base.params import EvaluateParams
from darkroom.explanation.mistakes import explain_test, explained_classes, worst_mistakes
from darkroom.metrics.decision import Decision
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.predictions_file import About, read_predictions
from darkroom.metrics.predictions_writer import ImagesOf, PredictionsWriter

HOSTILE = ["<img src=x onerror=alert(1)>", "=1+1.png", *"234567\n", "9"]


def params(explained: int) -> EvaluateParams:
    return EvaluateParams.model_construct(explained=explained, batch_size=64)


def predicted(path: Path, digits: Any, predictor: Any) -> Path:
    """Write what a network that is not trained predicts for the test split."""
    rows = digits.split.rows["test"]
    images = torch.from_numpy(digits.pack.batch(rows)).permute(0, 3, 1, 2)
    with torch.no_grad():
        probabilities = predictor.model.network(images).softmax(1).double().numpy()
    write(path, [digits.pack.ids[row] for row in rows], digits.pack.labels[rows], probabilities)
    return path


def write(path: Path, ids: list[str], labels: Any, probabilities: NDArray[np.float64], task: str = "multiclass") -> None:
    with PredictionsWriter(path, About(HOSTILE[: probabilities.shape[1]], task, Decision())) as writer:
        writer.add("test", ImagesOf(ids, [b""] * len(ids), labels, {}), probabilities)


def test_the_worst_mistakes_come_with_image_and_heat(tmp_path: Path, digits: Any) -> None:
    predictor, rows = digits_predictor(digits), digits.split.rows["test"]
    table = predicted(tmp_path / "predictions.parquet", digits, predictor)
    for name in ("first", "second"):
        (tmp_path / name / "images").mkdir(parents=True)
        explain_test(tmp_path / name, predictor, digits.pack, rows, table, params(12))
    found = pq.read_table(tmp_path / "first" / "mistakes.parquet").to_pylist()
    test = read_predictions(table)["test"]
    assert [each["id"] for each in found] == [test.ids[row] for row in worst_mistakes(test, 12)]
    confidence = [each["confidence"] for each in found]
    assert confidence == sorted(confidence, reverse=True)
    assert max(test.confidence[~test.right]) == confidence[0]
    for each in found:
        assert each["true"] != each["predicted"] == each["explained"]
        assert {each["true"], each["predicted"]} <= set(HOSTILE)
        image, heat = (Image.open(io.BytesIO(each[name])) for name in ("image", "heat"))
        assert image.format == heat.format == "PNG"
        assert image.size == heat.size == (128, 128)
        row = digits.pack.ids.index(each["id"])
        assert np.array_equal(np.asarray(image)[::16, ::16], digits.pack[row][..., 0])
    with Image.open(tmp_path / "first" / "images" / "explained.png") as sheet:
        assert sheet.width > 1000
    for path in (tmp_path / "first").rglob("*.p*"):
        assert path.read_bytes() == (tmp_path / "second" / path.relative_to(tmp_path / "first")).read_bytes()


def test_features_are_those_before_the_last_layer(tmp_path: Path, digits: Any) -> None:
    predictor, rows = digits_predictor(digits), digits.split.rows["test"]
    table = predicted(tmp_path / "predictions.parquet", digits, predictor)
    explain_test(tmp_path, predictor, digits.pack, rows, table, params(1))
    found = pq.read_table(tmp_path / "features.parquet")
    assert found["id"].to_pylist() == [digits.pack.ids[row] for row in rows]
    features = found["features"].combine_chunks().flatten().to_numpy()
    assert features.dtype == np.float16
    network: Any = predictor.model.network
    logits = network.network.head(torch.from_numpy(features.astype(np.float32).reshape(len(rows), -1)))
    expected = network(torch.from_numpy(digits.pack.batch(rows)).permute(0, 3, 1, 2))
    assert torch.allclose(logits, expected, atol=0.02)


def test_of_many_test_images_a_thousand_are_taken_evenly(tmp_path: Path, digits: Any, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.explanation.features.MOST", 100)
    predictor, rows = digits_predictor(digits), digits.split.rows["test"]
    table = predicted(tmp_path / "predictions.parquet", digits, predictor)
    explain_test(tmp_path, predictor, digits.pack, rows, table, params(1))
    ids = pq.read_table(tmp_path / "features.parquet")["id"].to_pylist()
    places = [digits.pack.ids.index(name) for name in ids]
    assert len(ids) == 100
    assert set(np.diff(np.searchsorted(rows, places))) <= {3, 4}


def test_none_are_asked_for(tmp_path: Path) -> None:
    nothing: Any = None
    explain_test(tmp_path, nothing, nothing, nothing, tmp_path / "missing", params(0))
    assert list(tmp_path.iterdir()) == []


class NoGradient(nn.Module):
    """A network of a plug-in that cannot be differentiated."""

    def __init__(self) -> None:
        super().__init__()
        self.conv, self.weight = nn.Conv2d(1, 10, 3), nn.Parameter(torch.ones(()))

    def forward(self, images: Tensor) -> Tensor:
        with torch.no_grad():
            features: Tensor = self.conv(images)
        return features.mean(dim=(2, 3)) * self.weight.detach()


@pytest.mark.parametrize(
    ("network", "warning"),
    [
        (nn.Sequential(nn.Flatten(), nn.Linear(64, 10)), "Sequential: no layer before its logits has places"),
        (NoGradient(), "NoGradient: no layer before its logits has places"),
    ],
)
def test_a_network_without_heat_is_a_warning(
    network: nn.Module, warning: str, tmp_path: Path, digits: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    predictor = digits_predictor(digits, network=network)
    table = predicted(tmp_path / "predictions.parquet", digits, predictor)
    explain_test(tmp_path, predictor, digits.pack, digits.split.rows["test"], table, params(4))
    found = pq.read_table(tmp_path / "mistakes.parquet").to_pylist()
    assert len(found) == 4
    assert {each["heat"] for each in found} == {None}
    assert f"warning: models: {warning}" in capsys.readouterr().err


def test_without_a_mistake_the_table_is_empty(tmp_path: Path, digits: Any) -> None:
    predictor, rows = digits_predictor(digits), digits.split.rows["test"]
    right = np.eye(10)[digits.pack.labels[rows]]
    write(tmp_path / "all.parquet", [digits.pack.ids[row] for row in rows], digits.pack.labels[rows], right)
    explain_test(tmp_path, predictor, digits.pack, rows, tmp_path / "all.parquet", params(4))
    assert len(pq.read_table(tmp_path / "mistakes.parquet")) == 0
    assert (tmp_path / "images" / "explained.png").exists()


def test_of_several_labels_mistakes_have_the_order_of_the_table_of_mistakes(tmp_path: Path) -> None:
    """By the surest wrong decision on an image, as mistakes.csv has them, and not by its least certain decision."""
    labels = np.array([[1, 0, 0], [0, 1, 0], [0, 0, 1], [0, 0, 0]], np.uint8)
    probabilities = np.array([[0.9, 0.7, 0.3], [0.1, 0.05, 0.49], [0.4, 0.2, 0.6], [0.8, 0.45, 0.1]])
    write(tmp_path / "table", list("abcd"), labels, probabilities, "multilabel")
    test = read_predictions(tmp_path / "table")["test"]
    expected = Outcomes.of(probabilities, labels).most_confident_mistakes().tolist()
    assert worst_mistakes(test, 10).tolist() == expected == [1, 3, 0]


def test_of_several_labels_a_wrong_one_is_explained(tmp_path: Path) -> None:
    probabilities = np.array([[0.9, 0.8, 0.1], [0.9, 0.1, 0.4], [0.9, 0.1, 0.1]])
    labels = np.array([[1, 0, 0], [1, 1, 1], [1, 0, 0]], np.uint8)
    write(tmp_path / "x.parquet", ["a", "b", "c"], labels, probabilities, "multilabel")
    test = read_predictions(tmp_path / "x.parquet")["test"]
    # Predicted although wrong; missing, and of these the most probable one; nothing is wrong.
    assert explained_classes(test, np.arange(3)).tolist() == [1, 2, 0]
