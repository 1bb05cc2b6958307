"""Stage split: assign the images to train, validation and test (data/split), and describe them (metrics/split)."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

import numpy as np

from darkroom.base import paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.params_file import load_params
from darkroom.data.channel_stats import measure_channels
from darkroom.data.pack import Pack
from darkroom.reporting.contents import Contents
from darkroom.reporting.description import class_lines, write_description
from darkroom.splitting.assign import Assignment, assign_splits
from darkroom.splitting.split_writer import summary, write_split
from darkroom.stage.record import RECORD
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage."""
    with running("split") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        assignment = assign_splits(pack, params.split, params.base.seed)
        contents = describe(pack, assignment)
        with stage.replaced(paths.SPLIT_METRICS, paths.SPLIT) as (metrics, directory):
            split = write_split(directory, pack, assignment, params.split, params.base.seed)
            write_description(metrics, contents, pack.dataset, split)
            stage.record(metrics / RECORD, {"metrics/split": metrics, "data/split": directory})
        for line in class_lines(contents):
            print(line)
        print(f"split: {summary(pack, assignment)} -> {paths.shown(paths.SPLIT)}; metrics/split/card.md describes it")


def describe(pack: Pack, assignment: Assignment) -> Contents:
    """Return what the reports show; channel statistics are those of the training images."""
    mean, std, num_measured = measure_channels(pack, np.flatnonzero(assignment.splits == "train"))
    return Contents(
        classes=pack.classes,
        labels=pack.labels,
        splits=assignment.splits,
        sizes=pack.sizes,
        ids=pack.ids,
        pairs=assignment.duplicates.pairs,
        distances=assignment.duplicates.distances,
        mean=mean,
        std=std,
        num_measured=num_measured,
        read_image=pack.shown,
    )


if __name__ == "__main__":
    run_stage(main, stage_parser("split", __doc__, "dvc exp run -S split.val_fraction=0.2"))
