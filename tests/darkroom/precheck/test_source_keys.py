"""Keys that the source does not read are refused where somebody has just set them."""

from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from darkroom.base.errors import InputError
from darkroom.base.params import Params
from darkroom.precheck.source_keys import check_source_keys

LOCK = "stages: {{download: {{params: {{params.yaml: {{download: {{source: {}, folder: {}, dataset: {}}}}}}}}}}}"


@pytest.mark.parametrize(
    ("lock", "changes", "refused"),
    [
        (None, {"folder": "photos"}, "folder"),
        (None, {"folder": "photos", "source": "folder"}, None),
        (None, {"dataset": "MNIST"}, "dataset"),
        (None, {"archive": "x.zip", "sha256": "ab" * 32}, "archive"),
        (None, {"manifest": "x.csv"}, "manifest"),
        (("digits", "data/photos", "null"), {"folder": "photos"}, "folder"),
        (("folder", "photos", "null"), {"folder": "photos", "source": "digits"}, None),  # left from the other source
        (("digits", "photos", "null"), {"folder": "photos"}, None),  # refused once, and recorded by an earlier version
        (("digits", "photos", "null"), {"folder": "phoots"}, "folder"),
        (("digits", "data/photos", "MNIST"), {"folder": "photos", "source": "folder", "dataset": "MNIST"}, None),
        (("digits", "data/photos", "null"), {"source": {"_target_": "plugins.sources.own.mine"}, "folder": "photos"}, None),
        (("]", "", ""), {"folder": "photos"}, "folder"),
    ],
)
def test_what_was_set(
    make_params: Callable[..., Params], tmp_path: Path, lock: tuple[str, ...] | None, changes: dict[str, Any], refused: str | None
) -> None:
    if lock is not None:
        (tmp_path / "dvc.lock").write_text(LOCK.format(*lock))
    params = make_params({f"download.{key}": value for key, value in changes.items()})
    if refused is None:
        check_source_keys(params.download, tmp_path / "dvc.lock")
        return
    with pytest.raises(InputError) as caught:
        check_source_keys(params.download, tmp_path / "dvc.lock")
    assert str(caught.value).startswith(
        f"params.yaml: download.{refused}: was set, but download.source is digits, which does not"
    )
