"""DVC's set-up: whether its files can be read, its settings are those that the project needs, and where its cache is."""

import configparser
import functools
import os
import subprocess
import sys
from collections.abc import Iterator
from contextlib import suppress
from pathlib import Path

from darkroom.base.errors import InputError, counted
from darkroom.health.findings import Finding, first_of, install_command, installed_version
from darkroom.health.machine import EDIT_PARAMS
from darkroom.repository.git import SECONDS, git, text_in

HYDRA = "hydra.enabled"
NEEDED = {
    "core.autostage": "false",
    "core.analytics": "false",
    "cache.type": "reflink,hardlink,copy",
    "plots.html_template": "plots_page.html",
}
# How files are linked depends on the disk, so each machine may choose.
FREE_LOCALLY = {"cache.type"}
LOCAL = ".dvc/config.local"

Settings = dict[str, tuple[str, str]]
"""DVC's effective settings: key, such as `core.autostage`, to value and the file that sets it."""


def check_pipeline(root: Path) -> Iterator[Finding]:
    """Check that dvc.yaml can be read, has stages, and gets dependencies from params.yaml that DVC accepts."""
    found = _stages_file(root, "dvc.yaml", "git checkout HEAD -- dvc.yaml")
    yield found
    if found.mark == "ok":
        yield _graph(root)


def _graph(root: Path) -> Finding:
    from darkroom.base.nested import read_stages
    from darkroom.base.yaml_file import read_yaml
    from darkroom.precheck.dependencies import check_dependencies

    try:
        check_dependencies(read_stages(root / "dvc.yaml"), read_yaml(root / "params.yaml"), root)
    except InputError as error:
        return Finding("fail", "dvc graph", str(error), EDIT_PARAMS)
    return Finding("ok", "dvc graph", "what params.yaml names as a dependency exists")


def check_results(root: Path) -> Iterator[Finding]:
    """Check that dvc.lock, which records the results, can be read and is in Git."""
    if not (root / "dvc.lock").exists():
        yield Finding("ok", "dvc.lock", "no results yet; 'dvc repro' creates them")
        return
    committed = text_in(root, "HEAD", "dvc.lock")
    is_whole_in_git = committed is not None and committed.encode(errors="surrogateescape") != (root / "dvc.lock").read_bytes()
    # After 'rm dvc.lock', results in the cache are reused.
    found = _stages_file(root, "dvc.lock", "git checkout HEAD -- dvc.lock" if is_whole_in_git else "rm dvc.lock && dvc repro")
    if found.mark == "ok" and git(root, "ls-files", "--error-unmatch", "dvc.lock").returncode == 1:
        yield Finding("warn", "dvc.lock", f"{found.text}, but not in Git", "git add -f dvc.lock")
    else:
        yield found


def _stages_file(root: Path, name: str, way_out: str) -> Finding:
    from darkroom.base.nested import read_stages
    from darkroom.base.yaml_file import read_yaml

    try:
        content = read_yaml(root / name)
    except InputError as error:
        return Finding("fail", name, str(error).split("; ")[0], way_out)
    stages = content.get("stages") if isinstance(content, dict) else None
    if not isinstance(stages, dict) or not stages:
        return Finding("fail", name, "has no stages", way_out)
    if any(isinstance(stage, dict) and "foreach" in stage for stage in stages.values()):
        with suppress(InputError):  # of params.yaml, which has findings of its own
            stages = read_stages(root / name)
    return Finding("ok", name, f"{counted(len(stages), 'stage')}: {', '.join(map(str, stages))}")


def check_dvc(root: Path) -> Iterator[Finding]:
    """Check DVC's version, its settings with those of this machine, and whether a remote is set."""
    found = installed_version("dvc")
    if not found:
        yield Finding("fail", "dvc", "is not installed", install_command(root))
    if not (root / ".dvc" / "config").exists():
        yield Finding("fail", "dvc", ".dvc/config does not exist", "git checkout HEAD -- .dvc")
        return
    if found:
        yield Finding("ok", "dvc", found)
        yield from _path(root)
        try:
            settings = read_settings(root)
        except ValueError as error:
            yield Finding("fail", "dvc settings", str(error), _repair_command(root))
            return
        yield _needed_settings(root, settings)
        yield _remote(settings)


def _path(root: Path) -> Iterator[Finding]:
    """Find characters in the path with which DVC 3.67 makes no clone: it writes the path as ASCII, and as an address."""
    wrong = [character for character in str(root) if character in "#?" or not character.isascii()]
    if wrong:
        fails = f"{root} has '{wrong[0]}', with which 'dvc exp run --temp' and the queue fail"
        yield Finding("warn", "dvc path", f"{fails}; 'dvc exp run', './darkroom tune' and 'repeat' work")


def _repair_command(root: Path) -> str:
    """Return the command that restores readable settings; DVC's error does not name the file."""
    try:
        configparser.RawConfigParser(strict=False).read(root / LOCAL, encoding="utf-8")
    except (configparser.Error, UnicodeDecodeError):
        return f"mv {LOCAL} {LOCAL}.damaged"
    return "git checkout HEAD -- .dvc/config"


@functools.cache
def read_settings(root: Path) -> Settings:
    """Read DVC's settings of all levels.

    Raises
    ------
    ValueError
        With DVC's message.
    """
    run = subprocess.run(
        [sys.executable, "-m", "dvc", "config", "--list", "--show-origin"],
        cwd=root,
        env=os.environ | {"DVC_NO_ANALYTICS": "1"},
        capture_output=True,
        text=True,
        timeout=SECONDS,
    )
    if run.returncode:
        errors = [line for line in run.stderr.splitlines() if line.startswith("ERROR")]
        # DVC repeats its message on the same line.
        raise ValueError(errors[0].removeprefix("ERROR: ").split(".: ")[0] if errors else run.stderr.strip()[-200:])
    settings = {}
    for line in run.stdout.splitlines():  # in order of precedence: later lines win
        origin, _, setting = line.partition("\t")
        key, _, value = setting.partition("=")
        settings[key] = (value, origin)
    return settings


def _needed_settings(root: Path, settings: Settings) -> Finding:
    problems, commands = [], []
    for key, needed in NEEDED.items():
        value, origin = settings.get(key, ("not set", ""))
        if value.replace(" ", "").lower() != needed and not (origin == LOCAL and key in FREE_LOCALLY):
            problems.append(f"{key} is {value}, not {needed}" + (f" ({origin})" if origin == LOCAL else ""))
            commands.append(f"dvc config --local --unset {key}" if origin == LOCAL else f"dvc config {key} {needed}")
    value, origin = settings.get(HYDRA, ("false", ""))
    if value.lower() == "true":
        problems.insert(0, f"{HYDRA} is true ({origin}): 'dvc exp run' would overwrite edits of params.yaml")
        commands.insert(0, f"dvc config --local --unset {HYDRA}" if origin == LOCAL else f"dvc config --project {HYDRA} false")
    page = root / ".dvc" / NEEDED["plots.html_template"]
    if not page.exists():
        problems.append(f".dvc/{page.name} does not exist")
        commands.append(f"git checkout HEAD -- .dvc/{page.name}")
    if problems:
        return Finding("fail" if HYDRA in problems[0] else "warn", "dvc settings", first_of(problems), " && ".join(commands))
    local = sorted(key for key, (_, origin) in settings.items() if origin == LOCAL)
    return Finding("ok", "dvc settings", "as the project needs" + (f"; {LOCAL} sets {', '.join(local)}" if local else ""))


def _remote(settings: Settings) -> Finding:
    names = sorted(key.split(".")[1] for key in settings if key.startswith("remote.") and key.endswith(".url"))
    default, _ = settings.get("core.remote", ("", ""))
    if not names:
        return Finding("ok", "dvc remote", "none: models and data stay on this machine until 'dvc remote add -d NAME PATH'")
    if not default:
        level = " --local" if settings[f"remote.{names[0]}.url"][1] == LOCAL else ""
        return Finding(
            "warn", "dvc remote", f"{', '.join(names)}, but none is the default", f"dvc remote default{level} {names[0]}"
        )
    return Finding("ok", "dvc remote", f"{default}: {settings.get(f'remote.{default}.url', ('', ''))[0]}")


def setting(root: Path, key: str, default: str) -> str:
    """Return a setting, or the default if it is not set or DVC fails, which another check reports."""
    try:
        return read_settings(root).get(key, (default, ""))[0]
    except (ValueError, OSError, subprocess.SubprocessError):
        return default
