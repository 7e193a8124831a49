"""Connections that fail in seven ways, at random moments of real nights (cases 13, 14, 15, 20).

Either side may be struck, the target's COMMIT and COPY at the worst moment. What a night cannot
repair by itself is done by the next attempt; then nothing is lost, doubled or overwritten.
"""

import os
from collections.abc import Callable
from typing import Final

import pytest
from msgspec.structs import replace

from syncd.config import Config, PostgresSource, PostgresTarget, Secret
from syncd.errors import SyncdError
from syncd.ledger import takeover
from syncd.pg import connect
from syncd.reports import RunReport
from tests.crash.proxy import Fault, FaultyProxy, Moment, When
from tests.crash.series import Series, Size, crash_config
from tests.pipeline.world import MakeDatabase, World
from tests.trust.seed import ROUND

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
STRIKES: Final = 50 if THOROUGH else 2  # of each kind
SIZE: Final = Size(parents=60, children=300, a_day=20)
STATEMENT_S: Final = 1.0
ATTEMPTS_MAX: Final = 30  # a loaded machine alone uses some up
KINDS: Final = tuple(fault for fault in Fault if fault is not Fault.LOST_COMMIT)
# The moment of each kind, and how many of them a night has, about.
MOMENTS: Final = {
    Fault.LOST_ANSWER: (When.COMMIT, 12),
    Fault.CUT_COPY: (When.COPY, 12),
}
ANYTIME: Final = ((When.SENT, 150), (When.ANSWERED, 150))
AT_THE_SOURCE: Final = ((When.SENT, 12), (When.ANSWERED, 20))


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    """A peer that says nothing is given up soon: the test has not got half a minute for each."""
    monkeypatch.setattr(connect, "_ANSWER_GRACE_S", 0.2)
    monkeypatch.setattr(connect, "_CLOSE_S_MAX", 0.2)
    monkeypatch.setattr(takeover, "PATIENCE_S", 0.3)


class _Plan:
    """When the next connection fails, and on which side."""

    def __init__(self, series: Series, fault: Fault) -> None:
        self._series = series
        self._fault = fault
        self.is_over = True
        self.at: Moment | None = None
        self.on_target = True

    def draw(self, seen: dict[bool, dict[When, int]]) -> None:
        """A moment of the coming night."""
        dice = self._series.dice
        self.on_target = self._fault in MOMENTS or dice.random() < 0.7
        choices = [MOMENTS[self._fault]] if self._fault in MOMENTS else list(ANYTIME)
        if not self.on_target:
            choices = list(AT_THE_SOURCE)
        when, most = dice.choice(choices)
        self.at = Moment(when, seen[self.on_target].get(when, 0) + dice.randint(1, most))

    def choose(self, *, on_target: bool, moment: Moment) -> Fault | None:
        """Whether it is now."""
        if on_target is not self.on_target or moment != self.at:
            return None
        self.at = None
        return self._fault


@pytest.mark.trust
@pytest.mark.timeout(900)
@pytest.mark.parametrize("fault", KINDS)
async def test_a_connection_that_fails_loses_and_doubles_nothing(
    make_database: MakeDatabase, fault: Fault, record_property: Callable[[str, object], None]
) -> None:
    """I1, I2, I4, I6, I8 after each; a cut scan proves no absence (I10)."""
    legacy, target = make_database("legacy"), make_database("target")
    series = await Series.begin(
        crash_config(legacy, target, batch_rows=40, lease_ttl_s=2.0),
        seed=list(Fault).index(fault) + 100 * (ROUND - 1),
        size=SIZE,
    )
    plan = _Plan(series, fault)
    async with (
        FaultyProxy.serve(legacy, lambda m: plan.choose(on_target=False, moment=m)) as source,
        FaultyProxy.serve(target, lambda m: plan.choose(on_target=True, moment=m)) as sink,
    ):
        world = World(_through(series.world.config, source.dsn, sink.dsn))
        while len(source.struck) + len(sink.struck) < STRIKES:
            plan.draw({False: source.seen, True: sink.seen})
            report = await _night(world, series)
            await series.assert_whole(report, runs_max=ATTEMPTS_MAX)
            await series.a_day()
            await series.staff_type()
    record_property("strikes", len(source.struck) + len(sink.struck))
    assert set(source.struck) | set(sink.struck) == {fault}


def _through(config: Config, source_dsn: str, target_dsn: str) -> Config:
    return replace(
        config,
        source=PostgresSource(dsn=Secret(source_dsn), statement_timeout_s=STATEMENT_S),
        target=PostgresTarget(dsn=Secret(target_dsn), statement_timeout_s=STATEMENT_S),
    )


async def _night(world: World, series: Series) -> RunReport:
    """A completed night, in as many attempts as it takes."""
    for _ in range(ATTEMPTS_MAX):
        try:
            report = await world.night()
        except SyncdError:
            continue
        if report.status == "completed":
            await series.is_through()
            return report
    raise AssertionError(f"not completed in {ATTEMPTS_MAX} attempts")
