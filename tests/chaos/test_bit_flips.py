"""One flipped bit anywhere in the files that one stage writes and the next reads is found before they are used."""

import random
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.models.model_json import data_hashes, make_card
from darkroom.models.saving import load_model, save_model
from darkroom.training.checkpoints import saved_states as store_module
from darkroom.training.checkpoints.saved_states import StateStore
from darkroom.training.fit import fit
from darkroom.training.plan import make_plan

pytestmark = [pytest.mark.slow, pytest.mark.filterwarnings("ignore")]
PARTS = 5
SHORT, LONG = 20, 200  # flips of each kind of file in each part
CHANGES = {"train.model.kwargs": {"width": 4, "stages": 2}, "train.epochs": 2, "hardware.accelerator": "cpu"}


def refused(open_it: Callable[[], Any]) -> bool:
    try:
        return open_it() is None
    except InputError:
        return True


@pytest.mark.parametrize("part", [0, *(pytest.param(part, marks=pytest.mark.thorough) for part in range(1, PARTS))])
def test_one_bit_anywhere(
    make_params: Callable[..., Params], digits: Any, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, part: int, *, long: bool
) -> None:
    monkeypatch.setattr(store_module, "warn", lambda _: None)
    num_flips = LONG if long else SHORT
    params = make_params(CHANGES)
    plan = make_plan(params, digits.pack, digits.split.rows["train"])
    store = StateStore(tmp_path / "states", {})
    with store.held():
        best = fit(plan, digits.split, store)
    hashes = data_hashes(digits.raw, digits.split)
    save_model(tmp_path, best.weights, make_card(params, plan.preprocessing, digits.split.classes, hashes, best))
    (state, *older) = sorted(store.folder.glob("*.ckpt"), reverse=True)
    for path in older:
        path.unlink()
    split = digits.raw.parent / "split"
    opened = {
        "pack": (digits.raw, lambda: Pack.open(digits.raw)),
        "manifest": (split, lambda: Split.open(split, digits.pack)),
        "model": (tmp_path, lambda: load_model(tmp_path, params)),
        "checkpoint": (state, store.latest),
    }
    numbers = random.Random(part)
    for kind, (place, open_it) in opened.items():
        paths = [place] if place.is_file() else sorted(path for path in place.iterdir() if path.is_file())
        assert not refused(open_it), kind
        for _ in range(num_flips):
            path = numbers.choice(paths)
            content = path.read_bytes()
            flipped, bit = bytearray(content), numbers.randrange(8 * len(content))
            flipped[bit // 8] ^= 1 << bit % 8
            path.write_bytes(flipped)
            assert refused(open_it), f"{path}: bit {bit}"
            path.write_bytes(content)
        assert not refused(open_it), kind
        print(f"\nflips in {kind} ({', '.join(path.name[:20] for path in paths)}): {num_flips}, all found")
