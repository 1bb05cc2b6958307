"""Fixtures for the tests of stage: a small workspace."""

from pathlib import Path

import pytest

from darkroom.base import paths


@pytest.fixture
def root(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A small workspace with one stage."""
    (tmp_path / "dvc.yaml").write_text(
        "stages:\n  split:\n    deps: [src/split.py, data/raw, '${predict.input}']\n    params: [base, split]\n"
    )
    (tmp_path / "params.yaml").write_text("base: {seed: 0}\nsplit: {val_fraction: 0.1}\npredict: {input: photos}\nother: 1\n")
    for name in ("src/split.py", "data/raw/images.npy", "photos/a.jpg"):
        (tmp_path / name).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / name).write_text("content")
    for name, path in {"ROOT": "", "PIPELINE": "dvc.yaml", "PARAMS": "params.yaml", "RAW": "data/raw"}.items():
        monkeypatch.setattr(paths, name, tmp_path / path)
    monkeypatch.setattr(paths, "MODELS", tmp_path / "models")
    monkeypatch.setattr(paths, "TRAIN_METRICS", tmp_path / "metrics" / "train")
    return tmp_path
