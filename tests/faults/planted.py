"""Faults that the suite must find: each is a small change of production code, made in memory.

A fault names a module and texts of it that are replaced when the module is imported. Each text
must occur exactly once: a fault that no longer fits the code is an error, never a fault found.
``python -m tests.faults`` plants all of them, one at a time; ``tests.faults.plant`` plants one.
"""

# ruff: noqa: ISC004 - an edit is read as text, the old above the new.

from typing import Final

from msgspec import Struct


class Fault(Struct, frozen=True):
    """``edits`` are pairs of old and new text in ``module``; ``tests`` are what must fail."""

    name: str
    what: str
    module: str
    edits: tuple[tuple[str, str], ...]
    tests: tuple[str, ...]


_CONFLICT: Final = '(_1, _1, _0): Line(Verdict.CONFLICT, _0, "=", "s"),'
_KEEP: Final = "(_0,), (_1,), (_1,), Step.KEEP, State.ORPHAN_KEPT"
_LOST: Final = "(State.LIVE, (_1,), (_0,), _ANY, Step.LOST, State.TGT_DELETED)"
_MERGE_TABLES: Final = "syncd.flow.merge_tables"
_LEDGER: Final = "syncd.ledger.postgres"
_APPLY: Final = "syncd.flow.apply"

_MERGE: Final = (
    Fault(
        "bt_from_sent",
        "bt is taken from what was sent, not from what the target returned",
        "syncd.flow.merge",
        (("= entry.source_base[at] if is_as_sent else hasher.column(stored[at])",
          "= entry.source_base[at]"),),
        ("tests/pipeline/test_target_values.py::"
         "test_a_trigger_that_changes_the_value_stops_no_update",),
    ),
    Fault(
        "bt_moves_on_conflict",
        "the target's base is advanced on a conflict",
        _MERGE_TABLES,
        ((_CONFLICT, _CONFLICT.replace('"=", "s"', '"s", "s"')),),
        ("tests/flow/test_merge_examples.py",),
    ),
    Fault(
        "source_wins",
        "in a conflict the source wins",
        _MERGE_TABLES,
        ((_CONFLICT, '(_1, _1, _0): Line(Verdict.UPDATED, _1, "s", "s"),'),),
        ("tests/pipeline/test_conflicts.py::"
         "test_a_conflict_shows_both_values_as_they_are_now",),
    ),
    Fault(
        "delete_ignores_edits",
        "a row that staff edited is deleted with its record",
        _MERGE_TABLES,
        ((_KEEP, "(_0,), (_1,), (_1,), Step.DELETE, State.SRC_DELETED"),),
        ("tests/pipeline/test_deletes.py::test_an_approved_row_that_staff_edited_is_kept",),
    ),
    Fault(
        "recreates_missing_rows",
        "a row that staff deleted is made again",
        _MERGE_TABLES,
        ((_LOST, "(State.LIVE, (_1,), (_0,), _ANY, Step.RETURN, State.LIVE)"),),
        ("tests/flow/test_merge_examples.py",),
    ),
    Fault(
        "no_position_guard",
        "a look that is older than what is known is taken for news",
        "syncd.flow.diff",
        (("return (source_epoch, position) < (entry.source_epoch, entry.position)",
          "return False"),),
        ("tests/flow/test_diff.py",),
    ),
    Fault(
        "skips_open_by_fingerprint",
        "an open conflict is not looked at again while the fingerprint is the same",
        "syncd.flow.diff",
        (("        and not entry.open\n", ""),),
        ("tests/flow/test_diff.py",),
    ),
    Fault(
        "trusts_open_by_digest",
        "an open entry is skipped where its digest is the same",
        _LEDGER,
        (("AND digest <> 0 AND NOT open THEN digest", "AND digest <> 0 THEN digest"),),
        ("tests/pipeline/test_ownership.py::test_a_group_in_conflict_heals_as_one",),
    ),
)  # fmt: skip

_MEMORY: Final = (
    Fault(
        "forgets_tombstones",
        "the entry is deleted together with its row",
        _LEDGER,
        (("await connection.execute(_DROP_STAGE)",
          "await connection.execute(_DROP_STAGE)\n            await connection.execute(self._sql("
          "\"DELETE FROM syncd_fingerprint WHERE state = 'src_deleted'\"))"),),
        ("tests/pipeline/test_relations.py::test_a_key_that_is_used_again_is_a_new_incarnation",),
    ),
    Fault(
        "memory_apart",
        "the ledger is written in another transaction than the target",
        _LEDGER,
        (("self._sql(_LOCK_FOR_UPDATE) if writes else self._sql(_LOCK)", "self._sql(_LOCK)"),
         ('        """Store entries, history lines, conflicts and outbox rows."""\n'
          "        connection, _ = _of(tx)\n",
          "        async with self._connections.acquire() as apart, apart.transaction():\n"
          "            await self._record(PgTx(apart, writes=True), plan, entries, imports, new)\n"
          "\n"
          "    async def _record(self, tx, plan, entries, imports, new):\n"
          "        connection, _ = _of(tx)\n")),
        ("tests/crash/test_lost_answers.py",),
    ),
    Fault(
        "no_fence",
        "a batch does not look whether the lease is still its own",
        _LEDGER,
        (("if await tx.connection.fetchval(*fence) is None:", "if False:"),),
        ("tests/pipeline/test_two_instances.py",),
    ),
    Fault(
        "no_lookup",
        "after a lost answer the batch is repeated without a look in the ledger",
        _APPLY,
        (("            if unknown:\n", "            if False:\n"),),
        ("tests/crash/test_lost_answers.py",),
    ),
    Fault(
        "event_outside",
        "the outbox row is missing",
        _LEDGER,
        (("        if events:\n", "        if False:\n"),),
        ("tests/pipeline/test_outcomes.py::"
         "test_an_event_stands_in_the_outbox_for_each_applied_change",),
    ),
)  # fmt: skip

_DELETES: Final = (
    Fault(
        "no_delete_guard",
        "deletes beyond both bounds are applied",
        "syncd.flow.guard",
        (("return rows > bounds.rows and rows * 100 > bounds.percent * remembered",
          "return False"),),
        ("tests/pipeline/test_deletes.py::test_deletes_are_held_beyond_both_bounds",),
    ),
    Fault(
        "empty_source_deletes",
        "an entity that came back empty deletes its rows",
        "syncd.flow.guard",
        (("if evidence.source_rows == 0:", "if False:"),),
        ("tests/flow/test_guard.py",),
    ),
    Fault(
        "approval_is_no_ceiling",
        "an approval lets every absent row go, those that nobody saw too",
        "syncd.flow.guard",
        (("passed = [key for key in asked if key in approved]",
          "passed = asked if approved else []"),
         ("others = [key for key in asked if key not in approved]",
          "others = [] if approved else asked")),
        ("tests/pipeline/test_deletes.py::test_an_approval_is_a_ceiling",),
    ),
    Fault(
        "failed_scan_is_complete",
        "what a scan that failed did not deliver is taken for absent",
        "syncd.flow.survey",
        (("        setattr(totals, name, await scan(send.send))\n",
          "        try:\n            setattr(totals, name, await scan(send.send))\n"
          "        except Exception:\n            pass\n"),),
        ("tests/flow/test_survey.py::test_a_source_that_fails_proves_no_absence",),
    ),
)  # fmt: skip

_BATCHES: Final = (
    Fault(
        "bisection_drops_half",
        "the second half of a refused batch is never tried",
        _APPLY,
        (("            await self._halving(items[middle:], once, refused)\n", ""),),
        ("tests/pipeline/test_target_values.py::test_one_bad_row_does_not_stop_the_499_others",),
    ),
    Fault(
        "counts_twice",
        "the rows of a batch are counted twice",
        _APPLY,
        (("        total.present.merge(tally.present)\n",
          "        total.present.merge(tally.present)\n" * 2),),
        ("tests/pipeline/test_outcomes.py::test_one_night_with_everything_adds_up",),
    ),
    Fault(
        "child_without_parent",
        "a child is written although its parent is not there",
        "syncd.flow.waiting",
        (('                return Missing(hard=f"parent:{edge.parent.entity}")\n',
          "                continue\n"),),
        ("tests/flow/test_waiting.py",),
    ),
    Fault(
        "survey_drops_the_tail",
        "the survey drops what the source delivers after the ledger's last record",
        "syncd.flow.survey",
        (
            (
                "            left = source.take(len(source.data))\n",
                "            left = source.take(len(source.data))[:0]\n",
            ),
        ),
        ("tests/flow/test_survey.py",),
    ),
    Fault(
        "duplicates_applied",
        "of a key that occurs twice the first record is written",
        "syncd.sources.postgres_records",
        (("    return Read(read.key, read.row, 0, issues)\n", "    return read\n"),),
        ("tests/pipeline/test_outcomes.py::test_a_key_that_occurs_twice_is_written_by_neither",),
    ),
)  # fmt: skip

_VALUES: Final = (
    Fault(
        "null_is_empty",
        "NULL has the hash of an empty text",
        "syncd.flow.value_hash",
        (("else none[v] for v in values]", 'else self.of([b""])[0] for v in values]'),),
        ("tests/flow/test_fingerprint.py::test_null_empty_and_missing_differ",),
    ),
    Fault(
        "keys_not_composed",
        "a text key is not brought into NFC",
        "syncd.flow.keys",
        (('return normalize("NFC", part.decode()).encode() + b"\\0"', 'return part + b"\\0"'),),
        ("tests/flow/test_keys.py::test_two_spellings_of_a_letter_are_one_key",),
    ),
    Fault(
        "decimals_as_written",
        "zeros at the end of a decimal make another value",
        "syncd.flow.canonical",
        (('kept = value if point < 0 else value.rstrip(b"0").rstrip(b".")', "kept = value"),),
        ("tests/flow/test_canonical.py", "tests/flow/test_normalise.py"),
    ),
)  # fmt: skip

FAULTS: Final = {fault.name: fault for fault in (*_MERGE, *_MEMORY, *_DELETES, *_BATCHES, *_VALUES)}
