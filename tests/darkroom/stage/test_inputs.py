"""The inputs of a stage: the parameters and files that dvc.yaml lists."""

import re
from pathlib import Path

import pytest

from darkroom.base.errors import InputError
from darkroom.stage.inputs import read_inputs


def test_inputs_are_what_dvc_yaml_lists(root: Path) -> None:  # noqa: ARG001
    assert set(read_inputs("split")) == {
        "params.yaml: base.seed",
        "params.yaml: split.val_fraction",
        "src/split.py",
        "data/raw/images.npy",
        "photos/a.jpg",
    }


@pytest.mark.parametrize("folder", ["[1, 2]", "x" * 5000, "{a: 1}", "nowhere"])
def test_what_is_no_path_depends_on_nothing(folder: str, root: Path) -> None:
    text = (root / "params.yaml").read_text()
    (root / "params.yaml").write_text(text.replace("input: photos", f"input: {folder}"))
    assert "photos/a.jpg" not in read_inputs("split")
    assert "src/split.py" in read_inputs("split")


def test_what_editors_leave_in_a_folder_is_no_input(root: Path) -> None:
    """DVC ignores it, too, so it would change the inputs of a stage that DVC does not run again."""
    before = read_inputs("split")
    (root / "photos" / "a.jpg~").write_text("of an editor")
    (root / "photos" / ".ipynb_checkpoints").mkdir()
    (root / "photos" / ".ipynb_checkpoints" / "a.jpg").write_text("of a notebook")
    assert read_inputs("split") == before


@pytest.mark.parametrize("listed", ["split.val_fraction", "mine.yaml: [a]", "mine.yaml: null", "nothing"])
def test_parameters_that_are_no_section_are_refused(listed: str, root: Path) -> None:
    """DVC takes keys and other files, too: their values would neither be recorded nor watched while the stage runs."""
    text = (root / "dvc.yaml").read_text()
    (root / "dvc.yaml").write_text(
        text.replace("[base, split]", f"[base, {{{listed}}}]" if ":" in listed else f"[base, {listed}]")
    )
    told = rf"^dvc\.yaml: stages\.split\.params: {re.escape(listed.partition(':')[0])} is no section of params\.yaml, .* deps$"
    with pytest.raises(InputError, match=told):
        read_inputs("split")
