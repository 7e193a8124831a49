"""Every answer and every error has one exit code, and this table is the contract."""

import signal
from collections.abc import Iterator
from typing import Final

import pytest

from syncd import errors
from syncd.cli import exit_codes
from syncd.errors import SyncdError
from syncd.flow.model import Counts, Outcome
from syncd.reports import Backlog, Check, EntityReport, RelayReport, RunReport, VerifyReport

RUN: Final = {
    Outcome.INSERTED: 0, Outcome.UPDATED: 0, Outcome.DELETED: 0, Outcome.UNCHANGED: 0,
    Outcome.LINKED: 0, Outcome.STALE: 0, Outcome.SKIPPED: 0, Outcome.CONFLICT: 4,
    Outcome.INVALID: 4, Outcome.UNSUPPORTED: 4, Outcome.HELD: 5, Outcome.WAITING: 4,
    Outcome.FAILED: 4,
}  # fmt: skip
PLAN_COMPARED: Final = {
    outcome: 0 if outcome in (Outcome.UNCHANGED, Outcome.STALE, Outcome.SKIPPED) else 3
    for outcome in Outcome
}


def report(
    counts: dict[str, int], status: str = "completed", ended: str = "completed"
) -> RunReport:
    fine = EntityReport("fine", "completed", Counts(seen=1, unchanged=1), 0.0)
    other = EntityReport("other", ended, Counts(**counts), 0.0)
    return RunReport(1, "airports", status, "", 0.0, (fine, other))


@pytest.mark.parametrize(("left", "code"), [(0, 0), (2, 4)])
def test_a_relay_tells_that_events_are_left(left: int, code: int) -> None:
    report = RelayReport("airports", 5, 1, Backlog(depth=left))
    assert exit_codes.of_relay(report) == code


@pytest.mark.parametrize("outcome", Outcome)
def test_a_run_ends_by_what_became_of_its_rows(outcome: Outcome) -> None:
    """One row of any outcome gives the code of that outcome."""
    assert exit_codes.of_run(report({outcome.value: 1})) == RUN[outcome]


@pytest.mark.parametrize(
    ("status", "ended", "counts", "code"),
    [
        ("completed", "failed", {}, 1),
        ("completed", "refused", {}, 1),
        ("completed", "skipped", {}, 0),
        ("failed", "completed", {}, 1),
        ("stopped", "completed", {}, 1),
        ("parked", "completed", {}, 4),
        ("held", "completed", {}, 5),
        ("held", "completed", {"held": 2, "invalid": 3}, 5),
        ("parked", "refused", {"held": 2, "invalid": 3}, 1),
    ],
)
def test_the_gravest_code_of_a_run_wins(
    status: str, ended: str, counts: dict[str, int], code: int
) -> None:
    """Failed comes before held, and held before parked."""
    assert exit_codes.of_run(report(counts, status, ended)) == code


@pytest.mark.parametrize("outcome", Outcome)
def test_a_plan_tells_differences_only_when_asked(outcome: Outcome) -> None:
    """Without --exit-code a plan is done; with it whatever is not in step gives 3."""
    planned = report({outcome.value: 1})
    assert exit_codes.of_plan(planned, compare=False) == 0
    assert exit_codes.of_plan(planned, compare=True) == PLAN_COMPARED[outcome]


@pytest.mark.parametrize("compare", [True, False])
def test_a_plan_that_failed_has_failed(*, compare: bool) -> None:
    """An entity that could not be planned gives 1, with differences beside it or not."""
    planned = report({"inserted": 1}, ended="refused")
    assert exit_codes.of_plan(planned, compare=compare) == 1


@pytest.mark.parametrize(
    ("kind", "code"), [("missing", 3), ("extra", 3), ("different", 3), ("kept", 0), ("equal", 0)]
)
def test_verify_tells_mismatches_only_when_asked(kind: str, code: int) -> None:
    """With --exit-code a mismatch gives 3; a difference on purpose is none."""
    verified = VerifyReport({"a": {"equal": 5}, "b": {kind: 1}}, ())
    assert exit_codes.of_verify(verified, compare=True) == code
    assert exit_codes.of_verify(verified, compare=False) == 0


@pytest.mark.parametrize(("level", "code"), [("ok", 0), ("warning", 0), ("error", 1)])
def test_validate_fails_on_an_error_only(level: str, code: int) -> None:
    """Warnings do not change the code of validate."""
    assert exit_codes.of_checks([Check("ok", "a", ""), Check(level, "b", "")]) == code


def every_error() -> Iterator[type[SyncdError]]:
    waiting: list[type[SyncdError]] = [SyncdError]
    while waiting:
        kind = waiting.pop()
        yield kind
        waiting += kind.__subclasses__()


@pytest.mark.parametrize("kind", list(every_error()), ids=lambda kind: kind.__name__)
def test_every_error_has_its_code(kind: type[SyncdError]) -> None:
    """Configuration is 2, a lost lease 6, and every other error 1."""
    expected = {errors.ConfigError: 2, errors.FencedError: 6}.get(kind, 1)
    assert exit_codes.of_errors([kind("x")]) == expected


@pytest.mark.parametrize(
    ("together", "code"),
    [
        ([ValueError("x")], 1),
        ([errors.FencedError("x"), errors.TransientError("x")], 6),
        ([errors.FencedError("x"), errors.ConfigError("x")], 2),
    ],
)
def test_of_several_errors_the_most_telling_decides(
    together: list[BaseException], code: int
) -> None:
    """What ended the others decides: the configuration, then the lease."""
    assert exit_codes.of_errors(together) == code


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_ends_as_the_shells_count(number: int, code: int) -> None:
    """SIGINT is 130 and SIGTERM 143."""
    assert exit_codes.of_signal(number) == code
