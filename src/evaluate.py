"""Stage evaluate: measure the published model on the validation and the test split; writes metrics/evaluate."""

from darkroom import files, paths
from darkroom.data.pack import Pack
from darkroom.data.splits import Split
from darkroom.errors import run_command
from darkroom.params import load_params


def main() -> None:
    """Run the stage."""
    params = load_params(paths.PARAMS)
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)

    from darkroom.reporting.evaluation import write_evaluation
    from darkroom.training.inference import predict_rows
    from darkroom.training.published import data_hashes, load_model

    model = load_model(paths.MODELS, params)
    model.check_data(data_hashes(paths.RAW, split))
    probabilities = {
        name: predict_rows(model, pack, split.rows[name], params.hardware, batch_size=params.evaluate.batch_size)
        for name in ("val", "test")
    }
    with files.replaced_dir(paths.EVALUATE_METRICS) as directory:
        metrics = write_evaluation(directory, pack, split, probabilities, params.evaluate)
    for name, values in metrics.items():
        print(f"evaluate: {name}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in values.items()))


if __name__ == "__main__":
    run_command(main)
