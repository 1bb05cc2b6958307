"""The values of a trial by epoch where its training did not run, since DVC's run cache had the results of an equal one."""

import csv
from pathlib import Path

CURVES = Path("metrics/train/plots/metrics")


def read_curve(folder: Path, metric: str) -> dict[int, float]:
    """Return the values of a metric such as `val/accuracy` by epoch, from 1; none where a training has no such curve.

    Parameters
    ----------
    folder
        The project, with the outputs of train.
    metric
        As `tune.metric` names it.
    """
    try:
        with (folder / CURVES / f"{metric}.tsv").open(encoding="utf-8", newline="") as file:
            rows = [(float(step), float(value)) for step, value in list(csv.reader(file, delimiter="\t"))[1:]]
    except (OSError, ValueError):  # of a metric that is no curve, or of steps that were logged otherwise
        return {}
    return {int(step): value for step, value in rows if step.is_integer()}
