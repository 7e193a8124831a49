"""The one place that turns an answer or an error into an exit code.

Each list is read from the top; the first line that holds decides.

    0 done   1 failed   2 usage or configuration   3 differences (--exit-code)   4 rows parked
    5 deletes held   6 another instance holds the lease   128+n ended by signal n
"""

from collections.abc import Callable, Iterable, Sequence
from enum import IntEnum
from typing import Final, TypeAlias

from syncd.errors import ConfigError, FencedError
from syncd.flow.model import Counts, Outcome
from syncd.reports import Check, RelayReport, RunReport, VerifyReport


class Exit(IntEnum):
    """What the shell sees."""

    DONE = 0
    FAILED = 1
    USAGE = 2
    DIFFERENT = 3
    PARKED = 4
    HELD = 5
    FENCED = 6


SIGNAL_BASE: Final = 128  # the shells' own convention

_PARKED: Final = (
    Outcome.INVALID,
    Outcome.FAILED,
    Outcome.WAITING,
    Outcome.CONFLICT,
    Outcome.UNSUPPORTED,
)
_IN_STEP: Final = (Outcome.UNCHANGED, Outcome.STALE, Outcome.SKIPPED)
_DIFFERENT: Final = tuple(outcome for outcome in Outcome if outcome not in _IN_STEP)
_MISMATCHES: Final = ("missing", "extra", "different")  # kept is a difference on purpose

_Rules: TypeAlias = tuple[tuple[Callable[[RunReport], bool], Exit], ...]


def _any(report: RunReport, outcomes: Iterable[Outcome]) -> bool:
    return any(_rows(entity.counts, outcomes) for entity in report.entities)


def _rows(counts: Counts, outcomes: Iterable[Outcome]) -> int:
    return sum(getattr(counts, outcome.value) for outcome in outcomes)


def _failed(report: RunReport) -> bool:
    ended_badly = any(entity.status in ("failed", "refused") for entity in report.entities)
    return ended_badly or report.status in ("failed", "stopped")


_RUN: Final[_Rules] = (
    (_failed, Exit.FAILED),
    (lambda r: r.status == "held" or _any(r, (Outcome.HELD,)), Exit.HELD),
    (lambda r: r.status == "parked" or _any(r, _PARKED), Exit.PARKED),
)
_PLAN: Final[_Rules] = ((_failed, Exit.FAILED),)
_PLAN_COMPARED: Final[_Rules] = (*_PLAN, (lambda r: _any(r, _DIFFERENT), Exit.DIFFERENT))

_ERRORS: Final[tuple[tuple[type[BaseException], Exit], ...]] = (
    (ConfigError, Exit.USAGE),
    (FencedError, Exit.FENCED),
    (BaseException, Exit.FAILED),
)


def of_run(report: RunReport) -> Exit:
    """A pass that wrote."""
    return _first(_RUN, report)


def of_plan(report: RunReport, *, compare: bool) -> Exit:
    """A pass that wrote nothing; with ``compare`` what is not in step is told."""
    return _first(_PLAN_COMPARED if compare else _PLAN, report)


def of_verify(report: VerifyReport, *, compare: bool) -> Exit:
    """Both sides compared; with ``compare`` a mismatch is told."""
    different = any(kinds.get(k, 0) for kinds in report.counts.values() for k in _MISMATCHES)
    return Exit.DIFFERENT if compare and different else Exit.DONE


def of_relay(report: RelayReport) -> Exit:
    """What was sent; events that rest are parked."""
    return Exit.PARKED if report.left.depth else Exit.DONE


def of_checks(checks: Sequence[Check]) -> Exit:
    """What ``validate`` found."""
    return Exit.FAILED if any(check.level == "error" for check in checks) else Exit.DONE


def of_errors(errors: Sequence[BaseException]) -> Exit:
    """One error, or several that came together: the first line of the table that fits any."""
    return next(code for kind, code in _ERRORS if any(isinstance(e, kind) for e in errors))


def of_signal(number: int) -> int:
    """Ended by a signal: 130 for SIGINT, 143 for SIGTERM."""
    return SIGNAL_BASE + number


def _first(rules: _Rules, report: RunReport) -> Exit:
    return next((code for holds, code in rules if holds(report)), Exit.DONE)
