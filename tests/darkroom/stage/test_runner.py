"""A stage runs alone in its workspace and is refused if its inputs changed meanwhile."""

from pathlib import Path

import pytest

from darkroom.base.errors import RunError
from darkroom.stage import observed
from darkroom.stage.inputs import read_inputs
from darkroom.stage.runner import Stage, running


@pytest.mark.parametrize(
    ("file", "text", "named"),
    [
        ("params.yaml", "base: {seed: 1}\nsplit: {val_fraction: 0.1}\npredict: {input: photos}\n", "params.yaml: base.seed"),
        ("src/split.py", "other", "src/split.py"),
        ("data/raw/images.npy", "longer content", "data/raw/images.npy"),
        ("photos/b.jpg", "new", "photos/b.jpg"),
    ],
)
@pytest.mark.parametrize("is_observed", [False, True])
def test_a_change_under_a_stage_is_found_and_nothing_is_written(
    root: Path, file: str, text: str, named: str, is_observed: bool, monkeypatch: pytest.MonkeyPatch
) -> None:
    if is_observed:  # code counts if it was read, and everything else in any case
        seen = observed.Observation(str(root), str(root / "report"))
        seen.opened.add(str(root / "src" / "split.py"))
        monkeypatch.setattr(observed, "observation", seen)
    out = root / "data" / "split"
    out.mkdir()
    (out / "before").write_text("before")

    def split() -> None:
        with running("split") as stage, stage.replaced(out) as (directory,):
            (directory / "after").write_text("after")
            (root / file).write_text(text)

    with pytest.raises(RunError, match=f"^{named}: changed while split ran, so nothing was written; put it back"):
        split()
    assert [entry.name for entry in out.iterdir()] == ["before"]


def test_what_the_stage_does_not_read_may_change(root: Path) -> None:
    with running("split") as stage, stage.replaced(root / "data" / "split") as (directory,):
        (directory / "after").write_text("after")
        text = (root / "params.yaml").read_text()
        (root / "params.yaml").write_text(text.replace("other: 1", "other: 2") + "# a remark\n")
    assert [entry.name for entry in (root / "data" / "split").iterdir()] == ["after"]


def test_of_two_folders_neither_is_written_when_something_changed(root: Path) -> None:
    folders = [root / "data" / "split", root / "metrics" / "split"]

    def split(change: str) -> None:
        with running("split") as stage, stage.replaced(*folders) as directories:
            for directory in directories:
                (directory / "after").write_text("after")
            (root / "src/split.py").write_text(change)

    with pytest.raises(RunError, match="changed while split ran"):
        split("other")
    assert not any(folder.exists() for folder in folders)
    split("other")
    assert all([entry.name for entry in folder.iterdir()] == ["after"] for folder in folders)


def test_what_a_killed_stage_was_writing_is_swept(root: Path) -> None:
    rest = root / "data" / ".writing-split.abc"
    rest.mkdir()
    with running("split"):
        assert not rest.exists()


def test_a_stage_that_runs_alone_checks_itself(root: Path) -> None:
    stage = Stage("split", read_inputs("split"))
    stage.check()
    (root / "src" / "split.py").unlink()
    with pytest.raises(RunError, match=r"src/split\.py: changed while split ran"):
        stage.check()
