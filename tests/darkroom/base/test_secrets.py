"""A password or token in params.yaml is refused, without being shown, and nothing that only looks like one is."""

from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.params_file import check_params
from darkroom.base.secrets import refuse_secrets
from darkroom.base.yaml_file import read_yaml

PARAMS = Path(__file__).resolve().parents[3] / "params.yaml"
HIDDEN = "HUNTER2"


@pytest.mark.parametrize(
    ("key", "value", "way_out"),
    [
        ("download.archive", f"http://user:{HIDDEN}@host/a.zip", "netrc"),
        ("download.archive", f"https://host/a.zip?token={HIDDEN}", "netrc"),
        ("download.archive", f"https://host/a.zip?x=1&X-Amz-Signature={HIDDEN}&y=2", "netrc"),
        ("download.archive", f"https://host.blob.core.windows.net/a.zip?sv=1&sig={HIDDEN}", "signed address"),
        ("download.folder", f"ssh://me:{HIDDEN}@host/photos", "bucket"),
        ("download.more_archives", [{"archive": f"https://host/a.zip?access_token={HIDDEN}", "sha256": "0" * 64}], "netrc"),
        ("tune.storage", f"postgresql://me:{HIDDEN}@host/studies", "pgpass"),
        ("train.loggers", [{"_target_": "a.B", "tracking_uri": f"http://me:{HIDDEN}@host"}], "MLFLOW_TRACKING_PASSWORD"),
        ("train.loggers", [{"_target_": "a.B", "options": {"api_key": HIDDEN}}], "environment"),
        ("train.loggers", [{"_target_": "a.B", "hosts": [f"https://e:{HIDDEN}@host"]}], "environment"),
        ("train.model.kwargs", {"use_auth_token": HIDDEN}, "read it from the environment"),
    ],
)
def test_a_secret_is_refused_and_not_shown(key: str, value: Any, way_out: str) -> None:
    content = read_yaml(PARAMS)
    *parents, last = key.split(".")
    section = content
    for parent in parents:
        section = section[parent]
    section[last] = value
    with pytest.raises(
        InputError, match=rf"^params.yaml: {key}.*: holds a password or token, which would be recorded; .*{way_out}"
    ) as error:
        check_params(content)
    assert HIDDEN not in str(error.value)


@pytest.mark.parametrize(
    ("key", "value"),
    [
        ("train.model.kwargs", {"num_tokens": 4, "class_token": True, "global_pool": "token", "token_dim": "12"}),
        ("download.archive", "https://host:8080/a@b.zip?version=2&page=token"),
        ("download.folder", "s3://bucket/a:b@c"),
        ("tune.storage", "postgresql://me@host:5432/studies?sslmode=require"),
        ("base.name", "the secret of passwords: none@all"),
        ("train.loggers", [{"api_key": ""}, {"api_key": None}, {"password_file": "/run/secrets/one"}]),
    ],
)
def test_what_is_none_is_let_through(key: str, value: Any) -> None:
    refuse_secrets({key.partition(".")[0]: {key.partition(".")[2]: value}}, "params.yaml")


def test_no_preset_holds_one() -> None:
    for path in PARAMS.parent.glob("conf/**/*.yaml"):
        refuse_secrets(read_yaml(path), path.name)
