"""What loggers get of a training: its parameters, its machine, its best epoch, no secret; and the plug-ins for other databases."""

import csv
import gc
import json
import sqlite3
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, NamedTuple

import pytest
from interruptions import CHANGES, EPOCHS, STEPS, Result, Stop, few_of, run
from mlflow_server import free_port
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from tensorboard.plugins.hparams import metadata
from tensorboard.plugins.hparams.api_pb2 import STATUS_SUCCESS

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.training.observing.loggers import check_loggers, open_loggers

pytestmark = pytest.mark.filterwarnings("ignore")
ROOT = Path(__file__).resolve().parents[4]
SACRED, ELASTICSEARCH = "plugins.loggers.sacred_logger.SacredLogger", "plugins.loggers.elasticsearch_logger.ElasticsearchLogger"
SECRET = "hunter2"
PLAIN = '''
class Plain:
    """Has two methods, and neither experiment, version, save nor finalize."""
    logged, params = [], []

    def __init__(self, phrase):
        pass

    def log_hyperparams(self, params):
        self.params.append(params)

    def log_metrics(self, metrics, step=None):
        self.logged.append((step, metrics))


class Failing(Plain):
    def log_metrics(self, metrics, step=None):
        raise OSError("disk full")
'''
HARDWARE = {
    "system/cpu_utilization_percentage",
    "system/system_memory_usage_percentage",
    "system/images_per_second",
    "system/training_memory_gigabytes",
}


class Bulk(NamedTuple):
    """What an Elasticsearch server has received."""

    address: str
    documents: dict[str, dict[str, Any]]
    """By index and identifier, as the server keeps them."""
    keys: set[str | None]


@contextmanager
def elasticsearch_server() -> Iterator[Bulk]:
    """Receive bulk requests as Elasticsearch does."""
    bulk = Bulk("", {}, set())

    class Handler(BaseHTTPRequestHandler):
        def do_POST(self) -> None:
            self.do_PUT()

        def do_PUT(self) -> None:
            lines = self.rfile.read(int(self.headers["Content-Length"])).decode().splitlines()
            assert self.path == "/_bulk"
            bulk.keys.add(self.headers["Authorization"])
            items = []
            for action, document in zip(lines[::2], lines[1::2], strict=True):
                place = json.loads(action)["index"]
                bulk.documents[f"{place['_index']} {place['_id']}"] = json.loads(document)
                items.append({"index": {**place, "status": 201}})
            answer = json.dumps({"took": 1, "errors": False, "items": items}).encode()
            self.send_response(200)
            self.send_header("X-Elastic-Product", "Elasticsearch")
            self.send_header("Content-Type", "application/vnd.elasticsearch+json;compatible-with=9")
            self.send_header("Content-Length", str(len(answer)))
            self.end_headers()
            self.wfile.write(answer)

        def log_message(self, *_: Any) -> None: ...

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield bulk._replace(address=f"http://127.0.0.1:{server.server_port}")
    finally:
        server.shutdown()
        thread.join()
        server.server_close()


def with_pkg_resources() -> bool:
    """Return whether sacred can be imported: it needs what setuptools had until 81, and what pip has a copy of."""
    try:
        import pkg_resources
    except ModuleNotFoundError:
        try:
            # First: once pip is imported, setuptools finds its own distutils no more, and torch.compile fails in a later test.
            import setuptools  # noqa: F401
            from pip._vendor import pkg_resources
        except ImportError:
            return False
        sys.modules["pkg_resources"] = pkg_resources
    return True


class Tracked(NamedTuple):
    """A training that was interrupted once, and what its loggers have."""

    params: Params
    result: Result
    folder: Path
    logs: Path
    bulk: Bulk
    plain: Any
    err: str

    @property
    def accuracy(self) -> dict[int, float]:
        table = csv.DictReader(self.result.log["plots/metrics/val/accuracy.tsv"].decode().splitlines(), delimiter="\t")
        return {int(row["step"]): float(row["accuracy"]) for row in table}


def params_with(changes: dict[str, Any]) -> Params:
    content = read_yaml(ROOT / "params.yaml")
    for key, value in changes.items():
        *sections, last = key.split(".")
        place = content
        for section in sections:
            place = place[section]
        place[last] = value
    return check_params(content)


@pytest.fixture(scope="module")
def tracked(digits: Any, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Tracked]:
    folder = tmp_path_factory.mktemp("tracked")
    (folder / "own_loggers.py").write_text(PLAIN)
    with pytest.MonkeyPatch.context() as patch, elasticsearch_server() as bulk:
        patch.syspath_prepend(folder)
        patch.setenv("ELASTIC_API_KEY", SECRET)
        sacred = [
            {"_target_": SACRED, "folder": str(folder / "runs")},
            {"_target_": SACRED, "sql": f"sqlite:///{folder}/runs.db"},
        ]
        targets = [
            {"_target_": "TensorBoardLogger"},
            {"_target_": "CSVLogger"},
            {"_target_": "own_loggers.Plain", "phrase": SECRET},
            {"_target_": "own_loggers.Failing", "phrase": SECRET},
            {"_target_": ELASTICSEARCH, "url": bulk.address},
            *(sacred if with_pkg_resources() else []),
        ]
        looks = {"base.allow_targets": ["own_loggers"], "train.loggers": targets, "hardware.watch": True}
        params = params_with(CHANGES | looks | {"train.log_every": "step"})
        stops = [Stop("asked", "step", 8), None]
        errors: list[str] = []
        patch.setattr("darkroom.training.observing.resilient_logger.warn", errors.append)
        result = run(params, few_of(digits), folder / "states", stops, folder / "logs")
        (logs,) = (folder / "logs").iterdir()
        yield Tracked(params, result, folder, logs, bulk, sys.modules["own_loggers"].Plain, "\n".join(errors))


def test_hparams_of_tensorboard_has_parameters_and_final_metrics(tracked: Tracked) -> None:
    events = EventAccumulator(str(tracked.logs / "tensorboard" / "version_0"))
    events.Reload()
    about = events.SummaryMetadata(metadata.SESSION_START_INFO_TAG).plugin_data.content
    start = metadata.parse_session_start_info_plugin_data(about)
    assert start.hparams["train.lr"].number_value == tracked.params.train.lr
    assert start.hparams["train.optimizer._target_"].string_value == "torch.optim.AdamW"
    assert start.hparams["train.model.kwargs.width"].number_value == 4
    assert {name.partition(".")[0] for name in start.hparams} == {"base", "train"}
    end = metadata.parse_session_end_info_plugin_data(events.SummaryMetadata(metadata.SESSION_END_INFO_TAG).plugin_data.content)
    assert end.status == STATUS_SUCCESS
    # The page shows the last value of each scalar.
    assert "hp_metric" not in events.Tags()["scalars"]
    assert events.Scalars("val/accuracy")[-1].value == pytest.approx(tracked.accuracy[EPOCHS])
    epoch, score, _ = tracked.result.card
    assert events.Scalars("best/epoch")[-1].value == epoch
    name = tracked.params.train.monitor.replace("val/", "best/")
    assert events.Scalars(name)[-1].value == pytest.approx(score)
    assert events.Scalars("best/accuracy")[-1].value == pytest.approx(tracked.accuracy[epoch])


def test_an_object_with_two_methods_is_a_logger(tracked: Tracked) -> None:
    """It cannot be told where it was, so it gets the parameters at each start."""
    plain = tracked.plain
    assert len({json.dumps(params, sort_keys=True) for params in plain.params}) == 1
    assert plain.params[0]["train.epochs"] == EPOCHS
    values = {step: metrics["val/accuracy"] for step, metrics in plain.logged if "val/accuracy" in metrics}
    assert values == pytest.approx(tracked.accuracy)
    steps = {step for step, metrics in plain.logged if "train/loss_step" in metrics}
    assert steps == set(range(1, STEPS * EPOCHS + 1))


def test_a_failing_logger_is_reported_and_ends_nothing(tracked: Tracked) -> None:
    assert "Failing: fails (OSError: disk full); training continues" in tracked.err


def test_every_logger_gets_the_load_of_the_machine(tracked: Tracked) -> None:
    """By MLflow's names; the numbers are those of machine.csv, and DVCLive's files have none, which would differ by run."""
    rows = list(csv.DictReader((tracked.logs / "machine.csv").open(encoding="utf-8")))
    logged = [(step, metrics) for step, metrics in tracked.plain.logged if set(metrics) >= HARDWARE]
    expected = (int(rows[-1]["step"]), float(rows[-1]["cpu_percent"]), float(rows[-1]["training_gb"]))
    step, last = logged[-1]
    assert (step, last["system/cpu_utilization_percentage"], last["system/training_memory_gigabytes"]) == expected
    events = EventAccumulator(str(tracked.logs / "tensorboard" / "version_0"))
    events.Reload()
    assert set(events.Tags()["scalars"]) >= HARDWARE
    columns = next(csv.reader((tracked.logs / "csv" / "version_0" / "metrics.csv").open(encoding="utf-8")))
    assert set(columns) >= HARDWARE
    assert {document["metric"] for document in tracked.bulk.documents.values() if "metric" in document} >= HARDWARE
    assert not any(b"system/" in content or "system" in name for name, content in tracked.result.log.items())


def test_names_of_the_machine_are_those_of_mlflow() -> None:
    from mlflow.system_metrics.metrics.cpu_monitor import CPUMonitor

    monitor = CPUMonitor()
    monitor.collect_metrics()
    names = {f"system/{name}" for name in monitor.metrics}
    assert {"system/cpu_utilization_percentage", "system/system_memory_usage_percentage"} <= names & HARDWARE


def test_no_logger_gets_a_secret_or_another_section(tracked: Tracked) -> None:
    assert {key.partition(".")[0] for key in tracked.plain.params[0]} == {"base", "train"}
    assert "train.loggers" not in tracked.plain.params[0]
    texts = [json.dumps(tracked.plain.params), json.dumps(list(tracked.bulk.documents.values()))]
    texts += [path.read_bytes().decode(errors="replace") for path in tracked.logs.glob("*/*/*") if path.is_file()]
    texts += [path.read_bytes().decode(errors="replace") for path in tracked.folder.glob("runs*/**/*.json")]
    assert not any(SECRET in text for text in texts)


def test_elasticsearch_gets_each_value_once(tracked: Tracked) -> None:
    """Also after an interruption: the identifiers are fixed. The client is the real one."""
    bulk, run_name = tracked.bulk, tracked.logs.name
    assert bulk.keys == {f"ApiKey {SECRET}"}
    documents = list(bulk.documents.values())
    assert {document["run"] for document in documents} == {run_name}
    accuracy = {document["step"]: document["value"] for document in documents if document.get("metric") == "val/accuracy"}
    assert accuracy == pytest.approx(tracked.accuracy)
    (rate,) = [document for document in documents if document.get("param") == "train.lr"]
    assert (rate["text"], rate["value"]) == (str(tracked.params.train.lr), tracked.params.train.lr)
    assert f"darkroom {run_name} train/loss_step {STEPS * EPOCHS}" in bulk.documents


def test_sacred_has_the_run_in_a_folder(tracked: Tracked) -> None:
    """A resumed training is a run of its own, since sacred continues none."""
    if not with_pkg_resources():
        pytest.skip("sacred needs pkg_resources, of setuptools<82 or an old pip")
    first, last = (tracked.folder / "runs" / number for number in ("1", "2"))
    about = json.loads((last / "run.json").read_text())
    assert (json.loads((first / "run.json").read_text())["status"], about["status"]) == ("FAILED", "COMPLETED")
    assert about["result"] == pytest.approx(tracked.result.card[1])
    assert json.loads((last / "config.json").read_text())["train"]["lr"] == tracked.params.train.lr
    metrics = json.loads((last / "metrics.json").read_text())
    assert metrics["val/accuracy"]["steps"][-1] == EPOCHS
    assert metrics["val/accuracy"]["values"][-1] == pytest.approx(tracked.accuracy[EPOCHS])
    assert set(metrics) >= HARDWARE


def test_sacred_has_the_run_in_sql(tracked: Tracked) -> None:
    if not with_pkg_resources():
        pytest.skip("sacred needs pkg_resources, of setuptools<82 or an old pip")
    with sqlite3.connect(tracked.folder / "runs.db") as database:
        rows = list(database.execute("select status, result, config, info from run order by start_time"))
    database.close()
    assert [row[0] for row in rows] == ["FAILED", "COMPLETED"]
    assert rows[-1][1] == pytest.approx(tracked.result.card[1])
    assert json.loads(rows[-1][2])["train"]["epochs"] == EPOCHS
    assert json.loads(rows[-1][3])["val/accuracy"] == pytest.approx(tracked.accuracy[EPOCHS])


@pytest.mark.thorough
def test_mongodb_that_does_not_answer_is_reported_before_training(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """The address may stand in the environment, out of params.yaml."""
    if not with_pkg_resources():
        pytest.skip("sacred needs pkg_resources, of setuptools<82 or an old pip")
    monkeypatch.setenv("SACRED_MONGO", f"mongodb://127.0.0.1:{(port := free_port())}")
    params = params_with({"train.loggers": [{"_target_": SACRED, "mongo": {"serverSelectionTimeoutMS": 100}}]})
    with pytest.raises(RunError, match=rf"SacredLogger cannot be opened .*127.0.0.1:{port}.*; start its server") as error:
        open_loggers(params, tmp_path, {})
    assert "\n" not in str(error.value)
    del error
    gc.collect()  # the client complains that it was not closed, here and not in a later test


@pytest.mark.parametrize(
    ("target", "module", "command"),
    [
        (SACRED, "sacred.observers", "pip install sacred==0.8.7 'setuptools<82'"),
        (ELASTICSEARCH, "elasticsearch", "pip install -c requirements-dev.txt elasticsearch"),
    ],
)
def test_a_missing_client_is_named_with_the_line_that_installs_it(
    target: str, module: str, command: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setitem(sys.modules, module, None)
    with pytest.raises(InputError, match="needs a package that is not installed") as error:
        open_loggers(params_with({"train.loggers": [{"_target_": target}]}), tmp_path, {})
    assert str(error.value).endswith(command)


def test_what_lacks_a_method_is_no_logger(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    (tmp_path / "half_logger.py").write_text("class Half:\n    def log_metrics(self, metrics, step=None): ...\n")
    monkeypatch.syspath_prepend(tmp_path)
    params = params_with({"base.allow_targets": ["half_logger"], "train.loggers": [{"_target_": "half_logger.Half"}]})
    with pytest.raises(InputError, match="name a class with log_hyperparams and log_metrics"):
        check_loggers(params)


@pytest.mark.parametrize(("name", "value"), [("CSVLogger", True), ("MLFlowLogger", "all")])
def test_log_model_is_refused_where_it_would_do_nothing(make_params: Callable[..., Params], name: str, value: Any) -> None:
    with pytest.raises(InputError, match=r"train.loggers.log_model: is .*; set it to true for MLFlowLogger"):
        check_loggers(make_params({"train.loggers": [{"_target_": name, "log_model": value}]}))
