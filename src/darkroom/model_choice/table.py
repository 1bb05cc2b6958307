"""The table of what was found, with the line to run of each row: for people, and as CSV."""

from collections.abc import Sequence
from pathlib import Path

from darkroom.experiments.text import table
from darkroom.model_choice.results import NO_TIME, LeftOut, Row, level, ranked
from darkroom.reporting.csv_table import write_csv

COLUMNS = (
    "backbone",
    "way",
    "accuracy",
    "low",
    "high",
    "images",
    "val_accuracy",
    "seconds",
    "images_per_second",
    "level",
    "line",
)


def cells(row: Row) -> list[str]:
    """Return what the table says of a row, without its number."""
    low, high = row.interval
    return [
        row.recipe.backbone,
        row.recipe.way,
        f"{row.accuracy:.3f}",
        f"{low:.3f} to {high:.3f}",
        str(len(row.right)),
        f"{row.published:.3f}",
        f"{row.seconds:.0f}",
        f"{row.images_per_second:,.0f}",
    ]


HEADER = ["backbone", "way", "accuracy", "95 % interval", "images", "val", "seconds", "images/s"]


def lines(rows: Sequence[Row], omitted: Sequence[LeftOut]) -> list[str]:
    """Return the table, what was left out, which rows are level, and the line that is proposed."""
    if not rows:
        return _omitted(omitted)
    order, unbeaten = ranked(rows), level(rows)
    numbered = [[str(place), *cells(row)] for place, row in enumerate(order, start=1)]
    shown = [*table(numbered, ["", *HEADER]), ""]
    shown += [f"{place:>2}  {row.recipe.line}" for place, row in enumerate(order, start=1)]
    numbers = sorted(order.index(row) + 1 for row in unbeaten)
    best = unbeaten[0]
    place = order.index(best) + 1
    verdict = f"row {place} is the best"
    if len(numbers) > 1:
        verdict = f"rows {', '.join(map(str, numbers[:-1]))} and {numbers[-1]} are level; of these row {place} is the fastest"
    return [*shown, "", *_omitted(omitted), f"find: {verdict}", f"find: to run it, type: {best.recipe.line}"]


def _omitted(omitted: Sequence[LeftOut]) -> list[str]:
    """Return a line for each recipe that was left out, and one for all for which there was no time at all."""
    shown = [f"not tried: {each.recipe.backbone}, {each.recipe.way}: {each.why}" for each in omitted if each.why != NO_TIME]
    late = [f"{each.recipe.backbone}, {each.recipe.way}" for each in omitted if each.why == NO_TIME]
    return [*shown, f"not tried, as {NO_TIME}: {'; '.join(late)}"] if late else shown


def write_table(path: Path, rows: Sequence[Row]) -> None:
    """Write the rows as CSV, the best first."""
    unbeaten = level(rows)
    write_csv(
        path,
        COLUMNS,
        [
            (
                row.recipe.backbone,
                row.recipe.way,
                f"{row.accuracy:.6f}",
                *(f"{end:.6f}" for end in row.interval),
                len(row.right),
                f"{row.published:.6f}",
                f"{row.seconds:.1f}",
                f"{row.images_per_second:.1f}",
                str(row in unbeaten).lower(),
                row.recipe.line,
            )
            for row in ranked(rows)
        ],
    )
