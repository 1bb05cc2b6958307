"""Which processes run here, and which locks were left behind by killed ones."""

import json
import socket
import time
from collections.abc import Iterator
from pathlib import Path, PurePath

from darkroom.health.findings import Finding, remove_command, within
from darkroom.health.processes import is_alive, is_locked, parent
from darkroom.repository.git import prefix_of

WRITING_SECONDS = 0.3


def check_dvc_locks(root: Path, *, hardlink: bool) -> Iterator[Finding]:
    """Find DVC's locks of processes that have ended; with `core.hardlink_lock`, an existing file is a held lock."""
    path = root / ".dvc" / "tmp" / "lock"
    if not path.exists():
        yield Finding("ok", "dvc lock", "free")
    elif hardlink and not owner_lives(path):
        text = "is left over, or held by an unknown process; if no dvc is running"
        yield Finding("warn", "dvc lock", text, "rm -f .dvc/tmp/lock .dvc/tmp/rwlock.lock")
    elif hardlink or is_locked(path, "flock"):
        yield Finding("ok", "dvc lock", f"in use by {f'process {owner(path)}' if owner(path) else 'a process that is starting'}")
    else:
        yield Finding("ok", "dvc lock", "free")
    for path in (root / ".dvc" / "tmp" / "rwlock", root / ".dvc" / "tmp" / "exps" / "rwlock"):
        if path.exists():
            yield _rwlock(root, path)


def owner(path: Path) -> int:
    """Return the process number in a lock file; 0 for none."""
    text = path.read_text(encoding="utf-8", errors="replace").strip()
    return int(text) if text.isdecimal() else 0


def owner_lives(path: Path) -> bool:
    """Return whether the process in a lock file is alive."""
    return is_alive(owner(path), path.stat().st_mtime)


def _rwlock(root: Path, path: Path) -> Finding:
    subject = "dvc rwlock" if path.parent.name == "tmp" else "exp rwlock"
    holders = _holders(path)
    if holders is None:  # damaged, or being written by DVC
        time.sleep(WRITING_SECONDS)
        holders = _holders(path)
    if holders is None:
        text = f"{within(root, path)} is damaged: DVC will not run"
        return Finding("fail", subject, text, remove_command(root, [path]))
    alive = [pid for pid in holders if is_alive(pid, path.stat().st_mtime)]
    if alive:
        return Finding("ok", subject, f"in use by process {alive[0]} ({holders[alive[0]][:60]})")
    if holders:
        pid, command = next(iter(holders.items()))
        text = f"left over by process {pid}, which has ended ({command[:60]})"
        return Finding("warn", subject, text, remove_command(root, [path]))
    return Finding("ok", subject, "free")


def _holders(path: Path) -> dict[int, str] | None:
    """Return the processes that hold a lock, with their commands; None if the file cannot be parsed."""
    try:
        content = json.loads(path.read_text(encoding="utf-8"))
        readers = [info for infos in content.get("read", {}).values() for info in infos]
        return {int(info["pid"]): str(info["cmd"]) for info in [*content.get("write", {}).values(), *readers]}
    except (ValueError, TypeError, KeyError, AttributeError):
        return None


def check_stages(root: Path) -> Iterator[Finding]:
    """Find the stages that run, here and in folders of experiments and searches, and those whose DVC has ended."""
    tmp = root / ".dvc" / "tmp"
    # The clones are of the whole Git repository, which the project may be a folder of.
    clones = [*(tmp / "exps").glob("tmp*"), *(tmp / "exps").glob("*/tmp*"), *(tmp / "search").glob("*")]
    lock = PurePath(prefix_of(root), ".dvc", "tmp", "darkroom.lock")
    locks = [tmp / "darkroom.lock", *(clone / lock for clone in sorted(clones))]
    held = [path for path in locks if path.exists() and is_locked(path, "fcntl")]
    for path in held:
        yield _stage(root, path)
    if not held:
        yield Finding("ok", "stages", "none running")


def _stage(root: Path, path: Path) -> Finding:
    place = within(root, path.parents[2])
    where = "" if place == "." else f" in {place}"
    try:
        holder = json.loads(path.read_text(encoding="utf-8"))
        pid, host, dvc = int(holder["pid"]), str(holder["host"]), int(holder["parent"])
        since = time.strftime("%Y-%m-%d %H:%M", time.localtime(holder["since"]))
        who = f"{holder['stage']} has been running{where} since {since} (process {pid} on {host})"
    except (ValueError, TypeError, KeyError):
        return Finding("ok", "stages", f"one is starting{where}")
    if host == socket.gethostname() and parent(pid) not in (dvc, None):
        return Finding("warn", "stages", f"{who}, but the DVC that started it has ended", f"kill {pid}")
    return Finding("ok", "stages", who)
