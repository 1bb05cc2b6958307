"""Other notations of a search space, translated: Optuna's older names, and those of Hydra's Optuna sweeper.

References
----------
https://optuna.readthedocs.io/en/v2.10.1/reference/distributions.html, https://hydra.cc/docs/plugins/optuna_sweeper/
"""

import re
from collections.abc import Callable
from functools import partial
from typing import Any

from ruamel.yaml.error import YAMLError

from darkroom.base.errors import nearest
from darkroom.base.yaml_file import parse_yaml

# The key that names the distribution, here and in other trainers.
KEYS = ("distribution", "type", "_target_")
NAMES: dict[str, dict[str, Any]] = {
    "float": {"distribution": "float"},
    "uniform": {"distribution": "float"},
    "loguniform": {"distribution": "float", "log": True},
    "discrete_uniform": {"distribution": "float"},
    "int": {"distribution": "int"},
    "int_uniform": {"distribution": "int"},
    "int_loguniform": {"distribution": "int", "log": True},
    "categorical": {"distribution": "categorical"},
    "choice": {"distribution": "categorical"},
}
CALL = re.compile(r"\s*(\w+)\s*\((.*)\)\s*", re.DOTALL)
NAMED = re.compile(r"([a-z]+)\s*=\s*(.+)")
# Commas between arguments: outside brackets and quotes.
PARTS = re.compile(r"""(?:"[^"]*"|'[^']*'|\([^()]*(?:\([^()]*\)[^()]*)*\)|\[[^\]]*\]|\{[^}]*\}|[^,])+""")


def translated(value: Any) -> Any:
    """Return a key's distribution in this project's notation; what is in none of the known ones is returned unchanged.

    Raises
    ------
    ValueError
        If the distribution has an unknown name, or its arguments are wrong.
    """
    if isinstance(value, list):
        return {"distribution": "categorical", "choices": value}
    if isinstance(value, str):
        return _sweep(value)
    key = next((key for key in KEYS if isinstance(value, dict) and isinstance(value.get(key), str)), None)
    if key is None:
        return value
    given = {name: each for name, each in value.items() if name != key}
    if "q" in given:
        given["step"] = given.pop("q")
    known = {_simple(name): name for name in NAMES}
    if (simple := _simple(value[key])) not in known:
        hint = nearest(simple, known, f"use one of {', '.join(NAMES)}")
        near = re.sub(r"'(\w+)'", lambda match: f"'{known[match[1]]}'", hint) if hint.startswith("did") else hint
        raise ValueError(f"'{value[key]}' is not a distribution; {near}")
    name = known[simple]
    if name == "discrete_uniform" and given.get("step") is None:
        raise ValueError("discrete_uniform has no step; add q or step, or write float")
    if NAMES[name].get("log") and given.get("log") is False:
        raise ValueError(f"{name} is on a logarithmic scale, but log is false; remove log")
    return given | NAMES[name]


def _simple(name: str) -> str:
    """Return `intloguniform` for int_loguniform, suggest_int_loguniform and optuna.distributions.IntLogUniformDistribution."""
    return name.rpartition(".")[2].lower().removeprefix("suggest_").removesuffix("distribution").replace("_", "")


def _sweep(text: str) -> dict[str, Any]:
    """Return the distribution of `choice(…)`, `interval(…)`, `range(…)`, also in `int(…)` and `tag(log, …)`, or of `1, 2, 3`."""
    call = CALL.fullmatch(text)
    parts = [part.strip() for part in PARTS.findall(call[2] if call else text)]
    if call is None:
        if len(parts) < 2 or "(" in text:
            raise ValueError(f"'{text}' is not a distribution; write {{distribution: …}}, choice(…) or interval(low, high)")
        return _choice(*parts)
    name = call[1]
    if name not in SWEEPS:
        raise ValueError(f"'{name}' is not a distribution; {nearest(name, SWEEPS, 'use ' + ', '.join(SWEEPS))}")
    named = {match[1]: match[2] for part in parts if (match := NAMED.fullmatch(part))}
    try:
        return SWEEPS[name](*(part for part in parts if not NAMED.fullmatch(part)), **named)
    except (TypeError, YAMLError):
        raise ValueError(f"'{text}' has wrong arguments; write it as for Hydra, such as interval(0.001, 0.1)") from None


def _choice(*parts: str) -> dict[str, Any]:
    return {"distribution": "categorical", "choices": [_scalar(part) for part in parts]}


def _interval(start: str, end: str) -> dict[str, Any]:
    # Of floats, also with whole ends, as in Hydra; int(interval(…)) has whole numbers.
    return {"distribution": "float", "low": float(_number(start)), "high": float(_number(end))}


def _range(start: str, stop: str | None = None, step: str = "1") -> dict[str, Any]:
    # With its end, as in Hydra's sweeper.
    numbers = [_number(part) for part in (("0", start) if stop is None else (start, stop))] + [_number(step)]
    kind = "int" if all(isinstance(number, int) for number in numbers) else "float"
    return {"distribution": kind, **dict(zip(("low", "high", "step"), numbers, strict=True))}


def _tag(*parts: str) -> dict[str, Any]:
    if parts[:-1] != ("log",):
        raise ValueError(f"tag({', '.join(parts)}) has another tag than log; write tag(log, interval(low, high))")
    return _sweep(parts[-1]) | {"log": True}


def _cast(kind: type[int | float], sweep: str) -> dict[str, Any]:
    inner = _sweep(sweep)
    if "choices" in inner:
        if not all(isinstance(choice, int | float) for choice in inner["choices"]):
            raise TypeError(sweep)
        return inner | {"choices": [kind(choice) for choice in inner["choices"]]}
    numbers = {name: kind(inner[name]) for name in ("low", "high", "step") if name in inner}
    return inner | numbers | {"distribution": kind.__name__}


def _scalar(text: str) -> Any:
    return parse_yaml(text)


def _number(text: str) -> int | float:
    value = _scalar(text)
    if type(value) not in (int, float):
        raise TypeError(text)
    return value  # type: ignore[no-any-return]


SWEEPS: dict[str, Callable[..., dict[str, Any]]] = {
    "choice": _choice,
    "interval": _interval,
    "range": _range,
    "int": partial(_cast, int),
    "float": partial(_cast, float),
    "tag": _tag,
}
