"""A smoke test is refused where its result would replace a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.stage.runner import refuse_smoke_test


@pytest.mark.parametrize("changes", [{"train.debug": True}, {"train.trainer": {"fast_dev_run": 2}}])
def test_a_smoke_test_runs_only_in_a_temporary_folder(
    make_params: Callable[..., Params], root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path, changes: dict[str, Any]
) -> None:
    params = make_params(changes)
    (key,) = ("train.debug" if "train.debug" in changes else "train.trainer.fast_dev_run",)
    link = tmp_path / "link"
    link.symlink_to(root)
    for here in (None, root, link):
        monkeypatch.setenv("DVC_ROOT", str(here)) if here else monkeypatch.delenv("DVC_ROOT", raising=False)
        with pytest.raises(InputError, match=rf"params.yaml: {key}: only tries the code.*; run 'dvc exp run --temp"):
            refuse_smoke_test(params)
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))
    refuse_smoke_test(params)


def test_training_in_earnest_runs_anywhere(
    make_params: Callable[..., Params], root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("DVC_ROOT", str(root))
    refuse_smoke_test(make_params({"train.trainer": {"fast_dev_run": False, "limit_train_batches": 2}}))
