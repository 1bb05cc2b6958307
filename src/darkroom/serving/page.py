"""The page at `/`: photos in, classes out; its script asks the same addresses as programs do. No torch."""

import json
from pathlib import Path
from typing import TYPE_CHECKING

from darkroom.pages.document import Html, described, element, join, name_of, page, paragraph, section
from darkroom.serving.limits import Limits

if TYPE_CHECKING:
    from darkroom.serving.served import Served
    from darkroom.serving.service import Loaded

STYLE = Path(__file__).with_name("page.css")
TITLE = "What is on this photo?"
NOTE = (
    "Bright places speak for the class that is named under them. They show what the network used, which need not be what a "
    "person would look at. Nearest training images are those whose features have the largest cosine: 1.00 is the same image."
)


def make_page(loaded: "Loaded | None", limits: Limits) -> str:
    """Return the page as HTML; while the models are being loaded, one that says so."""
    if loaded is None:
        return page(TITLE, paragraph("The model is being loaded. Load this page again in some seconds."))
    models = list(loaded.models.values())
    setup = {
        "models": [{"name": each.name, "classes": each.classes, "multilabel": each.multilabel} for each in models],
        "collects": loaded.collected is not None,
        "maxImages": limits.max_images,
        "maxBytes": limits.max_bytes,
    }
    drop = element(
        "label",
        element("input", type="file", multiple=True, accept="image/*", id="files", class_="hidden"),
        element("b", "Choose photos"),
        element("span", ", drop them here, or paste one"),
        id="drop",
        class_="drop",
    )
    return page(
        TITLE,
        element("noscript", paragraph("This page needs JavaScript. Programs send photos to /predict.")),
        drop,
        element("p", id="status", role="status", class_="status"),
        element("div", id="photos", data_setup=json.dumps(setup)),
        section("The model" if len(models) == 1 else "The models", *map(_about, models), ident="model"),
        section("How to read this", paragraph(NOTE), _kept(loaded), ident="note"),
        script="page.js",
        style=STYLE,
    )


def _about(served: "Served") -> Html:
    about = served.about
    classes = [join(", " if place else None, name_of(name)) for place, name in enumerate(about["classes"])]
    return described(
        [
            ("Model", name_of(about["title"] if about["title"] == about["name"] else f"{about['name']}: {about['title']}")),
            ("Weights", element("code", about["weights_sha256"][:16])),
            (f"{len(classes)} classes", join(*classes)),
        ]
    )


def _kept(loaded: "Loaded") -> Html:
    if loaded.collected is None:
        return paragraph("Corrections are not kept: the server was started without ", element("code", "--collect FOLDER"), ".")
    return paragraph(
        "A correction keeps the photo with its class in the folder ", name_of(loaded.collected.folder.name), " of the server. "
        "A photo of the training data becomes a row of ", element("code", "corrections.csv"), " there.",
    )  # fmt: skip
