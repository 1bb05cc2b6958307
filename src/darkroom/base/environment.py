"""What a process does with its environment: variables that change results are ignored, and threads that wait sleep soon.

It has to be done before torch is imported: libraries read their variables once.
"""

import os
import sys
from collections.abc import Iterable
from contextlib import suppress
from fnmatch import fnmatchcase
from pathlib import Path

from darkroom.base.errors import InputError, is_main_process, warn

# Variables by which a library computes something else than params.yaml says, which nobody would see in what is recorded.
# They were found in the sources of these libraries; patterns hold for versions to come.
CHANGING = (
    *("PL_*", "LT_*"),  # Lightning: arguments of its Trainer, seeds
    *("ATEN_*", "TORCH_*", "PYTORCH_*", "TORCHDYNAMO_*", "TORCHINDUCTOR_*", "INDUCTOR_*", "TRITON_*"),  # torch
    *("ONEDNN_*", "DNNL_*", "MKLDNN_*", "FBGEMM_*", "XNNPACK_*"),  # its libraries: precision, instructions, kernels
    *("MKL_CBWR*", "MKL_DEBUG_CPU_TYPE", "MKL_DISABLE_*", "MKL_DOMAIN_*", "MKL_DYNAMIC", "MKL_ENABLE_*", "MKL_VML_*"),
    *("OMP_DYNAMIC", "OMP_THREAD_LIMIT", "OMP_NESTED", "OMP_MAX_ACTIVE_LEVELS"),  # fewer threads than train.threads
    *("KMP_*REDUCTION", "KMP_*THREAD_LIMIT", "KMP_DYNAMIC*", "KMP_ALL_THREADS", "KMP_MAX_THREADS"),
    *("NVIDIA_TF32_OVERRIDE", "CUBLAS_*", "CUBLASLT_*", "CUDNN_*", "MIOPEN_*"),  # GPUs
    *("TIMM_*", "TRANSFORMERS_*", "ACCELERATE_*", "FLASH_ATTENTION_*", "USE_HUB_KERNELS", "XLA_USE_*", "XLA_DOWNCAST_*"),
    *("OPENCV_*", "JSIMD_*", "SCIPY_*", "SKLEARN_*", "OV_CPU_*"),  # images, statistics, OpenVINO
)
# Of these, what changes no number: messages, files, versions, memory, how processes find each other.
HARMLESS = (
    *("*_VERSION", "*_HOME", "*_PATH", "*_DIR", "*_CACHE", "*_ROOT", "*_LIBRARY", "*LOG*", "*VERBOS*", "*WARN*", "*ALLOC_CONF"),
    *("TORCH_NCCL_*", "TORCH_GLOO_*", "TORCH_ELASTIC_*", "TORCH_FR_*", "TORCH_DISTRIBUTED_DEBUG", "TORCH_SHOW_*", "TORCH_TRACE"),
    *("TORCH_CUDA_ARCH_LIST", "TORCH_DISABLE_ADDR2LINE", "PYTORCH_BUILD_*", "PYTORCH_MPS_*", "PYTORCH_NVML_BASED_CUDA_CHECK"),
    *("TORCH_FORCE_*WEIGHTS_ONLY_LOAD",),  # refused where weights are loaded
    *("TORCHINDUCTOR_*CACHE*", "TORCHINDUCTOR_COMPILE_THREADS", "TORCHINDUCTOR_WORKER_START"),
    *("TRANSFORMERS_OFFLINE", "OPENCV_IO_*"),
)
# These have been read when the first line of a stage runs, by NumPy or by the system; what their values must hold to count.
# A process gets rid of them by starting again.
READ_AT_START = {"NPY_*_CPU_FEATURES": "", "NPY_PROMOTION_STATE": "", "OPENBLAS_CORETYPE": "", "GLIBC_TUNABLES": "hwcaps"}

# A waiting thread looks so often for new work before it sleeps. GNU's OpenMP, which torch uses on Linux, looks 300 000 times: a
# thread then keeps a core for milliseconds while the thread that it waits for needs it. docs/decisions/0023 has the figures.
SPIN_COUNT = 5000
SHARED_SPIN_COUNT = 0  # beside another training
RESTARTED = "DARKROOM_RESTARTED"  # set for a process that was started again, so that it is so once
POLICY, SPINS = "OMP_WAIT_POLICY", "GOMP_SPINCOUNT"


def ignore_variables() -> None:
    """Remove what would change results from the environment, of this process and of those that it starts, and say so.

    Where a library has read one of them already, the process starts again from the beginning without it, under the same number.

    Raises
    ------
    InputError
        Naming a variable that came back when the process started again, as a `sitecustomize.py` may set it.
    """
    was_restarted = os.environ.pop(RESTARTED, None) is not None
    found = changing(os.environ)
    read = [name for name, value in os.environ.items() if _was_read_at_start(name, value)]
    for name in (*found, *read):
        del os.environ[name]
    if read and was_restarted:
        raise InputError(f"{read[0]}: is set whenever Python starts, changes results and would not be recorded; unset it there")
    if found and is_main_process():
        _warn_of(found, "set what you need in params.yaml, as in train.trainer or train.precision")
    if read:
        if is_main_process():
            _warn_of(read, "the same command starts again without")
        sys.stdout.flush()
        os.execve(sys.executable, [sys.executable, *sys.orig_argv[1:]], {**os.environ, RESTARTED: "1"})


def _warn_of(names: list[str], then: str) -> None:
    warn(f"environment: ignored {', '.join(names)}, which would change the result and not be recorded; {then}")


def _was_read_at_start(name: str, value: str) -> bool:
    return any(fnmatchcase(name, pattern) and part in value for pattern, part in READ_AT_START.items())


def changing(names: Iterable[str]) -> list[str]:
    """Return the names of variables that change results, sorted."""
    return sorted(name for name in names if _is_one_of(name, CHANGING) and not _is_one_of(name, HARMLESS))


def _is_one_of(name: str, patterns: Iterable[str]) -> bool:
    return any(fnmatchcase(name, pattern) for pattern in patterns)


def limit_spinning() -> None:
    """Let threads sleep soon, unless the user has chosen otherwise; results do not depend on it.

    OpenMP is loaded with torch or scikit-learn.
    """
    if not has_chosen_waiting():
        os.environ[SPINS] = str(SPIN_COUNT)


def sleep_beside_another() -> None:
    """Let threads of a training sleep at once if another one runs on this machine, unless the user has chosen otherwise."""
    # The processes of one training have what the main one has.
    if is_main_process() and not has_chosen_waiting() and another_trains():
        os.environ[SPINS] = str(SHARED_SPIN_COUNT)


def another_trains(processes: Path = Path("/proc")) -> bool:
    """Return whether another process of this machine runs a stage train; only Linux says."""
    for process in processes.glob("[0-9]*"):
        with suppress(OSError):  # it has ended meanwhile
            program, *arguments = (process / "cmdline").read_bytes().split(b"\0")
            is_training = b"python" in program and any(argument.endswith(b"src/train.py") for argument in arguments)
            if is_training and process.name != str(os.getpid()):
                return True
    return False


def has_chosen_waiting() -> bool:
    """Return whether the user, and not `limit_spinning`, says how threads wait."""
    return POLICY in os.environ or os.environ.get(SPINS, str(SPIN_COUNT)) != str(SPIN_COUNT)
