"""./darkroom tune: the search of params.yaml: tune. The same command resumes one that was interrupted."""

from darkroom.cli import parser_of


def main(arguments: list[str]) -> None:
    """Search, then report."""
    parser = parser_of(
        "tune",
        "The search space is that of params.yaml: tune. Call it again to resume a search that was interrupted.",
        examples=[
            "./darkroom tune",
            "./darkroom tune search/rates -S tune.trials=50",
            "./darkroom tune --jobs 2 -S train.epochs=5",
        ],
        statuses={"0": "done: as many trials as tune.trials, or its time is up"},
    )
    parser.add_argument(
        "presets", nargs="*", metavar="PRESET", help="of conf/, such as search/rates, or the path of a .yaml file; later ones win"
    )
    parser.add_argument("-S", dest="settings", action="append", default=[], metavar="KEY=VALUE", help="as in 'dvc exp run'")
    parser.add_argument("--jobs", type=int, metavar="N", help="trials that run at the same time (default: tune.jobs)")
    parser.add_argument("--tensorboard", action="store_true", help="also write the trials for TensorBoard's HParams page")
    chosen = parser.parse(arguments)
    if chosen.jobs is not None:
        chosen.settings.append(f"tune.jobs={chosen.jobs}")

    from darkroom.stage.launcher import refuse_launcher

    refuse_launcher("./darkroom tune")

    from darkroom.base import paths
    from darkroom.base.yaml_file import read_yaml
    from darkroom.experiments.overrides import read_request

    content, params = read_request(paths.PARAMS, paths.PRESETS, chosen.presets, chosen.settings)

    from darkroom.search.report import closing_lines, write_report
    from darkroom.search.search import search
    from darkroom.search.tensorboard import check_tensorboard, write_hparams

    if chosen.tensorboard:
        check_tensorboard()
    logs, metrics = paths.logs_dir() / "search", params.tune.metrics
    found = search(content, params, repository=paths.ROOT, logs=logs, jobs=params.tune.jobs)
    page = write_report(found, metrics, paths.STUDIES, paths.SEARCH_METRICS)
    if chosen.tensorboard:
        folder = logs / "tensorboard" / params.tune.study
        write_hparams(found, metrics, folder)
        print(f"tensorboard --logdir {paths.shown(folder)}")
    print(*closing_lines(found, metrics, page, read_yaml(paths.PARAMS)), sep="\n")
