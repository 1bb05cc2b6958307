"""The start of a training that resumes another one: its optimizer, its counters, and the schedule at its place."""

import copy
import inspect
import warnings
from collections.abc import Iterator
from typing import Any

import pytorch_lightning as pl
from pytorch_lightning.callbacks.early_stopping import EarlyStoppingReason
from torch import Tensor
from torch.optim import Optimizer
from torch.optim.lr_scheduler import LRScheduler, ReduceLROnPlateau

from darkroom.base.params import Params
from darkroom.objective.schedules import first_epoch, interval
from darkroom.training.checkpoints.counters import count_as_done
from darkroom.training.checkpoints.resume_from import Earlier, changed_rates

# Arguments of a schedule by which it depends on the number of epochs.
TOTALS = ("total_steps", "T_max")


class RestoreOptimizer(pl.Callback):
    """Prepares the first step after those of the earlier training.

    Optimizer and schedule are made as params.yaml says; the optimizer takes over its moments, and the schedule is put where it
    would be after as many steps.

    Parameters
    ----------
    earlier
        What is resumed.
    params
        All of params.yaml.
    """

    def __init__(self, earlier: Earlier, params: Params):
        self.earlier, self.params = earlier, params

    def on_train_start(self, trainer: pl.Trainer, pl_module: pl.LightningModule) -> None:
        """Restore what Lightning has not."""
        earlier = self.earlier
        for stopping in trainer.early_stopping_callbacks:  # it may have stopped, and goes on now
            stopping.stopped_epoch, stopping.stopping_reason = 0, EarlyStoppingReason.NOT_STOPPED
        if earlier.state is None:
            count_as_done(trainer, earlier.epoch)
        (optimizer,) = trainer.optimizers
        fresh, config = _configured(pl_module)
        is_taken = self._takes_moments(optimizer, fresh)
        if is_taken:
            state = copy.deepcopy(earlier.optimizer)
            trainer.strategy.load_optimizer_state_dict({"optimizer_states": [state]})
        loaded = [group["lr"] for group in optimizer.param_groups]
        self._place_schedule(trainer, config)
        for group, made in zip(optimizer.param_groups, fresh.param_groups, strict=True):
            group.update({name: value for name, value in made.items() if name != "params"})
        if is_taken and self._keeps_rates(config):
            for group, rate in zip(optimizer.param_groups, loaded, strict=True):
                group["lr"] = rate
        if trainer.is_global_zero:
            print(*self._lines(config, is_taken=is_taken), sep="\n", flush=True)

    def _keeps_rates(self, config: dict[str, Any] | None) -> bool:
        """Return whether rates are what a schedule that waits for a metric has made of those that params.yaml still has."""
        waits = config is not None and isinstance(config["scheduler"], ReduceLROnPlateau) and self.earlier.scheduler is not None
        return waits and not changed_rates(self.earlier.params, self.params)

    def _takes_moments(self, optimizer: Optimizer, fresh: Optimizer) -> bool:
        """Return whether the saved moments are those of this optimizer and these parameters."""
        saved, before = self.earlier.optimizer, self.earlier.params
        if saved is None:
            return False
        groups, sizes = saved["param_groups"], [len(group["params"]) for group in fresh.param_groups]
        if sizes != [len(group["params"]) for group in groups]:
            return False
        if before:
            same: bool = before["optimizer"]["_target_"] == self.params.train.optimizer.target
            return same
        # Of another project: an optimizer with the same settings, whose moments have the shapes of the parameters.
        settings = {name for group in fresh.param_groups for name in group} - {"initial_lr", "lr_factor"}
        values = [value for group in optimizer.param_groups for value in group["params"]]
        moments = [(values[number], each) for number, kept in saved["state"].items() for each in kept.values()]
        fitting = all(each.shape in (value.shape, ()) for value, each in moments if isinstance(each, Tensor))
        return fitting and all(settings <= set(group) for group in groups)

    def _place_schedule(self, trainer: pl.Trainer, config: dict[str, Any] | None) -> None:
        """Step the new schedule as often as it would have been, and give its state to the trainer's."""
        if config is None:
            return
        (own,), made = trainer.lr_scheduler_configs, config["scheduler"]
        if isinstance(made, ReduceLROnPlateau):
            if self.earlier.scheduler is not None:
                kept = {name: value for name, value in self.earlier.scheduler.items() if name not in _settings(made)}
                own.scheduler.load_state_dict(kept)
            return
        begun, epoch = first_epoch(self.params.train), trainer.current_epoch
        steps = trainer.global_step - trainer.global_step * begun // max(epoch, 1)
        with warnings.catch_warnings():
            warnings.simplefilter("ignore")  # that no step of the optimizer came before
            for _ in range(max(0, epoch - begun if interval(made) == "epoch" else steps)):
                made.step()
        own.scheduler.load_state_dict(made.state_dict())

    def _lines(self, config: dict[str, Any] | None, *, is_taken: bool) -> Iterator[str]:
        earlier, kind = self.earlier, self.earlier.record.state
        what = {"whole": "all of its state", "checkpoint": "weights and counters", "weights": "its weights alone"}[kind]
        advice = "; with train.keep_states its state would have been kept" if kind == "weights" else ""
        optimizer = "the optimizer is resumed" if is_taken else f"the optimizer starts fresh{advice}"
        commit = f" (commit {earlier.record.commit})" if earlier.record.commit else ""
        yield f"train: resuming after epoch {earlier.epoch} of {earlier.name}{commit}: {what}; {optimizer}"
        before, now = earlier.params.get("epochs"), self.params.train.epochs
        if config is None or before == now or not self._depends_on_epochs(config["scheduler"]):
            return
        plan = f"those of a {before}-epoch plan" if before else "as they were there"
        yield (
            f"train: the schedule is stretched: rates from epoch {earlier.epoch + 1} on are those of a {now}-epoch plan, "
            f"the first {earlier.epoch} were {plan}"
        )

    def _depends_on_epochs(self, schedule: LRScheduler) -> bool:
        given = self.params.train.scheduler.arguments if self.params.train.scheduler else {}
        taken = inspect.signature(type(schedule)).parameters
        return any(name in taken and name not in given for name in TOTALS)


def _settings(schedule: ReduceLROnPlateau) -> set[str]:
    """Return the names of the settings of such a schedule, which params.yaml has, unlike what it has counted."""
    settings = {"factor", "min_lrs", "patience", "cooldown", "eps", "mode", "threshold", "threshold_mode", "mode_worse"}
    return settings & set(vars(schedule))


def _configured(module: pl.LightningModule) -> tuple[Optimizer, dict[str, Any] | None]:
    made: Any = module.configure_optimizers()
    if isinstance(made, Optimizer):
        return made, None
    return made["optimizer"], made["lr_scheduler"]
