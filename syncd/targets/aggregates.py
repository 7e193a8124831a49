"""Aggregates in PostgreSQL: a document that lies in a root, its parts, and the link that names it.

The flow sees one row. Which row of the root is a record's, the link says, a table of the target's
application: it is written in the transaction of the row and never by anybody else. A record without
a link is looked for among the rows that nobody is linked to (``twins``) before one is made.

Locking is in three statements, since each sees what the one before has waited for: the roots in
the order of their keys, then the rows of the parts, then the look. The lock on a root is one that
the foreign keys of its children conflict with, so nobody adds a child between look and write.
"""

import unicodedata
from collections.abc import Mapping, Sequence
from typing import Any, Final

from msgspec import Struct

from syncd.errors import DriftError, InvariantError, RowError
from syncd.failpoints import failpoint
from syncd.flow.model import Ownership, Plan, Read, ReadColumns, Row, Shape, Value, Write
from syncd.flow.normalise import Dialect, Normaliser
from syncd.flow.ports import Cargo, EmitReads, Locked, Tx
from syncd.pg import dialect
from syncd.pg.connect import Connections
from syncd.pg.copy_pieces import CopyPieces
from syncd.pg.errors import translate
from syncd.pg.transaction import transaction
from syncd.targets import aggregate_sql as sql
from syncd.targets.aggregate_rows import root_id, source_ids, staged
from syncd.targets.aggregate_shape import Tables, introspect, lacking, placed
from syncd.targets.aggregate_sql import Document, Statement
from syncd.targets.layout import Layout, Term
from syncd.targets.staging import (
    Changes,
    assert_single,
    assert_stored,
    canonical_row,
    counted,
    expect,
    opened,
)
from syncd.targets.table_sql import DROP_STAGE, STAGE

AMBIGUOUS: Final = "twin:ambiguous"
_SCAN_ROWS: Final = 5000


class _Roots(Struct):
    """Which rows of the root a batch is about."""

    ids: dict[bytes, Any]
    twins: dict[bytes, Any]
    unclear: dict[bytes, str]
    linked: frozenset[bytes]


class PostgresAggregates:
    """The aggregates of a pipeline's target."""

    def __init__(self, connections: Connections, layouts: Mapping[str, Layout]) -> None:
        self._connections = connections
        self._layouts = layouts
        self._documents: dict[str, Document] = {}

    async def describe(self, entity: str) -> Shape:
        """Columns of the document as far as the tables are there; empty without a root."""
        layout = self._layouts[entity]
        tables = await self._introspect(layout)
        if not tables.root:
            return {}
        return {name: place.found for name, place in placed(layout, tables).items()}

    async def lacking(self, entity: str) -> tuple[str, ...]:
        """What the target must have and has not; nothing of it is made by syncd."""
        layout = self._layouts[entity]
        return lacking(layout, await self._introspect(layout))

    async def prepare(self, plan: Plan) -> None:
        """Introspect all tables once, before the plan is used.

        Raises DriftError when a table or a column is not there or cannot be written.
        """
        layout = self._layouts[plan.name]
        tables = await self._introspect(layout)
        missing = lacking(layout, tables)
        if missing:
            raise DriftError(
                f"entity {plan.name}: {'; '.join(missing)}",
                hint="migrate the target, or correct aggregate",
            )
        places = placed(layout, tables)
        unknown = [c.into for c in plan.drafted if c.into not in places]
        if unknown:
            raise DriftError(
                f"entity {plan.name}: the document has no column {', '.join(unknown)}; "
                f"found {', '.join(places)}",
                hint="migrate the target, or map the column elsewhere",
            )
        frozen = [
            c.into
            for c in plan.drafted
            if c.ownership is not Ownership.COMPUTED and not places[c.into].found.writable
        ]
        if frozen:
            raise DriftError(
                f"entity {plan.name}: {layout.root} generates {', '.join(frozen)} itself",
                hint="give these columns the ownership computed",
            )
        chosen = tuple(places[c.into] for c in plan.drafted)
        self._documents[plan.name] = Document(
            layout=layout,
            places=chosen,
            natives={name: found.native for name, found in tables.root.items()},
            part_natives=tuple(
                {name: found.native for name, found in part.items()} for part in tables.parts
            ),
            key_kind=plan.key_types[0],
            reader=Normaliser(
                [p.found.name for p in chosen], [p.found.type for p in chosen], Dialect.CANONICAL
            ),
        )

    async def create(self, plan: Plan, order: Sequence[str]) -> bool:
        """False: the tables of an aggregate belong to the target's application."""
        del plan, order
        return False

    async def widen(self, plan: Plan) -> tuple[str, ...]:
        """Nothing, for the same reason."""
        del plan
        return ()

    async def add_soft_delete(self, plan: Plan) -> bool:
        """False, for the same reason."""
        del plan
        return False

    async def row_id(self, tx: Tx, plan: Plan, key: bytes) -> str:
        """The id that the link gives a record; '' where it has none."""
        connection, _ = opened(tx)
        layout, sources = self._layouts[plan.name], source_ids(plan, [key])
        rows = await _fetch(connection, sql.linked(layout.link, layout.type, [*sources.values()]))
        return str(rows[0][1]) if rows else ""

    async def is_empty(self, plan: Plan) -> bool:
        """Whether no row of the root is linked."""
        found = sql.any_link(self._layouts[plan.name])
        with translate(f"looking at the target of {plan.name}"):
            async with self._connections.acquire() as connection:
                return not await connection.fetchval(found.text, *found.values)

    async def lock(
        self,
        tx: Tx,
        plan: Plan,
        keys: Sequence[bytes],
        drafts: Mapping[bytes, Row] | None = None,
    ) -> Locked:
        """The documents of ``keys``; those found as twins are linked where it may be written.

        Two writers may find the same row at the same time: the second sees, once it has the lock,
        that the row is taken.
        """
        connection, writes = opened(tx)
        document = self._documents[plan.name]
        sources = source_ids(plan, keys)
        roots = await self._find(connection, document, sources, drafts or {})
        asked = {key: roots.ids[key] for key in sorted(roots.ids)}
        if writes and asked:
            there = await connection.fetch(
                sql.lock_roots(document.layout), [*asked], [*asked.values()]
            )
            await failpoint("aggregate.roots_locked")
            asked = {row[0]: row[1] for row in there}
            for key in await self._link(connection, document, sources, roots, asked, drafts or {}):
                del asked[key]
            for part in document.layout.parts:
                await connection.execute(sql.lock_part(part), [*asked.values()])
            await failpoint("aggregate.parts_locked")
        rows = await self._rows(connection, document, plan, sources, asked)
        twins = frozenset(roots.twins) & rows.keys()
        return Locked(rows, roots.linked - rows.keys(), roots.unclear, twins)

    async def write(self, tx: Tx, plan: Plan, changes: Changes) -> Mapping[bytes, Row]:
        """Stage and carry out; every written document as the target holds it afterwards."""
        connection, _ = opened(tx)
        document = self._documents[plan.name]
        sources = source_ids(plan, [key for key, _, _ in changes])
        ids = await self._ids(connection, document, plan, sources, changes)
        looked = await self._looked(connection, document, changes)
        await connection.execute(sql.create_stage(document, plan))
        await failpoint("aggregate.stage")
        lines = dialect.copy_rows(staged(document, plan, changes, sources, ids, looked))
        await connection.copy_to_table(STAGE, source=CopyPieces([lines]), format="text")
        await failpoint("aggregate.copied")
        await self._delete(connection, document, plan, changes)
        await self._write_roots(connection, document, plan, changes)
        await self._write_parts(connection, document, plan, changes)
        linking = sql.upsert_links(document.layout)
        await connection.execute(linking.text, *linking.values)
        await failpoint("aggregate.linked")
        written = {key: ids[key] for key, _, d in changes if d.write is not Write.DELETE}
        stored = await self._rows(connection, document, plan, sources, written)
        await failpoint("aggregate.read_back")
        assert_stored(plan, changes, stored)
        await connection.execute(DROP_STAGE)
        await failpoint("aggregate.written")
        return stored

    def pack(self, plan: Plan, reads: ReadColumns) -> None:
        """Nothing: what lies in several tables is always written by ``write``."""
        del plan, reads

    async def load(self, tx: Tx, plan: Plan, cargo: Sequence[Cargo]) -> bool:
        """Never, since nothing is packed."""
        del tx, plan
        return not cargo

    async def scan(self, plan: Plan, emit: EmitReads) -> int:
        """Push all linked documents in key order."""
        document = self._documents[plan.name]
        statement, total = sql.all_documents(document), 0
        async with transaction(self._connections, writes=False) as tx:
            cursor = await tx.connection.cursor(statement.text, *statement.values)
            while rows := await cursor.fetch(_SCAN_ROWS):
                total += len(rows)
                reader = document.reader
                await emit([Read(key=row[0], row=canonical_row(reader, row[1:])) for row in rows])
        return total

    async def close(self) -> None:
        """Nothing of its own to release: the connections are shared."""

    # -- which row is whose --------------------------------------------------------------------

    async def _introspect(self, layout: Layout) -> Tables:
        with translate(f"describing the target of {layout.entity}"):
            async with self._connections.acquire() as connection:
                return await introspect(connection, layout)

    async def _find(
        self,
        connection: Any,
        document: Document,
        sources: Mapping[bytes, str],
        drafts: Mapping[bytes, Row],
    ) -> _Roots:
        """By the link, and for what is not linked by what it says."""
        keys = {source: key for key, source in sources.items()}
        layout = document.layout
        known = await _fetch(connection, sql.linked(layout.link, layout.type, [*keys]))
        ids = {keys[row[0]]: row[1] for row in known}
        roots = _Roots(ids, {}, {}, frozenset(ids))
        free = [key for key in sources if key not in ids and key in drafts]
        for rule in layout.twins:
            if free:
                await self._match(connection, document, rule, roots, free, drafts)
                free = [k for k in free if k not in roots.twins and k not in roots.unclear]
        roots.ids |= roots.twins
        return roots

    async def _match(
        self,
        connection: Any,
        document: Document,
        rule: Sequence[Term],
        roots: _Roots,
        keys: Sequence[bytes],
        drafts: Mapping[bytes, Row],
    ) -> None:
        """Candidates by one rule: exactly one, which no other record claims, is the row."""
        at = _positions(document, rule)
        values = {key: said for key in keys if (said := _terms(drafts[key], at))}
        if not values:
            return
        columns = [
            await self._ids_of(connection, document, term, column)
            for term, column in zip(rule, zip(*values.values(), strict=True), strict=True)
        ]
        rows = await _fetch(connection, sql.twins(document, rule, [*values], columns))
        found: dict[bytes, list[Any]] = {}
        claims: dict[Any, int] = {}
        for key, of in rows:
            found.setdefault(key, []).append(of)
            claims[of] = claims.get(of, 0) + 1
        for key, candidates in found.items():
            if len(candidates) == 1 and claims[candidates[0]] == 1:
                roots.twins[key] = candidates[0]
            else:
                roots.unclear[key] = AMBIGUOUS

    async def _ids_of(
        self, connection: Any, document: Document, term: Term, column: Sequence[str]
    ) -> list[str | None]:
        """The values of a term; source ids of a parent become the ids of its rows."""
        places = [p for p in document.places if p.kind == "refer" and p.column == term.column]
        if not places:
            return [*column]
        other = document.layout.refers[places[0].at]
        rows = await _fetch(connection, sql.linked(other.table, other.type, [*column]))
        ids = {row[0]: str(row[1]) for row in rows}
        return [ids.get(value) for value in column]

    async def _link(
        self,
        connection: Any,
        document: Document,
        sources: Mapping[bytes, str],
        roots: _Roots,
        locked: Mapping[bytes, Any],
        drafts: Mapping[bytes, Row],
    ) -> list[bytes]:
        """Note in the link whose the found rows are; keys of those that another was given."""
        twins = {key: of for key, of in roots.twins.items() if key in locked}
        if not twins:
            return []
        linked = [sources[key] for key in twins]
        carried = [_text(drafts[key][at]) for key in twins for at in document.at("updated")]
        linking = sql.link_twins(
            document.layout, linked, [*twins.values()], carried or [None] * len(linked)
        )
        made = {row[0] for row in await _fetch(connection, linking)}
        await failpoint("aggregate.matched")
        lost = [key for key in twins if sources[key] not in made]
        roots.unclear |= dict.fromkeys(lost, AMBIGUOUS)
        return lost

    async def _rows(
        self,
        connection: Any,
        document: Document,
        plan: Plan,
        sources: Mapping[bytes, str],
        ids: Mapping[bytes, Any],
    ) -> dict[bytes, Row]:
        """The documents of these roots as they now stand."""
        if not ids:
            return {}
        linked = [sources[key] for key in ids]
        statement = sql.documents(document, [*ids], linked, [*ids.values()])
        rows = await _fetch(connection, statement)
        found = {row[0]: canonical_row(document.reader, row[1:]) for row in rows}
        assert_single(plan, len(rows) - len(found))
        return found

    # -- writing -------------------------------------------------------------------------------

    async def _ids(
        self,
        connection: Any,
        document: Document,
        plan: Plan,
        sources: Mapping[bytes, str],
        changes: Changes,
    ) -> dict[bytes, str]:
        """The ids of all roots of a batch: new ones are made, the others stand in the link."""
        layout = document.layout
        ids, known = {}, {}
        for key, _, decision in changes:
            source = sources[key]
            if decision.write is Write.INSERT:
                ids[key] = root_id(layout.type, source, decision.entry.incarnation)
            else:
                known[source] = key
        if known:
            rows = await _fetch(connection, sql.linked(layout.link, layout.type, [*known]))
            ids |= {known[row[0]]: str(row[1]) for row in rows}
        if len(ids) < len(changes):
            raise InvariantError(
                f"entity {plan.name}: a row is to be written that is not linked, though it was "
                "locked; the batch was rolled back",
                hint="is another importer at work on the same link?",
            )
        return ids

    async def _looked(
        self, connection: Any, document: Document, changes: Changes
    ) -> dict[tuple[int, str], str]:
        """The ids of the rows that are referred to, by reference and source id.

        Raises RowError where one is not linked, as a foreign key would.
        """
        looked: dict[tuple[int, str], str] = {}
        for at, place in enumerate(document.places):
            if place.kind != "refer":
                continue
            wanted = {
                value for _, row, d in changes if at in d.written and (value := _text(row[at]))
            }
            if not wanted:
                continue
            other = document.layout.refers[place.at]
            folded = {unicodedata.normalize("NFC", value): value for value in wanted}
            rows = await _fetch(connection, sql.linked(other.table, other.type, [*folded]))
            looked |= {(place.at, folded[row[0]]): str(row[1]) for row in rows}
            if len(rows) < len(wanted):
                raise RowError(
                    f"a row refers by {place.column} to a record of {other.entity} that is not "
                    "linked",
                    sqlstate="23503",
                    constraint=place.column,
                )
        return looked

    async def _delete(
        self, connection: Any, document: Document, plan: Plan, changes: Changes
    ) -> None:
        wanted = counted(changes)[Write.DELETE]
        if not wanted:
            return
        layout = document.layout
        if not layout.soft:
            for part in layout.parts:
                await connection.execute(sql.delete_part(part))
            await failpoint("aggregate.parts_deleted")
        expect(plan, "delete", wanted, await connection.execute(sql.delete_roots(layout)))
        await failpoint("aggregate.deleted")

    async def _write_roots(
        self, connection: Any, document: Document, plan: Plan, changes: Changes
    ) -> None:
        updates = [d for _, _, d in changes if d.write is Write.UPDATE]
        statement = sql.update_roots(document, plan, updates) if updates else ""
        if statement:
            expect(plan, "update", len(updates), await connection.execute(statement))
            await failpoint("aggregate.updated")
        inserts = [d for _, _, d in changes if d.write is Write.INSERT]
        if inserts:
            for insert in sql.insert_roots(document, plan, inserts):
                await connection.execute(insert)
            await failpoint("aggregate.inserted")

    async def _write_parts(
        self, connection: Any, document: Document, plan: Plan, changes: Changes
    ) -> None:
        decisions = [d for _, _, d in changes if d.write is not Write.DELETE]
        for number in sql.ones(document):
            for statement in sql.write_one(document, plan, number, decisions):
                await connection.execute(statement)
        await failpoint("aggregate.ones_written")
        for number in sql.lists(document):
            for statement in sql.write_list(document, plan, number, decisions):
                await connection.execute(statement)
        await failpoint("aggregate.lists_written")


def _positions(document: Document, rule: Sequence[Term]) -> tuple[int, ...]:
    """Where a draft has the columns of a rule; () where it has not all of them."""
    places = {
        place.column: at for at, place in enumerate(document.places) if place.kind in _OF_ROOT
    }
    found = tuple(places[term.column] for term in rule if term.column in places)
    return found if len(found) == len(rule) else ()


def _terms(draft: Row, at: Sequence[int]) -> tuple[str, ...]:
    """What a draft says there; () where it is silent, or says NULL, of one."""
    said = [draft[place] for place in at]
    texts = tuple(value.decode() for value in said if isinstance(value, bytes))
    return texts if len(texts) == len(said) else ()


_OF_ROOT: Final = ("root", "refer")


def _text(value: Value) -> str | None:
    return value.decode() if isinstance(value, bytes) else None


async def _fetch(connection: Any, statement: Statement) -> list[Any]:
    rows: list[Any] = await connection.fetch(statement.text, *statement.values)
    return rows
