"""What a search reads of trainings that DVC's run cache had."""

from pathlib import Path

import pytest

from darkroom.search.curves import CURVES, read_curve


@pytest.mark.parametrize(
    ("text", "expected"),
    [
        ("step\taccuracy\n1\t0.25\n2\t0.5\n", {1: 0.25, 2: 0.5}),
        ("step\taccuracy\n", {}),
        ("", {}),
        ("step\taccuracy\n1\tmuch\n", {}),
        ("step\taccuracy\n1\n", {}),
    ],
)
def test_values_by_epoch(tmp_path: Path, text: str, expected: dict[int, float]) -> None:
    file = tmp_path / CURVES / "val" / "accuracy.tsv"
    file.parent.mkdir(parents=True)
    file.write_text(text)
    assert read_curve(tmp_path, "val/accuracy") == expected
    assert read_curve(tmp_path, "parameters") == {}
