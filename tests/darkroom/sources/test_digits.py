"""The digits of scikit-learn, without scikit-learn."""

import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest

from darkroom.base.errors import RunError
from darkroom.data.images import Decoded
from darkroom.sources import digits
from darkroom.sources.digits import list_digits


def test_they_are_those_of_scikit_learn() -> None:
    from sklearn.datasets import load_digits

    expected = load_digits()
    samples = [item.read() for item in list_digits().items]
    pixels = np.stack([decoded.image for decoded, _ in samples if isinstance(decoded, Decoded)])
    np.testing.assert_array_equal(pixels, np.rint(expected.images * 255 / 16))
    assert [label for _, label in samples] == expected.target.tolist()
    assert list_digits().name_classes(range(10)) == [str(digit) for digit in range(10)]


def test_they_need_no_import_of_scikit_learn() -> None:
    code = "import sys; from darkroom.sources.digits import list_digits; list_digits(); assert 'sklearn' not in sys.modules"
    subprocess.run([sys.executable, "-c", code], check=True, cwd=Path(__file__).resolve().parents[3] / "src")


def test_another_file_is_refused(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(digits, "SHA256", "0" * 64)
    with pytest.raises(RunError, match=r"scikit-learn: digits\.csv\.gz has an unknown SHA-256; install requirements\.txt again"):
        list_digits()


def test_a_missing_file_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("importlib.util.find_spec", lambda _: None)
    with pytest.raises(RunError, match=r"scikit-learn: digits\.csv\.gz cannot be read"):
        list_digits()
