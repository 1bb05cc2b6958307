"""`_target_` makes what it should, and nothing else can be reached through it."""

import importlib
import os
import pickle
import socket
import subprocess
import sys
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import nn
from torchvision.transforms.autoaugment import AutoAugmentPolicy

import plugins
from darkroom.base.errors import InputError
from darkroom.base.instantiate import SHORT, Builder
from darkroom.base.params import Target


def target(path: str, /, **arguments: Any) -> Target:
    return Target.model_validate({"_target_": path, **arguments})


# What names without dots are looked up in is imported before anything is watched.
for name in (name for places in SHORT.values() for name in places):
    importlib.import_module(name)
MODULES = Builder("train.loss", (nn.Module,))
OPTIMIZERS = Builder("train.optimizer", (torch.optim.Optimizer,), filled={"lr": 0.5, "nothing": 1})
SCHEDULERS = Builder("train.scheduler", (torch.optim.lr_scheduler.LRScheduler,), filled={"total_steps": 9})
# Attempts to escape meet every kind that is asked for anywhere.
ALL_KINDS = MODULES.kinds + OPTIMIZERS.kinds + SCHEDULERS.kinds


def weights() -> list[nn.Parameter]:
    return [nn.Parameter(torch.zeros(1))]


@pytest.mark.parametrize(
    ("key", "kind", "name", "found"),
    [
        ("train.loss", nn.Module, "CrossEntropyLoss", "torch.nn.modules.loss"),
        ("train.loss", nn.Module, "FocalLoss", "darkroom.objective.losses"),
        ("train.loss", nn.Module, "BinaryCrossEntropy", "timm.loss.binary_cross_entropy"),
        ("train.optimizer", torch.optim.Optimizer, "SGD", "torch.optim.sgd"),
        ("train.optimizer", torch.optim.Optimizer, "Lamb", "timm.optim.lamb"),
        ("train.scheduler", torch.optim.lr_scheduler.LRScheduler, "WarmupCosine", "darkroom.objective.schedules"),
        ("train.augment", nn.Module, "RandomErasing", "torchvision.transforms.v2._augment"),
    ],
)
def test_the_usual_ones_need_no_path(key: str, kind: type, name: str, found: str) -> None:
    assert Builder(key, (kind,)).find(name).__module__ == found


def test_a_name_that_nobody_has() -> None:
    with pytest.raises(
        InputError, match=r"train\.optimizer\._target_: there is no AdanW in torch\.optim, timm\.optim; did you mean"
    ):
        OPTIMIZERS.find("AdanW")
    with pytest.raises(InputError, match=r"train\.model\._target_: there is no Net in this place; write an import path"):
        Builder("train.model", (nn.Module,)).find("Net")


def test_text_names_a_member_of_an_enumeration() -> None:
    builder = Builder("train.augment", (nn.Module,))
    assert builder.build(target("AutoAugment", policy="cifar10")).policy is AutoAugmentPolicy.CIFAR10
    with pytest.raises(InputError, match=r"train\.augment\.policy: is 'cifar'; write one of imagenet, cifar10, svhn"):
        builder.build(target("AutoAugment", policy="cifar"))


def test_arguments_reach_the_object() -> None:
    loss = MODULES.build(target("torch.nn.CrossEntropyLoss", label_smoothing=0.25))
    assert isinstance(loss, nn.CrossEntropyLoss)
    assert loss.label_smoothing == 0.25


def test_arguments_are_filled_in_unless_given() -> None:
    assert OPTIMIZERS.build(target("torch.optim.SGD"), weights()).defaults["lr"] == 0.5
    assert OPTIMIZERS.build(target("torch.optim.SGD", lr=0.1), weights()).defaults["lr"] == 0.1


def test_targets_inside_arguments_are_built() -> None:
    flip = {"_target_": "torchvision.transforms.v2.RandomHorizontalFlip", "p": 0.1}
    made = MODULES.build(target("torchvision.transforms.v2.RandomApply", transforms=[flip]))
    assert made.transforms[0].p == 0.1


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("torch.nn.modules.loss.MultiMarginLoss", {"margin": 2.0}),
        ("timm.loss.SoftTargetCrossEntropy", {}),
        ("timm.layers.DropPath", {"drop_prob": 0.1}),
        ("torchvision.ops.MLP", {"in_channels": 2, "hidden_channels": [3]}),
        ("torchvision.transforms.v2.RandAugment", {}),
        ("torchvision.transforms.RandomErasing", {}),
        ("torchvision.models.resnet18", {"num_classes": 3}),
        ("torchvision.models.resnet.resnet18", {"num_classes": 3, "weights": None}),
        ("timm.models.resnet18", {"num_classes": 3}),
        ("timm.models.resnet.resnet18", {"num_classes": 3, "pretrained": False}),
        ("timm.models.resnet18", {"pretrained_cfg": "a1_in1k"}),
        ("torchmetrics.Accuracy", {"task": "multiclass", "num_classes": 3}),
        ("darkroom.models.builtin.small_cnn.SmallCNN", {"num_classes": 3, "in_channels": 1}),
    ],
)
def test_the_libraries_modules_and_networks_can_be_named(path: str, arguments: dict[str, Any]) -> None:
    assert isinstance(MODULES.build(target(path, **arguments)), nn.Module)


@pytest.mark.parametrize("path", ["torch.optim.AdamW", "torch.optim.sgd.SGD", "timm.optim.Lamb"])
def test_optimizers_can_be_named(path: str) -> None:
    assert OPTIMIZERS.build(target(path), weights()).param_groups[0]["lr"] == 0.5


@pytest.mark.parametrize(
    ("path", "arguments"),
    [
        ("torch.optim.lr_scheduler.OneCycleLR", {"max_lr": 0.1}),
        ("torch.optim.lr_scheduler.StepLR", {"step_size": 2}),
        ("darkroom.objective.schedules.WarmupCosine", {"warmup_fraction": 0.1}),
    ],
)
def test_schedulers_can_be_named(path: str, arguments: dict[str, Any]) -> None:
    optimizer = torch.optim.SGD(weights(), lr=0.1, momentum=0.9)
    assert isinstance(SCHEDULERS.build(target(path, **arguments), optimizer), torch.optim.lr_scheduler.LRScheduler)


@pytest.mark.parametrize("every", [10, pytest.param(1, marks=pytest.mark.thorough)])
@pytest.mark.parametrize(("package", "entry"), [("torchvision.models", "get_model_builder"), ("timm.models", "model_entrypoint")])
def test_every_network_that_a_library_lists_can_be_named(package: str, entry: str, every: int) -> None:
    models = importlib.import_module(package)
    names = [name for name in models.list_models() if not name.startswith("quantized_")]
    assert len(names) > 100
    for name in names[::every]:
        builder = getattr(models, entry)(name)
        assert MODULES.find(f"{builder.__module__}.{name}") is builder


@pytest.mark.parametrize(
    ("path", "arguments", "message"),
    [
        ("os.system", {"command": "true"}, "train.loss._target_: os.system is in none of torch, torchvision"),
        ("builtins.eval", {}, "add builtins to base.allow_targets if you trust it"),
        ("torchevil.Loss", {}, "torchevil.Loss is in none of"),
        (
            "torch.os.system",
            {},
            "torch.os.system cannot be used here; name a subclass of Module defined in torch.nn, torch.optim",
        ),
        ("torch.load", {"f": "x"}, "torch.load cannot be used here; name a subclass of Module"),
        ("torch.hub.load", {}, "torch.hub.load cannot be used here"),
        ("torch.nn.Module.__init__.__globals__", {}, "cannot be used here"),
        ("torch.optim.SGD", {}, "torch.optim.SGD cannot be used here; name a subclass of Module"),
        ("torch.nn.CrossEntropyLos", {}, "torch.nn has no CrossEntropyLos; did you mean 'CrossEntropyLoss'?"),
        ("torch.nnn.CrossEntropyLoss", {}, "torch has no nnn; did you mean"),
        ("plugins.nothing.Loss", {}, "plugins has no nothing"),
        (
            "torch.nn.CrossEntropyLoss",
            {"label_smooth": 1},
            "train.loss.label_smooth: torch.nn.CrossEntropyLoss takes no such argument",
        ),
        ("torch.nn.CrossEntropyLoss", {"label_smooth": 1}, "did you mean 'label_smoothing'?"),
        ("torch.nn.Linear", {}, "missing a required argument: 'in_features'; add it beside _target_"),
        ("torch.nn.Linear", {"in_features": "x", "out_features": 2}, "torch.nn.Linear refuses its arguments"),
        (
            "torchvision.transforms.v2.RandomApply",
            {"transforms": [{"_target_": "o s"}]},
            "train.loss: 'o s' is not an import path; write one such as torch.optim.SGD",
        ),
        (
            "timm.models.resnet18",
            {"pretrained_cfg_overlay": {"url": "http://127.0.0.1/x"}},
            "train.loss.pretrained_cfg_overlay: is a source of weights, which is not allowed; set pretrained_cfg to the tag of weights that",
        ),
    ],
)
def test_what_is_refused_and_how(path: str, arguments: dict[str, Any], message: str) -> None:
    with pytest.raises(InputError) as caught:
        MODULES.build(target(path, **arguments))
    assert message in str(caught.value)


def test_other_packages_need_permission(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "somebodys.py").write_text("from torch import nn\nclass Loss(nn.MSELoss): pass\ndef make(): return Loss()\n")
    monkeypatch.syspath_prepend(tmp_path)
    with pytest.raises(InputError, match=r"add somebodys to base.allow_targets"):
        MODULES.build(target("somebodys.Loss"))
    assert "somebodys" not in sys.modules
    allowed = Builder("train.loss", (nn.Module,), allow=["somebodys"])
    assert isinstance(allowed.build(target("somebodys.Loss")), nn.MSELoss)
    assert isinstance(allowed.build(target("somebodys.make")), nn.MSELoss)


PLANTED = """
import functools
import os
import subprocess
from os import system
from subprocess import run

import torch.hub
from torch import hub as networks, load, nn
from torch.fx import GraphModule
from torch.jit import ScriptModule, load as load_script
from timm import create_model


class Net(nn.Module):
    class Inner(nn.Module):
        pass

    @classmethod
    def from_command(cls, command: str) -> "Net":
        os.system(command)
        return cls()

    @staticmethod
    def of(command: str) -> "Net":
        os.system(command)
        return Net()

    @property
    def made(self) -> "Net":
        os.system("true")
        return self


class Runner:
    def __call__(self, command: str) -> nn.Module:
        os.system(command)
        return Net()


def make(command: str = "") -> nn.Module:
    return Net()


def make_text() -> str:
    return "a network"


_hidden = make
runner = Runner()
net = Net()
static, bound = Net.of, Net.from_command
by_lambda = lambda command: os.system(command)
by_partial = functools.partial(os.system, "true")
evaluate = eval
"""


# Allowed modules that attempts go through; the others must not be imported.
PASSED_THROUGH = (
    *(
        "torch.optim.lr_scheduler",
        "torchvision.models.feature_extraction",
        "torchvision.transforms.v2",
        "timm.loss",
        "timm.optim",
    ),
    *("torchmetrics", "pytorch_lightning", "darkroom.training.trainer", "plugins.planted", "planted_package"),
)


@pytest.fixture(scope="module", autouse=True)
def planted(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """A plug-in and a package that import what is dangerous, already loaded, so that an attempt has nothing to import."""
    folder = tmp_path_factory.mktemp("planted")
    for name in ("plugins/planted.py", "planted_package/__init__.py"):
        (folder / name).parent.mkdir()
        (folder / name).write_text(PLANTED)
    (folder / "planted_package" / "__main__.py").write_text("import os\nos.system('true')\n")
    with pytest.MonkeyPatch.context() as patch:
        patch.syspath_prepend(folder)
        patch.setattr(plugins, "__path__", [*plugins.__path__, str(folder / "plugins")])
        for name in PASSED_THROUGH:
            importlib.import_module(name)
        yield


# What Python itself reports while it looks names up, and nothing of what could read, write, run or send something.
HARMLESS = {"builtins.id", "object.__getattr__", "object.__setattr__", "object.__delattr__", "sys._getframe", "os.listdir"}
recorded: list[str] | None = None


def _record(event: str, arguments: tuple[Any, ...]) -> None:
    # Tracebacks are described with lines of the source that raised.
    reads_source = event == "open" and str(arguments[0]).endswith(".py") and arguments[1] in ("r", "rb")
    if recorded is not None and event not in HARMLESS and not reads_source:
        recorded.append(event)


sys.addaudithook(_record)  # a hook stays until Python ends; this one sleeps outside `watched`


@contextmanager
def watched() -> Iterator[list[str]]:
    """Record Python's audit events and the names of modules that are imported."""
    global recorded
    before, events = set(sys.modules), []
    recorded = events
    try:
        yield events
    finally:
        recorded = None
        events += sorted(set(sys.modules) - before)


@pytest.mark.parametrize(
    ("act", "event"),
    [
        (lambda _: os.system("true"), "os.system"),
        (lambda _: subprocess.run(["true"], check=True), "subprocess.Popen"),
        (lambda _: eval("1"), "compile"),
        (lambda _: exec("1"), "exec"),
        (lambda folder: (folder / "file.py").write_text("1"), "open"),
        (lambda folder: (folder / "new").mkdir(), "os.mkdir"),
        (lambda _: socket.socket().close(), "socket.__new__"),
        (lambda _: pickle.loads(pickle.dumps(nn.MSELoss)), "pickle.find_class"),
        (lambda _: importlib.import_module("this"), "this"),
    ],
)
def test_the_watch_sees_what_runs(tmp_path: Path, act: Callable[[Path], Any], event: str) -> None:
    sys.modules.pop("this", None)
    with watched() as events:
        act(tmp_path)
    assert event in events


COMMAND = {"command": "true"}
NESTED_ATTEMPT = {"_target_": "os.system", **COMMAND}
ADDRESS = {"url": "http://127.0.0.1:9/weights.pth", "hf_hub_id": "someone/something"}
ATTEMPTS: list[tuple[str, dict[str, Any]]] = [
    # modules that an allowed one imports
    ("torch.os.system", COMMAND),
    ("torch.sys.exit", {}),
    ("torch.builtins.eval", {"source": "1"}),
    ("torch.nn.os.system", COMMAND),
    ("torch.nn.functional.importlib.import_module", {"name": "this"}),
    ("torch.optim.sgd.torch.load", {"f": "x"}),
    ("torch.optim.lr_scheduler.types.FunctionType", {}),
    ("torch.serialization.pickle.loads", {"data": "x"}),
    ("torch.hub.os.system", COMMAND),
    ("torchvision.os.system", COMMAND),
    ("torchvision.datasets.utils.subprocess.run", {"args": ["true"]}),
    ("torchvision.transforms.functional.np.load", {"file": "x"}),
    ("torchvision.models.detection.torch.os.system", COMMAND),
    ("torchvision.models._api.importlib.import_module", {"name": "this"}),
    ("timm.models._hub.torch.hub.load", {"repo_or_dir": "x", "model": "x"}),
    ("timm.models.vision_transformer.torch.load", {"f": "x"}),
    ("darkroom.base.instantiate.importlib.import_module", {"name": "this"}),
    ("darkroom.training.trainer.os.system", COMMAND),
    # what reads, downloads, compiles or runs, in the libraries' other modules
    ("torch.load", {"f": "x"}),
    ("torch.compile", {}),
    ("torch.hub.load", {"repo_or_dir": "x", "model": "x"}),
    ("torch.hub.load_state_dict_from_url", {"url": ADDRESS["url"]}),
    ("torch.jit.load", {"f": "x"}),
    ("torch.jit.ScriptModule", {}),
    ("torch.jit.CompilationUnit", {"lang": "def f(): pass"}),
    ("torch.fx.GraphModule", {"root": {}, "graph": {}}),
    ("torch.fx.symbolic_trace", {"root": {}}),
    ("torch.ops.load_library", {"path": "x.so"}),
    ("torch.classes.load_library", {"path": "x.so"}),
    ("torch.package.PackageImporter", {"file_or_buffer": "x"}),
    ("torch.export.load", {"f": "x"}),
    ("torch.onnx.export", {}),
    ("torch.utils.cpp_extension.load", {"name": "x", "sources": ["x.cpp"]}),
    ("torch.utils.benchmark.Timer", {"stmt": "1"}),
    ("torch.utils.collect_env.run", COMMAND),
    ("torch.utils.model_zoo.load_url", {"url": ADDRESS["url"]}),
    ("torch.distributed.run.main", {"args": ["x.py"]}),
    ("torch.distributed.launcher.api.elastic_launch", {}),
    ("torch.multiprocessing.spawn", {"fn": "x"}),
    ("torch._C.import_ir_module", {}),
    ("torch._dynamo.optimize", {}),
    ("torchvision.io.read_file", {"path": "x"}),
    ("torchvision.datasets.CIFAR10", {"root": "x", "download": True}),
    ("torchvision.datasets.utils.download_url", {"url": ADDRESS["url"], "root": "x"}),
    ("timm.create_model", {"model_name": "hf-hub:someone/something", "pretrained": True}),
    ("timm.__main__.main", {}),
    ("timm.utils.ModelEmaV3", {"model": {"_target_": "torch.nn.Identity"}}),
    ("torchmetrics.multimodal.CLIPScore", {"model_name_or_path": "someone/something"}),
    ("torchmetrics.text.BERTScore", {"model_name_or_path": "someone/something"}),
    ("pytorch_lightning.Trainer", {}),
    ("pytorch_lightning.LightningModule", {}),
    ("pytorch_lightning.cli.LightningCLI", {"args": ["fit"]}),
    ("pytorch_lightning.demos.boring_classes.BoringModel", {}),
    ("darkroom.base.instantiate.Builder", {"key": "x", "kinds": []}),
    ("darkroom.base.command.fail", {"error": "x", "status": 1}),
    ("darkroom.base.files.sha256", {"path": "x"}),
    # functions beside the networks
    ("torchvision.models.get_model", {"name": "resnet18", "weights": "DEFAULT"}),
    ("torchvision.models.get_weight", {"name": "ResNet18_Weights.DEFAULT"}),
    ("torchvision.models._api.get_model", {"name": "resnet18"}),
    ("torchvision.models.resnet.load_state_dict_from_url", {"url": ADDRESS["url"]}),
    ("torchvision.models.feature_extraction.create_feature_extractor", {"model": {"_target_": "torch.nn.Identity"}}),
    ("torchvision.models.quantization.resnet18", {"quantize": True}),
    ("timm.models.create_model", {"model_name": "hf-hub:someone/something", "pretrained": True}),
    ("timm.models.load_checkpoint", {"model": {"_target_": "torch.nn.Identity"}, "checkpoint_path": "x"}),
    ("timm.models.load_state_dict", {"checkpoint_path": "x", "weights_only": False}),
    ("timm.models.load_model_config_from_hf", {"model_id": "someone/something"}),
    ("timm.models.push_to_hf_hub", {"model": {"_target_": "torch.nn.Identity"}, "repo_id": "x"}),
    ("timm.models.safe_model_name", {"model_name": "x"}),
    ("timm.models.build_model_with_cfg", {"model_cls": "x", "variant": "x", "pretrained": True}),
    ("timm.optim.create_optimizer_v2", {"model_or_params": {"_target_": "torch.nn.Identity"}}),
    # allowed networks, losses and schedules with arguments that shall be code or fetch some
    ("timm.models.resnet18", {"pretrained": True, "pretrained_cfg": ADDRESS}),
    ("timm.models.resnet.resnet18", {"pretrained": True, "pretrained_cfg_overlay": ADDRESS}),
    ("timm.models.resnet18", {"pretrained": True, "pretrained_cfg": {"file": "x.pth", "custom_load": True}}),
    ("timm.models.resnet18", {"pretrained": True, "pretrained_cfg": "hf-hub:someone/something"}),
    ("timm.models.resnet18", {"block": NESTED_ATTEMPT}),
    ("torchvision.models.resnet18", {"weights": ADDRESS["url"]}),
    ("torchvision.models.resnet18", {"weights": ADDRESS}),
    ("torchvision.models.ResNet", {"block": "os.system", "layers": [1, 1, 1, 1]}),
    ("torchvision.models.feature_extraction.DualGraphModule", {"root": {}, "train_graph": {}, "eval_graph": {}}),
    ("torchvision.transforms.Lambda", {"lambd": "os.system"}),
    ("torchvision.transforms.v2.Lambda", {"lambd": NESTED_ATTEMPT}),
    ("torchvision.transforms.v2.RandomApply", {"transforms": [[{"deep": NESTED_ATTEMPT}]]}),
    ("torchvision.transforms.v2.RandomApply", {"transforms": [{"_target_": "os"}]}),
    ("torchvision.transforms.v2.RandomApply", {"transforms": [{"_target_": ["os.system"]}]}),
    ("torch.nn.Sequential", {"args": [NESTED_ATTEMPT]}),
    ("torch.nn.TripletMarginWithDistanceLoss", {"distance_function": {"_target_": "torch.load", "f": "x"}}),
    ("torch.optim.lr_scheduler.LambdaLR", {"lr_lambda": NESTED_ATTEMPT}),
    # what is no class and no function, or belongs to one
    ("torch.nn.Module.__init__.__globals__", {}),
    ("torch.nn.Module.__subclasses__", {}),
    ("torch.nn.Linear.__class__", {}),
    ("torch.nn.__builtins__", {}),
    ("torch.nn.__loader__.exec_module", {}),
    ("torch.nn.Embedding.from_pretrained", {"embeddings": []}),
    ("torch.nn.Module.register_module", {"name": "x"}),
    ("torch.nn.functional.cross_entropy", {}),
    ("torch.nn.init.kaiming_normal_", {}),
    ("torch.nn.Parameter", {}),
    ("torch.nn", {}),
    ("torch.nn.modules", {}),
    ("plugins.planted", {}),
    # other people's code that a plug-in or an allowed package imports, and what is neither class nor function there
    *(
        (f"{place}.{name}", {})
        for place in ("plugins.planted", "planted_package")
        for name in (
            *("os.system", "system", "subprocess.run", "run", "functools.partial", "evaluate", "load", "load_script"),
            *("torch.hub.load", "networks.load", "nn.Linear", "GraphModule", "ScriptModule", "create_model", "make_text"),
            *("Net.of", "Net.from_command", "Net.made", "Net.Inner", "static", "bound", "runner", "Runner", "net"),
            *("by_lambda", "by_partial", "_hidden", "make.__globals__", "make.__code__", "__builtins__", "__doc__"),
        )
    ),
    ("planted_package.__main__.os.system", COMMAND),
    ("planted_package.__main__", {}),
    ("planted_packages.Net", {}),
]


@pytest.mark.parametrize(("path", "arguments"), ATTEMPTS)
def test_attempts_to_escape_run_and_import_nothing(path: str, arguments: dict[str, Any]) -> None:
    builder, attempt = Builder("train.loss", ALL_KINDS, allow=["planted_package"]), target(path, **arguments)
    with watched() as events, pytest.raises(InputError) as caught:
        builder.build(attempt)
    assert events == []
    assert str(caught.value).startswith("params.yaml: train.loss")
    assert str(caught.value).isprintable()


@pytest.mark.parametrize("place", ["plugins.planted", "planted_package"])
def test_own_classes_and_functions_can_be_named(place: str) -> None:
    builder = Builder("train.loss", (nn.Module,), allow=["planted_package"])
    assert type(builder.build(target(f"{place}.Net"))).__name__ == "Net"
    assert type(builder.build(target(f"{place}.make", command="x"))).__name__ == "Net"


def test_permission_for_a_module_is_not_for_its_package(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    package = tmp_path / "theirs"
    package.mkdir()
    (package / "__init__.py").write_text("from theirs.losses import Loss\n")
    (package / "losses.py").write_text("from torch import nn\nclass Loss(nn.MSELoss): pass\n")
    (package / "other.py").write_text("raise SystemExit('was imported')\n")
    monkeypatch.syspath_prepend(tmp_path)
    allowed = Builder("train.loss", (nn.Module,), allow=["theirs.losses"])
    assert isinstance(allowed.build(target("theirs.Loss")), nn.MSELoss)
    with pytest.raises(InputError, match=r"theirs\.other\.Loss cannot be used here"):
        allowed.build(target("theirs.other.Loss"))
