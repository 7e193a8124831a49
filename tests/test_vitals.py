"""What a daemon says of itself: ages on a clock that the test owns, freshness, roles, progress."""

import pytest

from syncd.reports import Backlog, Component
from syncd.vitals import LIVE_S_MAX, PipelineFacts, Role, Vitals


class Clock:
    """Seconds, when the test says so."""

    def __init__(self) -> None:
        self.now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


@pytest.fixture
def clock() -> Clock:
    return Clock()


@pytest.fixture
def vitals(clock: Clock) -> Vitals:
    return Vitals(clock)


@pytest.fixture
def facts(vitals: Vitals) -> PipelineFacts:
    made = vitals.pipeline("p", ["a", "b"])
    made.configured(["a", "b"], interval_s=50, stale_after_s=100)
    return made


def test_a_pipeline_is_fresh_until_its_oldest_entity_is_older_than_two_intervals(
    clock: Clock, facts: PipelineFacts
) -> None:
    """Ages go on by themselves from what the ledger said."""
    facts.look("a", "completed", 10.0, 1.0)
    facts.look("b", "completed", 60.0, 1.0)
    assert (facts.view().fresh, facts.view().age_s) == (True, 60.0)
    clock.now_s += 40
    assert facts.view().fresh is True
    clock.now_s += 1
    assert facts.view().fresh is False
    assert facts.components()["freshness:p"].status == "DOWN"


def test_what_never_was_in_step_has_as_long_as_all_others(
    clock: Clock, facts: PipelineFacts
) -> None:
    """A daemon that has just begun is not unhealthy; one that never syncs is."""
    facts.look("a", "", None, None)
    facts.look("b", "completed", 0.0, 1.0)
    assert (facts.view().fresh, facts.view().age_s) == (True, None)
    clock.now_s += 101
    assert facts.view().fresh is False


def test_an_entity_that_rests_does_not_make_its_pipeline_old(facts: PipelineFacts) -> None:
    """It rests on purpose."""
    facts.look("a", "completed", 500.0, 1.0)
    facts.look("b", "completed", 1.0, 1.0)
    facts.rests({"a"})
    assert (facts.view().fresh, facts.view().age_s) == (True, 1.0)
    assert [entity.paused for entity in facts.view().entities] == [True, False]


def test_where_nothing_says_how_often_nothing_is_old(clock: Clock, facts: PipelineFacts) -> None:
    """Freshness is unknown, which is not unhealthy."""
    facts.configured(["a"], interval_s=None, stale_after_s=None)
    clock.now_s += 1e9
    assert facts.view().fresh is None
    assert facts.components()["freshness:p"].status == "UNKNOWN"


@pytest.mark.parametrize(
    ("role", "paused", "status"),
    [
        (Role.STARTING, False, "UNKNOWN"),
        (Role.STANDBY, False, "UP"),
        (Role.LEADER, False, "UP"),
        (Role.LEADER, True, "OUT_OF_SERVICE"),
        (Role.BROKEN, False, "DOWN"),
        (Role.BROKEN, True, "DOWN"),
    ],
)
def test_how_a_pipeline_is_follows_from_its_role(
    facts: PipelineFacts, role: Role, status: str, *, paused: bool
) -> None:
    """A standby is well, and what rests is out of service."""
    facts.take_role(role, "because")
    facts.rests({""} if paused else set())
    assert facts.components()["pipeline:p"].status == status


def test_a_reason_is_not_among_what_anybody_may_see(facts: PipelineFacts) -> None:
    """Case 98: it may name a host; who is known gets it from the API."""
    facts.take_role(Role.BROKEN, "db.internal:5432 refused")
    assert "db.internal" not in str(facts.components())
    assert facts.view().reason == "db.internal:5432 refused"


def test_only_becoming_the_leader_counts_as_a_change(facts: PipelineFacts) -> None:
    """Case 86 is watched by it."""
    for role in (Role.STANDBY, Role.LEADER, Role.LEADER, Role.STANDBY, Role.LEADER):
        facts.take_role(role)
    assert facts.view().leads == 2


def test_a_run_tells_how_far_it_is_and_how_long_it_will_take(
    clock: Clock, facts: PipelineFacts
) -> None:
    """Rows a second of the entity that is being done."""
    facts.run_begins("schedule")
    facts.run_is(7)
    clock.now_s += 3
    facts.start("a", 1000)
    clock.now_s += 10
    facts.advance("a", 200)
    run = facts.view().run
    assert run is not None
    assert (run.run_id, run.origin, run.seconds, run.entity) == (7, "schedule", 13, "a")
    assert (run.rows, run.total_rows, run.rows_per_s, run.eta_s) == (200, 1000, 20, 40)
    facts.run_ends("completed")
    assert (facts.view().run, facts.view().last_run_status) == (None, "completed")


def test_progress_without_a_run_is_nothing(facts: PipelineFacts) -> None:
    """A decision of an operator may run beside what the daemon knows of."""
    facts.start("a", 10)
    facts.advance("a", 1)
    facts.run_is(3)
    assert facts.view().run is None


def test_what_waits_grows_older_and_nothing_does_not(clock: Clock, facts: PipelineFacts) -> None:
    """The age is counted on between two looks."""
    facts.waits(claims=Backlog(2, 5.0), outbox=Backlog(0, 0.0))
    clock.now_s += 10
    assert (facts.view().claims, facts.view().outbox) == (Backlog(2, 15.0), Backlog(0, 0.0))


def test_it_is_ready_when_every_part_is_and_until_it_drains(vitals: Vitals) -> None:
    """A standby is ready, too."""
    vitals.expect("http")
    vitals.expect("pipeline:p")
    vitals.started("http")
    assert not vitals.is_ready()
    vitals.started("pipeline:p")
    assert vitals.is_ready()
    vitals.draining = True
    assert not vitals.is_ready()


def test_it_lives_while_its_loop_goes_round(clock: Clock, vitals: Vitals) -> None:
    """No database is asked."""
    vitals.beat()
    clock.now_s += LIVE_S_MAX - 1
    assert vitals.is_live()
    clock.now_s += 1
    assert not vitals.is_live()


def test_a_refused_configuration_is_told_until_a_right_one_comes(vitals: Vitals) -> None:
    """The counter stays, the flag goes."""
    vitals.reloaded("entities.a.key: unknown")
    assert vitals.components()["configuration"] == Component("DOWN", {"refused": True})
    vitals.reloaded()
    assert vitals.components()["configuration"].status == "UP"
    assert vitals.reload_failures == 1
