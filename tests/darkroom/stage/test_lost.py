"""A stage that fails says what DVC removed before it ran, and the command that brings it back."""

from pathlib import Path

import pytest

from darkroom.base import paths
from darkroom.base.errors import InputError, RunError
from darkroom.stage.lost import saying_what_is_lost

PIPELINE = """stages:
  train:
    cmd: train
    outs: [models/model.json, models/model.safetensors]
    metrics:
    - metrics/train.json: {cache: false}
"""
LOCK = """schema: '2.0'
stages:
  train:
    outs:
    - path: metrics/train.json
    - path: models/model.json
    - path: models/model.safetensors
"""


@pytest.fixture
def project(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    (tmp_path / "dvc.yaml").write_text(PIPELINE)
    (tmp_path / "dvc.lock").write_text(LOCK)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr(paths, "PIPELINE", tmp_path / "dvc.yaml")
    monkeypatch.setattr(paths, "in_workspace", lambda: True)
    monkeypatch.setenv("DVC_STAGE", "train")
    return tmp_path


def told(error: Exception) -> str:
    with pytest.raises(type(error)) as caught, saying_what_is_lost():
        raise error
    return str(caught.value)


@pytest.mark.parametrize("kind", [InputError, RunError])
def test_the_way_back_is_said(kind: type[Exception], project: Path) -> None:
    said = told(kind("corrections.csv: row 2: the source has no class 'rsoe'; did you mean 'rose'?"))
    assert said == (
        "corrections.csv: row 2: the source has no class 'rsoe'; did you mean 'rose'? "
        "(DVC removed models/model.json, models/model.safetensors before; 'dvc checkout train' brings it back)"
    )
    (project / "models").mkdir()
    (project / "models" / "model.json").write_text("{}")
    assert "(DVC removed models/model.safetensors before; " in told(kind("a: b; c"))


def test_where_nothing_is_lost_nothing_is_said(project: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(paths, "in_workspace", lambda: False)  # --temp: the workspace is untouched
    assert told(InputError("a: b; c")) == "a: b; c"
    monkeypatch.setattr(paths, "in_workspace", lambda: True)
    monkeypatch.delenv("DVC_STAGE")  # the script itself removes nothing
    assert told(InputError("a: b; c")) == "a: b; c"
    monkeypatch.setenv("DVC_STAGE", "split")  # never ran before
    assert told(InputError("a: b; c")) == "a: b; c"
    monkeypatch.setenv("DVC_STAGE", "train")
    for text in ("stages: [", "stages: 3", ""):
        (project / "dvc.lock").write_text(text)
        assert told(InputError("a: b; c")) == "a: b; c"
    (project / "dvc.lock").write_text(LOCK)
    (project / "models").mkdir()
    for name in ("model.json", "model.safetensors"):
        (project / "models" / name).write_text("")
    assert told(InputError("a: b; c")) == "a: b; c"
