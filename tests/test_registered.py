"""A model from `gto register` to a prediction in another clone, which has no data: on a bare repository and a folder as DVC remote."""

import pytest
from clones import Clone, Finished
from PIL import Image
from sklearn.datasets import load_digits

pytestmark = pytest.mark.slow


@pytest.fixture(scope="module")
def registered(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> tuple[Clone, Clone]:
    """The clone in which a model was registered, and another one."""
    folder = tmp_path_factory.mktemp("registered")
    author = finished.copy(folder / "author")
    author.run(f"git branch -M main && dvc remote add -q -d storage {folder}/remote && git commit -qam Storage && dvc push -q")
    author.run("gto register classifier --version v1.0.0 && gto assign classifier --version v1.0.0 --stage prod")
    author.run(f"git clone -q --bare . ../origin.git && git clone -q {folder}/origin.git ../other")
    pixels = (load_digits().images[0] / 16 * 255).astype("uint8")
    for name in ("0", "1"):  # a folder for each class
        (folder / "photos" / name).mkdir(parents=True)
        Image.fromarray(pixels).save(folder / "photos" / name / "photo.png")
    other = Clone(folder / "other")
    assert not (other.path / "models" / "model.json").exists()
    return author, other


def test_dvc_fetches_all_that_predict_needs(registered: tuple[Clone, Clone]) -> None:
    author, other = registered
    shown = author.run("gto show classifier").stdout
    assert "v1.0.0" in shown
    assert "prod" in shown
    other.run("dvc artifacts get -q ../origin.git classifier --stage prod --out ../model")
    fetched, made = other.path.parent / "model", author.path / "models"
    for name in ("model.json", "model.safetensors", "calibration.json", "README.md"):
        assert (fetched / name).read_bytes() == (made / name).read_bytes()
    there = {path.name for path in fetched.iterdir()} - {path.name for path in made.iterdir()}
    assert there == set()  # what Git and DVC have of the folder, and nothing else
    by_folder = other.run("./darkroom predict ../photos/0/photo.png --model ../model").stdout
    by_stage = other.run("./darkroom predict ../photos/0/photo.png --model classifier@prod").stdout
    by_version = other.run("./darkroom predict ../photos/0/photo.png --model classifier@v1.0.0").stdout
    assert by_folder == by_stage == by_version == author.run("./darkroom predict ../photos/0/photo.png").stdout
    assert by_folder.splitlines()[-1].split()[0].endswith("photo.png")


@pytest.mark.thorough
def test_a_registered_model_is_measured_on_other_images(registered: tuple[Clone, Clone]) -> None:
    _, other = registered
    assert "accuracy 0.5000" in other.run("./darkroom evaluate --model classifier@latest --data ../photos").stdout


@pytest.mark.parametrize(
    ("name", "told"),
    [
        ("classifier@prd", "neither a version nor a stage of this name; did you mean 'classifier@prod'?"),
        ("clasifier@v1.0.0", "no model is registered as clasifier; did you mean 'classifier@v1.0.0'?"),
    ],
)
def test_a_mistake_is_one_line(registered: tuple[Clone, Clone], name: str, told: str) -> None:
    done = registered[1].run(f"./darkroom predict ../photos/0/photo.png --model {name}", status=2)
    assert done.stderr.startswith(f"error: --model: {name} is no folder or file, and ")
    assert done.stderr.endswith(f"{told}\n")
    assert done.stderr.count("\n") == 1
