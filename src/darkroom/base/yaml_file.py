"""Reading YAML 1.2, as DVC reads it: with the same library and the same settings of it."""

import copy
from functools import lru_cache
from pathlib import Path
from typing import Any

from ruamel.yaml import YAML
from ruamel.yaml.constructor import DuplicateKeyError
from ruamel.yaml.error import MarkedYAMLError, YAMLError
from ruamel.yaml.events import AliasEvent, CollectionEndEvent, CollectionStartEvent

from darkroom.base.errors import InputError

# Some 100 000 levels end the process, inside libyaml.
MAX_DEPTH = 100


def parse_yaml(text: str) -> Any:
    """Return the content of a text as plain dicts, lists and scalars.

    PyYAML is not used: it reads `1e-3` as text, `on` as true and `010` as 8, while DVC writes YAML 1.2. Where ruamel.yaml.clib is
    installed, ruamel reads with libyaml, ten times as fast as in Python, here and in DVC.

    Raises
    ------
    YAMLError, ValueError, LookupError, TypeError, AttributeError
        If it cannot be read, or has aliases, `*name`: a few of them can expand to gigabytes, or to a value that contains itself.
    """
    depth = 0
    for event in YAML(typ="safe").parse(text):
        if isinstance(event, AliasEvent):
            raise MarkedYAMLError(problem=f"the alias *{event.anchor} is not supported", problem_mark=event.start_mark)
        depth += isinstance(event, CollectionStartEvent) - isinstance(event, CollectionEndEvent)
        if depth > MAX_DEPTH:
            raise MarkedYAMLError(problem=f"more than {MAX_DEPTH} levels", problem_mark=event.start_mark)
    return YAML(typ="safe").load(text)


# Cached, because a stage reads params.yaml and dvc.yaml several times.
_parsed = lru_cache(maxsize=4)(parse_yaml)


def read_yaml(path: Path) -> Any:
    """Read a YAML file into plain dicts, lists and scalars; aliases are refused."""
    try:
        return copy.deepcopy(_parsed(path.read_text(encoding="utf-8")))
    except FileNotFoundError:
        raise InputError(f"{path.name}: does not exist; restore it with 'git checkout HEAD -- {path.name}'") from None
    except UnicodeDecodeError as error:
        raise InputError(f"{path.name}: is not UTF-8 at byte {error.start}; save it as UTF-8") from None
    except DuplicateKeyError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{path.name}:{line}: {str(error.problem).split(' with value')[0]}; remove one of the two") from None
    except MarkedYAMLError as error:
        line = error.problem_mark.line + 1 if error.problem_mark else "?"
        raise InputError(f"{path.name}:{line}: is not YAML ({error.problem}); correct that line") from None
    # Errors inside ruamel itself, on text that is far from YAML.
    except (YAMLError, ValueError, RecursionError, LookupError, TypeError, AttributeError) as error:
        raise InputError(f"{path.name}: is not YAML ({type(error).__name__}: {error}); correct it") from None
