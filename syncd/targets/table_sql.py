"""The statements of the PostgreSQL target, made of quoted identifiers only; values never appear.

The stage holds, per change: ``_k`` the ledger's key in hex, ``_op`` the kind of write, ``_mask``
one digit per drafted column (1: the source's value is written), and the drafted columns in their
bare types, so that rounding and padding happen on the write and are seen by the read-back.
"""

from collections.abc import Sequence
from typing import TYPE_CHECKING, Final

from syncd.flow.model import Column, ColumnType, Decision, Found, Kind, Plan
from syncd.pg.dialect import canonical_sql, cast_sql, ident, key_sql, order_sql

if TYPE_CHECKING:
    from syncd.targets.postgres import Table

STAGE: Final = "syncd_stage"
DROP_STAGE: Final = "DROP TABLE pg_temp.syncd_stage"

_CREATED_TYPES: Final = {
    Kind.TEXT: "text",
    Kind.INTEGER: "bigint",
    Kind.DECIMAL: "numeric",
    Kind.FLOAT: "double precision",
    Kind.BOOLEAN: "boolean",
    Kind.DATE: "date",
    Kind.TIME: "time",
    Kind.TIMESTAMP: "timestamp",
    Kind.TIMESTAMPTZ: "timestamptz",
    Kind.UUID: "uuid",
    Kind.BYTES: "bytea",
    Kind.JSON: "jsonb",
}
# Native types whose stored value is, in canonical text, always what was sent (or is refused).
_EXACT: Final = {
    Kind.TEXT: ("text", "character varying"),
    Kind.INTEGER: ("smallint", "integer", "bigint"),
    Kind.DECIMAL: ("numeric",),
    Kind.FLOAT: ("double precision",),
    Kind.BOOLEAN: ("boolean",),
    Kind.DATE: ("date",),
    Kind.TIME: ("time without time zone",),
    Kind.TIMESTAMP: ("timestamp without time zone",),
    Kind.TIMESTAMPTZ: ("timestamp with time zone",),
    Kind.UUID: ("uuid",),
    Kind.BYTES: ("bytea",),
    Kind.JSON: ("jsonb", "json"),
}


def is_exact(source: ColumnType, target: Found) -> bool:
    """Whether a canonical value of ``source`` comes back from ``target`` as it was sent.

    ``character varying(n)`` refuses what is longer, so it counts; ``numeric(p,s)`` rounds, so it
    counts only when the source declares no more decimals.
    """
    bare = target.native.split("(")[0]
    if source.kind is Kind.DECIMAL and "(" in target.native:
        kept = target.type.scale
        return bare == "numeric" and None not in (source.scale, kept) and source.scale <= kept  # type: ignore[operator]
    if source.kind is Kind.TEXT:
        return bare in _EXACT[Kind.TEXT]
    return target.native in _EXACT[source.kind]


def created_type(type_: ColumnType) -> str:
    """The native type that a mirror's column gets."""
    if type_.kind is Kind.DECIMAL and type_.scale is not None:
        return f"numeric(1000, {type_.scale})"
    return _CREATED_TYPES[type_.kind]


def create_table(name: str, plan: Plan, order: Sequence[str]) -> str:
    """CREATE TABLE of a mirror: its columns in the ``order`` of the source, and the key."""
    places = {column: at for at, column in enumerate(order)}
    drafted = sorted(plan.drafted, key=lambda column: places[column.name])
    key = ", ".join(ident(plan.drafted[at].into) for at in plan.target_key)
    columns = ", ".join(f"{ident(c.into)} {created_type(c.type)}" for c in drafted)
    return f"CREATE TABLE {name} ({columns}, PRIMARY KEY ({key}))"


def add_column(name: str, column: Column) -> str:
    """ALTER TABLE for one more drafted column."""
    return f"ALTER TABLE {name} ADD COLUMN {ident(column.into)} {created_type(column.type)}"


def add_timestamp(name: str, column: str) -> str:
    """ALTER TABLE for the column of soft deletes."""
    return f"ALTER TABLE {name} ADD COLUMN {ident(column)} timestamptz"


def create_stage(table: "Table", plan: Plan) -> str:
    """CREATE TEMP TABLE of the stage, gone with the transaction."""
    columns = ", ".join(
        f"{ident(c.into)} {bare}" for c, bare in zip(plan.drafted, table.bare, strict=True)
    )
    return f"CREATE TEMP TABLE {STAGE} (_k text, _op text, _mask text, {columns}) ON COMMIT DROP"


def any_row(table: "Table") -> str:
    """Whether there is any row."""
    return f"SELECT EXISTS (SELECT 1 FROM {table.name})"


def _canonical_columns(table: "Table") -> str:
    return ", ".join(canonical_sql(f"t.{ident(f.name)}", f.native) for f in table.found)


def _join(plan: Plan) -> str:
    names = [ident(plan.drafted[at].into) for at in plan.target_key]
    return " AND ".join(f"t.{name} = s.{name}" for name in names)


def _key_parts(table: "Table", plan: Plan) -> list[tuple[str, str]]:
    return [(f"t.{ident(table.found[at].name)}", table.found[at].native) for at in plan.target_key]


def select_by_key(table: "Table", plan: Plan, *, lock: bool) -> str:
    """Rows of the keys given as ``$1`` (bytea[]) and one text[] per part of the key."""
    parts = range(len(plan.target_key))
    arrays = ", ".join(["$1::bytea[]", *(f"${at + 2}::text[]" for at in parts)])
    names = ", ".join(["_k", *(f"k{at}" for at in parts)])
    on = " AND ".join(
        f"{ref} = {cast_sql(f's.k{at}', native)}"
        for at, (ref, native) in enumerate(_key_parts(table, plan))
    )
    return (
        f"SELECT s._k, {_canonical_columns(table)} FROM unnest({arrays}) AS s ({names}) "
        f"JOIN {table.name} t ON {on} ORDER BY s._k" + (" FOR UPDATE OF t" if lock else "")
    )


def select_all(table: "Table", plan: Plan) -> str:
    """All rows in byte order of the key, the key first."""
    parts = _key_parts(table, plan)
    key = " || ".join(key_sql(ref, native) for ref, native in parts)
    order = order_sql([ref for ref, _ in parts], [native for _, native in parts])
    return f"SELECT {key}, {_canonical_columns(table)} FROM {table.name} t ORDER BY {order}"


def inserts(table: "Table", plan: Plan, decisions: Sequence[Decision]) -> list[str]:
    """INSERTs of the staged rows, one per set of written columns; the others take their default."""
    masks = sorted({decision.written for decision in decisions})
    return [_insert(table, plan, mask, only=len(masks) > 1) for mask in masks]


def _insert(table: "Table", plan: Plan, written: tuple[int, ...], *, only: bool) -> str:
    columns = sorted({*written, *plan.target_key})
    names = ", ".join(ident(plan.drafted[at].into) for at in columns)
    where = f" AND _mask = '{mask(plan, written)}'" if only else ""
    return (
        f"INSERT INTO {table.name} ({names}) SELECT {names} FROM pg_temp.{STAGE} "
        f"WHERE _op = 'insert'{where}"
    )


def mask(plan: Plan, written: Sequence[int]) -> str:
    """One digit per drafted column, 1 where the source's value is written."""
    chosen = frozenset(written)
    return "".join("1" if at in chosen else "0" for at in range(len(plan.drafted)))


def update(table: "Table", plan: Plan, decisions: Sequence[Decision]) -> str:
    """UPDATE by key; where rows write different columns the mask decides per row."""
    masks = {decision.written for decision in decisions}
    uniform = len(masks) == 1
    sets = []
    for at in sorted({at for mask in masks for at in mask}):
        name = ident(plan.drafted[at].into)
        value = (
            f"s.{name}"
            if uniform
            else f"CASE substr(s._mask, {at + 1}, 1) WHEN '1' THEN s.{name} ELSE t.{name} END"
        )
        sets.append(f"{name} = {value}")
    if plan.soft_delete:
        sets.append(f"{ident(plan.soft_delete)} = NULL")
    return (
        f"UPDATE {table.name} t SET {', '.join(sets)} FROM pg_temp.{STAGE} s "
        f"WHERE s._op = 'update' AND {_join(plan)}"
    )


def delete(table: "Table", plan: Plan) -> str:
    """DELETE by key, or the soft form of it."""
    where = f"WHERE s._op = 'delete' AND {_join(plan)}"
    if plan.soft_delete:
        return (
            f"UPDATE {table.name} t SET {ident(plan.soft_delete)} = now() "
            f"FROM pg_temp.{STAGE} s {where}"
        )
    return f"DELETE FROM {table.name} t USING pg_temp.{STAGE} s {where}"


def read_back(table: "Table", plan: Plan) -> str:
    """The written rows as they now stand."""
    return (
        f"SELECT decode(s._k, 'hex'), {_canonical_columns(table)} FROM pg_temp.{STAGE} s "
        f"JOIN {table.name} t ON {_join(plan)} WHERE s._op IN ('insert', 'update')"
    )
