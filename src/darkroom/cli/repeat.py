"""./darkroom repeat: one training several times, as experiments, and one row with mean and deviation of their metrics."""

from darkroom.base.errors import InputError
from darkroom.cli import parser_of


def main(arguments: list[str]) -> None:
    """Run the repetitions that are missing, and print the summary."""
    parser = parser_of(
        "repeat",
        "Every run is an experiment; at the end it prints mean and standard deviation of the metrics. "
        "Call it again to resume one that was interrupted.",
        examples=[
            "./darkroom repeat --seeds 5",
            "./darkroom repeat cifar10 --seeds 3 --name cifar",
            "./darkroom repeat --folds 5 -S train.lr=0.003 --jobs 2",
        ],
    )
    parser.add_argument("presets", nargs="*", metavar="PRESET", help="of conf/, or the path of a .yaml file; later ones win")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as in 'dvc exp run'")
    which = parser.add_mutually_exclusive_group(required=True)
    seeds = "N seeds, from base.seed on; the split changes with them unless split.seed is set"
    which.add_argument("--seeds", type=int, metavar="N", help=seeds)
    which.add_argument("--folds", type=int, metavar="N", help="all N folds")
    parser.add_argument("--name", default="repeat", help="first part of the experiments' names (default: repeat)")
    parser.add_argument("--jobs", type=int, default=1, metavar="N", help="runs at the same time (default: 1)")
    chosen = parser.parse(arguments)
    if min(chosen.jobs, chosen.seeds or chosen.folds or 0) < 1:
        raise InputError("--seeds, --folds, --jobs: must be 1 or more; raise them")

    from darkroom.stage.launcher import refuse_launcher

    refuse_launcher("./darkroom repeat")

    from darkroom.base import paths
    from darkroom.experiments.overrides import read_request

    content, params = read_request(paths.PARAMS, paths.PRESETS, chosen.presets, chosen.settings)

    from darkroom.experiments.repeat import closing_line, repeat, repetitions, summary

    if chosen.seeds:
        fixed = f"all are measured on the images of split.seed {params.split.seed}"
        own = "each has a split of its own; -S split.seed=0 measures all on the same images"
        print(f"repeat: {chosen.seeds} seeds: {own if params.split.seed is None else fixed}", flush=True)
    runs = repetitions(chosen.name, params, seeds=chosen.seeds, folds=chosen.folds)
    logs = paths.logs_dir() / "repeat"
    metrics = repeat(content, runs, params, repository=paths.ROOT, logs=logs, jobs=chosen.jobs)
    print(*summary(chosen.name, runs, metrics), sep="\n")
    print(closing_line(runs))
