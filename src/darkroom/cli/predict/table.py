"""The table of ./darkroom predict on the terminal."""

from collections.abc import Iterator
from typing import TYPE_CHECKING

from darkroom.cli.predict.features import near_rows

if TYPE_CHECKING:
    from darkroom.batch.blocks import Blocks, Unreadable
    from darkroom.prediction.predictions import Predictions

SHOWN = 20


def print_predictions(blocks: "Blocks") -> "Unreadable":
    """Print the first images, and how many are right where that is known; return how many cannot be read, with the first.

    Only as many are predicted as are shown, unless classes are known.
    """
    from dataclasses import replace

    from darkroom.base.errors import warn
    from darkroom.batch.accuracy import Right, accuracy_lines
    from darkroom.prediction.predictions import Predictions
    from darkroom.sources.progress import progress_bar

    inputs, predict = blocks.inputs, blocks.params.predict
    total = inputs.total(blocks.predictor)
    first, bad = list[Predictions](), list[tuple[str, str]]()
    count, num_bad, found = 0, 0, Right()
    with progress_bar("predict", total) as advance:
        for block in blocks.iterate():
            if count < SHOWN or not first:
                first.append(replace(block.predictions, embeddings=None))
            count, num_bad = count + len(block.predictions.paths), num_bad + len(block.bad)
            bad += block.bad[: SHOWN - len(bad)]
            found = Right.total([found, block.right])
            advance(len(block))
            if count >= SHOWN and not inputs.has_labels:
                break
        else:
            total = count
    if count:
        print(*table_lines(Predictions.joined(first), predict.top_k, total), sep="\n")
    for line in accuracy_lines(found, blocks.predictor.model.card.classes):
        print(line)
    for name, reason in bad[num_bad > predict.max_bad :]:  # the error names the first
        warn(f"{name}: cannot be read ({reason})")
    return num_bad, bad[0] if bad else None


def table_lines(predictions: "Predictions", top_k: int, total: int | None = 0) -> Iterator[str]:
    """Yield a table of the first images: path, true class where it is known, classes with their probabilities.

    `total` is the number of all images, None if it is not known.
    """
    from darkroom.data.listing import printable
    from darkroom.experiments.text import table

    top_k = min(top_k, len(predictions.classes))
    next_ones = [cell for place in range(2, top_k + 1) for cell in (f"class {place}", "")]
    header = ["path", *(["true"] if predictions.actual else []), *(["classes"] if predictions.multilabel else [])]
    rows = []
    for number, top in zip(range(SHOWN), predictions.most_probable(top_k), strict=False):
        cells = [predictions.paths[number]]
        cells += [printable(predictions.actual[number])] if predictions.actual else []
        if predictions.multilabel:
            cells.append(printable("; ".join(predictions.chosen[number]) or "none"))
        shown = [cell for name, value in top for cell in (printable(name), f"{value:.4f}")]
        if why := predictions.why(number) if top else []:
            kind = " (foreign)" if "foreign" in why else ""
            shown[0] = f"{predictions.named(number, top[0][0])}{kind}: {shown[0]}?"
        shown += [f"{predictions.foreign[number]:.2f}"] if predictions.foreign is not None else []
        shown += [printable("; ".join(predictions.set_of(number)) or "none")] if predictions.sets is not None else []
        rows += near_rows(cells + shown, predictions.near[number]) if predictions.near else [cells + shown]
    header += ["class", "probability", *next_ones] if predictions.classes else []
    header += ["foreign"] if predictions.foreign is not None else []
    header += ["set"] if predictions.sets is not None else []
    yield from table(rows, [*header, *(["nearest", "its class", "similarity"] if predictions.near else [])])
    if total is None or max(total, len(predictions.paths)) > SHOWN:
        more = "more" if total is None else f"{max(total, len(predictions.paths)) - SHOWN} more"
        yield f"... and {more}; write all of them to a file with '--out result.csv'"
