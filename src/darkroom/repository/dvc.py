"""DVC, asked for a project: where its cache is, what its settings are, what it recorded in a commit.

A setting may stand in the system's, the user's, the project's or the clone's own configuration, and paths are relative to theirs.
DVC is imported when it is asked: that takes half a second.
"""

from pathlib import Path
from typing import TYPE_CHECKING, Any

from darkroom.base import files
from darkroom.repository.git import prefix_of

if TYPE_CHECKING:
    from dvc.api import DVCFileSystem

# The MD5 in dvc.lock of an empty folder and of an empty file: there they stand for outputs of stages that a trial does not run.
EMPTY_FOLDER, EMPTY_FILE = "d751713988987e9331980363e24189ce.dir", "d41d8cd98f00b204e9800998ecf8427e"
# Of a table of metrics there, which Git has: `dvc exp show` leaves its cells blank, and shows an error where there is no file.
NO_METRICS, EMPTY_TABLE = "{}\n", "8a80554c91d9fca8acb82f023de02f11"
EMPTY = (EMPTY_FOLDER, EMPTY_FILE, EMPTY_TABLE)


def cache_dir(root: Path) -> Path:
    """Return the folder of DVC's cache in a project.

    Raises
    ------
    ImportError, dvc.exceptions.DvcException
        If DVC is not installed, or cannot read its settings.
    """
    from dvc.config import Config

    config = Config(str(root / ".dvc"))
    cache = config["cache"]
    # As in `dvc.cachemgr`: `cache.local` names a remote.
    chosen = config["remote"][cache["local"]]["url"] if cache.get("local") else cache.get("dir")
    return Path(chosen or root / ".dvc" / "cache").resolve()


def site_cache_dir(root: Path) -> str:
    """Return the folder in which DVC keeps hashes and locks of all projects of a machine."""
    from dvc import dirs
    from dvc.config import Config

    found: str = dirs.site_cache_dir(Config(str(root / ".dvc"), validate=False).get("core", {}).get("site_cache_dir"))
    return found


def share_settings(root: Path, clone: Path) -> None:
    """Let a clone of a project use its cache and its local settings, whatever characters their paths have."""
    from configobj import ConfigObj  # type: ignore[import-untyped]
    from dvc.config import Config

    own = Config(str(root / ".dvc")).load_one("local")  # paths in it are absolute now
    own["cache"].pop("local", None)
    own["cache"]["dir"] = str(cache_dir(root))
    named = {f'{kind} "{name}"': values for kind in ("remote", "machine", "db") for name, values in own.pop(kind, {}).items()}
    sections = {name: values for name, values in own.items() if values} | named
    # As DVC writes them, which fails for other letters than those of ASCII.
    with files.replaced_file(clone / ".dvc" / Config.CONFIG_LOCAL) as temporary, temporary.open("wb") as file:
        ConfigObj(sections, encoding="utf-8").write(file)


def open_commit(root: Path, commit: str) -> "DVCFileSystem":
    """Return what Git and DVC have of a project in a commit, with the cache and the remotes of now.

    `DVCFileSystem(root, rev=commit)` would look for the project at the top of the Git repository, and for relative paths of
    remotes and caches below it.

    Raises
    ------
    Exception
        Of any kind, depending on what is committed.
    """
    from dvc.api import DVCFileSystem
    from dvc.config import Config
    from dvc.fs import GitFileSystem
    from dvc.repo import Repo
    from dvc.scm import SCM

    scm = SCM(str(root))
    settings: dict[str, Any] = Config(str(root / ".dvc"), validate=False).read()
    settings["cache"] = {**settings.get("cache", {}), "dir": str(cache_dir(root))}
    place = "/" + prefix_of(root).rstrip("/")
    return DVCFileSystem(Repo(place, fs=GitFileSystem(scm=scm, rev=commit), scm=scm, config=settings))
