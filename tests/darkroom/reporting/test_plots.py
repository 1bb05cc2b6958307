"""The page and the templates that `dvc plots` uses, as DVC fills them in."""

import json
import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from browser import BROWSER, look
from dvc_render import ImageRenderer, VegaRenderer, render_html
from dvc_render.html import HTML
from PIL import Image

from darkroom.base.yaml_file import read_yaml
from darkroom.evaluation.tables import plain_text

ROOT = Path(__file__).resolve().parents[3]
DVC = ROOT / ".dvc"
PAGE = (DVC / "plots_page.html").read_text(encoding="utf-8")
COUNTS = {"train": "3", "val": "1", "test": "1", "left_out": "0"}
HOSTILE = plain_text("</script><img src=x onerror=alert(1)>")
ROWS: dict[str, tuple[list[dict[str, str]], str, str]] = {
    "headline": (
        [
            {"split": "test", "metric": "accuracy", "value": "0.875", "low": "0.8", "high": "0.95", "images": "8"},
            {"split": "test", "metric": "loss", "value": "0.4", "low": "", "high": "", "images": "8"},
            {"split": "test", "metric": "perplexity", "value": "1234.5", "low": "", "high": "", "images": "8"},
            {"split": "val", "metric": "f1_macro", "value": "0.9", "low": "0.8", "high": "0.95", "images": "10"},
        ],
        "value",
        "metric",
    ),
    "curves": ([{"step": "1", "loss": "2"}, {"step": "2", "loss": "1.5"}], "step", "loss"),
    "confusion_counts": (
        [
            {"actual": "a", "predicted": "a", "count": "3", "num_classes": "2"},
            {"actual": HOSTILE, "predicted": HOSTILE, "count": "2", "num_classes": "2"},
            {"actual": "a", "predicted": HOSTILE, "count": "1", "num_classes": "2"},
        ],
        "predicted",
        "actual",
    ),
    "per_class": (
        [
            {"class": "a", "precision": "1", "recall": "0.75", "f1": "0.86", "support": "4"},
            {"class": HOSTILE, "precision": "", "recall": "", "f1": "", "support": "0"},
        ],
        "f1",
        "class",
    ),
    "reliability": (
        [
            {"bin": str(place), "confidence": f"0.{place}5", "accuracy": f"0.{place}", "count": "30", "calibration": calibration}
            for calibration in ("before", "after")
            for place in range(5, 9)
        ],
        "confidence",
        "accuracy",
    ),
    "class_counts": ([{"class": "a", **COUNTS}, {"class": HOSTILE, **COUNTS}], "train", "class"),
    "histogram": (
        [{"shorter_side": f"{side} to {side + 1}", "place": str(side), **COUNTS} for side in (8, 9)],
        "shorter_side",
        "train",
    ),
    "search_history": (
        [{"trial": "0", "value": "0.5", "best": "0.5"}, {"trial": "1", "value": "0.4", "best": "0.5"}],
        "trial",
        "value",
    ),
    "search_importance": ([{"key": "train.lr", "importance": "1"}], "importance", "key"),
}
REVISIONS = ("main", "lr=0.1")


def renderer(template: str, name: str = "plot", rows: list[dict[str, str]] | None = None, revisions: Any = REVISIONS) -> Any:
    """Return what DVC draws of a template and rows, the same for each revision."""
    usual, x, y = ROWS[template]
    points = [{**row, "rev": rev, "filename": "table.csv", "field": y} for rev in revisions for row in rows or usual]
    properties = {"x": x, "y": y, "x_label": "the x", "y_label": "the y", "title": f"Title of {name}"}
    sources = {"template": template, "template_dir": str(DVC / "plots"), "revs_with_datapoints": list(revisions)}
    return VegaRenderer(points, name, **properties, **sources, anchors_y_definitions=[{"filename": "table.csv", "field": y}])


def filled(template: str) -> dict[str, Any]:
    """Return the specification that DVC makes of a template and rows of two revisions."""
    specification: dict[str, Any] = renderer(template).get_filled_template()
    return specification


def test_every_template_is_tested() -> None:
    assert sorted(path.stem for path in (DVC / "plots").iterdir()) == sorted(ROWS)


@pytest.mark.parametrize("template", ROWS)
def test_dvc_fills_every_anchor(template: str) -> None:
    text = json.dumps(filled(template))
    assert "<DVC_METRIC" not in text
    for shown in ("Title of plot", "the x", "the y"):
        assert shown in text


@pytest.mark.parametrize("template", ["curves", "per_class", "reliability"])
def test_revisions_have_the_colours_of_other_charts(template: str) -> None:
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
    elements = re.sub(r"<script>.*?</script>", "", page, flags=re.DOTALL).replace('<link rel="icon" href="data:,">', "")
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


def test_the_page_is_made_of_its_parts_and_has_the_colours_of_the_other_pages() -> None:
    for part in ("plots_page.css", "plots_page.js"):
        assert (ROOT / "tools" / part).read_text(encoding="utf-8") in PAGE, "run: python tools/plots_page.py"
    colours = re.findall(r"--c\d: #\w+", (ROOT / "src/darkroom/pages/page.css").read_text(encoding="utf-8"))
    assert len(set(colours)) == 16
    assert set(colours) <= set(re.findall(r"--c\d: #\w+", PAGE)), "run: python tools/plots_page.py"


def test_every_colour_of_a_template_has_one_in_the_dark() -> None:
    known = set(re.findall(r'"(#\w{6})": "--', PAGE))
    for path in (DVC / "plots").iterdir():
        assert set(re.findall(r"#[0-9a-f]{6}", path.read_text(encoding="utf-8"))) <= known


def test_every_plot_of_the_pipeline_has_a_template_of_the_page() -> None:
    plots = read_yaml(ROOT / "dvc.yaml")["plots"]
    used = {options["template"] for plot in plots if isinstance(plot, dict) for options in plot.values()}
    assert used | {"search_history", "search_importance"} == set(ROWS)
    for template in ROWS:
        assert filled(template)["usermeta"]["darkroom"]["section"] in re.findall(r'(\w+): "', PAGE)


@pytest.fixture
def draw(tmp_path: Path) -> Callable[..., Path]:
    """Write the page of some plots, as `dvc plots` does."""

    def draw(*renderers: Any) -> Path:
        render_html(list(renderers), tmp_path / "index.html", html_template=str(DVC / "plots_page.html"))
        return tmp_path / "index.html"

    return draw


def images(folder: Path, name: str) -> Any:
    for rev in REVISIONS:
        Image.new("RGB", (900, 60), "white").save(folder / f"{rev}.png")
    return ImageRenderer([{"rev": rev, "src": str(folder / f"{rev}.png")} for rev in REVISIONS], name)


@pytest.mark.sample(1)
@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
@pytest.mark.parametrize(("width", "dark"), [(1400, False), (390, True)])
def test_all_is_drawn_without_an_error_or_a_request(draw: Callable[..., Path], tmp_path: Path, width: int, dark: bool) -> None:
    sheet = images(tmp_path, "metrics/evaluate/images/mistakes.png")
    page = draw(sheet, *(renderer(template, template) for template in reversed(ROWS)))
    widths = (
        "[...document.querySelectorAll('.chart')].map((host) => [host.clientWidth, host.querySelector('svg.marks').clientWidth])"
    )
    seen = look(page, width=width, dark=dark, expression=widths)
    assert (seen.errors, seen.width) == ([], width)
    assert sorted(Path(each).name for each in seen.requests) == ["lr=0.1.png", "main.png"]
    # Everything in its place, whatever the order of the plots.
    order = ["Headline", "Curves", "Confusion", "Per class", "Reliability", "Mistakes", "Data", "Search"]
    lines = seen.text.splitlines()
    places = [len(lines) - 1 - lines[::-1].index(each) for each in order]
    assert places == sorted(places)
    assert lines[0] == "Plots of main, lr=0.1"
    assert "87.5 %" in lines[: places[1]]
    assert "95 % interval 80.0 % to 95.0 %" in seen.text
    assert "main, lr=0.1 (equal)" in lines
    assert "1234.5" in seen.text
    assert "123450" not in seen.text
    assert len(seen.value) == 8  # one for equal revisions; the headline is a table
    assert all(drawn <= host for host, drawn in seen.value)
    assert sum(drawn > 0.8 * host for host, drawn in seen.value) >= 7  # but for matrices, whose cells have a largest size


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_a_histogram_of_one_bar_is_hidden_and_very_many_classes_become_their_worst(draw: Callable[..., Path]) -> None:
    one_bar = renderer("histogram", "sizes", [{"shorter_side": "8 to 9", "place": "8", **COUNTS}])
    names = [f"class {number}" for number in range(60)]
    cells = [(actual, predicted) for actual in names for predicted in (actual, names[0])]
    matrix = [{"actual": a, "predicted": b, "count": str(1 + len(a)), "num_classes": "60"} for a, b in cells]
    scores = [
        {"class": name, "precision": "1", "recall": "1", "f1": f"0.{40 + place}", "support": "3"}
        for place, name in enumerate(names)
    ]
    page = draw(one_bar, renderer("confusion_counts", "confusion", matrix), renderer("per_class", "f1", scores, ["main"]))
    seen = look(page)
    assert seen.errors == []
    assert "Title of sizes" not in seen.text
    assert "Data" not in seen.text.splitlines()
    assert "The 20 most frequent mistakes among 60 classes." in seen.text
    assert "class 10 → class 0" in seen.text
    assert "The 40 lowest of 60 classes." in seen.text
    assert "class 39 (3)" in seen.text
    assert "class 40 (3)" not in seen.text


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_plots_of_older_commits_and_of_users_are_drawn_as_well(draw: Callable[..., Path]) -> None:
    rows = [{"step": str(step), "loss": str(1 / step), "rev": rev} for rev in REVISIONS for step in (1, 2, 3)]
    linear = [VegaRenderer(rows, name, x="step", y="loss", title=f"Title of {name}") for name in ("loss", "mine")]
    seen = look(draw(*linear))
    assert all("Infinite extent" in each for each in seen.errors)  # of DVC's template, on DVC's page as well
    assert [line for line in seen.text.splitlines() if line in ("Curves", "Further plots", "Title of loss", "Title of mine")][
        2:
    ] == [*("Curves", "Title of loss", "Further plots", "Title of mine")]


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_equal_experiments_are_both_visible(draw: Callable[..., Path]) -> None:
    lines = "[...document.querySelectorAll('.mark-line path')].map((line) => line.getAttribute('stroke-width'))"
    for revisions, widths in ((["main"], ["2"]), (["main", "b", "c"], ["10", "6", "2"])):
        seen = look(draw(renderer("curves", revisions=revisions)), expression=lines)
        assert (seen.errors, seen.value) == ([], widths)
    assert "main, b, c: equal" in seen.text


@pytest.mark.slow
@pytest.mark.skipif(BROWSER is None, reason="no Chromium")
def test_templates_are_drawn_without_the_page_as_well(tmp_path: Path) -> None:
    """As in VS Code, and with another page of the user's."""
    arrangement = (ROOT / "tools/plots_page.js").read_text(encoding="utf-8")
    assert PAGE.count(arrangement) == 1
    page, plain = tmp_path / "index.html", tmp_path / "plain.html"
    plain.write_text(PAGE.replace(arrangement, ""), encoding="utf-8")
    render_html([renderer(template, template) for template in ROWS], page, html_template=str(plain))
    drawn = "Promise.resolve([...document.querySelectorAll('.vega-embed')].length)"
    seen = look(page, expression=drawn)
    # Notes on the versions that the schema names, and of Vega-Lite on heights by step.
    harmless = ("The input spec uses", "The compiled spec uses", "Dropping")
    assert [error for error in seen.errors if not any(text in error for text in harmless)] == []
    assert seen.value == len(ROWS)
