"""Measure what a model knows of what it does not know: python benchmarks/unknown_photos.py [--features FILE.npz ...] [--digits].

Classes are left out of the training; AUROC of known test images against those of the classes left out, by several scores, and how
many of each are called unknown at a limit for 5 % of false alarms. Then coverage and size of conformal sets over many splits.
A file has `features` (N, D) or `views` (N, V, D), of which the first is taken, and `labels` (N,). Without any, features are those
of the images of data/raw by the installed backbone. `--digits` trains small networks on the digits with digits left out.
"""

import argparse
import contextlib
import os
import sys
import tempfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from sklearn.metrics import roc_auc_score

from darkroom.metrics.calibration import at_temperature, fit_temperature
from darkroom.transfer.logistic_head import fit_logistic
from darkroom.uncertainty.conformal import fit_conformal
from darkroom.uncertainty.foreign import fit_directions, unit_length, with_limit

Floats = NDArray[np.float64]
FALSE_ALARMS, DRAWS = 0.05, 5
# Of the logistic regression, not chosen anew for each draw.
STRENGTH = 100.0


def softmax(logits: Floats) -> Floats:
    """Return probabilities (N, K)."""
    powers = np.exp(logits - logits.max(axis=1, keepdims=True))
    return powers / powers.sum(axis=1, keepdims=True)


def scores(train: Floats, labels: NDArray[Any], logits: Callable[[Floats], Floats]) -> dict[str, Callable[[Floats], Floats]]:
    """Return how foreign images are by their features (N, D), by name of the way."""
    units = unit_length(train)
    means = np.stack([units[labels == label].mean(axis=0) for label in np.unique(labels)])
    within = units - means[labels]
    _, values, vectors = np.linalg.svd(within, full_matrices=False)
    values = values**2 / len(units)
    spread = values.sum() / units.shape[1]

    def mahalanobis(features: Floats) -> Floats:
        places = unit_length(features)
        found = []
        for mean in means:
            along = (places - mean) @ vectors.T
            rest = ((places - mean) ** 2).sum(axis=1) - (along**2).sum(axis=1)
            found.append((along**2 / (0.7 * values + 0.3 * spread)).sum(axis=1) + rest / (0.3 * spread))
        return np.min(found, axis=0)

    centre = units.mean(axis=0)
    principal = np.linalg.svd(units - centre, full_matrices=False)[2][: min(64, units.shape[1] // 2)]

    def residual(features: Floats) -> Floats:
        places = unit_length(features) - centre
        return np.sqrt(((places - places @ principal.T @ principal) ** 2).sum(axis=1).clip(0))

    largest = logits(train).max(axis=1).mean() / residual(train).mean()
    energy = lambda features: -np.logaddexp.reduce(logits(features), axis=1)  # noqa: E731
    detector = fit_directions(train, labels)
    return {
        "1 - greatest probability": lambda features: 1 - softmax(logits(features)).max(axis=1),
        "greatest logit": lambda features: -logits(features).max(axis=1),
        "energy": energy,
        "5th nearest, cosine": lambda features: -np.sort(unit_length(features) @ units.T, axis=1)[:, -min(5, len(units))],
        "Mahalanobis": mahalanobis,
        "ViM": lambda features: energy(features) + largest * residual(features),
        "Darkroom": detector.raw,
    }


def divided(labels: NDArray[Any], known: NDArray[Any], rng: np.random.Generator, num: int | None) -> Iterator[NDArray[np.intp]]:
    """Yield places of training, validation and test images: 60 % (or `num`), 15 % and 25 % of each known class."""
    parts: list[list[int]] = [[], [], []]
    for label in known:
        places = rng.permutation(np.flatnonzero(labels == label)).tolist()
        ends = (int(0.6 * len(places)), int(0.75 * len(places)))
        for part, each in zip(parts, (places[: num or ends[0]], places[ends[0] : ends[1]], places[ends[1] :]), strict=True):
            part += each
    yield from (np.array(part) for part in parts)


def left_out(
    features: Floats, labels: NDArray[Any], number: int, num: int | None = None
) -> tuple[dict[str, list[float]], Floats]:
    """Return AUROC of each draw by score, and of each draw the share of known and of foreign images called unknown."""
    classes = np.unique(labels)
    found: dict[str, list[float]] = {}
    rates = []
    for draw in range(len(classes) if number == 1 else DRAWS):
        rng = np.random.default_rng(draw)
        foreign = classes[[draw]] if number == 1 else rng.permutation(classes)[:number]
        known = np.setdiff1d(classes, foreign)
        train, val, test = divided(labels, known, rng, num)
        numbered = np.searchsorted(known, labels)
        head = fit_logistic(
            unit_length(features[train]).astype(np.float32), numbered[train], num_classes=len(known), strength=STRENGTH
        )
        ways = scores(features[train], numbered[train], lambda each, head=head: head.logits(unit_length(each).astype(np.float32)))
        outside = np.flatnonzero(np.isin(labels, foreign))
        is_foreign = np.arange(len(test) + len(outside)) >= len(test)
        for name, way in ways.items():
            found.setdefault(name, []).append(float(roc_auc_score(is_foreign, way(features[np.concatenate([test, outside])]))))
        detector = fit_directions(features[train], numbered[train])
        detector = with_limit(detector, detector.raw(features[val]), FALSE_ALARMS)
        rates.append([(detector.distances(features[each]) > 1).mean() for each in (test, outside)])
    return found, np.array(rates)


def digits_left_out(number: int, draw: int) -> tuple[float, float, list[float]]:
    """Train the default network on the digits without some; return accuracy, AUROC, and the shares called unknown."""
    import torch
    from sklearn.datasets import load_digits

    from darkroom.api import train
    from darkroom.data.pack import Pack
    from darkroom.data.split_file import Split
    from darkroom.inference.embeddings import Embedder
    from darkroom.inference.photos import PhotoReader
    from darkroom.inference.predictor import Predictor

    images, labels = load_digits(return_X_y=True)
    images = (images * 15.9).astype(np.uint8).reshape(-1, 8, 8)
    foreign = np.random.default_rng(draw).permutation(10)[:number]
    inside = ~np.isin(labels, foreign)
    numbered = np.searchsorted(np.setdiff1d(np.arange(10), foreign), labels)
    settings = {"evaluate.false_alarms": FALSE_ALARMS, "evaluate.explained": 0, "hardware.accelerator": "cpu", "base.seed": draw}
    with tempfile.TemporaryDirectory() as folder:
        with contextlib.redirect_stdout(sys.stderr):
            model = train(folder, (images[inside], numbered[inside]), settings=settings)
        predictor = Predictor.load(model.folder / "models", model.params, "predict")
        pack = Pack.open(model.folder / "data" / "raw")
        embedder = Embedder(predictor)
        known = embedder.of_rows(pack, Split.open(model.folder / "data" / "split", pack).rows["test"], 256)
        reader = PhotoReader.of(predictor.seen, predictor.preprocess)
        batch = torch.from_numpy(np.stack([reader.prepare(each) for each in images[~inside]])).permute(0, 3, 1, 2)
        outside = embedder.features(batch).numpy()
    assert predictor.rule.calibration is not None
    detector = predictor.rule.calibration.foreign
    assert detector is not None
    distances = [detector.distances(each) for each in (known, outside)]
    auroc = float(roc_auc_score(np.repeat([0, 1], [len(known), len(outside)]), np.concatenate(distances)))
    return model.metrics["test"]["accuracy"], auroc, [float((each > 1).mean()) for each in distances]


def ways_to_sets(coverage: float) -> dict[str, Callable[..., tuple[float, float, float]]]:
    """Return ways to sets of classes; each returns coverage, mean size and the share of empty sets."""

    def measured(inside: NDArray[np.bool_], labels: NDArray[Any]) -> tuple[float, float, float]:
        sizes = inside.sum(axis=1)
        return float(inside[np.arange(len(labels)), labels].mean()), float(sizes.mean()), float((sizes == 0).mean())

    def least(val: Floats, own: NDArray[Any], test: Floats, labels: NDArray[Any]) -> tuple[float, float, float]:
        return measured(fit_conformal(val[np.arange(len(own)), own], coverage).members(test), labels)

    def adaptive(
        val: Floats, own: NDArray[Any], test: Floats, labels: NDArray[Any], penalty: float = 0
    ) -> tuple[float, float, float]:
        def sums(probabilities: Floats) -> Floats:
            order = np.argsort(-probabilities, axis=1)
            sorted_ = np.take_along_axis(probabilities, order, axis=1).cumsum(axis=1)
            sorted_ += penalty * (np.arange(1, probabilities.shape[1] + 1) - 1).clip(0)
            found = np.empty_like(sorted_)
            np.put_along_axis(found, order, sorted_, axis=1)
            return found

        each = np.sort(sums(val)[np.arange(len(own)), own])
        place = min(len(each), int(np.ceil(coverage * (len(each) + 1) - 1e-9)))
        return measured(sums(test) <= each[place - 1], labels)

    return {
        "least probability (LAC)": least,
        "APS": adaptive,
        "RAPS": lambda *given: adaptive(*given, penalty=0.1),
    }


def coverages(features: Floats, labels: NDArray[Any], coverage: float, num: int, splits: int) -> dict[str, Floats]:
    """Return coverage, mean size and empty sets of each of many divisions of held-out images into validation and test."""
    rng = np.random.default_rng(0)
    classes = np.unique(labels)
    found: dict[str, list[tuple[float, float, float]]] = {}
    numbered = np.searchsorted(classes, labels)
    heads = 5
    for _ in range(heads):
        train = np.concatenate([rng.permutation(np.flatnonzero(labels == label))[:num] for label in classes])
        rest = np.setdiff1d(np.arange(len(labels)), train)
        head = fit_logistic(
            unit_length(features[train]).astype(np.float32), numbered[train], num_classes=len(classes), strength=STRENGTH
        )
        probabilities = head.probabilities(unit_length(features).astype(np.float32)).astype(np.float64)
        for _ in range(splits // heads):
            val, test = np.split(rng.permutation(rest), [len(rest) // 3])
            temperature = fit_temperature(probabilities[val], numbered[val])
            calibrated = at_temperature(probabilities, temperature, multilabel=False)
            for name, way in ways_to_sets(coverage).items():
                found.setdefault(name, []).append(way(calibrated[val], numbered[val], calibrated[test], numbered[test]))
    return {name: np.array(each) for name, each in found.items()}


def read(path: Path) -> tuple[Floats, NDArray[Any]]:
    """Return features (N, D) and labels (N,) of a file."""
    with np.load(path) as file:
        return (file["features"] if "features" in file else file["views"][:, 0]).astype(np.float64), file["labels"]


def of_repository() -> tuple[Floats, NDArray[Any]]:
    """Return features and labels of the images of data/raw."""
    from darkroom.base import paths
    from darkroom.base.params_file import load_params
    from darkroom.data.pack import Pack
    from darkroom.features.backbone import open_backbone
    from darkroom.features.extract import pack_features

    pack = Pack.open(paths.RAW)
    backbone = open_backbone(hardware=load_params(paths.PARAMS).hardware)
    return pack_features(backbone, pack, np.arange(len(pack))).astype(np.float64), pack.labels


def report_left_out(named: dict[str, tuple[Floats, NDArray[Any]]]) -> None:
    """Print the tables of classes left out."""
    columns, tables, rates = [], [], []
    for name, (features, labels) in named.items():
        total = len(np.unique(labels))
        for number, num in ((1, None), (total // 3, None), (total // 3, 10)):
            columns.append(f"{name}: {total - number} of {total}" + (f", {num} a class" if num else ""))
            found, rate = left_out(features, labels, number, num)
            tables.append(found)
            rates.append(rate)
    print("AUROC of known and left out classes, mean (least) of the draws\n")
    print("| score | " + " | ".join(columns) + " |\n" + "|---" * (len(columns) + 1) + "|")
    for name in tables[0]:
        print(f"| {name} | " + " | ".join(f"{np.mean(each[name]):.3f} ({np.min(each[name]):.3f})" for each in tables) + " |")
    for place, what in enumerate(("known", "left out")):
        print(f"| {what} images called unknown | " + " | ".join(f"{each[:, place].mean():.1%}" for each in rates) + " |")


def main() -> None:
    """Run the benchmark."""
    parser = argparse.ArgumentParser(description=__doc__.splitlines()[0] if __doc__ else None)
    parser.add_argument("--features", nargs="*", type=Path, default=[], metavar="FILE", help="several are also put side by side")
    parser.add_argument("--digits", action="store_true")
    parser.add_argument("--splits", type=int, default=200)
    options = parser.parse_args()
    os.environ.setdefault("DVC_NO_ANALYTICS", "1")
    named = {path.stem: read(path) for path in options.features}
    if len(named) > 1:
        first = next(iter(named.values()))
        named["side by side"] = (np.concatenate([unit_length(each) for each, _ in named.values()], axis=1), first[1])
    if not named and not options.digits:
        named = {"data/raw": of_repository()}
    if named:
        report_left_out(named)
        print(f"\nConformal sets over {options.splits} divisions\n")
        print("| features | stated | way | coverage | mean size | empty |\n" + "|---" * 6 + "|", flush=True)
        for name, (features, labels) in named.items():
            for coverage, num in ((0.9, 3), (0.9, 20), (0.99, 20)):
                for way, each in coverages(features, labels, coverage, num, options.splits).items():
                    mean = each.mean(axis=0)
                    print(
                        f"| {name}, {num} a class | {coverage} | {way} | {mean[0]:.4f} | {mean[1]:.3f} | {mean[2]:.1%} |",
                        flush=True,
                    )
    if options.digits:
        print(
            "\n| trained on | accuracy | AUROC (least) | known called unknown | left out called unknown |\n|---|---|---|---|---|"
        )
        for number in (1, 3):
            draws = [digits_left_out(number, draw) for draw in range(DRAWS)]
            accuracy, auroc = (np.mean([each[place] for each in draws]) for place in (0, 1))
            known, outside = np.mean([each[2] for each in draws], axis=0)
            worst = min(each[1] for each in draws)
            print(
                f"| digits, {10 - number} of 10 | {accuracy:.4f} | {auroc:.3f} ({worst:.3f}) | {known:.1%} | {outside:.1%} |",
                flush=True,
            )


if __name__ == "__main__":
    main()
