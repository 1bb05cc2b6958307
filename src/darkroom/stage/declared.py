"""Whether what a stage read is declared: a dependency in dvc.yaml, an output, pinned by a hash, or one of a short list."""

import importlib.util
import os
from collections.abc import Iterable
from pathlib import Path

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.stage.inputs import dependencies, stage_outputs, stage_params
from darkroom.stage.observed import Observation

# What belongs to Git, DVC and this project's own records, what loggers keep, and the environment.
UNRECORDED = (
    *(".git", ".dvc", "dvc.lock", "dvc.yaml", "params.yaml"),
    *(".resume", "logs", "search", "runs", "mlruns", "wandb", ".venv", "venv"),
    # Docstrings, and what `from darkroom import Model` runs and no stage does: a test holds both.
    *("src/darkroom/__init__.py", "src/plugins/__init__.py"),
    # What a training says about itself: evaluate sees in it that its saved states are finished.
    "models/run.json",
)
# Read by Git and DVC in any folder.
LISTS_OF_GIT = (".gitignore", ".gitattributes", ".gitmodules", ".dvcignore")
# Loggers read back what they wrote, wherever a parameter lets them write.
WRITTEN_BY_LOGGERS = "train.loggers"


class Declared:
    """What a stage may read.

    Parameters
    ----------
    name
        Of the stage.
    """

    def __init__(self, name: str):
        self.name = name
        self.root = os.path.realpath(paths.ROOT)
        named = [*(place for _, place in dependencies(name)), *stage_outputs(name)]
        # DVC follows a link that it is given, and links to files, but no link to a folder inside of a folder.
        self._places = list(dict.fromkeys(map(os.path.realpath, named)))
        self._params = [(key, value) for key, value in stage_params(name) if isinstance(value, str)]
        self._folders: dict[str, tuple[str, bool]] = {}
        """Of each folder its real path, and whether its files are declared."""

    def check(self, opened: Iterable[str]) -> None:
        """Refuse to record a result for which something was read that neither dvc.yaml nor params.yaml pins.

        Raises
        ------
        InputError
            Naming the file, and where to add it.
        """
        for path in sorted(opened):
            if (found := self.undeclared(path)) is not None:
                raise InputError(self._explained(path, found))

    def undeclared(self, path: str) -> str | None:
        """Return the real path of a file if it had to be declared and is not, None otherwise."""
        path = _source(path)
        folder, name = os.path.split(path)
        if folder not in self._folders:
            real = os.path.realpath(folder)
            self._folders[folder] = real, self._is_covered(real)
        real_folder, is_covered = self._folders[folder]
        place = os.path.join(real_folder, name)  # noqa: PTH118
        if (is_covered and not paths.is_left_behind(Path(name))) or self._is_covered(place):
            return None
        real = os.path.realpath(place)
        # What it is writing itself has a name of its own until it is put in place.
        if self._is_covered(real) or not os.path.isfile(real) or files.WRITING in path:  # noqa: PTH113
            return None
        lexical = os.path.normpath(path)
        inside = [each for each in (place, real) if _within(each, self.root)]
        if not inside and _within(lexical, self.root):
            inside = [lexical]
        if inside and all(self._is_unrecorded(each) for each in inside):
            return None
        if not inside and not self._is_named(lexical, real):
            return None
        return None if self._is_pinned(real) else real

    def _is_covered(self, path: str) -> bool:
        """Return whether DVC hashes a file or folder, by its real path, or it is an output."""
        return any(_within(path, place) and not paths.is_left_behind(Path(path).relative_to(place)) for place in self._places)

    def _is_unrecorded(self, path: str) -> bool:
        kept = [os.path.join(self.root, each) for each in UNRECORDED]  # noqa: PTH118
        temporary = os.path.realpath(os.environ.get("TMPDIR", "/tmp"))
        if _within(temporary, self.root) and temporary != self.root:
            kept.append(temporary)
        return os.path.basename(path) in LISTS_OF_GIT or any(_within(path, each) for each in kept)  # noqa: PTH119

    def _is_named(self, *found: str) -> bool:
        """Return whether a file outside of the repository is reached by a parameter; others belong to the environment."""
        named = []
        for key, value in self._params:
            if "/" in value and not key.startswith(WRITTEN_BY_LOGGERS):
                place = _joined(self.root, value)
                named += [] if _within(self.root, place) else [place]
        return any(_within(each, place) or _within(each, os.path.realpath(place)) for each in found for place in named)

    def _is_pinned(self, path: str) -> bool:
        """Return whether a parameter is the SHA-256 of the file."""
        hashes = {value for _, value in self._params if len(value) == 64}
        return bool(hashes) and files.sha256(Path(path)) in hashes

    def _explained(self, path: str, real: str) -> str:
        shown = paths.shown(Path(os.path.normpath(_source(path))))
        target = paths.shown(Path(real))
        link = f" (through a link, {target})" if target != shown else ""
        if paths.is_left_behind(Path(target)):
            return f"{shown}: {self.name} reads it{link}, but DVC ignores files of this name; rename it"
        # A folder that a parameter names, such as a model's, is added as a whole.
        named = [place for _, value in self._params if "\0" not in value and _within(real, place := _joined(self.root, value))]
        folders = [place for place in named if os.path.isdir(place) and not _within(self.root, place)]  # noqa: PTH112
        suggested = paths.shown(Path(folders[0])) if folders else _suggested(target)
        add = f"add '- {suggested}' to stages.{self.name}.deps in dvc.yaml"
        return f"{shown}: {self.name} reads it{link}, but does not depend on it, so a change would go unnoticed; {add}"


def _source(path: str) -> str:
    """Return the source of bytecode; another path is returned as it is."""
    if "__pycache__" in path and path.endswith(".pyc"):
        try:
            return importlib.util.source_from_cache(path)
        except ValueError:
            return path
    return path


def _suggested(target: str) -> str:
    """Return what to add: the package of a module of one's own, or the file."""
    place = Path(target)
    package = place.parent
    if place.suffix != ".py" or not (paths.ROOT / package / "__init__.py").is_file():
        return target
    while (paths.ROOT / package.parent / "__init__.py").is_file() and package.parent != Path("src/darkroom"):
        package = package.parent
    return package.as_posix()


def _joined(root: str, value: str) -> str:
    return os.path.normpath(os.path.join(root, os.path.expanduser(value.removeprefix("file://"))))  # noqa: PTH111, PTH118


def _within(path: str, place: str) -> bool:
    return path == place or path.startswith(place.rstrip("/") + "/")


def counts(name: str, seen: Observation) -> bool:
    """Return whether a change of an input of a stage counts, by its name in `read_inputs`: code does if it was read.

    So does a file that appears in a folder of code, or goes, where the stage listed the folder, and one that would be imported in
    place of a module that was.
    """
    path = paths.ROOT / name
    if not name.startswith("src/"):  # parameters, data
        return True
    opened = {os.path.realpath(_source(each)) for each in seen.of_all_processes()}
    if os.path.realpath(path) in opened | set(seen.code) or str(path.parent) in map(os.path.normpath, seen.listed):
        return True
    module = path.parent if path.stem == "__init__" else path.with_suffix("")
    rivals = (module.with_suffix(".py"), module / "__init__.py")
    return path.suffix == ".py" and any(str(rival) in opened for rival in rivals)
