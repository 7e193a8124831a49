"""The short way says what the whole rule says, wherever it says anything."""

import pytest
from hypothesis import given
from hypothesis import strategies as st
from msgspec.structs import replace

from syncd.flow.merge import merge_row
from syncd.flow.merge_columns import RowHashes
from syncd.flow.merge_plain import is_plain, merge_plain
from syncd.flow.model import MISSING, Entry, OnConflict, Outcome, Ownership, Row, State, Value
from tests.flow.merge_world import HASHER, entry_of, hashes_of, mark_at, plan_of

VALUES: st.SearchStrategy[Value] = st.sampled_from([b"A", b"B", b"", None, MISSING])
HELD: st.SearchStrategy[Value] = st.sampled_from([b"A", b"B", b"", None])
ROWS = st.tuples(VALUES, VALUES, VALUES)
HELD_ROWS = st.tuples(HELD, HELD, HELD)
OWNERS = st.sampled_from([Ownership.MERGE, Ownership.SOURCE, Ownership.INITIAL])


@st.composite
def entries(draw: st.DrawFn) -> Entry:
    """What may be remembered: most often both bases agree, as in a quiet life."""
    source = draw(HELD_ROWS)
    target = draw(st.one_of(st.just(source), HELD_ROWS))
    unknown = draw(st.frozensets(st.integers(0, 2), max_size=1))
    bases = [
        tuple(b"" if at in unknown else h for at, h in enumerate(hashes_of(*row)))
        for row in (source, target)
    ]
    entry = entry_of(
        bases[0],
        bases[1],
        state=draw(st.sampled_from([State.LIVE, State.LIVE, *State])),
        is_open=draw(st.sampled_from([False, False, True])),
        incarnation=draw(st.integers(1, 2)),
    )
    return replace(entry, run_id=draw(st.sampled_from([1, 2])))


@given(
    owners=st.tuples(OWNERS, OWNERS, OWNERS),
    entry=entries(),
    draft=ROWS,
    target=HELD_ROWS,
    position=st.integers(0, 3),
    on_conflict=st.sampled_from(OnConflict),
)
def test_the_short_way_agrees_with_the_rule(
    owners: tuple[Ownership, ...],
    entry: Entry,
    draft: Row,
    target: Row,
    position: int,
    on_conflict: OnConflict,
) -> None:
    """Whatever is remembered and found: the same decision, the same next entry, or no answer."""
    names = ("a", "b", "c")
    plan = plan_of(*names, ownership=dict(zip(names, owners, strict=True)), on_conflict=on_conflict)
    mark = replace(mark_at(position), run_id=2)
    hashes = RowHashes(HASHER.columns(draft), HASHER.columns(target))
    assert is_plain(plan)

    short = merge_plain(plan, mark, entry, draft, target, hashes)

    if short is not None:
        whole = merge_row(
            plan, HASHER, mark, entry=entry, draft=draft, target=target, hashes=hashes
        )
        assert short == whole


def test_an_ordinary_update_goes_the_short_way() -> None:
    """Or the property above would hold of nothing."""
    entry, hashes = in_step(), hashes_for((b"A", b"B", b"C"), (b"A", b"A", b"C"))

    short = merge_plain(
        plan_of("a", "b", "c"), mark_at(2), entry, (b"A", b"B", b"C"), (b"A", b"A", b"C"), hashes
    )

    assert short is not None
    assert (short.outcome, short.written) == (Outcome.UPDATED, (1,))
    assert short.entry.source_base == hashes.draft


@pytest.mark.parametrize(
    ("draft", "target", "entry"),
    [
        ((b"A", b"B", b"C"), (b"A", b"X", b"C"), {}),
        ((b"A", b"A", b"C"), (b"A", b"A", b"C"), {}),
        ((b"A", MISSING, b"D"), (b"A", b"A", b"C"), {}),
        ((b"A", b"B", b"C"), (b"A", b"A", b"C"), {"open": True}),
        ((b"A", b"B", b"C"), (b"A", b"A", b"C"), {"state": State.ORPHAN_KEPT}),
        ((b"A", b"B", b"C"), (b"A", b"A", b"C"), {"run_id": 2}),
        ((b"A", b"B", b"C"), (b"A", b"A", b"C"), {"position": 3}),
        # Another value was pending from before, and now the source says what the target holds.
        ((b"A", b"A", b"C"), (b"A", b"A", b"C"), {"source_base": hashes_of(b"A", b"B", b"C")}),
    ],
    ids=["edited", "nothing new", "silent", "open", "orphan", "same run", "stale", "converged"],
)
def test_anything_unusual_is_left_to_the_whole_rule(
    draft: Row, target: Row, entry: dict[str, object]
) -> None:
    found = replace(in_step(), **entry)

    short = merge_plain(
        plan_of("a", "b", "c"), mark_at(2), found, draft, target, hashes_for(draft, target)
    )

    assert short is None


def test_a_plan_with_groups_times_or_columns_of_the_target_is_not_plain() -> None:
    assert is_plain(plan_of("a", "b"))
    assert not is_plain(plan_of("a", "b", groups=(frozenset({0, 1}),)))
    assert not is_plain(plan_of("a", "b", timestamps=(0, 1)))
    for owner in (Ownership.TARGET, Ownership.COMPUTED):
        assert not is_plain(plan_of("a", "b", ownership={"b": owner}))


def in_step() -> Entry:
    base = hashes_of(b"A", b"A", b"C")
    return entry_of(base, base)


def hashes_for(draft: Row, target: Row) -> RowHashes:
    return RowHashes(HASHER.columns(draft), HASHER.columns(target))
