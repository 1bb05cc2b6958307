"""Run every experiment that docs/training.md shows, each with one short epoch: python tools/run_lines.py [PATTERN].

With a regular expression, only the lines in which it is found. Prints a line for each, then what `dvc exp show` shows of them,
and ends with 1 if one of them failed.
"""

import os
import re
import subprocess
import sys
import tempfile
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[1]
SHORT = "-S train.epochs=1 -S ++train.trainer.limit_train_batches=4 -S hardware.watch=false"


def shown_lines(text: str) -> list[str]:
    """Return the commands of the page's bash blocks, without their comments."""
    blocks = re.findall(r"```bash\n(.*?)```", text, re.DOTALL)
    return [re.split(r"\s+#", line)[0] for block in blocks for line in block.splitlines() if line.startswith("dvc exp run")]


def main() -> None:
    """Run them."""
    pattern = sys.argv[1] if len(sys.argv) > 1 else ""
    lines = [
        line for line in shown_lines((ROOT / "docs" / "training.md").read_text(encoding="utf-8")) if re.search(pattern, line)
    ]
    failed = 0
    with tempfile.TemporaryDirectory() as folder:
        clone = Path(folder, "darkroom")
        environment = os.environ | {"PATH": f"{Path(sys.executable).parent}:{os.environ['PATH']}"}

        def run(command: str) -> subprocess.CompletedProcess[str]:
            where = clone if clone.exists() else ROOT
            return subprocess.run(command, shell=True, cwd=where, env=environment, capture_output=True, text=True)

        subprocess.run(["git", "clone", "--quiet", str(ROOT), str(clone)], check=True)
        # Something for train.init_from to find.
        run(f"dvc exp run {SHORT} && git add -A && git -c user.name=a -c user.email=a@b commit -qm first")
        for line in lines:
            # What the line itself sets comes last and wins.
            command = line.replace("dvc exp run", f"dvc exp run {SHORT}", 1)
            start = time.monotonic()
            done = run(command)
            run("git checkout -q . && git clean -fdq")
            failed += done.returncode != 0
            print(f"{'ok' if done.returncode == 0 else 'FAILED':<7} {time.monotonic() - start:5.1f} s  {line}", flush=True)
            if done.returncode:
                print("\n".join(done.stderr.splitlines()[-3:]))
        print(run("COLUMNS=200 dvc exp show --only-changed --hide-workspace --drop Created --no-pager").stdout)
    sys.exit(failed > 0)


if __name__ == "__main__":
    main()
