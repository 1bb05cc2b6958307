"""DVCLive's logger for Lightning, which writes the curves of metrics/train."""

import sys
from collections.abc import Mapping

from dvclive.lightning import DVCLiveLogger
from pytorch_lightning.utilities import rank_zero_only

# Where Lightning logs what an epoch or a step has given; what callbacks log between is written with it.
WRITES = frozenset({"update_train_step_metrics", "update_train_epoch_metrics", "log_eval_end_metrics"})


class LiveLogger(DVCLiveLogger):
    """Does what DVCLive's own does, and finds out who called it by names alone.

    Its own looks up the module and the source lines of every caller, and for that goes over all imported modules: 20 to 100 ms
    whenever an epoch logs, which was a quarter of a short training.
    """

    @rank_zero_only
    def log_metrics(self, metrics: Mapping[str, float | str], step: int | None = None, sync: bool | None = False) -> None:
        """Log values of a step, and write them if Lightning called or `sync` asks for it."""
        super(DVCLiveLogger, self).log_metrics(metrics, step, sync or lightning_called())


def lightning_called() -> bool:
    """Whether one of the callers is a function of Lightning whose values are to be written."""
    frame = sys._getframe(1)
    while frame is not None:
        if frame.f_code.co_name in WRITES:
            return True
        frame = frame.f_back  # type: ignore[assignment]
    return False
