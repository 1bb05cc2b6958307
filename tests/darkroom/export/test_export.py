"""Every format answers as the model does on photos of any size; what answers otherwise is not written."""

import io
import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from explanation_fixtures import digits_predictor
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.export import formats
from darkroom.export.export import export_model
from darkroom.export.network import make_exported
from darkroom.export.parity import Parity, compare
from darkroom.export.standalone import Model
from darkroom.inference.photos import PhotoReader
from darkroom.inference.predict import predict_images
from darkroom.inference.predictor import Predictor
from darkroom.metrics.decision import Decision

# Three formats are written once.
pytestmark = pytest.mark.xdist_group("export")


def made(digits: Any) -> Predictor:
    return digits_predictor(digits, positive_class=None, data_sha256={}, origin=None)


@pytest.fixture(scope="module")
def exported(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "exported"
    written = export_model(made(digits), digits.pack, digits.split.rows["val"], ["onnx", "torch", "openvino"], out)
    assert [each.path.name for each in written] == ["model.onnx", "model.pt2", "model.xml"]
    assert all(each.parity.other_decisions == 0 and each.parity.largest_difference < 1e-5 for each in written)
    return out


def photos() -> list[np.ndarray]:
    random = np.random.default_rng(0)
    return [random.integers(0, 256, (*size, 3), dtype=np.uint8) for size in ((8, 8), (40, 90), (200, 31), (64, 64))]


@pytest.mark.parametrize("name", ["onnx", "openvino", "torch"])
def test_photos_of_any_size_and_batches(digits: Any, exported: Path, name: str) -> None:
    run = formats.FORMATS[name].open(exported / f"model{formats.FORMATS[name].ending}")
    predictor = made(digits)
    for image in photos():
        wanted = predict_images(predictor, [image, image[::-1]], batch_size=2)
        np.testing.assert_allclose(run(np.stack([image, image[::-1]])), wanted, atol=1e-5)


def test_the_script_reads_files_as_predict_does(digits: Any, exported: Path, tmp_path: Path) -> None:
    """Also a JPEG that is decoded at a quarter of its size, turned by EXIF, and a PNG with transparency."""
    predictor, model = made(digits), Model.load(exported / "model.onnx", threads=1)
    large = Image.fromarray(photos()[2]).resize((500, 390))
    exif = large.getexif()
    exif[0x0112] = 6
    files = {"a.jpg": io.BytesIO(), "b.png": io.BytesIO(), "c.webp": io.BytesIO()}
    large.save(files["a.jpg"], "JPEG", exif=exif)
    large.convert("RGBA").save(files["b.png"], "PNG")
    large.save(files["c.webp"], "WEBP")
    for name, file in files.items():
        image = PhotoReader.of(predictor.seen, None)(file.getvalue(), 10**8)
        wanted = predict_images(predictor, [image], batch_size=1)[0]
        (tmp_path / name).write_bytes(file.getvalue())
        np.testing.assert_allclose(model.probabilities(tmp_path / name), wanted, atol=1e-5)
    run = subprocess.run(
        [sys.executable, "-I", exported / "classify.py", tmp_path / "a.jpg"], capture_output=True, text=True, check=True
    )
    assert run.stdout.startswith(f"{tmp_path / 'a.jpg'}: {model.chosen(tmp_path / 'a.jpg')[0]} (")
    wrong = subprocess.run(
        [sys.executable, "-I", exported / "classify.py", tmp_path / "none.jpg", __file__, tmp_path / "b.png"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (wrong.returncode, wrong.stdout.count("\n"), wrong.stderr.count("cannot be read")) == (1, 1, 2)
    assert "Traceback" not in wrong.stderr


def test_what_is_known_of_the_model_is_in_the_file(digits: Any, exported: Path) -> None:
    about = Model.load(exported / "model.onnx").about
    assert about["classes"] == digits.pack.classes
    assert about == json.loads((exported / "about.json").read_text())
    assert json.loads((exported / "parity.json").read_text())["onnx"]["other_decisions"] == 0


def test_other_decisions_are_refused_and_nothing_is_left(digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setitem(
        formats.FORMATS,
        "torch",
        formats.Format(".pt2", (), lambda *_: None, lambda _: lambda images: np.eye(10, dtype=np.float32)[[3] * len(images)]),
    )
    with pytest.raises(InputError, match=r"torch decides otherwise than the model on \d+ of 200 images"):
        export_model(made(digits), digits.pack, digits.split.rows["train"], ["torch"], tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_decisions_within_rounding_are_ties() -> None:
    wanted = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    found = np.array([[0.49999, 0.50001], [0.9, 0.1], [0.7, 0.3]])
    assert compare(wanted, found, Decision(), multilabel=False) == Parity(3, pytest.approx(0.5), 1, 1)
    several = compare(wanted, found, Decision(0.5), multilabel=True)
    assert (several.ties, several.other_decisions) == (1, 1)


def test_what_is_no_part_of_a_network_is_refused(digits: Any) -> None:
    predictor = made(digits)
    seen = predictor.seen.model_copy(update={"dtype": "uint16"})
    predictor.model.card.preprocessing = seen  # type: ignore[misc]
    with pytest.raises(InputError, match="only grey and RGB are exported"):
        make_exported(predictor)
