"""What every command and stage imports before it does anything: limits that may only fall, since imports are most of a short run.

Modules are counted, not seconds, which say little on a machine that does other things; `python benchmarks/startup.py` measures
those. `PYTHONPATH=src python tests/test_startup.py` prints the table as it is.
"""

import ast
import re
import subprocess
import sys
from pathlib import Path

import pytest

from darkroom.cli import COMMANDS

ROOT = Path(__file__).resolve().parents[1]
IMPORTED = re.compile(r"^import time: +\d+ \| +\d+ \| *([\w.]+)$", re.MULTILINE)
# Those that take long. None of them is imported where the table does not name it.
HEAVY = (
    *("numpy", "pyarrow", "pandas", "scipy", "sklearn", "matplotlib", "sympy", "triton", "optuna", "dvc", "requests", "fastapi"),
    *("torch", "torch._dynamo", "torchvision", "timm", "transformers", "torchmetrics", "pytorch_lightning", "dvclive"),
)
TIMM = "from darkroom.models.networks import build_network; from darkroom.base.params import Network; " + (
    "build_network(Network(provider='timm', name='tf_efficientnet_lite0', pretrained=False, kwargs={}, weights=None, "
    "weights_sha256=None), num_classes=2, channels=3)"
)
# The standard library, whose parts differ with Python, and what stands here, which takes little.
NOT_COUNTED = sys.stdlib_module_names | {"darkroom", "plugins", *(path.stem for path in (ROOT / "src").glob("*.py"))}
HELP = {f"./darkroom {name} --help" for name in COMMANDS}
# How many modules of other packages are imported at most, and which of the heavy packages. Both may only fall: a limit
# that is far above what is counted has to be lowered.
LIMITS: dict[str, tuple[int, str]] = {
    "./darkroom --help": (10, ""),
    **dict.fromkeys(sorted(HELP), (10, "")),
    "./darkroom preset cifar10": (90, ""),
    "./darkroom commit HEAD": (90, ""),
    "stage check": (100, ""),
    "stage download": (210, "numpy"),
    "stage split": (220, "numpy"),
    "stage train": (1940, "numpy dvc requests torch torchmetrics pytorch_lightning dvclive"),
    "stage evaluate": (1120, "numpy pyarrow torch"),
    "stage predict": (220, "numpy pyarrow"),
    "stage export": (1090, "numpy torch"),
    "a network of timm": (1670, "numpy torch torchvision timm"),
}
# By how much a limit may exceed what is counted here, for other versions and machines count a little differently.
ROOM = 1.1


def body_of(stage: str) -> str:
    """Return the imports that a stage makes while it runs, in their order, with what it prepares first."""
    tree = ast.parse((ROOT / "src" / f"{stage}.py").read_text(encoding="utf-8"))
    functions = [node for node in tree.body if isinstance(node, ast.FunctionDef)]
    inner = [node for function in functions for node in ast.walk(function) if isinstance(node, ast.Import | ast.ImportFrom)]
    lines = [ast.unparse(node) for node in sorted(inner, key=lambda node: node.lineno)]
    return "\n".join(
        [f"import {stage}", *(f"{line}\nstartup.prepare()" if line.endswith("import startup") else line for line in lines)]
    )


def command_of(row: str) -> list[str]:
    """Return the command that a row of the table stands for."""
    words = row.split()
    if words[0] == "./darkroom":
        return ["darkroom", *words[1:]]
    if words[0] == "stage":
        return ["-c", body_of(words[1])]
    return ["-c", {"a network of timm": TIMM}[row]]


def counted(row: str) -> tuple[int, set[str]]:
    """Return how many modules of other packages a command imports, and which of the heavy packages."""
    path = f"import sys; sys.path.insert(0, {str(ROOT / 'src')!r})\n"
    command = command_of(row)
    if command[0] == "-c":
        command[1] = path + command[1]
    run = subprocess.run([sys.executable, "-X", "importtime", *command], cwd=ROOT, capture_output=True, text=True)
    assert run.returncode == 0, run.stderr[-2000:]
    names = set(IMPORTED.findall(run.stderr))
    return len({name for name in names if name.split(".")[0] not in NOT_COUNTED}), names & set(HEAVY)


def test_every_command_and_stage_has_a_limit() -> None:
    stages = {f"stage {path.stem}" for path in (ROOT / "src").glob("*.py")}
    assert HELP | stages <= set(LIMITS)


@pytest.mark.sample(9)
@pytest.mark.slow
@pytest.mark.parametrize("row", LIMITS)
def test_what_is_imported_stays_below_its_limit(row: str) -> None:
    most, heavy = LIMITS[row]
    number, found = counted(row)
    assert found <= set(heavy.split()), f"{row} imports more than it needs"
    assert set(heavy.split()) <= found, f"{row}: the table names packages that it no longer imports; take them out"
    assert number <= most, f"{row}: imports {number} modules"
    assert most <= max(number * ROOM, number + 20), f"{row}: imports {number} modules only; lower its limit"


@pytest.mark.slow
def test_a_heavy_import_is_seen(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(sys.modules[__name__], "command_of", lambda _: ["-c", "import pyarrow, ruamel.yaml"])
    number, found = counted("")
    assert "pyarrow" in found
    assert number > 30
    assert counted("")[1] & {"torch"} == set()


if __name__ == "__main__":
    rows = ["./darkroom --help", *sorted(HELP), "./darkroom preset cifar10", "./darkroom commit HEAD"]
    rows += [f"stage {path.stem}" for path in sorted((ROOT / "src").glob("*.py"))]
    for each in [*rows, "a network of timm"]:
        modules, packages = counted(each)
        limit = -(-modules * 103 // 1000) * 10 or 10
        print(f'    "{each}": ({limit}, "{" ".join(name for name in HEAVY if name in packages)}"),', f"  # {modules}", flush=True)
