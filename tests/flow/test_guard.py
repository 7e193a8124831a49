"""The guard: what may be deleted, what is held for an operator, and what never is."""

from collections.abc import Sequence

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.flow.guard import Bounds, Evidence, Judgement, judge, plan_hash

BOUNDS = Bounds(rows=50, percent=0.5)
MANY = 1_000_000  # remembered, so that percents do not bite


def keys(count: int, start: int = 0) -> list[bytes]:
    """Ascending keys."""
    return [n.to_bytes(8, "big") for n in range(start, start + count)]


def whole(remembered: int) -> Evidence:
    """A complete read of a source that has rows."""
    return Evidence(source_rows=remembered, remembered=remembered)


@pytest.mark.parametrize(
    ("absent", "remembered", "is_held"),
    [
        (1, 1, False),
        (50, 50, False),  # all there is, and still not above 50
        (50, 100, False),
        (51, 100, True),
        (51, 10_199, True),
        (51, 10_200, False),  # exactly 0.5 %
        (51, 10_201, False),
        (500, 100_000, False),  # exactly 0.5 %
        (501, 100_000, True),
        (5000, MANY, False),
        (5001, MANY, True),
    ],
)
def test_deletes_are_held_above_both_bounds(absent: int, remembered: int, is_held: bool) -> None:  # noqa: FBT001
    """More than 50 rows and more than 0.5 % are held, all or none of them (case 39)."""
    judgement = judge(keys(absent), whole(remembered), BOUNDS)
    assert judgement.held == (tuple(keys(absent)) if is_held else ())
    assert judgement.allowed == (() if is_held else tuple(keys(absent)))
    assert judgement.kept == ()


def test_a_held_delete_says_how_many_of_how_many() -> None:
    """The reason names what is missing, the entity's size and both bounds (case 39)."""
    assert judge(keys(51), whole(100), BOUNDS).reason == (
        "51 of 100 records are missing, more than 50 and more than 0.5 %"
    )


@pytest.mark.parametrize(
    ("rows", "percent", "absent", "is_held"),
    [
        (0, 0.0, 1, True),  # hold every delete
        (0, 100.0, 100, False),  # hold none
        (10, 0.0, 10, False),
        (10, 0.0, 11, True),
        (0, 10.0, 10, False),
        (0, 10.0, 11, True),
    ],
)
def test_the_bounds_are_as_configured(
    rows: int,
    percent: float,
    absent: int,
    is_held: bool,  # noqa: FBT001
) -> None:
    """Each bound may be set so that only the other one counts."""
    judgement = judge(keys(absent), whole(100), Bounds(rows, percent))
    assert bool(judgement.held) is is_held


def test_nothing_absent_is_nothing_to_judge() -> None:
    """Without absentees nothing is allowed, held or said, even of an empty source."""
    assert judge([], Evidence(0, 0), BOUNDS) == Judgement((), ())


def test_an_empty_source_deletes_nothing() -> None:
    """One record gone from an entity that came back empty is held, approved or not (case 42)."""
    evidence = Evidence(source_rows=0, remembered=1)
    judgement = judge(keys(1), evidence, BOUNDS, approved=frozenset(keys(1)))
    assert judgement == Judgement(
        (), tuple(keys(1)), reason="the source holds no row of this entity at all"
    )


def test_a_dump_that_is_cut_off_deletes_nothing() -> None:
    """The reason to believe so is the reason of the hold, whatever was approved (case 39)."""
    evidence = Evidence(source_rows=9, remembered=10, cut="the last line has no end")
    judgement = judge(keys(1), evidence, BOUNDS, approved=frozenset(keys(1)))
    assert judgement == Judgement((), tuple(keys(1)), reason="the last line has no end")


@pytest.mark.parametrize(
    "evidence",
    [Evidence(0, 4), Evidence(3, 4, "cut off"), Evidence(3, 4)],
    ids=["empty", "cut", "complete"],
)
def test_what_was_rejected_is_kept_and_not_asked_again(evidence: Evidence) -> None:
    """A rejected delete is neither carried out nor held, however the source was read."""
    judgement = judge(keys(1), evidence, BOUNDS, rejected=frozenset(keys(1)))
    assert judgement == Judgement((), (), kept=tuple(keys(1)))


def test_rejection_is_stronger_than_approval() -> None:
    """A key that is both stays."""
    both = frozenset(keys(1))
    assert judge(keys(1), whole(10), BOUNDS, approved=both, rejected=both).kept == tuple(keys(1))


def test_an_approval_lets_its_keys_pass_the_bounds() -> None:
    """Held yesterday, approved, and still absent today: deleted."""
    absent = keys(200)
    judgement = judge(absent, whole(1000), BOUNDS, approved=frozenset(absent))
    assert judgement == Judgement(tuple(absent), ())


def test_an_approval_is_a_ceiling() -> None:
    """What came back meanwhile is not deleted, and what is newly missing is judged by itself."""
    approved = frozenset(keys(200))
    came_back, still_gone = keys(20), keys(180, start=20)
    newly_missing = keys(51, start=500)
    judgement = judge([*still_gone, *newly_missing], whole(1000), BOUNDS, approved=approved)
    assert judgement.allowed == tuple(still_gone)
    assert judgement.held == tuple(newly_missing)
    assert judgement.reason.startswith("51 of 1000 ")
    assert not set(came_back) & {*judgement.allowed, *judgement.held}


def test_what_passes_comes_in_key_order() -> None:
    """Approved and ordinary deletes are mixed and sorted, so that locks are taken in order."""
    absent = keys(4)
    approved = frozenset([absent[1], absent[3]])
    assert judge(absent, whole(1000), BOUNDS, approved=approved).allowed == tuple(absent)


@pytest.mark.parametrize(
    ("confirm_runs", "missed_before", "is_held"),
    [(1, 0, False), (2, 0, True), (2, 1, False), (3, 1, True), (3, 2, False), (3, 9, False)],
)
def test_a_record_must_be_missing_in_as_many_reads_as_asked(
    confirm_runs: int,
    missed_before: int,
    is_held: bool,  # noqa: FBT001
) -> None:
    """This read counts as one of them."""
    bounds = Bounds(50, 0.5, confirm_runs)
    judgement = judge(keys(1), whole(10), bounds, missed_runs={keys(1)[0]: missed_before})
    assert bool(judgement.held) is is_held


def test_each_record_is_confirmed_for_itself() -> None:
    """Those missed often enough go, the others are held, and the reason counts these."""
    absent = keys(3)
    judgement = judge(
        absent, whole(10), Bounds(50, 0.5, 2), missed_runs={absent[0]: 1, absent[2]: 1}
    )
    assert judgement.allowed == (absent[0], absent[2])
    assert judgement.held == (absent[1],)
    assert judgement.reason == "1 not yet missed in 2 complete reads"


def test_both_reasons_are_told() -> None:
    """Too young and too many at once are two reasons, and all are held."""
    judgement = judge(keys(51), whole(100), Bounds(50, 0.5, 2))
    assert judgement.held == tuple(keys(51))
    assert judgement.reason == (
        "51 not yet missed in 2 complete reads; "
        "51 of 100 records are missing, more than 50 and more than 0.5 %"
    )


some_keys = st.sets(st.binary(min_size=1, max_size=2), max_size=30)


@pytest.mark.trust
@given(
    absent=some_keys,
    approved=some_keys,
    rejected=some_keys,
    source_rows=st.integers(0, 3),
    cut=st.sampled_from(["", "cut off"]),
    bounds=st.builds(Bounds, st.integers(0, 20), st.sampled_from([0.0, 50.0]), st.integers(1, 3)),
    missed=st.dictionaries(st.binary(min_size=1, max_size=2), st.integers(0, 3), max_size=30),
)
def test_the_judgement_parts_the_absentees(
    absent: set[bytes],
    approved: set[bytes],
    rejected: set[bytes],
    source_rows: int,
    cut: str,
    bounds: Bounds,
    missed: dict[bytes, int],
) -> None:
    """Each absentee is allowed, held or kept; weak evidence allows none; a hold has a reason."""
    ordered = sorted(absent)
    judgement = judge(
        ordered,
        Evidence(source_rows, len(absent), cut),
        bounds,
        approved=approved,
        rejected=rejected,
        missed_runs=missed,
    )
    parts = [*judgement.allowed, *judgement.held, *judgement.kept]
    assert sorted(parts) == ordered
    assert set(judgement.kept) == absent & rejected
    assert bool(judgement.reason) == bool(judgement.held)
    if source_rows == 0 or cut:
        assert judgement.allowed == ()
    others = absent - approved - rejected
    if len(others) > bounds.rows and len(others) * 100 > bounds.percent * len(absent):
        assert set(judgement.allowed) <= approved


# -- the name of a set of deletes --------------------------------------------------------------


def test_the_hash_of_a_plan_is_16_hex_digits_for_ever() -> None:
    """An approval may name it on another day and another machine."""
    assert plan_hash("airports", [b"a", b"b"]) == "459117cae28a99db"


@given(st.permutations([b"", b"a", b"ab", b"b", b"ba"]))
def test_the_order_of_the_keys_is_nothing_to_the_hash(held: list[bytes]) -> None:
    """The same deletes have the same name, however they are listed."""
    assert plan_hash("airports", held) == plan_hash("airports", sorted(held))


@pytest.mark.parametrize(
    ("entity", "held"),
    [
        ("airports", [b"a"]),
        ("airports", [b"a", b"b", b"c"]),
        ("airports", [b"a", b"c"]),
        ("airports", [b"ab"]),
        ("airports", [b"ab", b""]),
        ("regions", [b"a", b"b"]),
        ("airports", []),
    ],
)
def test_any_other_set_of_keys_has_another_hash(entity: str, held: Sequence[bytes]) -> None:
    """One key more, less or changed, borders moved, or another entity: another name (case 39)."""
    assert plan_hash(entity, held) != plan_hash("airports", [b"a", b"b"])


def test_rows_of_unknown_key_hold_every_delete_but_an_approved_one() -> None:
    """I10: what is missing may be the row that could not be read, unless a person has looked."""
    keys = [b"a", b"b"]
    evidence = Evidence(source_rows=10_000, remembered=10_002, unread=1)
    judgement = judge(keys, evidence, Bounds(50, 0.5), approved={b"a"})

    assert (judgement.allowed, judgement.held) == ((b"a",), (b"b",))
    assert judgement.reason.startswith("1 rows have a key that could not be read")
