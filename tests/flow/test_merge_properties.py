"""Random nights of one record, judged by what must always hold.

The invariants are those of the reference: I1 no lost source change, I2 no lost edit, I3 no undone
delete, I5 a position that never goes back. The judge keeps its own account of what syncd left in
the target and never looks into the bases. Four planted faults show that it can fail.
"""

from collections.abc import Callable
from typing import Any, TypeAlias

import pytest
from hypothesis import Phase, find, given, settings
from hypothesis import strategies as st
from hypothesis.errors import NoSuchExample
from msgspec import Struct
from msgspec.structs import replace

from syncd.flow.merge_tables import COLUMN_RULE, ROW_RULE, Line, RowLine, Step, Verdict
from syncd.flow.model import MISSING, Decision, Outcome, Plan, Row, State, Value, Write
from tests.flow.merge_world import World, as_sent, hash_of, mark_at, plan_of

WIDTH = 3
PLAN = plan_of("a", "b", "c")
HELD = (State.LIVE, State.ORPHAN_KEPT)  # the bases speak of the row that is there
LINKED = (*HELD, State.TGT_DELETED)
UNKNOWN = "unknown"  # nothing of ours stands in the column

Event: TypeAlias = tuple[str, int, Value]


class Night(Struct, frozen=True):
    """What happens by day, and how syncd looks at night: survey, look, late or not at all."""

    events: tuple[Event, ...]
    sweep: str


class BrokenError(AssertionError):
    """An invariant was broken; the first argument names it."""


def hold(name: str, *, that: bool) -> None:
    """Raise BrokenError unless ``that``."""
    if not that:
        raise BrokenError(name)


class Judge:
    """Plays a schedule and checks every decision."""

    def __init__(
        self, plan: Plan = PLAN, store: Callable[[Row], Row] = as_sent, *, is_exact: bool = True
    ) -> None:
        self.world = World(plan, (b"A", b"A", b"A"), store=store)
        self.world.is_exact = is_exact
        self.left: list[Value | str] = [UNKNOWN] * WIDTH
        self.seen: list[Value] = [MISSING] * WIDTH
        self.told: set[int] = set()
        self.is_deleted_by_staff = False

    def play(self, nights: list[Night]) -> None:
        """All nights, then peace: nobody edits, and syncd has a survey and a full look."""
        for night in nights:
            for event in night.events:
                self.happen(*event)
            self.sweep(night.sweep)
        self.make_peace()
        self.sweep("survey")
        self.check_in_step()
        self.sweep("look")
        self.make_peace()
        self.sweep("look")
        self.check_in_step()
        self.check_settled()

    def happen(self, what: str, at: int, value: Value) -> None:
        """One change by day; it does nothing where there is no row to change."""
        world = self.world
        if what == "source" and world.source is not None:
            world.source = _with(world.source, at, value)
        elif what == "source deletes":
            world.source = None
        elif what == "source creates" and world.source is None:
            world.source = (value,) * WIDTH
        elif what == "staff edit" and world.target is not None and value is not MISSING:
            world.edit(at, value)
        elif what == "staff revert" and world.target is not None:
            self.revert(at)
        elif what == "staff delete" and world.target is not None:
            world.target = None
            self.is_deleted_by_staff = self.state() in LINKED
        elif what == "staff create" and world.target is None and value is not MISSING:
            world.target = (value,) * WIDTH
            self.is_deleted_by_staff = False

    def revert(self, at: int) -> None:
        """Staff put back what syncd left there, if anything."""
        left = self.left[at]
        if not isinstance(left, str) and self.state() in HELD:
            self.world.edit(at, left)

    def make_peace(self) -> None:
        """Staff take every edit back; what was never ours they set to the source's value."""
        if self.world.target is None:
            return
        for at in range(WIDTH):
            self.revert(at)
            source = None if self.world.source is None else self.world.source[at]
            is_theirs = self.left[at] == UNKNOWN or self.state() not in HELD
            if self.world.source is not None and source is not MISSING and is_theirs:
                self.world.edit(at, source)

    def sweep(self, how: str) -> None:
        """A night of syncd, judged."""
        world = self.world
        entry, target, state = world.entry, world.target, self.state()
        if how == "late" and entry is not None:
            late = world.decide(mark_at(entry.position - 1))
            hold(
                "I5",
                that=replace(late.entry, disputed=None) == entry and late.outcome is Outcome.STALE,
            )
        elif how == "survey":
            self.judge(world.survey(), state, target)
        elif how == "look":
            self.judge(world.night(), state, target)

    def judge(self, decision: Decision | None, state: State, target: Row | None) -> None:
        """Check one decision against the judge's own account, then bring that up to date."""
        if decision is None:
            return
        self.check_write(decision, target)
        self.check_told(decision, state, target)
        self.account(decision, state, target)

    def check_write(self, decision: Decision, target: Row | None) -> None:
        """I2 and I3: only our own values are replaced, and a deleted row stays so."""
        if decision.write is Write.INSERT:
            hold("I3", that=target is None and not self.is_deleted_by_staff)
        if decision.write is Write.UPDATE:
            hold("I3", that=target is not None)
            hold(
                "I2", that=all(target and self.may_write(at, target[at]) for at in decision.written)
            )
        if decision.write is Write.DELETE:
            gone = enumerate(target or ())
            hold("I2 by delete", that=all(self.may_write(at, value) for at, value in gone))

    def may_write(self, at: int, value: Value) -> bool:
        """Whether ``value`` is ours, or a NULL of which neither side ever said anything."""
        unspoken = self.left[at] == UNKNOWN and self.seen[at] is MISSING
        return value == self.left[at] or (unspoken and value is None)

    def check_told(self, decision: Decision, state: State, target: Row | None) -> None:
        """Each new source value is told once at most, unless the row is new to us."""
        if state not in HELD and target is not None:
            self.told.clear()
        source = self.world.source
        for at in range(WIDTH):
            if source is not None and source[at] is not MISSING and source[at] != self.seen[at]:
                self.told.discard(at)
        for conflict in decision.conflicts:
            if conflict.kind == "delete_vs_edit":
                continue
            at = "abc".index(conflict.column)
            # A group is told as a whole, so a member may be named again for another's sake.
            hold("told once", that=at not in self.told or bool(self.world.plan.groups))
            self.told.add(at)
            hold("told truly", that=source is not None and conflict.source == hash_of(source[at]))
        is_open, disputed = decision.entry.open, bool(self.world.disputed)
        hold("none left open", that=is_open or not disputed)
        # Where values come back in another form, what waits cannot be told from what is written,
        # unless the ledger tells which columns are in conflict.
        is_vague = self.world.store is not as_sent and not self.world.is_exact
        hold("open with a cause", that=disputed or is_vague or not is_open)

    def account(self, decision: Decision, state: State, before: Row | None) -> None:
        """What stands in the target by our hand or by agreement, and what the source said."""
        source, target = self.world.source, self.world.target
        is_link = before is not None and state not in HELD
        if is_link or decision.write is Write.DELETE:
            self.left, self.seen = [UNKNOWN] * WIDTH, [MISSING] * WIDTH
        if source is None or decision.outcome is Outcome.STALE:
            return
        self.seen = [old if s is MISSING else s for old, s in zip(self.seen, source, strict=True)]
        if target is None:
            return
        for at in range(WIDTH):
            is_ours = decision.write is Write.INSERT or at in decision.written
            # A trigger may change what we did not write; if that was ours it still is.
            stayed = before is not None and before[at] == self.left[at]
            if is_ours or stayed or self.agrees(at, source, before):
                self.left[at] = target[at]

    def agrees(self, at: int, source: Row, target: Row | None) -> bool:
        """Whether both sides say the same, of a group as a whole."""
        unit = next((group for group in self.world.plan.groups if at in group), (at,))
        return all(target and source[member] == target[member] for member in unit)

    def check_in_step(self) -> None:
        """I1: in peace a live row says what the source says, wherever that says anything."""
        source, target = self.world.source, self.world.target
        if self.state() is State.LIVE and source is not None and target is not None:
            columns = zip(source, self.world.store(source), target, strict=True)
            hold("I1", that=all(s is MISSING or t in (s, stored) for s, stored, t in columns))

    def check_settled(self) -> None:
        """After a full look the state fits what is there."""
        source, target = self.world.source, self.world.target
        states = {
            (True, True): (State.LIVE,),
            (True, False): (State.TGT_DELETED,),
            (False, True): (State.ORPHAN_KEPT, State.SRC_DELETED, State.TGT_DELETED),
            (False, False): (State.NONE, State.SRC_DELETED, State.TGT_DELETED, State.ORPHAN_KEPT),
        }
        hold("state", that=self.state() in states[source is not None, target is not None])

    def state(self) -> State:
        """The record's state as the ledger has it."""
        return self.world.entry.state if self.world.entry else State.NONE


def _with(row: Row, at: int, value: Value) -> Row:
    return (*row[:at], value, *row[at + 1 :])


COMMON = ["source", "staff edit", "staff revert"]
RARE = ["source deletes", "source creates", "staff delete", "staff create"]
VALUES = st.sampled_from([b"A", b"B", b"C", None, MISSING])
EVENTS = st.tuples(st.sampled_from([*COMMON, *COMMON, *RARE]), st.integers(0, WIDTH - 1), VALUES)
NIGHTS = st.builds(
    Night,
    st.lists(EVENTS, max_size=4).map(tuple),
    st.sampled_from(["survey", "survey", "look", "late", "none"]),
)
SCHEDULES = st.lists(NIGHTS, max_size=12)


def spoken(nights: list[Night]) -> list[Night]:
    """The same nights with NULL where the source would say nothing."""
    return [
        Night(
            tuple((what, at, None if value is MISSING else value) for what, at, value in n.events),
            n.sweep,
        )
        for n in nights
    ]


def lowered(row: Row) -> Row:
    """How a target with a trigger stores a row (case 66)."""
    return tuple(value.lower() if isinstance(value, bytes) else value for value in row)


@pytest.mark.trust
@given(SCHEDULES, st.booleans())
def test_nights_of_edits_lose_nothing(nights: list[Night], is_exact: bool) -> None:  # noqa: FBT001
    """I1, I2, I3, I5 hold; each new source value is told once; no conflict is left behind."""
    Judge(is_exact=is_exact).play(nights)


@pytest.mark.trust
@given(SCHEDULES, st.booleans())
def test_nights_of_edits_lose_nothing_of_a_group(nights: list[Night], is_exact: bool) -> None:  # noqa: FBT001
    """The same where two of the columns merge as one and the source is never silent."""
    plan = plan_of("a", "b", "c", groups=(frozenset({0, 1}),))
    Judge(plan, is_exact=is_exact).play(spoken(nights))


@pytest.mark.trust
@given(SCHEDULES, st.booleans())
def test_nights_of_edits_lose_nothing_where_the_target_changes_values(
    nights: list[Night],
    is_exact: bool,  # noqa: FBT001
) -> None:
    """The same where every value comes back from the target in another form (case 66)."""
    Judge(store=lowered, is_exact=is_exact).play(nights)


FAULTS: dict[str, tuple[dict[Any, Any], object, Struct, set[str]]] = {
    "bt advances on a conflict": (
        COLUMN_RULE,
        (True, True, False),
        Line(Verdict.CONFLICT, write=False, bt="s", bs="s"),
        {"I2"},
    ),
    "the source wins": (
        COLUMN_RULE,
        (True, True, False),
        Line(Verdict.UPDATED, write=True, bt="s", bs="s"),
        {"I2"},
    ),
    "a missing row is made again": (
        ROW_RULE,
        (State.LIVE, True, False, False),
        RowLine(Step.INSERT, State.LIVE),
        {"I3"},
    ),
    "a delete ignores edits": (
        ROW_RULE,
        (State.LIVE, False, True, True),
        RowLine(Step.DELETE, State.SRC_DELETED),
        {"I2 by delete"},
    ),
    "a reverted edit is not healed": (
        COLUMN_RULE,
        (False, False, False),
        Line(Verdict.UNCHANGED, write=False, bt="=", bs="="),
        {"I1"},
    ),
    "an agreement is not adopted": (
        COLUMN_RULE,
        (True, True, True),
        Line(Verdict.UNCHANGED, write=False, bt="=", bs="s"),
        {"I1", "told once"},
    ),
}


@pytest.mark.trust
@pytest.mark.parametrize("fault", FAULTS)
def test_a_planted_fault_is_found(fault: str, monkeypatch: pytest.MonkeyPatch) -> None:
    """One wrong line in a table breaks the invariant that it should."""
    table, key, line, broken = FAULTS[fault]
    monkeypatch.setitem(table, key, line)

    def is_found(nights: list[Night]) -> bool:
        try:
            Judge().play(nights)
        except BrokenError as error:
            return error.args[0] in broken
        return False

    quick = settings(max_examples=3000, database=None, derandomize=True, phases=[Phase.generate])
    try:
        find(SCHEDULES, is_found, settings=quick)
    except NoSuchExample:
        pytest.fail(f"3000 schedules did not find the planted fault: {fault}")
