"""PostgreSQL's side of ``schemas/types.md``: text in, text out, nothing here waits.

Every function builds a piece of SQL for one column or parses one piece of COPY text. A *native*
type is what ``format_type()`` prints for the base type of a column (``numeric(12,2)``), a *ref* is
a quoted reference to a column. The expressions rely on ``SESSION_SETTINGS``.

Identifiers are the only thing that is ever put into SQL text, and only through ``ident``; values
are bound or copied (case 88).
"""

import re
from collections.abc import Mapping, Sequence
from types import MappingProxyType
from typing import Final, NamedTuple

from syncd.errors import ConfigError
from syncd.flow.model import ColumnType, Kind

SESSION_SETTINGS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "TimeZone": "UTC",
        "DateStyle": "ISO, YMD",
        "IntervalStyle": "iso_8601",
        "extra_float_digits": "1",
        "bytea_output": "hex",
        "standard_conforming_strings": "on",
        # The catalogue comes first, so nobody can put a function in front of it; ``public`` stays
        # because a table without a schema, and the triggers of the target, mean that one.
        "search_path": "pg_catalog, public",
        # A policy that hides a row makes it look deleted: refuse instead.
        "row_security": "off",
        "quote_all_identifiers": "off",  # it would change what format_type() prints
        "jit": "off",  # compiling takes 0.1 to 0.4 s and 15 columns never earn it back
    }
)

IDENTIFIER_BYTES_MAX: Final = 63
_NULL_TEXT: Final = rb"\N"

_INTEGERS: Final = frozenset({"smallint", "integer", "bigint", "oid"})
_TEXTS: Final = frozenset(
    {"text", "character varying", "character", "bpchar", "citext", "name", '"char"'}
)
_KINDS: Final[Mapping[str, Kind]] = MappingProxyType(
    {
        **dict.fromkeys(_INTEGERS, Kind.INTEGER),
        "numeric": Kind.DECIMAL,
        "money": Kind.DECIMAL,
        "real": Kind.FLOAT,
        "double precision": Kind.FLOAT,
        "boolean": Kind.BOOLEAN,
        "date": Kind.DATE,
        "time without time zone": Kind.TIME,
        "timestamp without time zone": Kind.TIMESTAMP,
        "timestamp with time zone": Kind.TIMESTAMPTZ,
        "uuid": Kind.UUID,
        "bytea": Kind.BYTES,
        "json": Kind.JSON,
        "jsonb": Kind.JSON,
    }
)
# Types whose own hash separates exactly the values that their canonical text separates. All
# others are hashed as text: they have no hash (json, xml, point, bit), or one that folds what the
# text does not (citext, interval, arrays), or one of an object number (enums).
_HASHED_AS_THEY_ARE: Final = _INTEGERS | {
    "numeric",
    "real",
    "double precision",
    "boolean",
    "date",
    "time without time zone",
    "timestamp without time zone",
    "timestamp with time zone",
    "uuid",
    "bytea",
    "jsonb",  # equal numbers hash equally, and canonical JSON writes them equally
}
# Casting to these without a length would mean a length of one.
_UNBOUNDED: Final = MappingProxyType(
    {"character": "bpchar", "bit": "varbit", "bit varying": "varbit"}
)
_ASCII: Final = _INTEGERS | {"uuid", "date"}  # their text is ASCII, so there is nothing to fold
_KEY_TYPES: Final = "smallint, integer, bigint, uuid, date and the text types"

_NATIVE: Final = re.compile(r"(?P<name>[^()]*?)(?:\((?P<args>[-0-9, ]*)\))?(?P<rest> with.*)?")
_PART: Final = re.compile(r'"(?:[^"]|"")*"|[^".]+')
_QUALIFIED: Final = re.compile(rf"(?:{_PART.pattern})(?:\.(?:{_PART.pattern}))?", re.DOTALL)
_SAFE_NATIVE: Final = re.compile(
    r'(?:[\w ]|\.|"(?:[^"\0]|"")+")+(?:\([\w, -]*\))?(?: with(?:out)? time zone)?(?:\[\])*'
)


class _Native(NamedTuple):
    """A native type in pieces: ``numeric(12,2)[]`` is ``("numeric", (12, 2), True)``."""

    name: str
    args: tuple[int, ...]
    array: bool


def _parse(native: str) -> _Native:
    element = native.removesuffix("[]")
    found = _NATIVE.fullmatch(element)
    if not found:
        return _Native(element, (), element != native)
    name = f"{found['name']}{found['rest'] or ''}".strip()
    if name.endswith(".citext"):
        name = "citext"  # an extension lives in any schema
    args = tuple(int(arg) for arg in (found["args"] or "").split(",") if arg.strip())
    return _Native(name, args, element != native)


def ident(name: str) -> str:
    """``name`` as one quoted identifier.

    Raises ConfigError for what PostgreSQL cannot hold: nothing, NUL, more than 63 bytes (it would
    be cut off silently and mean another object), and lone surrogates.
    """
    try:
        size_bytes = len(name.encode())
    except UnicodeEncodeError:
        size_bytes = 0
    if not 0 < size_bytes <= IDENTIFIER_BYTES_MAX or "\0" in name:
        raise ConfigError(
            f"the identifier {name[:IDENTIFIER_BYTES_MAX]!a} cannot be used",
            hint="a name has 1 to 63 bytes of UTF-8 and no NUL character",
        )
    return '"' + name.replace('"', '""') + '"'


def split_table(qualified: str) -> tuple[str | None, str]:
    """Schema (None where not said) and name of ``schema.table``, without quotes.

    A part in double quotes may hold dots, so that what ``table_ident`` returns is read again.
    Raises ConfigError when there are more parts.
    """
    if not _QUALIFIED.fullmatch(qualified):
        raise ConfigError(
            f"{qualified[:130]!a} is not the name of a table",
            hint='expected table or schema.table; quote a part that holds a dot: "a.b"',
        )
    parts = [
        part[1:-1].replace('""', '"') if part.startswith('"') else part
        for part in _PART.findall(qualified)
    ]
    return (parts[0], parts[1]) if len(parts) > 1 else (None, parts[0])


def table_ident(qualified: str) -> str:
    """``schema.table`` or ``table`` with each part quoted. Raises ConfigError like ``ident``."""
    schema, name = split_table(qualified)
    return f"{ident(schema)}.{ident(name)}" if schema is not None else ident(name)


def column_type(native: str) -> ColumnType:
    """The canonical type of a native one; whatever is not known is text."""
    name, args, array = _parse(native)
    kind = Kind.TEXT if array else _KINDS.get(name, Kind.TEXT)
    if name == "money" and not array:
        return ColumnType(kind, scale=2)
    if kind is Kind.DECIMAL and args:
        return ColumnType(kind, scale=max(args[1], 0) if len(args) > 1 else 0)
    return ColumnType(kind)


def canonical_sql(ref: str, native: str) -> str:
    """SQL of type text that prints ``ref`` by the rules of ``schemas/types.md``.

    JSON and floats are finished by the client, which also refuses what has no canonical text:
    years beyond 9999, BC and infinity.
    """
    name, _, array = _parse(native)
    if array:
        return f"{ref}::text"
    if name == "numeric":
        return f"trim_scale({ref})::text"
    if name == "money":  # its own text depends on the locale
        return f"trim_scale({ref}::numeric)::text"
    if name == "bytea":
        return f"('\\x' || encode({ref}, 'hex'))"
    return f"{ref}::text"


def key_sql(ref: str, native: str, kind: Kind | None = None) -> str:
    """SQL of type bytea: the bytes that ``syncd.flow.keys.encode_key`` gives for this part.

    ``kind`` is the configured kind where it differs from the native one: a numeric read as
    integer, an integer read as text. NULL for NULL and for a date that has no canonical text.
    Raises ConfigError for types that cannot be a key, naming what can.
    """
    kind = kind or column_type(native).kind
    name, _, array = _parse(native)
    if kind is Kind.INTEGER and not array and _reads_as_integer(native):
        return f"int8send({ref}::int8 # '-9223372036854775808'::int8)"
    if kind is Kind.UUID and native == "uuid":
        return f"uuid_send({ref})"
    if kind is Kind.DATE and native == "date":
        usable = f"{ref} BETWEEN '0001-01-01' AND '9999-12-31'"
        return f"(CASE WHEN {usable} THEN {_zero_ended(f'{ref}::text')} END)"
    if kind is Kind.TEXT and not array and name in _TEXTS:
        return _zero_ended(nfc_sql(f"{ref}::text"))
    if kind is Kind.TEXT and native in _ASCII:
        return _zero_ended(f"{ref}::text")
    raise ConfigError(
        f"the column {ref} of type {native} cannot be a key as {kind.value}",
        hint=f"a key is made of {_KEY_TYPES}; cast it in a query (*.sql)",
    )


def _reads_as_integer(native: str) -> bool:
    whole = native.startswith("numeric(") and column_type(native).scale == 0
    return native in _INTEGERS or whole


def nfc_sql(text: str) -> str:
    """``text`` in NFC; ASCII is it already, and knowing that halves the time."""
    is_ascii = f"octet_length({text}) = char_length({text})"
    return f"CASE WHEN {is_ascii} THEN {text} ELSE normalize({text}, NFC) END"


def _zero_ended(text: str) -> str:
    return f"(convert_to({text}, 'UTF8') || '\\x00'::bytea)"


def order_sql(
    refs: Sequence[str], natives: Sequence[str], kinds: Sequence[Kind] | None = None
) -> str:
    """An ORDER BY list whose order is the byte order of the parts' ``key_sql``, concatenated.

    Integers and UUIDs order natively, so that an index serves.
    """
    kinds = kinds or [column_type(native).kind for native in natives]
    return ", ".join(_order_part(ref, kind) for ref, kind in zip(refs, kinds, strict=True))


def _order_part(ref: str, kind: Kind) -> str:
    if kind in (Kind.INTEGER, Kind.UUID):
        return ref
    if kind is Kind.DATE:
        return f'({ref}::text) COLLATE "C"'
    return f'({nfc_sql(f"{ref}::text")}) COLLATE "C"'


def digest_sql(refs: Sequence[str], natives: Sequence[str]) -> str:
    """SQL of type bigint: a hash of the row; never NULL, 0 or -1, which mean unknown.

    Two rows with the same digest have the same canonical text but for one chance in 2^64; equal
    rows may differ in digest between server versions, so the digest epoch holds that version.
    """
    parts = ", ".join(_digest_part(ref, native) for ref, native in zip(refs, natives, strict=True))
    return f"coalesce(nullif(nullif(hash_record_extended(ROW({parts}), 0), 0), -1), 1)"


def _digest_part(ref: str, native: str) -> str:
    name, _, array = _parse(native)
    if not array and name in _HASHED_AS_THEY_ARE:
        return ref
    if not array and name == "money":
        return f"{ref}::numeric"
    # "C" because a non-deterministic collation hashes words that it calls equal to one number.
    return f'{ref}::text COLLATE "C"'


def cast_sql(expr: str, native: str) -> str:
    """SQL that turns canonical text ``expr`` into a value for a column of type ``native``.

    The declared length is left out on purpose: an explicit cast to ``varchar(3)`` cuts off, while
    the assignment that follows refuses (case 50).
    Raises ConfigError when ``native`` is not the name of a type.
    """
    if not _SAFE_NATIVE.fullmatch(native):
        raise ConfigError(
            f"{native[:80]!a} is not the name of a type",
            hint="expected a type as format_type() prints it",
        )
    element = native.removesuffix("[]")
    brackets = native[len(element) :]
    bare = re.sub(r"\([\w, -]*\)", "", element).strip()
    if bare == "money" and not brackets:
        return f"({expr})::numeric::money"
    return f"({expr})::{_UNBOUNDED.get(bare, bare)}{brackets}"


_ESCAPED: Final = re.compile(rb"\\(.)", re.DOTALL)
_UNESCAPE: Final = MappingProxyType(
    {b"b": b"\b", b"f": b"\f", b"n": b"\n", b"r": b"\r", b"t": b"\t", b"v": b"\v"}
)
_MUST_ESCAPE: Final = re.compile(rb"[\b\t\n\v\f\r\\]")
_ESCAPE: Final = MappingProxyType(
    {
        b"\b": rb"\b",
        b"\t": rb"\t",
        b"\n": rb"\n",
        b"\v": rb"\v",
        b"\f": rb"\f",
        b"\r": rb"\r",
        b"\\": rb"\\",
    }
)


def split_copy_line(line: bytes) -> list[bytes | None]:
    """The fields of one line of COPY text, given without its newline; NULL is None."""
    fields: list[bytes | None] = [*line.split(b"\t")]
    escapes = line.count(b"\\")
    if not escapes:
        return fields
    if escapes == fields.count(_NULL_TEXT):  # the usual reason for a backslash
        return [None if field == _NULL_TEXT else field for field in fields]
    return [
        None if field is None or field == _NULL_TEXT else _ESCAPED.sub(_unescape, field)
        for field in fields
    ]


def split_copy_text(text: bytes, lines: int) -> list[Sequence[bytes | None]]:
    """The columns of many lines of COPY text without the last newline; NULL is None.

    Raises ValueError for a character that is escaped and for fields that are not the same number
    in every line as far as their sum tells: ``split_copy_line`` reads those.
    """
    fields = text.replace(b"\n", b"\t").split(b"\t")
    width, over = divmod(len(fields), lines)
    escapes = text.count(b"\\")
    columns: list[Sequence[bytes | None]] = []
    for at in range(width):
        column: Sequence[bytes | None] = fields[at::width]
        if escapes and (nulls := column.count(_NULL_TEXT)):
            escapes -= nulls
            column = [None if field == _NULL_TEXT else field for field in column]
        columns.append(column)
    if over or escapes:
        raise ValueError("a line holds an escaped character, or lines differ in width")
    return columns


def _unescape(found: "re.Match[bytes]") -> bytes:
    letter = found[1]
    return _UNESCAPE.get(letter, letter)


def copy_field(value: bytes) -> bytes:
    """One value as a field of COPY text; inverse of ``split_copy_line``."""
    if not _MUST_ESCAPE.search(value):
        return value
    return _MUST_ESCAPE.sub(lambda found: _ESCAPE[found[0]], value)


# A batch is checked as a whole, which costs a tenth of looking at each value; the part of it
# that holds a character to be escaped is then written field by field.
_CHECKED_ROWS: Final = 128


def copy_rows(rows: Sequence[Sequence[bytes | None]]) -> bytes:
    """Lines of COPY text, one for each row, all of the same width."""
    parts = [rows[at : at + _CHECKED_ROWS] for at in range(0, len(rows), _CHECKED_ROWS)]
    return b"".join([_plain_rows(part) or b"".join(map(copy_row, part)) for part in parts])


def _plain_rows(rows: Sequence[Sequence[bytes | None]]) -> bytes:
    """The lines, if no value holds a character that must be escaped, else b''."""
    lines = [b"\t".join([_NULL_TEXT if value is None else value for value in row]) for row in rows]
    text = b"\n".join(lines) + b"\n"
    nulls = sum([row.count(None) for row in rows])
    plain = (
        text.count(b"\t") == len(rows) * (len(rows[0]) - 1)
        and text.count(b"\n") == len(rows)
        and text.count(b"\\") == nulls
        and b"\r" not in text
    )
    return text if plain else b""


def copy_row(values: Sequence[bytes | None]) -> bytes:
    """One line of COPY text with its newline."""
    fields = [_NULL_TEXT if value is None else copy_field(value) for value in values]
    return b"\t".join(fields) + b"\n"
