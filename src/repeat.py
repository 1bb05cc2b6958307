"""Repeat a training: python src/repeat.py --seeds 5, or --folds 5; one row with mean and deviation, each run an experiment."""

import argparse

from darkroom import paths
from darkroom.command import run_command
from darkroom.errors import InputError
from darkroom.experiments.overrides import read_request


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Repeat a training with several seeds, or on every fold.")
    parser.add_argument("presets", nargs="*", metavar="PRESET", help="of conf/; later ones win")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as of dvc exp run")
    which = parser.add_mutually_exclusive_group(required=True)
    which.add_argument("--seeds", type=int, metavar="N", help="seeds from base.seed on; the split changes with them")
    which.add_argument("--folds", type=int, metavar="N", help="every fold of N")
    parser.add_argument("--name", default="repeat", help="what the experiments' names begin with (repeat)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs side by side (1)")
    arguments = parser.parse_args()
    if min(arguments.jobs, arguments.seeds or arguments.folds or 0) < 1:
        raise InputError("--seeds, --folds, --jobs: are numbers from 1 on; raise them")
    content, params = read_request(paths.PARAMS, paths.PRESETS, arguments.presets, arguments.settings)

    from darkroom.experiments.repeat import repeat, repetitions, summary

    runs = repetitions(arguments.name, params, seeds=arguments.seeds, folds=arguments.folds)
    logs = paths.logs_dir() / "repeat"
    metrics = repeat(content, runs, params, repository=paths.ROOT, logs=logs, jobs=arguments.jobs)
    print(*summary(arguments.name, runs, metrics), sep="\n")


if __name__ == "__main__":
    run_command(main)
