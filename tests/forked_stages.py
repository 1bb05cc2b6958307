"""Stages in forks of a process that has imported all they need: the start of Python, torch and Lightning is paid once.

The process that forks imports and never computes: threads of OpenMP do not survive a fork, and libgomp reads its settings only once.
A test that is about the start of a stage, about signals or about several processes starts `python src/<stage>.py` instead.
"""

import contextlib
import importlib
import json
import os
import selectors
import signal
import subprocess
import sys
import traceback
from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

if TYPE_CHECKING:  # it imports darkroom, which the process that forks has to import from the clone
    from clones import Clone

STAGES = ["check", "download", "split", "train", "evaluate", "predict"]
MODULES = ["darkroom.training.fit", "darkroom.inference.predict", "timm", "sklearn.model_selection", "pyarrow.parquet"]
LIMIT_SECONDS = 120
TESTS = Path(__file__).resolve().parent
Main = Callable[[], None]


class Result(NamedTuple):
    """How a stage ended."""

    status: int
    out: str
    err: str
    events: list[Any]
    """What `before` wrote, one JSON value a line."""


# In the process of the test.


class ForkedStages:
    """Runs stages of a clone; `script` calls `serve`, where a test has its own."""

    def __init__(self, clone: "Clone", script: str = __file__):
        # OpenBLAS would start its threads when NumPy is imported.
        environment = clone.env | {"OPENBLAS_NUM_THREADS": "1", "PYTHONDONTWRITEBYTECODE": "1", "PYTHONPATH": str(TESTS)}
        self.server = subprocess.Popen(
            ["python", script, str(clone.path)], env=environment, stdin=subprocess.PIPE, stdout=subprocess.PIPE, text=True
        )

    def run(self, stage: str, request: Any = None) -> Result:
        """Run a stage as `python src/<stage>.py` does, with the request that the script's `before` is given."""
        assert self.server.stdin
        assert self.server.stdout
        self.server.stdin.write(json.dumps([stage, request]) + "\n")
        self.server.stdin.flush()
        answer = self.server.stdout.readline()
        assert answer, "the process that forks has ended; its standard error says why"
        return Result(*json.loads(answer))

    def close(self) -> None:
        """End the process that forks, by an empty line: another fork, such as a loader's, may hold this end of the pipe open."""
        assert self.server.stdin
        assert self.server.stdout
        with contextlib.suppress(BrokenPipeError):  # it has ended already
            self.server.stdin.write("\n")
            self.server.stdin.close()
        self.server.stdout.close()
        self.server.wait()


# In the process that forks.


def serve(root: Path, before: Callable[[Any, int], None] | None = None, mains: dict[str, Main] | None = None) -> None:
    """Answer each line of standard input, a stage and a request, with how the stage ended, up to an empty one.

    `before` is called in each fork with the request and a descriptor for its events; `mains` are run beside the stages.
    """
    sys.path[0] = str(root / "src")
    os.chdir(root)
    answers = os.fdopen(os.dup(1), "w")
    os.dup2(2, 1)
    importlib.import_module("darkroom.hardware.startup").prepare()
    for name in [*STAGES, *MODULES]:
        importlib.import_module(name)
    others = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    # Arrow's allocator has a thread, which forks do without.
    threads = {(task / "comm").read_text().strip() for task in others} - {"jemalloc_bg_thd"}
    assert not threads, f"something has started threads while it was imported: {threads}"
    for line in iter(sys.stdin.readline, ""):
        if line == "\n":
            break
        stage, request = json.loads(line)
        main = importlib.import_module(stage).main if stage in STAGES else (mains or {})[stage]
        answers.write(json.dumps(forked(stage, main, lambda log, request=request: before and before(request, log))) + "\n")
        answers.flush()


def forked(stage: str, main: Main, before: Callable[[int], None]) -> Result:
    """Run a stage in a child process."""
    pipes = {name: os.pipe() for name in ("out", "err", "events")}
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            status = run_stage(stage, main, before, {name: write for name, (_, write) in pipes.items()})
        finally:
            os._exit(status)
    for _, write in pipes.values():
        os.close(write)
    content = read_all({name: read for name, (read, _) in pipes.items()})
    status = os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1])
    return Result(status, content["out"], content["err"], [json.loads(line) for line in content["events"].splitlines()])


def read_all(pipes: dict[str, int]) -> dict[str, str]:
    content = dict.fromkeys(pipes, b"")
    with selectors.DefaultSelector() as selector:
        for name, pipe in pipes.items():
            selector.register(pipe, selectors.EVENT_READ, name)
        while selector.get_map():
            for key, _ in selector.select():
                if block := os.read(key.fd, 1 << 16):
                    content[key.data] += block
                else:
                    selector.unregister(key.fd)
                    os.close(key.fd)
    return {name: value.decode(errors="replace") for name, value in content.items()}


def run_stage(stage: str, main: Main, before: Callable[[int], None], pipes: dict[str, int]) -> int:
    """Run a stage as `python src/<stage>.py` does, and return its exit status."""
    from darkroom.base.command import run_command

    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    os.dup2(pipes["out"], 1)
    os.dup2(pipes["err"], 2)
    sys.argv = [f"src/{stage}.py"]
    signal.alarm(LIMIT_SECONDS)
    before(pipes["events"])
    try:
        run_command(main)
    except BaseException:
        traceback.print_exc()
    return 1


if __name__ == "__main__":
    serve(Path(sys.argv[1]).resolve())
