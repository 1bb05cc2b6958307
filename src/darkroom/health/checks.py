"""The checks of `./darkroom doctor` in order: basic ones first, slow ones last."""

from collections.abc import Iterator
from functools import partial
from pathlib import Path

from darkroom.base import paths
from darkroom.health import dvc_setup, installation, leftovers, locks, machine, repository, unfinished
from darkroom.health.findings import Check, Finding, install_command, remove_command
from darkroom.repository.dvc import cache_dir

# Removes what no commit and no experiment uses any more.
COLLECT = "dvc gc --all-commits --all-experiments"
WRITTEN = ("", ".dvc", ".dvc/tmp", "data", "models", "metrics", ".resume")


def all_checks(root: Path, parse: installation.Parse) -> list[Check]:
    """Return the checks; `parse` is packaging's Requirement, which a base module may not import."""
    install = install_command(root)
    return [
        Check("python", installation.check_python, "python --version"),
        Check("packages", partial(installation.check_packages, root, parse), install),
        Check("lightning", installation.check_lightning, install),
        Check("commands", partial(installation.check_commands, root), "source .venv/bin/activate"),
        Check("environment", installation.check_environment, "env"),
        Check("git", partial(repository.check_git, root), "git status"),
        Check("params.yaml", partial(repository.check_params, root), "git checkout HEAD -- params.yaml"),
        Check("dvc.yaml", partial(dvc_setup.check_pipeline, root), "git checkout HEAD -- dvc.yaml"),
        Check("dvc.lock", partial(dvc_setup.check_results, root), "git checkout HEAD -- dvc.lock"),
        Check("dvc", partial(dvc_setup.check_dvc, root), "dvc doctor"),
        Check("disk", partial(_repository_disk, root), "df -h ."),
        Check("dvc cache", partial(_cache_disk, root), "df -h ."),
        Check("downloads", partial(_downloads_disk, root), "df -h"),
        Check("dvc lock", partial(_dvc_locks, root), "ls -l .dvc/tmp"),
        Check("stages", partial(locks.check_stages, root), "ls -l .dvc/tmp"),
        Check("experiments", partial(leftovers.check_experiments, root), "ls -lR .dvc/tmp/exps/standalone/run"),
        Check("resume", partial(leftovers.check_states, root, paths.states_dir()), "ls -lR .resume"),
        Check("unfinished", partial(unfinished.check_unfinished, root, paths.states_dir()), "ls -lR .resume"),
        Check("features", partial(leftovers.check_features, root, paths.features_dir()), "ls -lR .dvc/tmp/darkroom-features"),
        Check("torch", partial(machine.check_torch, root), install),
    ]


def _repository_disk(root: Path) -> Iterator[Finding]:
    return machine.check_disk(root, "disk", [root / name for name in WRITTEN], COLLECT)


def _cache_disk(root: Path) -> Iterator[Finding]:
    try:
        folder = cache_dir(root)
    except Exception:  # of DVC or its settings, which other lines are about
        folder = root / ".dvc" / "cache"
    return machine.check_disk(root, "dvc cache", [folder], COLLECT)


def _downloads_disk(root: Path) -> Iterator[Finding]:
    folder = paths.cache_dir()
    # Safe to remove: files are downloaded again when needed.
    return machine.check_disk(root, "downloads", [folder], remove_command(root, [folder]))


def _dvc_locks(root: Path) -> Iterator[Finding]:
    hardlink = dvc_setup.setting(root, "core.hardlink_lock", "false").lower() == "true"
    return locks.check_dvc_locks(root, hardlink=hardlink)
