"""The survey: whatever the maps and wherever the blocks end, each key is told once and rightly."""

from collections.abc import Awaitable, Callable, Sequence
from itertools import cycle, pairwise
from typing import Final, TypeAlias

import pytest
from anyio.lowlevel import checkpoint
from hypothesis import example, given
from hypothesis import strategies as st

from syncd.errors import SourceError, TransientError
from syncd.flow.ports import Block, Emit
from syncd.flow.survey import Finding, Totals, survey

UNKNOWN_AT_SOURCE: Final = 0
UNKNOWN_IN_LEDGER: Final = -1
OVERHEAD_BYTES: Final = 18

Record: TypeAlias = tuple[bytes, int]
# Per key the digest on both sides; None where a side lacks the record.
World: TypeAlias = dict[bytes, tuple[int | None, int | None]]

fixed_keys = st.binary(min_size=3, max_size=3)
any_keys = st.binary(min_size=1, max_size=4)
digests_at_source = st.sampled_from([None, UNKNOWN_AT_SOURCE, 1, 2])
digests_in_ledger = st.sampled_from([None, UNKNOWN_IN_LEDGER, 1, 2])
# Mostly in step, so that there are stretches which are compared as plain memory.
on_both_sides = st.one_of(st.just((1, 1)), st.tuples(digests_at_source, digests_in_ledger))
worlds = st.one_of(
    st.dictionaries(fixed_keys, on_both_sides, max_size=40),
    st.dictionaries(any_keys, on_both_sides, max_size=40),
)
# Records per block, over and over; 0 is a block without any.
cuts = st.lists(st.integers(0, 9), min_size=1, max_size=5).filter(any)


def encoded(record: Record) -> bytes:
    """A record as binary COPY writes it."""
    key, digest = record
    head = b"\0\2" + len(key).to_bytes(4, "big")
    return head + key + b"\0\0\0\x08" + digest.to_bytes(8, "big", signed=True)


def block_of(records: Sequence[Record]) -> Block:
    """A block, with the width where all records have one."""
    widths = {OVERHEAD_BYTES + len(key) for key, _ in records}
    return Block(b"".join(map(encoded, records)), widths.pop() if len(widths) == 1 else 0)


def blocks_of(records: Sequence[Record], sizes: Sequence[int]) -> list[Block]:
    """The records in blocks of ``sizes`` records, repeated until all are placed."""
    blocks: list[Block] = []
    at = 0
    for size in cycle(sizes):
        if at >= len(records):
            return blocks
        blocks.append(block_of(records[at : at + size]))
        at += size
    raise AssertionError


def scan_of(blocks: Sequence[Block], rows: int = 0, error: Exception | None = None) -> "Scan":
    """A scan that pushes ``blocks``, then fails with ``error`` or returns ``rows``."""

    async def scan(emit: Emit) -> int:
        for block in blocks:
            await emit(block)
        if error is not None:
            for _ in range(10):  # the merge waits for more by then
                await checkpoint()
            raise error
        return rows

    return scan


Scan: TypeAlias = Callable[[Emit], Awaitable[int]]


class Told:
    """What a survey told, one finding after the other."""

    def __init__(self) -> None:
        self.suspects: list[bytes] = []
        self.absentees: list[bytes] = []
        self.equal = 0
        self.findings = 0

    async def consume(self, finding: Finding) -> None:
        """Take a finding; a survey that does not get on is stopped."""
        self.findings += 1
        assert self.findings < 1000, "the survey goes round in circles"
        self.suspects += finding.suspects
        self.absentees += finding.absentees
        self.equal += finding.equal
        await checkpoint()


def source_of(world: World) -> list[Record]:
    """What the source holds, in key order."""
    return [(key, s) for key, (s, _) in sorted(world.items()) if s is not None]


def ledger_of(world: World) -> list[Record]:
    """What the ledger holds, in key order."""
    return [(key, b) for key, (_, b) in sorted(world.items()) if b is not None]


@pytest.mark.trust
@given(worlds, cuts, cuts)
@example({bytes([n]): (1, 1) for n in range(20)}, [3], [4])
@example({bytes([n]): (1, 1 + n // 19) for n in range(20)}, [20], [20])
@example({b"a": (None, 1), b"b": (1, None)}, [1], [1])
@example({b"a": (0, -1)}, [1], [1])
async def test_each_key_is_told_once_and_rightly(
    world: World, source_cuts: list[int], ledger_cuts: list[int]
) -> None:
    """Suspects are new, changed or unknown, absentees not at the source, the rest is equal."""
    told = Told()
    totals = await survey(
        scan_of(blocks_of(source_of(world), source_cuts), rows=7),
        scan_of(blocks_of(ledger_of(world), ledger_cuts), rows=8),
        told.consume,
    )
    assert told.suspects == [k for k, (s, b) in sorted(world.items()) if s is not None and s != b]
    assert told.absentees == [k for k, (s, b) in sorted(world.items()) if s is None and b]
    in_step = sum(s is not None and s == b for s, b in world.values())
    assert told.equal == in_step
    assert totals == Totals(source_rows=7, ledger_rows=8, equal=in_step)


@pytest.mark.trust
@given(worlds, cuts, cuts)
async def test_blocks_without_a_width_say_the_same(
    world: World, source_cuts: list[int], ledger_cuts: list[int]
) -> None:
    """A side that has lost its one width is compared record by record, to the same effect."""
    told, walked = Told(), Told()
    source = blocks_of(source_of(world), source_cuts)
    ledger = blocks_of(ledger_of(world), ledger_cuts)
    await survey(scan_of(source), scan_of(ledger), told.consume)
    walking = [Block(block.data, 0) for block in ledger]
    await survey(scan_of(source), scan_of(walking), walked.consume)
    assert (told.suspects, told.absentees, told.equal) == (
        walked.suspects,
        walked.absentees,
        walked.equal,
    )


async def test_nothing_on_either_side_is_no_finding() -> None:
    """Two empty scans end without a finding."""
    told = Told()
    assert await survey(scan_of([]), scan_of([]), told.consume) == Totals()
    assert told.findings == 0


async def test_an_equal_stretch_costs_one_finding_a_block() -> None:
    """Equal blocks are compared as they are, never record by record."""
    records = [(n.to_bytes(4, "big"), 5) for n in range(1, 1001)]
    blocks, told = blocks_of(records, [100]), Told()
    await survey(scan_of(blocks), scan_of(blocks), told.consume)
    assert (told.findings, told.equal) == (10, 1000)


# -- case 45 -----------------------------------------------------------------------------------


def is_disordered(keys: Sequence[bytes]) -> bool:
    """Whether the keys do not ascend strictly."""
    return any(a >= b for a, b in pairwise(keys))


disordered = st.one_of(
    st.lists(fixed_keys, min_size=2, max_size=12), st.lists(any_keys, min_size=2, max_size=12)
).filter(is_disordered)


@pytest.mark.trust
@given(disordered, st.dictionaries(any_keys, st.sampled_from([-1, 1]), max_size=12), cuts, cuts)
@example([b"z", b"y", b"b"], {b"c": 1}, [3], [1])  # went round in circles once
@example([b"b", b"b"], {b"b": 1}, [2], [1])
@example([b"a", b"b", b"a", b"b"], {b"a": 1, b"b": 1}, [2], [2])
@example([b"Y1-01", b"Y-11-"], {}, [1], [1])  # as a collation orders them
async def test_keys_that_do_not_ascend_end_the_survey(
    keys: list[bytes], ledger: dict[bytes, int], source_cuts: list[int], ledger_cuts: list[int]
) -> None:
    """A repeated key or one that goes back is a SourceError, wherever the blocks end (case 45)."""
    source = blocks_of([(key, 1) for key in keys], source_cuts)
    with pytest.raises(ExceptionGroup) as info:
        await survey(
            scan_of(source),
            scan_of(blocks_of(sorted(ledger.items()), ledger_cuts)),
            Told().consume,
        )
    assert info.group_contains(SourceError, match="strictly ascending")


async def test_the_error_names_no_key() -> None:
    """Keys may be personal data: the message has none (case 45)."""
    with pytest.raises(ExceptionGroup) as info:
        await survey(
            scan_of([block_of([(b"9434765919", 1), (b"9434765870", 1)])]),
            scan_of([]),
            Told().consume,
        )
    error = info.value.exceptions[0]
    assert isinstance(error, SourceError)
    assert "94347" not in str(error)
    assert "collation" in error.hint


# -- failing scans -----------------------------------------------------------------------------


@pytest.mark.trust
@given(worlds, cuts, cuts, st.integers(0, 6))
async def test_a_source_that_fails_proves_no_absence(
    world: World, source_cuts: list[int], ledger_cuts: list[int], most: int
) -> None:
    """Its error comes out, no totals do, and nothing beyond what it pushed was called absent."""
    pushed = blocks_of(source_of(world), source_cuts)[:most]
    told, lost = Told(), TransientError("the connection was lost")
    with pytest.raises(ExceptionGroup) as info:
        await survey(
            scan_of(pushed, error=lost),
            scan_of(blocks_of(ledger_of(world), ledger_cuts)),
            told.consume,
        )
    assert info.value.exceptions == (lost,)
    there = len(source_of(world)[: _records(source_cuts, most)])
    last = source_of(world)[there - 1][0] if there else b""
    assert all(key < last for key in told.absentees)


@pytest.mark.trust
@given(worlds, cuts, cuts, st.integers(0, 6))
async def test_a_ledger_that_fails_makes_nothing_new(
    world: World, source_cuts: list[int], ledger_cuts: list[int], most: int
) -> None:
    """Nothing beyond what the ledger pushed was called a suspect."""
    pushed = blocks_of(ledger_of(world), ledger_cuts)[:most]
    told, lost = Told(), TransientError("the connection was lost")
    with pytest.raises(ExceptionGroup) as info:
        await survey(
            scan_of(blocks_of(source_of(world), source_cuts)),
            scan_of(pushed, error=lost),
            told.consume,
        )
    assert info.value.exceptions == (lost,)
    there = len(ledger_of(world)[: _records(ledger_cuts, most)])
    last = ledger_of(world)[there - 1][0] if there else b""
    assert all(key <= last for key in told.suspects)


def _records(sizes: Sequence[int], blocks: int) -> int:
    """How many records the first ``blocks`` blocks of ``sizes`` hold at most."""
    return sum(size for size, _ in zip(cycle(sizes), range(blocks), strict=False))


async def test_a_consumer_that_fails_ends_both_scans() -> None:
    """Its error comes out, and neither scan is asked for more."""
    offered: list[str] = []

    def counting(name: str) -> Scan:
        async def scan(emit: Emit) -> int:
            for n in range(1, 100):
                offered.append(name)
                await emit(block_of([(bytes([n]), 1)]))
            return 99

        return scan

    async def refuse(_: Finding) -> None:
        raise SourceError("too much is missing")

    with pytest.raises(ExceptionGroup) as info:
        await survey(counting("source"), counting("ledger"), refuse)
    assert info.group_contains(SourceError, match="too much")
    assert offered.count("source") <= 2
    assert offered.count("ledger") <= 2


# -- memory ------------------------------------------------------------------------------------


class Ahead:
    """A scan that counts the blocks it has begun to push."""

    def __init__(self, blocks: Sequence[Block]) -> None:
        self.blocks = blocks
        self.begun = 0

    async def scan(self, emit: Emit) -> int:
        for block in self.blocks:
            self.begun += 1
            await emit(block)
        return len(self.blocks)


@pytest.mark.parametrize("ledger_digest", [5, 6], ids=["all equal", "all different"])
async def test_a_scan_runs_one_block_ahead_of_the_merge_and_no_further(ledger_digest: int) -> None:
    """While a finding is consumed each side has one block in hand and one on offer, at most."""
    keys = [n.to_bytes(4, "big") for n in range(1, 401)]
    source = Ahead(blocks_of([(key, 5) for key in keys], [10]))
    ledger = Ahead(blocks_of([(key, ledger_digest) for key in keys], [16]))
    compared = 0

    async def consume(finding: Finding) -> None:
        nonlocal compared
        for _ in range(20):  # both scans get on as far as they can
            await checkpoint()
        compared += finding.equal + len(finding.suspects)
        assert source.begun <= compared // 10 + 2
        assert ledger.begun <= compared // 16 + 2

    totals = await survey(source.scan, ledger.scan, consume)
    assert compared == 400
    assert (totals.source_rows, totals.ledger_rows) == (40, 25)
