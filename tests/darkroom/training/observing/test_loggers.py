"""Loggers beside DVCLive get what it gets and go on after an interruption; a server that is away never ends a training."""

import csv
import os
import socket
import subprocess
import sys
import time
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest
from interruptions import CHANGES, EPOCHS, STEPS, Stop, few_of, run
from mlflow import MlflowClient
from pytorch_lightning.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params, Target
from darkroom.training.observing import loggers, resilient_logger
from darkroom.training.observing.loggers import check_loggers, open_loggers
from darkroom.training.observing.resilient_logger import ResilientLogger

pytestmark = pytest.mark.filterwarnings("ignore")
PLACE = "pytorch_lightning.loggers"
# MLflow's server takes half a minute to start on two idle slow cores, and here all of them are busy.
PATIENCE_SECONDS = 300


@pytest.fixture
def few(digits: Any) -> Any:
    return few_of(digits)


def free_port() -> int:
    with closing(socket.socket()) as found:
        found.bind(("127.0.0.1", 0))
        return int(found.getsockname()[1])


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of MLflow's own server over an SQLite database."""
    address = f"http://127.0.0.1:{(port := free_port())}"
    command = [sys.executable, "-m", "mlflow", "server", "--host", "127.0.0.1", "--port", str(port), "--workers", "1"]
    places = ["--backend-store-uri", f"sqlite:///{tmp_path}/mlflow.db", "--artifacts-destination", str(tmp_path / "artifacts")]
    with (tmp_path / "server.log").open("w") as log:
        env = os.environ | {"MLFLOW_SERVER_ENABLE_JOB_EXECUTION": "false"}  # two processes less, for what is not used
        process = subprocess.Popen([*command, *places], env=env, stdout=log, stderr=log, start_new_session=True)
    try:
        patience = time.monotonic() + PATIENCE_SECONDS
        while time.monotonic() < patience:
            try:
                urllib.request.urlopen(f"{address}/health", timeout=1).close()
                break
            except OSError:
                time.sleep(0.5)
        else:
            pytest.fail((tmp_path / "server.log").read_text())
        yield address
    finally:
        process.terminate()
        process.wait(30)


@pytest.fixture(params=["database", pytest.param("server", marks=[pytest.mark.slow, pytest.mark.thorough])])
def tracking_uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where MLflow keeps its runs."""
    monkeypatch.chdir(tmp_path)  # where it would make a folder for files
    return str(request.getfixturevalue("server")) if request.param == "server" else f"sqlite:///{tmp_path}/mlflow.db"


def only_folder(logs: Path) -> Path:
    (folder,) = [path for path in logs.iterdir() if path.is_dir()]
    return folder


def test_three_loggers_at_once_go_on_after_an_interruption(
    make_params: Callable[..., Params], few: Any, tmp_path: Path, tracking_uri: str
) -> None:
    targets = [
        {"_target_": f"{PLACE}.TensorBoardLogger"},
        {"_target_": f"{PLACE}.CSVLogger"},
        {"_target_": f"{PLACE}.MLFlowLogger", "tracking_uri": tracking_uri, "experiment_name": "digits"},
    ]
    looks = {"train.log_every": "step", "train.inspect": ["histograms", "inputs"], "hardware.watch": False}
    params = make_params(CHANGES | looks | {"train.loggers": targets})
    stops = [Stop("asked", "step", 8), Stop("killed", "step", 3), None]
    result = run(params, few, tmp_path / "states", stops, tmp_path / "logs")
    table = csv.DictReader(result.log["plots/metrics/val/accuracy.tsv"].decode().splitlines(), delimiter="\t")
    expected = [(int(row["step"]), float(row["accuracy"])) for row in table]
    assert [step for step, _ in expected] == list(range(1, EPOCHS + 1))
    folder = only_folder(tmp_path / "logs")

    assert [path.name for path in (folder / "tensorboard").iterdir()] == ["version_0"]
    events = EventAccumulator(str(folder / "tensorboard" / "version_0"), {"histograms": 0, "images": 0, "scalars": 0})
    events.Reload()
    assert dict(expected) == pytest.approx({event.step: event.value for event in events.Scalars("val/accuracy")})
    assert {event.step for event in events.Scalars("train/loss_step")} == set(range(1, STEPS * EPOCHS + 1))
    histograms = events.Tags()["histograms"]
    assert {name.split("/")[0] for name in histograms} == {"parameters", "gradients"}
    assert {event.step for event in events.Histograms(histograms[0])} == {1, 2, 3}
    assert {event.step for event in events.Images("inputs")} == {1, 2, 3}

    rows = list(csv.DictReader((folder / "csv" / "version_0" / "metrics.csv").open(encoding="utf-8")))
    assert [(int(row["step"]), float(row["val/accuracy"])) for row in rows if row["val/accuracy"]] == expected
    assert [int(row["step"]) for row in rows if row["train/loss_step"]] == list(range(1, STEPS * EPOCHS + 1))

    client = MlflowClient(tracking_uri)
    (found,) = client.search_runs([client.get_experiment_by_name("digits").experiment_id])
    assert (found.info.status, found.info.run_name) == ("FINISHED", folder.name)
    assert found.data.params["train.lr"] == str(params.train.lr)
    assert found.data.params["train.optimizer._target_"] == "torch.optim.AdamW"
    history = {metric.step: metric.value for metric in client.get_metric_history(found.info.run_id, "val/accuracy")}
    assert history == pytest.approx(dict(expected))
    assert {each.step for each in client.get_metric_history(found.info.run_id, "lr_step")} == set(range(1, STEPS * EPOCHS + 1))


def test_a_server_that_does_not_answer_is_told_before_training(
    make_params: Callable[..., Params], few: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    target = {"_target_": f"{PLACE}.MLFlowLogger", "tracking_uri": f"http://127.0.0.1:{free_port()}"}
    params = make_params(CHANGES | {"train.loggers": [target]})
    monkeypatch.setattr("pytorch_lightning.Trainer.fit", lambda *_, **__: pytest.fail("trained"))
    start = time.monotonic()
    with pytest.raises(
        RunError, match=r"train.loggers: pytorch_lightning.loggers.MLFlowLogger cannot be opened .*; start its server"
    ) as error:
        run(params, few, tmp_path / "states", [None], tmp_path / "logs")
    assert "\n" not in str(error.value)
    assert time.monotonic() - start < 30


def test_what_is_no_logger_is_refused(make_params: Callable[..., Params]) -> None:
    with pytest.raises(InputError, match=r"train.loggers.*Tensorboard"):
        check_loggers(make_params({"train.loggers": [{"_target_": f"{PLACE}.TensorboardLogger"}]}))
    with pytest.raises(InputError, match=r"train.loggers"):
        check_loggers(make_params({"train.loggers": [{"_target_": "torch.nn.Linear"}]}))


def test_a_missing_package_is_named(make_params: Callable[..., Params], tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("pytorch_lightning.loggers.mlflow._MLFLOW_AVAILABLE", False)
    params = make_params({"train.loggers": [{"_target_": f"{PLACE}.MLFlowLogger"}]})
    monkeypatch.setitem(loggers.PACKAGES, "False", "mlflow-skinny alembic")
    with pytest.raises(
        InputError, match=r"needs a package that is not installed; run 'pip install -c requirements-dev.txt mlflow-skinny"
    ):
        open_loggers(params, tmp_path, {})


class Flaky(Logger):
    """Fails while it is away."""

    name = version = None  # type: ignore[assignment]

    def __init__(self) -> None:
        super().__init__()
        self.away, self.got, self.calls = False, [], 0

    def log_metrics(self, metrics: Any, step: int | None = None) -> None:
        self.calls += 1
        if self.away:
            raise ConnectionError("nobody\nthere")
        self.got.append((step, metrics))

    def log_hyperparams(self, *_: Any) -> None: ...


def test_a_logger_that_fails_is_told_once_and_gets_what_it_missed(
    capsys: pytest.CaptureFixture[str], monkeypatch: pytest.MonkeyPatch
) -> None:
    inner = Flaky()
    logger = ResilientLogger(Target.model_validate({"_target_": "a.B"}), inner)
    logger.log_metrics({"x": 1.0}, 1)
    inner.away = True
    for step in (2, 3):
        logger.log_metrics({"x": 1.0}, step)
    assert inner.calls == 2, "it was asked again at once"
    said = capsys.readouterr().err.splitlines()
    assert len(said) == 1
    assert "Flaky: fails (ConnectionError: nobody there); training continues" in said[0]
    inner.away = False
    now = time.monotonic()
    monkeypatch.setattr(resilient_logger.time, "monotonic", lambda: now + resilient_logger.RETRY_SECONDS + 1)
    logger.log_metrics({"x": 1.0}, 4)
    assert [step for step, _ in inner.got] == [1, 2, 3, 4]
    inner.away = True
    logger.log_metrics({"x": 1.0}, 5)
    logger.finalize("success")
    assert "the last values are missing; its server did not respond" in capsys.readouterr().err
