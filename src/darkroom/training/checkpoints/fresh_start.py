"""How a training starts, on one line: resumed, finished before, or fresh in spite of another one's state."""

import json
import shlex
from pathlib import Path
from typing import Any

from darkroom.base import paths
from darkroom.base.errors import RunError
from darkroom.base.nested import flatten
from darkroom.stage.state_files import FINISHED, FINISHED_MARK
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.checkpoints.saved_trainings import ABOUT, install_line, is_in_use, last_use, saved_trainings

EPOCHS = "params.train.epochs"
# The parts of what a training depends on that say what it is to be, rather than what computes it.
WANTED = ("params", "data", "code", "origin", "teacher", "resumed")


def describe(state: dict[str, Any] | None, store: StateStore) -> str | None:
    """Return a line on how the training starts, None if there is nothing to say."""
    if state is None:
        why = why_fresh(store)
        return f"train: starting fresh: {why}" if why else None
    if state["darkroom"]["finished"]:
        return "train: finished before with the same parameters, data and code; publishing its result"
    epoch, step = state["darkroom"]["epoch"] + 1, state["global_step"]
    return f"train: resuming at epoch {epoch}, step {step}: same parameters, data, code"


def why_fresh(store: StateStore) -> str | None:
    """Return a difference to the newest other training that is unfinished or has fewer epochs, or None if there is none."""
    others = sorted(store.others(), key=last_use, reverse=True)
    now = dict(flatten(store.about))
    for folder in others:
        has_state = any(folder.glob("*.ckpt"))
        then = _about(folder)
        if then is None:
            if has_state:
                return None
            continue
        changed = [key for key in sorted(then.keys() | now.keys()) if then.get(key) != now.get(key)]
        is_finished = (folder / FINISHED_MARK).exists() or any(folder.glob(f"*-{FINISHED}-*.ckpt"))
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        is_longer = EPOCHS in changed and then.get(EPOCHS, 0) < now.get(EPOCHS, 0)
        if is_finished and is_longer and set(changed) <= {EPOCHS, "params.train.keep_states"}:
            return (
                f"the finished training in {paths.shown(folder)} differs in train.epochs; to go on with it, run 'dvc exp run "
                f"-S train.epochs={now[EPOCHS]} -S train.resume_from=COMMIT', with its commit ('./darkroom commit NAME' prints "
                "that of an experiment)"
            )
        if has_state:
            return f"the state in {paths.shown(folder)} differs in {changed[0]}{more}" if changed else None
    return None


def refuse_other_versions(store: StateStore) -> None:
    """Refuse to start again what was begun with other versions of packages: a mixture has the numbers of neither.

    Raises
    ------
    RunError
        With the command that brings them back, and the one that starts afresh.
    """
    for training in reversed(saved_trainings(store.root)):
        then = training.about()
        # What is wanted is the same; all else is how it is computed.
        if training.folder == store.folder or any(then.get(key) != store.about.get(key) for key in WANTED) or then == store.about:
            continue
        before, now = dict(flatten(_computed(then))), dict(flatten(_computed(store.about)))
        changed = sorted(key for key in before.keys() | now.keys() if before.get(key) != now.get(key))
        if is_in_use(training.folder) or not changed:
            continue
        names = [key.removeprefix("packages.") for key in changed if key.startswith("packages.") and key in before]
        them = ", ".join(f"{key.removeprefix('packages.')} {before.get(key)} (here {now.get(key)})" for key in changed)
        way = f"run '{install_line(then['packages'], names)}'" if len(names) == len(changed) else "run it where they are the same"
        folder = paths.shown(training.folder)
        raise RunError(
            f"{folder}: this training ({training.progress()}) was begun with {them}, and a mixture has the numbers of neither; "
            f"{way} to resume it, or 'rm -rf {shlex.quote(folder)}' to start afresh"
        )


def _computed(about: dict[str, Any]) -> dict[str, Any]:
    return {key: value for key, value in about.items() if key not in WANTED}


def _about(folder: Path) -> dict[str, Any] | None:
    try:
        content = json.loads((folder / ABOUT).read_text(encoding="utf-8"))
    except (OSError, ValueError):
        return None
    return dict(flatten(content)) if isinstance(content, dict) else None
