"""Search for better parameters: python src/tune.py. Every trial is an experiment; the same command goes on after a kill."""

import argparse

from darkroom import paths
from darkroom.command import run_command
from darkroom.experiments.overrides import read_request
from darkroom.params_file import read_yaml


def main() -> None:
    """Run the command."""
    parser = argparse.ArgumentParser(description="Search the space of params.yaml: tune; every trial is an experiment.")
    parser.add_argument("presets", nargs="*", metavar="PRESET", help="of conf/, such as search/rates; later ones win")
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as of dvc exp run")
    parser.add_argument("--jobs", type=int, metavar="N", help="trials side by side; none: tune.jobs")
    parser.add_argument("--tensorboard", action="store_true", help="also write the trials for its view of parameters")
    arguments = parser.parse_args()
    if arguments.jobs is not None:
        arguments.settings.append(f"tune.jobs={arguments.jobs}")
    content, params = read_request(paths.PARAMS, paths.PRESETS, arguments.presets, arguments.settings)

    from darkroom.search.report import closing_lines, write_report
    from darkroom.search.search import search
    from darkroom.search.tensorboard import check_tensorboard, write_hparams

    if arguments.tensorboard:
        check_tensorboard()
    logs, metrics = paths.logs_dir() / "search", params.tune.metrics
    found = search(content, params, repository=paths.ROOT, logs=logs, jobs=params.tune.jobs)
    page = write_report(found, metrics, paths.STUDIES, paths.SEARCH_METRICS)
    if arguments.tensorboard:
        folder = logs / "tensorboard" / params.tune.study
        write_hparams(found, metrics, folder)
        print(f"tensorboard --logdir {paths.shown(folder)}")
    print(*closing_lines(found, metrics, page, read_yaml(paths.PARAMS)), sep="\n")


if __name__ == "__main__":
    run_command(main)
