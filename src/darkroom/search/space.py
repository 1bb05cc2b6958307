"""The search space: from `tune.search_space` to the settings of a trial. All of it is checked before the first trial."""

import copy
import json
from collections.abc import Callable, Iterator, Mapping
from decimal import Decimal
from typing import Any

from optuna.distributions import BaseDistribution, CategoricalDistribution, FloatDistribution, IntDistribution

from darkroom.base.errors import InputError
from darkroom.base.params import Distribution
from darkroom.base.params_file import check_params
from darkroom.experiments.overrides import SECTIONS, Settings, with_settings

Label = str | int | float | bool | None


class Space:
    """A search space.

    Parameters
    ----------
    search_space
        `tune.search_space`.
    content
        Content of the params.yaml that trials start from, as plain mappings.

    Raises
    ------
    InputError
        If a key is unknown, or a value of the space is not allowed.
    """

    def __init__(self, search_space: Mapping[str, Distribution], content: dict[str, Any]):
        # A key inside another key's choices comes after it; `order` also has keys after those of their `when`.
        self.keys = dict(sorted(search_space.items(), key=lambda item: (item[0].count("."), item[0])))
        self.content = content
        if not self.keys:
            raise InputError(f"{named()}: is empty; add keys, or use a preset of conf/search")
        self._check_conditions()
        self.order = _ordered(self.keys)
        self._check_values()

    def suggest(self, suggest: Callable[[str, BaseDistribution], Any]) -> Settings:
        """Return the settings of a trial; `suggest` returns the label of a key for its distribution."""
        chosen: dict[str, Label] = {}
        settings: Settings = {}
        for key in self.order:
            tried = self.keys[key]
            if all(self._holds(chosen, other, values) for other, values in tried.when.items()):
                chosen[key] = suggest(key, distribution(tried))
                settings[key] = valued(tried, chosen[key])
        return {key: settings[key] for key in self.keys if key in settings}

    def of_params(self) -> dict[str, Label]:
        """Return the labels of the values in params.yaml, for keys whose value is in the space."""
        found: dict[str, Label] = {}
        for key, tried in self.keys.items():
            value = _looked_up(self.content, key)
            if tried.choices is not None and value in tried.choices:
                found[key] = labels(tried.choices)[tried.choices.index(value)]
            elif tried.choices is None and type(value) in (int, float) and _contains(distribution(tried), value):
                found[key] = value
        return found

    def distributions(self) -> dict[str, BaseDistribution]:
        """Return what each key is drawn from."""
        return {key: distribution(tried) for key, tried in self.keys.items()}

    def as_json(self) -> dict[str, Any]:
        """Return the space as plain JSON, to be compared with that of a study."""
        content: dict[str, Any] = json.loads(json.dumps({key: self.keys[key].model_dump() for key in self.keys}))
        return content

    def _holds(self, chosen: Mapping[str, Label], other: str, values: Any) -> bool:
        allowed = values if isinstance(values, list) else [values]
        return other in chosen and chosen[other] in allowed

    def _check_conditions(self) -> None:
        for key, tried in self.keys.items():
            for other, values in tried.when.items():
                parent = self.keys.get(other)
                if parent is None or parent.choices is None or other == key:
                    raise InputError(f"{named(key)}.when: {other} is not another key of the space with choices; name one")
                known = labels(parent.choices)
                for value in values if isinstance(values, list) else [values]:
                    if value not in known:
                        raise InputError(f"{named(key)}.when: {other} is never {value}; name one of {', '.join(map(str, known))}")

    def _check_values(self) -> None:
        """Check the choices, or the ends of the range, of every key against what params.yaml allows."""
        for key, tried in self.keys.items():
            if key.partition(".")[0] not in SECTIONS:
                raise InputError(f"{named(key)}: training does not depend on it; search keys of {', '.join(SECTIONS)}")
            for settings in self._examples(key, tried):
                try:
                    check_params(with_settings(self.content, settings), named())
                except InputError as error:
                    raise InputError(str(error).replace(f"{named()}: {key}", named(key))) from None

    def _examples(self, key: str, tried: Distribution) -> Iterator[Settings]:
        around = {other: self._first(other, values) for other, values in tried.when.items()}
        for other in [*around]:  # conditions of conditions
            around = {**{further: self._first(further, values) for further, values in self.keys[other].when.items()}, **around}
        kind = distribution(tried)
        ends = tried.choices if tried.choices is not None else [kind.low, kind.high]  # type: ignore[attr-defined]
        for value in ends:
            yield {name: {**around, key: value}[name] for name in self.keys if name in {**around, key: value}}

    def _first(self, key: str, values: Any) -> Any:
        return valued(self.keys[key], values[0] if isinstance(values, list) else values)


def distribution(tried: Distribution) -> BaseDistribution:
    """Return Optuna's distribution; mappings and lists are replaced by labels."""
    if tried.choices is not None:
        return CategoricalDistribution(labels(tried.choices))
    assert tried.low is not None
    assert tried.high is not None
    if tried.distribution == "int":
        first, last, every = int(tried.low), int(tried.high), int(tried.step or 1)
        return IntDistribution(first, last - (last - first) % every, log=tried.log, step=every)
    if tried.step is None:
        return FloatDistribution(float(tried.low), float(tried.high), log=tried.log)
    low, high, step = (
        Decimal(str(number)) for number in (tried.low, tried.high, tried.step)
    )  # in binary 0.9 is not three times 0.3
    return FloatDistribution(float(low), float(low + (high - low) // step * step), step=float(step))


def labels(choices: list[Any]) -> list[Label]:
    """Return a label for each choice: the value itself, the last name of its `_target_` where that is unique, else its JSON."""
    targets = [
        choice["_target_"].rpartition(".")[2] if isinstance(choice, dict) and "_target_" in choice else None for choice in choices
    ]
    return [
        target if target is not None and targets.count(target) == 1 else _plain(choice)
        for choice, target in zip(choices, targets, strict=True)
    ]


def _plain(choice: Any) -> Label:
    return choice if isinstance(choice, Label) else json.dumps(choice, ensure_ascii=False)


def valued(tried: Distribution, label: Label) -> Any:
    """Return the value in params.yaml for a label or a number."""
    if tried.choices is None:
        return label
    return copy.deepcopy(tried.choices[labels(tried.choices).index(label)])


def named(key: str | None = None) -> str:
    """Return the name of the space, or of a key in it, for errors."""
    return "params.yaml: tune.search_space" + (f".{key}" if key else "")


def _contains(kind: BaseDistribution, value: float) -> bool:
    return bool(kind._contains(kind.to_internal_repr(value)))


def _looked_up(content: Any, key: str) -> Any:
    for part in key.split("."):
        content = content.get(part) if isinstance(content, dict) else None
    return content


def _ordered(keys: Mapping[str, Distribution]) -> list[str]:
    """Return the keys in an order in which each comes after those of its `when`."""
    order: list[str] = []
    while len(order) < len(keys):
        ready = [key for key in keys if key not in order and set(keys[key].when) <= set(order)]
        if not ready:
            raise InputError(
                f"{named(next(key for key in keys if key not in order))}.when: depends on itself; remove one condition"
            )
        order += ready
    return order
