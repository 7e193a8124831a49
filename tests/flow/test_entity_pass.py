"""One entity in one run: what flows where, and that every record is counted once (I8)."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

import anyio
import pytest
from anyio.lowlevel import checkpoint
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import InvariantError, SourceError, TransientError
from syncd.flow import entity_pass
from syncd.flow.apply import Packed, Tally
from syncd.flow.entity_pass import EntityPass, Told
from syncd.flow.guard import Evidence
from syncd.flow.model import Counts, Issue, Outcome, Read, Row, Severity
from syncd.flow.pipeline import foremost
from syncd.flow.ports import WHOLE, Block, Emit, Span, Unit
from tests.flow.batch_world import PLAN, key
from tests.flow.pass_world import (
    CLINGING,
    REFUSED,
    Attempt,
    KilledError,
    Source,
    Store,
    digest_of,
    record,
)

NAMES = (b"Ada", b"Ida", b"Eve")


def rows(**names: bytes) -> dict[str, Row]:
    """Rows by id, ``_1=b"Ada"`` for the record 1."""
    return {of[1:]: (of[1:].encode(), name, None) for of, name in names.items()}


def pass_over(source: Any, *, batch_rows: int = 3, writers: int = 1) -> EntityPass:
    """A pass over a source."""
    return EntityPass(PLAN, source, batch_rows=batch_rows, writers=writers, findings=2)


def ledger_of(known: Mapping[str, Row | None]) -> Callable[[Emit, Span], Any]:
    """A scan of entries in step with these rows; None is an entry of unknown digest."""

    async def scan(emit: Emit, within: Span) -> int:
        records = [
            record(key(text), -1 if row is None else digest_of(row))
            for text, row in sorted(known.items())
            if within.first <= key(text) and (not within.end or key(text) < within.end)
        ]
        await emit(Block(b"".join(records), 0))
        return len(records)

    return scan


class Applied:
    """Takes batches, and remembers their keys."""

    def __init__(self) -> None:
        self.batches: list[list[bytes]] = []
        self.advanced: list[int] = []

    async def apply(self, reads: Sequence[Read]) -> None:
        """Take a batch."""
        self.batches.append([read.key for read in reads])

    @property
    def keys(self) -> list[bytes]:
        """All keys in order."""
        return [of for batch in self.batches for of in batch]


def keys(*texts: str) -> list[bytes]:
    """Keys of ids."""
    return [key(text) for text in texts]


# -- findings of the read ----------------------------------------------------------------------


def finding(code: str, severity: Severity = Severity.ERROR) -> Issue:
    """A finding with a place."""
    return Issue(severity, code, "id", "people.csv:17")


def test_findings_are_all_counted_and_the_first_are_kept() -> None:
    """The list is bounded, the number is not (I14)."""
    told = Told(2)
    for code in ("null_key", "charset", "ragged"):
        told.tell(finding(code))
    assert [issue.code for issue in told.kept] == ["null_key", "charset"]
    assert (told.total, told.invalid, told.skipped) == (3, 3, 0)


@pytest.mark.parametrize(
    ("issue", "invalid", "skipped"),
    [
        (finding("null_key"), 1, 0),
        (finding("ragged", Severity.FATAL), 1, 0),
        (finding("odd", Severity.WARNING), 0, 0),
        (finding("odd", Severity.INFORMATION), 0, 0),
        (finding("duplicate_record"), 0, 1),
        (finding("duplicate_record", Severity.WARNING), 0, 1),
        (finding("no_final_newline"), 0, 0),
        (finding("no_final_newline", Severity.WARNING), 0, 0),
    ],
)
def test_a_finding_counts_as_what_it_is(issue: Issue, invalid: int, skipped: int) -> None:
    """Rows without a key of their own are invalid, repeated ones are skipped, others neither."""
    told = Told(0)
    told.tell(issue)
    assert (told.invalid, told.skipped, told.total, told.kept) == (invalid, skipped, 1, [])


def test_a_dump_without_its_last_line_end_may_be_cut_off() -> None:
    """The guard is told where, so that nothing is deleted by it (case 39)."""
    told = Told(0)
    told.tell(finding("no_final_newline"))
    assert told.cut == "the last line of the dump has no end (people.csv:17): it may be cut off"


# -- the first load ----------------------------------------------------------------------------


class Hold:
    """Packs every piece but those with an ``unfit`` key, and loads what is packed, or refuses."""

    def __init__(self, *unfit: str, refuses: bool = False) -> None:
        self.loaded: list[list[bytes]] = []
        self._unfit = keys(*unfit)
        self._refuses = refuses

    def pack(self, reads: Sequence[Read]) -> Packed | None:
        """The piece, if it fits."""
        if any(read.key in self._unfit for read in reads):
            return None
        return Packed([read.key for read in reads], object(), object())

    async def load(self, packed: Sequence[Packed]) -> bool:
        """Take a batch of pieces."""
        if not self._refuses:
            self.loaded.append([key for piece in packed for key in piece.keys])
        return not self._refuses


ID_OF_FIVE: Final = ("1", "2", "3", "4", "5")


def five(*gone: str) -> Source:
    """A source of five rows, read two at a time."""
    return Source({of: (of.encode(), b"x", None) for of in ID_OF_FIVE}, gone=gone)


async def test_a_first_load_packs_each_piece_and_loads_full_batches() -> None:
    """A batch has no more than twice the rows asked for; the rest is one too."""
    hold, applied = Hold(), Applied()
    read = pass_over(five(), batch_rows=2)
    await read.load(hold.pack, hold.load, applied.apply, applied.advanced.append)
    assert hold.loaded == [keys("1", "2", "3", "4"), keys("5")]
    assert applied.batches == []
    assert applied.advanced == [2, 2, 1]
    assert (read.source_rows, read.suspects, read.equal) == (5, 5, 0)


async def test_a_piece_that_cannot_be_packed_is_applied() -> None:
    """The others of its batch are loaded all the same."""
    hold, applied = Hold("3"), Applied()
    read = pass_over(five(), batch_rows=5)
    await read.load(hold.pack, hold.load, applied.apply, applied.advanced.append)
    assert hold.loaded == [keys("1", "2", "5")]
    assert applied.batches == [keys("3", "4")]


async def test_what_cannot_be_loaded_is_read_again_and_applied() -> None:
    """In key order, beside what was never packed; each is counted once."""
    hold, applied, source = Hold("1", refuses=True), Applied(), five()
    read = pass_over(source, batch_rows=2)
    await read.load(hold.pack, hold.load, applied.apply, applied.advanced.append)
    assert source.fetched == [keys("3", "4", "5")]
    assert applied.batches == [keys("1", "2"), keys("3", "4"), keys("5")]
    assert (read.suspects, read.gone) == (5, 0)


async def test_a_piece_that_is_larger_than_a_batch_is_cut() -> None:
    """The limit is the operator's, whatever the source reads at a time (I14)."""
    hold, applied = Hold(), Applied()
    await pass_over(five(), batch_rows=1).load(
        hold.pack, hold.load, applied.apply, applied.advanced.append
    )
    assert hold.loaded == [keys("1", "2"), keys("3", "4"), keys("5")]


async def test_what_is_gone_when_it_is_read_again_is_stale() -> None:
    """A source without a snapshot may lose a row between the two looks."""
    hold, applied = Hold(refuses=True), Applied()
    read = pass_over(five("2", "5"))
    await read.load(hold.pack, hold.load, applied.apply, applied.advanced.append)
    assert applied.keys == keys("1", "3", "4")
    assert (read.suspects, read.gone) == (3, 2)


# -- an ordinary night -------------------------------------------------------------------------


async def test_a_night_fetches_suspects_and_notes_absentees() -> None:
    """Equal records are never fetched; new, changed and unknown ones are, in key order."""
    source = Source(rows(_1=b"Ada", _2=b"Ida", _3=b"Eve", _4=b"Uma"))
    before = {**rows(_1=b"Ada", _2=b"old", _9=b"Gus"), "3": None}
    read, applied = pass_over(source), Applied()
    await read.bring([WHOLE], ledger_of(before), applied.apply, applied.advanced.append)
    assert applied.keys == keys("2", "3", "4")
    assert read.absent == keys("9")
    assert (read.source_rows, read.equal, read.suspects, read.remembered) == (4, 1, 3, 4)
    assert sum(applied.advanced) == 4


async def test_what_was_released_is_looked_at_though_it_is_equal() -> None:
    """Once it is ready; what is suspected already needs no more, and the absent are not met."""
    source = Source(rows(_1=b"Ada", _2=b"Ida", _3=b"Eve", _4=b"Uma", _5=b"Ina"), gone=["5"])
    before = rows(_1=b"Ada", _2=b"old", _3=b"Eve", _4=b"Uma", _5=b"Ina", _9=b"Gus")
    read, applied = pass_over(source, batch_rows=1), Applied()

    async def ready(reads: Sequence[Read]) -> list[Read]:
        return [one for one in reads if one.key != key("3")]

    asked = keys("2", "3", "4", "5", "9")
    await read.bring([WHOLE], ledger_of(before), applied.apply, applied.advanced.append, asked)
    assert applied.batches == [keys("2")]
    assert (read.asked, read.unmet) == ({*keys("3", "4", "5")}, {*keys("3", "4", "5", "9")})
    await read.look_late(ready, applied.apply)
    assert applied.batches == [keys("2"), keys("4")]
    assert (read.asked, read.unmet) == (set(), {*keys("5", "9")})
    assert (read.source_rows, read.equal, read.suspects, read.gone) == (5, 3, 2, 0)


async def test_spans_are_surveyed_side_by_side_and_counted_together() -> None:
    """What one survey of all would have found, in whatever order the two of them find it."""
    source = Source(rows(_1=b"Ada", _2=b"Ida", _3=b"Eve", _4=b"Uma", _6=b"Zoe"))
    before = {**rows(_1=b"Ada", _2=b"old", _0=b"Gus", _9=b"Lou", _4=b"Uma"), "3": None}
    read, applied = pass_over(source), Applied()
    spans = [Span(end=key("3")), Span(key("3"), key("5")), Span(key("5"))]
    await read.bring(spans, ledger_of(before), applied.apply, applied.advanced.append)
    assert sorted(applied.keys) == keys("2", "3", "6")
    assert read.absent == keys("0", "9")
    assert (read.source_rows, read.equal, read.suspects, read.remembered) == (5, 2, 3, 6)
    assert sum(applied.advanced) == 5


async def test_a_span_that_fails_ends_them_all() -> None:
    """No absence is concluded from a part."""

    class Broken(Source):
        async def scan(self, plan: Any, emit: Emit, tell: Any, within: Span = WHOLE) -> int:
            if within.first:
                raise SourceError("cut off")
            return await super().scan(plan, emit, tell, within)

    read = pass_over(Broken(rows(_1=b"Ada", _7=b"Ida")))
    spans, applied = [Span(end=key("3")), Span(key("3"))], Applied()
    with pytest.raises(ExceptionGroup) as failed:
        await read.bring(spans, ledger_of({}), applied.apply, applied.advanced.append)
    assert isinstance(foremost(failed.value), SourceError)


async def test_suspects_are_fetched_in_batches_of_the_size_asked_for() -> None:
    """Each batch is one question to the source, the last one the rest."""
    ids = [f"{n:02}" for n in range(8)]
    source, applied = Source({of: (of.encode(), b"x", None) for of in ids}), Applied()
    await pass_over(source).bring([WHOLE], ledger_of({}), applied.apply, applied.advanced.append)
    expected = [keys(*ids[:3]), keys(*ids[3:6]), keys(*ids[6:])]
    assert source.fetched == expected
    assert applied.batches == expected


async def test_what_is_gone_at_the_fetch_is_counted_and_not_applied() -> None:
    """A record that leaves between scan and fetch is stale; an empty batch is not applied."""
    source = Source(rows(_1=b"Ada", _2=b"Ida"), gone=["1", "2"])
    read, applied = pass_over(source), Applied()
    await read.bring([WHOLE], ledger_of({}), applied.apply, applied.advanced.append)
    assert applied.batches == []
    assert (read.gone, read.suspects) == (2, 0)
    counts = read.counts(Tally(), [], attempt=1, held=0, reported=0)
    assert (counts.seen, counts.stale) == (2, 2)


async def test_no_batch_is_read_that_nobody_takes() -> None:
    """While every writer is busy one batch waits, and the source is asked for no other (I14)."""
    ids = [f"{n:02}" for n in range(20)]
    source = Source({of: (of.encode(), b"x", None) for of in ids})
    release, begun = anyio.Event(), 0

    async def hold(_: Sequence[Read]) -> None:
        nonlocal begun
        begun += 1
        await release.wait()

    async with anyio.create_task_group() as tasks:
        read = pass_over(source, batch_rows=2, writers=2)
        tasks.start_soon(read.bring, [WHOLE], ledger_of({}), hold, lambda _: None)
        for _ in range(50):
            await checkpoint()
        assert (begun, len(source.fetched)) == (2, 3)
        release.set()
    assert begun == 10


async def test_an_error_of_a_writer_ends_the_pass() -> None:
    """It comes out, and the source is not read to its end for nothing."""
    ids = [f"{n:02}" for n in range(20)]
    source = Source({of: (of.encode(), b"x", None) for of in ids})

    async def refuse(_: Sequence[Read]) -> None:
        raise TransientError("the target is gone")

    with pytest.raises(ExceptionGroup) as info:
        await pass_over(source, batch_rows=2).bring([WHOLE], ledger_of({}), refuse, lambda _: None)
    assert info.group_contains(TransientError, match="target is gone")
    assert len(source.fetched) <= 3


async def test_an_incomplete_read_leaves_no_numbers_behind() -> None:
    """Its error comes out, and what the pass knows proves nothing about absences."""

    class CutOff(Source):
        async def scan(self, plan: Any, emit: Emit, tell: Any, within: Span = WHOLE) -> int:
            await super().scan(plan, emit, tell, within)
            raise SourceError("the dump ends early")

    read, applied = pass_over(CutOff(rows(_1=b"Ada"))), Applied()
    with pytest.raises(ExceptionGroup) as info:
        await read.bring(
            [WHOLE], ledger_of(rows(_1=b"Ada", _2=b"Ida")), applied.apply, lambda _: None
        )
    assert info.group_contains(SourceError, match="ends early")
    assert (read.source_rows, read.remembered) == (0, 0)
    assert read.evidence() == Evidence(0, 0)


@pytest.mark.parametrize(("absent", "is_refused"), [(3, False), (4, False), (5, True)])
async def test_there_is_a_bound_on_what_may_be_absent(
    absent: int,
    is_refused: bool,  # noqa: FBT001
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """Beyond it the read is no evidence, and memory is not spent on it (cases 39, I14)."""
    monkeypatch.setattr(entity_pass, "ABSENT_MAX", 4)
    before = {f"{n}": (b"%d" % n, b"x", None) for n in range(absent)}
    read, applied = pass_over(Source(rows(_9=b"Ada"))), Applied()
    if not is_refused:
        await read.bring([WHOLE], ledger_of(before), applied.apply, applied.advanced.append)
        assert len(read.absent) == absent
        return
    with pytest.raises(ExceptionGroup) as info:
        await read.bring([WHOLE], ledger_of(before), applied.apply, applied.advanced.append)
    assert info.group_contains(SourceError, match="more than 4 records are missing")


async def test_a_second_look_fetches_in_key_order_and_counts_nothing() -> None:
    """The records were counted before; one that has left is simply not applied."""
    source = Source(rows(_1=b"Ada", _2=b"Ida", _3=b"Eve", _4=b"Uma"), gone=["4"])
    read, applied = pass_over(source), Applied()
    await read.look_again(keys("4", "2", "1", "3"), applied.apply)
    assert source.fetched == [keys("1", "2", "3"), keys("4")]
    assert applied.batches == [keys("1", "2", "3")]
    assert (read.suspects, read.gone) == (0, 0)


async def test_the_evidence_is_the_rows_that_have_a_key() -> None:
    """A source of nothing but unusable rows is an empty one (case 42)."""
    read = pass_over(Source({}))
    read.source_rows, read.remembered, read.told.invalid, read.told.cut = 7, 9, 7, "cut"
    assert read.evidence() == Evidence(source_rows=0, remembered=9, cut="cut")


# -- the sums ----------------------------------------------------------------------------------


def unit(
    present: Mapping[str, int] | None = None,
    absent: Mapping[str, int] | None = None,
    present_redone: Mapping[str, int] | None = None,
    absent_redone: Mapping[str, int] | None = None,
) -> Unit:
    """A committed unit."""
    parts = (present, absent, present_redone, absent_redone)
    return Unit("u", *(Counts(**(part or {})) for part in parts))


def tally_of(*units: Unit, touched: int = 0, stale: int = 0) -> Tally:
    """What the batches of this attempt did."""
    tally = Tally(touched=touched, stale=stale)
    for one in units:
        tally.add(one)
    return tally


def seen(**numbers: Any) -> EntityPass:
    """A pass that has read what ``numbers`` say."""
    read = pass_over(Source({}))
    for name, value in numbers.items():
        setattr(read, name, value)
    return read


def nonzero(counts: Counts) -> dict[str, int]:
    """Numbers by name, without the zeros."""
    return {name: number for name, number in counts.as_dict().items() if number}


def test_every_record_of_a_night_is_counted_once() -> None:
    """Equal and touched are unchanged, gone is stale, findings without a key have their place."""
    read = seen(source_rows=100, equal=80, suspects=14, gone=1, absent=keys(*"abcde"))
    read.told.invalid, read.told.skipped = 3, 2
    done = unit({"inserted": 4, "updated": 5, "conflict": 1}, {"deleted": 2})
    counts = read.counts(tally_of(done, touched=3, stale=1), [], attempt=1, held=2, reported=1)
    assert nonzero(counts) == {
        "seen": 105,
        "inserted": 4,
        "updated": 5,
        "conflict": 1,
        "deleted": 2,
        "unchanged": 83,
        "stale": 2,
        "invalid": 3,
        "skipped": 3,
        "held": 2,
    }


def test_what_stands_aside_is_told_with_its_outcome() -> None:
    """It is equal, and still no record of which all is well (I8)."""
    read = seen(source_rows=10, equal=9, suspects=1)
    done, aside = unit({"skipped": 1}), Counts(skipped=2, waiting=3)
    told: dict[str, Any] = {"attempt": 1, "held": 0, "reported": 0}
    counts = read.counts(tally_of(done), [], standing=aside, **told)
    assert nonzero(counts) == {"seen": 10, "skipped": 3, "waiting": 3, "unchanged": 4}


def test_no_more_stands_aside_than_is_equal() -> None:
    """What an earlier attempt decided and has left since may have taken its place."""
    read = seen(source_rows=1, equal=1)
    told: dict[str, Any] = {"attempt": 2, "held": 0, "reported": 0}
    counts = read.counts(tally_of(), [], standing=Counts(waiting=2), **told)
    assert nonzero(counts) == {"seen": 1, "unchanged": 1}


def test_a_second_outcome_replaces_the_first() -> None:
    """A record that waited and was then inserted is counted as inserted alone."""
    read = seen(source_rows=2, suspects=2)
    first = unit({"inserted": 1, "waiting": 1})
    again = unit({"inserted": 1}, present_redone={"waiting": 1})
    counts = read.counts(tally_of(first, again), [], attempt=1, held=0, reported=0)
    assert nonzero(counts) == {"seen": 2, "inserted": 2}


def test_what_an_earlier_attempt_did_is_counted_though_it_is_equal_now() -> None:
    """The outcomes of both attempts add up to the records seen (case 78)."""
    read = seen(source_rows=10, equal=8, suspects=2)
    earlier = [unit({"inserted": 3}), unit({"updated": 2}, {"deleted": 4})]
    counts = read.counts(tally_of(unit({"updated": 2})), earlier, attempt=2, held=0, reported=0)
    assert nonzero(counts) == {
        "seen": 14,
        "inserted": 3,
        "updated": 4,
        "deleted": 4,
        "unchanged": 3,
    }


def test_a_record_that_was_touched_after_an_earlier_attempt_wrote_it_is_carried_too() -> None:
    """Its digest was unknown, its fingerprint was not."""
    read = seen(source_rows=1, suspects=1)
    counts = read.counts(
        tally_of(touched=1), [unit({"inserted": 1})], attempt=2, held=0, reported=0
    )
    assert nonzero(counts) == {"seen": 1, "inserted": 1}


def test_a_record_that_left_between_attempts_counts_in_both() -> None:
    """It was inserted, and its absence is held: two outcomes of two looks, and no negative one."""
    read = seen(absent=keys("1"))
    counts = read.counts(tally_of(), [unit({"inserted": 1})], attempt=2, held=1, reported=0)
    assert nonzero(counts) == {"seen": 2, "inserted": 1, "held": 1}


def test_a_delete_that_failed_before_and_works_now_is_counted_once() -> None:
    """Outcomes about absences are replaced among themselves."""
    read = seen(absent=keys("1"))
    earlier = [unit(absent={"waiting": 1})]
    done = unit(absent={"deleted": 1}, absent_redone={"waiting": 1})
    counts = read.counts(tally_of(done), earlier, attempt=2, held=0, reported=0)
    assert nonzero(counts) == {"seen": 1, "deleted": 1}


def test_a_record_that_comes_back_between_attempts_is_counted_once() -> None:
    """It was deleted and is inserted again: the later outcome stands."""
    read = seen(source_rows=1, suspects=1)
    earlier = [unit(absent={"deleted": 1})]
    done = unit({"inserted": 1}, absent_redone={"deleted": 1})
    counts = read.counts(tally_of(done), earlier, attempt=2, held=0, reported=0)
    assert nonzero(counts) == {"seen": 1, "inserted": 1}


@pytest.mark.parametrize("inserted", [4, 6], ids=["lost", "doubled"])
def test_a_lost_or_doubled_record_is_noticed(inserted: int) -> None:
    """Five records were read and there are more or fewer outcomes: ours to mend (I8)."""
    read = seen(source_rows=5, suspects=5)
    with pytest.raises(InvariantError) as info:
        read.counts(tally_of(unit({"inserted": inserted})), [], attempt=1, held=0, reported=0)
    assert "entity nodes" in str(info.value)
    assert "report" in info.value.hint


@pytest.mark.parametrize("deleted", [1, 3], ids=["lost", "doubled"])
def test_a_lost_or_doubled_delete_is_noticed(deleted: int) -> None:
    """Two absences were let through, and the outcomes about absences say otherwise (I8)."""
    read = seen(absent=keys(*"abcd"))
    done = tally_of(unit(absent={"deleted": deleted}))
    with pytest.raises(InvariantError):
        read.counts(done, [], attempt=1, held=1, reported=1)


@pytest.mark.parametrize("source_rows", [4, 6])
def test_a_scan_that_counts_other_rows_than_it_pushed_is_noticed(source_rows: int) -> None:
    """What was read, minus findings without a key, is what was compared (I8)."""
    read = seen(source_rows=source_rows, equal=5)
    for attempt in (1, 2):
        with pytest.raises(InvariantError):
            read.counts(tally_of(), [], attempt=attempt, held=0, reported=0)


def test_a_record_lost_in_a_resumed_run_is_noticed() -> None:
    """Fewer outcomes over all attempts than records looked at in this one (I8)."""
    read = seen(source_rows=3, suspects=3)
    with pytest.raises(InvariantError):
        read.counts(
            tally_of(unit({"inserted": 1})), [unit({"inserted": 1})], attempt=2, held=0, reported=0
        )


# -- the sums of real batches ------------------------------------------------------------------


async def test_a_lost_answer_to_a_commit_changes_no_sum() -> None:
    """The transaction stood: what it touched, wrote and left waiting is counted once (case 14)."""
    store = Store()
    source = Source(rows(_1=b"Ada", _2=b"Ida"))
    await Attempt(source, store, run_id=1, number=1).run()
    store.entries = {
        of: entry if of == key("2") else _unknown(entry) for of, entry in store.entries.items()
    }
    store.fates = iter(["lost"])
    source.rows[key("2")] = (b"2", b"Eve", None)
    attempt = Attempt(source, store, run_id=2, number=1)
    assert nonzero(await attempt.run()) == {"seen": 2, "updated": 1, "unchanged": 1}
    assert attempt.applier.tally.touched == 1
    assert len([one for one in store.units if one.unit_id.startswith("2/")]) == 1


def _unknown(entry: Any) -> Any:
    """The entry with a digest that says nothing."""
    return type(entry)(
        **{n: getattr(entry, n) for n in entry.__struct_fields__ if n != "digest"}, digest=0
    )


some_rows = st.dictionaries(
    st.sampled_from("123456789"),
    st.sampled_from([*NAMES, REFUSED, CLINGING]),
    max_size=9,
).map(lambda names: {of: (of.encode(), name, None) for of, name in names.items()})
fates = st.lists(
    st.sampled_from(["ok", "ok", "refused", "lost", "killed", "killed late"]), max_size=12
)


@pytest.mark.trust
@given(some_rows, some_rows, fates)
async def test_however_a_run_is_struck_its_counts_are_what_became_of_each_record(
    before: dict[str, Row], after: dict[str, Row], struck: list[str]
) -> None:
    """Killed, refused or unanswered anywhere and resumed, every record is counted once (I8)."""
    store = Store()
    await Attempt(Source(before), store, run_id=1, number=1).run()
    missing = {of for of, entry in store.entries.items() if entry.present} - set(Source(after).rows)
    store.fates = iter(struck)
    counts, number = None, 0
    while counts is None:
        number += 1
        try:
            counts = await Attempt(Source(after), store, run_id=2, number=number).run()
        except* (KilledError, anyio.BrokenResourceError):  # and whoever was sending to it
            assert number <= len(struck)
    expected = Counts(seen=len(after) + len(missing))
    for of in {*Source(after).rows, *missing}:
        entry = store.entries[of]
        outcome = entry.outcome if entry.run_id == 2 else Outcome.UNCHANGED
        assert outcome is not None
        expected.add(outcome)
    assert counts.as_dict() == expected.as_dict()
