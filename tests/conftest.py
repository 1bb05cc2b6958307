"""What tests share: the repository's own params.yaml with changes, and small data to work on."""

import copy
import fcntl
import gc
import io
import os
import signal
import sys
from collections import Counter
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from functools import cache, partial
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from clones import Finished, finished_in
from PIL import Image
from tiers import SHARES, in_share

from darkroom.base.params import Params
from darkroom.base.params_file import check_params
from darkroom.base.yaml_file import read_yaml
from darkroom.data.listing import Item, Listing
from darkroom.data.pack import Pack
from darkroom.data.split_file import Split
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source
from darkroom.splitting.assign import assign_splits
from darkroom.splitting.split_writer import write_split

# In the background of a script Ctrl-C is ignored, by all that is started there; tests send it.
if signal.getsignal(signal.SIGINT) is signal.SIG_IGN:
    signal.signal(signal.SIGINT, signal.default_int_handler)
# Stages that tests start keep their compiled modules beside the code, as they do where people start them.
os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
# A command whose `main` a test calls would start the test run again without them; the rest of them is for the tests of it.
for name in [name for name in os.environ if name.startswith(("OPENBLAS_", "NPY_", "GLIBC_TUNABLES"))]:
    os.environ.pop(name, None)
for name in ("MAKEFLAGS", "MAKELEVEL", "MFLAGS"):  # `make test` passes them on, and a make that a test starts would act on them
    os.environ.pop(name, None)
os.environ["NO_ALBUMENTATIONS_UPDATE"] = "1"  # it would ask PyPI for a newer version whenever it is imported
ROOT = Path(__file__).resolve().parents[1]
CONTENT = read_yaml(ROOT / "params.yaml")
CONTENT["train"]["threads"] = 1  # several tests share the cores


def pytest_addoption(parser: pytest.Parser) -> None:
    """Let CI take a share of the thorough tests, another one with each commit."""
    parser.addoption("--share", type=int, choices=range(SHARES), help="of the tests marked thorough, run only this twentieth")


@pytest.hookimpl(tryfirst=True)  # before pytest looks at the marks
def pytest_collection_modifyitems(config: pytest.Config, items: list[pytest.Item]) -> None:
    """Mark thorough tests as slow, take a share of them if asked to, and put the short tests last.

    Of a test with the mark `sample`, all rows but the first ones are thorough. Kills and pipelines take minutes each; short tests at
    the end keep all processes busy until then.
    """
    rows: Counter[str] = Counter()
    for item in items:
        if sample := item.get_closest_marker("sample"):
            rows[name := item.nodeid.partition("[")[0]] += 1
            if rows[name] > sample.args[0]:
                item.add_marker("thorough")
    thorough = [item for item in items if item.get_closest_marker("thorough")]
    for item in thorough:
        item.add_marker("slow")
    share = config.getoption("share")
    if share is not None:
        chosen = in_share([item.path for item in thorough], share)
        left = {item for item, is_chosen in zip(thorough, chosen, strict=True) if not is_chosen}
        config.hook.pytest_deselected(items=[item for item in items if item in left])
        items[:] = [item for item in items if item not in left]
    items.sort(key=_place)


@pytest.hookimpl(trylast=True)
def pytest_collection_finish() -> None:
    """Let the garbage collector leave alone what has been imported: it took a tenth of the time."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish() -> None:
    """Give it back, so that libraries in C do not report it as leaked."""
    gc.unfreeze()


def _place(item: pytest.Item) -> int:
    in_room = "darkroom" in item.path.relative_to(ROOT / "tests").parts
    return 2 if in_room and not item.get_closest_marker("slow") else int(in_room)


@pytest.fixture(scope="session", autouse=True)
def _asked_once() -> Iterator[None]:
    """Do not look again, for each training in this process, for the callbacks of all packages, of which there are none.

    Models that do not say how many threads they were trained with compute with one, as several tests share the cores.
    """
    with pytest.MonkeyPatch.context() as patched:
        if registry := sys.modules.get("lightning_fabric.utilities.registry"):
            patched.setattr(registry, "entry_points", cache(registry.entry_points))
        if cards := sys.modules.get("darkroom.models.model_json"):
            patched.setattr(cards, "THREADS", 1)
        yield


@pytest.fixture(scope="session")
def finished(tmp_path_factory: pytest.TempPathFactory) -> Finished:
    """A clone in which `dvc repro` ran and was committed: one for all processes of a test run, to be copied."""
    base = tmp_path_factory.getbasetemp()
    folder = (base.parent if "PYTEST_XDIST_WORKER" in os.environ else base) / "finished"
    with folder.with_suffix(".lock").open("w") as file:
        fcntl.flock(file, fcntl.LOCK_EX)
        return finished_in(folder)


@pytest.fixture
def content() -> dict[str, Any]:
    """A fresh copy of the repository's params.yaml, as plain mappings."""
    return copy.deepcopy(CONTENT)


@pytest.fixture
def make_params(content: dict[str, Any]) -> Callable[..., Params]:
    """Return the repository's parameters with some dotted keys changed: `make_params({"train.lr": 0.1})`."""

    def make(changes: dict[str, Any] | None = None) -> Params:
        for key, value in (changes or {}).items():
            *sections, last = key.split(".")
            place = content
            for section in sections:
                place = place[section]
            place[last] = copy.deepcopy(value)
        return check_params(content)

    return make


@dataclass(frozen=True)
class Data:
    """What the stages download and split have made."""

    raw: Path
    pack: Pack
    split: Split


def make_data(folder: Path, listing: Listing) -> Data:
    params = check_params(CONTENT)
    raw, split = folder / "raw", folder / "split"
    raw.mkdir()
    split.mkdir()
    write_pack(listing, raw, params.download)
    pack = Pack.open(raw)
    write_split(split, pack, assign_splits(pack, params.split, 0), params.split, 0)
    return Data(raw, pack, Split.open(split, pack))


@pytest.fixture(scope="session")
def digits(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Scikit-learn's scans: grey, 8 by 8 pixels, ten classes."""
    folder = tmp_path_factory.mktemp("digits")
    with read_source(check_params(CONTENT).download, folder) as listing:
        return make_data(folder, listing)


@pytest.fixture(scope="session")
def photos(tmp_path_factory: pytest.TempPathFactory) -> Data:
    """Reddish and bluish JPEGs of random noise in many sizes, 30 of each."""
    numbers = np.random.default_rng(0)
    items = []
    for number in range(60):
        label = number % 2
        pixels = numbers.integers(0, 120, (70 + number, 90 - number // 2, 3), dtype=np.uint8)
        pixels[..., 2 * label] += 120
        file = io.BytesIO()
        Image.fromarray(pixels).save(file, "JPEG")
        items.append(Item(f"{number:02d}", "train", partial(lambda data, label: (data, label), file.getvalue(), label)))
    listing = Listing("photos", items, lambda _: ["red", "blue"], {"source": "test"})
    return make_data(tmp_path_factory.mktemp("photos"), listing)
