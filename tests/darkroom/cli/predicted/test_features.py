"""./darkroom predict --embeddings and --nearest: their files, their table, and what is refused."""

import csv
import json
import re
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pyarrow.parquet as pq
import pytest
import torch
from PIL import Image
from predicting import write_photos
from safetensors.torch import load_file
from torch.nn import functional

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.cli import predict
from darkroom.features.backbone import Backbone

pytestmark = pytest.mark.filterwarnings("ignore")


def test_the_last_layer_makes_the_probabilities_of_the_embeddings(workspace: Path, digits: Any) -> None:
    predict.main(["--embeddings", "--out", "f.parquet"])
    predict.main(["--out", "p.parquet"])
    found, predicted = pq.read_table("f.parquet").to_pydict(), pq.read_table("p.parquet").to_pydict()
    rows = digits.split.rows["test"]
    assert found["path"] == predicted["path"] == [digits.pack.ids[row] for row in rows]
    for name in ("actual", "class", "probability"):
        assert found[name] == predicted[name]
    weights = load_file(workspace / "models" / "model.safetensors")
    (head,) = [name.removesuffix(".weight") for name, value in weights.items() if value.ndim == 2]
    embedding = torch.tensor(np.array(found["embedding"], np.float32))
    logits = embedding @ weights[f"{head}.weight"].T + weights.get(f"{head}.bias", torch.zeros(10))
    expected = np.stack([predicted[f"p_{name}"] for name in digits.pack.classes], axis=1)
    scale = json.loads((workspace / "models" / "model.json").read_text())["network"].get("scale", 1)
    np.testing.assert_allclose((logits * scale).softmax(1).numpy(), expected, atol=1e-4)


def test_embeddings_of_photos_have_their_paths_and_bad_ones_none(workspace: Path, digits: Any) -> None:
    write_photos(digits, workspace / "few", digits.split.rows["test"][:70])
    predict.main(["few", "--embeddings", "--out", "f.parquet"])
    table = pq.read_table("f.parquet")
    assert [Path(path).name for path in table["path"].to_pylist()] == [f"{number:03d}.png" for number in range(70)]
    assert table.column_names == ["path", "class", "probability", "embedding"]
    (workspace / "few" / "005.png").write_bytes(b"nothing")
    before = (workspace / "f.parquet").read_bytes()
    (workspace / "g.parquet").write_bytes(before)
    with pytest.raises(InputError, match=r"005\.png: cannot be read"):
        predict.main(["few", "--embeddings", "--out", "g.parquet"])
    assert (workspace / "g.parquet").read_bytes() == before


def test_the_nearest_of_a_training_image_is_itself(workspace: Path, digits: Any, capsys: pytest.CaptureFixture[str]) -> None:
    rows = digits.split.rows["train"][:3]
    write_photos(digits, workspace / "few", rows)
    predict.main(["few", "--nearest", "2"])
    lines = [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()]
    start = next(number for number, line in enumerate(lines) if line[0] == "path")
    assert lines[start][-3:] == ["nearest", "its class", "similarity"]
    table = lines[start + 1 : start + 7]
    for number, row in enumerate(rows):
        name = digits.pack.classes[digits.pack.labels[row]]
        assert table[2 * number][-3:] == [digits.pack.ids[row], name, "1.0000"]
        assert table[2 * number + 1][0] == ""
        assert len(table[2 * number + 1]) == 4
    assert len(lines) == start + 7


def test_the_nearest_are_those_of_a_comparison_with_all(workspace: Path, digits: Any) -> None:
    write_photos(digits, workspace / "few", digits.split.rows["test"][:50])
    write_photos(digits, workspace / "known", digits.split.rows["val"][:80])
    predict.main(["few", "--embeddings", "--out", "few.parquet"])
    predict.main(["known", "--embeddings", "--out", "known.parquet"])
    for ending in ("csv", "jsonl", "parquet"):
        predict.main(["few", "--nearest", "4", "--among", "known.parquet", "--out", f"n.{ending}"])
    few, known = (pq.read_table(f"{name}.parquet").to_pydict() for name in ("few", "known"))
    queries, among = (np.array(each["embedding"], np.float32) for each in (few, known))
    cosine = (queries @ among.T) / np.linalg.norm(queries, axis=1)[:, None] / np.linalg.norm(among, axis=1)
    order = np.argsort(-cosine, axis=1, kind="stable")[:, :4]
    found = pq.read_table("n.parquet").to_pydict()
    assert found["nearest"] == [[known["path"][place] for place in row] for row in order]
    assert found["nearest_class"] == [[known["class"][place] for place in row] for row in order]
    np.testing.assert_allclose(found["similarity"], np.take_along_axis(cosine, order, axis=1), atol=1e-5)
    lines = [json.loads(line) for line in (workspace / "n.jsonl").read_text().splitlines()]
    assert [[each["path"] for each in line["nearest"]] for line in lines] == found["nearest"]
    with (workspace / "n.csv").open(newline="") as file:
        cells = list(csv.DictReader(file))
    assert [[row[f"nearest_{place}"] for place in range(1, 5)] for row in cells] == found["nearest"]
    assert [float(row["similarity_1"]) for row in cells] == pytest.approx([row[0] for row in found["similarity"]], abs=1e-4)


def test_embeddings_and_the_nearest_stand_in_one_file(workspace: Path, digits: Any) -> None:
    write_photos(digits, workspace / "few", digits.split.rows["test"][:5])
    predict.main(["few", "--embeddings", "--nearest", "3", "--out", "f.parquet"])
    table = pq.read_table("f.parquet")
    assert table.column_names == ["path", "class", "probability", "nearest", "nearest_class", "similarity", "embedding"]
    assert [len(row) for row in table["nearest"].to_pylist()] == [3] * 5


def test_before_any_training_a_pretrained_network_has_features(
    workspace: Path, digits: Any, capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(workspace / "models")
    write_photos(digits, workspace / "few", digits.split.rows["test"][:5])
    arguments = ["few", "--backbone", "tf_efficientnet_lite0"]
    predict.main([*arguments, "--embeddings", "--out", "f.parquet"])
    table = pq.read_table("f.parquet")
    described = json.loads(table.schema.metadata[b"darkroom"])
    assert described["network"] == "tf_efficientnet_lite0"
    assert described["unit_length"]
    assert table.column_names == ["path", "embedding"]
    np.testing.assert_allclose(np.linalg.norm(table["embedding"].to_pylist(), axis=1), 1, rtol=1e-5)
    # Kept: computed once. The nearest of each is itself.
    monkeypatch.setattr(Backbone, "features", lambda *_: 1 / 0)
    capsys.readouterr()
    predict.main([*arguments, "--nearest", "1", "--among", "f.parquet"])
    lines = [re.split(" {2,}", line) for line in capsys.readouterr().out.splitlines()]
    assert lines[0] == ["path", "nearest", "its class", "similarity"]
    assert [line[0] for line in lines[1:]] == [line[1] for line in lines[1:]]
    assert {line[-1] for line in lines[1:]} == {"1.0000"}
    for ending in ("csv", "jsonl", "parquet"):
        predict.main([*arguments, "--nearest", "2", "--among", "f.parquet", "--out", f"n.{ending}"])
    assert (workspace / "n.csv").read_text().splitlines()[0].startswith("path,nearest_1,nearest_class_1,similarity_1,nearest_2")
    assert set(json.loads((workspace / "n.jsonl").read_text().splitlines()[0])) == {"path", "nearest"}


def small_features(_: Backbone, images: torch.Tensor) -> torch.Tensor:
    """What a network could compute of images, in no time."""
    return functional.normalize(functional.adaptive_avg_pool2d(images[:, :1].float(), 4).flatten(1), dim=1)


def test_the_test_split_has_features_of_a_pretrained_network_too(
    workspace: Path, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    shutil.rmtree(workspace / "models")
    monkeypatch.setattr(Backbone, "features", small_features)
    predict.main(["--backbone", "tf_efficientnet_lite0", "--embeddings", "--nearest", "1", "--out", "f.parquet"])
    found, rows = pq.read_table("f.parquet").to_pydict(), digits.split.rows["test"]
    assert found["path"] == [digits.pack.ids[row] for row in rows]
    assert found["actual"] == [digits.pack.classes[label] for label in digits.pack.labels[rows]]
    assert {name for (name,) in found["nearest"]} <= {digits.pack.ids[row] for row in digits.split.rows["train"]}
    # Digits are mostly nearest to digits of their class, even by 16 grey values.
    assert np.mean([one == other for one, (other,) in zip(found["actual"], found["nearest_class"], strict=True)]) > 0.9


def test_photos_that_cannot_be_read_are_counted_before_any_training_too(
    workspace: Path, digits: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(Backbone, "features", small_features)
    write_photos(digits, workspace / "few", digits.split.rows["test"][:3])
    (workspace / "few" / "001.png").write_bytes(b"nothing")
    arguments = ["few", "--backbone", "tf_efficientnet_lite0", "--embeddings", "--out", "f.parquet"]
    with pytest.raises(InputError, match=r"001\.png: cannot be read .*; fix or remove it, or raise predict\.max_bad"):
        predict.main(arguments)
    assert not (workspace / "f.parquet").exists()
    params = (workspace / "params.yaml").read_text()
    (workspace / "params.yaml").write_text(params.replace("max_bad: 0", "max_bad: 1"))
    predict.main(arguments)
    assert [Path(path).name for path in pq.read_table("f.parquet")["path"].to_pylist()] == ["000.png", "002.png"]


def test_another_network_cannot_be_compared(workspace: Path, digits: Any) -> None:
    write_photos(digits, workspace / "few", digits.split.rows["test"][:3])
    predict.main(["few", "--embeddings", "--out", "f.parquet"])
    with pytest.raises(
        InputError, match=r"^--among: f\.parquet: its embeddings are of SmallCNN \(models, \w{8}\), not of tf_eff\w+"
    ):
        predict.main(["few", "--nearest", "1", "--among", "f.parquet", "--backbone", "tf_efficientnet_lite0"])


def test_a_network_without_a_last_layer_is_one_line(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("darkroom.inference.embeddings.head_name", lambda _: "")
    with pytest.raises(InputError, match=r"^--embeddings: SmallCNN has no single last layer .*; name another model$"):
        predict.main(["--embeddings", "--out", "f.parquet"])
    with pytest.raises(InputError, match=r"^--nearest: SmallCNN has no single last layer"):
        predict.main(["--nearest", "3"])
    assert not (workspace / "f.parquet").exists()


def test_other_training_images_are_refused(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "RAW", workspace / "none")
    write = workspace / "a.png"
    Image.new("L", (8, 8)).save(write)
    with pytest.raises(InputError, match=r"holds no images; run .*, or name a file of embeddings with --among$"):
        predict.main(["a.png", "--nearest", "3"])


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--embeddings"], r"^--embeddings: needs a file; give --out features\.parquet$"),
        (["--embeddings", "--out", "f.csv"], r"^--embeddings: is written as one Parquet file, but --out is f\.csv; give --out"),
        (["--nearest", "0"], r"^--nearest: is 0, but should be 1 to 100; give another number$"),
        (["--nearest", "many"], r"^--nearest: is 'many', but should be a whole number"),
        (["--among", "f.parquet"], r"^--among: names the images .*; give --nearest 5 as well$"),
        (["--nearest", "3", "--among", "f.parquet"], r"^--among: f\.parquet does not exist; write it with"),
        (["--backbone", "pretrained"], r"^--backbone: a pretrained network predicts no classes of yours; add --embeddings"),
        (["--backbone", "pretrained", "--model", "x", "--nearest", "2"], r"^--backbone: cannot be given together with --model"),
        (["--backbone", "tf_eficientnet_lite0", "--nearest", "2"], r"has no network tf_eficientnet_lite0; did you mean 'tf_efficientnet_lite0'"),
        (["--backbone", "pretained", "--nearest", "2"], r"^--backbone: timm has no network pretained; did you mean 'pretrained'"),
        (["--embedings"], r"^--embedings: unknown flag; did you mean '--embeddings'\?"),
    ],
)  # fmt: skip
@pytest.mark.usefixtures("workspace")
def test_a_mistake_is_one_line(arguments: list[str], message: str) -> None:
    with pytest.raises(InputError, match=message):
        predict.main(arguments)
