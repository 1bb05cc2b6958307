"""What a finished training publishes: the model, its run.json, checkpoints of further epochs, and the metrics."""

from functools import partial
from pathlib import Path

from darkroom.base import files
from darkroom.base.params import published_name
from darkroom.data.split_file import Split
from darkroom.models.model_json import make_card
from darkroom.models.saving import save_checkpoints, save_model
from darkroom.stage.record import RECORD, hashes
from darkroom.training.checkpoints.best import KeepBest
from darkroom.training.checkpoints.log_files import read_files, write_files
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.observing.provenance import record
from darkroom.training.plan import Plan

# The table once more, in a folder that DVC pushes: the run cache of another clone restores all outputs or none, and DVC pushes no
# metric that is in Git. Equal bytes are one object in the cache (docs/decisions/0029).
COPY = "published.json"


def publish(
    plan: Plan,
    best: KeepBest,
    split: Split,
    data_sha256: dict[str, str],
    store: StateStore,
    folders: tuple[Path, Path, Path],
    table: Path,
) -> None:
    """Write the best epoch's model, the kept checkpoints, the log with the metrics of the published weights, and the record.

    Parameters
    ----------
    plan, best
        What was trained, and its best epochs.
    split, data_sha256
        The data, and its hashes.
    store
        With the log, and with what the result depends on.
    folders
        For the model, the checkpoints and the metrics; what is in the last one already is recorded as well.
    table
        File for the metrics of the published weights.
    """
    models, checkpoints, metrics = folders
    card_of = partial(make_card, plan.params, plan.preprocessing, split.classes, data_sha256, task=split.task, about=plan.about)
    save_model(models, best.weights, card_of(best, soup=best.soup.epochs if best.soup else None))
    kept = best.checkpoints(plan.params.train.keep_best)
    states = {epoch: [store.verified(name) for name in names] for epoch, names in best.states.items()}
    save_checkpoints(checkpoints, ((best.load(each), card_of(each)) for each in kept), states)
    # Not by shutil.copytree, whose errors name neither file nor reason.
    write_files(metrics, read_files(store.log_dir))
    values = {published_name(name): value for name, value in best.measured(metrics).items()}
    measured = {"epoch": best.epoch, **values, **plan.model.size.model_dump(exclude={"trained"})}
    for place in (table, metrics / COPY):
        files.write_json(place, {"published": measured})
    about = record(store.about, files.sha256(models / "model.safetensors"), store.folder.name)
    outputs = {
        "models/model.json": models / "model.json",
        "models/checkpoints": checkpoints,
        "metrics/train.json": table,
        "metrics/train": metrics,
    }
    files.write_sealed_json(models / RECORD, {**about, "outputs": hashes(outputs)})
