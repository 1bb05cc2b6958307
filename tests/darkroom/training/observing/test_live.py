"""DVCLive's curves are written when DVCLive itself would, without a search through all modules."""

import inspect
import json
from collections.abc import Callable
from pathlib import Path
from types import FunctionType
from typing import Any, NoReturn

import dvclive.lightning
import pytest
from dvclive.lightning import DVCLiveLogger

from darkroom.base import paths
from darkroom.training.observing.live import WRITES, LiveLogger, lightning_called


def named(name: str, call: Callable[[], Any]) -> Callable[[], Any]:
    """Return a function of this name that calls another one."""

    def function() -> Any:
        return call()

    return FunctionType(function.__code__.replace(co_name=name), function.__globals__, name, None, function.__closure__)


@pytest.mark.parametrize("name", [*sorted(WRITES), "update_eval_step_metrics", "log_metrics", "on_train_epoch_end"])
@pytest.mark.parametrize("between", [False, True])
def test_callers_are_those_that_dvclive_looks_for(name: str, between: bool) -> None:
    def both() -> tuple[bool, bool]:
        return lightning_called(), dvclive.lightning._should_sync()  # type: ignore[no-untyped-call]

    call = named("wrapped", both) if between else both
    assert named(name, call)() == (name in WRITES,) * 2


def logged(logger: DVCLiveLogger, folder: Path) -> list[Any]:
    """Log as Lightning and as callbacks do, and return what stands on the disk after each."""
    found = []
    steps: list[tuple[str, dict[str, Any]]] = [
        ("on_train_epoch_end", {"step": 1}),
        ("log_eval_end_metrics", {"step": 2}),
        ("update_eval_step_metrics", {"step": 3}),
        ("on_train_epoch_end", {"step": 4, "sync": True}),
    ]
    for caller, settings in steps:
        named(caller, lambda settings=settings: logger.log_metrics({"loss": 0.5}, **settings))()  # type: ignore[misc]
        path = folder / "metrics.json"
        found.append(json.loads(path.read_text()) if path.exists() else None)
    return found


def test_it_writes_what_dvclive_writes_without_reading_sources(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    settings: dict[str, Any] = {"dvcyaml": False, "save_dvc_exp": False}
    expected = logged(DVCLiveLogger(dir=str(tmp_path / "its"), **settings), tmp_path / "its")

    def refuse(*_: Any) -> NoReturn:
        raise AssertionError("goes over all modules")

    monkeypatch.setattr(inspect, "stack", refuse)
    assert logged(LiveLogger(dir=str(tmp_path / "own"), **settings), tmp_path / "own") == expected
    assert [each and each["step"] for each in expected] == [None, 2, 2, 4]


@pytest.mark.parametrize(
    ("told", "expected"), [("", False), ("[studio]\n    token = abc\n", True), ("[studio]\n    offline", True)]
)
def test_dvc_is_opened_to_tell_its_studio_alone(
    told: str, expected: bool, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Of settings that cannot be read DVC speaks itself."""
    opened: list[str] = []
    (tmp_path / ".dvc").mkdir()
    (tmp_path / ".dvc" / "config").write_text(told)
    monkeypatch.setattr(paths, "ROOT", tmp_path)
    monkeypatch.setattr("dvclive.live.get_dvc_repo", lambda: opened.append("opened"))
    monkeypatch.setattr("dvclive.live.get_dvc_studio_config", lambda _: {})
    monkeypatch.setattr("dvc_studio_client.config.get_studio_repo_url", lambda: "https://example.org/photos.git")
    live = LiveLogger(dir=str(tmp_path / "log"), dvcyaml=False, save_dvc_exp=False).experiment
    assert bool(opened) == expected
    assert live.dvc_file == DVCLiveLogger(dir=str(tmp_path / "its"), dvcyaml=False, save_dvc_exp=False).experiment.dvc_file
    live.end()
