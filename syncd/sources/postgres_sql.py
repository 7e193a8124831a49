"""The statements of the PostgreSQL source, compiled once per entity and snapshot.

Everything that is put into their text is a quoted identifier, a type's name or the operator's own
query; keys are bound. ``q`` is the table or the query, whichever the entity comes from.
"""

from collections.abc import Mapping, Sequence
from typing import Final

from msgspec import Struct

from syncd.errors import DriftError
from syncd.flow.model import ColumnType, Found, Kind, Plan
from syncd.flow.normalise import Dialect, Normaliser
from syncd.pg.dialect import (
    canonical_sql,
    cast_sql,
    column_type,
    digest_sql,
    ident,
    key_sql,
    nfc_sql,
    order_sql,
    table_ident,
)
from syncd.sources.postgres_records import RECORD_BYTES, RowPlan

# Of a part of the key whose size is always the same.
PART_BYTES: Final = {Kind.INTEGER: 8, Kind.UUID: 16}
# Whose order is that of the bytes of the key, by the column's own index.
_SPLIT_TYPES: Final = {
    "smallint": Kind.INTEGER, "integer": Kind.INTEGER, "bigint": Kind.INTEGER, "uuid": Kind.UUID,
}  # fmt: skip
# Text types that compare in a way of their own, and whose indexes do.
_PADDED_OR_FOLDED: Final = ("character", "bpchar", "citext")


class Query(Struct, frozen=True):
    """The text of a ``*.sql`` file: one SELECT, with or without a semicolon at its end."""

    text: str


class Statements(Struct, frozen=True):
    """What is asked of the source about one entity.

    ``width`` is the size of a record of (key, digest) when all have the same, else 0. ``scan``
    gives keys and digests, ``read`` the canonical columns with the digest last; both in key order.
    ``scan_from``, ``scan_before`` and ``scan_between`` give those whose first part of the key is
    not before the first argument, or before the last; '' where an index would not serve.
    ``fetch`` gives the digest and then the columns, of the keys bound as one array per part.
    ``fetch_folded`` finds the keys whose text is not stored in NFC; it cannot use an index.
    ``rows`` says how what comes back becomes a Read.
    """

    scan: str
    scan_from: str
    scan_before: str
    scan_between: str
    read: str
    fetch: str
    fetch_folded: str
    digest: str
    width: int
    natives: tuple[str, ...]
    rows: RowPlan


def derived(table: str | Query) -> str:
    """What follows FROM, with the alias ``q``. Raises ConfigError for a name that cannot be."""
    if not isinstance(table, Query):
        return f"{table_ident(table)} AS q"
    # The bracket stands on its own line because the text may end in a comment.
    return f"({table.text.strip().rstrip(';')}\n) AS q"


def compile_statements(plan: Plan, table: str | Query, found: Mapping[str, Found]) -> Statements:
    """The statements of ``plan`` on columns as they were found.

    Raises DriftError when a mapped column is not there (case 49), ConfigError when the key cannot
    be one.
    """
    lacking = [column.name for column in plan.columns if column.name not in found]
    if lacking:
        raise DriftError(
            f"entity {plan.name}: the source has no column {', '.join(map(ident, lacking))}",
            hint="it was dropped or renamed; map it anew or leave it out of the columns",
        )
    natives = tuple(found[column.name].native for column in plan.columns)
    refs = [f"q.{ident(column.name)}" for column in plan.columns]
    types = [column.type for column in plan.columns]
    source = derived(table)
    key = _Key(plan, refs, natives)
    digest = _digest(refs, natives, types)
    columns = [canonical_sql(ref, native) for ref, native in zip(refs, natives, strict=True)]
    sent = [digest, *(f"textsend({column})" for column in columns)]
    order = f"ORDER BY {key.order_sql()}"
    pairs, parts = [key.bytes_sql(), digest], key.bounds(found)
    bounded = [f"WHERE {' AND '.join(part)} {order}" if part else "" for part in parts]
    scans = [_select(pairs, source, rest) if rest else "" for rest in bounded]
    return Statements(
        scan=_select(pairs, source, order),
        scan_from=scans[0],
        scan_before=scans[1],
        scan_between=scans[2],
        read=_select([*columns, digest], source, order),
        fetch=_select(sent, source, key.matches()),
        fetch_folded=_select(sent, source, key.matches_folded()) if key.texts else "",
        digest=digest,
        width=key.width(),
        natives=natives,
        rows=RowPlan(
            key=plan.key,
            key_types=plan.key_types,
            key_field=", ".join(plan.columns[at].name for at in plan.key),
            normaliser=Normaliser(
                [column.name for column in plan.columns],
                types,
                [_dialect(type_, native) for type_, native in zip(types, natives, strict=True)],
            ),
        ),
    )


def _select(expressions: Sequence[str], source: str, rest: str) -> str:
    return f"SELECT {', '.join(expressions)} FROM {source} {rest}"


def _dialect(declared: ColumnType, native: str) -> Dialect:
    """Text is canonical only where the server knows the value as the kind that was declared."""
    return Dialect.CANONICAL if column_type(native).kind is declared.kind else Dialect.TEXT


def _digest(refs: Sequence[str], natives: Sequence[str], types: Sequence[ColumnType]) -> str:
    """The digest of a row: of the values, or of their text where that is what was declared."""
    hashed, hashed_as = [], []
    for ref, native, declared in zip(refs, natives, types, strict=True):
        known = _dialect(declared, native) is Dialect.CANONICAL
        hashed.append(ref if known else f"({canonical_sql(ref, native)})")
        hashed_as.append(native if known else "text")
    return digest_sql(hashed, hashed_as)


class _Key:
    """The key of a plan, part by part: reference, native type, declared kind."""

    def __init__(self, plan: Plan, refs: Sequence[str], natives: Sequence[str]) -> None:
        self._plan = plan
        self._refs = [refs[at] for at in plan.key]
        self._natives = [natives[at] for at in plan.key]
        self._kinds = plan.key_types
        self._parts = list(zip(self._refs, self._natives, self._kinds, strict=True))
        self.texts = [ref for ref, _, kind in self._parts if kind is Kind.TEXT]

    def bytes_sql(self) -> str:
        return " || ".join(key_sql(ref, native, kind) for ref, native, kind in self._parts)

    def order_sql(self) -> str:
        return order_sql(self._refs, self._natives, self._kinds)

    def bounds(self, found: Mapping[str, Found]) -> list[list[str]]:
        """Conditions on the first part: from $1 on, before $1, from $1 on and before $2.

        Empty unless a plain index serves them and no row is left out for being NULL.
        """
        ref, native, kind = self._parts[0]
        column = self._plan.columns[self._plan.key[0]]
        if _SPLIT_TYPES.get(native) is not kind or found[column.name].nullable:
            return [[], [], []]
        left, one = _comparison(ref, native, kind, "$1::text", "")
        _, two = _comparison(ref, native, kind, "$2::text", "")
        since, before = f"{left} >= {one}", f"{left} < {{}}"
        return [[since], [before.format(one)], [since, before.format(two)]]

    def width(self) -> int:
        if not all(kind in PART_BYTES for kind in self._kinds):
            return 0
        return RECORD_BYTES + sum(PART_BYTES[kind] for kind in self._kinds)

    def matches(self) -> str:
        """Conditions that an index on the key's columns serves."""
        if len(self._parts) == 1:
            left, right = _comparison(*self._parts[0], "$1::text[]", "[]")
            return f"WHERE {left} = ANY ({right})"
        return f"{self._join()} ON {' AND '.join(map(self._pair, range(len(self._parts))))}"

    def matches_folded(self) -> str:
        """Conditions on the text in NFC, for rows that hold a letter beyond ASCII."""
        pairs = [
            f'{nfc_sql(f"{ref}::text")} COLLATE "C" = k.k{at}'
            if kind is Kind.TEXT
            else self._pair(at)
            for at, (ref, _, kind) in enumerate(self._parts)
        ]
        beyond = " OR ".join(
            f"octet_length({ref}::text) <> char_length({ref}::text)" for ref in self.texts
        )
        return f"{self._join()} ON {' AND '.join(pairs)} WHERE {beyond}"

    def _pair(self, at: int) -> str:
        return " = ".join(_comparison(*self._parts[at], f"k.k{at}", ""))

    def _join(self) -> str:
        at = range(len(self._parts))
        arrays = ", ".join(f"${n + 1}::text[]" for n in at)
        return f"JOIN unnest({arrays}) AS k ({', '.join(f'k{n}' for n in at)})"


def _comparison(ref: str, native: str, kind: Kind, text: str, brackets: str) -> tuple[str, str]:
    """Both sides of an equality that never fails on a key of the declared kind.

    ``text`` is the part of the key, or with ``brackets`` all of them. The column stays bare where
    that can be, so that its index serves.
    """
    bare = native.split("(", maxsplit=1)[0]
    if kind is Kind.INTEGER:
        # The other integer types compare with int8 through the same index; oid does not.
        return f"{ref}::int8" if native == "oid" else ref, f"({text})::int8{brackets}"
    if kind is Kind.TEXT and not bare.endswith(_PADDED_OR_FOLDED):
        return f"{ref}::text", f"({text})"
    return ref, cast_sql(text, f"{bare}{brackets}")
