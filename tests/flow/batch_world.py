"""A batch's world in memory: entries, rows, and a decider between them.

The doubles remember what they were asked to lock.
"""

from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec.structs import replace

from syncd.flow.decide import Batch, Decider, Settled, Sight
from syncd.flow.fingerprint import HASH_VERSION
from syncd.flow.keys import encode_key
from syncd.flow.model import (
    Column,
    ColumnType,
    Entry,
    Issue,
    Kind,
    Outcome,
    Parent,
    Plan,
    Read,
    Row,
    Severity,
    State,
    Value,
)
from syncd.flow.ports import Locked
from syncd.flow.transform import Drafter, Transform
from syncd.flow.waiting import Parents
from tests.flow.merge_world import HASHER

TX: Final[Any] = object()
SIGHT: Final = Sight(run_id=9, source_epoch=2, position=100, digest_epoch=6)
COLUMNS: Final = (
    Column("id", "id", ColumnType()),
    Column("name", "name", ColumnType()),
    Column("parent", "parent", ColumnType()),
)
PLAN: Final = Plan("nodes", 1, COLUMNS, (0,), COLUMNS, (0,), shape=3, revision=4)
TREE: Final = replace(PLAN, parents=(Parent("nodes", ("parent",)),))
SOFT_TREE: Final = replace(PLAN, parents=(Parent("nodes", ("parent",), nullable=True),))


def key(text: str) -> bytes:
    """The key of a text id."""
    return encode_key((Kind.TEXT,), (text.encode(),))


def read(text: str, name: Value = b"Ada", parent: Value = None, *issues: Issue) -> Read:
    """A record as read."""
    return Read(key(text), (text.encode(), name, parent), 7, issues)


class Ledger:
    """Entries in memory; remembers which keys were locked."""

    def __init__(self, *entries: Entry) -> None:
        self.entries = {entry.key: entry for entry in entries}
        self.locked: list[list[bytes]] = []

    async def lock(self, tx: object, plan: Plan, keys: Sequence[bytes]) -> Mapping[bytes, Entry]:
        """Entries of ``keys``."""
        assert tx is TX
        assert plan.name == PLAN.name
        self.locked.append(list(keys))
        return {of: self.entries[of] for of in keys if of in self.entries}

    async def live(self, tx: object, plan: Plan, keys: Sequence[bytes]) -> frozenset[bytes]:
        """Those of ``keys`` that are live."""
        assert tx is TX
        assert plan.name == PLAN.name
        live = {of for of, entry in self.entries.items() if entry.state is State.LIVE}
        return frozenset(live & set(keys))


class Target:
    """Rows in memory; remembers which keys were locked."""

    def __init__(self, rows: Mapping[str, Row] | None = None) -> None:
        self.rows = {key(text): row for text, row in (rows or {}).items()}
        self.locked: list[list[bytes]] = []
        self.drafts: Mapping[bytes, Row] | None = None
        self.gone: frozenset[bytes] = frozenset()
        self.unclear: dict[bytes, str] = {}

    async def lock(
        self,
        tx: object,
        plan: Plan,
        keys: Sequence[bytes],
        drafts: Mapping[bytes, Row] | None = None,
    ) -> Locked:
        """Rows of ``keys``."""
        assert tx is TX
        assert plan.name == PLAN.name
        self.locked.append(list(keys))
        self.drafts = drafts
        rows = {of: self.rows[of] for of in keys if of in self.rows}
        return Locked(rows, self.gone, self.unclear)


def decider(
    plan: Plan,
    ledger: Ledger,
    target: Target,
    transform: Transform | None = None,
    forced: Mapping[bytes, Mapping[str, bytes]] | None = None,
) -> Decider:
    """A decider over the two doubles."""
    parents = Parents(plan, {plan.name: plan})
    shores: tuple[Any, Any] = (ledger, target)
    return Decider(plan, SIGHT, HASHER, Drafter(plan, transform), parents, *shores, forced)


async def decide(
    reads: Sequence[Read],
    plan: Plan = PLAN,
    *,
    ledger: Ledger | None = None,
    target: Target | None = None,
    transform: Transform | None = None,
) -> Batch:
    """What is decided about ``reads``; nothing is known or there where nothing is said."""
    made = decider(plan, ledger or Ledger(), target or Target(), transform)
    return await made.decide(TX, reads)


def known(of: Read, plan: Plan = PLAN, **changes: Any) -> Entry:
    """The entry of a record that is in step, with ``changes``."""
    hashes = HASHER.columns(of.row)
    entry = Entry(
        key=of.key,
        digest=7,
        digest_epoch=6,
        fingerprint=HASHER.row_plan(plan.columns).of([b"".join(hashes)])[0],
        hash_version=HASH_VERSION,
        revision=plan.revision,
        shape=plan.shape,
        source_epoch=SIGHT.source_epoch,
        position=SIGHT.position - 1,
        state=State.LIVE,
        source_base=hashes,
        target_base=hashes,
        outcome=Outcome.INSERTED,
        run_id=8,
    )
    return replace(entry, **changes)


def outcomes(batch: Batch) -> dict[bytes, tuple[Outcome, str]]:
    """Outcome and reason per settled key."""
    return {s.key: (s.decision.outcome, s.decision.reason) for s in batch.settled}


def only(batch: Batch) -> Settled:
    """The one record that was settled."""
    (settled,) = batch.settled
    return settled


def error(code: str, field: str = "") -> Issue:
    """A finding that keeps a row out."""
    return Issue(Severity.ERROR, code, field)
