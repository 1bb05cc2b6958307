"""What params.yaml names for DVC to watch: refused by its key before DVC says `[Errno 2]` or removes anything."""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.nested import read_stages
from darkroom.base.params import Params
from darkroom.base.yaml_file import read_yaml
from darkroom.health.dvc_setup import check_pipeline
from darkroom.precheck.dependencies import check_dependencies, check_files

STAGES = read_yaml(paths.PIPELINE)["stages"]
HOME = os.path.expanduser("~")  # noqa: PTH111


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("download.folder", "", "is empty; name a folder"),
        ("download.folder", "data/photo", "data/photo does not exist; did you mean 'data/photos'?"),
        ("download.folder", "/nowhere/x", "/nowhere/x does not exist; correct it, or create the folder"),
        ("download.folder", "~/photos", f"~/photos: DVC does not know ~; write {HOME}/photos"),
        ("download.folder", "~nobody/x", "~nobody/x: DVC does not know ~; write the whole path"),
        ("download.folder", "data", "data contains data/raw, which the stage download writes; name another folder"),
        ("download.folder", ".", ". contains data/raw, which the stage download writes; name another folder"),
        ("download.folder", "data/raw", "data/raw is data/raw, which the stage download writes; name another folder"),
        ("download.folder", "data/split/x", "data/split/x is in data/split, which the stage split writes; name another folder"),
        ("download.folder", "metrics", "metrics contains metrics/split, which the stage split writes; name another folder"),
        ("download.folder", "a\nb", "'a\\nb' holds a control character; name another folder"),
        ("download.folder", "x" * 3000, f"{'x' * 200}… does not exist; correct it, or create the folder"),
        (
            "predict.input",
            "data/predictions",
            "data/predictions is data/predictions, which the stage predict writes; name another",
        ),
        ("download.corrections", "", "is empty; name a file"),
        ("download.corrections", "label.csv", "label.csv does not exist; correct it, or create the file"),
        ("predict.input", "data/photo", "data/photo does not exist; did you mean 'data/photos'?"),
    ],
)
def test_what_dvc_would_refuse(content: dict[str, Any], key: str, value: str, message: str) -> None:
    section, name = key.split(".")
    content[section][name] = value
    with pytest.raises(InputError) as caught:
        check_dependencies(STAGES, content, paths.ROOT)
    assert str(caught.value).startswith(f"params.yaml: {key}: {message}")


@pytest.mark.parametrize("value", ["s3://bucket/photos", "data/photos", "./data//photos/", str(paths.ROOT / "docs"), None, 3])
def test_what_dvc_accepts(content: dict[str, Any], value: Any) -> None:
    content["download"]["folder"] = value
    content["predict"]["input"] = "./data/split/"  # an output of an earlier stage
    check_dependencies(STAGES, content, paths.ROOT)


def test_folders_that_git_does_not_track(content: dict[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "photos").mkdir()
    monkeypatch.setenv("DVC_ROOT", str(tmp_path))
    content["download"]["folder"] = "photos"
    with pytest.raises(InputError, match=r"photos is not in the folder of this run, which has .* use an absolute path"):
        check_dependencies(STAGES, content, paths.ROOT)


def test_files(make_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name, place in {"ROOT": "", "RAW": "data/raw", "MODELS": "models"}.items():
        monkeypatch.setattr(paths, name, tmp_path / place)
    (tmp_path / "set.zip").touch()
    check_files(make_params({"download.source": "archive", "download.archive": "set.zip"}))
    check_files(make_params({"download.source": "archive", "download.archive": "https://localhost/set.zip"}))
    right = {"download.archive": "set.zip", "train.model.weights": None, "predict.input": "data/split"}
    for key, value in {"download.archive": "st.zip", "train.model.weights": "sett.zip", "predict.input": "data/raw"}.items():
        with pytest.raises(InputError) as caught:
            check_files(make_params(right | {key: value}))
        advice = "holds what a stage wrote, not images" if key == "predict.input" else "is no file; did you mean 'set.zip'?"
        assert str(caught.value).startswith(f"params.yaml: {key}: {value} {advice}")


def test_doctor_explains_what_dvc_refuses(tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text("stages: {download: {deps: ['${download.folder}'], outs: [data/raw]}}")
    (tmp_path / "params.yaml").write_text("download: {folder: data}")
    found = [str(finding) for finding in check_pipeline(tmp_path)]
    assert found[1].split(maxsplit=3)[:3] == ["fail", "dvc", "graph"]
    assert "params.yaml: download.folder: data contains data/raw, which the stage download writes" in found[1]
    (tmp_path / "params.yaml").write_text("download: {folder: dvc.yaml}")
    assert [finding.mark for finding in check_pipeline(tmp_path)] == ["ok", "ok"]


@pytest.mark.parametrize(
    "text", ["", "[]", "plots: []", "stages: []", "stages: {split: 3}", "stages: {split: {deps: x}}", "stages: {a: {outs: [3]}}"]
)
def test_foreign_pipelines(text: str, tmp_path: Path) -> None:
    (tmp_path / "dvc.yaml").write_text(text)
    with pytest.raises(InputError, match=r"^dvc.yaml: is not a pipeline of this project; restore it with 'git checkout HEAD -- "):
        read_stages(tmp_path / "dvc.yaml")
