"""How a training starts, on one line: resumed, finished before, or fresh in spite of another one's state."""

import json
from pathlib import Path
from typing import Any

from darkroom.base import paths
from darkroom.base.nested import flatten
from darkroom.base.state_files import ABOUT, FINISHED, FINISHED_MARK, last_use
from darkroom.training.checkpoints.saved_states import StateStore

EPOCHS = "params.train.epochs"


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
                f"-S train.epochs={now[EPOCHS]} -S train.resume_from=COMMIT', with the commit or experiment that has it"
            )
        if has_state:
            return f"the state in {paths.shown(folder)} differs in {changed[0]}{more}" if changed else None
    return None


def _about(folder: Path) -> dict[str, Any] | None:
    try:
        return dict(flatten(json.loads((folder / ABOUT).read_text(encoding="utf-8"))))
    except (OSError, ValueError):
        return None
