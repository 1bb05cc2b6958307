"""Presets become words that the shell passes on and that DVC turns into the parameters meant."""

import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Any

import pytest

from darkroom.base import paths
from darkroom.base.errors import InputError
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.experiments.presets import overlaid, override_text, preset_names, read_preset, set_arguments, summary

PRESETS = preset_names(paths.PRESETS)


def test_the_promised_presets_are_there() -> None:
    assert {"mnist", "fashion_mnist", "cifar10", "cifar100", "flowers", "debug"} <= set(PRESETS)


@pytest.mark.parametrize("name", PRESETS)
def test_every_preset_says_source_result_cost_and_command(name: str) -> None:
    text = (paths.PRESETS / f"{name}.yaml").read_text(encoding="utf-8")
    assert all(f"{word}:" in text for word in ("Source", "Expected result", "Cost"))
    (command,) = [line for line in text.splitlines() if line.startswith("# Run: ")]
    assert name in re.findall(r"[\w/]+", command)
    assert 20 < len(summary(paths.PRESETS, name)) <= 120


@pytest.mark.parametrize("name", PRESETS)
def test_dvc_makes_of_the_arguments_what_the_preset_says(name: str, tmp_path: Path) -> None:
    from dvc.utils.hydra import apply_overrides

    content = read_yaml(paths.PARAMS)
    overlay = read_preset(paths.PRESETS, name)
    words = set_arguments(content, {name: overlay})
    # Through a real shell, unquoted, as people type it.
    listing = tmp_path / "words"
    listing.write_text(" ".join(words), encoding="utf-8")
    passed = subprocess.run(
        ["bash", "-c", f'printf "%s\\n" $(cat {listing})'], capture_output=True, text=True, check=True
    ).stdout.split("\n")[:-1]
    assert passed == words
    shutil.copy(paths.PARAMS, tmp_path / "params.yaml")
    apply_overrides(tmp_path / "params.yaml", [word for word in passed if word != "-S"])
    written = read_yaml(tmp_path / "params.yaml")
    assert check_params(written) == check_params(overlaid(content, overlay))


def test_a_later_preset_wins_and_a_replaced_mapping_leaves_nothing_behind(content: dict[str, Any]) -> None:
    first = {"train": {"lr": 0.1, "model": {"provider": "timm", "name": "resnet18", "pretrained": False, "kwargs": {"a": 1}}}}
    second = {"train": {"lr": 0.2}}
    words = set_arguments(content, {"first": first, "second": second})
    assert "train.lr=0.2" in words
    assert words[words.index("~train.model") + 2] == "+train.model={provider:timm,name:resnet18,pretrained:false,kwargs:{a:1}}"


def test_a_preset_by_its_path(content: dict[str, Any], tmp_path: Path) -> None:
    path = tmp_path / "mine.yaml"
    path.write_text("train: {lr: 0.5}\n", encoding="utf-8")
    assert set_arguments(content, {str(path): read_preset(paths.PRESETS, str(path))}) == ["-S", "train.lr=0.5"]
    with pytest.raises(InputError, match=r"mine.yaml: train.lrr: unknown key; did you mean 'lr'"):
        set_arguments(content, {str(path): {"train": {"lrr": 1}}})
    with pytest.raises(InputError, match=r"none.yml: there is no such file; correct the path"):
        read_preset(paths.PRESETS, str(tmp_path / "none.yml"))


def test_mistakes_in_presets(content: dict[str, Any]) -> None:
    with pytest.raises(InputError, match=r"conf/cifar.yaml: there is no such preset; did you mean 'cifar10"):
        read_preset(paths.PRESETS, "cifar")
    with pytest.raises(InputError, match=r"conf/mine.yaml: train.lrr: unknown key; did you mean 'lr'"):
        set_arguments(content, {"mine": {"train": {"lrr": 1}}})
    with pytest.raises(InputError, match="cannot be passed through a shell"):
        set_arguments(content, {"mine": {"download": {"folder": "my photos"}}})


def test_a_mistake_in_params_yaml_does_not_stop_a_preset(content: dict[str, Any], capsys: pytest.CaptureFixture[str]) -> None:
    """The stage check refuses it; what is wrong with the preset itself is still its own."""
    content["hardware"]["accelerator"] = "tpux"
    assert set_arguments(content, {"mine": {"train": {"lr": 0.5}}}) == ["-S", "train.lr=0.5"]
    assert capsys.readouterr().err.startswith('warning: params.yaml: hardware.accelerator: is "tpux"')
    with pytest.raises(InputError, match=r"^conf/mine.yaml: train.lrr: unknown key"):
        set_arguments(content, {"mine": {"train": {"lrr": 1}}})
    with pytest.raises(InputError, match=r"^params.yaml: hardware: is 1, but should be a mapping"):
        set_arguments(content | {"hardware": 1}, {"mine": {"train": {"lr": 0.5}}})


@pytest.mark.parametrize(
    "text", ["/data/set.zip", "/data/a b.zip", "x;touch y.zip", "it's {x}, y=$HOME [1] #2.zip", "null", "1e3", "é.zip"]
)
def test_text_for_a_line_to_paste(text: str) -> None:
    from hydra.core.override_parser.overrides_parser import OverridesParser

    line = shlex.join(["printf", "%s", f"download.archive={override_text(text)}"])
    passed = subprocess.run(["bash", "-c", line], capture_output=True, text=True, check=True).stdout
    assert OverridesParser.create().parse_override(passed).value() == text
