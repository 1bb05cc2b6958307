"""Random numbers that are a function of what they are for, never of what was drawn before."""

import numpy as np


def generator(seed: int, stream: int, *counters: int) -> np.random.Generator:
    """Return random numbers that depend on nothing but the arguments.

    References
    ----------
    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, *counters))))
