"""The fifteen worked examples of the reference, played night by night.

A and B are values of the source's column ``status``, X is what staff typed. Import N is the N-th
night. Where the page compares with seed 000's filter, a second test plays it under the policy
``timestamps``.
"""

from msgspec.structs import replace

from syncd.flow.model import MISSING, Outcome, Ownership, Row, State, Value, Write
from tests.flow.merge_world import World, hash_of, hashes_of, mark_at, plan_of

STATUS = plan_of("status")


def imported(*row: Value) -> World:
    """A world after import 1, with columns ``status`` and then ``other``."""
    world = World(plan_of(*("status", "telephone")[: len(row)]), row)
    world.night()
    return world


class TimedWorld(World):
    """A world with seed 000's clocks: ``modified`` is the time of the last change on each side.

    ``is_touching`` targets set their own time when they are written, as an ORM does.
    """

    def __init__(self, row: Row, *, is_touching: bool = False) -> None:
        plan = plan_of(
            *("modified", "status", "telephone"),
            ownership={"modified": Ownership.COMPUTED},
            timestamps=(0, 0),
        )
        super().__init__(plan, (at_noon(0), *row), store=self._stored)
        self.is_touching = is_touching
        self.previous_run: bytes | None = None
        self.run()
        if not is_touching:
            self.edit(0, at_noon(0))

    def run(self) -> Outcome:
        """The import of the next night, at four o'clock."""
        outcome = self.night(previous_run=self.previous_run).outcome
        self.previous_run = at_four(self.position)
        return outcome

    def source_sets(self, day: int, *row: Value) -> None:
        """A change at the source at noon of ``day``."""
        self.source = (at_noon(day), *row)

    def staff_save(self, day: int, *row: Value) -> None:
        """Staff save the whole form at noon of ``day``, changed or not."""
        self.target = (at_noon(day), *row)

    def values(self) -> Row:
        """The target's row without its time."""
        assert self.target is not None
        return self.target[1:]

    def _stored(self, row: Row) -> Row:
        if not self.is_touching:
            return row
        return (at_four(self.position).replace(b":00+00", b":05+00"), *row[1:])


def at_four(day: int) -> bytes:
    """The start of import ``day``, in canonical text."""
    return b"2026-03-%02d 04:00:00+00" % (day + 1)


def at_noon(day: int) -> bytes:
    """Noon of ``day``: after import ``day``, before the next one."""
    return b"2026-03-%02d 12:00:00+00" % (day + 1)


def test_example_01_an_insert_sets_both_bases() -> None:
    """S=A is inserted, T=A, bs=A, bt=A."""
    world = World(STATUS, (b"A",))
    decision = world.night()
    assert (decision.outcome, world.target) == (Outcome.INSERTED, (b"A",))
    assert decision.entry.source_base == decision.entry.target_base == hashes_of(b"A")


def test_example_02_a_change_of_the_source_is_written() -> None:
    """S goes from A to B, T is untouched: B is written, bs=B, bt=B."""
    world = imported(b"A")
    world.source = (b"B",)
    decision = world.night()
    assert (decision.outcome, world.status()) == (Outcome.UPDATED, b"B")
    assert decision.entry.source_base == decision.entry.target_base == hashes_of(b"B")


def test_example_03_an_edit_stays_while_the_source_is_quiet() -> None:
    """T goes from A to X, S stays A: nights 2, 3 and 4 write nothing and report nothing."""
    world = imported(b"A")
    world.edit(0, b"X")
    nights = [world.night() for _ in range(3)]
    assert [n.write for n in nights] == [Write.NOTHING] * 3
    assert [n.conflicts for n in nights] == [()] * 3
    assert world.status() == b"X"


def test_example_04_an_edit_survives_a_later_change_of_the_source() -> None:
    """T=X on day 1, S=B on day 3: X is kept, and the conflict is told once."""
    world = imported(b"A")
    world.edit(0, b"X")
    world.night()
    world.night()
    world.source = (b"B",)
    fourth, fifth = world.night(), world.night()
    assert world.status() == b"X"
    assert (fourth.outcome, fifth.outcome) == (Outcome.CONFLICT, Outcome.UNCHANGED)


def test_example_04_under_timestamps_the_edit_is_lost() -> None:
    """X is older than the last run and B is newer, so B is written over X."""
    world = TimedWorld((b"A", b"1"))
    world.staff_save(1, b"X", b"1")
    world.run()
    world.run()
    world.source_sets(3, b"B", b"1")
    assert world.run() is Outcome.UPDATED
    assert world.values() == (b"B", b"1")


def test_example_05_a_time_set_by_our_own_write_is_no_edit() -> None:
    """The target sets a mapped time when we write; bt is what it returned, so updates go on."""
    world = World(
        plan_of("modified", "status"), (b"noon", b"A"), store=lambda row: (b"now", row[1])
    )
    world.night()
    for value in (b"B", b"C"):
        world.source = (b"later", value)
        assert world.night().outcome is Outcome.UPDATED
        assert world.target == (b"now", value)


def test_example_05_under_timestamps_a_written_row_is_frozen() -> None:
    """The import's own write looks like an edit: the next change is skipped, and lost for good."""
    world = TimedWorld((b"A", b"1"), is_touching=True)
    world.source_sets(1, b"B", b"1")
    assert [world.run() for _ in range(3)] == [Outcome.SKIPPED] * 3
    assert world.values() == (b"A", b"1")


def test_example_06_a_form_saved_without_a_change_is_no_edit() -> None:
    """The values are equal, so tc=0 and the source's next change is written."""
    world = imported(b"A")
    world.edit(0, b"A")
    world.source = (b"B",)
    assert world.night().outcome is Outcome.UPDATED
    assert world.status() == b"B"


def test_example_06_under_timestamps_the_update_is_lost() -> None:
    """The saved form bumps the time: the source's change is skipped and never looked at again."""
    world = TimedWorld((b"A", b"1"))
    world.staff_save(1, b"A", b"1")
    world.source_sets(1, b"B", b"1")
    assert [world.run() for _ in range(3)] == [Outcome.SKIPPED] * 3
    assert world.values() == (b"A", b"1")


def test_example_07_two_columns_merge_apart() -> None:
    """Staff change one column, the source another: the one is kept, the other is written."""
    world = imported(b"A", b"1")
    world.edit(0, b"X")
    world.source = (b"A", b"2")
    decision = world.night()
    assert world.target == (b"X", b"2")
    assert (decision.outcome, decision.written) == (Outcome.UPDATED, (1,))


def test_example_07_under_timestamps_the_other_column_is_lost() -> None:
    """The rule judges the row: an edit of one column keeps the change of the other out."""
    world = TimedWorld((b"A", b"1"))
    world.staff_save(1, b"X", b"1")
    world.source_sets(1, b"A", b"2")
    assert [world.run() for _ in range(3)] == [Outcome.SKIPPED] * 3
    assert world.values() == (b"X", b"1")


def test_example_08_both_sides_set_the_same_value() -> None:
    """B on both sides is adopted without a conflict, and the source owns the column again."""
    world = imported(b"A")
    world.edit(0, b"B")
    world.source = (b"B",)
    decision = world.night()
    assert (decision.outcome, decision.reason) == (Outcome.UNCHANGED, "converged:status")
    world.source = (b"C",)
    world.night()
    assert world.status() == b"C"


def test_example_09_the_source_goes_and_comes_back() -> None:
    """A, B, A under X: a conflict at B, closed at A because that is the base of the edit."""
    world = imported(b"A")
    world.edit(0, b"X")
    world.source = (b"B",)
    assert world.night().outcome is Outcome.CONFLICT
    world.source = (b"A",)
    decision = world.night()
    assert (decision.outcome, decision.reason) == (Outcome.UNCHANGED, "returned:status")
    assert (decision.closed, decision.entry.open) == (("status",), False)
    assert world.status() == b"X"


def test_example_10_staff_take_their_edit_back() -> None:
    """X back to A while B is pending: the survey looks again, unasked, and B is written."""
    world = imported(b"A")
    world.edit(0, b"X")
    world.source = (b"B",)
    world.survey()
    world.edit(0, b"A")
    decision = world.survey()
    assert decision is not None
    assert (decision.reason, decision.closed) == ("healed:status", ("status",))
    assert world.status() == b"B"


def test_example_11_a_change_without_a_time_is_seen() -> None:
    """The source's time is NULL; the values differ, and that is what counts."""
    world = imported(b"A", None)
    world.source = (b"B", None)
    assert world.night().outcome is Outcome.UPDATED
    assert world.target == (b"B", None)


def test_example_11_under_timestamps_a_change_without_a_time_is_missed() -> None:
    """NULL is never later than anything, nor is a time before the last run."""
    world = TimedWorld((b"A", b"1"))
    world.source = (None, b"B", b"1")
    assert world.run() is Outcome.SKIPPED
    world.source = (at_noon(0), b"B", b"1")
    assert world.run() is Outcome.SKIPPED
    assert world.values() == (b"A", b"1")


def test_example_12_a_deleted_record_leaves_an_edited_row() -> None:
    """T=X is kept as an orphan and told."""
    world = imported(b"A")
    world.edit(0, b"X")
    world.source = None
    decision = world.night()
    assert (decision.entry.state, world.status()) == (State.ORPHAN_KEPT, b"X")
    assert [c.kind for c in decision.conflicts] == ["delete_vs_edit"]


def test_example_12_a_deleted_record_takes_its_untouched_row_along() -> None:
    """T=bt is deleted."""
    world = imported(b"A")
    world.source = None
    assert (world.night().outcome, world.target) == (Outcome.DELETED, None)


def test_example_13_a_row_that_staff_deleted_is_never_made_again() -> None:
    """The source changes every night: one conflict, not one a night, and no row."""
    world = imported(b"A")
    world.target = None
    nights = []
    for value in (b"B", b"C", b"D"):
        world.source = (value,)
        nights.append(world.night())
    assert [n.outcome for n in nights] == [Outcome.CONFLICT, Outcome.SKIPPED, Outcome.SKIPPED]
    assert world.target is None


def test_example_14_an_edit_between_look_and_write_is_seen() -> None:
    """Decided at 04:00, edited at 04:01: the decision under lock at 04:02 keeps X (case 75)."""
    world = imported(b"A")
    world.source = (b"B",)
    look = world.decide(mark_at(world.position + 1))
    world.edit(0, b"X")
    decision = world.night()
    assert (look.write, decision.write) == (Write.UPDATE, Write.NOTHING)
    assert (decision.outcome, world.status()) == (Outcome.CONFLICT, b"X")


def test_example_14_under_timestamps_the_edit_is_lost() -> None:
    """The filter's answer is carried out by a later step, which does not look again."""
    world = TimedWorld((b"A", b"1"))
    world.run()
    world.source_sets(2, b"B", b"1")
    filtered = world.decide(mark_at(world.position + 1), previous_run=world.previous_run)
    world.staff_save(2, b"X", b"1")
    world.carry_out(filtered)
    assert world.values() == (b"B", b"1")


def test_example_15_columns_that_are_valid_only_together_merge_together() -> None:
    """Staff move the end, the source the start: without the group 9..3 would come out."""
    pair = plan_of("end", "start", groups=(frozenset({0, 1}),))
    world = World(pair, (b"5", b"1"))
    world.night()
    world.edit(0, b"3")
    world.source = (b"9", b"7")
    decision = world.night()
    assert world.target == (b"3", b"1")
    assert [c.column for c in decision.conflicts] == ["end", "start"]


# The policy of the seed, beyond the examples


def test_timestamps_write_every_merged_and_source_owned_column_that_differs() -> None:
    """Once chosen the whole row is written but for what is not ours or not said."""
    plan = plan_of(
        *("computed", "initial", "merge", "modified", "source", "target", "untold"),
        ownership={
            "computed": Ownership.COMPUTED,
            "initial": Ownership.INITIAL,
            "modified": Ownership.COMPUTED,
            "source": Ownership.SOURCE,
            "target": Ownership.TARGET,
        },
        timestamps=(3, 3),
    )
    world = World(plan, (b"A",) * 3 + (at_noon(0),) + (b"A",) * 3)
    world.night()
    world.target = (b"X",) * 3 + (at_noon(1),) + (b"X",) * 3
    world.source = (b"B",) * 3 + (at_noon(2),) + (b"B", b"B", MISSING)
    decision = world.night(previous_run=at_four(2))
    assert [plan.drafted[at].into for at in decision.written] == ["merge", "source"]
    assert decision.reason == "timestamps"


def test_timestamps_write_nothing_on_the_first_run() -> None:
    """Without a last run there is nothing to be newer than."""
    world = TimedWorld((b"A", b"1"))
    world.source_sets(9, b"B", b"1")
    world.previous_run = None
    assert world.run() is Outcome.SKIPPED


def test_timestamps_without_a_difference_change_nothing() -> None:
    """Two rows that agree need no write, whatever their times are."""
    world = TimedWorld((b"A", b"1"))
    world.source_sets(1, b"A", b"1")
    world.run()
    assert world.run() is Outcome.UNCHANGED


def test_timestamps_without_a_drafted_time_write_nothing() -> None:
    """A transform that leaves the source's time out makes it unknown."""
    world = TimedWorld((b"A", b"1"))
    columns = (*world.plan.columns, replace(world.plan.columns[0], name="left_out"))
    world.plan = replace(world.plan, columns=columns, timestamps=(3, 0))
    world.source_sets(5, b"B", b"1")
    assert world.run() is Outcome.SKIPPED


def test_timestamps_end_open_conflicts() -> None:
    """The policy knows no conflicts, so those of the three-way merge end with the change to it."""
    world = TimedWorld((b"A", b"1"))
    assert world.entry is not None
    world.entry = replace(world.entry, open=True)
    decision = world.night(previous_run=at_four(1))
    assert (decision.closed, decision.entry.open) == (("status", "telephone"), False)
    assert decision.entry.source_base[1] == hash_of(b"A")
