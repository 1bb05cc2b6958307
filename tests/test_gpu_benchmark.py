"""benchmarks/gpu.sh, rehearsed without a GPU, so that a GPU's time is not spent on mistakes; sizes are tiny, figures mean nothing."""

import importlib
import os
import re
import subprocess
import sys
import time
import zipfile
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest

ROOT = Path(__file__).resolve().parents[1]
# What airbench's scripts are to the benchmark: settings, `main`, and its last line; what timm's is: its log and its summary.
AIRBENCH = """
import torch
hyp = {"opt": {"train_epochs": 9.9}}
def main(run):
    assert hyp["opt"]["train_epochs"] == 2
    train, test = (torch.load(f"cifar10/{name}.pt") for name in ("train", "test"))
    assert (len(train["images"]), len(test["images"])) == (200, 40)
    print(f"|  {run}  |  eval  |  0.9400  |  3.2500  |")
    print("-" * 40)
    return 0.94
"""
TIMM = """
import argparse, pathlib, sys
parser = argparse.ArgumentParser()
for flag in ("--model", "--output", "--experiment", "--data-dir"):
    parser.add_argument(flag)
given, _ = parser.parse_known_args()
if given.model == "test_vit":
    sys.exit("no | such network")
folder = pathlib.Path(given.output, given.experiment)
folder.mkdir(parents=True)
print("Train: 1 [   7/8 (100%)]  Loss: 2.3 (2.3)  Time: 0.1s,   80.00/s  (0.125s,   64.00/s)  LR: 1e-3  Data: 0.0 (0.0)")
(folder / "summary.csv").write_text("epoch,eval_top1\\n1,10.0\\n")
"""
STEP = """
import subprocess, sys, time
print("| kept | 1 | | | |", flush=True)
if sys.argv[1] == "fails":
    raise ValueError("a | reason")
child = subprocess.Popen([sys.executable, "-c", "import time; time.sleep(60)"])
print(child.pid, file=sys.stderr, flush=True)
time.sleep(60)
"""


@pytest.fixture
def gpu(monkeypatch: pytest.MonkeyPatch) -> ModuleType:
    monkeypatch.syspath_prepend(str(ROOT / "benchmarks"))
    return importlib.import_module("gpu")


@pytest.mark.parametrize(("name", "fault"), [("fails", "status 1, ValueError: a   reason"), ("sleeps", "its limit of 2 s")])
def test_a_step_that_fails_has_a_row_and_keeps_those_that_it_had(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, name: str, fault: str
) -> None:
    (tmp_path / "step.py").write_text(STEP)
    monkeypatch.setattr(gpu, "SCRIPT", tmp_path / "step.py")
    start = time.monotonic()
    ended = gpu.run(name, 2, [], gpu.Table(tmp_path / "gpu.md"), tmp_path)
    assert time.monotonic() - start < 50
    assert ended.fault == fault
    lines = (tmp_path / "gpu.md").read_text().splitlines()
    assert lines[-1] == f"| {name} | **failed**: {fault} | | | |"
    if name == "fails":
        assert lines[0] == "| kept | 1 | | | |"
    elif said := (tmp_path / "sleeps.log").read_text().strip():  # Python may start in less than its limit
        until = time.monotonic() + 20  # a killed process takes a while to end on a busy machine
        while is_running(int(said)) and time.monotonic() < until:
            time.sleep(0.1)
        assert not is_running(int(said))


def is_running(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/stat").read_text().split()[2] != "Z"
    except FileNotFoundError:
        return False


def test_a_step_that_does_not_fit_is_not_begun(
    gpu: ModuleType, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: Any
) -> None:
    arguments = ["gpu.py", "--device", "cpu", "--steps", "two", "--minutes", "0.1", "--out", str(tmp_path)]
    monkeypatch.setattr(sys, "argv", arguments)
    with pytest.raises(SystemExit, match="True"):
        gpu.main()
    assert re.search(r"^\| two \| \*\*not begun\*\*: [56] s are left \| \| \| \|$", capsys.readouterr().out, re.MULTILINE)


@pytest.mark.parametrize("is_whole", [True, False])
def test_wheels_are_installed_beside_what_is_there(tmp_path: Path, is_whole: bool) -> None:
    """Without a network; where that fails, what is there is used."""
    (tmp_path / "wheels").mkdir()
    with zipfile.ZipFile(tmp_path / "wheels" / "dvc-99.0-py3-none-any.whl", "w") as wheel:
        for name, text in (("METADATA", "Metadata-Version: 2.1\nName: dvc\nVersion: 99.0\n"), ("RECORD", "")) if is_whole else ():
            wheel.writestr(f"dvc-99.0.dist-info/{name}", text)
        wheel.writestr("dvc-99.0.dist-info/WHEEL", "Wheel-Version: 1.0\nRoot-Is-Purelib: true\nTag: py3-none-any\n")
    given = ["--wheels", str(tmp_path / "wheels"), "--airbench", str(tmp_path), "--timm", str(tmp_path), "--out", str(tmp_path)]
    command = [f"{ROOT}/benchmarks/gpu.sh", *given, "--device", "cpu", "--steps", "two", "--minutes", "0.1"]
    done = subprocess.run(command, cwd=tmp_path, env=os.environ | {"PYTHON": sys.executable}, capture_output=True, text=True)
    assert done.returncode == 1
    assert ("the installation failed; what is there is used" in done.stderr) is not is_whole
    assert ("dvc 99.0" in done.stdout) is is_whole
    assert "| two | **not begun**" in done.stdout


def test_the_limits_leave_room_for_the_installation(gpu: ModuleType) -> None:
    steps = importlib.import_module("gpu_steps").STEPS
    assert [name for name in steps if name not in gpu.CHECKS | gpu.ALONE and not name.startswith("compile-")] == []
    of_wheels = 30
    first = of_wheels + max(gpu.CHECKS.values()) + sum(limit for name, limit in gpu.ALONE.items() if name != "cifar96")
    assert first <= 600 - gpu.LEAST


def test_wheels_are_those_that_are_missing(gpu: ModuleType) -> None:  # noqa: ARG001 (puts benchmarks/ on the path)
    missing = importlib.import_module("gpu_wheels").missing
    pins = (
        "# by make lock\nnumpy==2.0\nRuamel.yaml==0.19\ntriton==3.9 ; sys_platform == 'linux'\nold==1 ; python_version < '3.12'\n"
    )
    assert missing(pins, "numpy==2.5.2\n", "3.12") == ["Ruamel.yaml==0.19"]
    assert missing(pins, "ruamel_yaml", "3.11") == ["numpy==2.0", "old==1"]


# What each step has to have measured; every one has a number in the column of Darkroom.
ROWS = {
    r"tests that need a GPU": r"6 passed",
    r"a training (twice|ended by a signal and resumed), (as it is|trainer\.deterministic)": r"the same bits",
    r"(download|split|train|evaluate|predict) twice, as it is: hashes": r"equal",
    r"CIFAR-10 to 9[46] %, drawn images, 2 runs: seconds of the training, median \(all\)": r"[\d.]+ \([\d.]+, [\d.]+\)",
    r"CIFAR-10 to 9[46] %, drawn images, 2 runs: test accuracy, mean \(all\)": r"0\.\d{4} \([\d.]+, [\d.]+\)",
    r"(ResNet-50|ViT-S), 160 px, bf16, compiled: training images/s from the pack of photos": r"[\d.]+",
    r"(ResNet-50|ViT-S), 160 px, bf16, compiled: (the network alone|evaluate, from the pack|predict, from files), images/s": r"[\d.]+",
    r"ResNet-50, 160 px, bf16, compiled: training images/s": r"[\d.]+",
    r"compiling both networks at once, s": r"[\d.]+",
    r"two trainings of the digits on one device, s": r"[\d.]+",
    r"their metrics": r"equal",
}
EXPECTED = 1 + 4 + 5 + 2 + 2 + 2 + 6 + 1 + 1 + 1 + 1


@pytest.mark.thorough
def test_every_step_of_the_rehearsal_has_its_numbers_and_one_that_fails_is_shown(tmp_path: Path) -> None:
    for path, text in (
        ("airbench/legacy/airbench94.py", AIRBENCH),
        ("airbench/legacy/airbench96.py", AIRBENCH),
        ("timm/train.py", TIMM),
    ):
        (tmp_path / path).parent.mkdir(parents=True, exist_ok=True)
        (tmp_path / path).write_text(text)
    command = f"{ROOT}/benchmarks/gpu.sh --installed --device cpu --tiny --slower 20"
    given = ["--airbench", f"{tmp_path}/airbench", "--timm", f"{tmp_path}/timm", "--out", f"{tmp_path}/out"]
    environment = os.environ | {"PYTHON": sys.executable, "OMP_NUM_THREADS": "1"}
    done = subprocess.run([*command.split(), *given], cwd=tmp_path, env=environment, capture_output=True, text=True)
    table = (tmp_path / "out" / "gpu.md").read_text()
    assert table.strip() in done.stdout
    rows = [line.strip("| ").split(" | ") for line in table.splitlines() if line.startswith("| ") and " | " in line]
    failed = [cells for cells in rows if "**" in cells[1]]
    assert [cells[:1] for cells in failed] == [["timm-vit_small_patch16_224"]], table + done.stderr
    assert "no   such network" in failed[0][1]
    assert done.returncode == 1
    for what, value in ROWS.items():
        assert [cells for cells in rows if re.fullmatch(what, cells[0]) and not re.match(value, cells[1])] == []
    assert sum(any(re.fullmatch(what, cells[0]) for what in ROWS) for cells in rows) == EXPECTED, table
    assert "airbench94: 3.250 (3.250, 3.250)" in table
    assert "timm's train.py: 64.0" in table
