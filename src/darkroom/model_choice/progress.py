"""What a person sees while recipes are tried: a line for each that is finished, and on a terminal the time below."""

import sys
from types import TracebackType
from typing import Self

from rich.console import Console
from rich.progress import Progress, ProgressColumn, Task, TextColumn
from rich.progress_bar import ProgressBar
from rich.table import Column
from rich.text import Text

from darkroom.model_choice.clock import Clock
from darkroom.model_choice.recipes import Recipe
from darkroom.model_choice.results import Row
from darkroom.model_choice.search import duration


class _TimeBar(ProgressColumn):
    """The share of the minutes that are over, drawn anew without being told."""

    def __init__(self, clock: Clock):
        super().__init__(Column(ratio=1))
        self.clock = clock

    def render(self, task: Task) -> ProgressBar:  # noqa: ARG002 - of rich
        return ProgressBar(total=self.clock.seconds, completed=min(self.clock.elapsed, self.clock.seconds))


class _TimeLeft(ProgressColumn):
    """The time that is left."""

    def __init__(self, clock: Clock):
        super().__init__()
        self.clock = clock

    def render(self, task: Task) -> Text:  # noqa: ARG002 - of rich
        return Text(f"{duration(max(0.0, self.clock.left))} left")


class Lines:
    """Prints a line for each row, with a bar below them on a terminal, which nothing remains of.

    Parameters
    ----------
    clock
        The time, which the bar shows.
    """

    def __init__(self, clock: Clock):
        self.clock, self.bar = clock, None
        if sys.stdout.isatty():
            # By its own file: what trainings print is sent elsewhere meanwhile.
            console = Console(file=sys.stdout)
            columns = (TextColumn("{task.description}", markup=False), _TimeBar(clock), _TimeLeft(clock))
            self.bar = Progress(*columns, console=console, transient=True, refresh_per_second=4, expand=True)
            self.task = self.bar.add_task("")

    def __enter__(self) -> Self:
        if self.bar is not None:
            self.bar.start()
        return self

    def __exit__(self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None) -> None:
        if self.bar is not None:
            self.bar.stop()

    def begins(self, recipe: Recipe) -> None:
        """Show what is tried now."""
        if self.bar is not None:
            self.bar.update(self.task, description=f"{recipe.backbone}, {recipe.way}")

    def finished(self, row: Row) -> None:
        """Print a row."""
        low, high = row.interval
        times = f"{duration(row.seconds)}, {row.images_per_second:,.0f} images/s"
        what = f"{row.accuracy:.3f} ({low:.3f} to {high:.3f}) of {len(row.right)} images"
        self._print(f"{row.recipe.backbone}, {row.recipe.way}: {what}, {times}")

    def _print(self, line: str) -> None:
        if self.bar is None:
            print(line, flush=True)
        else:  # above the bar, and not broken where the terminal ends
            self.bar.console.print(line, markup=False, highlight=False, soft_wrap=True)
