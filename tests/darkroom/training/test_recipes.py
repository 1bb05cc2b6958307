"""Every preset trains: two steps of what it says, but for number and size of the images and weights from elsewhere."""

import re
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base import paths
from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.experiments.presets import overlaid, preset_names, read_preset
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

# Images of several labels, on which that one is tried in tests/test_pipeline.py.
PRESETS = [name for name in preset_names(paths.PRESETS) if name != "multilabel"]
SMALL = 32
# Large networks whose recipes differ little from those of smaller ones, and small ones that differ little from each other.
SIMILAR = (
    *("recipes/big_vision_vit_b32", "recipes/strikes_back_a1", "recipes/strikes_back_a2"),
    *("cifar100", "cifar10_small", "from_scratch_small", "mnist"),
)


@pytest.mark.sample(6)
@pytest.mark.filterwarnings("ignore")
@pytest.mark.parametrize("name", [pytest.param(name, marks=[pytest.mark.thorough] * (name in SIMILAR)) for name in PRESETS])
def test_a_preset_takes_two_steps(
    name: str, content: dict[str, Any], make_params: Callable[..., Params], photos: Any, tmp_path: Path
) -> None:
    full = overlaid(content, read_preset(paths.PRESETS, name))
    check_params(full)
    train = full["train"]
    content["train"] = train
    if "_target_" not in train["model"]:
        train["model"] = train["model"] | {"pretrained": False}
    size = SMALL
    if patch := re.search(r"patch(\d+)", train["model"].get("name", "")):
        size = 4 * int(patch[1])
        train["model"]["kwargs"] = train["model"]["kwargs"] | {"img_size": size}
    params = make_params(
        {
            "train.image_size": size,
            "train.image_sizes": train["image_sizes"] and dict.fromkeys(train["image_sizes"], SMALL),
            "train.batch_size": 2,
            "train.precision": "32-true",  # processors without bf16 imitate it, slowly
            "train.lr": 0.0001,  # meant for large batches after a warm-up
            "train.epochs": train["unfreeze_epoch"] or 1,
            "train.trainer": {"limit_train_batches": 2, "limit_val_batches": 1},
            "hardware.accelerator": "cpu",
            "hardware.num_workers": 0,
        }
    )
    store = StateStore(tmp_path, {})
    with store.held():
        best = fit(make_plan(params, photos.pack, photos.split.rows["train"]), photos.split, store)
    assert best.score is not None
    assert max(store.folder.glob("*.ckpt")).name.startswith("000000000002-")
