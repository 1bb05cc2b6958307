"""Images of other bands and shapes go through all five stages, and what only they show is learnt."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clones import Clone, make_clone
from forked_stages import STAGES, ForkedStages, Result
from PIL import Image

tifffile = pytest.importorskip("tifffile")


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = make_clone(tmp_path_factory.mktemp("others") / "darkroom")
    made.edit({"source: digits": "source: folder", "epochs: 3": "epochs: 6", "near_distance: 24": "near_distance: null"})
    return made


@pytest.fixture(scope="module")
def forked(clone: Clone) -> Iterator[ForkedStages]:
    stages = ForkedStages(clone)
    yield stages
    stages.close()


share_forks = pytest.mark.xdist_group("forked stages")


def run_all(forked: ForkedStages, clone: Clone, changes: dict[str, str]) -> list[Result]:
    before = (clone.path / "params.yaml").read_text(encoding="utf-8")
    clone.edit(changes)
    try:
        done = [forked.run(stage) for stage in STAGES]
        assert [each.status for each in done] == [0] * len(STAGES), [each.err for each in done]
        test_split = predictions(clone)
        clone.edit({"input: data/split": "input: data/photos"})
        again = forked.run("predict")
        assert again.status == 0, again.err
        # A file gives what the pack gave: all that stands between them is recorded with the model.
        photos = {Path(name).relative_to("data/photos").as_posix(): row for name, row in predictions(clone).items()}
        assert test_split
        assert {name: photos[name] for name in test_split} == test_split
        return done
    finally:
        (clone.path / "params.yaml").write_text(before, encoding="utf-8")


def predictions(clone: Clone) -> dict[str, tuple[str, str]]:
    with (clone.path / "data/predictions/predictions.csv").open(encoding="utf-8") as file:
        rows = list(csv.DictReader(file))
    return {row["path"]: (row["class"], row["probability"]) for row in rows}


def fill(clone: Clone, write: "object") -> None:
    folder = clone.path / "data/photos"
    for number in range(60):
        place = folder / ("high" if number % 2 else "low")
        place.mkdir(exist_ok=True)
        for old in place.glob(f"{number:02d}.*"):
            old.unlink()
        write(place / f"{number:02d}", number % 2, np.random.default_rng(number))  # type: ignore[operator]


@share_forks
def test_four_bands_of_16_bits(clone: Clone, forked: ForkedStages) -> None:
    """The classes differ in the infrared band alone, by a hundredth of the range: 8 bits would hardly tell them apart."""

    def write(path: Path, label: int, numbers: np.random.Generator) -> None:
        image = numbers.integers(1000, 60000, (16, 16, 4)).astype(np.uint16)
        image[..., 3] = 30000 + 60 * label + numbers.integers(0, 20, (16, 16))
        tifffile.imwrite(path.with_suffix(".tif"), image, photometric="minisblack", planarconfig="contig")

    fill(clone, write)
    done = run_all(forked, clone, {"channels: null": "channels: 4"})
    assert "60 images of 2 classes" in "".join(each.out for each in done)
    dataset = json.loads((clone.path / "data/raw/dataset.json").read_text())
    assert (dataset["channels"], dataset["dtype"], dataset["bands"]) == (4, "uint16", {"channels": 4, "chosen": None})
    assert clone.metrics()["test"]["accuracy"] == 1
    seen = json.loads((clone.path / "models/model.json").read_text())["preprocessing"]
    assert len(seen["mean"]) == 4
    assert abs(seen["mean"][3] * 65535 - 30040) < 10
    with Image.open(clone.path / "metrics/split/images/samples.png") as sheet:
        assert sheet.size[0] > 100
    assert "| band 3 |" in (clone.path / "metrics/split/card.md").read_text().replace("`", "")


@pytest.mark.thorough
@share_forks
def test_letterboxed_three_to_two(clone: Clone, forked: ForkedStages) -> None:
    """The classes differ at the left and right border alone, which a central crop would cut off."""

    def write(path: Path, label: int, numbers: np.random.Generator) -> None:
        image = numbers.integers(100, 156, (24, 36, 3)).astype(np.uint8)
        image[:, :3] = image[:, -3:] = 250 * label
        Image.fromarray(image).save(path.with_suffix(".png"))

    fill(clone, write)
    inverted = "preprocess: [{_target_: RandomInvert, p: 1.0}]"
    changes = {"image_size: null": "image_size: [20, 24]", "resize: crop": "resize: letterbox", "preprocess: []": inverted}
    run_all(forked, clone, changes | {"tta: none": "tta: flip_shift"})
    assert clone.metrics()["test"]["accuracy"] > 0.9
    seen = json.loads((clone.path / "models/model.json").read_text())["preprocessing"]
    assert (seen["image_size"], seen["way"]) == ([20, 24], "letterbox")
    assert seen["steps"] == [{"_target_": "RandomInvert", "p": 1.0}]
    # The model runs no code that params.yaml does not name.
    refused = forked.run("evaluate")
    assert refused.status == 2
    assert (
        "models/model.json: was trained with train.preprocess [{_target_: RandomInvert, p: 1.0}], but params.yaml has []"
        in refused.err
    )
