"""Progress as bars on a terminal; apart from ``cli.progress``, since drawing takes ``rich``."""

from collections.abc import Iterator
from contextlib import contextmanager
from typing import TextIO

from rich.console import Console
from rich.progress import (
    BarColumn,
    MofNCompleteColumn,
    Progress,
    ProgressColumn,
    Task,
    TaskID,
    TextColumn,
    TimeRemainingColumn,
)
from rich.text import Text


class Bars:
    """A bar for each entity that is under way."""

    def __init__(self, bars: Progress) -> None:
        self._bars = bars
        self._tasks: dict[str, TaskID] = {}

    def start(self, entity: str, total_rows: int) -> None:
        """Show a bar; one without an end where nobody knows the total."""
        self.finish(entity)  # an attempt that goes on starts its bar anew
        self._tasks[entity] = self._bars.add_task(entity, total=total_rows or None)

    def advance(self, entity: str, rows: int) -> None:
        """Move it."""
        if entity in self._tasks:
            self._bars.advance(self._tasks[entity], rows)

    def finish(self, entity: str) -> None:
        """Take it away: the report tells the sum."""
        if entity in self._tasks:
            self._bars.remove_task(self._tasks.pop(entity))


class _Rate(ProgressColumn):
    def render(self, task: Task) -> Text:
        return Text(f"{task.speed:,.0f} rows/s" if task.speed else "")


@contextmanager
def shown(stream: TextIO, *, colour: bool) -> Iterator[Bars]:
    """Bars on ``stream`` that are gone at the end."""
    with Progress(
        TextColumn("{task.description}", markup=False),
        BarColumn(),
        MofNCompleteColumn(),
        _Rate(),
        TimeRemainingColumn(),
        console=Console(file=stream, no_color=not colour),
        transient=True,
    ) as bars:
        yield Bars(bars)
