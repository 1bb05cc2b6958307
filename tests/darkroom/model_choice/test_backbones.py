"""The networks that are on this machine."""

from pathlib import Path

import pytest

from darkroom.model_choice import backbones
from darkroom.model_choice.backbones import cached_networks, find_backbones, hub_cache
from darkroom.models.timm.wheels import WHEELS


def keep(cache: Path, name: str, *, size: int = 10, config: str | None = '{"architecture": "resnet18"}') -> Path:
    """Put a network into a cache of the hub, as its library does."""
    snapshot = cache / f"models--timm--{name}" / "snapshots" / "0123"
    snapshot.mkdir(parents=True)
    with (snapshot / "model.safetensors").open("wb") as file:
        file.truncate(size)  # a hole, so that a large one takes no time
    if config is not None:
        (snapshot / "config.json").write_text(config)
    refs = cache / f"models--timm--{name}" / "refs"
    refs.mkdir()
    (refs / "main").write_text("0123")
    return snapshot


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("HF_HUB_CACHE", str(tmp_path))
    return tmp_path


def test_networks_in_the_cache_of_the_hub(cache: Path) -> None:
    keep(cache, "resnet18.a1_in1k", size=20)
    keep(cache, "no_classifier", config="{}")
    keep(cache, "damaged", config="{")
    (keep(cache, "without_weights") / "model.safetensors").unlink()
    (cache / "models--timm--no_refs" / "snapshots").mkdir(parents=True)
    (cache / "models--other--resnet18").mkdir()
    (found,) = cached_networks(cache)
    assert (found.name, found.settings) == ("resnet18.a1_in1k", ("train.model.name=resnet18.a1_in1k",))
    assert (found.num_bytes, found.origin) == (20, "in the hub's cache")
    assert cached_networks(cache / "nowhere") == []


def test_where_the_cache_is(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("HF_HUB_CACHE", "HF_HOME", "XDG_CACHE_HOME"):
        monkeypatch.delenv(name, raising=False)
    assert hub_cache() == Path.home() / ".cache" / "huggingface" / "hub"
    monkeypatch.setenv("HF_HOME", str(tmp_path))
    assert hub_cache() == tmp_path / "hub"


def test_installed_ones_the_smallest_first_and_two_side_by_side(cache: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    keep(cache, "tiny.in1k", size=5)
    keep(cache, "tf_efficientnet_lite0.in1k", size=5)
    for number in range(9):
        keep(cache, f"large{number}.in1k", size=10**9 + number)
    found = find_backbones()
    installed = [name for name, wheel in WHEELS.items() if wheel.file]
    names = [each.name for each in found]
    assert names[0] == "tiny.in1k"
    assert set(installed) <= set(names)
    assert "tf_efficientnet_lite0.in1k" not in names or not installed, "it is installed"
    assert [each.num_bytes for each in found] == sorted(each.num_bytes for each in found)
    assert sum("large" in name for name in names) == backbones.MOST_CACHED - 1
    if len(installed) >= 2:
        assert f"{installed[0]} + {installed[-1]}" in names
    monkeypatch.setattr(backbones, "WHEELS", {})
    monkeypatch.setenv("HF_HUB_CACHE", str(cache / "empty"))
    assert find_backbones() == []
