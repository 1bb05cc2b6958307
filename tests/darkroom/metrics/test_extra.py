"""Further metrics are those of all images at once, decide as they say, and what does not fit is one line before training."""

import json
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from sklearn import metrics as sklearn
from sklearn.metrics import cohen_kappa_score, fbeta_score, matthews_corrcoef, roc_auc_score
from torchmetrics.classification import CalibrationError

from darkroom.base.errors import InputError, RunError
from darkroom.base.params import Params, Target
from darkroom.data.split_file import Split
from darkroom.evaluation.report import measure
from darkroom.metrics.decision import Decision
from darkroom.metrics.epoch import EpochMetrics, MultilabelEpochMetrics
from darkroom.metrics.extra import ExtraMetrics, build_metrics
from darkroom.metrics.outcomes import Outcomes
from darkroom.metrics.scores import score_of
from darkroom.objective.schedules import make_scheduler
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

pytestmark = pytest.mark.filterwarnings("ignore")
F = "torchmetrics.functional.classification."
SMALL = {"train.model.kwargs": {"width": 4, "stages": 2}, "train.epochs": 2, "hardware.accelerator": "cpu"}


def build(targets: dict[str, Any], *, num_classes: int = 5, multilabel: bool = False) -> ExtraMetrics:
    made = {name: Target.model_validate(target) for name, target in targets.items()}
    return build_metrics("train.metrics", made, num_classes=num_classes, multilabel=multilabel, allow=())


def train(params: Params, data: Any, folder: Path) -> KeepBest:
    rows = data.split.rows
    split = Split(data.split.classes, {"train": rows["train"][:256], "val": rows["val"], "test": rows["test"]}, "")
    store = StateStore(folder, {})
    with store.held():
        return fit(make_plan(params, data.pack, split.rows["train"]), split, store)


def history(folder: Path, name: str) -> list[float]:
    table = StateStore(folder, {}).log_dir / "plots" / "metrics" / f"{name}.tsv"
    return [float(line.split("\t")[1]) for line in table.read_text().splitlines()[1:]]


def test_batches_give_what_all_images_at_once_give() -> None:
    numbers = torch.Generator().manual_seed(0)
    # All between 0 and 1: torchmetrics by itself would take them for probabilities.
    logits, labels = torch.rand(103, 5, generator=numbers), torch.randint(0, 5, (103,), generator=numbers)
    targets = {
        "auroc": "AUROC",
        "kappa": {"_target_": "CohenKappa", "weights": "quadratic"},
        "mcc": "MulticlassMatthewsCorrCoef",
        "ece": "CalibrationError",
    }
    epoch_metrics = EpochMetrics(5, build(targets))
    for part in (slice(0, 10), slice(10, 60), slice(60, 103)):
        epoch_metrics.add(logits[part], labels[part], torch.tensor(1.0))
    values = {name: float(value) for name, value in epoch_metrics.metrics().items()}
    probabilities, predicted = logits.softmax(1), logits.argmax(1)
    assert values["auroc"] == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr"), abs=1e-6)
    assert values["kappa"] == pytest.approx(cohen_kappa_score(labels, predicted, weights="quadratic"), abs=1e-6)
    assert values["mcc"] == pytest.approx(matthews_corrcoef(labels, predicted), abs=1e-6)
    assert values["ece"] == pytest.approx(
        float(CalibrationError(task="multiclass", num_classes=5)(probabilities, labels)), abs=1e-6
    )
    epoch_metrics.reset()
    epoch_metrics.add(logits[:10], labels[:10], torch.tensor(1.0))
    assert float(epoch_metrics.metrics()["kappa"]) == pytest.approx(
        cohen_kappa_score(labels[:10], predicted[:10], weights="quadratic"), abs=1e-6
    )


def test_several_labels() -> None:
    numbers = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(60, 5, generator=numbers), torch.randint(0, 2, (60, 5), generator=numbers).float()
    epoch_metrics = MultilabelEpochMetrics(5, build({"auroc": "AUROC", "same": "MultilabelAUROC"}, multilabel=True))
    epoch_metrics.add(logits, labels, torch.tensor(1.0))
    expected = pytest.approx(roc_auc_score(labels, logits.sigmoid(), average="macro"), abs=1e-6)
    assert float(epoch_metrics.metrics()["auroc"]) == float(epoch_metrics.metrics()["same"]) == expected


@pytest.mark.parametrize(
    ("target", "multilabel", "message"),
    [
        ("AUROCC", False, "train.metrics.m._target_: there is no AUROCC in torchmetrics.classification; did you mean 'AUROC'?"),
        ("torch.nn.Linear", False, "train.metrics.m._target_: torch.nn.Linear cannot be used here; name a class of torchmetrics"),
        # On probabilities it would compute a number that is not the cross entropy.
        ("torch.nn.CrossEntropyLoss", False, "torch.nn.CrossEntropyLoss cannot be used here; name a class of torchmetrics.classification, a function of"),
        ({"_target_": "AUROC", "averag": "macro"}, False, "train.metrics.m: AUROC refuses its arguments (ValueError: Unexpected keyword arguments: `averag`); correct"),
        ({"_target_": "AUROC", "average": "none"}, False, "train.metrics.m: MulticlassAUROC returns (5,) numbers, not one number; set its average"),
        ("ROC", False, "train.metrics.m: MulticlassROC returns a tuple, not one number"),
        ("ConfusionMatrix", True, "train.metrics.m: MultilabelConfusionMatrix returns (5, 2, 2) numbers, not one number"),
        ("CohenKappa", True, "train.metrics.m: CohenKappa refuses its arguments (ValueError: Invalid"),
        ("MultilabelAUROC", False, "train.metrics.m: MultilabelAUROC is for multilabel sets; use the name without its first"),
        # Which would compute a number of it.
        ("MulticlassAccuracy", True, "train.metrics.m: MulticlassAccuracy is for one class per image, but this set is multilabel"),
        ("BinaryAccuracy", False, "train.metrics.m: BinaryAccuracy is for train.task: binary; use the name without its first word, or Multiclass…"),
        (F + "multiclass_acuracy", False, "classification has no multiclass_acuracy; did you mean 'multiclass_accuracy'?"),
        ({"_target_": F + "multiclass_accuracy", "averag": "micro"}, False, "train.metrics.m.averag: torchmetrics.functional.classification.multiclass_accuracy takes no such argument; did you mean 'average'?"),
        ({"_target_": F + "multiclass_accuracy", "target": 1}, False, "multiple values for argument 'target'"),
        (F + "multiclass_fbeta_score", False, "missing a required argument: 'beta'"),
        ({"_target_": F + "multiclass_accuracy", "average": "none"}, False, "train.metrics.m: multiclass_accuracy returns (5,) numbers, not one"),
        (F + "multiclass_roc", False, "train.metrics.m: multiclass_roc returns a tuple, not one number"),
        (F + "binary_accuracy", False, "train.metrics.m: binary_accuracy is for train.task: binary; use the name without its first word, or multiclass_…"),
        (F + "multiclass_accuracy", True, "train.metrics.m: multiclass_accuracy is for one class per image, but this set is multilabel"),
        ("torchmetrics.functional.text.bleu_score", False, "torchmetrics.functional.text.bleu_score cannot be used here"),
        ("MulticlassFBetaScore", False, "train.metrics.m: MulticlassFBetaScore: missing a required argument: 'beta'"),
    ],
)  # fmt: skip
def test_what_does_not_fit(target: Any, multilabel: bool, message: str) -> None:
    with pytest.raises(InputError) as caught:
        build({"m": target}, multilabel=multilabel)
    assert message in str(caught.value)
    assert "\n" not in str(caught.value)


def test_a_metric_of_one_s_own(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    (tmp_path / "gauge.py").write_text(
        "import torch, torchmetrics\n"
        "class Certainty(torchmetrics.Metric):\n"
        "    def __init__(self, num_classes):\n"
        "        super().__init__()\n"
        "        self.add_state('total', torch.tensor(0.0), 'sum')\n"
        "    def update(self, probabilities, labels):\n"
        "        self.total += probabilities.max(1).values.sum()\n"
        "    def compute(self):\n"
        "        return self.total\n"
    )
    monkeypatch.syspath_prepend(tmp_path)
    made = {"c": Target.model_validate("gauge.Certainty")}
    metrics = build_metrics("train.metrics", made, num_classes=2, multilabel=False, allow=["gauge"])
    metrics.add_logits(torch.zeros(3, 2), torch.zeros(3))
    assert metrics.values() == {"c": 1.5}
    with pytest.raises(
        InputError, match=r"train\.monitor_mode: whether higher or lower is better for val/c is unknown \(Certainty has no"
    ):
        metrics.mode("val/c")


MEASURES = """
import torch
from torch import nn

class F2(nn.Module):
    higher_is_better = True
    def __init__(self, num_classes, beta=2.0):
        super().__init__()
        self.num_classes, self.beta = num_classes, beta
    def forward(self, preds, target):
        predicted = preds.argmax(1)
        scores = []
        for label in range(self.num_classes):
            right = ((predicted == label) & (target == label)).sum()
            claimed, actual = (predicted == label).sum(), (target == label).sum()
            scores.append((1 + self.beta**2) * right / (claimed + self.beta**2 * actual).clamp(min=1))
        return torch.stack(scores).mean()

def wrong(probabilities, labels, scale=100.0):
    return scale * float((probabilities.argmax(1) != labels).float().mean())

def picky(preds, target):
    if len(target) > 50:
        raise ArithmeticError("too many images")
    return 0.5

def of_class(num_classes):
    return F2(num_classes)
"""


@pytest.fixture
def measures(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Callable[..., ExtraMetrics]:
    (tmp_path / "measures.py").write_text(MEASURES)
    monkeypatch.syspath_prepend(tmp_path)
    monkeypatch.delitem(sys.modules, "measures", raising=False)

    def make(targets: dict[str, Any], *, num_classes: int = 5) -> ExtraMetrics:
        made = {name: Target.model_validate(target) for name, target in targets.items()}
        return build_metrics("train.metrics", made, num_classes=num_classes, multilabel=False, allow=["measures"])

    return make


def test_modules_and_functions_measure_the_epoch_and_not_the_mean_of_its_batches(measures: Callable[..., ExtraMetrics]) -> None:
    numbers = torch.Generator().manual_seed(0)
    logits, labels = torch.randn(103, 5, generator=numbers), torch.randint(0, 5, (103,), generator=numbers)
    batches = (slice(0, 50), slice(50, 100), slice(100, 103))  # the last one is smaller
    extra = measures(
        {
            "f2": {"_target_": "measures.F2", "beta": 2.0},
            "made": "measures.of_class",
            "wrong": {"_target_": "measures.wrong", "scale": 10.0},
            "accuracy_micro": {"_target_": F + "multiclass_accuracy", "average": "micro"},
            "f_beta": {"_target_": F + "multiclass_fbeta_score", "beta": 2.0},
            "auroc": F + "auroc",
        }
    )
    epoch_metrics = EpochMetrics(5, extra)
    for part in batches:
        epoch_metrics.add(logits[part], labels[part], torch.tensor(1.0))
    values, predicted = epoch_metrics.metrics(), logits.argmax(1)
    assert float(values["f2"]) == pytest.approx(fbeta_score(labels, predicted, beta=2, average="macro"), abs=1e-6)
    assert float(values["made"]) == float(values["f2"]) == pytest.approx(float(values["f_beta"]), abs=1e-6)
    assert float(values["wrong"]) == pytest.approx(10 * (predicted != labels).double().mean())
    assert float(values["accuracy_micro"]) == pytest.approx((predicted == labels).double().mean())
    assert float(values["auroc"]) == pytest.approx(roc_auc_score(labels, logits.softmax(1), multi_class="ovr"), abs=1e-6)
    mean = np.mean([10 * float((predicted[part] != labels[part]).double().mean()) for part in batches])
    assert abs(float(values["wrong"]) - mean) > 0.1
    epoch_metrics.reset()
    epoch_metrics.add(logits[:10], labels[:10], torch.tensor(1.0))
    assert float(epoch_metrics.metrics()["wrong"]) == pytest.approx(10 * (predicted[:10] != labels[:10]).double().mean())


def test_functions_and_modules_say_what_is_better(measures: Callable[..., ExtraMetrics]) -> None:
    extra = measures({"f2": "measures.F2", "wrong": "measures.wrong", "auroc": F + "multiclass_auroc", "ece": F + "calibration_error"})  # fmt: skip
    assert [extra.mode(f"val/{name}") for name in ("f2", "auroc", "ece")] == ["max", "max", "min"]
    with pytest.raises(InputError, match=r"for val/wrong is unknown \(wrong has no higher_is_better\)"):
        extra.mode("val/wrong")


def test_a_metric_that_raises_is_one_line_with_its_name(measures: Callable[..., ExtraMetrics]) -> None:
    extra = measures({"strict": "measures.picky"})
    extra.add(torch.full((50, 5), 0.2), torch.zeros(50))
    assert extra.values() == {"strict": 0.5}
    extra.add(torch.full((1, 5), 0.2), torch.zeros(1))
    with pytest.raises(RunError) as caught:
        extra.values()
    told = "params.yaml: train.metrics.strict: picky fails (ArithmeticError: too many images); fix it, or remove it"
    assert str(caught.value) == told


def test_processes_measure_the_images_of_all_of_them(measures: Callable[..., ExtraMetrics]) -> None:
    """Parts of different sizes are gathered as torchmetrics gathers its own states."""
    numbers = torch.Generator().manual_seed(0)
    probabilities, labels = torch.rand(31, 5, generator=numbers).softmax(1), torch.randint(0, 5, (31,), generator=numbers)
    parts = [slice(0, 20), slice(20, 31)]
    processes = [measures({"wrong": "measures.wrong"}) for _ in parts]
    for extra, part in zip(processes, parts, strict=True):
        extra.add(probabilities[part], labels[part])
    metric, others = processes[0].metrics["wrong"], iter([probabilities[parts[1]], labels[parts[1]]])
    metric.distributed_available_fn = lambda: True
    metric.dist_sync_fn = lambda mine, group: [mine, next(others)]  # noqa: ARG005
    of_all = 100 * float((probabilities.argmax(1) != labels).double().mean())
    assert processes[0].values()["wrong"] == pytest.approx(of_all, abs=1e-4)
    assert processes[1].values()["wrong"] != pytest.approx(of_all, abs=1e-4)


@pytest.mark.parametrize("method", ["update", "compute"])
def test_a_metric_that_fails_is_one_line_with_its_name(method: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """It may fail on data that the attempt before the training did not have."""
    metrics = build({"kappa": "CohenKappa"})

    def fail(*_: Any) -> None:
        raise ValueError("no such\nclass")

    monkeypatch.setattr(metrics.metrics["kappa"], method, fail)
    if method == "compute":
        metrics.add_logits(torch.zeros(3, 5), torch.zeros(3))
    call = metrics.values if method == "compute" else lambda: metrics.add_logits(torch.zeros(3, 5), torch.zeros(3))
    with pytest.raises(RunError, match=r"train\.metrics\.kappa: MulticlassCohenKappa fails \(ValueError: no such class\); fix"):
        call()


def test_which_values_are_better() -> None:
    metrics = build({"auroc": "AUROC", "ece": "CalibrationError", "loss_like": "Accuracy", "specificity": "Specificity"})
    assert [metrics.mode(f"val/{name}") for name in ("loss", "accuracy", "f1_macro", "auroc", "ece", "loss_like")] == ["min", "max", "max", "max", "min", "max"]  # fmt: skip
    with pytest.raises(InputError, match=r"whether higher or lower is better for val/specificity is unknown"):
        metrics.mode("val/specificity")
    assert [metrics.mode("val/specificity", mode) for mode in ("min", "max")] == ["min", "max"]  # type: ignore[arg-type]
    assert [metrics.mode(name) for name in ("train/loss", "train/accuracy")] == ["min", "max"]


def test_a_schedule_that_waits_knows_what_is_better(make_params: Callable[..., Params]) -> None:
    params = make_params({"train.scheduler": "ReduceLROnPlateau"})
    optimizer = torch.optim.SGD([torch.zeros(1, requires_grad=True)], lr=0.1)
    assert [make_scheduler(params, optimizer, total_steps=9, mode=mode).mode for mode in ("min", "max")] == ["min", "max"]  # type: ignore[union-attr,arg-type]
    cyclic = {"_target_": "CyclicLR", "base_lr": 0.01, "max_lr": 0.1, "cycle_momentum": False}
    assert make_scheduler(make_params({"train.scheduler": cyclic}), optimizer, total_steps=9, mode="max").mode == "triangular"  # type: ignore[union-attr]


@pytest.mark.parametrize(("name", "target", "best_of"), [("auroc", "AUROC", max), ("ece", "CalibrationError", min)])
def test_they_are_logged_and_choose_the_epoch(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, name: str, target: str, best_of: Any
) -> None:
    params = make_params(SMALL | {"train.epochs": 4, "train.metrics": {name: target}, "train.monitor": f"val/{name}", "train.test_every": 2, "train.scheduler": "ReduceLROnPlateau", "train.early_stopping": {"patience": 1, "min_delta": 0.0}})  # fmt: skip
    best = train(params, digits, tmp_path)
    values = history(tmp_path, f"val/{name}")
    assert best.score == pytest.approx(best_of(values))
    assert best.epoch == 1 + values.index(best_of(values))
    plan = make_plan(params, digits.pack, digits.split.rows["train"][:256])
    network = plan.classifier.network.eval()
    network.load_state_dict(best.weights)
    for split, expected in (("val", values[best.epoch - 1]), ("test", None)):
        rows = digits.split.rows[split]
        with torch.no_grad():
            probabilities = network(torch.from_numpy(digits.pack.batch(rows)).permute(0, 3, 1, 2)).softmax(1)
        labels = torch.from_numpy(digits.pack.labels[rows])
        metrics = build({name: target}, num_classes=10)
        metrics.add(probabilities, labels)
        value = metrics.take_values()[name]
        if name == "auroc":
            assert value == pytest.approx(roc_auc_score(labels, probabilities, multi_class="ovr"), abs=1e-5)
        if expected is None and best.epoch % 2 == 0:
            expected = history(tmp_path, f"test_during/{name}")[best.epoch // 2 - 1]
        assert expected is None or value == pytest.approx(expected, abs=1e-5)


def test_a_monitored_metric_without_a_value_ends_the_training(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    values = ExtraMetrics.values
    monkeypatch.setattr(ExtraMetrics, "values", lambda self: dict.fromkeys(values(self), float("nan")))
    params = make_params(SMALL | {"train.metrics": {"auroc": "AUROC"}})
    train(params, digits, tmp_path / "logged")
    assert "auroc" not in json.loads((StateStore(tmp_path / "logged", {}).log_dir / "metrics.json").read_text())["val"]
    params = make_params({"train.monitor": "val/auroc"})
    with pytest.raises(RunError, match=r"^val/auroc: is nan in epoch 1 \(step 4\); let train\.monitor be another metric$"):
        train(params, digits, tmp_path / "monitored")


def test_evaluate_measures_them_beside_its_own(make_params: Callable[..., Params], capsys: pytest.CaptureFixture[str]) -> None:
    params = make_params({"evaluate.metrics": {"kappa": "CohenKappa"}}).evaluate
    rng = np.random.default_rng(0)
    predictions = {name: Outcomes.of(rng.dirichlet(np.ones(5), size=50), rng.integers(0, 5, 50)) for name in ("val", "test")}
    metrics = build_metrics("evaluate.metrics", params.metrics, num_classes=5, multilabel=False, allow=())
    extra = {}
    for name, given in predictions.items():
        for part in (slice(0, 20), slice(20, 50)):  # in batches
            metrics.add(torch.from_numpy(given.probabilities[part]), torch.from_numpy(given.labels[part]))
        extra[name] = metrics.take_values()
    measured = measure(predictions, extra, params)
    for name, given in predictions.items():
        kappa = cohen_kappa_score(given.labels, given.probabilities.argmax(1))
        assert measured[name] == score_of(given) | {"kappa": pytest.approx(kappa, abs=1e-6)}
    undefined = measure(predictions, {name: {"kappa": float("nan")} for name in predictions}, params)
    assert "kappa" not in undefined["test"]
    assert "warning: params.yaml: evaluate.metrics.kappa: is nan on test; it is left out there" in capsys.readouterr().err


def test_names_that_evaluate_uses_itself_are_taken(make_params: Callable[..., Params]) -> None:
    multiclass, multilabel = np.full((6, 6), 1 / 6), np.eye(6)
    names = {
        *score_of(Outcomes.of(multiclass, np.arange(6), bins=5)),
        *score_of(Outcomes.of(multilabel, np.eye(6, dtype=np.uint8), bins=5)),
    }
    assert len(names) == 7
    for name in names:
        with pytest.raises(InputError, match=rf"evaluate\.metrics\.{name}: is the name of a metric that is always measured"):
            make_params({"evaluate.metrics": {name: "AUROC"}})


CLASSES = ["ant", "bee", "cat", "dog"]
# Every image is an ant and none a dog; no cat is predicted.
SEVERAL = (
    np.array([[0.9, 0.2, 0.4, 0.1], [0.8, 0.7, 0.2, 0.2], [0.7, 0.6, 0.3, 0.3], [0.6, 0.1, 0.1, 0.1]]),
    np.array([[1, 0, 1, 0], [1, 1, 0, 0], [1, 0, 1, 0], [1, 0, 0, 0]]),
)
# No image is a dog or predicted to be one; bees are never predicted.
ONE = (
    np.array([[0.7, 0.1, 0.1, 0.1], [0.4, 0.3, 0.2, 0.1], [0.1, 0.2, 0.6, 0.1], [0.5, 0.2, 0.2, 0.1]]),
    np.array([0, 1, 2, 2]),
)


def kept(each: list[float | None]) -> float:
    known = [value for value in each if value is not None]
    return float(np.mean(known)) if known else float("nan")


def of_each(data: tuple[Any, Any], measure: Any, defined: Any) -> float:
    probabilities, labels = data
    hot = labels if labels.ndim == 2 else np.eye(4, dtype=int)[labels]
    predicted = (probabilities > 0.5).astype(int) if labels.ndim == 2 else np.eye(4, dtype=int)[probabilities.argmax(axis=1)]
    columns = zip(hot.T, predicted.T, probabilities.T, strict=True)
    return kept([measure(y, p, s) if defined(y, p) else None for y, p, s in columns])


@pytest.mark.parametrize("data", [SEVERAL, ONE], ids=["several", "one"])
@pytest.mark.parametrize("as_function", [False, True])
@pytest.mark.parametrize(
    ("name", "measure", "defined"),
    [
        ("AUROC", lambda y, _, s: sklearn.roc_auc_score(y, s), lambda y, _: 0 < y.sum() < len(y)),
        ("AveragePrecision", lambda y, _, s: sklearn.average_precision_score(y, s), lambda y, _: y.any()),
        ("Precision", lambda y, p, _: sklearn.precision_score(y, p), lambda _, p: p.any()),
        ("Recall", lambda y, p, _: sklearn.recall_score(y, p), lambda y, _: y.any()),
        ("F1Score", lambda y, p, _: sklearn.f1_score(y, p), lambda y, p: y.any() or p.any()),
        ("JaccardIndex", lambda y, p, _: sklearn.jaccard_score(y, p), lambda y, p: y.any() or p.any()),
        ("Specificity", lambda y, p, _: sklearn.recall_score(1 - y, 1 - p), lambda y, _: not y.all()),
    ],
)
def test_a_mean_leaves_out_undefined_classes_and_says_so(
    data: tuple[Any, Any], as_function: bool, name: str, measure: Any, defined: Any, capsys: pytest.CaptureFixture[str]
) -> None:
    multilabel = data[1].ndim == 2
    target = {"_target_": name, "average": "macro"}
    if as_function:
        function = {"AveragePrecision": "average_precision", "F1Score": "f1_score", "JaccardIndex": "jaccard_index"}
        target["_target_"] = F + ("multilabel_" if multilabel else "multiclass_") + function.get(name, name.lower())
    made = {"it": Target.model_validate(target)}
    metrics = build_metrics("train.metrics", made, num_classes=4, multilabel=multilabel, allow=(), classes=CLASSES)
    assert capsys.readouterr().err == ""
    for _ in range(2):
        for part in (slice(0, 1), slice(1, 4)):
            metrics.add(torch.from_numpy(data[0][part]), torch.from_numpy(data[1][part]))
        assert metrics.values()["it"] == pytest.approx(of_each(data, measure, defined))
        metrics.reset()
    said = capsys.readouterr().err.splitlines()
    hot = data[1] if multilabel else np.eye(4, dtype=int)[data[1]]
    predicted = data[0] > 0.5 if multilabel else np.eye(4, dtype=int)[data[0].argmax(axis=1)]
    lost = [each for each, y, p in zip(CLASSES, hot.T, predicted.T, strict=True) if not defined(y, p)]
    assert len(said) == bool(lost)
    assert all(f"leaves out {', '.join(lost)}, which" in line for line in said)


@pytest.mark.parametrize("name", ["AUROC", "AveragePrecision", "Precision", "F1Score"])
def test_a_binary_metric_that_is_undefined_is_nan(name: str, capsys: pytest.CaptureFixture[str]) -> None:
    made = {"it": Target.model_validate(name)}
    decision = Decision(positive=1)
    metrics = build_metrics("train.metrics", made, num_classes=2, multilabel=False, allow=(), decision=decision)
    metrics.add(torch.tensor([[0.8, 0.2], [0.6, 0.4]]), torch.tensor([0, 0]))
    assert np.isnan(metrics.values()["it"])
    assert f"train.metrics.it: Binary{name} is undefined and left out, since its classes" in capsys.readouterr().err
