"""A params.yaml is read block by block as it is as a whole."""

import random
from pathlib import Path

import pytest
from ruamel.yaml import YAML

from darkroom.versions.lock import outputs, parse_lock
from darkroom.versions.yaml_blocks import read_mapping

ROOT = Path(__file__).resolve().parents[3]
TEXTS = {
    "plain": "a:\n  b: 1\n  c: x\nd: 2\n",
    "empty section": "a:\nb:\n  c: 1e-3\n",
    "flow": "a: {b: 1, c: [1, 2]}\nd:\n  e: {f: on}\n",
    "list at the key": "a:\n  b:\n  - c: 1\n    d: 2\n  - e\n  f: 010\n",
    "flow over lines": "a:\n  b: [1,\n  2,\n  c: 3]\n  d: 4\n",
    "text over lines": "a:\n  b: |\n    x: 1\n  c: 'one\n\n    two'\n",
    "other indentation": "a:\n    b: 1\n    c:\n        d: 2\n",
    "comments": "# first\n\n# second: x\na: # of a\n  # inside\n  b: 1 # after\n",
    "quoted keys": "'a':\n  \"b\": 1\n",
    "document": "---\na:\n  b: 1\n",
}


@pytest.mark.parametrize("text", TEXTS.values(), ids=TEXTS)
def test_a_text_is_read_as_a_whole_would_be(text: str) -> None:
    whole = YAML(typ="safe", pure=True).load(text)
    assert read_mapping(text) == {key: {} if value is None else value for key, value in whole.items()}


@pytest.mark.parametrize(
    "preset", ["params.yaml", *sorted(path.relative_to(ROOT).as_posix() for path in (ROOT / "conf").glob("*.yaml"))]
)
def test_our_own_files_are_read_as_a_whole_would_be(preset: str) -> None:
    text = (ROOT / preset).read_text(encoding="utf-8")
    assert read_mapping(text) == YAML(typ="safe", pure=True).load(text)


@pytest.mark.parametrize(
    "text",
    [
        "- a\n- b\n",
        "text",
        "a: 1\na: 2\n",
        "a:\n  b: 1\n  b: 2\n",
        "a: [",
        "a: 1\n  b: 2\n",
        "x: &x [1]\ny: *x\n",
        "a: &b\n  c: *b\n",
    ],
)
def test_what_is_no_mapping_is_refused(text: str) -> None:
    with pytest.raises(ValueError, match="is not"):
        read_mapping(text)


def test_a_text_of_many_blank_lines_takes_no_time() -> None:
    with pytest.raises(ValueError, match="is not"):
        read_mapping("\n \n" * 50_000 + "}")


def test_changed_lines_are_read_or_refused_as_a_whole_would_be() -> None:
    """A line in a hundred is removed, doubled, or indented otherwise."""
    numbers, lines = random.Random(0), (ROOT / "params.yaml").read_text(encoding="utf-8").splitlines()[:60]
    num_read = 0
    for _ in range(15):
        changed = [line for line in lines for line in numbers.choices([[line], [], [line] * 2, [f" {line}"]], [97, 1, 1, 1])[0]]
        text = "\n".join(changed)
        try:
            whole = YAML(typ="safe", pure=True).load(text)
        except Exception:
            whole = None
        try:
            ours = read_mapping(text)
        except ValueError:
            ours = None
        if whole is None:
            assert ours is None
        else:
            num_read += 1
            assert ours == {key: {} if value is None else value for key, value in whole.items()}
    assert num_read > 2


def test_a_lock_has_hashes_and_parameters() -> None:
    lock = (
        "schema: '2.0'\nstages:\n  train:\n    cmd: python src/train.py\n    deps:\n    - path: data/raw\n      hash: md5\n"
        "      md5: aa.dir\n      size: 3\n    params:\n      params.yaml:\n        base:\n          seed: 0\n        train:\n"
        "          lr: 1e-05\n          augment:\n          - _target_: x\n    outs:\n    - path: models/model.json\n      md5: bb\n"
    )
    stages = parse_lock(lock)
    assert stages["train"].deps == {"data/raw": "aa.dir"}
    assert outputs(stages) == {"models/model.json": "bb"}
    assert stages["train"].read_params() == {"base": {"seed": 0}, "train": {"lr": 1e-5, "augment": [{"_target_": "x"}]}}
    assert parse_lock("- [no\x00 lock:\n    md5: x") == {}
