"""A Python that has imported torch, Lightning and DVC forks for every command of a clone, which then starts in a moment.

`warm_bin()` is a folder for the front of a PATH: its `python`, `python3` and `dvc` ask the process that forks, wait for the end and
pass signals on. The process that forks imports and never computes: threads of OpenMP do not survive a fork. Of this project it keeps
nothing: each command imports the code beside it.

What is started with an option but `-m` (`python -c`, `-X`, `-S`) starts as always. A test that kills, or looks at parents of
processes, takes the real Python (`cold()` of a clone): here a command's parent is the process that forks. So does one test of every
stage and command, since here a module that it forgets to import is there.
"""

import array
import atexit
import contextlib
import fcntl
import functools
import gc
import hashlib
import importlib
import inspect
import os
import pickle
import runpy
import selectors
import shutil
import signal
import socket
import subprocess
import sys
import tempfile
import threading
import traceback
from collections.abc import Sequence
from pathlib import Path
from typing import Any, NoReturn

SRC = Path(__file__).resolve().parents[1] / "src"
STAGES = ["download", "split", "train", "evaluate", "predict"]
MODULES = ["darkroom.training.fit", "darkroom.inference.predict", "darkroom.search.search", "darkroom.experiments.repeat"]
LIBRARIES = ["timm", "sklearn.model_selection", "pyarrow.parquet"]
DVC = ["dvc.cli.parser", "dvc.repo", "dvc.api", "dvc_http", "networkx", "pygit2", "dulwich.porcelain", "dulwich.worktree"]
# What commands import when they run, half a second of some.
DVC += [
    "dvc.repo.experiments.queue.celery",
    "dvc.repo.experiments.queue.workspace",
    "hydra.core.override_parser.overrides_parser",
]
DVC += ["dvc.cachemgr", "dvc.data_cloud", "dvc.repo.datasets", "fsspec.implementations.local", "configobj"]
OWN = {"darkroom", "plugins", *STAGES}
SIZE = 8  # bytes of the length of a request
NUM_STREAMS = 3
WORTH_KEEPING = 1000  # characters of YAML
# Set for a command that is to parse all it reads.
PARSES_ALL = "DARKROOM_TEST_PARSES_ALL"
BACKLOG = 64
# It starts without Lib/site and most of Python's library, in 15 ms.
CLIENT = """#!{python} -IS
import posix, sys, _signal, _socket
name, arguments = sys.argv[0].rpartition("/")[2], sys.argv[1:]
has_option = not arguments or (arguments[0].startswith("-") and arguments[0] != "-m")
# Processes that Lightning starts train beside their parent, and die with it.
if name != "dvc" and (has_option or b"LOCAL_RANK" in posix.environ):
    posix.execv({python!r}, [{python!r}, *arguments])
script = [{dvc!r}] if name == "dvc" else []
words = [word.encode("utf-8", "surrogateescape") for word in [sys.argv[0], *script, *arguments]]
parts = [posix.getcwdb(), b"%d" % len(words), *words, *(name + b"=" + value for name, value in posix.environ.items())]
request = b"\\0".join(parts)
link = _socket.socket(_socket.AF_UNIX, _socket.SOCK_STREAM)
link.connect({address!r})
streams = b"".join(number.to_bytes(4, sys.byteorder) for number in range({streams}))
link.sendmsg([len(request).to_bytes({size}, "big")], [(_socket.SOL_SOCKET, _socket.SCM_RIGHTS, streams)])
link.sendall(request)
pid = int.from_bytes(link.recv(4), "big")
for number in (_signal.SIGHUP, _signal.SIGINT, _signal.SIGUSR1, _signal.SIGTERM):
    if _signal.getsignal(number) != _signal.SIG_IGN:
        _signal.signal(number, lambda number, _: posix.kill(pid, number))
status = int.from_bytes(link.recv(4), "big", signed=True)
if status < 0:
    _signal.signal(-status, _signal.SIG_DFL) if -status != _signal.SIGKILL else None
    posix.kill(posix.getpid(), -status)
posix._exit(status)
"""


# In the processes of the tests.


@functools.cache
def warm_bin() -> Path:
    """Return the folder of the commands; all processes of a test run share one process that forks, which ends with the last."""
    if sys.platform != "linux":  # elsewhere libraries do not bear a fork
        return Path(sys.executable).parent
    run = os.environ.get("PYTEST_XDIST_TESTRUNUID", f"{os.getpid()}")
    folder = Path(tempfile.gettempdir()) / f"darkroom-{run[-12:]}"
    folder.mkdir(exist_ok=True)
    lease = socket.socket(socket.AF_UNIX)
    with (folder / "lock").open("w") as lock:
        fcntl.flock(lock, fcntl.LOCK_EX)
        try:
            lease.connect(str(folder / "socket"))
        except OSError:
            write_commands(folder)
            environment = os.environ | {"OPENBLAS_NUM_THREADS": "1"}  # or NumPy starts threads when it is imported
            # Signals to the tests are not for it.
            subprocess.run(
                [sys.executable, __file__, str(folder)],
                env=environment,
                stdin=subprocess.DEVNULL,
                check=True,
                start_new_session=True,
            )
            lease.connect(str(folder / "socket"))
    atexit.register(lease.close)
    return folder / "bin"


def write_commands(folder: Path) -> None:
    (folder / "bin").mkdir(exist_ok=True)
    dvc = str(Path(sys.executable).parent / "dvc")
    named = {"python": sys.executable, "dvc": dvc, "address": str(folder / "socket"), "size": SIZE, "streams": NUM_STREAMS}
    for name in ("python", "python3", "dvc"):
        (folder / "bin" / name).write_text(CLIENT.format(**named))
        (folder / "bin" / name).chmod(0o755)


# In the process that forks.


def serve(folder: Path) -> None:
    """Fork for every request, until nobody is connected any more."""
    address = folder / "socket"
    address.unlink(missing_ok=True)
    listener = socket.socket(socket.AF_UNIX)
    listener.bind(str(address))
    listener.listen(BACKLOG)
    if os.fork():
        os._exit(0)
    import_all()
    remember_yaml(folder / "yaml")
    ended, wake = os.pipe()
    os.set_blocking(wake, False)
    signal.set_wakeup_fd(wake)
    signal.signal(signal.SIGCHLD, lambda *_: None)
    selector = selectors.DefaultSelector()
    selector.register(listener, selectors.EVENT_READ)
    selector.register(ended, selectors.EVENT_READ)
    working: dict[socket.socket, int] = {}
    waiting = {selector.get_key(listener).fileobj, ended}
    has_served = False
    while not has_served or len(selector.get_map()) > len(waiting):
        for key, _ in selector.select():
            if key.fileobj is listener:
                link, _ = listener.accept()
                selector.register(link, selectors.EVENT_READ)
                has_served = True
            elif key.fileobj == ended:
                os.read(ended, 1 << 10)
                report_ended(working, selector)
            else:
                assert isinstance(key.fileobj, socket.socket)
                answer(key.fileobj, working, selector)
    shutil.rmtree(folder)
    os._exit(0)


def import_all() -> None:
    """Import what commands import, and forget what is this project's own."""
    path = sys.path.copy()
    sys.path[0] = str(SRC)
    importlib.import_module("darkroom.hardware.startup").prepare()
    for name in [*STAGES, *MODULES, *LIBRARIES, *DVC]:
        importlib.import_module(name)
    for name in [name for name in sys.modules if name.partition(".")[0] in OWN]:
        del sys.modules[name]
    sys.path[:] = path[1:]
    importlib.invalidate_caches()
    # Pydantic asks for modules of files, to find the docstrings of params.py; the answer looks once at the file of every module.
    inspect.getmodule(None, "a file of no module")
    others = [task for task in Path("/proc/self/task").iterdir() if task.name != str(os.getpid())]
    # Arrow's allocator has a thread, which forks do without.
    threads = {(task / "comm").read_text().strip() for task in others} - {"jemalloc_bg_thd"}
    assert not threads, f"something has started threads while it was imported: {threads}"
    gc.collect()
    gc.freeze()


def remember_yaml(folder: Path) -> None:
    """Let commands parse a text of YAML once in a test run.

    Half the processor time of a `dvc exp run` is ruamel.yaml's parser in Python, which reads the same dvc.lock ten times, and again in
    the next command; stages read dvc.yaml and dvc.lock as well. The first reader keeps the value, beside the commands, and every other
    has a copy of its own. A text with a mistake is parsed, and refused, by everybody. `cold()` clones parse all they read.
    """
    from ruamel.yaml import YAML

    folder.mkdir()
    parse = YAML.load

    def load(self: YAML, stream: Any) -> Any:
        is_read_often = self.typ == ["safe"] and isinstance(stream, str) and len(stream) >= WORTH_KEEPING
        if PARSES_ALL in os.environ or not is_read_often:
            return parse(self, stream)
        text = f"{self.pure} {self.Composer.__qualname__} {stream}"
        path = folder / hashlib.sha256(text.encode(errors="surrogatepass")).hexdigest()
        with contextlib.suppress(FileNotFoundError):
            return pickle.loads(path.read_bytes())
        value = parse(self, stream)
        with contextlib.suppress(OSError):  # of a process that outlives the test run
            part = folder / f"{os.getpid()}-{threading.get_ident()}"
            part.write_bytes(pickle.dumps(value))
            part.replace(path)
        return value

    YAML.load = load


def report_ended(working: dict[socket.socket, int], selector: selectors.BaseSelector) -> None:
    """Tell clients how their commands ended."""
    for link, pid in list(working.items()):
        found, status = os.waitpid(pid, os.WNOHANG)
        if found:
            del working[link]
            with contextlib.suppress(OSError):
                link.sendall(os.waitstatus_to_exitcode(status).to_bytes(4, "big", signed=True))
            selector.unregister(link)
            link.close()


def answer(link: socket.socket, working: dict[socket.socket, int], selector: selectors.BaseSelector) -> None:
    """Read a request and fork; kill the command of a client that was killed."""
    header, ancillary, _, _ = link.recvmsg(SIZE, socket.CMSG_SPACE(4 * NUM_STREAMS))
    if not header:
        if link in working:
            os.kill(working[link], signal.SIGKILL)
            os.waitpid(working.pop(link), 0)
        selector.unregister(link)
        link.close()
        return
    streams = array.array("i")
    for _, _, data in ancillary:
        streams.frombytes(data)
    request = b""
    while len(request) < int.from_bytes(header, "big"):
        request += link.recv(1 << 16)
    pid = os.fork()
    if pid == 0:
        status = 1
        try:
            for key in list(selector.get_map().values()):
                os.close(key.fd)
            status = run(request, streams)
        except BaseException:
            traceback.print_exc()
        finally:
            leave(status)
    working[link] = pid
    link.sendall(pid.to_bytes(4, "big"))
    for stream in streams:
        os.close(stream)


# In a command.


def run(request: bytes, streams: Sequence[int]) -> int:
    """Run a script as `python SCRIPT ARGUMENT ...` does, and return the exit status."""
    os.setsid()
    signal.set_wakeup_fd(-1)
    signal.signal(signal.SIGCHLD, signal.SIG_DFL)
    for place, stream in enumerate(streams):
        os.dup2(stream, place)
        os.close(stream)
    cwd, count, *rest = request.split(b"\0")
    words, variables = list(map(os.fsdecode, rest[: int(count)])), rest[int(count) :]
    os.chdir(cwd)
    os.environ.clear()
    os.environb.update(variable.split(b"=", 1) for variable in variables)  # type: ignore[arg-type]
    sys.executable, *sys.argv = words
    sys.path[:0] = filter(None, os.environ.get("PYTHONPATH", "").split(os.pathsep))
    sys.dont_write_bytecode = bool(os.environ.get("PYTHONDONTWRITEBYTECODE"))
    if os.environ.get("PYTHONUNBUFFERED"):
        for stream in (sys.stdout, sys.stderr):
            stream.reconfigure(write_through=True)  # type: ignore[union-attr]
    try:
        if sys.argv[0] == "-m":
            sys.path.insert(0, os.fsdecode(cwd))
            del sys.argv[0]
            runpy.run_module(sys.argv[0], run_name="__main__", alter_sys=True)
        else:
            sys.path.insert(0, str(Path(sys.argv[0]).resolve().parent))
            runpy.run_path(sys.argv[0], run_name="__main__")
    except SystemExit as error:
        if error.code is None or isinstance(error.code, int):
            return error.code or 0
        print(error.code, file=sys.stderr)
        return 1
    except BaseException:
        traceback.print_exc()
        return 1
    return 0


def leave(status: int) -> NoReturn:
    """End without the shutdown of torch and Arrow."""
    with contextlib.suppress(BaseException):
        threading._shutdown()  # type: ignore[attr-defined]
        atexit._run_exitfuncs()
    for stream in (sys.stdout, sys.stderr):
        with contextlib.suppress(OSError, ValueError):
            stream.flush()
    os._exit(status & 0xFF)


if __name__ == "__main__":
    serve(Path(sys.argv[1]))
