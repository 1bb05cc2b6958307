"""Every format answers as the model does on photos of any size; what answers otherwise is not written."""

import io
import json
import subprocess
import sys
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from explanation_fixtures import digits_predictor
from PIL import Image

from darkroom.base.errors import InputError
from darkroom.export import formats
from darkroom.export.export import export_model
from darkroom.export.network import make_exported
from darkroom.export.parity import Parity, compare, run_each, stored_images
from darkroom.export.standalone import Model
from darkroom.inference.embeddings import Embedder
from darkroom.inference.photos import PhotoReader
from darkroom.inference.predict import predict_images, predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.metrics.calibration import Calibration
from darkroom.metrics.decision import Decision
from darkroom.uncertainty.foreign import fit_directions

ROOT = Path(__file__).resolve().parents[3]
# Three formats are written once.
pytestmark = pytest.mark.xdist_group("export")


def made(digits: Any) -> Predictor:
    return digits_predictor(digits, positive_class=None, data_sha256={}, origin=None)


@pytest.fixture(scope="module")
def exported(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Path:
    out = tmp_path_factory.mktemp("export") / "exported"
    written = export_model(made(digits), digits.pack, digits.split.rows["val"], ["onnx", "torch", "openvino"], out)
    assert [each.path.name for each in written] == ["model.onnx", "model.pt2", "model.xml"]
    assert [each.num_bytes for each in written[:2]] == [each.path.stat().st_size for each in written[:2]]
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
        probabilities, embeddings = run(np.stack([image, image[::-1]]))
        np.testing.assert_allclose(probabilities, wanted, atol=1e-5)
        read = PhotoReader.of(predictor.seen, None).prepare
        fitted = torch.from_numpy(np.stack([read(image), read(image[::-1])])).permute(0, 3, 1, 2)
        np.testing.assert_allclose(embeddings, Embedder(predictor).features(fitted), rtol=1e-4, atol=1e-5)


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
    assert run.stdout.startswith(f"{tmp_path / 'a.jpg'}: {model.predict(tmp_path / 'a.jpg').chosen[0]} (")
    wrong = subprocess.run(
        [sys.executable, "-I", exported / "classify.py", tmp_path / "none.jpg", __file__, tmp_path / "b.png"],
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert (wrong.returncode, wrong.stdout.count("\n"), wrong.stderr.count("cannot be read")) == (1, 1, 2)
    assert "Traceback" not in wrong.stderr


def test_the_script_says_how_it_is_called(exported: Path, tmp_path: Path) -> None:
    def run(*arguments: Any) -> tuple[int, str, str]:
        done = subprocess.run(
            [sys.executable, "-I", exported / "classify.py", *arguments], capture_output=True, text=True, check=False
        )
        return done.returncode, done.stdout, done.stderr

    usage = "usage: python classify.py PHOTO_OR_FOLDER ...\n"
    assert run() == (2, "", usage)
    assert run("--help") == run("-h") == (0, usage, "")
    code, out, error = run(tmp_path)
    assert (code, out) == (1, "")
    assert error.startswith(f"{tmp_path}: holds no image (.jpg, ")
    (tmp_path / "a.txt").write_text("nothing")
    code, out, error = run(tmp_path / "a.txt")
    reason = "is not a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image"
    assert (code, out, error) == (1, "", f"{tmp_path / 'a.txt'}: cannot be read ({reason}); correct it, or leave it out\n")


def test_what_is_known_of_the_model_is_in_the_file(digits: Any, exported: Path) -> None:
    about = Model.load(exported / "model.onnx").about
    assert about["classes"] == digits.pack.classes
    assert about == json.loads((exported / "about.json").read_text())
    assert json.loads((exported / "parity.json").read_text())["onnx"]["other_decisions"] == 0


@pytest.mark.thorough
def test_views_and_images_of_no_class_are_in_the_file(digits: Any, tmp_path: Path) -> None:
    """Probabilities are those of two views, features those of the image as it is."""
    predictor, rows = made(digits), digits.split.rows["val"][:40]
    features = Embedder(predictor).of_rows(digits.pack, rows, 32)
    detector = fit_directions(features, digits.pack.labels[rows])
    limit = float(np.median(detector.raw(features)))
    calibration = Calibration("0", 2.0, foreign=replace(detector, limit=limit))
    predictor.rule = replace(predictor.rule, calibration=calibration, is_calibrated=True)
    (written,) = export_model(predictor, digits.pack, rows, ["torch"], tmp_path / "exported", tta="flip")
    assert written.parity.embedding_difference is not None
    assert written.parity.embedding_difference < 1e-4
    probabilities, embeddings, distances = run_each(formats.FORMATS["torch"].open(written.path), stored_images(digits.pack, rows))
    seen = predict_rows(predictor, digits.pack, rows, batch_size=32, tta="flip")
    np.testing.assert_allclose(probabilities, calibration.calibrated(seen, multilabel=False), atol=1e-5)
    np.testing.assert_allclose(embeddings, features, rtol=1e-4, atol=1e-5)
    np.testing.assert_allclose(distances, calibration.foreign.distances(features), rtol=1e-3)
    assert 0 < (distances > 1).sum() < len(rows)


def test_other_images_of_no_class_are_another_decision() -> None:
    probabilities, features = np.array([[0.9, 0.1]] * 3), np.ones((3, 4))
    wanted, found = np.array([0.5, 1.00001, 1.2]), np.array([0.5, 0.99999, 0.8])
    parity = compare((probabilities, features, wanted), (probabilities, features, found), Decision(), multilabel=False)
    assert (parity.ties, parity.other_decisions) == (1, 1)


@pytest.mark.parametrize(
    ("shift", "scale", "message"),
    [(1, 1, r"torch decides otherwise than the model on \d+ of 40 images"), (0, 1.01, "torch has other features than the model")],
)
def test_other_answers_are_refused_and_nothing_is_left(
    shift: int, scale: float, message: str, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of a format that gives the probabilities of the next class, or features that are a little larger."""
    rows = digits.split.rows["train"][:40]
    probabilities = np.roll(predict_rows(made(digits), digits.pack, rows, batch_size=32), shift, axis=1)
    features = Embedder(made(digits)).of_rows(digits.pack, rows, 32) * scale
    answers = zip(probabilities, features, strict=True)
    fake = formats.Format(".pt2", (), lambda *_: None, lambda _: lambda _: tuple(each[None] for each in next(answers)))
    monkeypatch.setitem(formats.FORMATS, "torch", fake)
    with pytest.raises(InputError, match=message):
        export_model(made(digits), digits.pack, rows, ["torch"], tmp_path / "exported")
    assert list(tmp_path.iterdir()) == []


def test_decisions_within_rounding_are_ties() -> None:
    wanted = np.array([[0.5, 0.5], [0.9, 0.1], [0.2, 0.8]])
    found = np.array([[0.49999, 0.50001], [0.9, 0.1], [0.7, 0.3]])
    assert compare((wanted,), (found,), Decision(), multilabel=False) == Parity(3, pytest.approx(0.5), 1, 1)
    several = compare((wanted,), (found,), Decision(0.5), multilabel=True)
    assert (several.ties, several.other_decisions) == (1, 1)


def test_what_is_no_part_of_a_network_is_refused(digits: Any) -> None:
    predictor = made(digits)
    seen = predictor.seen.model_copy(update={"dtype": "uint16"})
    predictor.model.card.preprocessing = seen  # type: ignore[misc]
    with pytest.raises(InputError, match="only grey and RGB are exported"):
        make_exported(predictor)


@pytest.mark.thorough
def test_formats_that_are_not_installed_are_named_and_others_do_without_them() -> None:
    """Nothing that export imports imports their packages before they are asked for."""
    code = (
        "import sys; sys.path.insert(0, 'src')\n"
        "for name in ('onnx', 'onnxscript', 'onnxruntime', 'openvino', 'nncf'): sys.modules[name] = None\n"
        "import darkroom.cli.export, darkroom.export.export, darkroom.export.formats as formats\n"
        "formats.find_spec = lambda name: None\n"
        "formats.FORMATS['torch'].check('torch')\n"
        "try: formats.FORMATS['onnx'].check('onnx')\n"
        "except Exception as error: print(error)\n"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT, capture_output=True, text=True, check=True)
    wanted = "--format: onnx needs onnx, onnxscript, onnxruntime; run 'pip install -c requirements-dev.txt onnx onnxscript onnxruntime'"
    assert run.stdout.strip() == wanted
