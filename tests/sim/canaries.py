"""Faults that the simulation must find: production code made wrong, one way at a time.

The tables of the merge rule, what is decided of a batch, and the guard are in this file; what goes
wrong between processes, server and book is in ``canaries_apart.py``. ``CANARIES`` holds all.
"""

# ruff: noqa: FBT003 - a line of the row rule is read as one.

from collections.abc import Callable
from typing import Any, Final

from msgspec.structs import replace

from syncd.flow.merge_tables import COLUMN_RULE, ROW_RULE, Line, RowLine, Step, Verdict
from syncd.flow.model import Entry, State
from tests.sim.canaries_apart import APART
from tests.sim.planter import Canary, Planter


def _line(key: tuple[bool, bool, bool], line: Line) -> Callable[[Planter], None]:
    return lambda planter: planter.item(COLUMN_RULE, key, line)


def _row(state: State, source: bool, target: bool, edited: Any, line: RowLine) -> Any:  # noqa: FBT001
    def plant(planter: Planter) -> None:
        for edit in (False, True) if edited is None else (edited,):
            planter.item(ROW_RULE, (state, source, target, edit), line)

    return plant


def _open_is_skipped(planter: Planter) -> None:
    def around(compare: Any) -> Any:
        def blind(plan: Any, entry: Any, *place: Any) -> Any:
            return compare(plan, entry and replace(entry, open=False), *place)

        return blind

    planter.wrap("syncd.flow.decide:compare", around)


def _position_is_ignored(planter: Planter) -> None:
    planter.set("syncd.flow.diff:is_stale", lambda *_: False)
    planter.set("syncd.flow.decide:is_stale", lambda *_: False)

    def around(merge_row: Any) -> Any:
        def late(*args: Any, entry: Entry | None, **rest: Any) -> Any:
            young = entry and replace(entry, position=0, source_epoch=0)
            return merge_row(*args, entry=young, **rest)

        return late

    planter.wrap("syncd.flow.decide:merge_row", around)


def _bt_from_sent(planter: Planter) -> None:
    def around(confirm: Any) -> Any:
        def trusting(plan: Any, hasher: Any, decision: Any, draft: Any, *_: Any) -> Any:
            return confirm(plan, hasher, decision, draft, draft)

        return trusting

    planter.wrap("syncd.flow.apply:confirm", around)


def _never_released(planter: Planter) -> None:
    async def none(*_: object) -> list[bytes]:
        return []

    planter.set("tests.memory.ledger:MemoryLedger.released", none)


def _group_by_column(planter: Planter) -> None:
    def around(unit: Any) -> Any:
        return lambda _plan, looks: [unit([look]) for look in looks]

    from syncd.flow import merge_columns  # noqa: PLC0415

    planter.wrap("syncd.flow.merge_columns:_units", lambda _: around(merge_columns._unit))


def _judged(change: Callable[[Any, dict[str, Any]], Any]) -> Callable[[Planter], None]:
    """The guard asked with something else than the truth."""

    def around(judge: Any) -> Any:
        def misled(absent: Any, evidence: Any, bounds: Any, **rest: Any) -> Any:
            return judge(absent, change(evidence, rest), bounds, **rest)

        return misled

    def plant(planter: Planter) -> None:
        planter.wrap("syncd.flow.pipeline:judge", around)
        planter.wrap("tests.sim.quick:judge", around)

    return plant


def _approval_is_for_all(evidence: Any, rest: dict[str, Any]) -> Any:
    if rest["approved"]:
        rest["approved"] = _Everything()
    return evidence


class _Everything:
    def __contains__(self, _key: object) -> bool:
        return True


def _waiting_is_absent(planter: Planter) -> None:
    def around(remove: Any) -> Any:
        async def removing(self: Any, running: Any) -> None:
            running.read.absent.extend(running.applier.tally.waiting)
            await remove(self, running)

        return removing

    planter.wrap("syncd.flow.pipeline:Pass._remove", around)


def _failed_scan_is_whole(planter: Planter) -> None:
    def around(survey: Any) -> Any:
        def trusting(source: Any, ledger: Any, consume: Any) -> Any:
            async def swallow(emit: Any) -> int:
                rows = 0

                async def count(block: Any) -> None:
                    nonlocal rows
                    rows += block.data.count(b"\0\2\0\0\0")
                    await emit(block)

                try:
                    return int(await source(count))
                except Exception:  # noqa: BLE001 - that is the fault
                    return rows

            return survey(swallow, ledger, consume)

        return trusting

    planter.wrap("syncd.flow.entity_pass:survey", around)


def _any_order(planter: Planter) -> None:
    planter.set(
        "syncd.flow.survey:_last_of_ascending",
        lambda records, previous: records[-1][6:-12] if records else previous,
    )


_MERGE: Final = (
    Canary("bt_moves_on_conflict", "bt is advanced on a conflict",
           _line((True, True, False), Line(Verdict.CONFLICT, write=False, bt="s", bs="s")),
           quick=True),
    Canary("source_wins", "in a conflict the source wins",
           _line((True, True, False), Line(Verdict.UPDATED, write=True, bt="s", bs="s")),
           quick=True),
    Canary("edit_is_overwritten", "an edit is written over though the source did not change",
           _line((True, False, False), Line(Verdict.UPDATED, write=True, bt="s", bs="s")),
           quick=True),
    Canary("not_healed", "what waited is not written when staff take their edit back",
           _line((False, False, False), Line(Verdict.UNCHANGED, write=False, bt="=", bs="=")),
           quick=True),
    Canary("not_adopted", "an agreement does not give the column back to the source",
           _line((True, True, True), Line(Verdict.UNCHANGED, write=False, bt="=", bs="s")),
           quick=True),
    Canary("delete_ignores_edits", "a row that staff edited is deleted with its record",
           _row(State.LIVE, False, True, True, RowLine(Step.DELETE, State.SRC_DELETED)),
           quick=True),
    Canary("recreates_missing", "a row that staff deleted is made again",
           _row(State.LIVE, True, False, None, RowLine(Step.RETURN, State.LIVE)), quick=True),
    Canary("recreates_tgt_deleted", "a row that staff deleted is made again, a night later",
           _row(State.TGT_DELETED, True, False, None, RowLine(Step.INSERT, State.LIVE)),
           quick=True),
    Canary("no_orphan_kept", "a row that was kept for its edits counts as deleted",
           _row(State.LIVE, False, True, True, RowLine(Step.KEEP, State.SRC_DELETED)),
           quick=True),
    Canary("both_gone_is_forgotten", "a row that both sides deleted is made again on return",
           _row(State.LIVE, False, False, None, RowLine(Step.REST, State.SRC_DELETED)),
           quick=True),
    Canary("bt_from_sent", "bt is taken from what was sent", _bt_from_sent, quick=True),
    Canary("open_is_skipped", "an open conflict is not looked at while the fingerprint is the same",
           _open_is_skipped, quick=True),
    Canary("position_is_ignored", "an older look is taken for news", _position_is_ignored,
           quick=True),
    Canary("group_by_column", "a column group is merged column by column", _group_by_column,
           quick=True),
    Canary("initial_goes_on", "`initial` is written after staff edited the row",
           lambda p: p.set("syncd.flow.merge_columns:_row_edited", lambda *_: False), quick=True),
    Canary("target_is_compared", "a column of the target's own is merged",
           lambda p: p.set("syncd.flow.merge_columns:_NEVER_COMPARED", ()), quick=True),
    Canary("not_undeleted", "a softly deleted row stays marked when its record returns",
           lambda p: p.set("syncd.flow.decide:_restored", lambda _plan, _entry, made: made),
           quick=True),
    Canary("never_released", "who waits is not looked at when a parent has come", _never_released),
    Canary("child_without_parent", "a child is written before its parent",
           lambda p: p.set("syncd.flow.waiting:Parents.missing", _nothing_missing)),
    Canary("value_is_told", "the message of a transform that failed, with its value, is told",
           lambda p: p.wrap("syncd.flow.transform:foreign", _telling)),
)  # fmt: skip


def _nothing_missing(*_: object) -> object:
    from syncd.flow.waiting import Missing  # noqa: PLC0415

    return Missing()


def _telling(_foreign: Any) -> Any:
    from syncd.flow.transform import Failed  # noqa: PLC0415

    def telling(call: Callable[[], Any]) -> Any:
        try:
            return call()
        except Exception as error:  # noqa: BLE001 - as the one that it replaces
            return Failed(str(error))

    return telling


_GUARD: Final = (
    Canary("guard_counts_wrong", "deletes beyond both bounds are applied",
           lambda p: p.set("syncd.flow.guard:_too_many", lambda *_: False)),
    Canary("empty_source_deletes", "an entity that came back empty deletes its rows",
           _judged(lambda evidence, _: replace(evidence, source_rows=evidence.source_rows or 1))),
    Canary("unread_is_absent", "rows without a key do not hold deletes",
           _judged(lambda evidence, _: replace(evidence, unread=0))),
    Canary("approval_is_for_all", "an approval lets every absent row go",
           _judged(_approval_is_for_all), quick=True),
    Canary("confirmed_at_once", "an absence needs no second look",
           lambda p: p.set("syncd.flow.guard:_ripe", lambda keys, *_: (list(keys), []))),
    Canary("waiting_is_absent", "records that wait count as absent", _waiting_is_absent),
    Canary("failed_scan_is_whole", "what a broken-off scan did not deliver counts as absent",
           _failed_scan_is_whole),
    Canary("pages_by_collation", "the order of the keys is taken on trust", _any_order),
)  # fmt: skip

CANARIES: Final = {canary.name: canary for canary in (*_MERGE, *_GUARD, *APART)}
