"""The answer on made-up images: ordinary ones, and ones that differ in one way each."""

from collections.abc import Callable
from dataclasses import replace
from typing import Any

import numpy as np
import pytest

from darkroom.drift import judgement
from darkroom.drift.foreign import distances_out_of_fold, find_foreign
from darkroom.drift.judgement import Judgement, judge
from darkroom.drift.measured import Measured, Outputs
from darkroom.drift.permutation import Assignments, combined, p_value
from darkroom.drift.power import fewest_foreign
from darkroom.drift.two_sample import tail_weights

Draw = tuple[Measured, Measured, tuple[Outputs, Outputs]]
CLASSES = ["a", "b", "c"]


def draw(seed: int, count: int = 150) -> Draw:
    """Return reference images, photos drawn alike, and what a model says of them."""
    random = np.random.default_rng(seed)

    def images(number: int) -> tuple[Measured, Outputs]:
        features = random.normal(size=(number, 8)).astype(np.float32)
        numbers = {"brightness": random.normal(100, 20, number)}
        kinds = {"format": random.choice(["JPEG", "PNG"], number).tolist()}
        said = Outputs(random.beta(9, 1, number), random.integers(0, 3, number))
        return Measured(features, random.gamma(4, 1, number), numbers, kinds), said

    (reference, known), (photos, new) = images(200), images(count)
    return reference, photos, (known, new)


def judged(found: Draw) -> Judgement:
    return judge(found[0], found[1], 0, found[2], CLASSES)


def certain(found: Draw) -> set[str]:
    answer = judged(found)
    assert answer.is_drift == any(map(answer.is_certain, answer.findings))
    return {each.name for each in answer.findings if answer.is_certain(each)}


def test_ordinary_photos_are_rarely_said_to_differ(monkeypatch: pytest.MonkeyPatch) -> None:
    """At 20 % false alarms, so that twenty draws tell a rate that is far too large from one that is right."""
    monkeypatch.setattr(judgement, "FALSE_ALARMS", 0.2)
    assert sum(judged(draw(seed, 60)).is_drift for seed in range(20)) <= 9  # of right ones in 99.7 % of times


def shifted(found: Draw) -> Draw:
    photos = replace(found[1], features=found[1].features + np.eye(8, dtype=np.float32)[0])
    return found[0], photos, found[2]


def brighter(found: Draw) -> Draw:
    return found[0], replace(found[1], numbers={"brightness": found[1].numbers["brightness"] + 15}), found[2]


def other_format(found: Draw) -> Draw:
    return found[0], replace(found[1], kinds={"format": ["JPEG"] * len(found[1])}), found[2]


def with_foreign(found: Draw) -> Draw:
    distances = found[1].distances.copy()
    distances[:15] = 100
    return found[0], replace(found[1], distances=distances), found[2]


def doubtful(found: Draw) -> Draw:
    known, new = found[2]
    return found[0], found[1], (known, replace(new, confidence=new.confidence**3))


def mostly_one_class(found: Draw) -> Draw:
    known, new = found[2]
    return found[0], found[1], (known, replace(new, predicted=np.where(np.arange(150) < 60, 0, new.predicted)))


@pytest.mark.parametrize(
    ("change", "name", "words"),
    [
        (shifted, "features", "AUC 0.7"),
        (brighter, "photo properties", "brightness 10"),
        (other_format, "photo properties", "JPEG (100 %)"),
        (with_foreign, "foreign photos", "are farther than 5 % of the reference"),
        (doubtful, "confidence", "mean 0.9"),
        (mostly_one_class, "class mix", "predicted a 26.5 % → 58.7 %"),
    ],
)
def test_each_difference_is_found_by_its_own_test(change: Callable[[Draw], Draw], name: str, words: str) -> None:
    assert certain(draw(3)) == set()
    found = change(draw(3))
    assert certain(found) == {name}
    assert words in judged(found).findings[0].found


def test_several_labels_and_no_model_leave_tests_out() -> None:
    reference, photos, outputs = draw(3)
    assert {each.name for each in judge(reference, photos, 0, outputs).findings} == {
        *("foreign photos", "features", "photo properties", "confidence")
    }
    assert len(judge(reference, photos, 0).findings) == 3


def test_of_many_photos_some_are_drawn(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(judgement, "MOST_PHOTOS", 50)
    assert judged(draw(3)).num_photos == 50


def test_p_values_count_ties_and_the_photos_themselves() -> None:
    assert p_value(np.array([3.0, 1, 2, 3])) == 0.5
    assert p_value(np.array([4.0, 1, 2, 3])) == 0.25
    # Of two statistics the least p-value is as small by chance more often than each by itself.
    columns = [np.array([9.0, *range(9)]), np.array([0.0, *range(1, 10)])]
    p, each = combined(columns)
    assert each == [0.1, 1.0]
    assert p == 0.2


def test_the_stated_number_of_foreign_photos_is_found_nine_times_out_of_ten() -> None:
    random, level = np.random.default_rng(0), 0.01
    assignments = Assignments.draw(200, 100, 0)

    def found(number: int) -> float:
        times = 0
        for _ in range(100):
            distances = random.normal(size=300)
            distances[300 - number :] += 100
            times += p_value(assignments.sums(tail_weights(distances))) <= level
        return times / 100

    weights = tail_weights(random.normal(size=300))
    fewest = fewest_foreign(weights, assignments.sums(weights)[1:], 100, level)
    assert fewest is not None
    assert found(fewest) >= 0.8
    assert found(fewest // 2) < 0.8


def test_foreign_photos_are_named_and_counted() -> None:
    random = np.random.default_rng(0)
    centres = 4 * np.eye(20)[:3]

    def known(number: int) -> tuple[Any, Any]:
        labels = random.integers(0, 3, number)
        return (centres[labels] + random.normal(0, 0.5, (number, 20))).astype(np.float32), labels

    (features, labels), (photos, _) = known(300), known(90)
    photos[:10] = 4 * np.eye(20)[10] + random.normal(0, 0.5, (10, 20))
    reference, distances = distances_out_of_fold(features, labels, np.arange(300), photos)
    # In the fold they would be nearer than photos are.
    assert abs(np.median(reference) - np.median(distances[10:])) < 0.1 * np.median(reference)
    found = find_foreign(reference, distances)
    assert found.is_foreign[:10].all()
    assert found.is_foreign[10:].sum() <= 3
    assert found.low < 1 / 9 < found.high
    assert not find_foreign(reference, np.full(90, reference.min())).is_foreign.any()
