"""The judge: I1 to I15, from what came to stand and from what the runs said of it.

It shares nothing with flow/ but the nouns. It reads the history, which the store itself keeps:
who changed what at the target, what each look at the source held, and which outcomes stood beside
it. ``Checker.see`` judges each event when it stands, so *before* any reconcile; ``at_end`` judges
the final state, after quiet nights. Rows are looked at in ``accounts.py``.

| | what is asserted |
|---|---|
| I1 | each run that says an entity is done has brought its records in step; so has the quiet end |
| I2 | a value is written over, or a row deleted, only while it is what syncd last left there |
| I3 | a row of syncd's that staff deleted is not inserted again |
| I4 | one entry for each row that syncd made, and no row for a key that the source never had |
| I5 | the position of an entry never goes back; an entry is never forgotten |
| I6 | row, entry, history, event and unit stand together, and the unit says what was recorded |
| I7 | a run is told only what stands: its counts are those of recorded outcomes, also in metrics. |
|    | Messages are not acknowledged yet; that part comes with streaming |
| I8 | seen is the sum, counted once more from the source, the entries and what was held |
| I9 | no commit comes with an epoch that is not the newest, and nobody else closes a run |
| I10 | a delete needs a whole look that lacks the record, and the guard's leave |
| I11 | the source is never changed; the doubles have no way to, so nothing is asserted here |
| I12 | equal rows have equal fingerprints, others have others; the trace is tested for the rest |
| I13 | no value of a row in a reason, a note, a log line or an error |
| I14 | rows in a batch, transactions side by side, findings and reasons keep their limits |
| I15 | when nothing befalls it any more each entity ends well, and the last night writes nothing |
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct
from msgspec.structs import astuple

from syncd.flow.model import PARKED, Counts, Entry, Outcome, Row, State
from tests.memory.ledger import is_aside
from tests.memory.store import State as Kept
from tests.sim.accounts import Account, BrokenError, hold, is_value
from tests.sim.history import (
    Change,
    Committed,
    Event,
    Looked,
    Reviewed,
    Staffed,
    Stopped,
    Told,
)
from tests.sim.setup import Rule, Setup

__all__ = ["BrokenError", "Checker"]

# Faults of production that are known and open: the check that finds each is left out, and a test
# proves with a kept schedule that it is still needed. An empty set is the aim.
KNOWN: Final[set[str]] = set()
_APPLIED: Final = ("inserted", "updated", "deleted", "linked")
_REASON_MAX: Final = 500
_COUNTED: Final = ("inserted", "updated", "deleted", "linked", "conflict", "waiting", "failed")


class Look(Struct):
    """A look at the source with what the ledger held of each entity then."""

    looked: Looked
    at: int
    rows: dict[str, dict[bytes, Row]]
    twice: dict[str, set[bytes]]
    unread: dict[str, int]
    remembered: dict[str, set[bytes]]
    done: set[str] = set()  # entities whose run went to its end with this look
    noted: set[tuple[str, bytes]] = set()  # records of which this look has left a trace


class Checker:
    """Judges one simulation."""

    def __init__(self, setup: Setup, rules: Mapping[str, Rule]) -> None:
        self.setup = setup
        self.rules = rules
        self.accounts: dict[str, dict[bytes, Account]] = {name: {} for name in rules}
        self.entries: dict[str, dict[bytes, Entry]] = {name: {} for name in rules}
        self.looks: dict[str, Look] = {}
        self._names = {rule.entity_id: name for name, rule in rules.items()}
        self._fingerprints: dict[str, dict[bytes, Row]] = {name: {} for name in rules}
        self._approved: dict[str, set[bytes]] = {name: set() for name in rules}
        self._rejected: dict[str, set[bytes]] = {name: set() for name in rules}
        self._all: list[Look] = []
        self._outcomes: dict[tuple[int, str], dict[bytes, Outcome]] = {}
        self._unit_ids: set[tuple[int, int, str]] = set()
        self._made: dict[tuple[int, str], set[bytes]] = {}  # keys that a run has inserted
        self._at = 0

    def see(self, event: Event) -> None:
        """Judge one event, in the order of the history."""
        self._at += 1
        if isinstance(event, Looked):
            self._looked(event)
        elif isinstance(event, Staffed):
            self._account(event.change).staff(event.change, self._at)
        elif isinstance(event, Committed):
            self._committed(event)
        elif isinstance(event, Reviewed):
            self._reviewed(event)
        elif isinstance(event, Told):
            self._told(event)

    # -- looks and reviews -------------------------------------------------------------------

    def _looked(self, event: Looked) -> None:
        look = Look(event, self._at, {}, {}, {}, {})
        for name, rule in self.rules.items():
            rows: dict[bytes, Row] = {}
            twice: set[bytes] = set()
            keys = [rule.key_of(row) for row in event.rows[name]]
            for key, row in zip(keys, event.rows[name], strict=True):
                if key in rows:
                    twice.add(key)
                if key:
                    rows[key] = row
            look.rows[name], look.twice[name] = rows, twice
            look.unread[name] = keys.count(b"")
            known = {key for key, entry in self.entries[name].items() if entry.present}
            look.remembered[name] = known
            # A rejection ends with the record's return; an approval ends when a run has seen it.
            self._rejected[name] -= rows.keys()
        self.looks[event.who] = look
        self._all.append(look)

    def _reviewed(self, event: Reviewed) -> None:
        name = self._names[event.entity_id]
        chosen, other = self._approved[name], self._rejected[name]
        if event.decision == "rejected":
            chosen, other = other, chosen
        chosen.update(event.keys)
        other.difference_update(event.keys)

    # -- commits -----------------------------------------------------------------------------

    def _committed(self, event: Committed) -> None:
        hold("I6", not event.unlocked, "{} were written and not locked", event.unlocked)
        if event.refused:
            often = max(Counter(event.refused).values())
            hold("I14", often <= 2, "a batch was refused {} times", often)
        hold("I9", event.epoch == event.current, "{} wrote under an old epoch", event.who)
        # A first load takes two batches in a transaction; nothing else does.
        most = self.setup.batch_rows * (1 if any(old for _, _, old, _ in event.entries) else 2)
        hold("I14", len(event.recorded) <= most, "{} rows in a batch", len(event.recorded))
        hold("I14", event.open <= self.setup.writers, "{} transactions side by side", event.open)
        look = self.looks[event.who]
        after = {(self._names[e], key): entry for e, key, _, entry in event.entries}
        before = {(self._names[e], key): entry for e, key, entry, _ in event.entries}
        for (name, key), entry in after.items():
            if key in look.rows[name]:
                look.noted.add((name, key))
            self._entry(look, name, key, before[name, key], entry)
        recorded = [(self._names[e], key) for e, key in event.recorded]
        given = {
            where: self._given(look, before.get(where), after.get(where) or self._entry_of(where))
            for where in recorded
        }
        changed = {(c.table, c.key) for c in event.changes}
        self._together(event, given, changed)
        self._unit(event, given)
        for change in event.changes:
            self._changed(look, change)
            if change.before is None and event.units:
                self._made.setdefault((event.units[0][0], change.table), set()).add(change.key)
        for name, key, is_marked in event.marks:
            if is_marked:
                self._may_delete(look, name, key)
                self.accounts[name][key].deleted(self._row_of(name, key), is_soft=True)
            else:
                self.accounts[name][key].is_marked = False
        for name, key in recorded:
            entry = after[name, key]
            assert entry is not None
            if given[name, key] is not Outcome.STALE:
                self._seen_again(look, name, key, entry)

    def _entry_of(self, where: tuple[str, bytes]) -> Entry:
        return self.entries[where[0]][where[1]]

    @staticmethod
    def _given(look: Look, before: Entry | None, after: Entry) -> Outcome:
        """The outcome that an entry was given; an absence that is old news leaves it as it was."""
        if before == after and look.looked.position < after.position:
            return Outcome.STALE
        assert after.outcome is not None
        return after.outcome

    def _entry(
        self, look: Look, name: str, key: bytes, before: Entry | None, after: Entry | None
    ) -> None:
        if after is None:
            raise BrokenError("I5", f"the entry of {name} {key!r} was forgotten")
        if before is not None:
            earlier = before.source_epoch, before.position
            hold("I5", (after.source_epoch, after.position) >= earlier, "an entry went back")
        hold("I14", len(after.reason) <= _REASON_MAX, "a long reason")
        hold("I13", not is_value(after.reason), "a value in the reason of an entry")
        row = look.rows[name].get(key)
        # One that was set aside keeps the fingerprint of what it was merged from.
        is_of_look = after.present and after.digest and after.outcome not in PARKED
        if row is not None and is_of_look and after.fingerprint:
            known = self._fingerprints[name].setdefault(after.fingerprint, row)
            hold("I12", known == row, "one fingerprint for two rows")
        self.entries[name][key] = after
        if after.state in (State.ORPHAN_KEPT, State.QUARANTINED):
            account = self.accounts[name].get(key)
            is_theirs = account is not None and account.is_touched
            hold("I1", is_theirs, "{} {!r} is {}, and nobody touched it", name, key, after.state)

    def _together(
        self,
        event: Committed,
        given: Mapping[tuple[str, bytes], Outcome],
        changed: set[tuple[str, bytes]],
    ) -> None:
        """I4, I6: every change has its entry, its line and its event, and the other way round."""
        told = {(self._names[e], i.key): i for _, e, i in event.imports}
        events = [(self._names[e], key) for e, key, _ in event.events]
        marked = {(name, key) for name, key, _ in event.marks}
        written = changed | marked
        for where in written:
            loaded = event.units[0][4].present.inserted if event.units else 0
            is_loaded = where not in told and loaded > 0
            if where not in given or (where not in told and not is_loaded):
                raise BrokenError("I6", f"{where} was written without an entry or a line")
        for where, outcome in given.items():
            if outcome is Outcome.DELETED and where not in written:
                raise BrokenError("I6", f"{where} counts as deleted, and stands")
            if where in told and told[where].outcome in (Outcome.INSERTED, Outcome.LINKED):
                hold("I6", self._is_there(event, where), "what counts as inserted is not there")
        for where, line in told.items():
            applied = line.outcome in _APPLIED
            wanted = applied and bool(self.setup.event) and where[0] == "parents"
            if where not in given or (where in events) != wanted:
                raise BrokenError("I6", f"the entry or the event of {where}")

    def _is_there(self, event: Committed, where: tuple[str, bytes]) -> bool:
        for change in event.changes:
            if (change.table, change.key) == where:
                return change.after is not None
        return self._row_of(*where) is not None

    def _unit(self, event: Committed, given: Mapping[tuple[str, bytes], Outcome]) -> None:
        """I6, I8: one unit for what was recorded, and it says exactly that."""
        hold("I6", len(event.units) == bool(given), "{} units", len(event.units))
        for run_id, entity_id, unit_id, _, unit in event.units:
            name = self._names[entity_id]
            hold("I6", (run_id, entity_id, unit_id) not in self._unit_ids, "a unit counts twice")
            self._unit_ids.add((run_id, entity_id, unit_id))
            gave: dict[str, int] = {}
            redone: dict[str, int] = {}
            outcomes = self._outcomes.setdefault((run_id, name), {})
            for where, outcome in given.items():
                gave[outcome] = gave.get(outcome, 0) + 1
                earlier = outcomes.get(where[1])
                if earlier is not None:
                    redone[earlier] = redone.get(earlier, 0) + 1
                outcomes[where[1]] = outcome
            for counts, wanted, word in (
                ((unit.present, unit.absent), gave, "given"),
                ((unit.present_redone, unit.absent_redone), redone, "redone"),
            ):
                said = _sum(counts)
                if said != wanted:
                    raise BrokenError("I8", f"{word}: {wanted}, the unit says {said}")

    def _changed(self, look: Look, change: Change) -> None:
        account, rule = self._account(change), self.rules[change.table]
        if change.after is None:
            self._may_delete(look, change.table, change.key)
            account.deleted(change.before)
            return
        row = look.rows[change.table].get(change.key)
        hold("I4", row is not None, "{} {!r}: written without a source", change.table, change.key)
        assert row is not None
        parent = self._parent_state(rule, row)
        hold("I4", rule.is_soft or parent, "{!r}: written before its parent", change.key)
        account.written(change, rule.make(row), overwrites=self.setup.on_conflict == "source_wins")

    def _seen_again(self, look: Look, name: str, key: bytes, entry: Entry) -> None:
        """What agrees after a look is agreed; a record that was set aside was not looked at."""
        row = look.rows[name].get(key)
        if row is None or entry.outcome in ("waiting", "invalid", "failed"):
            return
        if entry.outcome == "skipped" and entry.state is not State.LIVE:
            return
        made = self.rules[name].make(row)
        target = self._row_of(name, key)
        if isinstance(made, tuple) and target is not None and entry.state is State.LIVE:
            self.accounts[name][key].agreed(target, made)

    def _may_delete(self, look: Look, name: str, key: bytes) -> None:
        """I10, told from the looks alone."""
        where = f"{name} {key!r}"
        rows, known = look.rows[name], look.remembered[name]
        hold("I10", name not in look.looked.failed, "{}: deleted by a look that failed", where)
        hold("I10", key not in rows, "{}: deleted, and the source has it", where)
        hold("I10", self.setup.deletes != "report", "{}: deleted, and only to be told", where)
        hold("I10", key not in self._rejected[name], "{}: deleted, and rejected", where)
        usable = len(look.looked.rows[name]) - look.unread[name] - len(look.twice[name])
        hold("I10", usable > 0, "{}: deleted by an empty look", where)
        if key in self._approved[name]:
            return
        missing = known - rows.keys() - self._rejected[name] - self._approved[name]
        hold("I10", not look.unread[name], "{}: deleted beside rows without a key", where)
        is_many = len(missing) > self.setup.hold_rows
        is_most = len(missing) * 100 > self.setup.hold_percent * len(known)
        hold(
            "I10",
            not (is_many and is_most),
            "{}: {} of {} at once",
            where,
            len(missing),
            len(known),
        )
        missed = self._missed(name, key)
        hold("I10", missed >= self.setup.confirm_runs, "{}: missed {} times only", where, missed)

    def _missed(self, name: str, key: bytes) -> int:
        """How many of the newest looks, one after the other, were whole and lacked the key.

        A look that was cut off before it left any trace of the record does not count at all.
        """
        number = 0
        for look in reversed(self._all):
            if key in look.rows[name]:
                if name in look.done or (name, key) in look.noted:
                    break
                continue
            number += name not in look.looked.failed
        return number

    # -- what runs say -----------------------------------------------------------------------

    def _told(self, event: Told) -> None:
        hold("I13", not any(map(is_value, event.words)), "a value in {}", event.words)
        hold("I14", event.findings <= 5, "{} findings are kept", event.findings)
        if event.holder not in ("", event.who):
            raise BrokenError("I9", f"{event.who}: closed after {event.holder} came")
        if event.status != "completed":
            return
        look, name, counts = self.looks[event.who], event.entity, event.counts
        hold("I10", name not in look.looked.failed, "{}: done, and its look had failed", name)
        seen = counts["seen"]
        total = sum(counts.values()) - seen
        if seen != total or min(counts.values()) < 0:
            raise BrokenError("I8", f"{name}: {counts}")
        given = self._outcomes.get((event.run_id, name), {})
        # One that has gone since is told as absent.
        made = self._made.get((event.run_id, name), set()) & look.rows[name].keys()
        is_told = all(given[key] is not Outcome.UNCHANGED for key in made)
        hold("I8", is_told, "{}: what this run inserted counts as unchanged", name)
        outcomes = list(self._outcomes.get((event.run_id, name), {}).values())
        for word in _COUNTED:
            aside = self._aside(look, name, given) if word == Outcome.WAITING else 0
            told = counts[word] - outcomes.count(word)  # type: ignore[arg-type]
            # What an earlier attempt decided and has left since may stand for one that waits.
            if told != aside and not (event.attempt > 1 and 0 <= told < aside):
                raise BrokenError("I8", f"{word}: {counts}, recorded {sorted(outcomes)}")
        look.done.add(name)
        absent = look.remembered[name] - look.rows[name].keys()
        self._approved[name] -= look.rows[name].keys()
        if event.attempt == 1:
            rows = len(look.looked.rows[name])
            if seen != rows + len(absent):
                raise BrokenError("I8", f"{name}: {rows} rows, {len(absent)} absent, {counts}")
        self.assert_in_step(name, look)

    def _aside(self, look: Look, name: str, given: Mapping[bytes, Outcome]) -> int:
        """Records that wait since an earlier run, and that this one need not look at."""
        return sum(
            is_aside(entry) and entry.outcome is Outcome.WAITING
            for key, entry in self.entries[name].items()
            if key in look.rows[name] and key not in given
        )

    def assert_in_step(self, name: str, look: Look, *, finally_: bool = False) -> None:
        """I1: each record of the look is at the target, but for what is known to stand against."""
        rule = self.rules[name]
        for key, row in look.rows[name].items():
            made, entry = rule.make(row), self.entries[name].get(key)
            if entry is None:
                raise BrokenError("I1", f"{name} {key!r} has no entry")
            if key in look.twice[name] or isinstance(made, str):
                continue
            is_stale = (look.looked.position) < entry.position
            if entry.state is State.QUARANTINED or is_stale:
                continue
            account = self.accounts[name].get(key) or Account(rule)
            if account.staff_at > look.at:
                continue  # they were at it while the run was; the next one sees to it
            parent = self._parent_state(rule, row)
            if not parent and not rule.is_soft:
                continue
            is_refused = entry.outcome == "failed" or rule.refuses(made)
            hold("I1", rule.refuses(made) or not (finally_ and is_refused), "a sound row failed")
            if is_refused:
                continue
            account.assert_in_step(
                name, key, made, self._row_of(name, key), lacks_parent=not parent
            )

    def _parent_state(self, rule: Rule, row: Row) -> bool:
        """Whether the parent that a row names has landed, or it names none."""
        if not rule.parent or row[rule.parent_at] is None:
            return True
        parent = self.entries[rule.parent].get(
            self.rules[rule.parent].key_from(row[rule.parent_at])
        )
        return parent is not None and parent.state is State.LIVE

    # -- the end -----------------------------------------------------------------------------

    def at_end(self, kept: Kept, events: Sequence[Event], quiet_from: int) -> None:
        """I15 and the rest of I1: ``events`` from ``quiet_from`` on are of the quiet nights."""
        ends = [e for e in events[quiet_from:] if isinstance(e, Told | Stopped)]
        for end in ends:
            ended = isinstance(end, Told) and end.status == "completed"
            hold("I15", ended, "a quiet night ended badly: {}", end)
        last = next(i for i in range(len(events) - 1, -1, -1) if isinstance(events[i], Looked))
        writes = [e for e in events[last:] if isinstance(e, Committed) and (e.changes or e.marks)]
        hold("I15", not writes, "the last quiet night wrote {}", writes[:1])
        look = self.looks[events[last].who]  # type: ignore[union-attr]
        for name, rule in self.rules.items():
            self.assert_in_step(name, look, finally_=True)
            held = kept.held.get(rule.entity_id, {})
            for key, row in sorted(kept.tables[name].items()):
                if key not in look.rows[name] and key not in held:
                    self._left_over(look, name, key, row)

    def _left_over(self, look: Look, name: str, key: bytes, row: Row) -> None:
        """A row that the source has not, and that is not held, is staff's or marked."""
        account, entry = self.accounts[name][key], self.entries[name].get(key)
        if account.is_marked or self.setup.deletes == "report" or not look.looked.rows[name]:
            return
        if key in self._rejected[name] or (entry and entry.outcome == "failed"):
            return
        is_kept = entry is not None and entry.state in (State.ORPHAN_KEPT, State.TGT_DELETED)
        if entry is not None and entry.state is State.QUARANTINED:
            return
        is_theirs = is_kept or not account.is_ours(row)
        hold("I1", is_theirs, "{} {!r}: deleted at the source, and still there", name, key)

    def _account(self, change: Change) -> Account:
        accounts = self.accounts[change.table]
        if change.key not in accounts:
            accounts[change.key] = Account(self.rules[change.table])
        return accounts[change.key]

    def _row_of(self, name: str, key: bytes) -> Row | None:
        account = self.accounts[name].get(key)
        return account.row if account else None


def _sum(counts: Sequence[Counts]) -> dict[str, int]:
    """What is counted, without zeros."""
    total: dict[str, int] = {}
    for one in counts:
        for word, rows in zip(Counts.__struct_fields__, astuple(one), strict=True):
            if rows:
                total[word] = total.get(word, 0) + rows
    return {word: rows for word, rows in total.items() if rows}
