"""Sources of the user's own: every form of data is packed, what is wrong is told with the function's name."""

import importlib
import re
import sys
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import DownloadParams
from darkroom.data.pack import Pack
from darkroom.sources.pack_writer import write_pack
from darkroom.sources.read import read_source

README = Path(__file__).resolve().parents[4] / "src" / "plugins" / "sources" / "README.md"
HEAD = """
import numpy as np
from pathlib import Path
from darkroom.data.listing import Example

def pixels(value):
    return np.full((4, 4), value, np.uint8)
"""


@pytest.fixture
def pack(root: Path, download: Callable[..., DownloadParams], monkeypatch: pytest.MonkeyPatch) -> Iterator[Callable[..., Pack]]:
    """Pack what the function `mine` of a plug-in gives."""
    (root / "planted" / "plugins" / "sources").mkdir(parents=True)
    for package in ("plugins", "plugins/sources"):
        (root / "planted" / package / "__init__.py").touch()
    monkeypatch.syspath_prepend(str(root / "planted"))
    known = {name: module for name, module in sys.modules.items() if name.partition(".")[0] == "plugins"}
    for name in known:
        del sys.modules[name]

    def run(body: str, arguments: dict[str, Any] | None = None, **changes: Any) -> Pack:
        (root / "planted" / "plugins" / "sources" / "planted.py").write_text(HEAD + body)
        importlib.invalidate_caches()
        params = download(source={"_target_": "plugins.sources.planted.mine", **(arguments or {})}, **changes)
        (root / "raw").mkdir()
        with read_source(params, root / "raw") as listing:
            write_pack(listing, root / "raw", params)
        return Pack.open(root / "raw")

    yield run
    for name in [name for name in sys.modules if name.partition(".")[0] == "plugins"]:
        del sys.modules[name]
    sys.modules.update(known)


def test_every_form_of_data(pack: Callable[..., Pack], root: Path, image: Callable[..., bytes]) -> None:
    (root / "1.png").write_bytes(image(1, (4, 4, 3)))
    packed = pack(
        """
def mine(folder):
    path = Path(folder) / "1.png"
    yield Example("a/path", path, "10")
    yield Example("b/bytes", path.read_bytes(), "9", split="val")
    yield Example("c/grey", pixels(3), "9", group="g", extra={"age": "7"})
    yield Example("d/colour", np.stack([pixels(3), pixels(4), pixels(5)], axis=2), "10")
    yield Example("e/later", lambda: pixels(9)[..., None], "10")
    yield Example("f/later", path.read_bytes, "9")
""",
        {"folder": str(root)},
    )
    assert packed.ids == ["a/path", "c/grey", "d/colour", "e/later", "f/later", "b/bytes"]
    assert packed.classes == ["9", "10"]
    assert packed.labels.tolist() == [1, 0, 1, 1, 0, 0]
    assert packed.splits.tolist() == ["train"] * 5 + ["val"]
    assert packed.groups[1] == "g"
    assert packed.extra(np.array([1])) == [{"age": "7"}]
    assert [int(packed[row][0, 0, 2]) for row in (1, 2, 3)] == [3, 5, 9]
    assert np.array_equal(packed[0], packed[5])


def test_images_that_cannot_be_used_are_bad_ones(pack: Callable[..., Pack], root: Path) -> None:
    packed = pack(
        """
def fail():
    raise FileNotFoundError(2, "No such file")

def mine():
    bad = [Path("nowhere"), b"", b"text", pixels(1).astype(float), pixels(1)[:0], fail, lambda: 3]
    return [Example(f"bad/{number}", data, "a") for number, data in enumerate(bad)] + [
        Example(f"good/{number}", pixels(number), "ab"[number % 2]) for number in range(4)
    ]
""",
        max_bad=7,
    )
    assert len(packed) == 4
    reasons = (root / "raw" / "dataset.json").read_text()
    for reason in (
        "is empty",
        "is not a JPEG",
        "has 1 band(s) of float64; set download.channels to 1",
        "has no pixels",
        "No such file",
        "is returned as int",
    ):
        assert reason in reasons


@pytest.mark.parametrize(
    ("body", "message"),
    [
        ("mine = 3", "plugins.sources.planted.mine cannot be used here"),
        ("def yours(): pass", "plugins.sources.planted has no mine"),
        ("def mine(folder): return []", "missing a required argument: 'folder'"),
        ("def mine(): return 3", "returns a int"),
        ("def mine(): return []", "holds no image"),
        ("def mine(): return [('a', b'', 'x')]", "returns a tuple; return objects of darkroom.data.listing.Example"),
        ("def mine(): return [Example('a', b'', 'x')] * 2", "returns the id 'a' twice"),
        ("def mine(): return [Example('a', b'', 3)]", "returns an example with label 3; see src/plugins/sources/README.md"),
        ("def mine(): return [Example('a', b'', 'x', 'tarin')]", "returns an example with split 'tarin'"),
        ("def mine(): return [Example('', b'', 'x')]", "returns an example with id ''"),
        ("def mine(): return [Example('a', 3.5, 'x')]", "returns an example with data 3.5"),
        ("def mine(): return [Example('a', b'', 'x', extra={'age': 3})]", "returns an example with extra {'age': 3}"),
        ("def mine(): return [Example('a', pixels(1), 'x')]", "a classifier needs at least two"),
    ],
)
def test_what_is_refused(body: str, message: str, pack: Callable[..., Pack]) -> None:
    with pytest.raises(InputError) as caught:
        pack(body)
    assert message in str(caught.value)


@pytest.mark.parametrize("target", ["os.listdir", "plugins.tiny.mine", "torch.nn.ModuleList", "plugins.sourcesx.mine"])
def test_other_places_are_refused(target: str, download: Callable[..., DownloadParams], root: Path) -> None:
    message = f"^params.yaml: download.source._target_: {target} is not in plugins.sources, which DVC watches"
    with pytest.raises(InputError, match=message), read_source(download(source={"_target_": target}), root):
        pass


def test_lists_of_labels_make_a_multilabel_set(pack: Callable[..., Pack]) -> None:
    packed = pack("""
def mine():
    for number, label in enumerate([["b", "a"], (), "a", ["c", "c"]]):
        yield Example(str(number), pixels(number), label)
""")
    assert packed.classes == ["a", "b", "c"]
    assert packed.labels.tolist() == [[1, 1, 0], [0, 0, 0], [1, 0, 0], [0, 0, 1]]


DATASET = """
class mine:
    classes = ["cat", "dog"]
    def __init__(self, number):
        self.number = number
    def __len__(self):
        return self.number
    def __getitem__(self, index):
        if index >= self.number:
            raise IndexError(index)
        return pixels(index), index % 2
"""


def test_a_data_set_of_torch_with_arguments(pack: Callable[..., Pack]) -> None:
    packed = pack(DATASET, {"number": 6})
    assert packed.classes == ["cat", "dog"]
    assert packed.labels.tolist() == [0, 1, 0, 1, 0, 1]
    assert packed[3][0, 0, 0] == 3


@pytest.mark.parametrize(
    ("body", "message"),
    [
        (DATASET.replace("return pixels(index), index % 2", "return pixels(index)"), "item 0 is no image with a label"),
        (
            DATASET.replace("return pixels(index), index % 2", "return 1 / index"),
            "item 0 cannot be read (ZeroDivisionError: division by zero)",
        ),
        (DATASET.replace("index % 2", "index % 3"), "the label 2 is none of the 2 classes"),
    ],
)
def test_a_data_set_that_is_wrong(body: str, message: str, pack: Callable[..., Pack]) -> None:
    with pytest.raises(InputError) as caught:
        pack(body, {"number": 6})
    assert message in str(caught.value)


def test_the_data_set_of_the_documentation(pack: Callable[..., Pack]) -> None:
    text = README.read_text(encoding="utf-8")
    (code,) = re.findall(r"```python\n# src/plugins/sources/letters.py\n(.*?)```", text, re.DOTALL)
    packed = pack(f"{code}\nclass mine(Letters): pass\n", {"images_per_class": 30})
    assert packed.classes == ["A", "B", "C", "D"]
    assert len(packed) == 120
    assert len({packed[row].tobytes() for row in range(32)}) == 32
