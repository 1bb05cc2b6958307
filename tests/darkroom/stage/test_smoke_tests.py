"""A smoke test is refused where its result would replace a model."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.stage.runner import refuse_smoke_test, with_way_back


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


def test_the_way_back_is_named_where_dvc_wrote_to_params_yaml(
    root: Path, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    def refused() -> str:
        with pytest.raises(InputError) as told, with_way_back():
            raise InputError("params.yaml: train.lr: is wrong")
        return str(told.value)

    monkeypatch.delenv("DVC_EXP_NAME", raising=False)
    monkeypatch.setenv("DVC_ROOT", str(root))
    assert refused() == "params.yaml: train.lr: is wrong"
    monkeypatch.setenv("DVC_EXP_NAME", "mine")
    assert refused() == "params.yaml: train.lr: is wrong ('git restore params.yaml' brings back the committed one)"
    monkeypatch.setenv("DVC_ROOT", str(tmp_path / "elsewhere"))
    assert refused() == "params.yaml: train.lr: is wrong"
