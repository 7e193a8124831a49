"""The statements of aggregates, made of quoted identifiers only; values are bound or staged.

A document is read by one statement (``documents``): the root, its parts with one row joined to it,
and of each part with many rows one list, made by one grouping per part and never per root. It is
written by one statement per table and kind of write, from one stage that holds, per change: ``_k``
the ledger's key in hex, ``_op``, ``_mask`` (see ``table_sql``), ``_id`` the root's id, ``_s`` the
source id, ``_u`` what the link carries, ``_p0`` ... the ids for parts with one row, and the
document's columns. In a list each row has its id beside its fields.
"""

from collections.abc import Iterator, Mapping, Sequence
from typing import Any, Final, Literal

from msgspec import Struct

from syncd.flow.model import Decision, Found, Kind, Plan
from syncd.flow.normalise import Normaliser
from syncd.pg.dialect import canonical_sql, cast_sql, ident, key_sql
from syncd.targets.layout import Layout, PartLayout, Term
from syncd.targets.staging import bare_type
from syncd.targets.table_sql import STAGE, mask

ITEM_ID: Final = "_syncd_id"
_STAGED: Final = f"pg_temp.{STAGE} s"
_WRITTEN: Final = "s._op IN ('insert', 'update')"
_MOMENT: Final = "timestamp with time zone"


class Place(Struct, frozen=True):
    """Where a column of the document lies.

    ``at`` is the number of the part or reference, ``column`` the table's own name for it and
    ``native`` its type there.
    """

    kind: Literal["key", "updated", "root", "refer", "one", "list"]
    found: Found
    column: str = ""
    native: str = ""
    at: int = -1


class Document(Struct, frozen=True):
    """An aggregate of one plan, introspected once per run.

    ``places`` are in drafted order; ``natives`` are the types of the root's columns, and of each
    part's.
    """

    layout: Layout
    places: tuple[Place, ...]
    natives: Mapping[str, str]
    part_natives: tuple[Mapping[str, str], ...]
    key_kind: Kind
    reader: Normaliser

    def at(self, *kinds: str, number: int | None = None) -> tuple[int, ...]:
        """Positions of the drafted columns of these kinds, of one part where it is said."""
        return tuple(
            at
            for at, place in enumerate(self.places)
            if place.kind in kinds and (number is None or place.at == number)
        )


class Statement(Struct, frozen=True):
    """Text and what is bound to its numbers."""

    text: str
    values: tuple[Any, ...] = ()


class _Bound:
    """Values in the order in which they were given a number."""

    def __init__(self, *first: object) -> None:
        self.values = list(first)

    def __call__(self, value: object) -> str:
        self.values.append(value)
        return f"${len(self.values)}"

    def statement(self, text: str) -> Statement:
        return Statement(text, tuple(self.values))


# -- looking ---------------------------------------------------------------------------------------


def any_link(layout: Layout) -> Statement:
    """Whether any row of the root is linked."""
    text = f"SELECT EXISTS (SELECT 1 FROM {layout.link} WHERE entity_type = $1)"
    return Statement(text, (layout.type,))


def linked(table: str, type_: str, sources: Sequence[str]) -> Statement:
    """Source ids that are linked, with the id that each is linked to."""
    text = (
        f"SELECT l.source_id::text, l.target_id FROM unnest($1::text[]) AS s (_s) "
        f"JOIN {table} l ON l.entity_type = $2 AND l.source_id = s._s"
    )
    return Statement(text, ([*sources], type_))


def twins(
    document: Document, rule: Sequence[Term], keys: Sequence[bytes], columns: Sequence[list[Any]]
) -> Statement:
    """Rows of the root that no record is linked to and that agree with a draft in all terms.

    ``columns`` hold the drafts' values, one list per term.
    """
    layout, bound = document.layout, _Bound([*keys], *columns)
    arrays = ", ".join(["$1::bytea[]", *(f"${at + 2}::text[]" for at in range(len(rule)))])
    names = ", ".join(["_k", *(f"c{at}" for at in range(len(rule)))])
    terms = [_term(document, term, f"s.c{at}") for at, term in enumerate(rule)]
    if layout.soft:
        terms.append(f"t.{ident(layout.soft)} IS NULL")
    free = (
        f"NOT EXISTS (SELECT 1 FROM {layout.link} l WHERE l.entity_type = {bound(layout.type)} "
        f"AND l.target_id = t.{ident(layout.id)})"
    )
    return bound.statement(
        f"SELECT s._k, t.{ident(layout.id)} FROM unnest({arrays}) AS s ({names}) "
        f"JOIN {layout.root} t ON {' AND '.join(terms)} WHERE {free} ORDER BY 1, 2"
    )


def _term(document: Document, term: Term, value: str) -> str:
    ref, given = f"t.{ident(term.column)}", cast_sql(value, document.natives[term.column])
    return f"{ref}::date = {given}::date" if term.day else f"{ref} = {given}"


def lock_roots(layout: Layout) -> str:
    """Lock the rows of the root: keys as ``$1``, their ids as ``$2``."""
    own = f"t.{ident(layout.id)}"
    return (
        f"SELECT s._k, {own} FROM unnest($1::bytea[], $2::uuid[]) AS s (_k, _id) "
        f"JOIN {layout.root} t ON {own} = s._id ORDER BY s._k FOR UPDATE OF t"
    )


def lock_part(part: PartLayout) -> str:
    """Lock the rows of a part: the roots' ids as ``$1``."""
    on = f"p.{ident(part.on)}"
    return (
        f"SELECT 1 FROM {part.table} p WHERE {on} = ANY($1::uuid[]) "
        f"ORDER BY {on}, p.{ident(part.id)} FOR UPDATE"
    )


def documents(
    document: Document, keys: Sequence[bytes], sources: Sequence[str], ids: Sequence[Any]
) -> Statement:
    """The documents of these roots as they now stand, the key first."""
    bound = _Bound([*keys], [*sources], [*ids])
    given = "unnest($1::bytea[], $2::text[], $3::uuid[]) AS s (_k, _s, _id)"
    return bound.statement(_documents(document, given, bound, within="$3::uuid[]"))


def all_documents(document: Document) -> Statement:
    """Every linked document in byte order of the key, the key first."""
    layout, bound = document.layout, _Bound()
    ref = "l.source_id::text"
    if document.key_kind is not Kind.TEXT:
        ref = cast_sql(ref, _KEY_NATIVES[document.key_kind])
    key = key_sql(f"({ref})", _KEY_NATIVES.get(document.key_kind, "text"))
    given = (
        f"(SELECT {key} AS _k, l.source_id::text AS _s, l.target_id AS _id "
        f"FROM {layout.link} l WHERE l.entity_type = {bound(layout.type)}) AS s"
    )
    return bound.statement(f"{_documents(document, given, bound, within='')} ORDER BY s._k")


_KEY_NATIVES: Final = {Kind.INTEGER: "bigint", Kind.UUID: "uuid", Kind.DATE: "date"}


def _documents(document: Document, given: str, bound: _Bound, *, within: str) -> str:
    layout = document.layout
    columns = ", ".join(["s._k", *(_printed(place) for place in document.places)])
    joins = [f"JOIN {layout.root} t ON t.{ident(layout.id)} = s._id"]
    if document.at("updated"):
        joins.append(
            f"LEFT JOIN {layout.link} l ON l.entity_type = {bound(layout.type)} "
            "AND l.source_id = s._s"
        )
    for at, other in enumerate(layout.refers):
        joins.append(
            f"LEFT JOIN {other.table} r{at} ON r{at}.entity_type = {bound(other.type)} "
            f"AND r{at}.target_id = t.{ident(other.column)}"
        )
    for at, part in enumerate(layout.parts):
        if document.at("one", number=at):
            on = f"p{at}.{ident(part.on)} = t.{ident(layout.id)}"
            joins.append(f"LEFT JOIN {part.table} p{at} ON {on}")
        if document.at("list", number=at):
            rows = _lists(part, document.part_natives[at], bound, within)
            joins.append(f"LEFT JOIN ({rows}) p{at} ON p{at}._on = t.{ident(layout.id)}")
    return f"SELECT {columns} FROM {given} {' '.join(joins)}"


def _printed(place: Place) -> str:
    """SQL of the column's canonical text."""
    match place.kind:
        case "key":
            return "s._s"
        case "updated":
            return canonical_sql("l.source_updated_at", _MOMENT)
        case "refer":  # an id that no record is linked to is shown as it is
            ref = f"t.{ident(place.column)}"
            return f"COALESCE(r{place.at}.source_id::text, {ref}::text)"
        case "one":
            return canonical_sql(f"p{place.at}.{ident(place.column)}", place.native)
        case "list":
            return f"p{place.at}._rows::text"
        case _:
            return canonical_sql(f"t.{ident(place.column)}", place.native)


def _lists(part: PartLayout, natives: Mapping[str, str], bound: _Bound, within: str) -> str:
    """One row per root: its id and the list of the part's rows, but for those of the ignored."""
    on = f"p.{ident(part.on)}"
    pairs = ", ".join(
        f"{bound(name)}::text, {canonical_sql(f'p.{ident(name)}', natives[name])}"
        for name in part.fields
    )
    wanted = [f"{on} = ANY({within})"] if within else []
    wanted += [
        f"coalesce(p.{ident(column)}::text <> ALL({bound([*values])}::text[]), true)"
        for column, values in part.ignore
    ]
    where = f" WHERE {' AND '.join(wanted)}" if wanted else ""
    return (
        f"SELECT {on} AS _on, jsonb_agg(jsonb_build_object({pairs})) AS _rows "
        f"FROM {part.table} p{where} GROUP BY {on}"
    )


# -- the stage -------------------------------------------------------------------------------------


def create_stage(document: Document, plan: Plan) -> str:
    """CREATE TEMP TABLE of the stage, gone with the transaction."""
    columns = ["_k text", "_op text", "_mask text", "_id uuid", "_s text", "_u timestamptz"]
    columns += [f"_p{at} uuid" for at in ones(document)]
    for column, place in zip(plan.drafted, document.places, strict=True):
        if place.kind in ("root", "refer", "one"):
            columns.append(f"{ident(column.into)} {bare_type(place.native)}")
        elif place.kind == "list":
            columns.append(f"{ident(column.into)} jsonb")
    return f"CREATE TEMP TABLE {STAGE} ({', '.join(columns)}) ON COMMIT DROP"


def ones(document: Document) -> tuple[int, ...]:
    """Numbers of the parts with one row of which the document has a column."""
    return tuple(at for at in range(len(document.layout.parts)) if document.at("one", number=at))


def lists(document: Document) -> tuple[int, ...]:
    """Numbers of the parts whose rows are a column of the document."""
    return tuple(at for at in range(len(document.layout.parts)) if document.at("list", number=at))


def staged_names(document: Document, plan: Plan) -> list[str]:
    """Names of the document's columns that are staged, in drafted order."""
    return [
        column.into
        for column, place in zip(plan.drafted, document.places, strict=True)
        if place.kind in ("root", "refer", "one", "list")
    ]


# -- the root --------------------------------------------------------------------------------------


def insert_roots(document: Document, plan: Plan, decisions: Sequence[Decision]) -> Iterator[str]:
    """INSERTs of new roots, one per set of written columns; the others take their default."""
    layout, own = document.layout, document.at("root", "refer")
    for written in _masks(decisions, own):
        columns = [f"{ident(document.places[at].column)}" for at in written]
        values = [f"s.{ident(plan.drafted[at].into)}" for at in written]
        names = ", ".join([ident(layout.id), *columns, *map(ident, layout.touch)])
        given = ", ".join(["s._id", *values, *("now()" for _ in layout.touch)])
        yield (
            f"INSERT INTO {layout.root} ({names}) SELECT {given} FROM {_STAGED} "
            f"WHERE s._op = 'insert' AND {_like(plan, own, written)}"
        )


def update_roots(document: Document, plan: Plan, decisions: Sequence[Decision]) -> str:
    """UPDATE of the roots, "" where nothing of any is written and none is to be touched."""
    layout, own = document.layout, document.at("root", "refer")
    written = sorted({at for mask_ in _masks(decisions, own) for at in mask_})
    sets = [_set(plan, at, document.places[at].column, "t") for at in written]
    sets += [f"{ident(column)} = now()" for column in layout.touch]
    if layout.soft:
        sets.append(f"{ident(layout.soft)} = NULL")
    if not sets:
        return ""
    return (
        f"UPDATE {layout.root} t SET {', '.join(sets)} FROM {_STAGED} "
        f"WHERE s._op = 'update' AND t.{ident(layout.id)} = s._id"
    )


def delete_roots(layout: Layout) -> str:
    """DELETE of the roots, or the soft form of it."""
    where = f"WHERE s._op = 'delete' AND t.{ident(layout.id)} = s._id"
    if layout.soft:
        sets = ", ".join(f"{ident(column)} = now()" for column in (layout.soft, *layout.touch))
        return f"UPDATE {layout.root} t SET {sets} FROM {_STAGED} {where}"
    return f"DELETE FROM {layout.root} t USING {_STAGED} {where}"


def upsert_links(layout: Layout) -> Statement:
    """The link of every row that was written, with the time that the target gave it."""
    return Statement(
        f"INSERT INTO {layout.link} AS l (id, entity_type, source_id, source_updated_at, "
        "target_id, target_updated_at, imported_at) "
        f"SELECT gen_random_uuid(), $1, s._s, s._u, s._id, {_touched(layout)}, now() "
        f"FROM {_STAGED} JOIN {layout.root} t ON t.{ident(layout.id)} = s._id WHERE {_WRITTEN} "
        "ON CONFLICT (entity_type, source_id) DO UPDATE SET "
        "source_updated_at = coalesce(excluded.source_updated_at, l.source_updated_at), "
        "target_id = excluded.target_id, target_updated_at = excluded.target_updated_at, "
        "imported_at = excluded.imported_at",
        (layout.type,),
    )


def link_twins(
    layout: Layout, sources: Sequence[str], ids: Sequence[Any], updated: Sequence[str | None]
) -> Statement:
    """The links of rows that were found by what they say; those made are returned.

    The rows are locked by now, so a row that another writer has linked meanwhile is seen.
    """
    return Statement(
        f"INSERT INTO {layout.link} (id, entity_type, source_id, source_updated_at, target_id, "
        "target_updated_at, imported_at) "
        "SELECT gen_random_uuid(), $1::text, s._s, s._u::timestamptz, s._id, "
        f"{_touched(layout)}, now() "
        "FROM unnest($2::text[], $3::uuid[], $4::text[]) AS s (_s, _id, _u) "
        f"JOIN {layout.root} t ON t.{ident(layout.id)} = s._id "
        f"WHERE NOT EXISTS (SELECT 1 FROM {layout.link} l WHERE l.entity_type = $1::text "
        "AND l.target_id = s._id) RETURNING source_id::text",
        (layout.type, [*sources], [*ids], [*updated]),
    )


def _touched(layout: Layout) -> str:
    """When the target says that the row was last changed; now where it does not say."""
    return f"coalesce(t.{ident(layout.touch[0])}::timestamptz, now())" if layout.touch else "now()"


# -- the parts -------------------------------------------------------------------------------------


def delete_part(part: PartLayout) -> str:
    """DELETE of the rows of roots that are to go."""
    return (
        f"DELETE FROM {part.table} p USING {_STAGED} "
        f"WHERE s._op = 'delete' AND p.{ident(part.on)} = s._id"
    )


def write_one(
    document: Document, plan: Plan, number: int, decisions: Sequence[Decision]
) -> Iterator[str]:
    """UPDATE of rows that are there, INSERT of those that have something to hold."""
    part, own = document.layout.parts[number], document.at("one", number=number)
    masks = [written for written in _masks(decisions, own) if written]
    if not masks:
        return
    columns = sorted({at for written in masks for at in written})
    sets = [_set(plan, at, document.places[at].column, "p") for at in columns]
    sets += [f"{ident(column)} = now()" for column in part.touch]
    yield (
        f"UPDATE {part.table} p SET {', '.join(sets)} FROM {_STAGED} WHERE s._op = 'update' "
        f"AND p.{ident(part.on)} = s._id AND ({_any_of(columns)})"
    )
    for written in masks:
        into = [ident(document.places[at].column) for at in written]
        values = [f"s.{ident(plan.drafted[at].into)}" for at in written]
        names = ", ".join([ident(part.id), ident(part.on), *into, *map(ident, part.touch)])
        given = ", ".join([f"s._p{number}", "s._id", *values, *("now()" for _ in part.touch)])
        yield (
            f"INSERT INTO {part.table} ({names}) SELECT {given} FROM {_STAGED} WHERE {_WRITTEN} "
            f"AND {_like(plan, own, written)} AND num_nonnulls({', '.join(values)}) > 0 "
            f"AND NOT EXISTS (SELECT 1 FROM {part.table} p WHERE p.{ident(part.on)} = s._id)"
        )


def write_list(
    document: Document, plan: Plan, number: int, decisions: Sequence[Decision]
) -> Iterator[str]:
    """The rows of a part: appended where they are not there, or brought to what is wanted."""
    (place,) = document.at("list", number=number)
    if not any(place in decision.written for decision in decisions):
        return
    part, natives = document.layout.parts[number], document.part_natives[number]
    wanted = _wanted(plan, place, part)
    if part.rows == "append":
        yield _insert_items(part, natives, wanted, f"p.{ident(part.id)} = x.{ITEM_ID}")
        return
    own = f"p.{ident(part.on)}"
    same = " AND ".join(_same(natives, name) for name in part.key)
    recorded = f"jsonb_to_recordset(s.{ident(plan.drafted[place].into)}) AS x ({_record(part)})"
    yield (
        f"DELETE FROM {part.table} p USING {_STAGED} WHERE s._op = 'update' "
        f"AND {_any_of([place])} AND {own} = s._id "
        f"AND NOT EXISTS (SELECT 1 FROM {recorded} WHERE {same})"
    )
    values = [name for name in part.fields if name not in part.key]
    if values:
        sets = [f"{ident(name)} = {cast_sql(_item(name), natives[name])}" for name in values]
        sets += [f"{ident(column)} = now()" for column in part.touch]
        differs = " OR ".join(f"NOT {_same(natives, name)}" for name in values)
        yield (
            f"{wanted} UPDATE {part.table} p SET {', '.join(sets)} FROM x "
            f"WHERE x._root = {own} AND {same} AND ({differs})"
        )
    yield _insert_items(part, natives, wanted, f"{own} = x._root AND {same}")


def _insert_items(part: PartLayout, natives: Mapping[str, str], wanted: str, there: str) -> str:
    names = [part.id, part.on, *part.fields, *part.touch]
    values = [f"x.{ITEM_ID}", "x._root"]
    values += [cast_sql(_item(name), natives[name]) for name in part.fields]
    values += ["now()" for _ in part.touch]
    return (
        f"{wanted} INSERT INTO {part.table} ({', '.join(map(ident, names))}) "
        f"SELECT {', '.join(values)} FROM x "
        f"WHERE NOT EXISTS (SELECT 1 FROM {part.table} p WHERE {there})"
    )


def _wanted(plan: Plan, place: int, part: PartLayout) -> str:
    """The staged rows of a part, as ``x``: the root's id, their own, and their fields as text.

    Materialised, since the planner would else look through the whole part for each staged root.
    """
    return (
        f"WITH x AS MATERIALIZED (SELECT s._id AS _root, x.* FROM {_STAGED}, "
        f"jsonb_to_recordset(s.{ident(plan.drafted[place].into)}) AS x ({_record(part)}) "
        f"WHERE {_WRITTEN} AND ({_any_of([place])}))"
    )


def _record(part: PartLayout) -> str:
    return ", ".join([f"{ITEM_ID} uuid", *(f"{ident(name)} text" for name in part.fields)])


def _item(name: str) -> str:
    return f"x.{ident(name)}"


def _same(natives: Mapping[str, str], name: str) -> str:
    """Whether a stored row and a wanted one agree in a field; NULL agrees with NULL."""
    stored = canonical_sql(f"p.{ident(name)}", natives[name])
    given = canonical_sql(cast_sql(_item(name), natives[name]), natives[name])
    return f"({stored} IS NOT DISTINCT FROM {given})"


# -- masks -----------------------------------------------------------------------------------------


def _masks(decisions: Sequence[Decision], own: Sequence[int]) -> list[tuple[int, ...]]:
    """The sets of written columns that occur, of those in ``own``."""
    chosen = frozenset(own)
    masks = {decision.written for decision in decisions}
    return sorted({tuple(at for at in written if at in chosen) for written in masks})


def _like(plan: Plan, own: Sequence[int], written: Sequence[int]) -> str:
    """Whether of the columns ``own`` exactly these are written."""
    digits, chosen = mask(plan, written), frozenset(own)
    pattern = "".join(digit if at in chosen else "_" for at, digit in enumerate(digits))
    return f"s._mask LIKE '{pattern}'"


def _any_of(columns: Sequence[int]) -> str:
    return " OR ".join(f"substr(s._mask, {at + 1}, 1) = '1'" for at in columns)


def _set(plan: Plan, at: int, column: str, table: str) -> str:
    """Assignment of a column where the mask says so."""
    name, staged = ident(column), f"s.{ident(plan.drafted[at].into)}"
    digit = f"substr(s._mask, {at + 1}, 1)"
    return f"{name} = CASE {digit} WHEN '1' THEN {staged} ELSE {table}.{name} END"
