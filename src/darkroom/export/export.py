"""Writing a model in a format, compared with itself before it counts as written. H by W pixels."""

from collections.abc import Callable, Collection, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

import numpy as np

from darkroom.base import files, paths
from darkroom.base.errors import InputError, Interrupted
from darkroom.base.params import Params
from darkroom.data.images import ImageArray
from darkroom.data.pack import Pack, Rows
from darkroom.export.folder import complete, recorded
from darkroom.export.formats import FORMATS, Run, write
from darkroom.export.int8 import CALIBRATION
from darkroom.export.network import Exported, about, make_exported
from darkroom.export.parity import Outputs, Parity, compare, run_each, stored_images
from darkroom.export.quantised import ALLOWED, MEASURED, Loss, Speed, compare_speed, is_right, loss_of, refuse_loss
from darkroom.inference.embeddings import Embedder
from darkroom.inference.predict import predict_rows
from darkroom.inference.predictor import OpenModel, Predictor

# Images that are compared.
COMPARED = 200
# Of the largest feature; other kernels round otherwise.
MOST_DIFFERENT = 1e-3


@dataclass(frozen=True)
class Written:
    """A file that was written and compared; of one in int8 also what it loses, and how fast it is here."""

    name: str
    path: Path
    num_bytes: int
    parity: Parity
    loss: Loss | None = None
    speed: Speed | None = None

    def record(self) -> dict[str, Any]:
        """Return what stays the same when it is written again, as metrics."""
        return {"megabytes": round(self.num_bytes / 1e6, 6), **self.parity.record(), **(self.loss.record() if self.loss else {})}

    def lines(self, folder: Path) -> list[str]:
        """Say how it compares, in the folder where it will be."""
        shown = f"export: {paths.shown(folder / self.path.name)} ({self.num_bytes / 1e6:.1f} MB)"
        if self.loss is None or self.speed is None:
            ties = f", {self.parity.ties} ties apart" if self.parity.ties else ""
            same = f"the same decisions on {self.parity.images} images{ties}"
            return [f"{shown}: {same}, probabilities within {self.parity.largest_difference:.1g}"]
        loss = self.loss
        images = f"accuracy on {self.parity.images} images of validation"
        lost = f"{images} {loss.float32_accuracy:.4f} before, {loss.accuracy:.4f} in int8"
        points = f"{loss.lost_points:.2f} points lost ({loss.lost_points_low:.2f} to {loss.lost_points_high:.2f} with 95 %)"
        changed = f"{loss.changed:.2%} of the decisions changed ({loss.changed_low:.2%} to {loss.changed_high:.2%})"
        return [f"{shown}: {lost}", f"export: {self.name}: {points}, {changed}", self.speed.line(self.name)]


def make_exporter(model: Path | OpenModel, params: Params) -> tuple[Predictor, str]:
    """Return a model of a folder, or another one, as predict computes it, but in full precision, and its `predict.tta`."""
    plain = params.predict.model_copy(update={"backend": "torch", "precision": "32-true"})
    return Predictor.load(model, params.model_copy(update={"predict": plain}), "predict"), plain.tta


def export_model(
    predictor: Predictor,
    pack: Pack,
    rows: Rows,
    formats: Sequence[str],
    out: Path,
    *,
    tta: str = "none",
    calibration: Rows | None = None,
    allowed: float = ALLOWED,
    option: str = "--format",
    tell: Callable[[Written], None] = lambda _: None,
) -> list[Written]:
    """Write a model to a folder, in each of the formats, and compare each with the model.

    Parameters
    ----------
    predictor
        The model as predict computes it.
    pack, rows
        Images to compare on: those of validation.
    formats
        Names in `FORMATS`.
    out
        The folder, which is replaced as a whole. If a format fails or is stopped, those before it are kept in it, unless it held
        an export with a format that was not written again: that stays as it was.
    tta
        As `predict.tta`.
    calibration
        Images of training, which a quantised format takes its ranges from.
    allowed, option
        Points of accuracy on `rows` that a quantised format may lose, and what names them, for messages.
    tell
        Is called with each format as it is finished.

    Raises
    ------
    InputError
        If a format cannot hold the model, answers otherwise than it, or loses more than is allowed.
    """
    network, known = make_exported(predictor, tta), {**about(predictor), "tta": tta}
    maker = _Maker(network, known, _Labelled(predictor, pack, rows, tta), calibration, allowed, option)
    before, found = recorded(out) or {}, list[Written]()
    stopped: BaseException | None = None
    with files.replaced_dir(out) as folder:
        for name in formats:
            try:
                found.append(replace(maker.make(name, folder), path=out / f"model{FORMATS[name].ending}"))
                tell(found[-1])
            except BaseException as error:
                stopped = error
                break
        finished = {each.name for each in found}
        if stopped is not None and not (finished and before.keys() <= finished):
            kept = f"{paths.shown(out)} stays as it was, since not all of its formats were written again"
            raise _after(stopped, finished, kept)
        complete(folder, {each.name: each.record() for each in found}, known)
    if stopped is not None:
        raise _after(stopped, finished, "what was finished is kept; run the same command again for the rest")
    return found


def _after(stopped: BaseException, finished: Collection[str], kept: str) -> BaseException:
    """Return the error that ended an export, having said what became of the formats before it."""
    if finished and isinstance(stopped, Interrupted):
        return Interrupted(stopped.number, kept)
    if finished:
        print(f"export: {kept}", flush=True)
    return stopped


@dataclass(frozen=True)
class _Maker:
    """Writes a format, and compares it."""

    network: Exported
    known: dict[str, Any]
    labelled: "_Labelled"
    calibration: Rows | None
    allowed: float
    option: str

    def make(self, name: str, folder: Path) -> Written:
        """Write a format to a folder; refuse it if it answers otherwise than the model."""
        path, labelled = folder / f"model{FORMATS[name].ending}", self.labelled
        loss = speed = None
        if FORMATS[name].is_quantised:
            assert self.calibration is not None
            images = list(stored_images(labelled.pack, evenly(self.calibration, CALIBRATION)))
            write(name, self.network, self.known, path, images)
            parity, loss = labelled.compare(FORMATS[name].open(path), MEASURED)
            refuse_loss(name, loss, parity.images, self.allowed, self.option)
            speed = _speed(self.network, path, name, next(stored_images(labelled.pack, labelled.rows)))
        else:
            write(name, self.network, self.known, path)
            parity, _ = labelled.compare(FORMATS[name].open(path), COMPARED)
            _refuse_others(name, parity)
        return Written(name, path, size_of(path), parity, loss, speed)


def size_of(path: Path) -> int:
    """Return the bytes of an export; OpenVINO keeps weights in a file beside."""
    return sum(each.stat().st_size for each in ([path, path.with_suffix(".bin")] if path.suffix == ".xml" else [path]))


def evenly(rows: Rows, most: int) -> Rows:
    """Return at most so many of the rows, evenly spread."""
    chosen: Rows = rows[np.linspace(0, len(rows) - 1, num=min(most, len(rows))).astype(int)]
    return chosen


def _speed(network: Exported, path: Path, name: str, image: ImageArray) -> Speed:
    """Compare the speed of a quantised file with that of the same format in float32."""
    with TemporaryDirectory() as place:
        plain = Path(place) / "model.xml"
        write("openvino", network, {}, plain)
        return compare_speed(FORMATS["openvino"].open(plain), FORMATS[name].open(path), image)


class _Labelled:
    """What the model predicts for labelled images, computed once for every number of them."""

    def __init__(self, predictor: Predictor, pack: Pack, rows: Rows, tta: str):
        self.predictor, self.pack, self.rows, self.tta = predictor, pack, rows, tta
        self._wanted: dict[int, Outputs] = {}

    def compare(self, run: Run, most: int) -> tuple[Parity, Loss]:
        """Compare what an export gives, on at most so many of the images."""
        rows, predictor = evenly(self.rows, most), self.predictor
        if len(rows) not in self._wanted:
            self._wanted[len(rows)] = _wanted(predictor, self.pack, rows, self.tta)
        wanted, found = self._wanted[len(rows)], run_each(run, stored_images(self.pack, rows))
        several = predictor.model.multilabel
        parity = compare(wanted, found, predictor.decision, multilabel=several)
        labels = self.pack.labels[rows]
        right, before = (is_right(each[0], labels, predictor.decision, multilabel=several) for each in (found, wanted))
        return parity, loss_of(right, before, parity)


def _wanted(predictor: Predictor, pack: Pack, rows: Rows, tta: str) -> Outputs:
    """Return what predict and its embeddings are for rows of the pack, as the outputs of an export."""
    try:
        features = Embedder(predictor).of_rows(pack, rows, 32)
    except InputError:
        features = None
    probabilities = predict_rows(predictor, pack, rows, batch_size=32, tta=tta)
    predicted = predictor.rule.predicted(probabilities, features)
    every = (predicted["probabilities"], features, predicted["foreign"])
    return tuple(np.asarray(each, np.float64) for each in every if each is not None)


def _refuse_others(name: str, parity: Parity) -> None:
    """Refuse an export that answers otherwise than the model."""
    if parity.other_decisions:
        raise InputError(
            f"--format: {name} decides otherwise than the model on {parity.other_decisions} of {parity.images} images, "
            f"by up to {parity.largest_difference:.2g} of a probability; it is not written; name another format"
        )
    if parity.embedding_difference is not None and parity.embedding_difference > MOST_DIFFERENT:
        raise InputError(
            f"--format: {name} has other features than the model, by up to {parity.embedding_difference:.2g} of the largest; "
            "it is not written; name another format"
        )
