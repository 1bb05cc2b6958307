"""Which rows there are, wherever they were recorded, and what stands in them."""

import json
import subprocess
import time
from pathlib import Path

import pytest
from hand_made import NOW, PARAMS, Work, params_with, results
from places import AWKWARD

from darkroom.base.errors import InputError
from darkroom.history.overview import notes


def names(overview: object) -> list[str]:
    return [", ".join((row.group or row.name, *row.also)) for row in overview.rows]  # type: ignore[attr-defined]


def test_there_is_a_row_for_each_commit_with_results_and_each_experiment_of_any_commit(work: Work) -> None:
    first = work.commit(results(0.90, 0.91), "First results", age=7200)
    work.experiment("slow", results(0.95, 0.96, params=params_with(lr=0.003)))
    work.commit({"notes.md": "no results"}, "Notes")
    work.commit(results(0.92, 0.93, params=params_with(lr=0.02)), "Faster")
    work.experiment("fast", results(0.80, 0.81, params=params_with(lr=0.5)))
    overview = work.show()
    assert names(overview) == ["HEAD, workspace", "slow", first[:7], "fast"]
    head, slow, before, fast = overview.rows
    assert (head.metrics["val.accuracy"], head.metrics["test.accuracy"], head.subject) == (0.92, 0.93, "Faster")
    assert (slow.metrics["val.accuracy"], slow.candidate.baseline, before.seconds) == (0.95, first, NOW - 7200)
    assert "hardware.watch" not in fast.params


def test_the_history_of_the_template_is_not_listed(work: Work) -> None:
    """Whether it was kept, or a later version was merged."""
    work.git("branch", "template")
    work.commit(results(0.90, 0.91), "First results")
    for number in range(3):
        work.commit({"README.md": f"version {number}"}, f"The template, {number}", branch="template")
    work.git("merge", "-q", "--no-edit", "template")
    work.commit(results(0.95, 0.96), "Better")
    assert [row.subject for row in work.show().rows] == ["Better", "First results"]


def test_what_is_older_than_a_removed_lock_is_not_listed(work: Work) -> None:
    """As where results were committed to the template, and taken back by a commit or a merge."""
    work.commit(results(0.70, 0.71), "By accident")
    work.commit({"dvc.lock": None, "metrics/evaluate.json": None}, "Taken back")
    work.git("branch", "part")
    work.commit(results(0.60, 0.61), "Again by accident", branch="part")
    work.git("merge", "-q", "--no-commit", "--no-ff", "part")
    work.git("rm", "-q", "-f", "dvc.lock", "metrics/evaluate.json", "metrics/train.json")
    work.git("commit", "-q", "-m", "Merged without it")
    work.commit(results(0.90, 0.91), "First results")
    work.commit(results(0.95, 0.96), "Better")
    assert [row.subject for row in work.show().rows] == ["Better", "First results"]


def test_results_of_a_merged_branch_are_listed(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results", age=9000)
    work.git("branch", "idea")
    work.commit(results(0.92, 0.92), "On main", age=8000)
    work.git("checkout", "-q", "idea")
    work.commit(results(0.95, 0.95), "On the branch", age=7000, branch="idea")
    assert [row.subject for row in work.show(all_branches=True).rows] == ["On the branch", "On main", "First results"]
    work.git("checkout", "-q", "main")
    work.git("merge", "-q", "--no-edit", "-X", "theirs", "idea")
    assert [row.subject for row in work.show().rows] == ["On the branch", "On main", "First results"]


def test_commits_are_called_by_tags_and_branches(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.git("tag", "-a", "v1.0", "-m", "tag")
    work.commit(results(0.92, 0.91), "Second results")
    work.git("branch", "kept")
    work.commit(results(0.93, 0.91), "Third results")
    assert names(work.show()) == ["HEAD, workspace", "kept", "v1.0"]


def test_experiments_of_one_name_are_told_apart(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    first = work.experiment("slow", results(0.80, 0.8))
    work.commit(results(0.91, 0.91), "Second results")
    second = work.experiment("slow", results(0.81, 0.8))
    assert names(work.show("slow")) == [f"slow@{second[:7]}", f"slow@{first[:7]}"]


def test_a_workspace_with_other_results_is_a_row(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.write(results(0.95, 0.94, params=params_with(lr=0.1)))
    (workspace, head) = work.show().rows
    assert (workspace.name, workspace.seconds, workspace.metrics["test.accuracy"]) == ("workspace", None, 0.94)
    assert (head.name, head.metrics["test.accuracy"]) == ("HEAD", 0.91)


def test_numbers_of_other_parameters_are_left_out(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.write({"params.yaml": params_with(lr=0.1)})
    overview = work.show("workspace")
    assert overview.rows[0].metrics == {}
    assert list(notes(overview))[-1] == (
        "workspace: train.lr is not what train ran with, so that its metrics are left out; run: dvc repro"
    )
    work.write({"params.yaml": PARAMS.replace("batch_size: 256", "batch_size: 8")})
    assert work.show("workspace").rows[0].metrics.keys() == {"published.epoch", "published.criterion", "val.accuracy"}
    work.write({"params.yaml": PARAMS.replace("trials: 20", "trials: 30").replace("0.01  ", "1e-2")})
    assert names(work.show()) == ["HEAD, workspace"], "neither changes a result"


def test_metrics_of_another_model_are_left_out(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.experiment("partly", results(0.95, 0.99, measured="9" * 32))
    (row,) = work.show("partly").rows
    assert "test.accuracy" not in row.metrics
    assert row.metrics["val.accuracy"] == 0.95
    assert row.faults == ("evaluate has measured another model, so that its metrics are left out; run: dvc repro",)


def test_tables_of_earlier_versions_are_read(work: Work) -> None:
    files = results(0.90, 0.91)
    files["metrics/evaluate/metrics.json"] = files.pop("metrics/evaluate.json")
    files["metrics/train/published.json"] = files.pop("metrics/train.json")
    work.commit(files, "First results")
    (row,) = work.show().rows
    assert (row.metrics["val.accuracy"], row.metrics["test.accuracy"]) == (0.90, 0.91)


def test_a_trial_has_the_metrics_of_its_training(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.experiment("search-0000", results(0.93), message="search-0000: train.lr=0.1")
    (row,) = work.show("search-0000").rows
    assert row.metrics == {"val.accuracy": 0.93, "published.epoch": 3, "published.criterion": 0.5}
    text = " ".join(notes(work.show()))
    assert "Trials have no test metrics, since the test split chooses nothing" in text
    assert "'dvc exp apply search-0000 && dvc repro'" in text


def test_intervals_are_read_from_the_cache(work: Work) -> None:
    bounds = {"test": {"accuracy": {"value": 0.91, "low": 0.89, "high": 0.93}, "damaged": {"low": "x"}, "odd": 3}, "val": []}
    folder = work.cache_folder("intervals.json", bounds)
    work.commit(results(0.90, 0.91, evaluated=folder), "First results")
    work.write({"metrics/evaluate/intervals.json": json.dumps({"test": {"accuracy": {"low": 0.5, "high": 0.6}}})})
    work.write(results(0.95, 0.91))
    workspace, head = work.show().rows
    assert head.intervals == {"test.accuracy": (0.89, 0.93)}
    assert workspace.intervals == {"test.accuracy": (0.5, 0.6)}


def test_minutes_are_those_of_the_logs_of_this_machine(work: Work) -> None:
    run = work.cache({"state": "0123456789abcdef"})
    files = results(0.90, 0.91, run=run)
    work.commit(files, "First results")
    work.experiment("same", files)
    work.experiment("slow", results(0.80, 0.8))
    begun = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(NOW - 10_000))
    rows = [
        f"{time.strftime('%Y-%m-%d %H:%M:%S', time.localtime(NOW - 10_000 + second))},1,2" for second in (30, 60, 9_000, 9_030)
    ]
    table = "\n".join(["time,step,images_per_second", *rows])
    work.write({f"logs/{begun}_01234567/machine.csv": table, f"logs/{begun}_slow/run.json": "{}"})
    later = time.strftime("%Y-%m-%d_%H-%M-%S", time.localtime(NOW - 5))
    work.write({f"logs/{later}_slow/machine.csv": table, "logs/odd": "", "logs/odd_folder/machine.csv": "x"})
    minutes = {row.name: row.minutes for row in work.show().rows}
    assert minutes == {"HEAD": 1.5, "same": 1.5, "slow": None}, "without the pause; of the training before the result"


@pytest.mark.parametrize("place", ["in a folder", AWKWARD, "shallow", "detached", "no branch"])
def test_it_works_wherever_git_may_put_a_project(tmp_path: Path, place: str) -> None:
    work = Work(tmp_path / (AWKWARD if place == AWKWARD else "all"), "ml, [1]/darkroom" if place == "in a folder" else "")
    if place == "no branch":
        work.git("update-ref", "-d", "refs/heads/main")
        assert work.show().rows == []
        return
    work.commit(results(0.90, 0.91), "First results")
    work.commit(results(0.91, 0.92), "Second results")
    work.experiment("slow", results(0.80, 0.8))
    if place == "detached":
        work.git("checkout", "-q", "--detach", "HEAD~1")
        assert names(work.show()) == ["HEAD, workspace", "slow"]
    elif place == "shallow":
        clone = Work.__new__(Work)
        clone.top = clone.root = tmp_path / "shallow"
        source = ["git", "clone", "-q", "--depth", "1", f"file://{work.top}", str(clone.top)]
        subprocess.run(source, check=True)
        (clone.root / ".dvc").mkdir()
        assert names(clone.show()) == ["HEAD, workspace"]
    else:
        assert len(work.show().rows) == 3


def test_without_a_repository_it_says_what_to_do(tmp_path: Path) -> None:
    from darkroom.history.overview import Request, read_overview

    with pytest.raises(InputError, match="not a Git repository; run: git init"):
        read_overview(tmp_path, tmp_path / "logs", Request(), NOW)


def test_what_is_damaged_is_said_and_the_others_are_shown(work: Work) -> None:
    head = work.commit(results(0.90, 0.91), "First results")
    work.experiment("good", results(0.95, 0.96))
    work.experiment("no-json", results(0.95, 0.96) | {"metrics/evaluate.json": '{"test": '})
    work.experiment("nested", results(0.95, 0.96) | {"metrics/evaluate.json": "[" * 100_000})
    work.experiment("no-yaml", results(0.95, 0.96) | {"params.yaml": "train: {lr: [0.1\n"})
    work.experiment("aliases", results(0.95, 0.96) | {"params.yaml": "a: &a [1, 1]\ntrain:\n  lr: [*a, *a]\n"})
    work.experiment("no-lock", results(0.95, 0.96) | {"dvc.lock": "\x00 no: [lock"})
    lost = work.experiment("lost", results(0.7, 0.7))
    half = work.experiment("half", results(0.6, 0.6, params=params_with(lr=0.5)))
    (work.top / ".git" / "refs" / "exps" / head[:2] / head[2:] / "broken").write_text("garbage\n")
    explode(work)
    loose(work, lost).unlink()
    blob = loose(work, work.git("rev-parse", f"{half}:params.yaml"))
    blob.chmod(0o644)
    blob.write_bytes(b"not zlib")
    rows = {row.name: row for row in work.show().rows}
    assert rows["good"].faults == rows["no-lock"].faults == ()
    assert rows["no-json"].faults == rows["nested"].faults == ("metrics/evaluate.json: is damaged",)
    assert rows["no-json"].metrics["val.accuracy"] == 0.95
    assert rows["no-yaml"].faults == rows["aliases"].faults == ("params.yaml: cannot be read (is not YAML)",)
    assert rows["lost"].faults == ("its commit is missing or damaged; run: git fsck",)
    assert rows["half"].faults == ("has no params.yaml",)
    assert rows["half"].metrics["test.accuracy"] == 0.6
    assert "broken" not in rows


def test_of_many_faults_some_are_listed(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    work.experiments({f"run{number}": results(0.9, 0.9) | {"metrics/evaluate.json": ""} for number in range(12)}, message="m")
    found = [note for note in notes(work.show()) if "damaged" in note or "more" in note]
    assert len(found) == 11
    assert found[-1] == "… and 2 more; --csv lists all."


def explode(work: Work) -> None:
    """Store every object in a file of its own, as Git does until it packs them."""
    packs = list((work.top / ".git" / "objects" / "pack").glob("*.pack"))
    contents = [pack.read_bytes() for pack in packs]
    for pack in packs:
        for suffix in (".pack", ".idx", ".rev"):
            pack.with_suffix(suffix).unlink(missing_ok=True)
    for content in contents:
        work.git("unpack-objects", "-q", given=content)


def loose(work: Work, name: str) -> Path:
    return work.top / ".git" / "objects" / name[:2] / name[2:]


def test_a_hundred_experiments_take_two_seconds(work: Work) -> None:
    work.commit(results(0.90, 0.91), "First results")
    full = (Path(__file__).resolve().parents[3] / "params.yaml").read_text()
    named = {}
    for number in range(100):
        params = full.replace("  lr: 0.01", f"  lr: {0.001 * (number + 1):.4f}")
        named[f"run{number}"] = results(0.5 + number / 1000, 0.5, params=params, code="4" * 32)
    work.experiments(named, message="dvc: commit experiment")
    start = time.process_time()
    overview = work.show()
    assert time.process_time() - start < 2
    assert len(overview.rows) == 101
    assert overview.rows[1].params["train.lr"] == 0.1
