"""Old keys are errors that say the new name; old names under `_target_` are understood."""

import importlib
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest
from torch import nn

from darkroom.base import params_file, paths, renamed
from darkroom.base.errors import InputError
from darkroom.base.instantiate import PLACES, Builder
from darkroom.base.params import Params, Target
from darkroom.base.params_file import check_params
from darkroom.experiments.overrides import read_request
from darkroom.experiments.presets import set_arguments

OLD, NEW = "darkroom.training.losses.FocalLoss", "darkroom.objective.losses.FocalLoss"


@pytest.fixture(autouse=True)
def warnings_again() -> Iterator[None]:
    """Each test gets the warnings that a command prints once."""
    params_file._warn_of_old_target.cache_clear()
    yield
    params_file._warn_of_old_target.cache_clear()


def rename_back(content: dict[str, Any], key: str) -> None:
    """Give a key of params.yaml its old name."""
    section, _, new = renamed.KEYS[key].partition(".")
    content[section][key.partition(".")[2]] = content[section].pop(new)


@pytest.mark.parametrize("key", renamed.KEYS)
def test_an_old_key_is_an_error_with_the_new_name(content: dict[str, Any], key: str) -> None:
    rename_back(content, key)
    with pytest.raises(InputError) as caught:
        check_params(content)
    assert str(caught.value) == f"params.yaml: {key}: is now called {renamed.KEYS[key]}; rename it"
    assert check_params(renamed.with_current_names(content))


def test_several_old_keys_are_one_error(content: dict[str, Any]) -> None:
    for key in ("evaluate.engine", "hardware.hold_pictures"):
        rename_back(content, key)
    content["train"]["lr"] = -1
    with pytest.raises(InputError) as caught:
        check_params(content)
    assert str(caught.value) == (
        "params.yaml: evaluate.engine, hardware.hold_pictures: are now called evaluate.backend, hardware.cache_images; rename them"
    )


def test_an_old_key_beside_the_new_one_is_an_error(content: dict[str, Any]) -> None:
    """As after `dvc exp run -S +evaluate.engine=openvino`."""
    content["evaluate"]["engine"] = "openvino"
    with pytest.raises(InputError, match=r"evaluate\.engine: is now called evaluate\.backend; rename it"):
        check_params(content)


def test_an_old_key_in_a_preset(content: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    with pytest.raises(InputError, match=r"^conf/mine\.yaml: evaluate\.engine: is now called evaluate\.backend; rename it$"):
        set_arguments(content, {"mine": {"evaluate": {"engine": "torch"}}})
    rename_back(content, "evaluate.engine")
    # One that is in params.yaml is not the preset's: the stage check refuses it.
    assert set_arguments(content, {"mine": {"train": {"lr": 0.1}}}) == ["-S", "train.lr=0.1"]
    assert "params.yaml: evaluate.engine: is now called evaluate.backend" in capsys.readouterr().err


def test_an_old_key_of_a_setting() -> None:
    for setting in ("evaluate.engine=openvino", "+evaluate.engine=openvino", "~evaluate.engine"):
        with pytest.raises(InputError, match=r"^-S evaluate\.engine: is now called evaluate\.backend; rename it$"):
            read_request(paths.PARAMS, paths.PRESETS, [], [setting])


@pytest.mark.parametrize("old", renamed.MODULES)
def test_every_module_of_the_table_is_gone_and_its_new_one_is_there(old: str) -> None:
    with pytest.raises(ModuleNotFoundError):
        importlib.import_module(old)
    importlib.import_module(renamed.MODULES[old])


@pytest.mark.parametrize("old", renamed.NAMES)
def test_every_name_of_the_table_is_there(old: str) -> None:
    for path, is_there in ((old, False), (renamed.NAMES[old], True)):
        module, _, name = path.rpartition(".")
        found = getattr(importlib.import_module(module), name, None)
        assert (found is not None and found.__module__ == module) == is_there


# What `_target_` could name before the modules moved: what they defined of the kinds that params.yaml takes.
NAMEABLE = [
    *(f"augment.{name}" for name in ("AlternatingFlip", "RandomColor", "RandomCropResize", "RandomFlip", "RandomShift")),
    *("classifier.Classifier", "losses.FocalLoss", "schedules.WarmupCosine", "small_cnn.SmallCNN", "whitened_cnn.WhitenedCNN"),
]


@pytest.mark.parametrize("name", NAMEABLE)
def test_what_could_be_named_can_still_be(name: str) -> None:
    target = Target.model_validate(f"darkroom.training.{name}")
    module, _, last = target.target.rpartition(".")
    assert any(module == place or module.startswith(place + ".") for place in PLACES)
    found = getattr(importlib.import_module(module), last)
    assert (found.__module__, found.__name__) == (module, name.partition(".")[2])
    assert Builder("train.model", (object,)).find(target.target) is found


def test_an_old_target_is_understood_with_one_warning(
    make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]
) -> None:
    old = {"train.loss": {"_target_": OLD, "gamma": 3.0}, "train.metrics": {"beside": OLD}}
    for _ in range(3):
        params = make_params(old)
    assert params.train.loss.target == params.train.metrics["beside"].target == NEW
    assert capsys.readouterr().err.splitlines() == [
        f"warning: params.yaml: train.loss._target_: {OLD} is now called {NEW}; rename it",
        f"warning: params.yaml: train.metrics.beside: {OLD} is now called {NEW}; rename it",
    ]
    loss = Builder("train.loss", (nn.Module,)).build(params.train.loss)
    assert (type(loss).__module__, loss.gamma) == ("darkroom.objective.losses", 3.0)


def test_what_is_written_down_has_the_new_name(make_params: Callable[..., Params]) -> None:
    augment = {
        "_target_": "torchvision.transforms.v2.RandomApply",
        "transforms": [{"_target_": "darkroom.training.augment.RandomFlip"}],
    }
    params = make_params({"train.augment": [augment]})
    written = params.model_dump(by_alias=True)["train"]["augment"]
    assert written == [{**augment, "transforms": [{"_target_": "darkroom.input.augment.RandomFlip"}]}]


def test_today_s_names_warn_of_nothing(make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]) -> None:
    params = make_params()
    assert capsys.readouterr().err == ""
    assert params.train.scheduler is not None
    assert renamed.current_target(params.train.scheduler.target) == params.train.scheduler.target
    assert renamed.current_target("torch.optim.SGD") == "torch.optim.SGD"


def test_the_error_of_a_plug_in_names_the_new_module(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "earlier.py").write_text("from darkroom.training.losses import FocalLoss\nclass Mine(FocalLoss): pass\n")
    monkeypatch.syspath_prepend(tmp_path)
    builder = Builder("train.loss", (nn.Module,), allow=["earlier"])
    with pytest.raises(InputError, match=r"earlier cannot be imported .*; import darkroom\.objective\.losses instead$"):
        builder.find("earlier.Mine")


def test_the_repository_uses_no_old_name() -> None:
    texts = {path: path.read_text(encoding="utf-8") for path in (paths.PARAMS, *paths.PRESETS.rglob("*.yaml"))}
    old = [(path.name, name) for path, text in texts.items() for name in renamed.MODULES if f"{name}." in text]
    assert old == []
