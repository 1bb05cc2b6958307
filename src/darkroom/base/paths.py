"""The paths that dvc.yaml names. All are in the checkout whose code is running, whatever the current folder is."""

import os
from fnmatch import fnmatch
from pathlib import Path

ROOT = Path(__file__).resolve().parents[3]

PIPELINE = ROOT / "dvc.yaml"
PARAMS = ROOT / "params.yaml"
PRESETS = ROOT / "conf"
PLUGINS = ROOT / "src" / "plugins"
CHECKED = ROOT / "data" / "checked.txt"
RAW = ROOT / "data" / "raw"
DOWNLOAD_RECORD = ROOT / "data" / "download.json"
SPLIT = ROOT / "data" / "split"
PREDICTIONS = ROOT / "data" / "predictions"
MODELS = ROOT / "models"
EXPORTED = MODELS / "exported"
CHECKPOINTS = MODELS / "checkpoints"
MODEL_CARD = MODELS / "README.md"
CALIBRATION = MODELS / "calibration.json"
METRICS = ROOT / "metrics"
SPLIT_METRICS = METRICS / "split"
TRAIN_METRICS = ROOT / "metrics" / "train"
EVALUATE_METRICS = ROOT / "metrics" / "evaluate"
# The only metrics in Git; the folders beside are in DVC's cache.
TRAIN_TABLE = ROOT / "metrics" / "train.json"
EVALUATE_TABLE = ROOT / "metrics" / "evaluate.json"
EXPORT_TABLES = ROOT / "metrics" / "export"
EVALUATED = ROOT / "metrics" / "predictions.parquet"
SPEED_METRICS = ROOT / "metrics" / "speed"
SEARCH_METRICS = ROOT / "metrics" / "search"
STUDIES = ROOT / "search"
# Environment variable of a training that is a trial: the path of the socket at which its search listens.
TRIAL_SOCKET = "DARKROOM_TRIAL"
# Of `git rev-parse --local-env-vars`: a Git hook that calls a command has set them, for the repository of the hook.
SET_BY_HOOKS = (
    *("GIT_DIR", "GIT_WORK_TREE", "GIT_IMPLICIT_WORK_TREE", "GIT_INDEX_FILE", "GIT_COMMON_DIR", "GIT_PREFIX"),
    *("GIT_OBJECT_DIRECTORY", "GIT_ALTERNATE_OBJECT_DIRECTORIES", "GIT_SHALLOW_FILE", "GIT_GRAFT_FILE"),
)

# As in .dvcignore: what Python, editors and systems leave behind.
LEFT_BEHIND = ("__pycache__", "*.pyc", ".ipynb_checkpoints", ".DS_Store", "*.swp", "*~", ".#*")


def is_left_behind(path: Path) -> bool:
    """Return whether DVC ignores a file, by any part of its path."""
    return any(fnmatch(part, pattern) for part in path.parts for pattern in LEFT_BEHIND)


def shown(path: Path) -> str:
    """Return a path for messages: relative to the repository if it is inside."""
    return path.relative_to(ROOT).as_posix() if path.is_relative_to(ROOT) else str(path)


def main_repository() -> Path:
    """Return the repository that DVC was called in: `--temp` runs the stages elsewhere, where branches are not known."""
    return Path(os.environ.get("DVC_ROOT") or ROOT)


def in_workspace() -> bool:
    """Return whether results replace those of the repository itself; `--temp`, the queue and searches run elsewhere."""
    return main_repository().resolve() == ROOT.resolve()


def states_dir() -> Path:
    """Return the folder for the states of unfinished trainings: in the main repository, also when `--temp` runs elsewhere.

    It is no output of a stage: DVC deletes outputs before each run, or brings back those of another experiment.
    """
    return main_repository() / ".resume"


def features_dir() -> Path:
    """Return the folder that keeps features of images: that of DVC's temporary files, which Git and DVC ignore."""
    return main_repository() / ".dvc" / "tmp" / "darkroom-features"


def logs_dir() -> Path:
    """Return the folder for logs, likewise in the main repository; Git and DVC ignore it."""
    return main_repository() / "logs"


def cache_dir() -> Path:
    """Return the folder outside the repository that keeps downloads: `$DARKROOM_CACHE`, else the user's cache folder."""
    chosen = os.environ.get("DARKROOM_CACHE")
    if chosen:
        return Path(chosen).expanduser()
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "darkroom"
