"""Stage evaluate: measure the published model on the validation and the test split; writes metrics/evaluate."""

from darkroom import paths
from darkroom.data.pack import Pack
from darkroom.data.splits import Split
from darkroom.errors import run_command
from darkroom.params_file import load_params
from darkroom.reporting.evaluation import write_evaluation
from darkroom.reporting.tables import Answers
from darkroom.workspace import running


def main() -> None:
    """Run the stage."""
    with running("evaluate") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)

        from darkroom.training.inference import predict_rows
        from darkroom.training.published import data_hashes, load_model
        from darkroom.training.states import forget_finished

        # DVC has recorded what train made, or this stage would not run.
        forget_finished(paths.states_dir())
        model = load_model(paths.MODELS, params)
        model.check_data(data_hashes(paths.RAW, split))
        answers = {}
        for name in ("val", "test"):
            rows = split.rows[name]
            probabilities = predict_rows(
                model, pack, rows, params.hardware, **params.evaluate.model_dump(include={"batch_size", "tta"})
            )
            answers[name] = Answers(probabilities, pack.labels[rows])
        with stage.replaced_dir(paths.EVALUATE_METRICS) as directory:
            test_rows = split.rows["test"]
            metrics = write_evaluation(directory, answers, split.classes, lambda place: pack[test_rows[place]], params.evaluate)
    for name, values in metrics.items():
        print(f"evaluate: {name}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in values.items()))


if __name__ == "__main__":
    run_command(main)
