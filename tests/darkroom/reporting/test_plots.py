"""The page and the templates that `dvc plots` uses, as DVC fills them in."""

import json
import re
from pathlib import Path
from typing import Any

import pytest
from dvc_render import VegaRenderer
from dvc_render.html import HTML

DVC = Path(__file__).resolve().parents[3] / ".dvc"
PAGE = (DVC / "plots_page.html").read_text(encoding="utf-8")
COUNTS = {"train": "3", "val": "1", "test": "1", "left_out": "0"}
ROWS = {
    "confusion_counts": ({"actual": "a", "predicted": "a", "count": "3", "num_classes": "1"}, "predicted", "actual"),
    "per_class": ({"class": "a", "precision": "1", "recall": "1", "f1": "1", "support": "3"}, "f1", "class"),
    "class_counts": ({"class": "a", **COUNTS}, "train", "class"),
    "histogram": ({"shorter_side": "8 to 9", "place": "8", **COUNTS}, "shorter_side", "train"),
    "reliability": ({"bin": "1", "confidence": "0.9", "accuracy": "0.8", "count": "3"}, "confidence", "accuracy"),
}


def filled(template: str) -> dict[str, Any]:
    """Return the specification that DVC makes of a template and a row of two revisions."""
    row, x, y = ROWS[template]
    rows = [{**row, "rev": rev, "filename": "table.csv", "field": y} for rev in ("main", "lr=0.1")]
    properties = {"x": x, "y": y, "x_label": "the x", "y_label": "the y", "title": "The title"}
    sources = {"template": template, "template_dir": str(DVC / "plots"), "revs_with_datapoints": ["main", "lr=0.1"]}
    return VegaRenderer(
        rows, "plot", **properties, **sources, anchors_y_definitions=[{"filename": "table.csv", "field": y}]
    ).get_filled_template()


def test_every_template_is_tested() -> None:
    assert sorted(path.stem for path in (DVC / "plots").iterdir()) == sorted(ROWS)


@pytest.mark.parametrize("template", ROWS)
def test_dvc_fills_every_anchor(template: str) -> None:
    text = json.dumps(filled(template))
    assert "<DVC_METRIC" not in text
    for shown in ("The title", "the x", "the y"):
        assert shown in text


@pytest.mark.parametrize("template", ["per_class", "reliability"])
def test_revisions_have_the_colours_of_the_curves(template: str) -> None:
    curve = VegaRenderer(
        [{"step": 0, "loss": 1, "rev": rev} for rev in ("main", "lr=0.1")], "curve", x="step", y="loss"
    ).get_filled_template()
    assert json.dumps(curve["encoding"]["color"]) in json.dumps(filled(template))


def test_the_page_has_every_placeholder_once_and_none_for_the_scripts_of_the_network() -> None:
    assert PAGE.count("{plot_divs}") == PAGE.count("{refresh_tag}") == 1
    assert "{scripts}" not in PAGE


def test_the_page_loads_nothing() -> None:
    page = HTML(PAGE, refresh_seconds=5).with_scripts(VegaRenderer.SCRIPTS).with_element("<p>a plot</p>").embed()
    assert "<p>a plot</p>" in page
    assert '<meta http-equiv="refresh" content="5">' in page
    # The libraries are full of text that looks like HTML: what a browser takes for elements stands outside of them.
    elements = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL)
    assert "<script" not in elements
    assert not re.search(r"\b(src|href)=|@import|url\(", elements)


def test_the_page_holds_the_libraries_that_dvc_would_load_and_their_licences() -> None:
    needed = re.findall(r"npm/([\w-]+@[\d.]+)", VegaRenderer.SCRIPTS)
    assert len(needed) == 3
    scripts = re.findall(r"<script>\n/\*! (\S+)\n\n(.*?)\*/\n(.*?)</script>", PAGE, flags=re.DOTALL)
    assert [name for name, _, _ in scripts] == [name.replace("@", "-") for name in needed]
    for name, licence, code in scripts:
        assert "Redistribution and use in source and binary forms" in licence
        assert f'"{name.rsplit("-", 1)[1]}"' in code
