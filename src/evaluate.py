"""Stage evaluate: measure the published model on the validation and the test split; writes metrics/evaluate.

`python src/evaluate.py --model models/checkpoints/epoch_0003` measures another model, and only says how good it is.
"""

import argparse
from contextlib import nullcontext
from functools import partial
from pathlib import Path

from darkroom import files, paths
from darkroom.command import run_command
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.params_file import load_params
from darkroom.reporting.evaluation import measure, write_evaluation
from darkroom.reporting.tables import LabelledPredictions
from darkroom.stage.runner import running


def main() -> None:
    """Run the stage, or measure the model named on the command line."""
    parser = argparse.ArgumentParser(description="Measure a model on the validation and the test split.")
    parser.add_argument("--model", type=Path, help="folder of a model; none: the published one, into metrics/evaluate")
    chosen = parser.parse_args().model
    folder = chosen or paths.MODELS
    with nullcontext() if chosen else running("evaluate") as stage:
        params = load_params(paths.PARAMS)
        pack = Pack.open(paths.RAW)
        split = Split.open(paths.SPLIT, pack)

        from darkroom.inference.predict import predict_rows
        from darkroom.inference.predictor import Predictor
        from darkroom.metrics.extra import build_metrics, measure_extra
        from darkroom.models.card import data_hashes
        from darkroom.state_files import forget_finished

        if stage:
            # DVC has recorded what train made, or this stage would not run.
            forget_finished(paths.states_dir())
        predictor = Predictor.load(folder, params, "evaluate")
        model = predictor.model
        model.check_data(data_hashes(paths.RAW, split))
        further = build_metrics(
            "evaluate.metrics",
            params.evaluate.metrics,
            num_classes=len(split.classes),
            multilabel=model.multilabel,
            allow=params.base.allow_targets,
        )
        viewed = params.evaluate.model_dump(include={"batch_size", "tta"})
        predictions = {}
        for name in ("val", "test"):
            rows = split.rows[name]
            predictions[name] = LabelledPredictions(predict_rows(predictor, pack, rows, **viewed), pack.labels[rows])
        metrics = measure(predictions, partial(measure_extra, further), params.evaluate)
        if stage:
            test_rows = split.rows["test"]
            with stage.replaced_dir(paths.EVALUATE_METRICS) as directory:
                files.write_json(directory / "backend.json", predictor.record)
                write_evaluation(
                    directory, predictions, split.classes, metrics, lambda place: pack[test_rows[place]], params.evaluate
                )
    for name, values in metrics.items():
        print(f"evaluate: {name}  " + "  ".join(f"{metric} {value:.4f}" for metric, value in values.items()))


if __name__ == "__main__":
    run_command(main)
