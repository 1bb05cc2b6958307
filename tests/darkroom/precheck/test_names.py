"""Names that do not exist are refused with the nearest one, without importing the libraries that they are of."""

import importlib
import inspect
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.instantiate import SHORT
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.precheck.names import OWN, OWN_NETWORKS, check_names
from darkroom.precheck.source_text import arguments_of, defined_names, registered_networks

ROOT = Path(__file__).resolve().parents[3]
ABSTRACT = {"Augmentation", "BatchAugmentation", "ImageAugmentation"}
TIMM = {"provider": "timm", "name": "resnt18", "pretrained": False, "kwargs": {}}


def changed(content: dict[str, Any], key: str, value: Any) -> dict[str, Any]:
    section, name = key.split(".")
    return content | {section: content[section] | {name: value}}


@pytest.mark.parametrize(
    ("key", "value", "message"),
    [
        ("train.optimizer", "Adamw", "train.optimizer._target_: there is no Adamw in torch.optim, timm.optim; did you mean 'AdamW'?"),
        ("train.optimizer", {"_target_": "torch.optim.AdmW"}, "train.optimizer._target_: torch.optim has no AdmW; did you mean 'AdamW'?"),
        ("train.optimizer", {"_target_": "SGD", "momentun": 0.9}, "train.optimizer.momentun: SGD takes no such argument; did you mean 'momentum'?"),
        ("train.optimizer", "tochr.optim.SGD", "train.optimizer._target_: tochr.optim.SGD is in none of torch, "),
        ("train.loss", "FocalLos", "did you mean 'FocalLoss'?"),
        ("train.scheduler", {"_target_": "StepLR", "step_sise": 3}, "train.scheduler.step_sise: StepLR takes no such argument; did you mean 'step_size'?"),
        ("train.augment", ["RandomFlp"], "train.augment.0._target_: there is no RandomFlp in "),
        (
            "train.augment",
            [{"_target_": "RandomApply", "transforms": [{"_target_": "ColorJitter", "brightnes": 1}]}],
            "train.augment.0.brightnes: ColorJitter takes no such argument; did you mean 'brightness'?",
        ),
        ("train.metrics", {"kappa": "CohensKappa"}, "train.metrics.kappa._target_: there is no CohensKappa in torchmetrics.classification; did you mean 'CohenKappa'?"),
        ("train.loggers", ["TensorboardLogger"], "did you mean 'TensorBoardLogger'?"),
        ("train.callbacks", ["LearningRateMonitr"], "did you mean 'LearningRateMonitor'?"),
        ("train.model", {"_target_": "plugins.seperable.SeparableCNN"}, "there is no module plugins.seperable; did you mean 'plugins.separable'?"),
        ("train.model", {"_target_": "plugins.sources.nope.X"}, "there is no module plugins.sources.nope; "),
        ("train.model", TIMM, "train.model.name: timm has no network 'resnt18'; did you mean 'resnet18'?"),
        ("train.model", TIMM | {"provider": "torchvision", "name": "ResNet18"}, "did you mean 'resnet18'?"),
        ("train.model", TIMM | {"provider": "builtin", "name": "smal_cnn"}, "builtin has no network 'smal_cnn'; did you mean 'small_cnn'?"),
        ("tune.sampler", "TPESamplr", "tune.sampler._target_: there is no TPESamplr in optuna.samplers; did you mean 'TPESampler'?"),
    ],
)  # fmt: skip
def test_what_does_not_exist(content: dict[str, Any], key: str, value: Any, message: str) -> None:
    with pytest.raises(InputError) as caught:
        check_names(check_params(changed(content, key, value)))
    assert str(caught.value).startswith("params.yaml: ")
    assert message in str(caught.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.optimizer", "Lion"),
        ("train.loss", "BinaryCrossEntropy"),
        ("train.scheduler", {"_target_": "OneCycleLR", "pct_start": 0.2}),
        ("train.augment", ["RandomFlip", {"_target_": "AutoAugment", "policy": "cifar10"}]),
        ("train.metrics", {"kappa": {"_target_": "CohenKappa", "weights": "quadratic"}}),
        ("train.model", {"_target_": "torchvision.models.resnet18"}),
        ("train.model", {"_target_": "plugins.separable.SeparableCNN"}),
        ("train.model", TIMM | {"name": "resnet18.a1_in1k"}),
        ("train.model", TIMM | {"name": "vit_base_patch16_224_in21k"}),  # an old name
        ("train.model", TIMM | {"name": "hf-hub:timm/any"}),
    ],
)
def test_what_exists(content: dict[str, Any], key: str, value: Any) -> None:
    check_names(check_params(changed(content, key, value)))


def test_data_sets_of_torchvision(content: dict[str, Any]) -> None:
    content["download"] |= {"source": "torchvision", "dataset": "CIFAR10"}
    check_names(check_params(content))
    content["download"]["dataset"] = "Cifar10"
    with pytest.raises(InputError, match=r"^params.yaml: download.dataset: .* Cifar10; did you mean 'CIFAR10'\?$"):
        check_names(check_params(content))


@pytest.mark.parametrize("path", sorted((ROOT / "conf").rglob("*.yaml")), ids=lambda path: str(path.relative_to(ROOT / "conf")))
def test_presets_name_what_exists(content: dict[str, Any], path: Path) -> None:
    overlay = read_yaml(path)
    check_names(check_params(content | {name: content[name] | overlay.get(name, {}) for name in content}))


def test_none_of_the_libraries_is_imported() -> None:
    code = (
        "import sys; from darkroom.base import paths; from darkroom.base.params_file import load_params; "
        "from darkroom.precheck.names import check_names; check_names(load_params(paths.PARAMS)); print(*sys.modules)"
    )
    run = subprocess.run([sys.executable, "-c", code], cwd=ROOT / "src", capture_output=True, text=True, check=True)
    assert not {"torch", "numpy", "torchvision", "timm", "optuna", "plugins.separable"} & set(run.stdout.split())


@pytest.mark.slow
@pytest.mark.thorough
def test_the_source_texts_say_what_an_import_would() -> None:
    for module in {name for places in SHORT.values() for name in places} - OWN.keys():
        found, text = importlib.import_module(module), defined_names(module)
        assert text is not None, module
        assert {name for name in getattr(found, "__all__", dir(found)) if name[0].isupper()} <= text.keys(), module
        for name in text:
            value = getattr(found, name, None)
            if inspect.isclass(value) and (said := arguments_of(f"{module}.{name}")) is not None:
                taken = list(inspect.signature(value.__init__).parameters.values())[1:]
                assert said == [each.name for each in taken if each.kind is not each.VAR_POSITIONAL], (module, name)
    for provider in ("timm", "torchvision"):
        registered = registered_networks(f"{provider}.models")
        assert registered is not None
        listed = importlib.import_module(f"{provider}.models").list_models()
        assert {name for name in listed if not name.startswith("quantized_")} <= {*registered[0]}


@pytest.mark.slow
def test_the_tables_of_own_names_are_complete() -> None:
    from darkroom.models.builtin.side_by_side import SIDE_BY_SIDE
    from darkroom.models.networks import BUILTIN

    assert (SIDE_BY_SIDE, *BUILTIN) == OWN_NETWORKS
    for module, names in OWN.items():
        found = importlib.import_module(module)
        classes = {name for name, value in vars(found).items() if inspect.isclass(value) and value.__module__ == module}
        assert {name for name in classes if not inspect.isabstract(getattr(found, name))} - ABSTRACT == set(names)
