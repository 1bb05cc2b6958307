"""Programs that start a command several times side by side (srun, torchrun, mpirun), and where that is refused.

Darkroom starts the processes of a training itself, as many as `hardware.devices` says, so one `dvc repro` is enough. Several of
them would contend for DVC's lock, and each would take itself for one rank of a training whose others never come.
"""

import os
from collections.abc import Mapping
from dataclasses import dataclass

from darkroom.base.errors import MAIN_PROCESS, InputError

# Environment variables with the number of processes, and how to start one. srun counts the tasks of its own step, and hands on
# the number of the job, which in a batch script without srun is that of tasks that nobody has started.
COUNTED = {
    "SLURM_STEP_NUM_TASKS": "srun --ntasks=1 ",
    "SLURM_NTASKS": "srun --ntasks=1 ",
    "OMPI_COMM_WORLD_SIZE": "",
    "MV2_COMM_WORLD_SIZE": "",
    "PMI_SIZE": "",
    "JSM_NAMESPACE_SIZE": "",
    "WORLD_SIZE": "",
}
# Which of several processes this is; the first one is 0.
RANKS = ("SLURM_PROCID", "OMPI_COMM_WORLD_RANK", "MV2_COMM_WORLD_RANK", "PMI_RANK", "JSM_NAMESPACE_RANK", "RANK", "NODE_RANK")


@dataclass(frozen=True)
class Launch:
    """That this process is one of several.

    Attributes
    ----------
    variable : str
        The environment variable that says so, with its value.
    number : int
        How many processes were started; 0 if that is not known.
    start : str
        What to put before a command so that it is started once.
    """

    variable: str
    number: int
    start: str


def launched(environment: Mapping[str, str] = os.environ) -> Launch | None:
    """Return how another program started this process beside others; None if it is alone, or Darkroom itself did."""
    if MAIN_PROCESS in environment:
        return None
    in_batch_script = environment.get("ENVIRONMENT") == "BATCH" and "SLURM_STEP_ID" not in environment
    is_task = "SLURM_PROCID" in environment and not in_batch_script  # a shell of salloc has the numbers without being a task
    for name, start in COUNTED.items():
        if name.startswith("SLURM") and (not is_task or (name == "SLURM_NTASKS" and "SLURM_STEP_NUM_TASKS" in environment)):
            continue
        if (number := _number(environment.get(name))) > 1:
            return Launch(f"{name}={number}", number, start)
    for name in RANKS:
        if not name.startswith("SLURM") and _number(environment.get(name)) > 0:
            return Launch(f"{name}={environment[name]}", 0, "")
    return None


def refuse_launcher(command: str) -> None:
    """Refuse a command that must run once, where another program has started it several times.

    Raises
    ------
    InputError
        Naming the environment variable, and what to run.
    """
    if launch := launched():
        several = f"{launch.number} processes of this command were started" if launch.number else "this is not the first process"
        raise InputError(
            f"{launch.variable}: {several}, but it runs once, and starts those of a training itself; run "
            f"'{launch.start}{command}' with hardware.devices set, or see 'Several machines' in docs/sharing.md"
        )


def _number(text: str | None) -> int:
    return int(text) if text and text.isascii() and text.isdecimal() else 0
