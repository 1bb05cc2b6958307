"""How many labels are wrong, and which first: confident learning on out-of-fold probabilities. N images, K classes.

References
----------
Northcutt, Jiang and Chuang (2021). Confident Learning: Estimating Uncertainty in Dataset Labels. JAIR 70.
https://doi.org/10.1613/jair.1.12125
"""

import numpy as np
from numpy.typing import NDArray

Probabilities = NDArray[np.floating]
Classes = NDArray[np.int64]


def own_probabilities(probabilities: Probabilities, labels: Classes) -> NDArray[np.float64]:
    """Return the probability (N,) of each image's own label: the lower, the more probably the label is wrong."""
    own: NDArray[np.float64] = probabilities[np.arange(len(labels)), labels].astype(np.float64)
    return own


def thresholds(probabilities: Probabilities, labels: Classes) -> NDArray[np.float64]:
    """Return for each class (K,) the mean probability of it among the images labelled so; infinite for a class without images.

    From there on an image counts as confidently of the class. A class that is hard, and so never very probable, has a low one.
    """
    num_classes = probabilities.shape[1]
    counts = np.bincount(labels, minlength=num_classes)
    sums = np.bincount(labels, own_probabilities(probabilities, labels), minlength=num_classes)
    means: NDArray[np.float64] = np.divide(sums, counts, out=np.full(num_classes, np.inf), where=counts > 0)
    return means


def confident_joint(probabilities: Probabilities, labels: Classes) -> NDArray[np.int64]:
    """Return how many images (K, K) of each label are confidently of each class.

    An image above the thresholds of several classes counts for the most probable of them, one above none for no class.
    """
    num_classes = probabilities.shape[1]
    confident = probabilities >= thresholds(probabilities, labels)
    likely = np.where(confident, probabilities, -1.0).argmax(axis=1)
    counted = confident.any(axis=1)
    joint = np.zeros((num_classes, num_classes), np.int64)
    np.add.at(joint, (labels[counted], likely[counted]), 1)
    return joint


def estimate_errors(probabilities: Probabilities, labels: Classes) -> float:
    """Return the estimated number of wrong labels.

    The joint counts only images that are confidently of a class; each of its rows is scaled to all images with that label, as if
    the others were wrong as often.
    """
    joint = confident_joint(probabilities, labels).astype(np.float64)
    counts = np.bincount(labels, minlength=len(joint))
    counted = joint.sum(axis=1)
    share = np.divide(counted - np.diag(joint), counted, out=np.zeros(len(joint)), where=counted > 0)
    return float((share * counts).sum())
