"""`train.resume_from`: a training that resumes another one has the bits of one long training, and says what it cannot keep."""

import copy
import csv
import hashlib
import json
import re
from collections.abc import Callable
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import pytest
import torch
from interruptions import CHANGES, STEPS, Result, assert_equal, few_of, result

from darkroom.base import files, paths
from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.models.model_json import Continued, read_card
from darkroom.training.checkpoints.fresh_start import why_fresh
from darkroom.training.checkpoints.resume_from import Earlier, open_earlier
from darkroom.training.checkpoints.saved_states import StateStore, depends_on
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan
from darkroom.training.publish import publish
from darkroom.versions.models import read_training

pytestmark = pytest.mark.filterwarnings("ignore")
DATA = {"raw": "1", "split": "2"}
SMALL = {**CHANGES, "train.model.kwargs": {"width": 4, "stages": 1}, "train.augment": [], "train.early_stopping": None}
SHORT = {**SMALL, "train.epochs": 2, "train.keep_states": True, "train.keep_every": 1}
STEP_LR = {"train.scheduler": {"_target_": "StepLR", "step_size": 3, "gamma": 0.5}}


class Trained:
    """A training that was published to a folder `models`."""

    def __init__(self, folder: Path, found: Result, earlier: Earlier | None):
        self.folder, self.found, self.earlier = folder, found, earlier
        self.checkpoints = folder / "checkpoints"

    @property
    def card(self) -> Any:
        return read_card(self.folder / "model.json")


@pytest.fixture
def train(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> Callable[..., Trained]:
    """Train with changed parameters in a folder of its own, and publish."""
    few = few_of(digits)[1]

    def run(name: str, changes: dict[str, Any], data: dict[str, str] = DATA) -> Trained:
        params, folder = make_params(changes), tmp_path / name / "models"
        source = params.train.resume_from
        is_file = source is not None and Path(source).is_file()
        found = read_training(tmp_path, tmp_path, source) if source and not is_file else None
        earlier = open_earlier(found, params, data) if source else None
        plan = make_plan(params, digits.pack, few.rows["train"], earlier=earlier)
        about = (plan.about[name] for name in ("origin", "teacher", "resumed"))
        store = StateStore(tmp_path / ".resume", depends_on({}, params, data, *about))
        with store.held():
            best = fit(plan, few, store, logs=tmp_path / "logs" if params.train.loggers else None)
            publish(
                plan,
                best,
                few,
                data,
                store,
                (folder, folder / "checkpoints", tmp_path / name / "metrics"),
                tmp_path / name / "train.json",
            )
        return Trained(folder, result(best, store.log_dir), earlier)

    return run


@pytest.mark.parametrize(
    "more",
    [
        STEP_LR,
        {"train.scheduler": None, "train.ema": 0.9, "train.model.kwargs": {"width": 4, "stages": 1, "dropout": 0.5}},
        pytest.param(
            {"train.scheduler": {"_target_": "ReduceLROnPlateau", "patience": 0, "threshold": 10.0}}, marks=pytest.mark.thorough
        ),
        pytest.param({"train.lr_table": {0: 0.01, 3: 0.002}, "train.scheduler": None}, marks=pytest.mark.thorough),
    ],
    ids=["StepLR", "constant", "plateau", "table"],
)
def test_two_epochs_and_two_more_are_four(train: Callable[..., Trained], more: dict[str, Any], capsys: Any) -> None:
    whole = train("whole", {**SHORT, **more, "train.epochs": 4})
    first = train("first", {**SHORT, **more})
    told = capsys.readouterr().out
    second = train("second", {**SHORT, **more, "train.epochs": 4, "train.resume_from": str(first.folder)})
    assert_equal(second.found, whole.found)
    told = capsys.readouterr().out
    assert f"train: resuming after epoch 2 of {first.folder}: all of its state; the optimizer is resumed\n" in told
    assert "stretched" not in told
    assert [row.split("\t")[0] for row in whole.found.log["plots/metrics/val/loss.tsv"].decode().splitlines()] == [
        "step",
        *"1234",
    ]
    record = second.card.resumed
    assert (record.epoch, record.state, record.commit) == (2, "whole", None)
    state = first.checkpoints / "states" / "epoch_0002.ckpt"
    assert record.sha256 == {"state": files.sha256(state)}


def test_a_kept_epoch_is_gone_on_with_and_states_have_the_same_bytes(train: Callable[..., Trained], tmp_path: Path) -> None:
    whole = train("whole", {**SHORT, **STEP_LR, "train.epochs": 3})
    names = sorted(path.name for path in (whole.checkpoints / "states").glob("*.ckpt"))
    assert names == ["epoch_0001.ckpt", "epoch_0002.ckpt", "epoch_0003.ckpt"]
    index = files.read_sealed_json(whole.checkpoints / "index.json")
    assert all(files.sha256(whole.checkpoints / name) == digest for name, digest in index["files"].items())
    (tmp_path / ".resume").rename(tmp_path / "elsewhere")
    again = train("again", {**SHORT, **STEP_LR, "train.epochs": 3})
    assert (again.checkpoints / "index.json").read_bytes() == (whole.checkpoints / "index.json").read_bytes()
    kept = str(whole.checkpoints / "epoch_0001")
    changes = {**SHORT, **STEP_LR, "train.epochs": 3, "train.resume_from": kept}
    assert_equal(train("further", changes).found, whole.found)


def test_a_stretched_schedule_says_so_and_has_the_rates_of_the_long_plan(train: Callable[..., Trained], capsys: Any) -> None:
    cosine = {"train.scheduler": {"_target_": "CosineAnnealingLR"}}
    whole = train("whole", {**SHORT, **cosine, "train.epochs": 4})
    first = train("first", {**SHORT, **cosine})
    capsys.readouterr()
    second = train("second", {**SHORT, **cosine, "train.epochs": 4, "train.resume_from": str(first.folder)})
    assert (
        "train: the schedule is stretched: rates from epoch 3 on are those of a 4-epoch plan, "
        "the first 2 were those of a 2-epoch plan\n"
    ) in capsys.readouterr().out

    def rates(trained: Trained) -> list[str]:
        return [row.split("\t")[1] for row in trained.found.log["plots/metrics/lr.tsv"].decode().splitlines()[1:]]

    assert rates(second) == rates(first)[:2] + rates(whole)[2:]
    assert rates(first)[1] != rates(whole)[1]


def test_what_params_say_holds_from_there_on(train: Callable[..., Trained], capsys: Any) -> None:
    """A rate and weight decay of its own, an optimizer of another kind, and patience."""
    first = train("first", {**SHORT, "train.scheduler": None})
    further = {**SHORT, "train.scheduler": None, "train.epochs": 3, "train.resume_from": str(first.folder)}
    plain, faster = train("plain", further), train("faster", {**further, "train.lr": 0.05})
    assert float(faster.found.log["plots/metrics/lr.tsv"].decode().split()[-1]) == pytest.approx(0.05)
    loss = "plots/metrics/train/loss.tsv"
    assert faster.found.log[loss] != plain.found.log[loss]
    capsys.readouterr()
    train("other", {**further, "train.optimizer": {"_target_": "SGD", "momentum": 0.9}})
    assert "all of its state; the optimizer starts fresh\n" in capsys.readouterr().out


@pytest.mark.parametrize(
    ("changes", "message"),
    [
        ({"train.batch_size": 8}, r"train\.batch_size: is 8, but .* was trained with 16, .*set train\.init_from, not"),
        ({"base.seed": 3}, r"base\.seed: is 3, but .* was trained with 0"),
        ({"train.epochs": 2}, r"train\.epochs: is 2, but .* has 2 epochs already; raise it"),
    ],
)
def test_what_the_finished_epochs_would_have_needed_is_refused(
    train: Callable[..., Trained], changes: dict[str, Any], message: str
) -> None:
    first = train("first", SHORT)
    with pytest.raises(InputError, match=message):
        train("second", {**SHORT, "train.epochs": 4, "train.resume_from": str(first.folder), **changes})
    with pytest.raises(InputError, match=r"was trained on another data/split, so that it may have seen images of the test split"):
        train("second", {**SHORT, "train.epochs": 4, "train.resume_from": str(first.folder)}, DATA | {"split": "3"})
    assert json.loads((first.checkpoints / "index.json").read_text())["states"]
    path = first.checkpoints / "states" / "epoch_0002.ckpt"
    path.write_bytes(path.read_bytes()[:-1])
    with pytest.raises(InputError, match=r"its kept states are damaged \(states/epoch_0002\.ckpt does not have the SHA-256"):
        train("second", {**SHORT, "train.epochs": 4, "train.resume_from": str(first.folder)})


def test_weights_alone_go_on_with_counters_and_schedule(train: Callable[..., Trained], capsys: Any) -> None:
    plain = {**SMALL, "train.epochs": 2, "train.keep_every": 2, **STEP_LR}
    first = train("first", plain)
    kept = first.checkpoints / "epoch_0002"
    assert not (first.checkpoints / "states").exists()
    capsys.readouterr()
    second = train("second", {**plain, "train.epochs": 4, "train.resume_from": str(kept)})
    told = capsys.readouterr().out
    assert (
        f"train: resuming after epoch 2 of {kept}: its weights alone; the optimizer starts fresh; with train.keep_states" in told
    )
    log = second.found.log["plots/metrics/lr.tsv"].decode().splitlines()[1:]
    assert [row.split("\t") for row in log] == [["3", "0.01"], ["4", "0.005"]] or log[0].startswith("3\t")
    card = second.card
    assert (card.resumed.epoch, card.resumed.state) == (2, "weights")
    assert card.epoch in (3, 4)
    assert card.origin.sha256 == {"model.safetensors": files.sha256(kept / "model.safetensors")}


def lightning_checkpoint(first: Trained, path: Path) -> str:
    """Write what a module `self.net`, compiled, would leave after two epochs; return the hash."""
    state = torch.load(first.checkpoints / "states" / "epoch_0002.ckpt", weights_only=True)
    weights = {
        name.replace("network.network.", "net._orig_mod."): value
        for name, value in state["state_dict"].items()
        if name.startswith("network.network.")
    }
    content = {"epoch": 1, "global_step": 2 * STEPS, "state_dict": weights | {"criterion.weight": torch.ones(10)}}
    content["optimizer_states"] = copy.deepcopy(state["optimizer_states"])
    torch.save(content, path)
    return hashlib.sha256(path.read_bytes()).hexdigest()


def test_a_checkpoint_of_lightning_goes_on_and_is_pinned(train: Callable[..., Trained], tmp_path: Path, capsys: Any) -> None:
    constant = {"train.scheduler": None}
    whole = train("whole", {**SHORT, **constant, "train.epochs": 3})
    first = train("first", {**SHORT, **constant})
    path = tmp_path / "last.ckpt"
    sha256 = lightning_checkpoint(first, path)
    further = {**SHORT, **constant, "train.epochs": 3, "train.resume_from": str(path)}
    with pytest.raises(
        InputError, match=rf"train\.resume_sha256: is missing, but the content .* has to be pinned; set it to {sha256}"
    ):
        train("second", further)
    with pytest.raises(InputError, match=rf"train\.resume_sha256: is not that of .*, which is {sha256}"):
        train("second", further | {"train.resume_sha256": "0" * 64})
    capsys.readouterr()
    second = train("second", further | {"train.resume_sha256": sha256})
    assert "weights and counters; the optimizer is resumed\n" in capsys.readouterr().out
    assert second.card.resumed.sha256 == {"last.ckpt": sha256}
    # The third epoch has the bits of the one in a single training.
    last = re.search(rb"\n3\t.*", whole.found.log["plots/metrics/train/loss.tsv"])
    assert last
    assert last[0] in second.found.log["plots/metrics/train/loss.tsv"]


def test_another_file_is_no_checkpoint(train: Callable[..., Trained], tmp_path: Path) -> None:
    def refused(name: str, content: Any, message: str) -> None:
        path = tmp_path / name
        torch.save(content, path)
        pinned = {"train.resume_from": str(path), "train.resume_sha256": files.sha256(path)}
        with pytest.raises(InputError, match=message):
            train("second", {**SHORT, **pinned})

    refused("weights.pth", {}, r"weights\.pth is no checkpoint; name a \.ckpt file, or set train\.model\.weights")
    refused("bare.ckpt", {"state_dict": {}}, r"bare\.ckpt has no 'epoch', as checkpoints of Lightning have")
    refused("old.ckpt", {"darkroom": {}}, r"old\.ckpt is the state of an earlier version of this project; set train\.init_from")
    needing = {"darkroom": {}, "weights": ["000000000001-weights-aa.safetensors"]}
    refused("alone.ckpt", needing, r"alone\.ckpt needs the weights of its best epochs beside it; copy the whole folder 'states'")
    (tmp_path / needing["weights"][0]).write_bytes(b"other")
    refused("alone.ckpt", needing, r"the weights beside .*alone\.ckpt are damaged; copy the whole folder 'states' again")


def test_weights_alone_and_others_are_one_too_many() -> None:
    earlier = Earlier("there", Continued(source="there", commit=None, sha256={}, epoch=1, state="weights"))
    with pytest.raises(
        InputError, match=r"train\.resume_from: only weights of there are there, and train\.init_from names others"
    ):
        earlier.check_weights(SimpleNamespace(init_from="x", model=SimpleNamespace(weights=None)))  # type: ignore[arg-type]


def test_a_longer_training_is_told_how_to_go_on(
    train: Callable[..., Trained], make_params: Callable[..., Params], tmp_path: Path
) -> None:
    train("first", SHORT)
    about = depends_on({}, make_params({**SHORT, "train.epochs": 4}), DATA)
    why = why_fresh(StateStore(tmp_path / ".resume", about))
    assert why is not None
    assert "differs in train.epochs; to go on with it, run 'dvc exp run -S train.epochs=4 -S train.resume_from=COMMIT'" in why


def test_what_is_in_models_is_removed_when_training_starts() -> None:
    with pytest.raises(
        InputError, match=r"^models: is removed when training starts; name what '\./darkroom commit HEAD:models' prints$"
    ):
        read_training(paths.ROOT, paths.ROOT, "models")


PLATEAU = {"train.scheduler": {"_target_": "ReduceLROnPlateau", "patience": 0, "threshold": 10.0}}


@pytest.mark.parametrize(
    ("key", "value", "before"), [("lr", 0.05, "0.01"), ("layer_decay", 0.5, "None"), ("lr_factors", {"network": 0.1}, "None")]
)
def test_a_schedule_that_waits_for_a_metric_keeps_the_rates_that_it_came_to(
    train: Callable[..., Trained], key: str, value: Any, before: str
) -> None:
    first = train("first", {**SHORT, **PLATEAU})
    told = rf"params\.yaml: train\.{key}: is .*, but .* was trained with {before}, and cannot be resumed otherwise; set it back"
    with pytest.raises(InputError, match=told):
        train("second", {**SHORT, **PLATEAU, "train.epochs": 3, "train.resume_from": str(first.folder), f"train.{key}": value})


@pytest.mark.parametrize(("before", "after"), [(STEP_LR, PLATEAU), (PLATEAU, STEP_LR)], ids=["then it waits", "it waited"])
def test_a_schedule_of_another_kind_has_the_rates_of_params(
    train: Callable[..., Trained], before: dict[str, Any], after: dict[str, Any]
) -> None:
    first = train("first", {**SHORT, **before})
    further = {**SHORT, **after, "train.epochs": 3, "train.lr": 0.05, "train.resume_from": str(first.folder)}
    assert float(train("second", further).found.log["plots/metrics/lr.tsv"].decode().split()[-1]) == pytest.approx(0.05)


def test_sizes_by_epoch_are_the_same_ones_in_a_state(train: Callable[..., Trained]) -> None:
    """JSON, in which a state has its parameters, knows no numbers as keys."""
    sizes = {**SHORT, **STEP_LR, "train.image_sizes": {0: 6, 1: 8}}
    whole, first = train("whole", {**sizes, "train.epochs": 3}), train("first", sizes)
    second = train("second", {**sizes, "train.epochs": 3, "train.resume_from": str(first.folder)})
    assert_equal(second.found, whole.found)


def test_an_average_that_has_begun_is_not_stretched(train: Callable[..., Trained]) -> None:
    """It is the mean of the last epochs, by a number of epochs that is another one now."""
    swa = {**SHORT, "train.scheduler": None, "train.swa": 0.5, "train.epochs": 2}
    longer = {**swa, "train.epochs": 4}
    whole, first = train("whole", longer), train("first", swa)
    with pytest.raises(
        InputError,
        match=r"params\.yaml: train\.swa: the average of .* has begun, by its 2 epochs; resume from a kept epoch before",
    ):
        train("second", {**longer, "train.resume_from": str(first.folder)})
    before = str(first.checkpoints / "epoch_0001")
    assert_equal(train("third", {**longer, "train.resume_from": before}).found, whole.found)


def test_the_precision_and_the_format_of_a_training_are_known_from_its_state() -> None:
    record = Continued(source="there", commit=None, sha256={}, epoch=1, state="whole")

    def computed_in(own: dict[str, Any] | None) -> dict[str, str]:
        return Earlier("there", record, None if own is None else {"darkroom": own}).computes

    assert computed_in({"precision": "bf16-mixed", "memory_format": "contiguous"}) == {
        "precision": "bf16-mixed",
        "memory_format": "contiguous",
    }
    # The versions that did not record the format knew one, and those before recorded neither.
    assert computed_in({"precision": "32-true"}) == {"precision": "32-true", "memory_format": "channels_last"}
    assert computed_in({}) == {}
    assert computed_in(None) == {}, "weights alone"


@pytest.mark.parametrize(
    ("patience", "last", "said"),
    [
        (3, 4, "train: stopped early at epoch 4 of 6: val/loss has not improved by more than 100 for 3 validations (patience 3)"),
        (9, 6, None),
    ],
)
def test_patience_of_params_holds_after_a_training_that_had_stopped(
    train: Callable[..., Trained], capsys: pytest.CaptureFixture[str], patience: int, last: int, said: str | None
) -> None:
    """What was waited is counted; it is not said again that it stopped."""
    stopping = {"min_delta": 100.0, "patience": 1}
    longer = {**SHORT, "train.scheduler": None, "train.monitor": "val/loss", "train.epochs": 6}
    first = train("first", {**longer, "train.early_stopping": stopping})
    assert "train: stopped early at epoch 2 of 6: " in capsys.readouterr().out
    changes = {"train.early_stopping": stopping | {"patience": patience}, "train.resume_from": str(first.folder)}
    second = train("second", {**longer, **changes})
    assert second.found.log["plots/metrics/val/loss.tsv"].decode().splitlines()[-1].startswith(f"{last}\t")
    told = capsys.readouterr().out
    assert (said in told) if said else ("stopped early" not in told)


def test_what_looks_on_begins_anew_and_leaves_what_it_saw_before(
    train: Callable[..., Trained], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Two experiments may go on with one training: neither writes into its logs, whose run.json has other parameters."""

    def seen() -> dict[str, dict[str, bytes]]:
        return {
            folder.name: {str(path.relative_to(folder)): path.read_bytes() for path in folder.rglob("*") if path.is_file()}
            for folder in (tmp_path / "logs").iterdir()
        }

    logged = {**SHORT, "train.scheduler": None, "train.loggers": [{"_target_": "pytorch_lightning.loggers.CSVLogger"}]}
    first = train("first", logged)
    (before,) = seen().items()
    (tmp_path / ".resume").rename(tmp_path / "elsewhere")
    (tmp_path / "logs").rename(tmp_path / "logs of the first")
    monkeypatch.setenv("DVC_EXP_NAME", "again")  # by which the folder is named, and by the time
    again = train("again", logged)
    assert before[0] not in seen()
    assert (again.checkpoints / "index.json").read_bytes() == (first.checkpoints / "index.json").read_bytes()
    (before,) = seen().items()
    monkeypatch.setenv("DVC_EXP_NAME", "second")
    train("second", {**logged, "train.epochs": 3, "train.resume_from": str(first.folder)})
    after = seen()
    assert after.pop(before[0]) == before[1]
    (new,) = after.values()
    assert json.loads(new["run.json"])["params"]["train"]["epochs"] == 3
    rows = csv.DictReader(new["csv/version_0/metrics.csv"].decode().splitlines())
    assert {row["step"] for row in rows if row["val/loss"]} == {"3"}
