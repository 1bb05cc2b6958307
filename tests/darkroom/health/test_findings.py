"""Findings: one aligned line each, also for a check that fails itself."""

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest
from findings_of import lines
from packaging.requirements import Requirement

from darkroom.health import checks, findings
from darkroom.health.findings import Check, Finding

ROOT = Path(__file__).resolve().parents[3]


@pytest.mark.parametrize(
    ("error", "expected"),
    [
        (ModuleNotFoundError("No module named 'x'", name="x"), "fail it cannot be checked: x is not installed; run: INSTALL"),
        (PermissionError(13, "Permission denied", "a/b"), "fail it cannot be checked: a/b: Permission denied; run: mend it"),
        (subprocess.TimeoutExpired("git", 30), "fail it cannot be checked: no result within 30 seconds; run: mend it"),
        (ZeroDivisionError("two\nlines"), r"fail it cannot be checked: ZeroDivisionError: two\nlines; run: mend it"),
        (SyntaxError("torn"), "fail it cannot be checked: SyntaxError: torn; run: mend it"),
    ],
)
def test_a_check_that_breaks_says_so(error: Exception, expected: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def look() -> Iterator[Finding]:
        yield Finding("ok", "first", "fine")
        raise error

    monkeypatch.setattr(findings, "install_command", lambda _: "INSTALL")
    assert lines(Check("it", look, "mend it").findings(tmp_path)) == ["ok first fine", expected]


def test_lines_are_aligned() -> None:
    texts = [
        str(Finding("ok", "git", "HERE")),
        str(Finding("warn", "dvc settings", "HERE")),
        str(Finding("fail", "params.yaml", "HERE")),
    ]
    assert len({text.index("HERE") for text in texts}) == 1


def test_subjects_fit_into_their_column() -> None:
    assert max(len(check.subject) for check in checks.all_checks(ROOT, Requirement)) <= findings.SUBJECT_WIDTH


def test_packages_are_installed_as_this_torch_was(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(findings, "installed_version", lambda _: None)
    assert findings.install_command(tmp_path) == "pip install -r requirements.txt"
    monkeypatch.setattr(findings, "installed_version", lambda _: "2.15.0+cpu")
    assert findings.install_command(tmp_path).endswith("--extra-index-url https://download.pytorch.org/whl/cpu")
    assert findings.install_command(tmp_path).split(" --extra")[0] in (ROOT / "docs" / "setup.md").read_text()
    (tmp_path / ".venv" / "bin").mkdir(parents=True)
    (tmp_path / ".venv" / "bin" / "python").touch()
    assert findings.install_command(tmp_path) == "source .venv/bin/activate"
