"""On a GPU, where there is one: images are held and augmented there with the bits of the CPU, and a training learns and goes on.

`GPU_TESTS_ON=cpu` runs them without one, so that a GPU's time is not spent on tests that are out of date.
"""

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from darkroom.base.errors import Interrupted
from darkroom.base.params import Params
from darkroom.input.augment import AlternatingFlip, RandomColor, RandomShift
from darkroom.input.dataset import ImageDataset
from darkroom.input.in_memory import InMemoryLoader, make_repeating_loader
from darkroom.input.samplers import ShuffledBatchSampler
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

ON = os.environ.get("GPU_TESTS_ON", "cuda")
pytestmark = [
    pytest.mark.gpu,
    pytest.mark.skipif(ON == "cuda" and not torch.cuda.is_available(), reason="there is no GPU"),
    pytest.mark.filterwarnings("ignore"),
]
GPU = {"hardware.accelerator": ON, "hardware.cache_images": True}


@pytest.mark.parametrize("data", ["digits", "photos"])
def test_what_is_held_has_the_bits_of_the_cpu(make_params: Callable[..., Params], request: Any, data: str) -> None:
    pack = request.getfixturevalue(data).pack
    transforms = [AlternatingFlip(), RandomShift(2), RandomColor()]
    batches = ImageDataset(pack, image_size=16, channels=3, transforms=transforms, seed=3)
    order = ShuffledBatchSampler(np.arange(40), batch_size=16, seed=0)
    held = make_repeating_loader(batches, order, make_params(GPU).hardware, device=torch.device(ON))
    assert isinstance(held, InMemoryLoader)
    for epoch in range(3):
        order.set_epoch(epoch)
        for there, key in zip(held, list(order), strict=True):
            for name, value in batches[key].items():
                assert there[name].device.type == ON  # type: ignore[literal-required]
                assert torch.equal(there[name].cpu(), value)  # type: ignore[literal-required]


@pytest.mark.parametrize("changes", [{}, {"train.precision": "bf16-mixed", "train.ema": 0.9}])
def test_a_training_learns(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, capsys: pytest.CaptureFixture[str], changes: dict[str, Any]
) -> None:
    params = make_params(GPU | changes)
    plan, store = make_plan(params, digits.pack, digits.split.rows["train"]), StateStore(tmp_path, {})
    with store.held():
        best = fit(plan, digits.split, store)
    assert best.score > 0.95
    assert f"images cached on {ON}" in capsys.readouterr().out


def test_no_step_waits_for_the_gpu(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    """Torch itself raises an error where it would wait, from the second step on."""
    params = make_params(GPU | {"train.epochs": 1, "train.trainer": {"limit_val_batches": 1}})
    plan, store = make_plan(params, digits.pack, digits.split.rows["train"]), StateStore(tmp_path, {})
    step = plan.classifier.training_step
    set_mode: Any = torch.cuda.set_sync_debug_mode if ON == "cuda" else str

    def watched(batch: Any, batch_idx: int) -> Any:
        set_mode("error" if batch_idx else "default")
        try:
            return step(batch, batch_idx)
        finally:
            set_mode("default")

    plan.classifier.training_step = watched  # type: ignore[method-assign]
    with store.held():
        fit(plan, digits.split, store)


def test_an_interrupted_training_goes_on(make_params: Callable[..., Params], digits: Any, tmp_path: Path) -> None:
    params = make_params(GPU | {"train.epochs": 3})
    store = StateStore(tmp_path, {})

    def trained(*, interrupted: bool) -> Any:
        plan = make_plan(params, digits.pack, digits.split.rows["train"])
        start = plan.classifier.on_train_epoch_start

        def ends() -> None:
            start()
            if interrupted and plan.classifier.current_epoch == 1:
                raise Interrupted(15, "as by a signal")

        plan.classifier.on_train_epoch_start = ends  # type: ignore[method-assign]
        with store.held():
            return fit(plan, digits.split, store)

    with pytest.raises(Interrupted):
        trained(interrupted=True)
    assert trained(interrupted=False).score > 0.9
