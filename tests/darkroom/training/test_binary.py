"""`train.task: binary`: one output for two classes, from the labels to the predictions."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch
from evaluated import confusion_matrix
from publishing import publish, teacher_of
from sklearn.metrics import average_precision_score, f1_score, roc_auc_score
from torch.nn import functional

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.metrics import scores
from darkroom.metrics.decision import Decision
from darkroom.metrics.epoch import BinaryEpochMetrics
from darkroom.metrics.outcomes import Outcomes
from darkroom.models.model_json import read_card
from darkroom.objective.losses import BinaryLoss, FocalLoss, class_weights, make_loss
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import Plan, make_plan
from darkroom.transfer.init_from import open_initial_weights

pytestmark = pytest.mark.filterwarnings("ignore")
BINARY = {
    "train.task": "binary",
    "train.loss": "BCEWithLogitsLoss",
    "train.model.kwargs": {"width": 4, "stages": 2},
    "train.image_size": 8,
    "train.epochs": 2,
    "train.augment": [],
    "train.early_stopping": None,
    "hardware.accelerator": "cpu",
}
LOGITS = torch.tensor([[2.0], [-0.5], [0.3], [-3.0]], dtype=torch.float64)
LABELS = torch.tensor([1, 1, 0, 0])
TARGETS = torch.tensor([[1.0], [1.0], [0.0], [0.0]], dtype=torch.float64)


@pytest.fixture
def plan_of(make_params: Callable[..., Params], photos: Any) -> Callable[..., Plan]:
    def make(changes: dict[str, Any] | None = None, **given: Any) -> Plan:
        return make_plan(make_params(BINARY | (changes or {})), photos.pack, photos.split.rows["train"], **given)

    return make


def of_one_output(network: torch.nn.Module, plan: Plan, rows: Any) -> np.ndarray[Any, Any]:
    """Return the sigmoid of the network's one output."""
    with torch.no_grad():
        logits = network.eval()(plan.images.plain()[0, rows]["images"])
    assert logits.shape == (len(rows), 1)
    probabilities: np.ndarray[Any, Any] = logits[:, 0].double().sigmoid().numpy()
    return probabilities


@pytest.mark.parametrize("positive", [None, "red"])
def test_the_output_is_the_probability_of_the_positive_class_in_every_column(
    plan_of: Callable[..., Plan], photos: Any, tmp_path: Path, positive: str | None
) -> None:
    plan = plan_of({"train.positive_class": positive})
    publish(tmp_path / "model", plan, photos.split.classes)
    card = read_card(tmp_path / "model" / "model.json")
    assert (card.task, card.positive_class) == ("binary", positive or "blue")
    rows = photos.split.rows["test"]
    predictor = Predictor.load(tmp_path / "model", plan.params, "predict")
    probabilities = predict_rows(predictor, photos.pack, rows, batch_size=5)
    expected = of_one_output(predictor.model.network, plan, rows)
    column = {"red": 0, "blue": 1}[positive or "blue"]
    np.testing.assert_allclose(probabilities[:, column], expected, atol=1e-6)
    np.testing.assert_allclose(probabilities.sum(axis=1), 1, atol=1e-12)
    assert predictor.about["decision"] == Decision(0.5, column)


def test_a_training_learns_and_its_metrics_are_those_of_the_positive_class(
    make_params: Callable[..., Params], photos: Any, tmp_path: Path
) -> None:
    rows = photos.split.rows
    split = Split(photos.split.classes, {**rows, "val": rows["train"]}, "")
    further = {"auroc": "AUROC", "ap": "torchmetrics.functional.classification.average_precision"}
    changes = {"train.epochs": 6, "train.metrics": further, "train.monitor": "val/f1", "train.lr": 0.03}
    params = make_params(BINARY | changes)
    store = StateStore(tmp_path, {})
    with store.held():
        plan = make_plan(params, photos.pack, rows["train"])
        best = fit(plan, split, store)
    assert best.score is not None
    assert best.score > 0.9  # reddish and bluish noise
    measured = best.measured(store.log_dir)
    plan.classifier.network.load_state_dict(best.weights)
    probability, actual = of_one_output(plan.classifier.network, plan, rows["train"]), photos.pack.labels[rows["train"]]
    assert measured["f1"] == pytest.approx(f1_score(actual, probability > 0.5))
    assert measured["accuracy"] == pytest.approx(((probability > 0.5) == actual).mean())
    assert measured["auroc"] == pytest.approx(roc_auc_score(actual, probability), abs=1e-6)
    assert measured["ap"] == pytest.approx(average_precision_score(actual, probability), abs=1e-6)
    assert measured["loss"] == pytest.approx(scores.score_of(Outcomes.of(np.stack([1 - probability, probability], 1), actual, bins=5))["loss"], abs=1e-5)  # fmt: skip


def test_metrics_of_an_epoch_count_for_either_positive_class() -> None:
    for positive in (0, 1):
        metrics = BinaryEpochMetrics(positive)
        labels = LABELS if positive == 1 else 1 - LABELS
        for part in (slice(0, 3), slice(3, 4)):
            metrics.add(LOGITS[part], labels[part], torch.tensor(0.5))
        values = {name: float(value) for name, value in metrics.metrics().items()}
        assert values["accuracy"] == 0.5
        assert values["f1"] == pytest.approx(f1_score(LABELS, LOGITS[:, 0] > 0))
        assert values["f1_macro"] == pytest.approx(f1_score(LABELS, LOGITS[:, 0] > 0, average="macro"))


def test_scores_of_the_positive_class_depend_on_the_threshold_and_curves_do_not() -> None:
    rng = np.random.default_rng(0)
    labels = rng.integers(0, 2, 200)
    p = np.clip(0.3 * labels + 0.7 * rng.random(200), 0, 1)
    probabilities = np.stack([1 - p, p], axis=1)
    low, high = (scores.score_of(Outcomes.of(probabilities, labels, Decision(threshold, 1), bins=10)) for threshold in (0.3, 0.6))
    for threshold, found in ((0.3, low), (0.6, high)):
        assert found["f1"] == pytest.approx(f1_score(labels, p > threshold))
        assert found["accuracy"] == pytest.approx(((p > threshold) == labels).mean())
        assert found["auroc"] == pytest.approx(roc_auc_score(labels, p))
        assert found["average_precision"] == pytest.approx(average_precision_score(labels, p))
    assert low["recall"] > high["recall"]
    assert low["precision"] < high["precision"]
    assert low["loss"] == high["loss"]
    matrix = confusion_matrix(Outcomes.of(probabilities, labels, Decision(0.6, 1)))
    assert matrix[:, 1].sum() == (p > 0.6).sum()
    rows = Outcomes.of(probabilities, labels, Decision(0.6, 1)).most_confident_mistakes(200)
    assert set(rows.tolist()) == set(np.flatnonzero((p > 0.6) != labels).tolist())
    assert scores.diagram(Outcomes.of(probabilities, labels, Decision(0.6, 1), bins=10)).num_images.sum() == 200
    mirrored = scores.score_of(Outcomes.of(probabilities[:, ::-1], 1 - labels, Decision(0.6, 0), bins=10))
    assert mirrored == pytest.approx(high)
    one_class = scores.score_of(Outcomes.of(probabilities, np.zeros(200, np.int64), Decision(0.5, 1), bins=10))
    assert np.isnan([one_class["auroc"], one_class["average_precision"]]).all()


@pytest.mark.parametrize("positive", [0, 1])
@pytest.mark.parametrize(
    ("loss", "expected"),
    [
        ("BCEWithLogitsLoss", lambda y: functional.binary_cross_entropy_with_logits(LOGITS, y)),
        ({"_target_": "FocalLoss", "gamma": 2.0}, lambda y: FocalLoss(2.0, multilabel=True)(LOGITS, y)),
        ({"_target_": "BinaryCrossEntropy", "smoothing": 0.2}, lambda y: functional.binary_cross_entropy_with_logits(LOGITS, y * 0.8 + 0.1)),
    ],
    ids=["BCE", "focal", "label smoothing"],
)  # fmt: skip
def test_losses_of_one_output(make_params: Callable[..., Params], loss: Any, expected: Any, positive: int) -> None:
    made = make_loss(make_params(BINARY | {"train.loss": loss}), {}, multilabel=False, positive=positive)
    labels = LABELS if positive == 1 else 1 - LABELS
    assert torch.isclose(made(LOGITS, labels), expected(TARGETS))
    shares = torch.tensor([[0.3, 0.7], [0.0, 1.0], [1.0, 0.0], [0.6, 0.4]])  # as mixup and cutmix blend them
    assert torch.isclose(made(LOGITS, shares), expected(shares[:, [positive]].double()))


def test_positive_labels_are_weighed(make_params: Callable[..., Params]) -> None:
    labels = np.array([0] * 6 + [1] * 2)

    def weights_of(changes: dict[str, Any], positive: int = 1) -> Any:
        params = make_params(BINARY | {"train.pos_weight": None, "train.class_weights": None} | changes)
        weights = class_weights(params.train, labels, ["cat", "dog"], positive)
        plain = make_loss(params, {}, multilabel=False, positive=positive)
        return float(weights["pos_weight"]), make_loss(params, weights, multilabel=False, positive=positive), plain

    assert weights_of({"train.pos_weight": 4})[0] == 4
    assert weights_of({"train.pos_weight": "balanced"})[0] == weights_of({"train.class_weights": "balanced"})[0] == 3
    assert weights_of({"train.pos_weight": "balanced"}, positive=0)[0] == pytest.approx(1 / 3)
    assert weights_of({"train.class_weights": {"dog": 2}})[0] == 2
    assert weights_of({"train.class_weights": {"cat": 4}})[0] == 0.25
    for loss in ("BCEWithLogitsLoss", "FocalLoss", "BinaryCrossEntropy"):
        _, weighed, plain = weights_of({"train.loss": loss, "train.pos_weight": 4.0})
        positive, negative = LABELS == 1, LABELS == 0
        if loss != "BinaryCrossEntropy":  # its smoothed labels are partly positive
            assert torch.isclose(weighed(LOGITS[negative], LABELS[negative]), plain(LOGITS[negative], LABELS[negative]))
            assert torch.isclose(weighed(LOGITS[positive], LABELS[positive]), 4 * plain(LOGITS[positive], LABELS[positive]))
        else:
            assert weighed(LOGITS, LABELS) > plain(LOGITS, LABELS)


def test_balanced_counts_the_training_split(plan_of: Callable[..., Plan], photos: Any) -> None:
    loss = plan_of({"train.pos_weight": "balanced"}).objective.loss
    labels = photos.pack.labels[photos.split.rows["train"]]
    assert isinstance(loss, BinaryLoss)
    assert float(loss.loss.pos_weight) == pytest.approx((labels == 0).sum() / (labels == 1).sum())


@pytest.mark.parametrize(
    "changes",
    [
        {"train.mixup": 0.4, "train.cutmix": 1.0},
        {"train.sampler": "balanced", "train.class_weights": "balanced", "train.ema": 0.9},
        {"train.loss": {"_target_": "FocalLoss", "gamma": 1.0}, "train.pos_weight": 2.0},
        {"train.freeze": True, "train.cache_features": True},
        {"train.lora": {"rank": 2}},
    ],
    ids=["mixed", "balanced", "focal", "cached features", "adapters"],
)
def test_it_trains_with(make_params: Callable[..., Params], photos: Any, tmp_path: Path, changes: dict[str, Any]) -> None:
    params, store = make_params(BINARY | {"train.epochs": 1} | changes), StateStore(tmp_path, {})
    with store.held():
        plan = make_plan(params, photos.pack, photos.split.rows["train"])
        before = {name: value.clone() for name, value in plan.classifier.published.state_dict().items()}
        best = fit(plan, photos.split, store)
    assert any(not torch.equal(best.weights[name], value) for name, value in before.items())
    assert np.isfinite(best.score or np.nan)


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"train.loss": "CrossEntropyLoss"}, "train.loss: CrossEntropyLoss compares several outputs, but a binary network has one; run with '-S train.loss=BCEWithLogitsLoss', or see"),
        ({"train.loss": "LabelSmoothingCrossEntropy"}, "train.loss: does not take (logits, labels)"),
        ({"train.loss": {"_target_": "BCEWithLogitsLoss", "pos_weight": 2.0}}, "train.loss.pos_weight: is a tensor in torch; set train.pos_weight"),
        ({"train.loss": "SoftTargetCrossEntropy", "train.pos_weight": 2.0}, "train.pos_weight: SoftTargetCrossEntropy does not take a pos_weight of classes"),
        ({"train.positive_class": "bleu"}, "train.positive_class: there is no class 'bleu'; use red or blue"),
        ({"train.task": "multilabel"}, "train.task: is multilabel, but in this data each image has one class; set it to auto"),
        ({"train.task": "multiclass", "train.pos_weight": 2.0}, "train.pos_weight: weighs the labels of independent outputs"),
        ({"train.task": "auto", "train.loss": "CrossEntropyLoss", "train.pos_weight": 2.0}, "train.pos_weight: weighs the labels of independent outputs"),
        ({"train.pos_weight": 2.0, "train.class_weights": "balanced"}, "train.pos_weight and train.class_weights: are 2.0 and balanced"),
        ({"train.metrics": {"m": "MulticlassAUROC"}}, "train.metrics.m: MulticlassAUROC is for several outputs, but train.task is binary; use the name without its first word, or Binary…"),
        ({"train.metrics": {"f1": "F1Score"}}, "train.metrics.f1: is the name of a metric that is always measured"),
        ({"evaluate.metrics": {"auroc": "AUROC"}}, "evaluate.metrics.auroc: is the name of a metric that is always measured"),
        ({"train.monitor": "val/auroc"}, "train.monitor: is val/auroc, which is not measured"),
    ],
)  # fmt: skip
def test_what_is_refused_is_one_line(plan_of: Callable[..., Plan], changes: dict[str, Any], told: str) -> None:
    with pytest.raises(InputError) as caught:
        plan_of(changes)
    assert told in str(caught.value)
    assert "\n" not in str(caught.value)


def test_other_than_two_classes_are_refused(make_params: Callable[..., Params], digits: Any) -> None:
    told = r"^params\.yaml: train\.task: is binary, but the data has 10 classes, not one of two for each image; set it to auto$"
    with pytest.raises(InputError, match=told):
        make_plan(make_params(BINARY), digits.pack, digits.split.rows["train"])


def test_a_threshold_is_of_a_model_that_has_one(make_params: Callable[..., Params], photos: Any, tmp_path: Path) -> None:
    several = make_params(BINARY | {"train.task": "auto", "train.loss": "CrossEntropyLoss", "predict.threshold": 0.7})
    plan = make_plan(several, photos.pack, photos.split.rows["train"])
    assert plan.classifier.network.network(torch.zeros(2, 3, 8, 8)).shape == (2, 2)  # as before there was a task
    publish(tmp_path / "several", plan, photos.split.classes)
    with pytest.raises(InputError, match=r"predict\.threshold: is 0\.7, but the model predicts the most probable of several"):
        Predictor.load(tmp_path / "several", several, "predict")


def test_a_teacher_has_the_same_outputs(
    plan_of: Callable[..., Plan], make_params: Callable[..., Params], photos: Any, tmp_path: Path
) -> None:
    publish(tmp_path / "blue", plan_of({"base.seed": 1}), photos.split.classes)
    teaching = {"base.seed": 0, "train.teacher": {"model": str(tmp_path / "blue"), "weight": 0.5, "temperature": 2.0}}
    plan = plan_of(teaching, teacher=teacher_of(make_params(BINARY | teaching)))
    student, images = torch.tensor([[0.5], [-1.0]]), torch.zeros(2, 3, 8, 8, dtype=torch.uint8)
    teacher = plan.objective.teacher
    assert teacher is not None
    wanted, given = (teacher.predict(images) / 2).sigmoid(), (student / 2).sigmoid()
    two = [torch.cat([each, 1 - each], dim=1) for each in (wanted, given)]
    divergence = (two[0] * (two[0] / two[1]).log()).sum(dim=1).mean()
    assert torch.isclose(teacher(torch.tensor(0.0), student, images), 0.5 * 4 * divergence, atol=1e-6)
    for changes, has in (({"train.positive_class": "red"}, "one output, for red"), ({"train.task": "auto", "train.loss": "CrossEntropyLoss"}, "one output for each class")):  # fmt: skip
        with pytest.raises(InputError, match=rf"has one output, for blue, but this network {has}; name a model of the same"):
            plan_of(teaching | changes, teacher=teacher_of(plan.params))


def test_training_starts_from_either_kind_of_model(plan_of: Callable[..., Plan], photos: Any, tmp_path: Path) -> None:
    publish(tmp_path / "two", plan_of({"train.task": "auto", "train.loss": "CrossEntropyLoss"}), photos.split.classes)
    same = {"train.task": "binary", "train.loss": "BCEWithLogitsLoss"}
    publish(tmp_path / "one", plan_of(same | {"base.seed": 1}), photos.split.classes)
    for name, head in (("two", False), ("one", True)):
        content = {each: (tmp_path / name / each).read_bytes() for each in ("model.json", "model.safetensors")}
        weights = open_initial_weights(name, content)
        plan = plan_of(same | {"base.seed": 2, "train.init_from": name}, initial=weights)
        loaded = {key: torch.equal(value, weights.weights[key]) if value.shape == weights.weights[key].shape else False for key, value in plan.classifier.network.state_dict().items()}  # fmt: skip
        assert all(is_equal for key, is_equal in loaded.items() if ".head." not in key)
        assert loaded["network.head.weight"] == head
