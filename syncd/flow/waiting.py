"""Children whose parents are not there yet.

A child waits when the ledger does not know its parent as live. It keeps its place with a reason,
and stands aside until a record of a parent's entity may have become live: then, in the same run or
in a later one, whoever waits is looked at again. So it is released when the parent lands, in
whatever order the two were met, and costs nothing until then (case 71).
"""

from collections.abc import Mapping, Sequence

from msgspec import Struct

from syncd.flow.keys import KeyIssue, encode_key
from syncd.flow.model import MISSING, Kind, Parent, Plan, Read, Row
from syncd.flow.ports import Ledger, Tx


class Edge(Struct, frozen=True):
    """One parent with columns: ``at`` are their places in the row, ``drafted`` in the draft.

    ``kinds`` are those of the parent's key.
    """

    parent: Parent
    plan: Plan
    kinds: tuple[Kind, ...]
    at: tuple[int, ...]
    drafted: tuple[int, ...]


class Missing(Struct, frozen=True):
    """``hard``: why the child must wait, or ''. ``soft``: drafted columns to leave out for now."""

    hard: str = ""
    soft: tuple[int, ...] = ()


Landed = Mapping[str, frozenset[bytes]]


class Parents:
    """The edges of one entity.

    ``planned`` holds, per entity, keys that a dry pass would have brought to life.
    """

    def __init__(
        self,
        plan: Plan,
        plans: Mapping[str, Plan],
        planned: Mapping[str, set[bytes]] | None = None,
    ) -> None:
        self._planned = planned or {}
        names = {column.name: at for at, column in enumerate(plan.columns)}
        drafted = {column.name: at for at, column in enumerate(plan.drafted)}
        self._plan = plan
        self.edges = tuple(
            Edge(
                parent,
                plans[parent.entity],
                plans[parent.entity].key_types,
                tuple(names[column] for column in parent.columns),
                tuple(drafted[column] for column in parent.columns if column in drafted),
            )
            for parent in plan.parents
            if parent.columns
        )

    async def landed(
        self, tx: Tx, ledger: Ledger, reads: Sequence[Read], own: Sequence[Read] | None = None
    ) -> Landed:
        """Keys of parents, per entity, that are live or become so in this very batch.

        ``own`` are those of ``reads`` that may be written; all of them where nothing is said.
        """
        landed: dict[str, frozenset[bytes]] = {}
        for edge in self.edges:
            wanted = {key for read in reads if (key := _parent_key(edge, read.row))}
            known = await ledger.live(tx, edge.plan, sorted(wanted))
            planned = wanted & self._planned.get(edge.parent.entity, set())
            earlier = landed.get(edge.parent.entity, frozenset())
            landed[edge.parent.entity] = earlier | known | planned
        if self._plan.name in landed:
            landed[self._plan.name] |= self._with_own(landed, reads if own is None else own)
        return landed

    def _with_own(self, landed: Landed, reads: Sequence[Read]) -> frozenset[bytes]:
        """Keys of this batch that will be live once it commits.

        All of it but what lacks a parent, and what lacks one of those, in turn; so a record may
        be its own parent, and two may be each other's.
        """
        ready = list(reads)
        while True:
            own = frozenset(read.key for read in ready)
            known = {**landed, self._plan.name: landed[self._plan.name] | own}
            still = [read for read in ready if not self.missing(read, known).hard]
            if len(still) == len(ready):
                return own
            ready = still

    def missing(self, read: Read, landed: Landed) -> Missing:
        """What the record lacks."""
        soft: tuple[int, ...] = ()
        for edge in self.edges:
            key = _parent_key(edge, read.row)
            if key == b"" or key in landed[edge.parent.entity]:
                continue
            if not edge.parent.nullable:
                return Missing(hard=f"parent:{edge.parent.entity}")
            soft += edge.drafted
        return Missing(soft=soft)

    def without(self, row: Row, left_out: Sequence[int]) -> Row:
        """The draft without the columns of a parent that is to come."""
        if not left_out:
            return row
        return tuple(MISSING if at in left_out else value for at, value in enumerate(row))


def _parent_key(edge: Edge, row: Row) -> bytes:
    """The key of the parent; b'' when the row names none.

    A reference that cannot be a key of the parent at all comes back as a key that nobody has.
    """
    parts = [row[at] for at in edge.at]
    if any(part is None or part is MISSING for part in parts):
        return b""
    try:
        return encode_key(edge.kinds, parts)
    except KeyIssue:
        return b"\xff\xff"
