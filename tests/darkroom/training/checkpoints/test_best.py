"""The best epochs and every so manieth one are kept, as models of their own; soups are what Wortsman et al. say."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch

from darkroom.base import files
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.split_file import Split
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import Predictor
from darkroom.models.model_json import make_card
from darkroom.models.saving import load_model, save_checkpoints
from darkroom.training import fit as fitting
from darkroom.training.checkpoints.best import KeepBest, Kept
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.checkpoints.soup import greedy_soup
from darkroom.training.plan import make_plan
from darkroom.transfer.init_from import open_initial_weights
from darkroom.versions.models import read_model

pytestmark = pytest.mark.filterwarnings("ignore")
SMALL = {
    "train.model.kwargs": {"width": 4, "stages": 2},
    "train.batch_size": 16,
    "train.epochs": 6,
    "hardware.accelerator": "cpu",
    "train.early_stopping": None,
}


def few_of(data: Any) -> Split:
    rows = data.split.rows
    return Split(data.split.classes, {"train": rows["train"][:64], "val": rows["val"][:60], "test": rows["test"]}, "")


def train(params: Params, data: Any, folder: Path) -> KeepBest:
    split, store = few_of(data), StateStore(folder, {})
    with store.held():
        return fitting.fit(make_plan(params, data.pack, split.rows["train"]), split, store)


def history(folder: Path, name: str) -> list[float]:
    table = StateStore(folder, {}).log_dir / "plots" / "metrics" / f"{name}.tsv"
    return [float(line.split("\t")[1]) for line in table.read_text().splitlines()[1:]]


def chosen(scores: list[float], *, mode: Any = "max", num_best: int = 1, every: int | None = None) -> list[int]:
    """Return the epochs that are kept when such scores come one after the other."""
    best = KeepBest(StateStore(Path("unused"), {}), "val/x", mode, num_best=num_best, every=every)
    for epoch, score in enumerate(scores, 1):
        best.kept = best._chosen(Kept("val/x", score, epoch, str(epoch)))
    return [kept.epoch for kept in best.kept]


def test_the_earlier_of_equals_is_better() -> None:
    scores = [0.1, 0.5, 0.4, 0.5, 0.3]
    assert chosen(scores) == [2]
    assert chosen(scores, num_best=3) == [2, 4, 3]
    assert chosen(scores, mode="min", num_best=2) == [1, 5]
    assert chosen(scores, every=2) == [2, 4]
    assert chosen(scores, num_best=2, every=3) == [2, 4, 3]
    assert chosen(scores, num_best=9) == [2, 4, 3, 5, 1]


def test_an_epoch_stands_for_its_best_validation() -> None:
    best = KeepBest(StateStore(Path("unused"), {}), "val/x", "max", num_best=2, every=1)
    for epoch, score in ((1, 0.4), (1, 0.6), (2, 0.5), (2, 0.3)):
        best.kept = best._chosen(Kept("val/x", score, epoch, f"{epoch} {score}"))
    assert [kept.file for kept in best.kept] == ["1 0.6", "2 0.5"]


def test_kept_epochs_are_models_of_their_own(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    params = make_params(SMALL | {"train.keep_best": 2, "train.keep_every": 4, "train.monitor": "val/loss"})
    best = train(params, digits, tmp_path / "states")
    losses = history(tmp_path / "states", "val/loss")
    order = sorted(range(6), key=lambda place: losses[place])
    expected = {order[0] + 1, order[1] + 1, 4}
    kept = best.checkpoints(2)
    assert [each.epoch for each in kept] == sorted(expected)
    assert [each.score for each in kept] == pytest.approx([losses[each.epoch - 1] for each in kept])
    plan = make_plan(params, digits.pack, few_of(digits).rows["train"])

    def card_of(each: Kept) -> dict[str, Any]:
        return make_card(params, plan.preprocessing, digits.split.classes, {"raw": "", "split": ""}, each, about=plan.about)

    folder = tmp_path / "checkpoints"
    save_checkpoints(folder, ((best.load(each), card_of(each)) for each in kept))
    index = files.read_sealed_json(folder / "index.json")
    assert index["epochs"] == {f"epoch_{each.epoch:04d}": {"val/loss": each.score} for each in kept}
    assert {name: files.sha256(folder / name) for name in index["files"]} == index["files"]
    assert len(index["files"]) == 2 * len(kept)
    rows = few_of(digits).rows["val"]
    for each in kept:
        path = folder / f"epoch_{each.epoch:04d}"
        model = load_model(path, params)
        assert (model.card.epoch, model.card.score, model.card.soup) == (each.epoch, each.score, None)
        probabilities = predict_rows(Predictor(model, params.hardware), digits.pack, rows, batch_size=60)
        accuracy = (probabilities.argmax(1) == digits.pack.labels[rows]).mean()
        assert accuracy == pytest.approx(history(tmp_path / "states", "val/accuracy")[each.epoch - 1])
        start = open_initial_weights(*read_model(tmp_path, tmp_path, f"checkpoints/epoch_{each.epoch:04d}"))
        assert all(torch.equal(value, start.weights[name]) for name, value in best.load(each).items())


def test_without_a_wish_there_is_an_empty_index(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    best = train(make_params(SMALL | {"train.epochs": 1}), digits, tmp_path)
    assert best.checkpoints(1) == []
    assert len(list(best.store.folder.glob("*.safetensors"))) == 1
    save_checkpoints(tmp_path / "checkpoints", [])
    assert files.read_sealed_json(tmp_path / "checkpoints" / "index.json")["files"] == {}


def test_epochs_that_are_not_validated_cannot_be_kept(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    params = make_params(SMALL | {"train.keep_every": 3, "train.trainer": {"check_val_every_n_epoch": 2}})
    with pytest.raises(
        InputError, match=r"train\.keep_every: is 3, but only one epoch in 2 is validated, .*; make it a multiple of 2$"
    ):
        train(params, digits, tmp_path)


WEIGHTS = {
    epoch: {"layer": torch.tensor([float(epoch), 1.0]), "norm.num_batches_tracked": torch.tensor(epoch)} for epoch in (1, 2, 3, 4)
}


def soup(scores: dict[int, float], measured: list[float], sign: int = 1) -> tuple[Any, list[list[float]]]:
    """Return the soup, and the weights that were measured on the way."""
    tried: list[list[float]] = []

    def measure(weights: Any) -> float:
        tried.append(weights["layer"].tolist())
        return measured[len(tried) - 1]

    return greedy_soup(scores, WEIGHTS.__getitem__, measure, sign=sign), tried


def test_the_greedy_recipe() -> None:
    # 3 alone has 0.9; with 1 it is better, then with 4 worse, then with 2 as good.
    made, tried = soup({3: 0.9, 1: 0.8, 4: 0.8, 2: 0.1}, [0.95, 0.94, 0.95])
    assert tried == [pytest.approx([mean, 1.0]) for mean in ((3 + 1) / 2, (3 + 1 + 4) / 3, (3 + 1 + 2) / 3)]
    assert (made.epochs, made.score) == ([3, 1, 2], 0.95)
    assert made.weights["layer"].tolist() == [2.0, 1.0]
    assert made.weights["norm.num_batches_tracked"] == 3
    assert made.weights["norm.num_batches_tracked"].dtype == torch.int64


def test_a_best_epoch_that_stays_alone_is_no_soup() -> None:
    assert soup({3: 0.9, 1: 0.8}, [0.89])[0] is None
    assert soup({3: 0.9, 1: 0.8}, [float("nan")])[0] is None
    assert soup({3: 0.9}, [])[0] is None


def test_a_loss_gets_better_downwards() -> None:
    assert soup({3: 0.1, 1: 0.2, 2: 0.3}, [0.05, 0.06], sign=-1)[0].epochs == [3, 1]


@pytest.mark.parametrize(
    "changes", [{}, {"train.ema": 0.9}, pytest.param({"train.swa": 0.3}, marks=pytest.mark.thorough)], ids=str
)
def test_what_is_published_is_the_measured_mean(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, changes: dict[str, Any]
) -> None:
    params = make_params(
        SMALL | {"train.soup": 4, "train.monitor": "val/loss", "train.lr": 0.03, "train.scheduler": None} | changes
    )
    best = train(params, digits, tmp_path)
    losses = history(tmp_path, "val/loss")
    order = sorted(range(1, 7), key=lambda epoch: losses[epoch - 1])[:4]
    assert [kept.epoch for kept in best.kept] == order
    weights = {kept.epoch: best.load(kept) for kept in best.kept}
    plan = make_plan(params, digits.pack, few_of(digits).rows["train"])
    network = plan.classifier.network.eval()
    rows = few_of(digits).rows["val"]
    images = torch.from_numpy(digits.pack.batch(rows)).permute(0, 3, 1, 2)

    def loss_of(mean: Any) -> float:
        network.load_state_dict(mean)
        with torch.no_grad():
            return float(plan.classifier.objective.val_loss(network(images), torch.from_numpy(digits.pack.labels[rows])))

    members, score, mean = [order[0]], losses[order[0] - 1], weights[order[0]]
    for epoch in order[1:]:
        several = [weights[each] for each in [*members, epoch]]
        tried = {
            name: torch.stack([each[name].double() for each in several]).mean(0).to(value.dtype)
            if value.is_floating_point()
            else value
            for name, value in weights[order[0]].items()
        }
        if loss_of(tried) <= score:
            members, score, mean = [*members, epoch], loss_of(tried), tried
    assert (best.soup.epochs if best.soup else [best.epoch]) == members
    assert best.score == pytest.approx(score, rel=1e-5)
    assert all(torch.equal(value, mean[name]) for name, value in best.weights.items())
    assert len(history(tmp_path, "val/loss")) == 6  # a soup's validations are in no table
    if best.soup:
        assert best.measured(best.store.log_dir) == {"loss": best.score}, "the tables have no other metric of the mean"
    if not changes:
        assert len(members) > 1
        card = make_card(params, plan.preprocessing, digits.split.classes, {}, best, soup=members)
        assert (card["epoch"], card["soup"], card["score"]) == (order[0], members, best.score)


@pytest.mark.parametrize(
    "further", [pytest.param({}, marks=pytest.mark.thorough), {"train.trainer": {"val_check_interval": 0.5}}]
)
def test_the_metrics_of_what_is_published_are_those_of_its_validation(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, further: dict[str, Any]
) -> None:
    best = train(make_params({**SMALL, "train.monitor": "val/loss", **further}), digits, tmp_path)
    measured = best.measured(StateStore(tmp_path, {}).log_dir)
    assert set(measured) == {"loss", "accuracy", "balanced_accuracy", "f1_macro"}
    assert measured["loss"] == best.score == min(history(tmp_path, "val/loss"))
    place = history(tmp_path, "val/loss").index(best.score)
    assert {name: history(tmp_path, f"val/{name}")[place] for name in measured} == measured
