"""The inputs of a stage: the parameters and files that dvc.yaml lists."""

from pathlib import Path

import pytest

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
