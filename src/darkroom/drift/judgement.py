"""Is there drift: several tests of new photos against reference images, and one answer at a stated rate of false alarms.

R reference images, N new photos, V images of validation.
"""

from collections import Counter
from collections.abc import Sequence
from dataclasses import dataclass

import numpy as np

from darkroom.drift.measured import Measured, Outputs
from darkroom.drift.permutation import Assignments, Floats, combined, p_value
from darkroom.drift.power import DEVIATIONS, fewest_foreign, least_change, least_shift, percent
from darkroom.drift.two_sample import auc_of_classifier, chi_squared, shift, tail_weights

FALSE_ALARMS = 0.01
FEWEST_PHOTOS = 20
# Of more photos, as many are drawn for the tests: the classifier takes memory and time with their square.
MOST_PHOTOS = 2000
UNSEEN = "not even if all were"


@dataclass(frozen=True)
class Finding:
    """What one test found.

    Attributes
    ----------
    name
        Of the test.
    found
        The difference, in words.
    p
        How often chance alone makes as large a difference.
    detectable
        The least difference that so many photos would have shown nine times out of ten.
    """

    name: str
    found: str
    p: float
    detectable: str


@dataclass(frozen=True)
class Judgement:
    """The answer.

    Attributes
    ----------
    findings
        Of each test, the most certain first.
    num_photos, num_reference
        Images that were compared.
    """

    findings: list[Finding]
    num_photos: int
    num_reference: int

    @property
    def p(self) -> float:
        """The p-value of all tests together, by Bonferroni's correction: the least one times their number."""
        return min(1.0, min(each.p for each in self.findings) * len(self.findings))

    @property
    def is_drift(self) -> bool:
        """Whether the photos differ; of folders that do not, `FALSE_ALARMS` at most are said to."""
        return self.p <= FALSE_ALARMS

    def is_certain(self, finding: Finding) -> bool:
        """Return whether one test finds drift by itself."""
        return finding.p * len(self.findings) <= FALSE_ALARMS


def judge(
    reference: Measured, photos: Measured, seed: int, outputs: tuple[Outputs, Outputs] | None = None, classes: Sequence[str] = ()
) -> Judgement:
    """Return whether photos differ from reference images.

    Parameters
    ----------
    reference, photos
        The images.
    seed
        Of the permutations.
    outputs
        What a model says of V images of validation, and of the photos; None: confidence and classes are not compared.
    classes
        Its class names; none: an image has any number of classes, which are not compared.
    """
    if len(photos) > MOST_PHOTOS:
        rows = np.sort(np.random.default_rng(seed).permutation(len(photos))[:MOST_PHOTOS])
        photos, outputs = photos.take(rows), outputs and (outputs[0], outputs[1].take(rows))
    level = FALSE_ALARMS / (3 + (outputs is not None) * (1 + bool(classes)))
    assignments = Assignments.draw(len(reference), len(photos), seed)
    findings = [
        _foreign(reference, photos, assignments, level),
        _features(reference, photos, assignments, level),
        _properties(reference, photos, assignments, level),
    ]
    if outputs is not None:
        known, new = outputs
        drawn = Assignments.draw(len(known.confidence), len(new.confidence), seed)
        findings.append(_confidence(known.confidence, new.confidence, drawn, level))
        if classes:
            findings.append(_class_mix(known, new, drawn, level, classes))
    return Judgement(sorted(findings, key=lambda each: each.p), len(photos), len(reference))


def _foreign(reference: Measured, photos: Measured, assignments: Assignments, level: float) -> Finding:
    weights = tail_weights(np.concatenate([reference.distances, photos.distances]))
    sums = assignments.sums(weights)
    far = float((photos.distances > np.quantile(reference.distances, 0.95)).mean())
    fewest = fewest_foreign(weights, sums[1:], len(photos), level)
    detectable = UNSEEN if fewest is None else f"{fewest} photo(s) of something else ({percent(fewest / len(photos))})"
    return Finding("foreign photos", f"{percent(far)} are farther than 5 % of the reference", p_value(sums), detectable)


def _features(reference: Measured, photos: Measured, assignments: Assignments, level: float) -> Finding:
    areas = auc_of_classifier(np.concatenate([reference.features, photos.features]), assignments)
    # By chance it is not 0.5: what is left out of a sample is a little less like it.
    least = float(np.quantile(areas[1:], 1 - level) + DEVIATIONS * areas[1:].std())
    return Finding("features", f"a classifier tells them apart with AUC {areas[0]:.2f}", p_value(areas), f"AUC {least:.2f}")


def _properties(reference: Measured, photos: Measured, assignments: Assignments, level: float) -> Finding:
    statistics: list[Floats] = []
    words: list[str] = []
    for name, values in photos.numbers.items():
        own = reference.numbers[name]
        statistics.append(shift(np.concatenate([own, values]), assignments))
        words.append(f"{name} {_number(float(own.mean()))} → {_number(float(values.mean()))}")
    for name, kinds in photos.kinds.items():
        every = [*reference.kinds[name], *kinds]
        statistics.append(chi_squared(np.unique(every, return_inverse=True)[1], assignments))
        words.append(f"{name} {_most(reference.kinds[name])} → {_most(kinds)}")
    p, each = combined(statistics)
    order = np.argsort(each, kind="stable").tolist()
    shown = [words[place] for place in order if each[place] <= level / len(each)][:3] or [words[order[0]]]
    least = least_shift(len(reference), len(photos), level / len(each))
    return Finding("photo properties", ", ".join(shown), p, f"a shift of {least:.2f} standard deviations")


def _confidence(known: Floats, new: Floats, assignments: Assignments, level: float) -> Finding:
    p = p_value(shift(np.concatenate([known, new]), assignments))
    least = least_shift(len(known), len(new), level)
    found = f"mean {known.mean():.3f} → {new.mean():.3f}"
    return Finding("confidence", found, p, f"a shift of {least:.2f} standard deviations")


def _class_mix(known: Outputs, new: Outputs, assignments: Assignments, level: float, classes: Sequence[str]) -> Finding:
    p = p_value(chi_squared(np.concatenate([known.predicted, new.predicted]), assignments))
    before, after = (np.bincount(each.predicted, minlength=len(classes)) / len(each.predicted) for each in (known, new))
    label = int(np.abs(after - before).argmax())
    least = least_change(1 / len(classes), len(known.predicted), len(new.predicted), level)
    found = f"predicted {classes[label]} {percent(before[label])} → {percent(after[label])}"
    return Finding("class mix", found, p, f"a class by {100 * least:.0f} percentage points")


def _number(value: float) -> str:
    return f"{value:.3g}"


def _most(kinds: Sequence[str]) -> str:
    """Return the most frequent word, with its share."""
    word, count = Counter(kinds).most_common(1)[0]
    return f"{word or 'none'} ({percent(count / len(kinds), 0)})"
