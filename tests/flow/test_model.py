"""The nouns: the few of them that compute."""

import msgspec
import pytest

from syncd.flow.model import (
    PARKED,
    Column,
    ColumnType,
    Counts,
    Entry,
    Issue,
    Kind,
    Outcome,
    Plan,
    Read,
    ReadColumns,
    Row,
    Severity,
    State,
)

CONTRACT = (
    *("seen", "inserted", "updated", "deleted", "unchanged", "linked", "stale", "skipped"),
    *("conflict", "invalid", "unsupported", "held", "waiting", "failed"),
)


def test_counts_have_the_names_of_the_contract_in_its_order() -> None:
    """``run --output json`` prints exactly these."""
    assert tuple(Counts().as_dict()) == CONTRACT
    assert tuple(o.value for o in Outcome) == CONTRACT[1:]


@pytest.mark.parametrize("outcome", Outcome)
def test_an_outcome_is_counted_under_its_own_name_alone(outcome: Outcome) -> None:
    """One number moves, by as much as was said, and ``seen`` is counted apart."""
    counts = Counts()
    counts.add(outcome)
    counts.add(outcome, 4)
    counts.add(outcome, -2)
    assert counts.as_dict() == {name: 3 if name == outcome.value else 0 for name in CONTRACT}
    assert counts.total() == 3


def test_the_total_is_the_sum_of_all_outcomes_without_seen() -> None:
    """Every outcome counts once."""
    values = {name: 2**at for at, name in enumerate(CONTRACT)}
    assert Counts(**values).total() == sum(2**at for at in range(1, 14))


def test_merging_adds_every_number_and_leaves_the_other_alone() -> None:
    """``seen`` is added too."""
    one = Counts(**{name: at for at, name in enumerate(CONTRACT, 1)})
    other = Counts(**{name: 100 * at for at, name in enumerate(CONTRACT, 1)})
    one.merge(other)
    assert one.as_dict() == {name: 101 * at for at, name in enumerate(CONTRACT, 1)}
    assert other.seen == 100


def test_two_counts_are_not_one() -> None:
    """Each is its own; nothing is shared by default."""
    one = Counts()
    one.add(Outcome.FAILED)
    assert Counts().failed == 0


@pytest.mark.parametrize(
    ("severity", "excludes"),
    [
        (Severity.FATAL, True),
        (Severity.ERROR, True),
        (Severity.WARNING, False),
        (Severity.INFORMATION, False),
    ],
)
def test_fatal_and_error_keep_a_row_out(severity: Severity, excludes: bool) -> None:  # noqa: FBT001
    """A warning is told and the row is written."""
    assert Issue(severity, "charset").excludes is excludes


def test_the_kinds_of_a_key_come_in_key_order() -> None:
    """Not in the order of the columns."""
    columns = (
        Column("a", "a", ColumnType(Kind.TEXT)),
        Column("b", "b", ColumnType(Kind.INTEGER)),
        Column("c", "c", ColumnType(Kind.UUID)),
    )
    plan = Plan("e", 1, columns, (2, 0), columns, (2, 0))
    assert plan.key_types == (Kind.UUID, Kind.TEXT)


def test_what_is_parked_is_what_the_contract_calls_out_of_step() -> None:
    """A conflict is not among them: the record was decided, and stays open by its own flag."""
    assert {o.value for o in PARKED} == {
        *("skipped", "invalid", "unsupported", "waiting", "failed")
    }


def test_a_new_entry_was_never_written() -> None:
    """Its state is none, its bases are empty, it is at the source and asks for no look."""
    entry = Entry(key=b"1")
    assert (entry.state, entry.source_base, entry.target_base) == (State.NONE, (), ())
    assert (entry.present, entry.open, entry.outcome) == (True, False, None)


def test_nouns_do_not_change_once_they_are_said() -> None:
    """They go from module to module, and nobody may alter another's."""
    with pytest.raises(AttributeError):
        Entry(key=b"1").digest = 5  # type: ignore[misc]
    assert msgspec.structs.replace(Entry(key=b"1"), digest=5).digest == 5


def test_reads_in_columns_are_the_same_reads() -> None:
    """One by one, from the end, in slices and in turn."""
    rows: list[Row] = [(b"%d" % n, None if n % 2 else b"x") for n in range(5)]
    reads = [Read(b"k%d" % n, row, n, (), b"line %d" % n) for n, row in enumerate(rows)]
    columns = ReadColumns(
        [read.key for read in reads],
        [read.digest for read in reads],
        [*zip(*rows, strict=True)],
        [read.line for read in reads],
    )
    assert list(columns) == reads
    assert [columns[at] for at in range(-5, 5)] == reads + reads
    assert [*columns[1:4]] == reads[1:4]
    assert [*columns[2:][1:]] == reads[3:]
    assert len(columns) == 5
