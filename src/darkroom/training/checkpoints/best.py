"""Keeps the weights of the best epochs, and of every n-th epoch, in files beside the training's states."""

import math
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import pytorch_lightning as pl

from darkroom.metrics.extra import Mode
from darkroom.training.checkpoints.saved_states import StateStore, Weights
from darkroom.training.checkpoints.soup import Soup


@dataclass(frozen=True)
class Kept:
    """An epoch whose weights are kept.

    Attributes
    ----------
    monitor, score : str, float
        The monitored metric, and its value.
    epoch : int
        From 1.
    file : str
        Name of the weights in the `StateStore`.
    """

    monitor: str
    score: float
    epoch: int
    file: str


def _column(table: Path, epoch: int) -> list[float]:
    """Return the values of a metric that DVCLive logged in an epoch, also within it."""
    rows = [line.split("\t") for line in table.read_text(encoding="utf-8").splitlines()[1:]]
    return [float(value) for step, value in rows if math.ceil(float(step)) == epoch]


class KeepBest(pl.Callback):
    """Keeps the weights of the epochs with the best value of a metric (the earlier one of equals), and of every n-th epoch.

    An epoch that is validated several times counts with its best validation.

    Parameters
    ----------
    store
        Where the weights are written.
    monitor, mode
        The metric, and whether its least or its greatest value is the best.
    num_best
        Number of best epochs.
    every
        Keep every n-th epoch, too.

    Attributes
    ----------
    kept : list of Kept
        The best one first.
    states : dict of list of str
        By kept epoch the file of its state and those of the weights that this names, if `train.keep_states` is set.
    soup : Soup or None
        What is published in place of the best one.
    publishes : bool
        Whether this is the process, of several, that writes the model.
    """

    def __init__(self, store: StateStore, monitor: str, mode: Mode, *, num_best: int = 1, every: int | None = None):
        self.store, self.monitor, self.num_best, self.every = store, monitor, num_best, every
        self.sign = -1 if mode == "min" else 1
        self.kept: list[Kept] = []
        self.states: dict[int, list[str]] = {}
        self.soup: Soup | None = None
        self.publishes = True

    @property
    def epoch(self) -> int:
        """The best epoch, from 1."""
        return self.kept[0].epoch

    @property
    def score(self) -> float:
        """The monitored metric of the published weights."""
        return self.soup.score if self.soup else self.kept[0].score

    @property
    def name(self) -> str:
        """Which epochs the published weights come from."""
        return f"the mean of epochs {', '.join(map(str, self.soup.epochs))}" if self.soup else f"epoch {self.epoch}"

    @property
    def weights(self) -> Weights:
        """The published weights, on the CPU."""
        return self.soup.weights if self.soup else self.load(self.kept[0])

    def measured(self, log_dir: Path) -> dict[str, float]:
        """Return the validation metrics of the published weights from the log in `log_dir`, by name without `val/`.

        For a soup, only the monitored metric was measured.
        """
        name = self.monitor.removeprefix("val/")
        if self.soup is not None:
            return {name: self.score}
        tables = sorted((log_dir / "plots" / "metrics" / "val").glob("*.tsv"))
        columns = {table.stem: _column(table, self.epoch) for table in tables}
        # An epoch that is validated several times counts with its best validation.
        place = columns[name].index(self.score) if self.score in columns.get(name, []) else -1
        found = {column: values[place] for column, values in columns.items() if values and math.isfinite(values[place])}
        return {**found, name: self.score}

    def load(self, kept: Kept) -> Weights:
        """Return the weights of an epoch, on the CPU."""
        return self.store.load_weights(kept.file)

    def on_fit_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:  # noqa: ARG002
        """Note whether this process writes the model."""
        self.publishes = trainer.is_global_zero

    def on_validation_end(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Keep this epoch if it is among the best, or an n-th one."""
        measured = Kept(self.monitor, float(trainer.callback_metrics[self.monitor]), trainer.current_epoch + 1, file="")
        if measured not in self._chosen(measured):
            return
        file = ""
        if trainer.is_global_zero:
            weights = pl_module.published.state_dict()  # type: ignore[union-attr]
            file = self.store.save_weights(measured.epoch, {name: value.detach().cpu() for name, value in weights.items()})
        file = trainer.strategy.broadcast(file)
        self.kept = self._chosen(Kept(self.monitor, measured.score, measured.epoch, file))

    def _chosen(self, measured: Kept) -> list[Kept]:
        """Return the epochs to keep after a validation, the best first."""
        ranked = sorted([*self.kept, measured], key=lambda kept: (-self.sign * kept.score, kept.epoch))
        of_epoch: dict[int, Kept] = {}
        for kept in ranked:
            of_epoch.setdefault(kept.epoch, kept)
        return self._first(list(of_epoch.values()), self.num_best)

    def checkpoints(self, num_best: int) -> list[Kept]:
        """Return the epochs to publish beside the model: the `num_best` best ones, if more than one, and every n-th."""
        return sorted(self._first(self.kept, num_best if num_best > 1 else 0), key=lambda kept: kept.epoch)

    def _first(self, ranked: list[Kept], num_best: int) -> list[Kept]:
        return [
            kept
            for place, kept in enumerate(ranked)
            if place < num_best or (self.every is not None and kept.epoch % self.every == 0)
        ]

    def state_dict(self) -> dict[str, Any]:
        """Return the kept epochs for a state."""
        return {"kept": [asdict(kept) for kept in self.kept], "states": dict(self.states)}

    def load_state_dict(self, state_dict: dict[str, Any]) -> None:
        """Restore the kept epochs from a state."""
        self.kept = [Kept(**each) for each in state_dict["kept"]]
        self.states = dict(state_dict.get("states", {}))
