"""Stage train: train the network of params.yaml on data/split and publish the weights of the best epoch to models."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

from darkroom.base import paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.errors import is_main_process
from darkroom.base.params_file import load_params
from darkroom.data.labels import names
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.reporting.sheets import augmentation_sheet, evenly_sampled
from darkroom.repository.origins import refuse_moving
from darkroom.stage.runner import refuse_smoke_test, running
from darkroom.versions.models import read_model, read_training

NUM_AUGMENTED = 6


def main() -> None:
    """Run the stage."""
    with running("train") as stage:
        # Before torch is imported, so that a mistake in params.yaml shows at once.
        params = load_params(paths.PARAMS)
        refuse_smoke_test(params)
        refuse_moving(params.train)
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)
        rows = split.rows["train"]
        if params.train.test_every is None:
            pack.withhold(split.rows["test"])
        where = (paths.ROOT, paths.main_repository())
        initial = read_model(*where, params.train.init_from) if params.train.init_from else None
        teacher = read_model(*where, params.train.teacher.model) if params.train.teacher else None
        resumed = read_training(*where, params.train.resume_from)

        from darkroom.hardware import startup

        startup.prepare()
        from darkroom.models.model_json import data_hashes
        from darkroom.objective.distillation import open_teacher
        from darkroom.training.augmentation_preview import augmented_views
        from darkroom.training.auto_precision import resolve_auto
        from darkroom.training.checkpoints.resume_from import open_earlier
        from darkroom.training.checkpoints.saved_states import StateStore, depends_on
        from darkroom.training.fit import fit
        from darkroom.training.observing.loggers import log_model
        from darkroom.training.plan import make_plan
        from darkroom.training.publish import publish
        from darkroom.transfer.init_from import open_initial_weights

        initial_weights = open_initial_weights(*initial) if initial else None
        teacher_model = open_teacher(*teacher, params) if teacher else None
        hashes = data_hashes(paths.RAW, split)
        earlier = open_earlier(resumed, params, hashes) if params.train.resume_from else None
        plan = make_plan(params, pack, rows, initial_weights, teacher_model, earlier)
        if is_main_process():
            print(*(f"train: {line}" for line in plan.lines()), sep="\n", flush=True)
        about = (plan.about[name] for name in ("origin", "teacher", "resumed"))
        stage.check()  # what it reads and is not recorded is refused now, not after hours
        store = StateStore(paths.states_dir(), depends_on(stage.code, params, hashes, *about))
        with store.held(params.hardware):
            plan = resolve_auto(plan, store.folder / "auto.json")
            best = fit(plan, split, store, logs=paths.logs_dir())
            if not best.publishes:
                return
            stage.check()
            with stage.replaced(paths.CHECKPOINTS, paths.TRAIN_TABLE, paths.TRAIN_METRICS) as (checkpoints, table, metrics):
                shown = rows[evenly_sampled(pack.labels[rows], NUM_AUGMENTED)]
                sheet = augmentation_sheet(augmented_views(plan, shown), names(pack.labels[shown], split.classes))
                sheet.save(metrics / "augmented.png")
                publish(plan, best, split, hashes, store, (paths.MODELS, checkpoints, metrics), table)
            log_model(params, store, paths.logs_dir(), paths.MODELS)  # no server gets what the stage refuses to record
        print(f"train: published {best.name} with {best.monitor} {best.score:.4f} -> {paths.shown(paths.MODELS)}")


if __name__ == "__main__":
    run_stage(main, stage_parser("train", __doc__, "dvc exp run -S train.lr=0.003"))
