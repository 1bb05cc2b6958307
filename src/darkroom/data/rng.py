"""Random numbers that depend on their purpose only, never on what was drawn before."""

import numpy as np


def generator(seed: int, stream: int, *counters: int) -> np.random.Generator:
    """Return a generator whose numbers depend on the arguments only.

    References
    ----------
    Salmon et al. 2011, "Parallel random numbers: as easy as 1, 2, 3" (Philox).
    """
    return np.random.Generator(np.random.Philox(np.random.SeedSequence((seed, stream, *counters))))
