"""How threads wait for each other: for a moment awake, then asleep, so that trainings which share the cores do not stall."""

import os

# A waiting thread looks so often for new work before it sleeps. GNU's OpenMP, which torch uses on Linux, looks 300 000 times: a
# thread then keeps a core for milliseconds while the thread that it waits for needs it. docs/decisions/0023 has the figures.
SPIN_COUNT = 5000
CHOICES = ("OMP_WAIT_POLICY", "GOMP_SPINCOUNT")


def limit_spinning() -> None:
    """Let threads sleep soon, unless the user has chosen otherwise.

    It has to be called before OpenMP is loaded, that is before torch or scikit-learn is imported: OpenMP reads the environment
    once. Results do not depend on it.
    """
    if not any(name in os.environ for name in CHOICES):
        os.environ["GOMP_SPINCOUNT"] = str(SPIN_COUNT)
