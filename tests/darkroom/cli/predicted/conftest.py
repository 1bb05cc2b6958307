"""A workspace with a model that was not trained."""

import shutil
from pathlib import Path
from typing import Any

import pytest
import torch
from publishing import enter_workspace, publish_untrained
from ruamel.yaml import YAML

from darkroom.base import paths
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.features import extract
from darkroom.models.model_json import data_hashes, make_card
from darkroom.models.saving import save_model
from darkroom.training.plan import make_plan


@pytest.fixture(scope="session")
def published(tmp_path_factory: pytest.TempPathFactory, digits: Any) -> Path:
    """A model that was not trained."""
    folder = tmp_path_factory.mktemp("published")
    publish_untrained(folder, digits, input=str(digits.raw.parent / "split"))
    return folder


@pytest.fixture
def workspace(published: Path, digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    enter_workspace(published, digits, tmp_path, monkeypatch)
    return tmp_path
