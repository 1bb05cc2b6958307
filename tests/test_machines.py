"""A result does not depend on the cores, the load or the environment of the machine that trains."""

import hashlib
import json
import os
from pathlib import Path

import pytest
from clones import Clone, Finished

pytestmark = [pytest.mark.slow, pytest.mark.thorough]
RESULTS = ("models/model.safetensors", "models/model.json", "models/run.json", "metrics/evaluate.json")
MACHINES = {
    "one core": "taskset -c {core} env OMP_NUM_THREADS=1",
    "more threads than cores": "env OMP_NUM_THREADS=4 OMP_WAIT_POLICY=PASSIVE",
    "two readers": "env MKL_NUM_THREADS=1",
    "other arithmetic": "env ONEDNN_DEFAULT_FPMATH_MODE=BF16 ATEN_CPU_CAPABILITY=default OMP_THREAD_LIMIT=1 PYTHONHASHSEED=7",
    "other training": "env PL_TRAINER_LIMIT_TRAIN_BATCHES=2 TORCH_MKLDNN_MATMUL_MIN_DIM=1 OMP_DYNAMIC=true",
}


@pytest.fixture(scope="module")
def clone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = finished.copy(tmp_path_factory.mktemp("machines") / "darkroom", cold=True)
    made.edit({"threads: 1": "threads: 3"})  # more than the machines of these tests have cores
    return made


def results_of(clone: Clone, machine: str) -> dict[str, str]:
    core = min(os.sched_getaffinity(0)) if hasattr(os, "sched_getaffinity") else 0
    clone.run(f"rm -rf .resume && {machine.format(core=core)} bash -c 'python src/train.py && python src/evaluate.py'")
    return {name: hashlib.md5(Path(clone.path, name).read_bytes(), usedforsecurity=False).hexdigest() for name in RESULTS}


def test_every_machine_comes_to_the_same_bits(clone: Clone) -> None:
    expected = results_of(clone, "env -u OMP_NUM_THREADS")
    for name, machine in MACHINES.items():
        clone.edit({"num_workers: auto": "num_workers: 2"} if name == "two readers" else {})
        assert results_of(clone, machine) == expected, name
    run = json.loads((clone.path / "models/run.json").read_text(encoding="utf-8"))
    assert run["machine"]["device"]
    assert run["params"]["train"]["threads"] == 3


def test_other_threads_are_another_result(clone: Clone) -> None:
    before = results_of(clone, "env")
    clone.edit({"threads: 3": "threads: 2"})
    assert results_of(clone, "env")["models/model.safetensors"] != before["models/model.safetensors"]
