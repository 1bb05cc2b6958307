"""Stage train: train the network of params.yaml on data/split and publish the weights of the best epoch to models."""

from darkroom import paths
from darkroom.data.pack import Pack
from darkroom.data.splits import Split
from darkroom.errors import run_command
from darkroom.params_file import load_params


def main() -> None:
    """Run the stage."""
    # Before torch is imported, so that a mistake in params.yaml shows at once.
    params = load_params(paths.PARAMS)
    pack = Pack.open(paths.RAW)
    split = Split.open(paths.SPLIT, pack)

    from darkroom.training.fit import fit, make_plan
    from darkroom.training.published import data_hashes, save_model

    plan = make_plan(params, pack, split.rows["train"])
    best = fit(plan, pack, split, paths.TRAIN_METRICS)
    if not best.publishes:
        return
    card = {
        "network": params.train.model.model_dump(by_alias=True),
        "classes": split.classes,
        "preprocessing": plan.preprocessing.model_dump(mode="json"),
        "epoch": best.epoch,
        "monitor": best.monitor,
        "score": best.score,
        "data_sha256": data_hashes(paths.RAW, split),
        "params": params.model_dump(by_alias=True, include={"base", "train"}),
    }
    save_model(paths.MODELS, best.weights, card)
    print(f"train: published epoch {best.epoch} with {best.monitor} {best.score:.4f}")


if __name__ == "__main__":
    run_command(main)
