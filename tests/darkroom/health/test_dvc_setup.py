"""Checks of DVC's files, settings, cache and remote."""

import os
import sys
from collections.abc import Callable
from pathlib import Path

import pytest
from findings_of import line, lines, way_out
from packaging.requirements import Requirement
from repositories import shell

from darkroom.health import checks, dvc_setup


def test_pipeline(workspace: Path) -> None:
    assert (
        line(dvc_setup.check_pipeline(workspace), "dvc.yaml")
        == "ok dvc.yaml 6 stages: check, download, split, train, evaluate, predict"
    )
    for text, expected in (
        ("stages: [", "dvc.yaml:2: is not YAML"),
        ("a: 1", "has no stages"),
        (None, "dvc.yaml: does not exist"),
    ):
        (workspace / "dvc.yaml").write_text(text) if text else (workspace / "dvc.yaml").unlink()
        found = line(dvc_setup.check_pipeline(workspace), "dvc.yaml")
        assert found.startswith(f"fail dvc.yaml {expected}")
        shell(way_out(found), workspace)
        assert line(dvc_setup.check_pipeline(workspace), "dvc.yaml").startswith("ok")


def test_results(workspace: Path) -> None:
    path = workspace / "dvc.lock"
    assert line(dvc_setup.check_results(workspace), "dvc.lock") == "ok dvc.lock no results yet; 'dvc repro' creates them"
    path.write_text("schema: '2.0'\nstages:\n  split: {}\n")
    assert (
        line(dvc_setup.check_results(workspace), "dvc.lock")
        == "warn dvc.lock 1 stage: split, but not in Git; run: git add -f dvc.lock"
    )
    shell("git add -f dvc.lock", workspace)
    assert line(dvc_setup.check_results(workspace), "dvc.lock") == "ok dvc.lock 1 stage: split"
    path.write_text("<<<<<<< HEAD\nschema: '2.0'\n=======\n")
    assert line(dvc_setup.check_results(workspace), "dvc.lock").startswith("fail dvc.lock dvc.lock:")
    assert way_out(line(dvc_setup.check_results(workspace), "dvc.lock")) == "rm dvc.lock && dvc repro"
    shell("git checkout dvc.lock && git commit -qm results && echo torn > dvc.lock", workspace)
    assert (
        line(dvc_setup.check_results(workspace), "dvc.lock") == "fail dvc.lock has no stages; run: git checkout HEAD -- dvc.lock"
    )
    shell("git commit -qam damaged", workspace)
    assert way_out(line(dvc_setup.check_results(workspace), "dvc.lock")) == "rm dvc.lock && dvc repro"


@pytest.fixture
def check_dvc(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> Callable[..., list[str]]:
    """Return the lines on DVC after a command in the workspace, untouched by the settings of who runs the tests."""
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(workspace / "global"))
    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(workspace / "system"))
    monkeypatch.setenv("PATH", f"{Path(sys.executable).parent}:{os.environ['PATH']}")

    def check(command: str) -> list[str]:
        shell(command, workspace)
        dvc_setup.read_settings.cache_clear()
        return lines(dvc_setup.check_dvc(workspace))

    return check


def test_dvc(check_dvc: Callable[..., list[str]]) -> None:
    version, settings, remote = check_dvc("true")
    assert version.startswith("ok dvc 3.")
    assert settings == "ok dvc settings as the project needs"
    assert remote.startswith("ok dvc remote none: models and data stay on this machine")
    assert check_dvc("rm .dvc/config") == ["fail dvc .dvc/config does not exist; run: git checkout HEAD -- .dvc"]
    assert check_dvc("rm -r .dvc") == ["fail dvc .dvc/config does not exist; run: git checkout HEAD -- .dvc"]


def test_dvc_is_missing(workspace: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(dvc_setup, "installed_version", lambda _: None)
    assert lines(dvc_setup.check_dvc(workspace))[0].startswith("fail dvc is not installed; run: ")


@pytest.mark.sample(2)
@pytest.mark.slow
@pytest.mark.parametrize(
    ("command", "expected"),
    [
        (
            "dvc config hydra.enabled true",
            "fail dvc settings hydra.enabled is true (.dvc/config): 'dvc exp run' would overwrite edits of params.yaml; run:",
        ),
        pytest.param(
            "dvc config --local hydra.enabled true",
            "fail dvc settings hydra.enabled is true (.dvc/config.local)",
            marks=pytest.mark.thorough,
        ),
        ("dvc config core.autostage true", "warn dvc settings core.autostage is true, not false; run:"),
        pytest.param(
            "dvc config core.analytics true",
            "warn dvc settings core.analytics is true, not false; run:",
            marks=pytest.mark.thorough,
        ),
        (
            "git config -f .dvc/config.local core.analytics true",
            "warn dvc settings core.analytics is true, not false (.dvc/config.local); run:",
        ),
        pytest.param(
            "dvc config cache.type copy",
            "warn dvc settings cache.type is copy, not reflink,hardlink,copy; run:",
            marks=pytest.mark.thorough,
        ),
        pytest.param(
            "dvc config -u plots.html_template",
            "warn dvc settings plots.html_template is not set, not plots_page.html; run:",
            marks=pytest.mark.thorough,
        ),
        ("rm .dvc/plots_page.html", "warn dvc settings .dvc/plots_page.html does not exist; run:"),
        ("echo garbage >> .dvc/config", "fail dvc settings configuration error"),
        ("echo garbage > .dvc/config.local", "fail dvc settings configuration error"),
    ],
)
def test_dvc_settings(command: str, expected: str, check_dvc: Callable[..., list[str]]) -> None:
    found = check_dvc(command)[1]
    assert found.startswith(expected)
    assert check_dvc(way_out(found))[1] == "ok dvc settings as the project needs"


def dvc_cache(workspace: Path) -> str:
    """Return the line on the disk of the cache without how much is free."""
    (check,) = [check for check in checks.all_checks(workspace, Requirement) if check.subject == "dvc cache"]
    found = line(check.findings(workspace), "dvc cache")
    return f"{' '.join(found.split()[:3])} {found.split()[-1]}"


def test_settings_of_this_machine(workspace: Path, check_dvc: Callable[..., list[str]]) -> None:
    (workspace / ".dvc/config.local").write_text("[cache]\n    type = hardlink,symlink\n    dir = ../elsewhere\n")
    found = check_dvc("mkdir elsewhere")[1]
    assert found == "ok dvc settings as the project needs; .dvc/config.local sets cache.dir, cache.type"
    assert dvc_cache(workspace) == "ok dvc cache elsewhere"
    check_dvc("rm .dvc/config.local && mkdir .dvc/cache")
    assert dvc_cache(workspace) == "ok dvc cache .dvc/cache"
    check_dvc("echo garbage > .dvc/config")
    assert dvc_cache(workspace) == "ok dvc cache .dvc/cache"


def test_dvc_remote(check_dvc: Callable[..., list[str]]) -> None:
    found = check_dvc("dvc remote add --local storage /somewhere")[2]
    assert found == "warn dvc remote storage, but none is the default; run: dvc remote default --local storage"
    assert check_dvc(way_out(found))[2] == "ok dvc remote storage: /somewhere"


def test_a_path_that_dvc_cannot_write() -> None:
    for place in ("/home/jo/a, b; c's 100% [x]", "/home/jo/darkroom"):
        assert list(dvc_setup._path(Path(place))) == []
    for place, wrong in (("/home/josé/darkroom", "é"), ("/home/jo/#1/darkroom", "#"), ("/home/jo/what?", "?")):
        (found,) = dvc_setup._path(Path(place))
        assert (found.mark, found.subject) == ("warn", "dvc path")
        assert found.text.startswith(f"{place} has '{wrong}', with which 'dvc exp run --temp' and the queue fail; 'dvc exp run',")
