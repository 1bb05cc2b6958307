"""The report: one page on one revision, or on several beside each other."""

from collections.abc import Callable, Sequence
from typing import NamedTuple

from darkroom.pages import document
from darkroom.pages.document import Html
from darkroom.pages.sections.confusion import confusion
from darkroom.pages.sections.curves import curves
from darkroom.pages.sections.dataset import dataset
from darkroom.pages.sections.duplicates import duplicates
from darkroom.pages.sections.embedding import embedding
from darkroom.pages.sections.groups import groups
from darkroom.pages.sections.headline import headline
from darkroom.pages.sections.mistakes import mistakes
from darkroom.pages.sections.origin import origin
from darkroom.pages.sections.per_class import per_class
from darkroom.pages.sections.reliability import reliability
from darkroom.versions.results import Results

MAX_BYTES = 5_000_000


class Section(NamedTuple):
    """A section of the page; `draw` returns None if the data have nothing for it."""

    ident: str
    title: str
    draw: Callable[[Sequence[Results]], Html | None]


SECTIONS = (
    Section("data", "Data", dataset),
    Section("curves", "Training", curves),
    Section("confusion", "Confusion", confusion),
    Section("classes", "Classes", per_class),
    Section("groups", "Groups", groups),
    Section("reliability", "Confidence", reliability),
    Section("mistakes", "Worst mistakes", mistakes),
    Section("map", "Map of the images", embedding),
    Section("duplicates", "Duplicates", duplicates),
    Section("origin", "How it was made", origin),
)


def report(found: Sequence[Results]) -> str:
    """Return the page on revisions, as HTML; the same for the same records."""
    title = f"Report: {', '.join(str(results.revision) for results in found)}"
    drawn = [(section, body) for section in SECTIONS if (body := section.draw(found)) is not None]
    links = document.contents((section.ident, section.title) for section, _ in drawn)
    sections = (document.section(section.title, body, ident=section.ident) for section, body in drawn)
    return document.page(title, headline(found), links, *sections, by="./darkroom report")
