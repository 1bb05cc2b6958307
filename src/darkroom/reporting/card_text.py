"""What the cards of data and model share: names from the data as code spans, lists, tables, and the metadata that a hub reads."""

import io
import json
import re
from collections.abc import Iterable, Mapping, Sequence
from pathlib import PurePath
from typing import Any

from ruamel.yaml import YAML

from darkroom.base.errors import one_line

MAX_LENGTH = 200  # characters of a name
# Arrays of calibration.json, which say nothing to people.
ARRAYS = ("directions", "means")
# Characters that end a code span or a table cell, or that some renderers take for HTML.
LOOKALIKES = str.maketrans({"`": "'", "|": "¦", "<": "\u2039", ">": "\u203a"})
# Identifiers of https://huggingface.co/docs/hub/repositories-licenses that weights and data sets have; the hub refuses any other
# in a card with results, so that these are called `other`.
LICENCES = frozenset(
    (
        *(
            "apache-2.0",
            "mit",
            "bsd",
            "bsd-2-clause",
            "bsd-3-clause",
            "isc",
            "mpl-2.0",
            "unlicense",
            "openrail",
            "gemma",
            "c-uda",
        ),
        *("gpl", "gpl-2.0", "gpl-3.0", "lgpl", "lgpl-2.1", "lgpl-3.0", "agpl-3.0", "cdla-sharing-1.0", "cdla-permissive-1.0"),
        *("cdla-permissive-2.0", "odc-by", "odbl", "pddl", "cc", "cc0-1.0", "cc-by-2.0", "cc-by-2.5", "cc-by-3.0", "cc-by-4.0"),
        *("cc-by-sa-3.0", "cc-by-sa-4.0", "cc-by-nc-2.0", "cc-by-nc-3.0", "cc-by-nc-4.0", "cc-by-nd-4.0", "cc-by-nc-nd-3.0"),
        *("cc-by-nc-nd-4.0", "cc-by-nc-sa-2.0", "cc-by-nc-sa-3.0", "cc-by-nc-sa-4.0", "other", "unknown"),
    )
)


def plain(value: object) -> str:
    """Return a text on one line, without characters of markup, and not too long."""
    text = one_line(str(value)).translate(LOOKALIKES)
    return text if len(text) <= MAX_LENGTH else text[: MAX_LENGTH - 1] + "…"


def code(value: object) -> str:
    """Return a text as a code span on one line, so that no name is rendered as markup, a link or HTML."""
    return f"`{plain(value)}`"


def short_name(dataset: Mapping[str, Any]) -> str:
    """Return the name of a data set; for a folder on this machine, its last part."""
    name = str(dataset.get("name") or dataset.get("source") or "images")
    return PurePath(name).name or name if PurePath(name).is_absolute() else name


def words(value: object) -> str:
    """Return letters and digits of a text, for metadata: no reader of Markdown makes a link or HTML of them."""
    return re.sub(r"[^\w, -]+", "-", plain(value)).strip("- ") or "unnamed"


def items(rows: Iterable[tuple[str, object]]) -> str:
    """Return a list of names and values."""
    return "\n".join(f"- {name}: {value}" for name, value in rows)


def table(header: Sequence[str], rows: Iterable[Sequence[object]]) -> str:
    """Return a table whose first column is text and whose others are numbers."""
    lines = [header, [":--", *["--:"] * (len(header) - 1)], *rows]
    return "\n".join("| " + " | ".join(map(str, line)) + " |" for line in lines)


def document(metadata: Mapping[str, Any], title: str, intro: str, sections: Mapping[str, str]) -> str:
    """Return a card: metadata as YAML between lines of dashes, a title, and sections."""
    parts = [f"# {title}", intro, *(f"## {name}\n\n{text}" for name, text in sections.items())]
    return f"---\n{_yaml(metadata)}---\n\n" + "\n\n".join(parts) + "\n"


def licence_id(licence: str | None) -> str:
    """Return the hub's identifier of a licence: `cc-by-4.0` of `CC BY 4.0`; `other` if it has none, `unknown` of None.

    References
    ----------
    https://huggingface.co/docs/hub/repositories-licenses
    """
    if licence is None:
        return "unknown"
    name = "-".join(licence.casefold().split())
    return name if name in LICENCES else "other"


def _yaml(content: Mapping[str, Any]) -> str:
    yaml = YAML()
    yaml.width = 10_000  # no text is broken into lines
    text = io.StringIO()
    yaml.dump(dict(content), text)
    return text.getvalue()


def count_images(split: Mapping[str, Any]) -> Mapping[str, Any]:
    """Return the number of images of each split; split.json of earlier versions calls them pictures."""
    counts: Mapping[str, Any] = split["images"] if "images" in split else split["pictures"]
    return counts


def calibrated(content: Mapping[str, Any] | None) -> str:
    """Return what calibration.json says to people, without hashes and arrays; empty if there is none."""
    if content is None:
        return ""
    rows = []
    for name, value in content.items():
        if value is not None and not name.endswith("sha256"):
            shown = {key: each for key, each in value.items() if key not in ARRAYS} if name == "foreign" else value
            rows.append((code(name), code(json.dumps(shown, ensure_ascii=False))))
    return f"Fitted on the validation split, and used by `./darkroom predict`:\n\n{items(rows)}"
