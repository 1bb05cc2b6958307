"""Stage predict: predict the classes of predict.input, the test split or a folder of images, into data/predictions."""

from darkroom.stage.observed import observe

observe(__name__)  # before anything else is imported

from darkroom.base import paths
from darkroom.base.command import run_stage, stage_parser
from darkroom.base.errors import counted
from darkroom.base.params_file import load_params
from darkroom.prediction.inputs import predict_inputs
from darkroom.prediction.predictions import EMBEDDINGS, write_all
from darkroom.stage.record import RECORD
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage."""
    with running("predict") as stage:
        params = load_params(paths.PARAMS)
        with stage.replaced(paths.PREDICTIONS) as (directory,):
            embeddings = directory / EMBEDDINGS if params.predict.embeddings else None
            predictions = predict_inputs([paths.ROOT / params.predict.input], paths.MODELS, params, embeddings)
            write_all(directory, predictions, params.predict.top_k)
            stage.record(directory / RECORD, {"data/predictions": directory})
    done = f"{counted(len(predictions.paths), 'image')} -> {paths.shown(paths.PREDICTIONS)}"
    print(f"predict: {done}; './darkroom predict photo.jpg' takes others")


if __name__ == "__main__":
    run_stage(main, stage_parser("predict", __doc__, "./darkroom predict photo.jpg   # on the terminal; nothing is recorded"))
