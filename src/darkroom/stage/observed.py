"""What a stage opens, lists and imports, seen by an audit hook, and the hash of all code that it runs (docs/decisions/0025).

A stage calls `observe` before it imports anything else. So this module uses Python's library alone, and what it needs from the
rest of `darkroom` is said again: the code of other modules is hashed as it is imported.
"""

import hashlib
import importlib.machinery
import importlib.util
import marshal
import os
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, nullcontext, suppress
from functools import partial
from importlib.machinery import ModuleSpec
from pathlib import Path
from types import CodeType
from typing import Any, cast

ROOT = str(Path(__file__).resolve().parents[3])
REPORT = os.path.join(ROOT, ".dvc", "tmp", "darkroom.opened")  # noqa: PTH118
"""What further processes of a stage opened: readers, ranks."""
ACCESS = os.O_RDONLY | os.O_WRONLY | os.O_RDWR
CHECKED_HASH = (0b11).to_bytes(4, "little")
"""Flags of bytecode that is valid for one source, whatever its time: https://peps.python.org/pep-0552/."""
RUNNING = sys._getframe().f_code
# Of everything that Python opens nothing else may be left out here: this is the part that costs time.
SYSTEM = ("/proc/", "/sys/", "/dev/")
# DVCLive asks them for the state of the repository: they compare every file that Git has with the last commit.
GIT_LIBRARIES = tuple(os.path.join("site-packages", name, "") for name in ("dulwich", "scmrepo"))  # noqa: PTH118
HEARD = frozenset(("open", "import", "ctypes.dlopen", "os.listdir", "os.scandir"))


def asked_by_git() -> bool:
    """Return whether a library that implements Git is at work in this thread."""
    frame = sys._getframe(1)
    while frame is not None:
        if any(library in frame.f_code.co_filename for library in GIT_LIBRARIES):
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False


class Observation:
    """What one process opened, listed and imported.

    Parameters
    ----------
    root
        The repository. Modules below it are imported by this class, so that the hash of what runs is known.
    report
        File to which processes other than the one that made this object add what they open.

    Attributes
    ----------
    opened, listed : set of str
        Absolute paths of files and folders, as they were named.
    code : dict of str
        SHA-256 of the source of every module below `root` that was imported, by its path.
    """

    def __init__(self, root: str, report: str):
        self.root, self.report = root, report
        self.opened: set[str] = set()
        self.listed: set[str] = set()
        self.code: dict[str, str] = {}
        self.process = os.getpid()
        self._made: set[str] = set()
        self._pausing: set[int] = set()
        prefixes = {os.path.join(prefix, "") for prefix in (sys.prefix, sys.base_prefix)}  # noqa: PTH118
        self._environment = (*SYSTEM, *(prefix for prefix in prefixes if not root.startswith(prefix)))

    def start(self) -> None:
        """Watch this process, and all that it forks, until it ends."""
        for module in list(sys.modules.values()):
            if isinstance(file := getattr(module, "__file__", None), str):
                self._note(file)
        for folder in [folder for folder in sys.path_importer_cache if self._is_own(folder)]:
            del sys.path_importer_cache[folder]
        sys.path_hooks.insert(0, self._finder)
        for name in [name for name in sys.modules if name.partition(".")[0] == "plugins"]:
            del sys.modules[name]  # another package, which the start of Python has imported
        sys.meta_path.insert(0, self)
        sys.addaudithook(self.hear)

    def hear(self, event: str, arguments: tuple[Any, ...]) -> None:  # pragma: no cover - Python traces no such hook
        """Note an event of Python's; the hook itself (https://docs.python.org/3/library/audit_events.html)."""
        if event not in HEARD:  # all but one in ten
            return
        if event == "open":
            name = arguments[0]
            # Nearly all, mostly of the environment's modules, end here.
            if not (type(name) is str and (name.startswith(self._environment) or name in self.opened)):
                self._note(name, arguments[2])
        elif event == "import":
            if arguments[1]:  # a module that is not Python
                self._note(arguments[1])
        elif event == "ctypes.dlopen":
            if arguments[0] and "/" in str(arguments[0]):
                self._note(arguments[0])
        # Imports list folders, too; what they find they open.
        elif "importlib" not in sys._getframe(1).f_code.co_filename:
            path = self._absolute(arguments[0] or ".")
            if path and self._counts(path):
                self.listed.add(path)

    def find_spec(self, name: str, path: Any = None, target: Any = None) -> ModuleSpec | None:  # noqa: ARG002
        """Find src/plugins and src/darkroom there and nowhere else, whatever stands before them on the path."""
        source = os.path.join(self.root, "src")  # noqa: PTH118
        return importlib.machinery.PathFinder.find_spec(name, [source]) if name in ("darkroom", "plugins") else None

    @contextmanager
    def paused(self) -> Iterator[None]:
        """Note nothing that this thread does: it hashes the files of a stage, which is no use of them."""
        thread = threading.get_ident()
        self._pausing.add(thread)
        try:
            yield
        finally:
            self._pausing.discard(thread)

    def of_all_processes(self) -> set[str]:
        """Return what this process and others of the stage opened."""
        try:
            reported = Path(self.report).read_bytes()
        except FileNotFoundError:
            return self.opened
        return self.opened | {os.fsdecode(path) for path in reported.split(b"\0") if path}

    def forget_reports(self) -> None:
        """Remove what the processes of an earlier stage reported."""
        Path(self.report).unlink(missing_ok=True)

    def report_all(self) -> None:
        """Report what was opened until now and from now on: this process is not the stage's first."""
        self.process = 0
        for path in sorted(self.opened):
            self._send(path)

    def check_running(self, path: str, running: CodeType) -> None:
        """Note the hash of a file that Python has read by itself; end if it is not what runs."""
        source = Path(path).read_bytes()
        if compile(source, path, "exec", dont_inherit=True) != running:
            with suppress(OSError, NotImplementedError):
                Path(importlib.util.cache_from_source(path)).unlink(missing_ok=True)
            raise SystemExit(f"error: {os.path.relpath(path)}: changed while it started; run the same command again")
        self.code[path] = hashlib.sha256(source).hexdigest()

    def _note(self, name: Any, flags: int = os.O_RDONLY) -> None:
        path = self._absolute(name)
        if path is None or path in self.opened or path in self._made or not self._counts(path):
            return
        if flags & (os.O_TRUNC | os.O_EXCL):
            self._made.add(path)
        elif flags & ACCESS != os.O_WRONLY and not asked_by_git():
            self.opened.add(path)
            if os.getpid() != self.process:
                self._send(path)

    def _counts(self, path: str) -> bool:
        return not path.startswith(self._environment) and threading.get_ident() not in self._pausing

    def _absolute(self, name: Any) -> str | None:
        if isinstance(name, int):  # an open file
            return None
        with suppress(OSError, TypeError):  # no current folder, not a path
            path = os.fsdecode(name)
            return path if path.startswith("/") else f"{os.getcwd()}/{path}"  # noqa: PTH109
        return None

    def _send(self, path: str) -> None:
        with suppress(OSError):
            descriptor = os.open(self.report, os.O_WRONLY | os.O_APPEND | os.O_CREAT, 0o666)
            os.write(descriptor, os.fsencode(path) + b"\0")
            os.close(descriptor)

    def _is_own(self, folder: str) -> bool:
        inside = any(f"{path}/".startswith(f"{self.root}/") for path in (folder, os.path.realpath(folder)))
        return inside and not folder.startswith(self._environment)

    def _finder(self, folder: str) -> importlib.machinery.FileFinder:
        """Return what imports from a folder of the repository: the hook in `sys.path_hooks`."""
        if not self._is_own(folder or os.getcwd()) or not Path(folder).is_dir():  # noqa: PTH109
            raise ImportError("not a folder of the repository")
        return importlib.machinery.FileFinder(
            folder,
            (importlib.machinery.ExtensionFileLoader, importlib.machinery.EXTENSION_SUFFIXES),
            (cast("type[HashingLoader]", partial(HashingLoader, code=self.code)), importlib.machinery.SOURCE_SUFFIXES),
        )


class HashingLoader(importlib.machinery.SourceFileLoader):
    """Reads the source of a module, keeps its SHA-256 in `code`, and runs bytecode only if it was made of this source."""

    def __init__(self, fullname: str, path: str, *, code: dict[str, str]):
        super().__init__(fullname, path)
        self.code = code

    def get_code(self, fullname: str) -> CodeType | None:
        """Return the module's code."""
        path = self.get_filename(fullname)
        source = self.get_data(path)
        self.code[path] = hashlib.sha256(source).hexdigest()
        cached = importlib.util.cache_from_source(path)
        mark = importlib.util.MAGIC_NUMBER + CHECKED_HASH + importlib.util.source_hash(source)
        with suppress(OSError, ValueError, TypeError, EOFError):  # none, or damaged
            data = self.get_data(cached)
            if data.startswith(mark):
                known: CodeType = marshal.loads(memoryview(data)[len(mark) :])
                if known.co_filename == path:  # not of a checkout that was copied
                    return known
        made: CodeType = self.source_to_code(source, path)
        if not sys.dont_write_bytecode:
            self.set_data(cached, mark + marshal.dumps(made))
        return made


observation: Observation | None = None
"""Of this process, once it was started as a stage."""


def observe(name: str) -> None:
    """Begin to observe a stage, by the `__name__` of its script: nothing is done where another module imports it."""
    global observation
    if name not in ("__main__", "__mp_main__") or observation is not None:
        return
    observation = Observation(ROOT, REPORT)
    observation.start()
    observation.check_running(__file__, RUNNING)
    script = sys._getframe(1)
    observation.check_running(os.path.abspath(script.f_code.co_filename), script.f_code)  # noqa: PTH100
    if name == "__mp_main__":  # multiprocessing has started it, not forked it
        observation.report_all()


@contextmanager
def paused() -> Iterator[None]:
    """Note nothing that this thread does, see `Observation.paused`."""
    with observation.paused() if observation else nullcontext():
        yield
