"""Stage train: train the network of params.yaml on data/split and publish the weights of the best epoch to models."""

from functools import partial

from darkroom import files, paths
from darkroom.command import run_stage, stage_parser
from darkroom.data.labels import names
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.errors import is_main_process
from darkroom.params_file import load_params
from darkroom.reporting.sheets import augmentation_sheet, evenly_sampled
from darkroom.stage.runner import running
from darkroom.versions.models import read_model

NUM_AUGMENTED = 6


def main() -> None:
    """Run the stage."""
    with running("train") as stage:
        # Before torch is imported, so that a mistake in params.yaml shows at once.
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)
        if params.train.test_every is None:
            pack.withhold(split.rows["test"])
        read = partial(read_model, paths.ROOT, paths.main_repository())
        start = read(params.train.init_from) if params.train.init_from else None
        teacher = read(params.train.teacher.model) if params.train.teacher else None

        from darkroom.hardware import startup

        startup.prepare()
        from darkroom.models.card import data_hashes, make_card
        from darkroom.models.saving import save_checkpoints, save_model
        from darkroom.objective.distillation import open_teacher
        from darkroom.training.checkpoints.resume import read_files, write_files
        from darkroom.training.checkpoints.store import StateStore, depends_on
        from darkroom.training.fit import fit
        from darkroom.training.init_from import open_start
        from darkroom.training.observing.provenance import record
        from darkroom.training.plan import make_plan
        from darkroom.training.precision import resolve_precision
        from darkroom.training.views import augmented_views

        started = open_start(*start) if start else None
        plan = make_plan(params, pack, split.rows["train"], started, open_teacher(*teacher, params) if teacher else None)
        if is_main_process():
            print(*(f"train: {line}" for line in plan.lines()), sep="\n", flush=True)
        hashes = data_hashes(paths.RAW, split)
        store = StateStore(paths.states_dir(), depends_on(stage, params, hashes, plan.about["origin"], plan.about["teacher"]))
        with store.held():
            plan = resolve_precision(plan, store.folder / "precision.json")
            best = fit(plan, pack, split, store, logs=paths.logs_dir())
            if not best.publishes:
                return
            stage.check()
            card_of = partial(make_card, params, plan.preprocessing, split.classes, hashes, task=split.task, about=plan.about)
            save_model(paths.MODELS, best.weights, card_of(best, soup=best.soup.epochs if best.soup else None))
            weights_sha256 = files.sha256(paths.MODELS / "model.safetensors")
            files.write_json(paths.MODELS / "run.json", record(store.about, weights_sha256))
            rows = split.rows["train"][evenly_sampled(pack.labels[split.rows["train"]], NUM_AUGMENTED)]
            with stage.replaced_dirs(paths.CHECKPOINTS, paths.TRAIN_METRICS) as (checkpoints, directory):
                kept = best.checkpoints(params.train.keep_best)
                save_checkpoints(checkpoints, ((best.load(each), card_of(each)) for each in kept))
                write_files(directory, read_files(store.log_dir))
                measured = {"epoch": best.epoch, **best.measured(directory), **plan.size.model_dump(exclude={"trained"})}
                files.write_json(directory / "published.json", {"published": measured})
                shown = augmentation_sheet(augmented_views(plan, pack, rows), names(pack.labels[rows], split.classes))
                shown.save(directory / "augmented.png")
        print(f"train: published {best.name} with {best.monitor} {best.score:.4f}")


if __name__ == "__main__":
    run_stage(main, stage_parser("train", __doc__, "dvc exp run -S train.lr=0.003"))
