"""What a study belongs to: a search space, metrics, parameters, code and data. A search with others is refused."""

from collections.abc import Iterable, Mapping
from pathlib import Path
from typing import Any

from optuna.study import Study

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.experiments.baseline import DATA
from darkroom.experiments.overrides import SECTIONS
from darkroom.experiments.repository import find_experiment, params_of
from darkroom.experiments.text import experiment_name
from darkroom.repository.git import commit_of
from darkroom.search.space import Space


def with_start(content: dict[str, Any], params: Params, repository: Path) -> dict[str, Any]:
    """Return the content of params.yaml with the parameters of the commit or experiment that `tune.start` names."""
    start = params.tune.start
    if start is None:
        return content
    commit = find_experiment(repository, start) or commit_of(repository, start)
    if not commit:
        raise InputError(
            f"params.yaml: tune.start: {start} is not a commit, branch or experiment; 'dvc exp list -A' lists experiments"
        )
    theirs = params_of(repository, commit)
    return {**content, **{section: theirs[section] for section in SECTIONS if section in theirs}}


def check_study(study: Study, params: Params, space: Space, repository: Path) -> None:
    """Refuse a study with another search space or other metrics; a new study records both.

    Raises
    ------
    InputError
        Naming what differs.
    """
    tune = params.tune
    recorded = {"metric": tune.metrics, "search_space": space.as_json()}
    known = study.user_attrs
    way_out = "change it back, or give tune.study a new name"
    if [direction.name.lower() for direction in study.directions] != list(tune.directions):
        raise InputError(f"params.yaml: tune.direction: the study {tune.study} has another; {way_out}")
    if "search_space" not in known:
        if find_experiment(repository, name := experiment_name(tune.study, 0)):
            raise InputError(
                f"params.yaml: tune.study: {tune.study} is new, but there is already an experiment {name}; "
                f"choose another name, or remove the experiments of the old search with 'dvc exp remove'"
            )
        for key, value in recorded.items():
            study.set_user_attr(key, value)
        return
    if known["metric"] != tune.metrics:
        raise InputError(f"params.yaml: tune.metric: the study {tune.study} has {', '.join(known['metric'])}; {way_out}")
    theirs, ours = known["search_space"], recorded["search_space"]
    assert isinstance(ours, dict)
    for key in sorted(theirs.keys() | ours.keys()):
        if theirs.get(key) != ours.get(key):
            what = "lacks" if key not in theirs else "has another" if key in ours else "also has"
            raise InputError(f"params.yaml: tune.search_space: the study {tune.study} {what} {key}; {way_out}")


def check_baseline(study: Study, inputs: Mapping[str, str], searched: Iterable[str]) -> None:
    """Refuse a study that began with other parameters, code or data; a new one records them. Trials must be comparable.

    Raises
    ------
    InputError
        Naming what differs.
    """
    keys = {*searched}
    data = set() if any(key.startswith(("download", "split", "base")) for key in keys) else set(DATA)
    ours = {name: value for name, value in inputs.items() if name not in DATA or name in data}
    ours = {name: value for name, value in ours.items() if not any(_is_within(name, key) for key in keys)}
    theirs = study.user_attrs.get("inputs")
    if theirs is None:
        study.set_user_attr("inputs", ours)
        return
    changed = sorted(name for name in theirs.keys() | ours.keys() if theirs.get(name) != ours.get(name))
    if changed:
        more = f" and {len(changed) - 1} more" if len(changed) > 1 else ""
        raise InputError(
            f"{changed[0]}: differs from what the study {study.study_name} began with{more}; "
            "change it back, or give tune.study a new name"
        )


def _is_within(name: str, key: str) -> bool:
    return name == f"params.yaml: {key}" or name.startswith(f"params.yaml: {key}.")
