"""A recipe is the line that it prints."""

import shlex
import shutil
import subprocess
from collections.abc import Callable
from pathlib import Path

import pytest

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params import Network, Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.model_choice.backbones import Backbone
from darkroom.model_choice.recipes import AS_SET, FINE_TUNING, PROBE, Recipe, as_set, from_scratch, in_way, of_task

PAIR = Backbone(
    "a + b",
    ("train.model.provider=builtin", "train.model.name=side_by_side", "+train.model.kwargs.networks=[a,b]"),
    2,
    "installed",
)
HUB = Backbone("resnet18.a1_in1k", ("train.model.name=resnet18.a1_in1k",), 1, "in the hub's cache")


def params_of_line(line: str, folder: Path) -> Params:
    """Return the parameters that DVC makes of a line that is typed into a shell in the repository."""
    from dvc.utils.hydra import apply_overrides

    assert line.startswith("dvc exp run")
    typed = line.replace("dvc exp run", 'printf "%s\\n"', 1)
    shown = subprocess.run(["bash", "-c", typed], capture_output=True, text=True, check=True, cwd=paths.ROOT).stdout
    words = [word for word in shown.split("\n") if word not in ("-S", "")]
    shutil.copy(paths.PARAMS, folder / "params.yaml")
    apply_overrides(folder / "params.yaml", words)
    return check_params(read_yaml(folder / "params.yaml"))


@pytest.mark.slow
@pytest.mark.parametrize("backbone", [PAIR, HUB], ids=["side_by_side", "hub"])
@pytest.mark.parametrize("way", [PROBE, *(pytest.param(each, marks=pytest.mark.thorough) for each in FINE_TUNING)])
def test_what_is_tried_is_what_the_line_runs(backbone: Backbone, way: str, tmp_path: Path) -> None:
    recipe = in_way(backbone, way, ())
    params, tried = params_of_line(recipe.line, tmp_path), recipe.read()
    assert tried.train == params.train
    assert isinstance(params.train.model, Network)
    assert (params.train.model.name, params.train.model.pretrained) == (
        recipe.settings[-1 - (backbone is PAIR)].split("=")[1],
        True,
    )


def test_the_line_as_it_is_shown() -> None:
    assert in_way(HUB, "full", ()).line == "dvc exp run $(./darkroom preset ways/full) -S train.model.name=resnet18.a1_in1k"
    assert in_way(HUB, "full", ("multilabel",)).presets == ("ways/full", "multilabel")
    assert in_way(HUB, PROBE, ("multilabel",)).settings[1:] == ("train.fit_head=null", "train.epochs=40")
    assert shlex.split(in_way(PAIR, PROBE, ()).line)[-1] == "+train.model.kwargs.networks=[a,b]"
    assert Recipe("small_cnn", AS_SET).line == "dvc exp run"


def test_the_training_of_params_yaml_is_tried_as_it_stands(make_params: Callable[..., Params]) -> None:
    params = make_params()
    recipe = as_set(params)
    assert recipe == Recipe("small_cnn", AS_SET)
    named = make_params({"train.model": {"_target_": "plugins.separable.SeparableCNN"}})
    assert as_set(named).backbone == "plugins.separable.SeparableCNN"


def test_what_influences_no_result_is_left_out(monkeypatch: pytest.MonkeyPatch, make_params: Callable[..., Params]) -> None:
    """The test split would be read, loggers would write elsewhere, several devices would start processes."""
    changed = make_params({"train.test_every": 2, "train.loggers": ["CSVLogger"], "hardware.num_workers": 1})
    monkeypatch.setattr("darkroom.model_choice.recipes.read_request", lambda *_: ({}, changed))
    read = Recipe("small_cnn", AS_SET).read()
    assert (read.train.test_every, read.train.loggers, read.hardware.devices) == (None, [], 1)
    assert (read.train.lr, read.hardware.num_workers) == (changed.train.lr, 1)
    started = make_params({"train.test_every": None, "train.init_from": "0a0635f"})
    monkeypatch.setattr("darkroom.model_choice.recipes.read_request", lambda *_: ({}, started))
    with pytest.raises(InputError, match=r"train.init_from: names another training, which find does not open; set it to null"):
        Recipe("small_cnn", AS_SET).read()
    two = changed.model_copy(update={"train": changed.train.model_copy(update={"processes": 2})})
    monkeypatch.setattr("darkroom.model_choice.recipes.read_request", lambda *_: ({}, two))
    with pytest.raises(InputError, match=r"train.processes: is 2, but find trains in one process; set it to 1"):
        Recipe("small_cnn", AS_SET).read()


def test_labels_of_other_kinds_add_their_preset(make_params: Callable[..., Params]) -> None:
    assert of_task(make_params(), multilabel=False) == ()
    assert of_task(make_params(), multilabel=True) == ("multilabel",)
    binary = make_params({"train.task": "binary", "train.loss": {"_target_": "torch.nn.BCEWithLogitsLoss"}})
    assert of_task(binary, multilabel=False) == ("binary",)


def test_from_scratch_photos_have_a_preset_of_their_own() -> None:
    assert [each.presets for each in from_scratch((), 8)] == [("ways/scratch",)]
    assert [each.presets for each in from_scratch(("multilabel",), 200)] == [
        ("ways/scratch", "multilabel"),
        ("from_scratch_small", "multilabel"),
    ]
