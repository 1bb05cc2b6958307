"""Draws that keep the share of every class are those of scikit-learn, and need neither it nor scipy."""

import numpy as np
from sklearn.model_selection import train_test_split

from darkroom.splitting.proportional import draw_proportional


def test_the_draws_are_those_of_scikit_learn() -> None:
    random = np.random.default_rng(0)
    for seed in range(300):
        num_classes = int(random.integers(2, 12))
        names = random.permutation(50)[:num_classes]  # labels need not be 0 to K - 1
        sizes = (
            random.integers(2, 40, num_classes) if seed % 2 else np.full(num_classes, random.integers(2, 9))
        )  # equal remainders
        labels = random.permutation(np.repeat(names, sizes))
        if len(labels) < 2 * num_classes:
            continue
        count = int(random.integers(num_classes, len(labels) - num_classes + 1))
        _, wanted = train_test_split(np.arange(len(labels)), test_size=count, stratify=labels, random_state=seed)
        drawn = draw_proportional(labels, count, seed)
        assert np.array_equal(np.sort(drawn), np.sort(wanted))
