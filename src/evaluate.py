"""Stage evaluate: measure the published model on the validation and the test split (metrics/evaluate, models/README.md)."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

from darkroom.base import files, paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.params_file import load_params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.evaluation.closing import closing_line
from darkroom.evaluation.model_card import write_model_card
from darkroom.hardware.imports import without_collecting
from darkroom.stage.record import RECORD
from darkroom.stage.runner import running
from darkroom.stage.state_files import forget_finished

# The table once more, in a folder that DVC pushes, so that the run cache of another clone finds it (docs/decisions/0029).
COPY = "metrics.json"


def main() -> None:
    """Run the stage."""
    with running("evaluate") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)

        with without_collecting():
            from darkroom.evaluation.evaluate import evaluate_model, write_results
            from darkroom.explanation.mistakes import explain_test

        # DVC has recorded what train made, or this stage would not run.
        forget_finished(paths.states_dir(), paths.MODELS / "run.json")
        places = (paths.EVALUATE_TABLE, paths.CALIBRATION, paths.EVALUATED, paths.MODEL_CARD, paths.EVALUATE_METRICS)
        with stage.replaced(*places) as (table, calibration, predictions, card, directory):
            found = evaluate_model(paths.MODELS, params, pack, split, predictions=predictions)
            for place in (table, directory / COPY):
                files.write_json(place, found.metrics)
            files.write_sealed_json(calibration, found.calibration)
            write_results(directory, found, params.evaluate)
            explain_test(directory, found.predictor, pack, split.rows["test"], predictions, params.evaluate)
            model = found.predictor.model.card.model_dump(mode="json", by_alias=True)
            write_model_card(card, model, found.metrics, directory, calibration)
            outputs = dict(zip(map(paths.shown, places), (table, calibration, predictions, card, directory), strict=True))
            stage.record(directory / RECORD, outputs)
    print(*found.lines(), closing_line(found.metrics, paths.EVALUATE_METRICS, paths.shown(paths.EVALUATE_METRICS)), sep="\n")


if __name__ == "__main__":
    run_stage(main, stage_parser("evaluate", __doc__, "./darkroom evaluate   # on the terminal; nothing is recorded"))
