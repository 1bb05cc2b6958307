"""Callbacks of Lightning that `train.callbacks` refuses: what is wrong with each here, and what to set in its place."""

from pytorch_lightning import callbacks

from darkroom.base.errors import InputError

# A class stands before those that it is derived from.
REFUSED = {
    "StochasticWeightAveraging": (
        "exchanges the weights after the best epoch was chosen, and changes the schedule",
        "set train.swa, whose average is validated and published",
    ),
    "EMAWeightAveraging": ("validates an average that would not be published", "set train.ema, whose average is published"),
    "WeightAveraging": (
        "validates an average that would not be published",
        "set train.ema or train.swa, whose average is published",
    ),
    "GradientAccumulationScheduler": (
        "changes the number of steps, for which the schedule was made",
        "set train.trainer.accumulate_grad_batches to one number",
    ),
    "BatchSizeFinder": (
        "trains with another batch size than params.yaml records",
        "run './darkroom find batch_size' and set train.batch_size",
    ),
    "LearningRateFinder": (
        "trains with another learning rate than params.yaml records",
        "run './darkroom find lr' and set train.lr",
    ),
    "BackboneFinetuning": (
        "adds parameters to the optimizer that a schedule does not know",
        "set train.freeze and train.unfreeze_epoch, and train.lr_factors",
    ),
    "BaseFinetuning": (
        "adds parameters to the optimizer that a schedule does not know",
        "set train.freeze and train.unfreeze_epoch",
    ),
    "ModelPruning": (
        "replaces the network's parameters by others, so that its weights could not be loaded",
        "choose a smaller network with train.model",
    ),
    "Timer": ("is made by the Trainer itself", "set train.trainer.max_time"),
    "SpikeDetection": (
        "ends the training with an error, and leaves images out by a list that is not recorded",
        "set train.gradient_clip or train.adaptive_clip",
    ),
    "OnExceptionCheckpoint": (
        "is not needed: the state is saved after every epoch and at a signal, and the same command resumes",
        "set train.checkpoint.every_minutes to save it more often",
    ),
    "ThroughputMonitor": (
        "needs a function as an argument, which params.yaml cannot hold",
        "read images/s in logs/ (hardware.watch)",
    ),
    "LambdaCallback": (
        "needs functions as arguments, which params.yaml cannot hold",
        "write a Callback in src/plugins",
    ),
    "BasePredictionWriter": (
        "has no effect, because a training predicts nothing",
        "set the section predict, whose stage writes predictions",
    ),
}
# They do nothing by themselves.
BASES = ("Callback", "Checkpoint", "ProgressBar")


def refuse(key: str, name: str, kind: type) -> None:
    """Refuse a callback that would break what is recorded or how a training resumes.

    Parameters
    ----------
    key
        Of params.yaml.
    name
        As in params.yaml.
    kind
        Its class.

    Raises
    ------
    InputError
        With the reason, and the key that does it here.
    """
    for refused, (reason, instead) in REFUSED.items():
        if issubclass(kind, getattr(callbacks, refused)):
            raise InputError(f"params.yaml: {key}: {name} cannot be used: it {reason}; {instead}")
    if kind.__module__.startswith("pytorch_lightning.") and kind.__name__ in BASES:
        raise InputError(f"params.yaml: {key}: {name} does nothing by itself; name a subclass of it")
    if kind.__module__.startswith("darkroom."):
        raise InputError(f"params.yaml: {key}: {name} is a part of every training; remove it")
