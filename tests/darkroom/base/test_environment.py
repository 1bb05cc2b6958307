"""Variables that change results are ignored, and threads of OpenMP sleep soon, before any of a command's imports reads them."""

import os
import subprocess
import sys
from importlib.util import find_spec
from pathlib import Path

import pytest

from darkroom.base.environment import POLICY, SPIN_COUNT, SPINS, another_trains, changing, ignore_variables

SRC = Path(__file__).resolve().parents[3] / "src"
STAGES = ("check", "download", "split", "train", "evaluate", "predict")
on_linux = pytest.mark.skipif(sys.platform != "linux", reason="it is GNU's OpenMP, and /proc, that are looked at")


def run(code: str, **variables: str) -> subprocess.CompletedProcess[str]:
    env = {name: value for name, value in os.environ.items() if name not in (POLICY, SPINS)} | variables
    code = f"import os, sys; sys.path.insert(0, {str(SRC)!r})\n{code}"
    return subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=True)


def is_loaded(imports: str) -> bool:
    return run(f"{imports}; print('libgomp' in open('/proc/self/maps').read())").stdout == "True\n"


@on_linux
def test_no_command_loads_openmp_before_the_environment_is_set() -> None:
    assert not is_loaded(f"import {', '.join(STAGES)}, darkroom.cli, darkroom.base.command")


@pytest.mark.thorough
@on_linux
@pytest.mark.slow
def test_a_loaded_openmp_is_seen() -> None:
    assert is_loaded("import torch")


@on_linux
@pytest.mark.slow
@pytest.mark.parametrize(
    ("variables", "others", "told"),
    [
        ({}, False, f"GOMP_SPINCOUNT = '{SPIN_COUNT}'"),
        ({}, True, "GOMP_SPINCOUNT = '0'"),
        ({"GOMP_SPINCOUNT": "7"}, True, "GOMP_SPINCOUNT = '7'"),
        ({"OMP_WAIT_POLICY": "passive"}, False, "GOMP_SPINCOUNT = '0'"),
    ],
)
def test_openmp_takes_it_unless_the_user_chose(variables: dict[str, str], others: bool, told: str) -> None:
    (library,) = Path(str(find_spec("torch").origin)).parent.glob("lib/libgomp*")  # type: ignore[union-attr]
    code = f"""from darkroom.base import environment
from darkroom.base.command import run_command
environment.another_trains = lambda: {others}

def main():
    environment.sleep_beside_another()
    __import__('ctypes').CDLL({str(library)!r})

run_command(main)"""
    assert told in run(code, OMP_DISPLAY_ENV="VERBOSE", **variables).stderr


@pytest.mark.parametrize(
    ("command", "trains"),
    [
        ([sys.executable, "src/train.py"], True),
        (["python3.12", "-u", "/home/me/darkroom/src/train.py"], True),
        (["sh", "-c", "python src/train.py"], False),  # the shell of this one
        (["vi", "src/train.py"], False),
        (["python", "src/evaluate.py"], False),
        ([""], False),  # a thread of the system
    ],
)
def test_another_training_is_seen_and_its_shell_is_not(command: list[str], trains: bool, tmp_path: Path) -> None:
    for pid in (os.getpid(), os.getpid() + 1):
        assert not another_trains(tmp_path)
        (tmp_path / str(pid)).mkdir()
        (tmp_path / str(pid) / "cmdline").write_text("\0".join([*command, ""]))
    (tmp_path / "1").mkdir()  # it has ended
    assert another_trains(tmp_path) == trains


@on_linux
@pytest.mark.slow
def test_a_running_training_is_seen(tmp_path: Path) -> None:
    (tmp_path / "src").mkdir()
    (tmp_path / "src" / "train.py").write_text("print(flush=True); input()")
    command = [sys.executable, "src/train.py"]
    with subprocess.Popen(command, cwd=tmp_path, stdin=subprocess.PIPE, stdout=subprocess.PIPE) as other:
        assert other.stdout is not None
        other.stdout.readline()
        assert another_trains()
        other.kill()


# Each of them has been seen to change the weights, or is read by a library that this project uses.
CHANGE = [
    *("PL_TRAINER_LIMIT_TRAIN_BATCHES", "PL_TRAINER_MIN_EPOCHS", "PL_GLOBAL_SEED", "ONEDNN_DEFAULT_FPMATH_MODE", "DNNL_MAX_CPU_ISA"),
    *("ONEDNN_MAX_CPU_ISA", "ATEN_CPU_CAPABILITY", "TORCH_ALLOW_TF32_CUBLAS_OVERRIDE", "NVIDIA_TF32_OVERRIDE", "MKL_CBWR"),
    *("TORCH_MKLDNN_MATMUL_MIN_DIM", "TORCHINDUCTOR_MAX_AUTOTUNE", "TORCHDYNAMO_DISABLE", "TORCH_COMPILE_DISABLE", "OMP_DYNAMIC"),
    *("OMP_THREAD_LIMIT", "CUBLAS_WORKSPACE_CONFIG", "TIMM_FUSED_ATTN", "PYTORCH_JIT", "MKL_ENABLE_INSTRUCTIONS", "PYTORCH_TUNABLEOP_ENABLED"),
]  # fmt: skip
CHANGE_NOTHING = [
    *("PATH", "HOME", "OMP_NUM_THREADS", "OMP_WAIT_POLICY", "GOMP_SPINCOUNT", "MKL_NUM_THREADS", "MKL_INTERFACE_LAYER", "TORCH_HOME"),
    *("CUDA_VISIBLE_DEVICES", "LOCAL_RANK", "MASTER_ADDR", "TORCHELASTIC_RUN_ID", "TORCH_NCCL_ASYNC_ERROR_HANDLING", "NCCL_DEBUG"),
    *("TRANSFORMERS_CACHE", "HF_HOME", "PYTORCH_CUDA_ALLOC_CONF", "PYTORCH_VERSION", "CUBLAS_VERSION", "TORCH_LOGS", "CUDNN_PATH"),
    *("TORCHINDUCTOR_CACHE_DIR", "TORCH_CUDA_ARCH_LIST", "PYTORCH_NVML_BASED_CUDA_CHECK", "ONEDNN_VERBOSE", "DARKROOM_CACHE"),
]  # fmt: skip


def test_variables_that_change_results_are_known() -> None:
    assert changing([*CHANGE, *CHANGE_NOTHING]) == sorted(CHANGE)


def test_they_are_removed_and_said_in_one_line(monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]) -> None:
    for name in ("PL_TRAINER_MIN_EPOCHS", "ATEN_CPU_CAPABILITY", "OMP_NUM_THREADS"):
        monkeypatch.setenv(name, "9")
    ignore_variables()
    assert os.environ["OMP_NUM_THREADS"] == "9"
    assert not {"PL_TRAINER_MIN_EPOCHS", "ATEN_CPU_CAPABILITY"} & set(os.environ)
    told = capsys.readouterr().err
    assert told.startswith("warning: environment: ignored ATEN_CPU_CAPABILITY, PL_TRAINER_MIN_EPOCHS, which would change the")
    assert told.count("\n") == 1
    ignore_variables()
    assert not capsys.readouterr().err


READ_AT_START = [
    ("NPY_DISABLE_CPU_FEATURES", "AVX2"),
    ("OPENBLAS_CORETYPE", "Haswell"),
    ("GLIBC_TUNABLES", "glibc.cpu.hwcaps=-AVX2"),
]


@pytest.mark.parametrize(("name", "value"), READ_AT_START)
@pytest.mark.parametrize("start", ["import numpy", "pass"])
def test_what_was_read_already_is_left_out_by_starting_again(name: str, value: str, start: str) -> None:
    """The process that computes has the number of the one that was started, and what both say is in order."""
    code = f"{start}\nfrom darkroom.base.command import *\nprint(os.getpid())\nrun_stage(lambda: print(sorted(os.environ), sys.argv), Parser('x', 'x'))"
    done = run(code, **{name: value, "TIMM_FUSED_ATTN": "0"})
    first, second, told = done.stdout.splitlines()
    assert first == second
    assert not [each for each in (name, "TIMM_FUSED_ATTN", "RESTARTED") if each in told]
    ignored, restarted = done.stderr.splitlines()
    assert ignored.startswith("warning: environment: ignored TIMM_FUSED_ATTN,")
    assert restarted == (
        f"warning: environment: ignored {name}, which would change the result and not be recorded; the same command starts again without"
    )


def test_what_comes_back_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "sitecustomize.py").write_text("import os; os.environ['OPENBLAS_CORETYPE'] = 'Haswell'")
    code = (
        f"import sys; sys.path.insert(0, {str(SRC)!r})\nfrom darkroom.base.command import *\nrun_stage(print, Parser('x', 'x'))"
    )
    env = {**os.environ, "PYTHONPATH": str(tmp_path)}
    done = subprocess.run([sys.executable, "-c", code], env=env, capture_output=True, text=True, check=False)
    assert done.returncode == 2
    line = "error: OPENBLAS_CORETYPE: is set whenever Python starts, changes results and would not be recorded; unset it there"
    assert done.stderr.splitlines()[-1] == line


def test_tunables_of_memory_are_the_user_s(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("GLIBC_TUNABLES", "glibc.malloc.hugetlb=1")
    ignore_variables()


def test_every_stage_and_command_that_computes_asks() -> None:
    code = "from darkroom.base.command import *\nrun_stage(lambda: print(sorted(os.environ)), Parser('x', 'x'))"
    told = run(code, TIMM_FUSED_ATTN="0").stdout
    assert "OMP_" in told or "PATH" in told
    assert "TIMM_FUSED_ATTN" not in told
    for name in (
        "evaluate.py",
        "predict/__init__.py",
        "export.py",
        *(f"labels/{each}.py" for each in ("check", "next", "curve")),
    ):
        text = (SRC / "darkroom" / "cli" / name).read_text(encoding="utf-8")
        assert text.index("    ignore_variables()\n") < text.index("load_sections(")
