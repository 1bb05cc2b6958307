"""The report: every kind of data, nothing that runs or loads, what is missing is said; opened in a browser where one is installed."""

import io
from pathlib import Path

import numpy as np
import pyarrow as pa
import pyarrow.parquet as pq
import pytest
from browser import BROWSER, Markup, look_at
from evaluated import FORMULA, HOSTILE, Files, records, revision
from PIL import Image
from repositories import lock_text

from darkroom.pages import document
from darkroom.pages.report import MAX_BYTES, SECTIONS, report
from darkroom.versions.recorded import WEIGHTS

LONG = "Ärger mit Umlauten und einem sehr langen Namen, der nirgends hineinpasst"
CLASSES = ["a", "b", HOSTILE, "</style><script>alert(1)</script>", "='=1+1", "\u202egpj", LONG]


@pytest.fixture(scope="module")
def files(tmp_path_factory: pytest.TempPathFactory) -> Files:
    sites = [HOSTILE, "north", "south", "south"] * 50
    return records(CLASSES, tmp_path_factory.mktemp("records"), columns={"site": sites})


@pytest.fixture(scope="module")
def page(files: Files) -> str:
    return report([revision(files)])


def faults(text: str) -> list[str]:
    """Return what in a page could run, or load anything."""
    found = []
    for tag, attributes in Markup(text).elements:
        if tag not in document.ELEMENTS | {"style"}:
            found.append(tag)
        for name, value in attributes.items():
            leaves = name in ("src", "href", "srcset", "action", "data") and not (value or "").startswith(("#", "data:"))
            if name.startswith("on") or leaves or (name == "style" and "url" in (value or "")):
                found.append(f"{tag} {name}={value}")
    return found + [word for word in ("url(", "@import") if word in text.partition("</style>")[0]]


def test_nothing_in_the_page_runs_or_loads(page: str) -> None:
    assert faults(page) == []
    assert page.count("&lt;img src=x onerror=alert(1)&gt;") >= 8
    assert "&lt;script&gt;alert(1)" in page
    assert FORMULA in page
    assert "\u202e" not in page


@pytest.mark.sample(1)
@pytest.mark.parametrize("fault", ["<script>1</script>", "<p onclick=x>", "<img src=//x.org/a.png>", "<a href='https://x.org'>"])
def test_what_runs_or_loads_is_seen(page: str, fault: str) -> None:
    assert faults(page.replace("</main>", f"{fault}</main>")) != []


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_finds_no_fault_and_requests_nothing(page: str, tmp_path: Path) -> None:
    seen = look_at(page, tmp_path)
    assert (seen.errors, seen.requests) == ([], [])
    assert len(seen.markup.elements) == pytest.approx(len(Markup(page).elements), abs=3)
    assert seen.markup.tags <= document.ELEMENTS | {"style"}


@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_a_browser_reports_errors_and_requests(tmp_path: Path) -> None:
    seen = look_at("<script>console.error('x')</script><img src=x.png><img src=http://other.test/y.png>", tmp_path)
    assert any('"x"' in error for error in seen.errors)
    assert sorted(seen.requests) == [(tmp_path / "x.png").as_uri(), "http://other.test/y.png"]


@pytest.mark.thorough
@pytest.mark.skipif(BROWSER is None, reason="no Chromium is installed")
def test_even_a_name_that_became_markup_would_not_run(page: str, tmp_path: Path) -> None:
    broken = page.replace("</main>", "<img src=x onerror=\"document.title='run'\"><script>document.title='run'</script></main>")
    seen = look_at(broken, tmp_path)
    assert seen.requests == []
    assert seen.errors != []  # the policy says what it refused


def test_every_section_is_drawn_in_order(page: str) -> None:
    places = [page.find(f'id="{section.ident}"') for section in SECTIONS]
    assert places == sorted(places)
    assert min(places) > page.find('class="headline"') > 0
    assert 'class="missing"' not in page
    assert page.count('class="pair"') == min(24, len(wrong(page)))
    assert "after calibration" in page
    assert "temperature 0.500" in page
    assert "calibration error on test is 0.1000 with it and 0.2000 without" in page
    assert "below a confidence of 0.600: on validation 96.0% of the other 70.0% are right" in page
    assert "Of the known images of test it calls 4.0% unknown, as if of no trained class" in page
    assert "hold the correct one for 91.0% of test, where 90.0% were asked for, and have 1.30 classes on average" in page
    assert "stroke-dasharray" in page


def wrong(page: str) -> list[str]:
    """Return the numbers of mistakes that the page names."""
    return ["x"] * int(page.partition(" mistakes by name")[0].rpartition(">")[2])


def test_it_is_the_same_every_time(files: Files, page: str) -> None:
    assert report([revision(files)]) == page


@pytest.mark.sample(1)
@pytest.mark.parametrize(
    "name", ["metrics/evaluate.json", "metrics/predictions.parquet", "dvc.lock", "metrics/evaluate/confusion.csv"]
)
def test_what_is_missing_is_said_with_what_to_type(files: Files, name: str) -> None:
    text = report([revision({path: content for path, content in files.items() if path != name})])
    assert faults(text) == []
    said = (
        "dvc.lock does not say" if name == "dvc.lock" else f'{name}: does not exist; run <code class="command">dvc repro</code>'
    )
    assert (said in text) == (name != "metrics/predictions.parquet")  # the map and the mistakes do with less


def test_nothing_at_all_is_a_page_as_well() -> None:
    text = report([revision({})])
    assert faults(text) == []
    assert text.count('class="missing"') >= 6


@pytest.mark.sample(2)
@pytest.mark.parametrize(
    "content", [b"", b"\xff\x00", b"{}", b"[]", b"null", b"a,b\n1,2\n", b'{"a": {"b": [null]}}', b'{"stages": {"x": 1}}']
)
def test_a_damaged_file_is_said(files: Files, content: bytes) -> None:
    """But for the features, whose map takes longest, and which have a test of their own."""
    few = {name: each for name, each in files.items() if "features" not in name}
    for name in few:
        text = report([revision(few | {name: content})])
        assert faults(text) == [], name
        assert len(text) > 20_000, name


@pytest.mark.thorough
def test_a_table_is_longer_or_shorter_than_the_classes(files: Files) -> None:
    for name in ("metrics/evaluate/per_class.csv", "metrics/evaluate/confusion.csv", "metrics/split/classes.csv"):
        lines = files[name].splitlines(keepends=True)
        for content in (b"".join(lines[:3]), b"".join([*lines, lines[-1].replace(b"b", b"new")])):
            assert "</html>" in report([revision(files | {name: content})])


def test_an_earlier_version_has_no_predictions(files: Files) -> None:
    later = ("metrics/predictions.parquet", "metrics/evaluate/features.parquet", "metrics/evaluate/mistakes.parquet")
    old = {name: content for name, content in files.items() if name not in (*later, "metrics/evaluate.json")}
    text = report([revision(old | {"metrics/evaluate/metrics.json": files["metrics/evaluate.json"]})])
    assert "test accuracy, 0.750 to 0.850" in text
    assert text.count('class="missing"') == 2  # the mistakes and the map


@pytest.mark.parametrize(("task", "classes"), [("binary", ["healthy", HOSTILE]), ("multilabel", ["a", "b", HOSTILE])])
def test_other_tasks(task: str, classes: list[str], tmp_path: Path) -> None:
    text = report([revision(records(classes, tmp_path, task=task, epochs=1))])
    assert faults(text) == []
    assert 'class="missing"' not in text
    assert ("any number of classes" in text) == (task == "multilabel")
    assert "nan" not in text.partition("</style>")[2].replace("&#x27;nan", "")


def test_a_thousand_classes_are_few_bytes(tmp_path: Path) -> None:
    many = revision(records([f"n{number:08d} <class> {number}" for number in range(1000)], tmp_path, images=400))
    text = report([many])
    assert len(text.encode()) < MAX_BYTES / 4
    assert "10 largest and the 10 smallest" in text
    assert "980 more classes" in text
    assert 'class="matrix"' not in text


@pytest.mark.thorough
def test_images_are_limited(files: Files, tmp_path: Path) -> None:
    noise = np.random.default_rng(0).integers(0, 255, (24, 300, 300, 3), dtype=np.uint8)
    rows = {"id": [str(row) for row in range(24)], "image": [], "heat": []}
    for pixels in noise:
        written = io.BytesIO()
        Image.fromarray(pixels).save(written, "PNG")
        rows["image"].append(written.getvalue())
        rows["heat"].append(written.getvalue())
    pq.write_table(pa.table(rows), tmp_path / "mistakes.parquet")
    large = files | {"metrics/evaluate/mistakes.parquet": (tmp_path / "mistakes.parquet").read_bytes()}
    assert sum(map(len, rows["image"])) > MAX_BYTES
    text = report([revision(large, "a"), revision(large, "b"), revision(large, "c")])
    assert text.count('class="pair"') >= 24
    assert len(text.encode()) < MAX_BYTES


def test_revisions_stand_beside_each_other(files: Files, tmp_path: Path) -> None:
    other = records(CLASSES, tmp_path, seed=1, epochs=9, params={"lr": 0.003, "new": HOSTILE})
    text = report([revision(files, "main"), revision(other, HOSTILE), revision(files, "again")])
    assert faults(text) == []
    assert "train.lr" in text
    assert "not set" in text
    assert "All have the same images and the same split." in text
    assert "./darkroom compare main &#x27;&lt;img src=x onerror=alert(1)&gt;&#x27; again" in text


@pytest.mark.thorough
def test_other_data_are_said_where_metrics_are_compared(files: Files) -> None:
    other = files | {"dvc.lock": files["dvc.lock"].replace(b"md5: s", b"md5: t")}
    text = report([revision(files, "main"), revision(files, "same"), revision(other, "other")])
    assert "They were not measured on the same images" in text
    assert "./darkroom compare data main other" in text
    assert ">main, same</bdi>" in text
    assert "not measured on the same images" not in report([revision(files, "main"), revision(files, "same")])


def test_one_of_several_has_nothing(files: Files) -> None:
    text = report([revision(files, "main"), revision({}, "empty")])
    assert faults(text) == []
    assert "0.750 to 0.850" in text
    assert "metrics/evaluate.json: does not exist" in text


def test_metrics_of_other_parameters_are_not_passed_off(files: Files) -> None:
    changed = files | {"params.yaml": b'{"train": {"lr": 0.5, "epochs": 5}}'}
    text = report([revision(changed)])
    assert "These numbers do not belong to all that lies beside them" in text
    assert "params.yaml has train.lr = 0.5, but the results were made with 0.01" in text
    assert "do not belong" not in report([revision(files)])


def test_metrics_of_another_model_are_not_passed_off(files: Files) -> None:
    outs = {"metrics/evaluate.json": "0" * 32}
    stages = {"train": {"outs": {WEIGHTS: "new"}}, "evaluate": {"deps": {WEIGHTS: "old"}, "outs": outs}}
    text = report([revision(files | {"dvc.lock": lock_text(stages).encode()})])
    assert "evaluate ran with another models/model.safetensors than the one recorded" in text
    assert "metrics/evaluate.json is not the file that dvc.lock records" in text


def test_no_mistakes_and_no_duplicates_are_sentences(files: Files) -> None:
    header = files["data/split/duplicates.csv"].splitlines(keepends=True)[0]
    text = report([revision(files | {"data/split/duplicates.csv": header})])
    assert "Among the images are no duplicates." in text
