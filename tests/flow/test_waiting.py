"""Waiting: a child is let through when its parents are there or come with it, in any order."""

from collections.abc import Mapping, Sequence
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.flow.keys import encode_key
from syncd.flow.model import (
    MISSING,
    Column,
    ColumnType,
    Kind,
    Parent,
    Plan,
    Read,
    Row,
    Value,
)
from syncd.flow.waiting import Missing, Parents

TX: Final[Any] = object()


def plan_of(name: str, *columns: str, key: Kind = Kind.INTEGER, parents: Sequence[Parent]) -> Plan:
    """An entity with an ``id`` and text columns, in the order of their names."""
    made = tuple(
        Column(column, column, ColumnType(key if column == "id" else Kind.TEXT))
        for column in sorted(("id", *columns))
    )
    at = [column.name for column in made].index("id")
    return Plan(name, 1, made, (at,), made, (at,), parents=tuple(parents))


TEAMS: Final = plan_of("teams", "name", parents=())
PEOPLE: Final = plan_of("people", "boss", "name", "team", parents=[Parent("teams", ("team",))])


def key(number: object) -> bytes:
    """The key of an integer id."""
    return encode_key((Kind.INTEGER,), (str(number).encode(),))


def read(plan: Plan, number: int, **values: Value) -> Read:
    """A record; columns that are not named are NULL."""
    values["id"] = b"%d" % number
    return Read(key(number), tuple(values.get(column.name) for column in plan.columns))


class Landed:
    """A ledger that knows which keys are live, and remembers what it was asked."""

    def __init__(self, **live: Sequence[int]) -> None:
        self.keys = {name: frozenset(map(key, numbers)) for name, numbers in live.items()}
        self.asked: list[tuple[str, list[bytes]]] = []

    async def live(self, tx: object, plan: Plan, keys: Sequence[bytes]) -> frozenset[bytes]:
        """Those of ``keys`` that are live."""
        assert tx is TX
        self.asked.append((plan.name, list(keys)))
        return self.keys.get(plan.name, frozenset()) & frozenset(keys)


def parents_of(
    plan: Plan, *others: Plan, planned: Mapping[str, set[bytes]] | None = None
) -> Parents:
    """The edges of ``plan`` among these entities."""
    return Parents(plan, {p.name: p for p in (plan, *others)}, planned)


async def missing(
    parents: Parents, reads: Sequence[Read], ledger: Any, own: Sequence[Read] | None = None
) -> list[Missing]:
    """What each of the reads lacks when they come in one batch."""
    landed = await parents.landed(TX, ledger, reads, own)
    return [parents.missing(one, landed) for one in reads]


FREE: Final = Missing()


# -- another entity's records ------------------------------------------------------------------


async def test_a_child_waits_until_its_parent_is_live() -> None:
    """The reason names the entity that is missed (case 71)."""
    parents, child = parents_of(PEOPLE, TEAMS), read(PEOPLE, 1, team=b"7")
    assert await missing(parents, [child], Landed()) == [Missing(hard="parent:teams")]
    assert await missing(parents, [child], Landed(teams=[7])) == [FREE]


async def test_the_ledger_is_asked_once_for_each_parent_in_key_order() -> None:
    """However many children name it, and not at all for NULL."""
    ledger, parents = Landed(), parents_of(PEOPLE, TEAMS)
    teams: list[Value] = [b"9", None, b"-3", b"9", b"5"]
    await missing(parents, [read(PEOPLE, at, team=t) for at, t in enumerate(teams)], ledger)
    assert ledger.asked == [("teams", [key(-3), key(5), key(9)])]


@pytest.mark.parametrize("nothing", [None, MISSING])
async def test_a_child_that_names_no_parent_does_not_wait(nothing: Value) -> None:
    """NULL refers to nothing, and neither does a column of which the source says nothing."""
    assert await missing(parents_of(PEOPLE, TEAMS), [read(PEOPLE, 1, team=nothing)], Landed()) == [
        FREE
    ]


@pytest.mark.parametrize("value", [b"seven", b"007", b"", b"99999999999999999999", "é".encode()])
async def test_a_reference_that_cannot_be_a_key_waits(value: bytes) -> None:
    """No parent can ever have it: the row is parked with that reason and stops nobody."""
    ledger = Landed(teams=[7])
    reads = [read(PEOPLE, 1, team=value), read(PEOPLE, 2, team=b"7")]
    assert await missing(parents_of(PEOPLE, TEAMS), reads, ledger) == [
        Missing(hard="parent:teams"),
        FREE,
    ]


async def test_a_reference_of_several_columns_is_one_key() -> None:
    """Its parts are in the order of ``needs``; one NULL among them names nobody."""
    columns = tuple(Column(n, n, ColumnType()) for n in ("code", "country"))
    regions = Plan("regions", 1, columns, (1, 0), columns, (1, 0))
    needs = Parent("regions", ("nation", "region"))
    towns = plan_of("towns", "nation", "region", parents=[needs])
    live = encode_key((Kind.TEXT, Kind.TEXT), (b"GB", b"ENG"))

    class Ledger(Landed):
        async def live(self, tx: object, plan: Plan, keys: Sequence[bytes]) -> frozenset[bytes]:
            await super().live(tx, plan, keys)
            return frozenset([live]) & frozenset(keys)

    parents = parents_of(towns, regions)
    reads = [
        read(towns, 1, nation=b"GB", region=b"ENG"),
        read(towns, 2, nation=b"ENG", region=b"GB"),
        read(towns, 3, nation=b"GB"),
    ]
    assert await missing(parents, reads, Ledger()) == [FREE, Missing(hard="parent:regions"), FREE]


async def test_needs_without_columns_only_order_the_waves() -> None:
    """Nothing is looked up for them."""
    ledger, plan = Landed(), plan_of("a", parents=[Parent("teams")])
    parents = parents_of(plan, TEAMS)
    assert parents.edges == ()
    assert await missing(parents, [read(plan, 1)], ledger) == [FREE]
    assert ledger.asked == []


async def test_two_references_to_one_entity_are_both_needed() -> None:
    """What landed for the one is not forgotten for the other."""
    plan = plan_of(
        "moves", "old", "new", parents=[Parent("teams", ("old",)), Parent("teams", ("new",))]
    )
    reads = [read(plan, 1, old=b"1", new=b"2"), read(plan, 2, old=b"1", new=b"3")]
    assert await missing(parents_of(plan, TEAMS), reads, Landed(teams=[1, 2])) == [
        FREE,
        Missing(hard="parent:teams"),
    ]


async def test_what_a_plan_would_write_counts_as_landed() -> None:
    """A dry pass does not call children of planned parents waiting."""
    planned = {"teams": {key(7)}}
    parents = parents_of(PEOPLE, TEAMS, planned=planned)
    reads = [read(PEOPLE, 1, team=b"7"), read(PEOPLE, 2, team=b"8")]
    assert await missing(parents, reads, Landed()) == [FREE, Missing(hard="parent:teams")]
    planned["teams"].add(key(8))
    assert await missing(parents, reads, Landed()) == [FREE, FREE]


# -- nullable references -----------------------------------------------------------------------


SOFT: Final = plan_of(
    "people",
    "boss",
    "name",
    "team",
    parents=[Parent("teams", ("team",), nullable=True), Parent("people", ("boss",), nullable=True)],
)


async def test_a_nullable_reference_is_left_out_until_its_parent_lands() -> None:
    """The row is written without those columns, which are MISSING, never NULL (case 70)."""
    parents = parents_of(SOFT, TEAMS)
    child = read(SOFT, 1, team=b"7", boss=b"9", name=b"Ada")
    (lacks,) = await missing(parents, [child], Landed())
    assert lacks == Missing(soft=(3, 0))
    assert parents.without(child.row, lacks.soft) == (MISSING, b"1", b"Ada", MISSING)
    (later,) = await missing(parents, [child], Landed(teams=[7], people=[9]))
    assert later == FREE
    assert parents.without(child.row, later.soft) is child.row


async def test_a_hard_reference_waits_whatever_else_could_be_left_out() -> None:
    """A row that waits is not written in part."""
    plan = plan_of(
        "people",
        "boss",
        "team",
        parents=[Parent("people", ("boss",), nullable=True), Parent("teams", ("team",))],
    )
    reads = [read(plan, 1, boss=b"9", team=b"7")]
    assert await missing(parents_of(plan, TEAMS), reads, Landed()) == [Missing(hard="parent:teams")]


async def test_what_is_left_out_follows_the_names_of_the_target() -> None:
    """Drafted columns are sorted by their own names, and found by the source's."""
    source = (
        Column("a_team", "z_team", ColumnType()),
        Column("id", "id", ColumnType(Kind.INTEGER)),
    )
    drafted = (source[1], source[0])
    needs = Parent("teams", ("a_team",), nullable=True)
    plan = Plan("people", 1, source, (1,), drafted, (0,), parents=(needs,))
    parents = parents_of(plan, TEAMS)
    (lacks,) = await missing(parents, [Read(key(1), (b"7", b"1"))], Landed())
    assert parents.without((b"1", b"7"), lacks.soft) == (b"1", MISSING)


async def test_a_reference_that_a_transform_has_dropped_is_nothing_to_leave_out() -> None:
    """The draft is written whole, and nothing is left to be completed."""
    needs = Parent("teams", ("team",), nullable=True)
    source = plan_of("people", "team", parents=[needs])
    plan = Plan("people", 1, source.columns, source.key, source.columns[:1], (0,), parents=(needs,))
    reads = [read(plan, 1, team=b"7")]
    assert await missing(parents_of(plan, TEAMS), reads, Landed()) == [FREE]


# -- references within the entity --------------------------------------------------------------

TREE: Final = plan_of("nodes", "parent", parents=[Parent("nodes", ("parent",))])


def node(number: int, parent: int | None) -> Read:
    """A record of the tree."""
    return read(TREE, number, parent=None if parent is None else b"%d" % parent)


@given(st.permutations([node(n, n - 1 if n else None) for n in range(8)]))
async def test_a_chain_comes_through_in_one_batch_in_any_order(reads: list[Read]) -> None:
    """Parents met after their children are parents all the same (case 71)."""
    assert await missing(parents_of(TREE), reads, Landed()) == [FREE] * 8


@given(st.permutations([node(n, n - 1) for n in range(1, 9)]))
async def test_what_hangs_on_a_missing_record_waits_with_it(reads: list[Read]) -> None:
    """A whole chain waits for the one at its head, in whatever order it comes (case 71)."""
    assert await missing(parents_of(TREE), reads, Landed()) == [Missing(hard="parent:nodes")] * 8
    assert await missing(parents_of(TREE), reads, Landed(nodes=[0])) == [FREE] * 8


async def test_a_record_may_be_its_own_parent() -> None:
    """The usual root of a tree does not wait for itself."""
    assert await missing(parents_of(TREE), [node(1, 1)], Landed()) == [FREE]


async def test_two_records_may_be_each_others_parents() -> None:
    """They are written by one statement, which is when the target looks."""
    assert await missing(parents_of(TREE), [node(1, 2), node(2, 1)], Landed()) == [FREE, FREE]


async def test_a_parent_that_will_not_be_written_is_no_parent() -> None:
    """Its children wait, and theirs, though it stands in the same batch."""
    reads = [node(1, None), node(2, 1), node(3, 2), node(4, None), node(5, 4)]
    waits = Missing(hard="parent:nodes")
    assert await missing(parents_of(TREE), reads, Landed(), own=reads[1:]) == [
        FREE,
        waits,
        waits,
        FREE,
        FREE,
    ]


async def test_a_record_that_waits_for_another_entity_is_no_parent_yet() -> None:
    """Its children in the same batch wait with it."""
    plan = plan_of(
        "people", "boss", "team", parents=[Parent("people", ("boss",)), Parent("teams", ("team",))]
    )
    reads = [read(plan, 1, team=b"7"), read(plan, 2, boss=b"1")]
    assert await missing(parents_of(plan, TEAMS), reads, Landed()) == [
        Missing(hard="parent:teams"),
        Missing(hard="parent:people"),
    ]
    assert await missing(parents_of(plan, TEAMS), reads, Landed(teams=[7])) == [FREE, FREE]


@st.composite
def forests(draw: st.DrawFn) -> tuple[list[Row], set[int]]:
    """Records 0 to 9 with any parents among 0 to 12, and which records are live already."""
    numbers = draw(st.permutations(range(10)))
    targets = st.one_of(st.none(), st.integers(0, 12))
    rows: list[Row] = []
    for number in numbers:
        parent = draw(targets)
        rows.append((b"%d" % number, None if parent is None else b"%d" % parent))
    return rows, draw(st.sets(st.integers(0, 12)))


@pytest.mark.trust
@given(forests())
async def test_whoever_is_let_through_finds_its_parent_there(
    forest: tuple[list[Row], set[int]],
) -> None:
    """Free are exactly the records whose line of parents ends well or goes round (case 71)."""
    rows, live = forest
    reads = [Read(key(int(row[0])), row) for row in rows]  # type: ignore[arg-type]
    lacks = await missing(parents_of(TREE), reads, Landed(nodes=sorted(live)))
    parent_of = {row[0]: row[1] for row in rows}
    for row, lack in zip(rows, lacks, strict=True):
        seen: set[Value] = set()
        following = row[1]
        # Up the line: to the root, to a live record, to one met before, or into the void.
        while following in parent_of and following not in seen:
            if int(following) in live:  # type: ignore[arg-type]
                break
            seen.add(following)
            following = parent_of[following]
        is_free = (
            following is None or following in seen or int(following) in live  # type: ignore[arg-type]
        )
        assert lack == (FREE if is_free else Missing(hard="parent:nodes"))
