"""A process that has imported DVC once, and forks for every run of it: more than a second less for each.

It parses dvc.yaml and dvc.lock before it forks, and a run parses params.yaml once: DVC's parser of YAML is written in Python.
Only DVC is kept warm, in a process that does nothing else and has no threads: stages start as they always do. Elsewhere than on
Linux a forked process may not use what the system's libraries have begun, and DVC is started anew.
"""

import contextlib
import json
import os
import pickle
import signal
import subprocess
import sys
import traceback
from collections.abc import Mapping
from pathlib import Path
from typing import Any, NoReturn, Protocol

from darkroom.stage.orphans import following

IS_LINUX = sys.platform == "linux"
SRC = Path(__file__).resolve().parents[2]
# What `dvc repro` imports before and while it works; a test says when this is no longer all of it.
IMPORTED = (
    *(f"dvc.{name}" for name in ("cachemgr", "cli", "data_cloud", "dirs", "dvcfile", "output", "parsing", "rwlock", "scm")),
    *(
        f"dvc.repo.{name}"
        for name in ("artifacts", "datasets", "graph", "index", "metrics", "open_repo", "params", "plots", "trie")
    ),
    *("dvc.cli.parser", "dvc.commands.repro", "dvc.dependency.param", "dvc.repo.reproduce", "dvc.repo.stage", "dvc.stage.cache"),
    *("dvc.stage.run", "dvc.utils.strictyaml", "dvc_data.hashfile.db.local", "dvc_data.index", "configobj", "dulwich.worktree"),
    *("fsspec.implementations.memory", "networkx", "pyparsing", "ruamel.yaml", "scmrepo.git"),
)


class Process(Protocol):
    """What `subprocess.Popen` has, too."""

    pid: int
    returncode: int | None

    def wait(self) -> int:
        """Wait for its end; minus the number of the signal that killed it, or its status."""

    def terminate(self) -> None:
        """Send SIGTERM, if it has not ended."""


class WarmDvc:
    """Starts DVC, one process at a time, each with a session of its own that dies with this process."""

    def __init__(self) -> None:
        self._server: subprocess.Popen[bytes] | None = None

    def start(self, arguments: list[str], *, folder: Path, env: Mapping[str, str], log: Path) -> Process:
        """Run `dvc` with these arguments in a folder; what it says goes to the end of `log`."""
        if not IS_LINUX:
            with log.open("ab") as file:
                return subprocess.Popen(
                    [sys.executable, "-m", "dvc", *arguments],
                    cwd=folder,
                    env=env,
                    stdin=subprocess.DEVNULL,
                    stdout=file,
                    stderr=file,
                    start_new_session=True,
                )
        request = {"arguments": arguments, "folder": str(folder), "env": dict(env), "log": str(log)}
        for _ in range(2):  # a server that was killed since the last run is replaced
            server = self._server = self._server or self._warm()
            assert server.stdin is not None
            assert server.stdout is not None
            try:
                server.stdin.write(json.dumps(request).encode() + b"\n")
                server.stdin.flush()
                return _Forked(int(server.stdout.readline()), server)
            except (BrokenPipeError, ValueError):
                self.close()
        raise AssertionError("nothing can be forked")

    def close(self) -> None:
        """Let the server go."""
        server, self._server = self._server, None
        if server is not None:
            server.kill()
            server.communicate()

    def _warm(self) -> "subprocess.Popen[bytes]":
        return subprocess.Popen(
            [sys.executable, "-c", "from darkroom.experiments.warm import serve; serve()"],
            env=os.environ | {"PYTHONPATH": str(SRC)},
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
            start_new_session=True,
            # A stage is then told by its own means, and saves its state.
            preexec_fn=following(os.getpid(), signal.SIGKILL),
        )


class _Forked:
    """A process that the server has forked."""

    def __init__(self, pid: int, server: "subprocess.Popen[bytes]"):
        self.pid, self._server = pid, server
        self.returncode: int | None = None

    def wait(self) -> int:
        if self.returncode is None:
            assert self._server.stdout is not None
            # A server that was killed has taken it along.
            self.returncode = int(self._server.stdout.readline() or -signal.SIGKILL)
        return self.returncode

    def terminate(self) -> None:
        if self.returncode is None:
            os.kill(self.pid, signal.SIGTERM)


def serve() -> None:
    """Fork for each line that comes, and answer with the number of the process and then with its status."""
    for name in IMPORTED:
        __import__(name)
    known = parse_each_text_once()
    while line := sys.stdin.buffer.readline():
        request = json.loads(line)
        _parse_ahead(Path(request["folder"]), known)
        server, pid = os.getpid(), os.fork()
        if pid == 0:
            _run(request, server)
        print(pid, flush=True)
        print(os.waitstatus_to_exitcode(os.waitpid(pid, 0)[1]), flush=True)


def parse_each_text_once() -> dict[str, bytes]:
    """Let `YAML.load` answer with a copy of what it made of the same text before; return the texts, and what they hold, pickled.

    A run of DVC parses params.yaml five times. What keeps comments, to write them again, is parsed as before.
    """
    from ruamel.yaml import YAML

    parse, known = YAML.load, dict[str, bytes]()

    def load(self: YAML, stream: Any) -> Any:
        if self.typ != ["safe"] or not isinstance(stream, str):
            return parse(self, stream)
        if stream not in known:
            known[stream] = pickle.dumps(parse(self, stream))
        return pickle.loads(known[stream])

    YAML.load = load  # type: ignore[method-assign]
    return known


def _parse_ahead(folder: Path, known: dict[str, bytes]) -> None:
    """Parse what no trial changes; of earlier texts nothing is kept."""
    from ruamel.yaml import YAML

    texts = []
    # What cannot be parsed DVC will name.
    for name in ("dvc.yaml", "dvc.lock"):
        with contextlib.suppress(Exception):
            texts.append((folder / name).read_text(encoding="utf-8"))
            YAML(typ="safe").load(texts[-1])
    for text in known.keys() - set(texts):
        del known[text]


def _run(request: dict[str, object], server: int) -> NoReturn:
    """Become the process that was asked for."""
    status = 255
    try:
        following(server, signal.SIGKILL)()
        os.setsid()
        os.chdir(str(request["folder"]))
        os.environ.clear()
        os.environ.update(request["env"])  # type: ignore[call-overload]
        log = os.open(str(request["log"]), os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
        for here, there in ((os.open(os.devnull, os.O_RDONLY), 0), (log, 1), (log, 2)):
            os.dup2(here, there)
        from dvc.cli import main

        status = main(request["arguments"])
    except BaseException:
        traceback.print_exc()
    finally:
        sys.stdout.flush()
        sys.stderr.flush()
        os._exit(status)
