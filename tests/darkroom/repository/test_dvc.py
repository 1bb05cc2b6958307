"""Where DVC keeps its cache, and what it reads of a commit, is what DVC itself says."""

from pathlib import Path

import pytest
from places import CONTENT, DIGEST, add_cache, in_a_folder
from repositories import shell

from darkroom.experiments.repository import take_snapshot
from darkroom.experiments.slots import Slot
from darkroom.repository.dvc import cache_dir, site_cache_dir
from darkroom.versions.revisions import open_revision


def write(file: Path, text: str) -> None:
    file.parent.mkdir(parents=True, exist_ok=True)
    file.write_text(text)


@pytest.mark.parametrize(
    "level",
    [
        *("none", "global", "local", "awkward"),
        *(pytest.param(level, marks=pytest.mark.thorough) for level in ("system", "project", "relative", "home", "remote")),
    ],
)
def test_the_cache_is_where_dvc_has_it(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, level: str) -> None:
    from dvc.repo import Repo

    monkeypatch.setenv("DVC_SYSTEM_CONFIG_DIR", str(tmp_path / "etc"))
    monkeypatch.setenv("DVC_GLOBAL_CONFIG_DIR", str(tmp_path / "user"))
    monkeypatch.setenv("HOME", str(tmp_path))
    elsewhere = tmp_path / "elsewhere"
    text = f"[cache]\n    dir = {elsewhere}\n"
    if level == "system":
        write(tmp_path / "etc" / "config", text)
    elif level == "global":
        write(tmp_path / "user" / "config", text)
    elif level == "project":
        write(plain / ".dvc" / "config", text)
    elif level == "local":
        write(plain / ".dvc" / "config", "[cache]\n    dir = /not/here\n")
        write(plain / ".dvc" / "config.local", text)
    elif level == "relative":
        write(plain / ".dvc" / "config.local", "[cache]\n    dir = ../../elsewhere\n")
    elif level == "home":
        write(plain / ".dvc" / "config.local", "[cache]\n    dir = ~/elsewhere\n")
    elif level == "remote":
        write(plain / ".dvc" / "config.local", "[cache]\n    local = mine\n['remote \"mine\"']\n    url = ../../elsewhere\n")
    elif level == "awkward":
        elsewhere = tmp_path / "Doe, Jo; #1 'é'"
        write(plain / ".dvc" / "config.local", f'[cache]\n    dir = "{elsewhere}"\n')
    expected = (plain / ".dvc" / "cache") if level == "none" else elsewhere
    with Repo(str(plain)) as repo:
        assert Path(repo.cache.local_cache_dir).resolve() == expected.resolve()
    assert cache_dir(plain) == expected.resolve()
    # A trial ends where `dvc exp apply` finds it.
    slot = Slot(plain, tmp_path / "slot")
    slot.prepare(take_snapshot(plain), {"train": {"lr": 0.5}}, lock=None)
    with Repo(str(slot.folder)) as repo:
        assert Path(repo.cache.local_cache_dir).resolve() == expected.resolve()
    add_cache(expected)
    assert open_revision(plain, "HEAD", ()).read("models/model.json") == CONTENT


def test_a_relative_remote_of_the_clone_is_the_same_in_a_trial(plain: Path, tmp_path: Path) -> None:
    from dvc.config import Config

    write(plain / ".dvc" / "config.local", "[core]\n    remote = there\n['remote \"there\"']\n    url = ../../storage\n")
    slot = Slot(plain, tmp_path / "deep" / "slot")
    slot.prepare(take_snapshot(plain), {"train": {"lr": 0.5}}, lock=None)
    for project in (plain, slot.folder):
        config = Config(str(project / ".dvc"))
        assert Path(config["remote"]["there"]["url"]).resolve() == tmp_path / "storage"
        assert config["core"]["remote"] == "there"


def test_what_only_the_remote_has_is_read_from_there(tmp_path: Path) -> None:
    project = in_a_folder(tmp_path)
    # Relative, as committed: from the folder .dvc of the project.
    write(project / ".dvc" / "config", "[core]\n    remote = there\n['remote \"there\"']\n    url = ../storage\n")
    shell("git commit -qam remote", project)
    add_cache(project / "storage")
    assert not (project / ".dvc" / "cache" / "files" / "md5" / DIGEST[:2]).exists()
    assert open_revision(project, "HEAD", ()).read("models/model.json") == CONTENT


def test_the_folder_of_hashes_is_the_chosen_one(plain: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    from dvc.repo import Repo

    write(plain / ".dvc" / "config.local", f"[core]\n    site_cache_dir = {tmp_path / 'site'}\n")
    monkeypatch.delenv("DVC_SITE_CACHE_DIR", raising=False)
    with Repo(str(plain)) as repo:
        assert Path(repo.site_cache_dir).is_relative_to(site_cache_dir(plain))
    monkeypatch.setenv("DVC_SITE_CACHE_DIR", str(tmp_path / "other"))
    assert site_cache_dir(plain) == str(tmp_path / "other")
