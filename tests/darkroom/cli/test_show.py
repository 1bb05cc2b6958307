"""./darkroom show as a person calls it."""

import csv
import io
import os
import subprocess
import sys
from pathlib import Path

import pytest
from hand_made import PARAMS, Work, params_with, results

ROOT = Path(__file__).resolve().parents[3]


@pytest.fixture(scope="module")
def work(tmp_path_factory: pytest.TempPathFactory) -> Work:
    """A repository with the code of this checkout, and results made by hand."""
    made = Work(tmp_path_factory.mktemp("show") / "work")
    made.write({"darkroom": (ROOT / "darkroom").read_text()})
    (made.root / "src").symlink_to(ROOT / "src")
    made.commit(results(0.90, 0.91), "First results")
    made.experiment("slow", results(0.95, 0.96, params=params_with(lr=0.003)))
    made.experiment("<img_src=x>", results(0.91, 0.96, params=PARAMS.replace("torch.optim.AdamW", '"\\e[31m' + "x" * 500 + '"')))
    return made


def show(work: Work, *arguments: str, status: int = 0) -> str:
    # The code finds its project by where it stands; here it is that of this checkout.
    code = (
        "import sys; from pathlib import Path; from darkroom.base import paths; "
        f"paths.ROOT = Path({str(work.root)!r}); from darkroom.cli.show import main; from darkroom.base.command import run_command; "
        "run_command(lambda: main(sys.argv[1:])); assert not {'torch', 'numpy', 'optuna'} & set(sys.modules)"
    )
    env = {name: value for name, value in os.environ.items() if name not in ("COLUMNS", "DVC_ROOT")} | {
        "PYTHONPATH": str(ROOT / "src")
    }
    command = [sys.executable, "-c", code, *arguments]
    done = subprocess.run(command, cwd=work.root, env=env, capture_output=True, text=True)
    assert done.returncode == status, done.stderr
    return done.stdout if status == 0 else done.stderr


def test_without_results_it_says_what_to_type(tmp_path: Path) -> None:
    assert "dvc repro && git add -A" in show(Work(tmp_path / "empty"))


def test_the_table_fits_120_columns(work: Work) -> None:
    output = show(work)
    assert max(map(len, output.splitlines())) <= 120
    assert output.splitlines()[0].split("  ")[0] == "name"
    assert "slow" in output
    assert "\x1b" not in output
    assert "3 results, sorted by val.accuracy." in output


def test_csv_goes_to_a_file_or_to_standard_output(work: Work, tmp_path: Path) -> None:
    rows = list(csv.DictReader(io.StringIO(show(work, "--csv", "-"))))
    assert [row["name"] for row in rows] == ["HEAD, workspace", "slow", "<img_src=x>"]
    assert show(work, "slow", "--csv", str(tmp_path / "table.csv")) == f"show: 1 results -> {tmp_path}/table.csv\n"
    assert (tmp_path / "table.csv").read_text().count("\n") == 2


def test_markdown(work: Work) -> None:
    assert show(work, "slow", "--md").splitlines()[2].startswith("| slow | 0.9500 | 0.9600 |")


@pytest.mark.parametrize(
    ("arguments", "message"),
    [
        (["--md", "--csv", "-"], "error: --md: cannot be given together with --csv; choose one\n"),
        (["--csv", "no/such/file"], "error: --csv: the folder no/such does not exist; create it first\n"),
        (["--csv", "."], "error: --csv: . is a folder; name a file\n"),
        (["slwo"], "error: slwo: no row has this name; did you mean 'slow'?\n"),
        (["--sort", "acuracy"], "error: --sort: acuracy: no row has this; did you mean"),
        (["--sorted"], "error: --sorted: unknown flag; did you mean '--sort'?\n"),
    ],
)
def test_mistakes_are_one_line(work: Work, arguments: list[str], message: str) -> None:
    assert show(work, *arguments, status=2).startswith(message)


def test_nothing_that_fulfils_a_condition_is_said(work: Work) -> None:
    assert show(work, "--filter", "val.accuracy > 1") == "No result fulfils this.\n"
