"""Lists the trainings that can be resumed: what they are, how far, how to go on with them and how to remove them."""

import json
import shlex
import time
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from darkroom.base import files
from darkroom.base.errors import counted
from darkroom.base.nested import flatten
from darkroom.health.findings import Finding, remove_command, shown_size, within
from darkroom.repository.git import git
from darkroom.training.checkpoints.saved_trainings import SavedTraining, install_line, is_in_use, other_versions, saved_trainings

DAY = 86400.0
# A state that will be removed so soon is worth a warning.
SOON_DAYS = 3.0
# Of more differences only the first ones are shown.
SHOWN = 6
REPEATED = ("./darkroom tune", "./darkroom repeat")
Values = dict[str, Any]


def check_unfinished(root: Path, states_dir: Path) -> Iterator[Finding]:
    """List every training that has a state, those that were used last first."""
    trainings = saved_trainings(states_dir)
    if not trainings:
        yield Finding("ok", "unfinished", "no training to resume")
        return
    now, committed = _current(root), _committed(root)
    max_days = now.get("hardware.states_max_days")
    for training in reversed(trainings):
        yield _finding(root, training, now, committed, max_days)


def _finding(root: Path, training: SavedTraining, now: Values, committed: Values, max_days: float | None) -> Finding:
    about, started, name = training.about(), training.started(), within(root, training.folder)
    params = about.get("params")
    then = dict(flatten(params)) if params else {}
    days = (time.time() - training.used) / DAY
    age = f"{days:.0f} days old" if days >= 2 else f"{days * 24:.0f} hours old" if days >= 0.1 else "just used"
    command = started.get("command")
    parts = [training.progress(), age, shown_size(training.num_bytes)]
    parts += [f"started by '{command}'"] if command else []
    parts += [f"with {_settings(then, committed)}"] if then and committed else []
    text = f"{name}: {', '.join(parts)}"
    if is_in_use(training.folder):
        return Finding("ok", "unfinished", f"{text}; it is running")
    is_old = isinstance(max_days, int | float) and days > max_days - SOON_DAYS
    if is_old:
        text += f"; a training removes it after {max_days:g} days (hardware.states_max_days, null keeps it)"
    text += f"; to go on: {_way_on(root, about, started, then, now)}"
    return Finding("warn" if is_old else "ok", "unfinished", f"{text}; to remove it: {remove_command(root, [training.folder])}")


def _settings(then: Values, committed: Values) -> str:
    """Return the parameters that differ from the committed ones, as they are set."""
    changed = _changed(then, committed)
    shown = [f"{key}={json.dumps(then[key], ensure_ascii=False)}" for key in changed[:SHOWN] if key in then]
    more = f" and {len(changed) - len(shown)} more" if len(changed) > len(shown) else ""
    return (" ".join(shown) + more).strip() or "the committed parameters"


def _changed(then: Values, now: Values) -> list[str]:
    """Return the keys of `base` and `train` whose values differ; null is as good as a key that is not there."""
    sections = {key.partition(".")[0] for key in then}
    of_now = {key for key in now if key.partition(".")[0] in sections and not _is_left_out(key)}
    return sorted(key for key in then.keys() | of_now if then.get(key) != now.get(key))


def _is_left_out(key: str) -> bool:
    """Return whether results do not depend on a key of `train`, which no state notes."""
    return key.startswith(("train.checkpoint.", "train.loggers", "train.inspect"))


def _way_on(root: Path, about: Values, started: Values, then: Values, now: Values) -> str:
    """Return the command that resumes a training, behind what has to be put back before."""
    before = [*_changed_files(root, about, started), *_changed_packages(about)]
    command = str(started.get("command") or "")
    if not command.startswith(REPEATED):
        command = _with_settings(then, now, temp=" --temp" if "--temp" in command.split() else "")
    return " and ".join([*before, f"run '{command}'"]) if before else command


def _with_settings(then: Values, now: Values, temp: str) -> str:
    changed = _changed(then, now)
    if not (then and now):  # one of them cannot be read
        return "the command that it was started with"
    if not changed:
        return f"dvc exp run{temp}" if temp else "dvc repro"
    words = []
    for key in changed:
        value = then.get(key)
        # Other values need Hydra's grammar, and keys to be removed.
        if key not in now or key not in then or not isinstance(value, str | int | float | bool | None):
            return f"dvc repro, with params.yaml as it was ({', '.join(changed[:SHOWN])})"
        words.append(f"-S {shlex.quote(f'{key}={value if isinstance(value, str) else json.dumps(value)}')}")
    return f"dvc exp run{temp} {' '.join(words)}"


def _changed_files(root: Path, about: Values, started: Values) -> Iterator[str]:
    """Yield what to do where code or data are not those that the state was made with."""
    code: Mapping[str, str] = about.get("code") or {}
    changed = [name for name, digest in code.items() if _sha256(root / name) != digest]
    if changed:
        commit = str(started.get("commit") or "")[:10]
        where = f" (the commit then was {commit})" if commit else ""
        others = f" and {counted(len(changed) - 1, 'other file')}" if len(changed) > 1 else ""
        yield f"put back {changed[0]}{others}{where}"
    data: Mapping[str, str] = about.get("data") or {}
    places = {"raw": "data/raw/dataset.json", "split": "data/split/manifest.csv"}
    changed = [f"data/{part}" for part, place in places.items() if part in data and _sha256(root / place) != data[part]]
    if changed:
        yield f"bring back {' and '.join(changed)}"


def _changed_packages(about: Values) -> Iterator[str]:
    packages: Mapping[str, str] = about.get("packages") or {}
    if others := other_versions(packages):
        yield f"'{install_line(packages, others)}'"


def _sha256(path: Path) -> str | None:
    return files.sha256(path) if path.is_file() else None


def _committed(root: Path) -> Values:
    """Return the values of params.yaml of the last commit, those of the file where there is no commit."""
    shown = git(root, "show", "HEAD:./params.yaml")
    return _read_params(shown.stdout) if shown.returncode == 0 else _current(root)


def _current(root: Path) -> Values:
    """Return the values of params.yaml."""
    try:
        return _read_params((root / "params.yaml").read_text(encoding="utf-8"))
    except (OSError, UnicodeDecodeError):  # which other checks report
        return {}


def _read_params(text: str) -> Values:
    """Return the values of a params.yaml by dotted key, with the defaults of those that it leaves out."""
    try:
        from ruamel.yaml.error import YAMLError

        from darkroom.base.params_file import check_params
        from darkroom.base.yaml_file import parse_yaml
    except ImportError:  # which another check reports, too
        return {}
    try:
        content = check_params(parse_yaml(text)).model_dump(by_alias=True)
    except (YAMLError, ValueError, LookupError, TypeError, AttributeError):  # which other checks report
        return {}
    return dict(flatten(json.loads(json.dumps(content))))
