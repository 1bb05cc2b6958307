"""A workspace with a model that was not trained."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from publishing import Best
from ruamel.yaml import YAML

from darkroom.base import paths
from darkroom.base.params_file import check_params, read_yaml
from darkroom.features import extract
from darkroom.models.model_json import data_hashes, make_card
from darkroom.models.saving import save_model
from darkroom.training.plan import make_plan


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """A model that was not trained."""
    content = read_yaml(paths.PARAMS)
    content["train"]["model"]["kwargs"] = {"width": 4, "stages": 1}
    content["hardware"]["accelerator"] = "cpu"
    content["predict"]["input"] = str(digits.raw.parent / "split")
    folder, params = tmp_path_factory.mktemp("published"), check_params(content)
    torch.manual_seed(0)
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    hashes = data_hashes(digits.raw, digits.split)
    card = make_card(params, plan.preprocessing, digits.split.classes, hashes, Best(), about=plan.about)
    save_model(folder / "models", plan.classifier.network.eval().state_dict(), card)
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(content, file)
    return folder


@pytest.fixture
def workspace(published: Path, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    shutil.copytree(published, tmp_path, dirs_exist_ok=True)
    named = {"RAW": digits.raw, "SPLIT": digits.raw.parent / "split", "MODELS": tmp_path / "models"}
    for name, path in (named | {"PARAMS": tmp_path / "params.yaml"}).items():
        monkeypatch.setattr(paths, name, path)
    monkeypatch.setattr(extract, "features_dir", lambda: tmp_path / "kept")
    monkeypatch.chdir(tmp_path)
    return tmp_path
