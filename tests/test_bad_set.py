"""One bad set through all five stages: wrong labels, unreadable files, duplicates with two labels, odd kinds of images."""

import csv
import json
from collections.abc import Iterator
from pathlib import Path

import numpy as np
import pytest
from clones import Clone, make_clone
from forked_stages import STAGES, ForkedStages
from PIL import Image

WRONG = [f"blue/red {number}.png" for number in range(4)]
UNREADABLE = {"red/empty.jpg": b"", "red/text.png": b"not an image", "blue/cut.jpg": None}


@pytest.fixture(scope="module")
def clone(tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = make_clone(tmp_path_factory.mktemp("bad") / "darkroom")
    made.edit({"source: digits": "source: folder", "epochs: 3": "epochs: 4"})
    fill(made.path / "data/photos")
    return made


@pytest.fixture(scope="module")
def forked(clone: Clone) -> Iterator[ForkedStages]:
    stages = ForkedStages(clone)
    yield stages
    stages.close()


def photo(seed: int, label: str) -> Image.Image:
    pixels = np.random.default_rng(seed).integers(0, 120, (36, 40, 3), np.uint8)
    pixels[..., 0 if label == "red" else 2] += 120
    return Image.fromarray(pixels)


def fill(folder: Path) -> None:
    """Write 30 images of each class, and everything that goes wrong."""
    for place, label in enumerate(("red", "blue")):
        (folder / label).mkdir()
        for number in range(30):
            photo(100 * place + number, label).save(folder / label / f"{number:02d}.png")
    for number, name in enumerate(WRONG):
        photo(300 + number, "red").save(folder / name)
    photo(400, "red").save(folder / "red" / "twin.png")
    photo(400, "red").save(folder / "blue" / "twin.png")
    odd = photo(500, "red")
    odd.convert("P").save(folder / "red" / "palette.png")
    odd.convert("RGBA").save(folder / "red" / "alpha.png")
    photo(501, "blue").convert("CMYK").save(folder / "blue" / "cmyk.jpg")
    turned = Image.Exif()
    turned[0x0112] = 6
    photo(502, "blue").save(folder / "blue" / "turned.jpg", exif=turned)
    photo(503, "blue").save(folder / "blue" / "moving.gif", save_all=True, append_images=[photo(504, "blue")])
    grey = np.random.default_rng(505).integers(5000, 60000, (36, 40)).astype(np.uint16)
    Image.fromarray(grey).save(folder / "red" / "deep.png")
    photo(506, "blue").save(folder / "blue" / "cut.jpg", quality=95)
    for name, content in UNREADABLE.items():
        whole = (folder / name).read_bytes() if content is None else b""
        (folder / name).write_bytes(whole[: len(whole) // 2] if content is None else content)
    (folder / "Thumbs.db").write_bytes(b"junk")


def found(clone: Clone) -> dict[str, dict[str, str]]:
    with (clone.path / "data/split/manifest.csv").open(encoding="utf-8") as file:
        return {row["id"]: row for row in csv.DictReader(file)}


@pytest.mark.slow
@pytest.mark.xdist_group("forked stages")
def test_a_bad_set_goes_through_all_stages_as_the_docs_say(clone: Clone, forked: ForkedStages) -> None:
    assert forked.run("check").status == 0
    refused = forked.run("download")
    assert refused.status == 2
    assert "data/photos: 3 unreadable image(s), but download.max_bad is 0 (" in refused.err
    assert refused.err.count("\n") == 1
    assert not (clone.path / "data/raw").exists()

    (clone.path / "labels.csv").write_text(
        "\ufeffid;given;label\r\n" + "".join(f"{name};blue;red\r\n" for name in WRONG), encoding="utf-8"
    )
    clone.edit({"max_bad: 0": "max_bad: 3", "corrections: data/corrections.csv": "corrections: labels.csv"})
    before = {path: path.read_bytes() for path in (clone.path / "data/photos").rglob("*.*")}
    done = {stage: forked.run(stage) for stage in STAGES}
    assert {stage: each.status for stage, each in done.items()} == dict.fromkeys(STAGES, 0), [each.err for each in done.values()]
    assert "corrections: 4 label(s) changed, 0 image(s) left out" in done["download"].out
    assert "blue/red 0.png: blue -> red" in done["download"].out
    assert {path: path.read_bytes() for path in (clone.path / "data/photos").rglob("*.*")} == before

    dataset = json.loads((clone.path / "data/raw/dataset.json").read_text())
    assert {each["id"] for each in dataset["skipped"]} == set(UNREADABLE)
    assert [each["id"] for each in dataset["corrected"]] == WRONG
    expected = {"palette": 2, "alpha": 1, "cmyk": 1, "exif_rotated": 1, "animation": 1, "16_bit": 1}  # a GIF has a palette
    assert dataset["converted"] == expected
    assert dataset["ignored"] == [".gitignore", "Thumbs.db"]

    rows = found(clone)
    assert len(rows) == 60 + len(WRONG) + 2 + 6
    assert rows["red/twin.png"]["split"] == rows["blue/twin.png"]["split"]
    card = (clone.path / "metrics/split/card.md").read_text(encoding="utf-8")
    assert "| Pairs with different labels | 1 |" in card.replace("`", "") or "Pairs with different labels: 1" in card
    assert "`blue/red 0.png`: `blue` -> `red`" in card
    assert clone.metrics()["test"]["accuracy"] > 0.8
    with (clone.path / "data/predictions/predictions.csv").open(encoding="utf-8") as file:
        predicted = {row["path"] for row in csv.DictReader(file)}
    assert predicted == {name for name, row in rows.items() if row["split"] == "test"}
