"""A narrow terminal is the first thing that a newcomer has."""

import io
import sys

import pytest

from syncd.cli import draw
from syncd.cli.shell import Answer, Shell
from syncd.flow.model import Counts
from syncd.reports import EntityReport, RunReport


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_narrow_terminal_loses_no_digit(monkeypatch: pytest.MonkeyPatch) -> None:
    """Eleven columns of counts do not fit into 80 characters; the line wraps, nothing is cut."""
    counts = Counts(
        seen=15009, inserted=40, updated=7, deleted=3, unchanged=14667, conflict=5, invalid=6,
        held=300, waiting=1, failed=1, skipped=9,
    )  # fmt: skip
    entity = EntityReport("sessions", "completed", counts, 0.5)
    report = RunReport(2, "casework", "held", "2026-01-02T03:04:05Z", 1.2, (entity,))
    screen = Terminal()
    monkeypatch.setattr(sys, "stdout", screen)
    monkeypatch.setenv("COLUMNS", "80")
    Shell(lambda _: None, {"NO_COLOR": "1"}).print(  # type: ignore[arg-type,return-value]
        Answer(draw.run(report, "syncd"), None)
    )
    told = screen.getvalue()
    assert "unchanged" in told
    assert "14667" in told
    assert "…" not in told
