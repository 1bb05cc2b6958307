"""How far a search is, on one line: trials done, the best value, the time left."""

import time
from collections.abc import Collection, Mapping, Sequence

from optuna.study import Study
from optuna.trial import FrozenTrial, TrialState

from darkroom.experiments.text import duration_text, value_text
from darkroom.search.results import ranked
from darkroom.search.trials import CACHED, Trials


def say(text: str) -> None:
    """Print a line on the progress of the search."""
    print(f"tune: {text}", flush=True)


def state_text(trials: Trials, begun: Mapping[int, float], jobs: int, deadline: float) -> str:
    """Return how far a search is.

    Parameters
    ----------
    trials
        Of the search.
    begun
        When those that this search runs began, by number, on the clock `time.monotonic`.
    jobs
        Trials at the same time.
    deadline
        When the last trial may begin, on the same clock.
    """
    now, counted = time.monotonic(), trials.counted()
    runs = {each.number for each in counted if each.state == TrialState.RUNNING}
    elapsed = [now - since for number, since in list(begun.items()) if number in runs]
    number = len(counted) if trials.is_exhausted else trials.number
    return progress_text(trials.study, counted, number, elapsed=elapsed, jobs=jobs, most=deadline - now)


def progress_text(
    study: Study, trials: Sequence[FrozenTrial], number: int, *, elapsed: Collection[float], jobs: int, most: float
) -> str:
    """Return how far a search is: `3 of 8, best 0.981, 2 min left`.

    Parameters
    ----------
    study, trials
        The study, and its trials that count.
    number
        Of trials in all.
    elapsed
        Seconds that each trial of this search that runs now has taken.
    jobs
        Trials at the same time.
    most
        Seconds in which new trials may begin.
    """
    done = [trial for trial in trials if trial.state.is_finished()]
    num_running = sum(trial.state == TrialState.RUNNING for trial in trials)
    parts = [f"{len(done)} of {max(number, len(trials))}"]
    best = ranked(study, trials) if len(study.directions) == 1 else []
    if best:
        parts.append(f"best {value_text(float(best[0].values[0]))}")
    # How long a training takes: one that DVC's run cache had took none.
    timed = [trial for trial in done if "seconds" in trial.user_attrs and CACHED not in trial.user_attrs]
    seconds = [float(trial.user_attrs["seconds"]) for trial in timed]
    # Those of other searches have just begun, for all that is known here.
    running = [*elapsed, *[0.0] * (num_running - len(elapsed))]
    left = seconds_left(seconds, running, max(0, number - len(trials)), jobs=max(jobs, num_running), most=most)
    if left:
        parts.append(f"{duration_text(left)} left")
    return ", ".join(parts)


def seconds_left(done: Sequence[float], running: Sequence[float], waiting: int, *, jobs: int, most: float) -> float | None:
    """Return the seconds until the last trial ends, from those that trials took on average; None if none is known.

    Parameters
    ----------
    done
        Seconds of the trials that have ended; of pruned ones those until then.
    running
        Seconds so far of those that run.
    waiting
        Number of those that have not begun.
    jobs
        Trials at the same time.
    most
        Seconds in which new ones may begin.
    """
    if not done:
        return None
    mean = sum(done) / len(done)
    of_running = [max(0.0, mean - seconds) for seconds in running]
    if not waiting:
        return max(of_running, default=0.0)
    total = (sum(of_running) + waiting * mean) / jobs
    # The last one begins at the earliest when it is its turn, and takes as long as the others.
    return min(max(total, mean), max(0.0, most) + mean)
