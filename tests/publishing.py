"""Published models to start with and to learn from, for tests."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from ruamel.yaml import YAML

from darkroom.base import paths
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.features import extract
from darkroom.models.model_json import data_hashes, make_card
from darkroom.models.saving import save_model
from darkroom.objective.distillation import Teacher, open_teacher
from darkroom.training.plan import Plan, make_plan
from darkroom.versions.models import read_model


class Best:
    """A published epoch."""

    monitor, epoch, score = "val/accuracy", 1, 0.5


def publish(folder: Path, plan: Plan, classes: list[str], task: str = "multiclass") -> None:
    """Write a model, each of whose weights is a little more than it began with."""
    folder.mkdir(exist_ok=True)
    card = make_card(plan.params, plan.preprocessing, classes, {"raw": "0"}, Best(), task=task, about=plan.about)
    begun = plan.classifier.network.state_dict()
    weights = {name: value + 0.05 if value.is_floating_point() else value + 1 for name, value in begun.items()}
    save_model(folder, weights, card)


def publish_untrained(folder: Path, digits: Any, **predict: Any) -> None:
    """Write a small model of the digits with the weights that it begins with, and a params.yaml with these values of `predict`."""
    content = read_yaml(paths.PARAMS)
    content["train"]["model"]["kwargs"] = {"width": 4, "stages": 1}
    content["hardware"]["accelerator"] = "cpu"
    content["predict"] |= predict
    params = check_params(content)
    torch.manual_seed(0)
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    hashes = data_hashes(digits.raw, digits.split)
    card = make_card(params, plan.preprocessing, digits.split.classes, hashes, Best(), about=plan.about)
    save_model(folder / "models", plan.classifier.network.eval().state_dict(), card)
    with (folder / "params.yaml").open("w") as file:
        YAML().dump(content, file)


def enter_workspace(published: Path, digits: Any, folder: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Work in a folder with a copy of what was published, the digits as data/raw and data/split, and no kept features."""
    shutil.copytree(published, folder, dirs_exist_ok=True)
    named = {"RAW": digits.raw, "SPLIT": digits.raw.parent / "split", "MODELS": folder / "models"}
    for name, path in (named | {"PARAMS": folder / "params.yaml"}).items():
        monkeypatch.setattr(paths, name, path)
    monkeypatch.setattr(extract, "features_dir", lambda: folder / "kept")
    monkeypatch.chdir(folder)


def teacher_of(params: Params) -> Teacher | None:
    """Return the model of the folder that `train.teacher` names, as the stage does."""
    teaching = params.train.teacher
    return open_teacher(*read_model(Path("/"), Path("/"), teaching.model), params) if teaching else None
