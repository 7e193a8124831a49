"""The grammar of CSV (RFC 4180 with a configurable dialect) as regular expressions of bytes.

All repeats are possessive, so matching takes time linear in the text and no memory, whatever the
text is. What is matched is always whole: a pattern never guesses at broken quoting.
"""

import re
from collections.abc import Callable
from typing import Final

from msgspec import Struct

from syncd.config import FilesSource
from syncd.errors import ConfigError

_LAST_ASCII: Final = 0x7F


class Dialect(Struct, frozen=True):
    """One ASCII byte each; ``quote`` and ``escape`` may be empty."""

    delimiter: bytes
    quote: bytes
    escape: bytes


def dialect_of(config: FilesSource) -> Dialect:
    """The dialect that the configuration asks for. Raises ConfigError."""
    named = {"delimiter": config.delimiter, "quote": config.quote, "escape": config.escape}
    # A quote that escapes itself is what doubling means.
    if config.escape == config.quote:
        named["escape"] = ""
    for name, character in named.items():
        if character and (character in "\r\n\0" or ord(character) > _LAST_ASCII):
            raise ConfigError(
                f"source.{name}: expected one ASCII character that ends no line, found "
                f"{character!a}"
            )
    given = [character for character in named.values() if character]
    if len(set(given)) < len(given):
        raise ConfigError("source: delimiter, quote and escape must be different characters")
    return Dialect(*(character.encode("ascii") for character in named.values()))


class Grammar:
    """The compiled patterns of one dialect.

    record: a whole record with its line end. fields: the leading fields, each with its delimiter.
    head: one field. open_quote: a quoted field that is not closed before the text ends. closed:
    one that is.
    patched: the rest of a line with broken quoting, when no quote is left open at its end.
    is_plain: whether no field of a text can be quoted or escaped.
    """

    def __init__(self, dialect: Dialect) -> None:
        self.dialect = dialect
        self._delimiter = re.escape(dialect.delimiter)
        self._quote = re.escape(dialect.quote)
        self._escape = re.escape(dialect.escape)
        field = self._field(multiline=True)
        self.record = _compile(field + b"(?:%b%b)*+\\r?\\n" % (self._delimiter, field))
        self.fields = _compile(b"(?:%b%b)*+" % (field, self._delimiter))
        half = b"(?:%b\r?)?" % self._escape if self._escape else b""
        self.open_quote = _compile(self._open_quoted(multiline=True) + half + rb"\Z")
        self.head = _compile(field)
        self.closed = _compile(self._quoted(multiline=True))
        self.patched = _compile(self._patched())
        self._each = _compile(self._each_field())
        self._escaped = _compile(b"(?:%b)(\r\n|.)" % (self._escape or b"(?!)"))
        self.is_plain = _plainness(dialect)

    def lines(self, fields: int) -> re.Pattern[bytes]:
        """Records of exactly that many fields, one line each, as many as follow each other."""
        field = self._field(multiline=False)
        line = b"%b(?:%b%b){%d}+\\r?\\n" % (field, self._delimiter, field, fields - 1)
        return _compile(b"(?:%b)*+" % line)

    def quotes(self, text: bytes) -> int:
        """How many quotes stand in ``text`` that no escape stands before."""
        if self.dialect.escape:
            text = self._escaped.sub(b"", text)
        return text.count(self.dialect.quote) if self.dialect.quote else 0

    def split(self, record: bytes, fields: int = 0) -> list[bytes]:
        """The values of a well-formed record without its line end.

        ``fields`` is their number where it is known, which is faster.
        """
        if self.is_plain(record):
            return record.split(self.dialect.delimiter)
        values = self._split_simply(record, fields)
        if values is not None:
            return values
        return [
            self._unquoted(quoted) if quoted is not None else self._unescaped(bare)
            for quoted, bare in (match.groups() for match in self._each.finditer(record))
        ]

    def _split_simply(self, record: bytes, fields: int) -> list[bytes] | None:
        """``split`` for two shapes that most quoted files have; None for all others.

        Where every field is quoted and none holds a quote, cutting at ``","`` leaves no quote
        over, and no other record does. Where no two quotes touch and no more delimiters stand in
        the record than between its fields, all of both are structure.
        """
        dialect = self.dialect
        delimiter, quote, escape = dialect.delimiter, dialect.quote, dialect.escape
        if not quote or (escape and escape in record):
            return None
        if record[:1] == quote == record[-1:]:
            values = record[1:-1].split(quote + delimiter + quote)
            if record.count(quote) == 2 * len(values):
                return values
        if quote + quote in record:
            return None
        values = record.replace(quote, b"").split(delimiter)
        return values if len(values) == fields else None

    def _unquoted(self, content: bytes) -> bytes:
        if self.dialect.escape and self.dialect.escape in content:
            # Escapes are undone last and by themselves: an escaped quote is not half of a double.
            quote, escape = self.dialect.quote, self.dialect.escape
            parts = re.split(b"(%b(?:\r\n|.))" % re.escape(escape), content, flags=re.DOTALL)
            return b"".join(
                part[1:] if part[:1] == escape else part.replace(quote + quote, quote)
                for part in parts
            )
        return content.replace(self.dialect.quote * 2, self.dialect.quote)

    def _unescaped(self, content: bytes) -> bytes:
        escape = self.dialect.escape
        # MySQL writes NULL so; as the text it is, `null_values` can name it.
        if not escape or escape not in content or content == escape + b"N":
            return content
        return self._escaped.sub(rb"\1", content)

    def _field(self, *, multiline: bool) -> bytes:
        bare = self._bare(multiline=multiline)
        if not self._quote:
            return bare
        return b"(?:%b|%b)" % (self._quoted(multiline=multiline), bare)

    def _quoted(self, *, multiline: bool) -> bytes:
        return self._open_quoted(multiline=multiline) + (self._quote or b"(?!)")

    def _open_quoted(self, *, multiline: bool) -> bytes:
        if not self._quote:
            return b"(?!)"
        return self._quote + self._content(multiline=multiline)

    def _content(self, *, multiline: bool) -> bytes:
        """What may stand between quotes."""
        plain = b"[^%b%b%b]*+" % (self._quote, self._escape, b"" if multiline else b"\n")
        pairs = [self._quote * 2, *self._escaped_one(multiline=multiline)]
        return b"%b(?:(?:%b)%b)*+" % (plain, b"|".join(pairs), plain)

    def _bare(self, *, multiline: bool) -> bytes:
        outside = b"[^%b%b%b\r\n]*+" % (self._quote, self._escape, self._delimiter)
        escaped = self._escaped_one(multiline=multiline)
        return b"%b(?:%b%b)*+" % (outside, escaped[0], outside) if escaped else outside

    def _escaped_one(self, *, multiline: bool) -> list[bytes]:
        if not self._escape:
            return []
        # An escaped line end is escaped whole, so a record never ends with half of one.
        return [self._escape + (b"(?:\r\n|[^\r])" if multiline else b"[^\r\n]")]

    def _patched(self) -> bytes:
        """A line's rest, field by field, each quoted with anything after it, or bare."""
        bare = b"[^%b\n]*+" % self._delimiter
        if not self._quote:
            return bare + b"(?:%b%b)*+\n" % (self._delimiter, bare)
        field = b"(?:%b%b|(?!%b)%b)" % (self._quoted(multiline=False), bare, self._quote, bare)
        return b"%b(?:%b%b)*+\n" % (field, self._delimiter, field)

    def _each_field(self) -> bytes:
        """One field with its leading delimiter; groups: what is in quotes, or the bare text."""
        bare = self._bare(multiline=True)
        start = rb"(?:\A|%b)" % self._delimiter
        if not self._quote:
            return start + b"(?:((?!))|(%b))" % bare
        quoted = b"%b(%b)%b" % (self._quote, self._content(multiline=True), self._quote)
        return start + b"(?:%b|(%b))" % (quoted, bare)


def _plainness(dialect: Dialect) -> Callable[[bytes], bool]:
    quote, escape = dialect.quote, dialect.escape
    if quote and escape:
        return lambda text: quote not in text and escape not in text
    one = quote or escape
    return (lambda text: one not in text) if one else (lambda _: True)


def _compile(pattern: bytes) -> re.Pattern[bytes]:
    return re.compile(pattern, re.DOTALL)
