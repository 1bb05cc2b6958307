"""`from darkroom import Model` answers as `./darkroom predict` and as the file that an export puts beside its network."""

import json
import re
import subprocess
import sys
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch
from conftest import CONTENT
from PIL import Image
from publishing import publish
from sklearn.datasets import load_sample_images

from darkroom import Model
from darkroom.api.pretrained import distinct_names
from darkroom.base import files
from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.data.images import ImageError, convert
from darkroom.experiments.overrides import with_settings
from darkroom.export import standalone
from darkroom.export.export import export_model
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.metrics.decision import USUAL, Decision
from darkroom.prediction.inputs import open_inputs, predict_inputs
from darkroom.prediction.predictions import Predictions
from darkroom.sources.own.datasets import pixels
from darkroom.training.plan import make_plan

pytestmark = [pytest.mark.filterwarnings("ignore"), pytest.mark.xdist_group("model")]
ROOT = Path(__file__).resolve().parents[3]
SETTINGS = {
    "train.model.kwargs": {"width": 4, "stages": 1},
    "train.image_size": 40,
    "hardware.accelerator": "cpu",
    "predict.batch_size": 4,
    "predict.tta": "flip",
}


def write_photos(folder: Path) -> list[Path]:
    """Write real photos in many sizes and formats."""
    temple, flower = (Image.fromarray(each) for each in load_sample_images().images)  # 640 x 427
    small, alpha = flower.resize((90, 61)), temple.resize((120, 75))
    alpha.putalpha(Image.linear_gradient("L").resize(alpha.size))
    exif = flower.getexif()
    exif[0x0112] = 6
    deep = Image.fromarray((np.asarray(temple.convert("L")).astype(np.uint16) * 257)[:300])
    made: dict[str, tuple[Image.Image, dict[str, Any]]] = {
        "a.jpg": (temple, {}),
        "b.jpg": (flower, {"exif": exif, "quality": 60}),
        "c.jpg": (small.convert("L"), {"progressive": True}),
        "d.jpg": (temple.resize((900, 500)).convert("CMYK"), {}),
        "e.jpg": (flower, {"format": "MPO", "save_all": True, "append_images": [small]}),
        "f.png": (alpha, {}),
        "g.png": (deep, {}),
        "h.png": (small.convert("P"), {"transparency": 3}),
        "i.png": (alpha.convert("LA"), {}),
        "j.png": (temple.convert("1"), {}),
        "k.webp": (small, {}),
        "l.gif": (small, {}),
        "m.tif": (flower.crop((0, 0, 33, 400)), {}),
        "n.bmp": (temple.resize((40, 40)), {}),
    }
    folder.mkdir()
    for name, (image, how) in made.items():
        image.save(folder / name, **how)
    return [folder / name for name in made]


class Place:
    """A published model, its export, and photos."""

    def __init__(self, folder: Path, photos: Any, params: Params):
        self.params, self.folder, self.pack, self.rows = params, folder, photos.pack, photos.split.rows["val"]
        torch.manual_seed(0)
        plan = make_plan(params, photos.pack, photos.split.rows["train"])
        publish(folder / "models", plan, photos.pack.classes)
        calibration = {"weights_sha256": files.sha256(folder / "models" / "model.safetensors"), "temperature": 0.5}
        self.calibrate(calibration | {"thresholds": None, "abstain": None})
        self.files = write_photos(folder / "photos")
        self.model = Model.load(folder / "models", settings=SETTINGS)
        export_model(self.model.predictor, photos.pack, self.rows, ["onnx"], folder / "exported", tta="flip")

    def calibrate(self, content: dict[str, Any]) -> None:
        files.write_sealed_json(self.folder / "models" / "calibration.json", {"format": 1, **content})


@pytest.fixture(scope="module")
def place(photos: Any, tmp_path_factory: pytest.TempPathFactory) -> Place:
    return Place(tmp_path_factory.mktemp("model"), photos, check_params(with_settings(CONTENT, SETTINGS)))


def test_files_are_predicted_as_by_the_command(place: Place) -> None:
    wanted = predict_inputs(place.files, place.folder / "models", place.params)
    found = place.model.predict(place.files)
    assert [each.path for each in found] == list(map(str, place.files))
    assert [dict(each) for each in found] == [dict(each) for each in wanted.most_probable(2)]
    assert [each.chosen for each in found] == [[top[0][0]] for top in wanted.most_probable(2)]
    assert all(each[0][1] >= each[1][1] for each in found)
    np.testing.assert_array_equal(place.model.probabilities(place.folder / "photos"), wanted.probabilities)
    parts = open_inputs(place.files, place.folder / "models", place.params, asked=("test", "")).parts
    embeddings = np.concatenate([part.embeddings.values for part in parts if part.embeddings])
    np.testing.assert_array_equal(place.model.embed(place.files), embeddings)
    # Not all alike, so that the comparison sees something.
    assert len({each[0][1] for each in found}) == len(found)


def test_rows_are_predicted_as_by_evaluate(place: Place) -> None:
    model = Model.load(place.folder / "models", settings=SETTINGS | {"predict.calibrated": False})
    images = [place.pack.read(int(row)) for row in place.rows]
    wanted = predict_rows(model.predictor, place.pack, place.rows, batch_size=4, tta="flip")
    np.testing.assert_array_equal(model.probabilities(images), wanted.astype(np.float32))


def test_every_kind_of_image_is_one(place: Place) -> None:
    """A file, its bytes, an opened image; an array, a tensor of it and an image made of it."""
    for path in place.files:
        wanted = place.model.predict(path)
        assert wanted == place.model.predict(path.read_bytes()) == place.model.predict(str(path))
        with Image.open(path) as opened:
            assert place.model.predict(opened) == wanted, path
    array = np.asarray(Image.open(place.files[0]))
    assert place.model.predict(array) == place.model.predict(torch.from_numpy(array).permute(2, 0, 1))
    assert place.model.predict(array) == place.model.predict(Image.fromarray(array))
    assert place.model.predict(array) == place.model.predict(array / 255)
    grey = array[..., 0]
    batch = np.stack([grey, grey[::-1]])[..., None]
    both, one = place.model.predict(batch)[0], place.model.predict(batch[:1])[0]
    assert [name for name, _ in both] == [name for name, _ in one]
    assert [each for _, each in both] == pytest.approx(
        [each for _, each in one], abs=1e-6
    )  # processors may round batches otherwise
    np.testing.assert_allclose(place.model.probabilities(grey), place.model.probabilities(batch)[0], atol=1e-6)


FORMS = [{"stored": "encoded", "resize": None}, {"stored": "encoded", "resize": 60}, {"stored": "raw", "resize": 60}]


@pytest.mark.parametrize("form", FORMS)
def test_an_export_answers_alike(form: dict[str, Any], place: Place) -> None:
    """Whatever download made of the images: it stands in model.json and in the file of the export."""
    predictor = Predictor.load(place.folder / "models", place.params, "predict")
    card = predictor.model.card
    seen = card.preprocessing.model_copy(update=form)
    predictor.model = replace(predictor.model, card=card.model_copy(update={"preprocessing": seen}))
    model, exported = Model(predictor, place.params.predict), standalone.Model.load(place.folder / "exported", threads=1)
    exported.about |= form
    for images in (place.files, [Image.open(path) for path in place.files], [np.asarray(Image.open(place.files[0]))]):
        np.testing.assert_allclose(exported.probabilities(images), model.probabilities(images), atol=1e-5)
        np.testing.assert_allclose(exported.embed(images), model.embed(images), rtol=1e-3, atol=1e-4)
    assert exported.about == model.about
    assert exported.classes == model.classes


def test_the_short_form_of_the_docs_is_enough_for_small_jpegs(place: Place, tmp_path: Path) -> None:
    """That of docs/api.md; the photo has four times the side of the network's images, 40 pixels."""
    blocks = re.findall(r"```python\n(.*?)```", (ROOT / "docs" / "api.md").read_text(encoding="utf-8"), re.DOTALL)
    (short,) = [block for block in blocks if "onnxruntime" in block]
    photo = tmp_path / "photo.jpg"
    Image.open(place.files[0]).resize((190, 159)).save(photo)
    command = [sys.executable, "-I", "-c", short, photo]
    run = subprocess.run(command, capture_output=True, text=True, check=True, cwd=place.folder / "exported")
    ((name, probability), *_) = place.model.predict(photo)
    assert run.stdout == f"{photo} {name} {probability:.4f}\n"


@pytest.mark.parametrize("kind", ["repository", "export"])
def test_several_images_are_a_list_and_an_iterator_is_followed(kind: str, place: Place) -> None:
    model: Any = place.model if kind == "repository" else standalone.Model.load(place.folder / "exported" / "model.onnx")
    taken = []

    def camera() -> Iterator[Path]:
        for path in place.files:
            taken.append(path)
            yield path

    found = model.predict(camera())
    assert next(found) == model.predict(place.files)[0]
    assert len(taken) == (4 if kind == "repository" else 1)
    assert len(list(found)) == len(place.files) - 1
    one = model.predict(place.files[0])
    assert [type(each).__name__ for each in (one, model.predict(place.folder / "photos"))] == ["Prediction", "list"]
    assert json.loads(json.dumps(one)) == [list(each) for each in one]
    assert (one.path, one.why, one.chosen) == (str(place.files[0]), [], [one[0][0]])
    assert model.predict([]) == []
    assert model.embed([]).shape == (0, *model.embed(place.files[0]).shape)
    assert model.probabilities([]).shape == (0, len(model.classes))
    assert model.probabilities(np.zeros((0, 9, 9, 3), np.uint8)).shape == (0, len(model.classes))
    assert model.embed(place.files[:3]).shape == (3, *model.embed(place.files[0]).shape)
    assert next(model.embed(iter(place.files[:1]))).shape == model.embed(place.files[0]).shape
    with pytest.raises(ValueError, match=r"^nothing.jpg: "):
        model.predict("nothing.jpg")


def test_the_model_abstains_alike_in_an_export(place: Place) -> None:
    found = place.model.predict(place.files)
    middle = float(np.median([each[0][1] for each in found]))
    predictor = Predictor.load(place.folder / "models", place.params, "predict")
    assert predictor.rule.calibration is not None
    predictor.rule = replace(predictor.rule, calibration=replace(predictor.rule.calibration, abstain=middle))
    exported = standalone.Model.load(place.folder / "exported")
    exported.about = Model(predictor, place.params.predict).about
    for model in (Model(predictor, place.params.predict), exported):
        made = model.predict(place.files)
        unknown = [each.chosen == ["unknown"] for each in made]
        assert unknown == [each[0][1] < middle for each in found]
        assert 0 < sum(unknown) < len(unknown)
        assert [each.why for each in made] == [["uncertain"] if each else [] for each in unknown]


def test_of_several_labels_any_number_is_chosen(place: Place) -> None:
    predictor = Predictor.load(place.folder / "models", place.params, "predict")
    card = predictor.model.card.model_copy(update={"task": "multilabel"})
    predictor.model, predictor.rule = replace(predictor.model, card=card), replace(predictor.rule, multilabel=True)
    model = Model(predictor, place.params.predict)
    found, probabilities = model.predict(place.files), model.probabilities(place.files)
    predictor.decision = Decision(float(np.median(probabilities)))
    wanted = [
        [name for name, above in zip(model.classes, row, strict=True) if above]
        for row in probabilities > np.median(probabilities)
    ]
    assert [each.chosen for each in model.predict(place.files)] == wanted
    assert 0 < sum(map(len, wanted)) < len(model.classes) * len(wanted)
    assert [dict(each) for each in found] == [dict(zip(model.classes, row, strict=True)) for row in probabilities.tolist()]


@pytest.mark.parametrize(
    ("task", "decision"), [("binary", Decision(0.3, positive=1)), ("multilabel", Decision((0.3, 0.6))), ("multiclass", USUAL)]
)
def test_an_export_decides_by_its_thresholds(task: str, decision: Decision, place: Place) -> None:
    exported = standalone.Model.load(place.folder / "exported")
    exported.about |= {"task": task, "threshold": decision.threshold, "positive_class": exported.classes[1]}
    rows = [(share, 1 - share) for share in (0.1, 0.35, 0.5, 0.65, 0.75, 0.9)]
    answers = iter([np.array([row], np.float32) for row in rows])
    exported.session = SimpleNamespace(
        get_outputs=lambda: [SimpleNamespace(name="probabilities", shape=["N", 2])], run=lambda *_: [next(answers)]
    )
    wanted = Predictions(exported.classes, [], np.array(rows), multilabel=task == "multilabel", decision=decision)
    found = exported.predict([np.zeros((9, 9, 3), np.uint8)] * len(rows))
    assert [[name for name, _ in each] for each in found] == [[name for name, _ in top] for top in wanted.most_probable(2)]
    chosen = wanted.chosen if wanted.multilabel else [[top[0][0]] for top in wanted.most_probable(1)]
    assert [each.chosen for each in found] == chosen
    exported.session.run = lambda *_: [np.zeros((1, 2), np.float32)]
    with pytest.raises(ValueError, match="no single last layer"):
        exported.embed(np.zeros((9, 9, 3), np.uint8))


@pytest.mark.parametrize(
    ("name", "settings", "message"),
    [
        ("nothing", {}, "Model.load: nothing is no folder or file, and is not a commit"),
        (
            "tf_efficientnet_lite9",
            {},
            "is no folder or file, and is not a commit, .*; did you mean 'tf_efficientnet_lite\\d'\\?$",
        ),
        ("models/nothing", {}, "Model.load: models/nothing does not exist"),
        ("exported", {}, r"Model.load: .*exported is an export, .*; open it with .*classify.py \(from classify import Model\)"),
        ("exported/model.onnx", {}, "Model.load: .*model.onnx is an export"),
        ("nothing.onnx", {}, "Model.load: nothing.onnx does not exist"),
        (
            "photos",
            {},
            r"Model.load: photos is a preset, not a model; train one with 'dvc exp run \$\(./darkroom preset photos\)'",
        ),
        ("small_cnn", {}, "Model.load: small_cnn has no published weights; train it"),
        (
            "vit_small_patch14_dinov2",
            {},
            "have no classes with names, only features; './darkroom predict --embeddings --backbone",
        ),
        ("models", {"predict.tat": "flip"}, "predict.tat: .*did you mean 'tta'"),
        ("models", {"predict.top_k": 3}, "Model.load: settings: predict.top_k has no effect"),
        ("models", {"predict.threshold": 0.4}, "predict.threshold: is 0.4, but the model predicts the most probable"),
    ],
)
def test_mistakes_are_one_line(name: str, settings: dict[str, Any], message: str, place: Place) -> None:
    named = place.folder / name if name != "photos" and (place.folder / name).exists() else name
    with pytest.raises(InputError, match=message) as caught:
        Model.load(named, settings=settings)
    assert "\n" not in str(caught.value)


@pytest.mark.parametrize(
    ("image", "message"),
    [
        ("nothing.jpg", "nothing.jpg: does not exist; name an image or a folder"),
        (f"{ROOT / 'READNE.md'}", "READNE.md: does not exist; did you mean '.*README.md'"),
        (["nothing.jpg"], r"nothing.jpg: cannot be read \(No such file or directory\)"),
        ([b"nothing"], r"image 0: cannot be read \(is not a JPEG"),
        (3, "predict: int is no image; give a file"),
        (np.zeros((8, 8, 4), np.uint8), "image 0: cannot be used .*convert it to grey or RGB"),
        (np.full((8, 8, 3), 0.3333), "image 0: images: hold floats other than multiples of 1/255"),
    ],
)
def test_images_that_cannot_be_read_are_named(image: Any, message: str, place: Place) -> None:
    with pytest.raises(InputError, match=message):
        place.model.predict(image)


NO_PIXELS = r"^image 0: cannot be read \(has no pixels\); correct it, or leave it out$"


@pytest.mark.parametrize("kind", ["repository", "export"])
@pytest.mark.parametrize(
    ("image", "message"),
    [
        *((np.zeros(shape, np.uint8), NO_PIXELS) for shape in ((0, 0, 3), (0, 5, 3), (5, 0, 3), (0, 5), (5, 0, 1))),
        *((Image.new(mode, size), NO_PIXELS) for mode in ("RGB", "L", "P", "RGBA", "I;16") for size in ((0, 0), (0, 5), (5, 0))),
        (np.zeros((1, 0, 5, 3), np.uint8), NO_PIXELS),
        ([np.zeros((0, 5, 3), np.uint8)], NO_PIXELS),
        (np.full((8, 8, 3), 0.3333), "image 0: .*uint8"),
        (np.zeros((8, 8, 3), np.int64), "image 0: .*int64.*uint8"),
        (np.zeros((8,), np.uint8), "image 0: .*"),
        (np.zeros((3, 8, 8), np.uint8), "image 0: .*"),
        (np.zeros((8, 8, 4), np.uint8), "image 0: .*"),
        (np.zeros((2, 3, 8, 8, 3), np.uint8), "image 0: .*"),
        (b"nothing", r"image 0: cannot be read \(is not a JPEG, PNG, WebP, BMP, GIF, TIFF or AVIF image"),
        (b"", "image 0: cannot be read"),
        (None, "predict: NoneType is no image; give a file, a folder, "),
        (3, "predict: int is no image; give a file, a folder, "),
        ([3], "image 0: "),
    ],
)  # fmt: skip
def test_what_is_no_image_is_one_line(image: Any, message: str, kind: str, place: Place) -> None:
    model: Any = place.model if kind == "repository" else standalone.Model.load(place.folder / "exported" / "model.onnx")
    for ask in (model.predict, model.probabilities, model.embed):
        with pytest.raises(ValueError, match=message) as caught:
            ask(image)
        assert "\n" not in str(caught.value)


def test_an_image_of_no_pixels_has_no_features_anywhere(place: Place) -> None:
    with pytest.raises(ImageError, match=r"^has no pixels$"):
        convert(Image.new("RGB", (0, 0)))
    with pytest.raises(ImageError, match=r"^has no pixels$"):
        place.model._reader.prepare(np.zeros((0, 5, 3), np.uint8))
    with pytest.raises(InputError, match=r"^images: one has no pixels"):
        pixels(np.zeros((0, 5, 3)))


def test_weights_that_cannot_be_downloaded_are_one_line(monkeypatch: pytest.MonkeyPatch) -> None:
    def offline(*_: Any, **__: Any) -> None:
        raise OSError("no connection")

    monkeypatch.setattr("huggingface_hub.HfApi.model_info", offline)
    monkeypatch.setattr("darkroom.models.timm.network.cached_file", lambda _: None)
    with pytest.raises(RunError, match=r"Model.load: the weights of resnet18 cannot be downloaded \(.*no connection\)"):
        Model.load("resnet18")


def test_classes_of_the_same_name_are_told_apart() -> None:
    described = ["crane", "maillot", "maillot, tank suit", "crane", "daisy", "tench, Tinca tinca"]
    assert distinct_names(described) == ["crane (0)", "maillot", "maillot, tank suit", "crane (3)", "daisy", "tench"]
