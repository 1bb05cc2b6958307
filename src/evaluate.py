"""Stage evaluate: measure the published model on the validation and the test split (metrics/evaluate)."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

from darkroom.base import files, paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.params_file import load_params
from darkroom.base.state_files import forget_finished
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.reporting.closing import closing_line
from darkroom.reporting.evaluation import write_evaluation
from darkroom.stage.record import RECORD
from darkroom.stage.runner import running

# The table once more, in a folder that DVC pushes, so that the run cache of another clone finds it (docs/decisions/0029).
COPY = "metrics.json"


def main() -> None:
    """Run the stage."""
    with running("evaluate") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)

        from darkroom.inference.evaluate import evaluate_model

        # DVC has recorded what train made, or this stage would not run.
        forget_finished(paths.states_dir(), paths.MODELS / "run.json")
        found = evaluate_model(paths.MODELS, params, pack, split)
        test_rows = split.rows["test"]
        with stage.replaced(paths.EVALUATE_TABLE, paths.EVALUATED, paths.EVALUATE_METRICS) as (table, predictions, directory):
            for place in (table, directory / COPY):
                files.write_json(place, found.metrics)
            found.write_predictions(predictions)
            files.write_json(directory / "backend.json", found.backend)
            write_evaluation(
                directory,
                found.predictions,
                split.classes,
                lambda place: pack.shown(test_rows[place]),
                params.evaluate,
            )
            outputs = {
                "metrics/evaluate.json": table,
                "metrics/predictions.parquet": predictions,
                "metrics/evaluate": directory,
            }
            stage.record(directory / RECORD, outputs)
    print(*found.lines(), closing_line(found.metrics, paths.EVALUATE_METRICS, paths.shown(paths.EVALUATE_METRICS)), sep="\n")


if __name__ == "__main__":
    run_stage(main, stage_parser("evaluate", __doc__, "./darkroom evaluate   # on the terminal; nothing is recorded"))
