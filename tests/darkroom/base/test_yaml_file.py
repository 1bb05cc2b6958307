"""YAML is read as DVC reads it, whatever it holds."""

import time
from pathlib import Path
from typing import Any

import pytest
import ruamel.yaml.main
from dvc.utils.serialize import parse_yaml as parse_as_dvc
from ruamel.yaml.error import YAMLError

from darkroom.base.errors import InputError
from darkroom.base.yaml_file import MAX_DEPTH, parse_yaml, read_yaml

PLAIN = """on yes Off y 010 0o10 0x1f 0b11 1e-3 1e3 1. -.5 +1 1_000 12:30:45 ~ null 2020-01-01 .inf .nan True 'a' "\\u263a" é😀
[1,2,] a:b ?x -x 08 {a:1} = << !x"""
BLOCKS = "text: |\n  text\n  more\nend: >-\n  a\n  b\nmap: {a: 1, b: }\ntagged: !!int 3\n"
TEXTS = [
    *(f"key: {scalar}\n" for scalar in PLAIN.split()),
    BLOCKS,
    "%YAML 1.1\n---\nkey: 010\non: yes\n",
    "\ufeffkey: 1\n",
    "key: 1\r\nother: 2\r\n",
    "- 1\n- [2, {a: b}]\n",
    "? [a]\n: 1\n",
    "# a comment\nkey: a # another\n",
]


def read_by(parse: Any, text: str) -> str:
    try:
        return repr(parse(text))
    except Exception as error:
        return type(error).__name__ if isinstance(error, YAMLError) else "refused"


@pytest.mark.parametrize("text", TEXTS)
def test_it_is_what_dvc_reads(text: str) -> None:
    def as_dvc(text: str) -> Any:
        try:
            return parse_as_dvc(text, "params.yaml")
        except Exception as error:
            raise error.__cause__ or error from None

    assert read_by(parse_yaml, text) == read_by(as_dvc, text)


def test_libyaml_reads() -> None:
    """Ten times as fast as in Python: `dvc repro` without changes takes two thirds of the time."""
    assert ruamel.yaml.main.CParser is not None


def test_what_could_take_all_memory_or_end_the_process_is_refused() -> None:
    for text, problem in (
        ("a: &a [1]\nb: *a\n", "the alias *a is not supported"),
        ("[" * 100_000 + "]" * 100_000, f"more than {MAX_DEPTH} levels"),
        ("{a: " * 100_000 + "}" * 100_000, f"more than {MAX_DEPTH} levels"),
    ):
        begin = time.process_time()
        with pytest.raises(YAMLError, match=problem.replace("*", r"\*")):
            parse_yaml(text)
        assert time.process_time() - begin < 5


def test_the_line_is_named(tmp_path: Path) -> None:
    path = tmp_path / "params.yaml"
    for text, told in (
        ("a: 1\nb: x: y\n", "params.yaml:2: is not YAML (mapping values are not allowed in this context); correct that line"),
        ("a: {b:1}\n", "params.yaml:1: is not YAML"),
        ("a: 1\na: 2\n", 'params.yaml:2: found duplicate key "a"; remove one of the two'),
        ("a: \x07\n", "params.yaml: is not YAML (ReaderError"),
    ):
        path.write_text(text)
        with pytest.raises(InputError) as caught:
            read_yaml(path)
        assert str(caught.value).startswith(told)
