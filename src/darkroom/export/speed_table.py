"""The table of what was measured of each form, for people and as CSV, and its chart: accuracy against milliseconds."""

import math
from collections.abc import Mapping, Sequence
from pathlib import Path

from darkroom.base import files
from darkroom.export.speed import Accuracy, Facts, Form, Timing
from darkroom.reporting.csv_table import write_csv

TABLE, CHART, PIPELINE = "speed.csv", "speed.png", "dvc.yaml"
# DVC reads it as part of the pipeline, so that `dvc plots` shows the chart.
PLOTS = f"""# Written by ./darkroom find speed.
plots:
- {CHART}
"""
MEASURES = ("p50_ms", "p95_ms", "images_per_second", "images_per_second_p90", "images_per_second_p10", "runs")
FORM = ("megabytes", "peak_megabytes", "accuracy", "accuracy_low", "accuracy_high", "images")
MARKERS = "osD^v"
COLOURS = ("#0072b2", "#c77700", "#00805d", "#b0568a", "#555555")


class Measured:
    """All that was measured.

    Parameters
    ----------
    forms, timings
        What was measured, and how long each took.
    accuracies, memory
        By name of the form; bytes, None where it is not known.
    facts
        Of all forms.
    """

    def __init__(
        self,
        forms: Sequence[Form],
        timings: Sequence[Timing],
        accuracies: Mapping[str, Accuracy],
        memory: Mapping[str, int | None],
        facts: Facts,
    ):
        self.forms, self.timings, self.accuracies, self.memory, self.facts = forms, timings, accuracies, memory, facts

    def rows(self) -> list[list[object]]:
        """Return a row for each form and batch size that was measured."""
        sizes = {form.name: form.num_bytes for form in self.forms}
        found: list[list[object]] = []
        for each in self.timings:
            accuracy, memory = self.accuracies[each.form], self.memory[each.form]
            measures = [each.milliseconds(0.5), each.milliseconds(0.95), *map(each.images_per_second, (0.5, 0.9, 0.1))]
            found.append(
                [
                    each.form,
                    each.batch_size,
                    *(float(f"{value:.4g}") for value in measures),
                    len(each.seconds),
                    round(sizes[each.form] / 1e6, 3),
                    "" if memory is None else round(memory / 1e6, 1),
                    *(round(value, 6) for value in (accuracy.value, accuracy.low, accuracy.high)),
                    accuracy.images,
                    *self.facts.values(),
                ]
            )
        return found

    def header(self) -> list[str]:
        """Return the names of the columns."""
        return ["form", "batch_size", *MEASURES, *FORM, *self.facts]

    def cells(self) -> list[list[str]]:
        """Return the rows as people read them."""
        found = []
        for row in self.rows():
            each = dict(zip(self.header(), row, strict=True))
            spread = f"{each['images_per_second_p90']:,.4g} to {each['images_per_second_p10']:,.4g}"
            peak = "-" if each["peak_megabytes"] == "" else f"{each['peak_megabytes']:.0f}"
            accuracy = f"{each['accuracy']:.4f} ({each['accuracy_low']:.4f} to {each['accuracy_high']:.4f})"
            speed = f"{each['images_per_second']:,.4g}"
            times = [f"{each['p50_ms']:.4g}", f"{each['p95_ms']:.4g}"]
            size = f"{each['megabytes']:.1f}"
            found.append([str(each["form"]), str(each["batch_size"]), *times, speed, spread, size, peak, accuracy])
        return found


SHOWN = ["form", "batch", "p50 ms", "p95 ms", "images/s", "80 % of runs", "MB", "peak MB", "accuracy, with 95 %"]


def write(folder: Path, measured: Measured) -> None:
    """Write the table, the chart, and what DVC draws of them, into a folder."""
    folder.mkdir(parents=True, exist_ok=True)
    write_csv(folder / TABLE, measured.header(), measured.rows())
    draw(folder / CHART, measured)
    files.write_text(folder / PIPELINE, PLOTS)


def draw(path: Path, measured: Measured) -> None:
    """Write a PNG: accuracy against the milliseconds of an image, a point for each form and batch size."""
    # Imported here, since it takes half a second. Not pyplot, which looks for a display.
    from matplotlib.figure import Figure
    from matplotlib.ticker import FuncFormatter

    figure = Figure(figsize=(8.0, 4.6), dpi=110, layout="constrained")
    axes = figure.subplots()
    for number, form in enumerate(measured.forms):
        timings = [each for each in measured.timings if each.form == form.name]
        if not timings:
            continue
        accuracy, colour = measured.accuracies[form.name], COLOURS[number % len(COLOURS)]
        x = [each.milliseconds(0.5) / each.batch_size for each in timings]
        axes.plot(x, [accuracy.value] * len(x), MARKERS[number % len(MARKERS)], color=colour, markersize=7, label=form.name)
        low, high = accuracy.value - accuracy.low, accuracy.high - accuracy.value
        # Of the first batch size, and a little beside those of forms with the same accuracy and speed.
        axes.errorbar(x[0], accuracy.value, [[max(0.0, low)], [max(0.0, high)]], color=colour, capsize=3, linewidth=1)
        for place, each in zip(x, timings, strict=True):
            # Forms of one accuracy lie on one line: their numbers stand above and below it in turn.
            offset = (0, 7 + 10 * (number // 2)) if number % 2 == 0 else (0, -15 - 10 * (number // 2))
            axes.annotate(str(each.batch_size), (place, accuracy.value), offset, textcoords="offset points", ha="center",
                          fontsize=8, color=colour)  # fmt: skip
    axes.set_xscale("log")
    axes.xaxis.set_major_formatter(FuncFormatter(lambda value, _: f"{value:g}"))
    axes.xaxis.set_minor_formatter(
        FuncFormatter(lambda value, _: f"{value:g}" if round(value / 10 ** math.floor(math.log10(value)), 6) in (2, 5) else "")
    )
    axes.set_xlabel("milliseconds an image, median; numbers: images in a batch")
    axes.set_ylabel("accuracy on validation, with 95 %")
    title = f"Accuracy against speed, {measured.facts['threads']} thread(s), {measured.facts['image_size']} pixels"
    axes.set_title(title, loc="left", fontsize=10, fontweight="bold")
    axes.grid(alpha=0.3)
    axes.legend(fontsize="small")
    with files.replaced_file(path) as temporary:
        figure.savefig(temporary, format="png")
