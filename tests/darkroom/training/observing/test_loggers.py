"""Loggers beside DVCLive get what it gets and go on after an interruption; a server that is away never ends a training."""

import csv
import time
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import postgres
import pytest
from interruptions import CHANGES, EPOCHS, STEPS, Stop, few_of, run
from mlflow import MlflowClient
from mlflow_server import free_port, mlflow_server
from pytorch_lightning.loggers import Logger
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params, Target
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.observing import loggers, resilient_logger
from darkroom.training.observing.loggers import MODEL_FILES, check_loggers, log_model, open_loggers
from darkroom.training.observing.resilient_logger import ResilientLogger

pytestmark = pytest.mark.filterwarnings("ignore")
PLACE = "pytorch_lightning.loggers"


@pytest.fixture
def few(digits: Any) -> Any:
    return few_of(digits)


@pytest.fixture
def server(tmp_path: Path) -> Iterator[str]:
    """The address of MLflow's own server over an SQLite database."""
    with mlflow_server(tmp_path) as address:
        yield address


@pytest.fixture(params=["database", pytest.param("server", marks=[pytest.mark.slow, pytest.mark.thorough])])
def tracking_uri(request: pytest.FixtureRequest, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> str:
    """Where MLflow keeps its runs."""
    monkeypatch.chdir(tmp_path)  # where it would make a folder for files
    return str(request.getfixturevalue("server")) if request.param == "server" else f"sqlite:///{tmp_path}/mlflow.db"


def only_folder(logs: Path) -> Path:
    (folder,) = [path for path in logs.iterdir() if path.is_dir()]
    return folder


@pytest.mark.thorough
def test_three_loggers_at_once_go_on_after_an_interruption(
    make_params: Callable[..., Params], few: Any, tmp_path: Path, tracking_uri: str
) -> None:
    targets = [
        {"_target_": f"{PLACE}.TensorBoardLogger"},
        {"_target_": f"{PLACE}.CSVLogger"},
        {"_target_": f"{PLACE}.MLFlowLogger", "tracking_uri": tracking_uri, "experiment_name": "digits", "log_model": True},
    ]
    looks = {"train.log_every": "step", "train.inspect": ["histograms", "inputs"], "hardware.watch": True}
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
    check_run(client, found, tmp_path, params)


def check_run(client: MlflowClient, found: Any, folder: Path, params: Params) -> None:
    """Read back, over HTTP, the load of the machine, images, table and chart, and the published model."""
    machine = client.get_metric_history(found.info.run_id, "system/cpu_utilization_percentage")
    assert machine
    assert all(0 <= each.value <= 100 and 0 <= each.step <= STEPS * EPOCHS for each in machine)
    assert {key for key in found.data.params if not key.startswith(("base.", "train."))} == set()
    models = folder / "models"
    models.mkdir()
    for name in MODEL_FILES:
        (models / name).write_text(f"content of {name}")
    store = StateStore(folder / "states", {"same": "always"})
    log_model(params, store, folder / "logs", models)
    got = Path(client.download_artifacts(found.info.run_id, "", str(folder)))
    assert {path.name for path in got.iterdir()} >= {"machine.csv", "machine.png", "model"}
    (own,) = (folder / "logs").glob("*/machine.csv")
    assert (got / "machine.csv").read_bytes() == own.read_bytes()
    assert all((got / "model" / name).read_bytes() == (models / name).read_bytes() for name in MODEL_FILES)


@pytest.mark.thorough
@pytest.mark.skipif(postgres.program("initdb") is None, reason="needs a PostgreSQL server: apt-get install postgresql")
def test_a_server_over_postgresql_has_parameters_metrics_machine_and_artifacts(
    make_params: Callable[..., Params], few: Any, tmp_path: Path
) -> None:
    """As docs/mlflow/compose.yaml runs it, without the object store."""
    database = tmp_path / "postgres"
    database.mkdir()
    with postgres.running_server(database) as address, mlflow_server(tmp_path, address.replace("://", "+psycopg://")) as server:
        target = {"_target_": "MLFlowLogger", "tracking_uri": server, "log_model": True}
        params = make_params(CHANGES | {"train.loggers": [target], "train.epochs": 2, "hardware.watch": True})
        result = run(params, few, tmp_path / "states", [None], tmp_path / "logs")
        client = MlflowClient(server)
        (found,) = client.search_runs([client.get_experiment_by_name("darkroom").experiment_id])
        assert found.data.params["train.lr"] == str(params.train.lr)
        epoch, score, _ = result.card
        assert found.data.metrics["best/epoch"] == epoch
        assert found.data.metrics[params.train.monitor.replace("val/", "best/")] == pytest.approx(score)
        assert [each.step for each in client.get_metric_history(found.info.run_id, "val/accuracy")] == [1, 2]
        check_run(client, found, tmp_path, params)


def test_a_model_that_a_server_does_not_take_is_reported(
    make_params: Callable[..., Params], few: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Also shows MLflow's SQLite file without a server."""
    target = {"_target_": "MLFlowLogger", "tracking_uri": f"sqlite:///{tmp_path}/mlflow.db", "log_model": True}
    params = make_params(CHANGES | {"train.loggers": [target], "train.epochs": 1})
    run(params, few, tmp_path / "states", [None], tmp_path / "logs")
    client = MlflowClient(target["tracking_uri"])
    (found,) = client.search_runs([client.get_experiment_by_name("darkroom").experiment_id])
    assert found.info.status == "FINISHED"
    assert found.data.metrics["best/epoch"] == 1
    log_model(params, StateStore(tmp_path / "states", {"same": "always"}), tmp_path / "logs", tmp_path / "nowhere")
    (line,) = capsys.readouterr().err.splitlines()[-1:]
    assert "MLFlowLogger did not get the model" in line
    assert line.endswith("it is in models/")


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
    monkeypatch.setitem(loggers.PACKAGES, "False", loggers.PACKAGES["mlflow"])
    with pytest.raises(
        InputError, match=r"needs a package that is not installed; run: pip install -c requirements-dev.txt mlflow-skinny alembic"
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
