"""Progress goes to standard error, and only where somebody looks."""

import io

import pytest

from syncd.cli import progress
from syncd.progress import Progress, Silent
from tests.cli.fake_app import Syncd


class Clock:
    """Time that a test moves."""

    def __init__(self) -> None:
        self.now_s = 100.0

    def __call__(self) -> float:
        return self.now_s


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


def test_a_line_comes_every_ten_seconds_with_rate_and_time_left() -> None:
    """Lines tell rows, rate and time left, at most every ten seconds, and the sum at the end."""
    out, clock = io.StringIO(), Clock()
    lines = progress.Lines(out, clock)

    lines.start("countries", 1000)
    for _ in range(5):
        clock.now_s += 4
        lines.advance("countries", 100)
    lines.finish("countries")

    assert out.getvalue().splitlines() == [
        "countries: 300 of 1000 rows, 25 rows/s, 28 s left",
        "countries: 500 rows in 20.0 s",
    ]


def test_an_unknown_total_has_no_time_left() -> None:
    """Where nobody knows the total, no end is promised."""
    out, clock = io.StringIO(), Clock()
    lines = progress.Lines(out, clock)
    lines.start("countries", 0)
    clock.now_s += 10
    lines.advance("countries", 50)
    assert out.getvalue() == "countries: 50 of ? rows, 5 rows/s\n"


def test_more_rows_than_expected_have_no_time_left() -> None:
    """An estimate that was too low does not count backwards."""
    out, clock = io.StringIO(), Clock()
    lines = progress.Lines(out, clock)
    lines.start("countries", 10)
    clock.now_s += 10
    lines.advance("countries", 50)
    assert out.getvalue() == "countries: 50 of 10 rows, 5 rows/s\n"


@pytest.mark.parametrize("make", [lambda: progress.Lines(io.StringIO(), Clock()), Silent])
def test_telling_out_of_order_never_fails(make: type[Silent]) -> None:
    """A row told before the start or after the end is no error."""
    told: Progress = make()
    told.advance("countries", 1)
    told.finish("countries")
    told.start("countries", 1)
    told.start("countries", 2)
    told.finish("countries")
    told.finish("countries")


@pytest.mark.parametrize(
    ("terminal", "quiet", "verbose", "drawn"),
    [
        (False, False, False, False),
        (False, False, True, True),
        (False, True, True, False),
        (True, False, False, True),
        (True, True, False, False),
    ],
)
def test_who_looks_decides_what_is_drawn(
    *, terminal: bool, quiet: bool, verbose: bool, drawn: bool
) -> None:
    """Bars on a terminal, lines elsewhere with -v, nothing otherwise or with -q."""
    stream = Terminal() if terminal else io.StringIO()
    with progress.watched(stream, quiet=quiet, verbose=verbose, colour=False) as told:
        told.advance("countries", 1)
        told.start("countries", 10)
        told.start("countries", 10)
        told.advance("countries", 10)
        told.finish("countries")
        told.finish("countries")
    assert bool(stream.getvalue()) is drawn


def test_a_bar_shows_the_name_as_it_is() -> None:
    """Markup in a name is text, and the bar shows rows and total."""
    stream = Terminal()
    with progress.watched(stream, quiet=False, verbose=False, colour=False) as told:
        told.start("[red]countries", 2000)
        told.advance("[red]countries", 500)
        stream.truncate(0)
    assert "[red]countries" in stream.getvalue()
    assert "500/2000" in stream.getvalue()


def test_progress_is_on_standard_error_and_the_report_on_standard_output(syncd: Syncd) -> None:
    """With -v and no terminal the lines of progress do not mix with the JSON."""
    result = syncd("run", "-v", "--output", "json")
    assert result.stderr.startswith("countries: 2 rows in ")
    assert result.stdout.startswith('{"run_id"')
