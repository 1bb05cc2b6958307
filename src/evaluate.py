"""Stage evaluate: measure the published model on the validation and the test split (metrics/evaluate)."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

from darkroom.base import files, paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.params_file import load_params
from darkroom.base.state_files import forget_finished
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.stage.record import RECORD
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage."""
    with running("evaluate") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)

        from darkroom.explanation.mistakes import explain_test
        from darkroom.inference.evaluate import evaluate_model, write_results

        # DVC has recorded what train made, or this stage would not run.
        forget_finished(paths.states_dir(), paths.MODELS / "run.json")
        places = (paths.EVALUATE_TABLE, paths.CALIBRATION, paths.EVALUATED, paths.EVALUATE_METRICS)
        with stage.replaced(*places) as (table, calibration, predictions, directory):
            found = evaluate_model(paths.MODELS, params, pack, split, predictions=predictions)
            files.write_json(table, found.metrics)
            files.write_sealed_json(calibration, found.calibration)
            write_results(directory, found, params.evaluate)
            explain_test(directory, found.predictor, pack, split.rows["test"], predictions, params.evaluate)
            outputs = dict(zip(map(paths.shown, places), (table, calibration, predictions, directory), strict=True))
            stage.record(directory / RECORD, outputs)
    print(*found.lines(), sep="\n")


if __name__ == "__main__":
    run_stage(main, stage_parser("evaluate", __doc__, "./darkroom evaluate   # on the terminal; nothing is recorded"))
