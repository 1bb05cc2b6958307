"""What stands for torch's compiler until it is imported: the same steps and counts without it, and all of it once it is there."""

import functools
import subprocess
import sys
from pathlib import Path

import pytest

# Those that compare with how torch usually starts, start it once.
pytestmark = pytest.mark.xdist_group("compiler")
SRC = Path(__file__).resolve().parents[3] / "src"
PREPARED = "from darkroom.hardware import startup; startup.prepare()"
TRAIN = """
import torch
from torch.utils.flop_counter import FlopCounterMode
torch.manual_seed(0)
layer = torch.nn.Linear(4, 3)
for kind in (torch.optim.AdamW, torch.optim.SGD, torch.optim.RMSprop, torch.optim.Adagrad):
    optimizer = kind(layer.parameters(), lr=0.1)
    for _ in range(3):
        layer(torch.ones(5, 4)).square().sum().backward()
        optimizer.step()
        optimizer.zero_grad()
    optimizer.load_state_dict(optimizer.state_dict())
    assert torch.is_grad_enabled()
counter = FlopCounterMode(display=False)
with counter:
    layer(torch.ones(5, 4))
told = (layer.weight.tolist(), counter.get_total_flops())
"""
TOLD = "print(told, 'torch._dynamo' in sys.modules)"


def run(*parts: str) -> str:
    """Run parts of a script in a new process, and return what it prints."""
    script = "\n".join([f"import sys; sys.path.insert(0, {str(SRC)!r})", *parts])
    return subprocess.run([sys.executable, "-c", script], capture_output=True, text=True, check=True).stdout


@functools.cache
def usual() -> str:
    """Return what is told where nothing was prepared."""
    return run(TRAIN, TOLD)


@pytest.mark.slow
def test_optimizers_and_counts_do_without_the_compiler_and_give_the_same() -> None:
    without = run(PREPARED, TRAIN, TOLD)
    assert without.endswith("False\n")
    assert usual() == without.replace("False\n", "True\n")


@pytest.mark.thorough
@pytest.mark.slow
@pytest.mark.parametrize(
    "missing",
    [
        "torch.optim.optimizer._use_grad_for_differentiable",
        pytest.param("torch._compile._disable_dynamo", marks=pytest.mark.thorough),
    ],
)
def test_another_version_of_torch_imports_its_compiler_as_usual(missing: str) -> None:
    """The names that this depends on are private to torch."""
    module, _, name = missing.rpartition(".")
    other = run(f"import torch, {module} as module; del module.{name}", PREPARED, TRAIN, TOLD)
    assert other.partition(") ")[0] == usual().partition(") ")[0]


@pytest.mark.thorough
@pytest.mark.slow
def test_once_it_is_imported_the_compiler_is_told_all_that_it_asks() -> None:
    script = """
import pytorch_lightning as pl
from lightning_fabric.wrappers import OptimizedModule, _unwrap_compiled
from pytorch_lightning.utilities.compile import to_uncompiled
from torch.optim import Optimizer
assert not isinstance(layer, OptimizedModule)
compiled = torch.compile(layer, backend="eager")
assert isinstance(compiled, OptimizedModule) and isinstance(compiled, torch._dynamo.OptimizedModule)
assert _unwrap_compiled(compiled)[0] is layer
compiled(torch.ones(5, 4)).square().sum().backward()
seen = []
torch._dynamo.graph_break = lambda: seen.append(1)
optimizer.step()
optimizer.zero_grad()
assert len(seen) == 2
kept = getattr(Optimizer.zero_grad.__wrapped__, "__dynamo_disable")
print(kept.__module__, torch.compiler.disable.__module__)
"""
    assert run(PREPARED, TRAIN, script).split() == ["torch._dynamo.eval_frame", "torch.compiler"]


@pytest.mark.thorough
@pytest.mark.slow
def test_what_is_imported_later_is_there_when_it_is_used(tmp_path: Path) -> None:
    script = f"""
import torch, torchmetrics
from dvclive import Live
print("pandas" in sys.modules, "matplotlib" in sys.modules)
metric = torchmetrics.Accuracy(task="binary")
metric.update(torch.tensor([0, 1]), torch.tensor([0, 1]))
figure, axes = metric.plot()
import pandas
with Live({str(tmp_path)!r}, save_dvc_exp=False, dvcyaml=False) as live:
    live.log_plot("table", pandas.DataFrame({{"x": [1, 2], "y": [3, 4]}}), x="x", y="y")
print(type(figure).__name__)
"""
    assert run(PREPARED, script).split() == ["False", "False", "Figure"]
    assert (tmp_path / "plots" / "custom" / "table.json").read_text(encoding="utf-8").count("x") >= 2


@pytest.mark.thorough
@pytest.mark.slow
def test_timm_and_torchvision_do_without_the_compiler_and_ask_it_when_they_need_it() -> None:
    script = """
from darkroom.hardware.compiler import import_timm
import_timm()
import timm, torch
network = timm.create_model("tf_efficientnet_lite0", num_classes=2).eval()
with torch.inference_mode():
    network(torch.zeros(1, 3, 32, 32))
print("torch._dynamo" in sys.modules, "sympy" in sys.modules)
from torchvision.ops import roi_align
image, box = torch.ones(1, 1, 4, 4), torch.tensor([[0.0, 0, 0, 3, 3]])
usual = roi_align(image, box, 2)
torch._C._set_deterministic_algorithms(True)
print(torch.equal(roi_align(image, box, 2), usual))
print(torch.compile(lambda x: x + 1, backend="eager")(torch.ones(1)).item())
"""
    assert run(script).split() == ["False", "False", "True", "2.0"]
