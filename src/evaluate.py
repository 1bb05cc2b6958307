"""Stage evaluate: measure the published model on the validation and the test split (metrics/evaluate)."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

from darkroom.base import files, paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.params_file import load_params
from darkroom.base.state_files import forget_finished
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.reporting.evaluation import write_evaluation
from darkroom.stage.record import RECORD
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage."""
    with running("evaluate") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)

        from darkroom.explanation.mistakes import explain_test
        from darkroom.inference.evaluate import evaluate_model

        # DVC has recorded what train made, or this stage would not run.
        forget_finished(paths.states_dir(), paths.MODELS / "run.json")
        found = evaluate_model(paths.MODELS, params, pack, split)
        test_rows = split.rows["test"]
        with stage.replaced(paths.EVALUATE_TABLE, paths.EVALUATED, paths.EVALUATE_METRICS) as (table, predictions, directory):
            files.write_json(table, found.metrics)
            found.write_predictions(predictions)
            files.write_json(directory / "backend.json", found.backend)
            write_evaluation(
                directory,
                found.predictions,
                split.classes,
                lambda place: pack.shown(test_rows[place]),
                params.evaluate,
            )
            explain_test(directory, found.predictor, pack, test_rows, predictions, params.evaluate)
            outputs = {
                "metrics/evaluate.json": table,
                "metrics/predictions.parquet": predictions,
                "metrics/evaluate": directory,
            }
            stage.record(directory / RECORD, outputs)
    print(*found.lines(), sep="\n")


if __name__ == "__main__":
    run_stage(main, stage_parser("evaluate", __doc__, "./darkroom evaluate   # on the terminal; nothing is recorded"))
