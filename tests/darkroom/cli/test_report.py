"""`./darkroom report` in a clone with results and an experiment."""

import shutil

import pytest
from clones import Clone, Finished

pytestmark = [pytest.mark.slow, pytest.mark.xdist_group("report")]


@pytest.fixture(scope="module")
def clone(finished: Finished, tmp_path_factory: pytest.TempPathFactory) -> Clone:
    made = finished.copy(tmp_path_factory.mktemp("report") / "darkroom")
    made.run("dvc exp run -n four-images -S evaluate.num_images=4")
    made.restore()
    return made


def test_the_workspace_and_an_experiment_are_written(clone: Clone) -> None:
    done = clone.run("./darkroom report")
    accuracy = f"{clone.metrics()['test']['accuracy']:.4f}"
    assert done.stdout.startswith(f"report: workspace: test accuracy {accuracy} (")
    assert "report.html, " in done.stdout
    page = (clone.path / "report.html").read_text(encoding="utf-8")
    assert accuracy in page
    assert "do not belong" not in page
    assert clone.run("git status --short").stdout == ""  # Git ignores it
    clone.run("./darkroom report HEAD four-images --out both.html")
    both = (clone.path / "both.html").read_text(encoding="utf-8")
    assert "evaluate.num_images" in both
    assert "neither in DVC" not in both
    (clone.path / "both.html").unlink()


def test_metrics_beside_other_parameters_are_marked(clone: Clone) -> None:
    clone.edit({"num_images: 32": "num_images: 3"})
    clone.run("./darkroom report --out other.html")
    page = (clone.path / "other.html").read_text(encoding="utf-8")
    (clone.path / "other.html").unlink()
    clone.restore()
    assert "do not belong" in page
    assert "evaluate.num_images" in page


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        ("four-image", "error: four-image: is not a commit, branch, tag or experiment; did you mean 'four-images'?"),
        ("--out nowhere/report.html", "error: --out: the folder nowhere does not exist; create it first"),
        ("--out data", "error: --out: data is a folder; name a file"),
        ("--out params.yaml", "error: --out: params.yaml exists and was not written by ./darkroom report; name"),
        ("--out metrics/evaluate/report.html", "error: --out: metrics/evaluate/report.html is in metrics/evaluate, which stages"),
        ("HEAD HEAD~0 HEAD^0 a b c d e f", "error: REV: 9 revisions do not fit beside each other; name at most 8"),
    ],
)
def test_mistakes_are_one_line(clone: Clone, arguments: str, message: str) -> None:
    done = clone.run(f"./darkroom report {arguments}", status=2)
    assert done.stderr.startswith(message)
    assert done.stderr.count("\n") == 1


def test_without_the_cache_the_page_says_what_to_fetch(finished: Finished, clone: Clone) -> None:
    bare = finished.copy(clone.path.parent / "bare")
    shutil.rmtree(bare.path / ".dvc" / "cache")
    bare.run("./darkroom report HEAD")
    page = (bare.path / "report.html").read_text(encoding="utf-8")
    assert "dvc fetch" in page
    assert f"{bare.metrics()['test']['accuracy']:.4f}" in page  # from Git


def test_without_results_it_is_an_error(finished: Finished, clone: Clone) -> None:
    bare = finished.copy(clone.path.parent / "none")
    bare.run("rm -r metrics")
    assert "metrics/evaluate.json: does not exist; run 'dvc repro'" in bare.run("./darkroom report", status=2).stderr
