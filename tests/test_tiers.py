"""No test is lost between the tiers."""

import re
import subprocess
from pathlib import Path

import pytest
from tiers import SHARES, in_share

ROOT = Path(__file__).resolve().parents[1]


def test_every_test_is_in_one_share_and_every_file_is_spread_over_all() -> None:
    files = ["a"] * 44 + ["b"] * 20 + ["c", "a"]
    chosen = [in_share(files, share) for share in range(SHARES)]
    assert [sum(each) for each in zip(*chosen, strict=True)] == [1] * len(files)
    for share, each in enumerate(chosen):
        assert [each[files.index(name)] for name in "abc"] == [share == 0, share == 1, share == 2]
        taken = [sum(is_taken for is_taken, file in zip(each, files, strict=True) if file == name) for name in "abc"]
        assert taken[0] in (2, 3)
        assert taken[1:] in ([1, 0], [1, 1])


@pytest.mark.parametrize("shallow", [False, True])
def test_ci_chooses_a_share(tmp_path: Path, shallow: bool) -> None:
    """Of the commits, or of the hash of a commit whose ancestors are missing; the checks and tests are left out here."""
    folder = tmp_path / "repository"
    commit = "git -c user.name=x -c user.email=x@localhost commit -q --allow-empty -m x"
    subprocess.run(["bash", "-ec", f"git init -q {folder}; cd {folder}; for i in {{1..27}}; do {commit}; done"], check=True)
    if shallow:
        subprocess.run(["git", "clone", "-q", "--depth=1", f"file://{folder}", tmp_path / "shallow"], check=True)
        folder = tmp_path / "shallow"
    text = (ROOT / ".ci/run").read_text(encoding="utf-8")
    text, number = re.subn(r"^make ", "echo make ", text, flags=re.MULTILINE)
    assert number == 3
    (folder / ".ci").mkdir()
    (folder / ".ci/run").write_text(text.replace('"$(id -u)" = 0', "no = yes"))  # and no PostgreSQL
    said = subprocess.run(["bash", folder / ".ci/run"], capture_output=True, text=True, check=True).stdout.splitlines()
    installed, announced, tested, checked = said
    assert (installed, checked) == ("make setup-dev", "make check")
    share = re.fullmatch(r"make test SHARE=(1?[0-9])", tested)
    assert share
    assert announced.startswith(f"thorough tests: share {share[1]} of 0 to 19, ")
    assert ("by the hash" if shallow else "27 commits") in announced
    assert shallow or share[1] == "7"


@pytest.mark.parametrize(("failing", "status"), [("check", 1), ("test", 1), ("setup-dev", 1), ("nothing", 0)])
def test_ci_fails_where_one_of_its_commands_does_and_shows_what_the_checks_say(tmp_path: Path, failing: str, status: int) -> None:
    (tmp_path / ".ci").mkdir()
    text = (ROOT / ".ci/run").read_text(encoding="utf-8").replace('"$(id -u)" = 0', "no = yes")
    text = text.replace("set -euo pipefail", f'set -euo pipefail\nmake() {{ echo "made $1"; [ "$1" != {failing} ]; }}', 1)
    (tmp_path / ".ci/run").write_text(text, encoding="utf-8")
    subprocess.run(["git", "init", "-q", tmp_path], check=True)
    commit = ["git", "-c", "user.name=x", "-c", "user.email=x@localhost", "commit", "-q", "--allow-empty", "-m", "x"]
    subprocess.run(commit, cwd=tmp_path, check=True)
    done = subprocess.run(["bash", tmp_path / ".ci/run"], capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    made = re.findall("^made (.*)$", done.stdout, re.MULTILINE)
    assert made == (["setup-dev"] if failing == "setup-dev" else ["setup-dev", "test", "check"])
