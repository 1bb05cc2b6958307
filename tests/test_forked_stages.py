"""The process that forks stages ends when it is told to."""

import os
import subprocess
import threading
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from forked_stages import ForkedStages

ROOT = Path(__file__).resolve().parents[1]
LIMIT_SECONDS = 60


def test_it_ends_while_another_process_holds_its_input() -> None:
    """As the loaders of a training do that was interrupted in the process of the test: they inherit the pipe."""
    clone: Any = SimpleNamespace(env=dict(os.environ), path=ROOT)
    stages = ForkedStages(clone)
    assert stages.server.stdin
    with subprocess.Popen(["sleep", "600"], pass_fds=[stages.server.stdin.fileno()]) as holder:
        closing = threading.Thread(target=stages.close, daemon=True)
        closing.start()
        closing.join(LIMIT_SECONDS)
        holder.kill()
        assert not closing.is_alive()
