"""Corrections of photos: those of data/raw as rows of download.corrections, others as files with a manifest."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from serving_fixtures import encoded

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams, Params
from darkroom.serving import collected as module
from darkroom.serving.collected import Collected
from darkroom.serving.limits import Refused
from darkroom.sources.corrections.table import read_corrections
from darkroom.sources.read import read_source

ANSWER = {"class": "unknown", "probability": 0.25}
HASH = "a" * 64


def photo(seed: int, kind: str = "JPEG") -> bytes:
    return encoded(np.random.default_rng(seed).integers(0, 256, (20, 30, 3), np.uint8), kind)


def test_download_takes_what_was_collected(tmp_path: Path, make_params: Callable[..., Params]) -> None:
    collected = Collected(tmp_path / "kept", ["daisy", "=rose"], None)
    sent = {"daisy": photo(0), "=rose": photo(1, "PNG")}
    for label, data in sent.items():
        assert collected.add(data, [label], ANSWER, HASH)["table"] == "manifest.csv"
    collected.add(sent["daisy"], ["=rose"], ANSWER, HASH)  # changed their mind
    again = Collected(tmp_path / "kept", ["daisy", "=rose"], None)  # the server was started again
    again.add(photo(2, "WEBP"), ["daisy"], ANSWER, HASH)
    download: DownloadParams = make_params(
        {"download.source": "manifest", "download.folder": str(tmp_path / "kept"), "download.manifest": "manifest.csv"}
    ).download
    with read_source(download, tmp_path) as listing:
        found = {item.id: item.read() for item in listing.items}
        classes = listing.name_classes([label for _, label in found.values()])
    assert {Path(name).suffix: classes[label] for name, (_, label) in found.items()} == {
        ".jpg": "=rose",
        ".png": "=rose",
        ".webp": "daisy",
    }
    assert sorted(data for data, _ in found.values()) == sorted([*sent.values(), photo(2, "WEBP")])


def test_an_image_of_the_data_becomes_a_row_of_corrections(digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    pack = digits.pack
    collected = Collected(tmp_path / "kept", pack.classes, pack)
    row = int(digits.split.rows["train"][7])
    given = pack.classes[pack.labels[row]]
    other = next(name for name in pack.classes if name != given)
    kept = collected.add(encoded(pack[row][..., 0]), [other], ANSWER, HASH)
    assert kept == {"table": "corrections.csv", "id": pack.ids[row], "label": other}
    (correction,) = read_corrections("kept/corrections.csv").rows
    assert (correction.id, correction.given, correction.label) == (pack.ids[row], given, other)
    assert [path.name for path in (tmp_path / "kept").iterdir()] == ["corrections.csv"]


def test_what_is_not_kept(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(module, "MOST", 1)
    collected = Collected(tmp_path, ["daisy"], None)
    with pytest.raises(Refused, match="there is no class 'rose'"):
        collected.add(photo(0), ["rose"], ANSWER, HASH)
    collected.add(photo(0), ["daisy"], ANSWER, HASH)
    with pytest.raises(Refused, match="holds 1 photos"):
        collected.add(photo(1), ["daisy"], ANSWER, HASH)
    collected.add(photo(0), ["daisy"], ANSWER, HASH)
    (tmp_path / "manifest.csv").write_text("path,class\n")
    with pytest.raises(InputError, match=r"--collect: .*manifest\.csv has other columns than path, label, predicted"):
        Collected(tmp_path, ["daisy"], None)
