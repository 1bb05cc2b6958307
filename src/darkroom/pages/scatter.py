"""A chart of points on a plane whose directions mean nothing: those that are near each other are alike."""

from collections.abc import Sequence
from dataclasses import dataclass

from darkroom.pages.charts import CHARACTER, WIDTH, colour, drawing, shortened, text
from darkroom.pages.document import Html, element


@dataclass(frozen=True)
class Spot:
    """A point of a map: its place, number of its colour, whether it is ringed."""

    x: float
    y: float
    colour: int
    ringed: bool = False


def map_chart(spots: Sequence[Spot], labels: Sequence[tuple[float, float, str]], *, label: str) -> Html:
    """Return points on a plane without axes, ringed ones on top, and texts over them.

    Parameters
    ----------
    spots
        The points, in any unit.
    labels
        Place and text, in the same unit.
    label
        What it shows, for those who cannot see it.
    """
    size, edge = (WIDTH, WIDTH), 14
    xs, ys = [spot.x for spot in spots], [spot.y for spot in spots]
    # The same unit for both directions.
    extent = max(max(xs) - min(xs), max(ys) - min(ys)) or 1.0
    scale = (WIDTH - 2 * edge) / extent
    left, top = (WIDTH - scale * (min(xs) + max(xs))) / 2, (WIDTH - scale * (min(ys) + max(ys))) / 2
    parts = []
    for spot in sorted(spots, key=lambda spot: spot.ringed):
        parts.append(
            element(
                "circle",
                cx=round(left + scale * spot.x, 1),
                cy=round(top + scale * spot.y, 1),
                r=4.5 if spot.ringed else 3,
                fill=colour(spot.colour),
                stroke="var(--ink)" if spot.ringed else None,
                stroke_width=1.5 if spot.ringed else None,
                opacity=None if spot.ringed else 0.75,
            )
        )
    for x, y, name in labels:
        short = shortened(name, WIDTH / 3)
        half = len(short) * CHARACTER / 2
        at = min(max(left + scale * x, half), WIDTH - half)
        parts.append(text(at, top + scale * y + 4, short, class_="over"))
    return drawing(size, label, *parts)
