"""Abstaining: as many predictions as possible at the wanted precision."""

import numpy as np
import pytest

from darkroom.uncertainty.abstention import fit_abstention


def test_a_model_abstains_from_as_few_images_as_the_precision_allows() -> None:
    rng = np.random.default_rng(0)
    confidence = rng.random(2000)
    right = rng.random(2000) < confidence
    found = fit_abstention(confidence, right, 0.9)
    assert found is not None
    decided = confidence >= found.confidence
    assert right[decided].mean() == pytest.approx(found.precision)
    assert found.precision >= 0.9
    assert decided.mean() == pytest.approx(found.coverage)
    lower = np.sort(confidence)[::-1][int(decided.sum()) :]
    assert all(right[confidence >= each].mean() < 0.9 for each in lower[:300])
    everything = fit_abstention(confidence, right, 0.1)
    assert everything is not None
    assert (everything.confidence, everything.coverage) == (0.0, 1.0)
    assert fit_abstention(confidence, np.zeros(2000, bool), 0.5) is None
