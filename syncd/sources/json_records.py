"""The records of JSON files: one object a line, or one array of objects.

Neither is ever parsed whole. Lines are split at line ends. The objects of an array are found with
one expression that knows strings and brackets and nothing else, so that each stands at an offset,
is read again from there, and is parsed strictly by itself. Numbers with a point stay decimals.

A member that occurs twice in an object counts with its last value.
"""

import re
from collections.abc import Iterator, Sequence
from contextlib import suppress
from decimal import Decimal
from itertools import islice
from typing import Final

import msgspec

from syncd.config import FilesSource
from syncd.errors import SourceError
from syncd.flow.decode import CHARSET, DecodeError, decode
from syncd.flow.model import MISSING, Severity
from syncd.flow.normalise import Dialect
from syncd.sources.decompression import is_utf8
from syncd.sources.dump_files import DumpFile
from syncd.sources.records import (
    READ_BYTES,
    BadRecord,
    DumpRecords,
    Flaw,
    Gathering,
    LineRecords,
    Pick,
    Stretch,
    too_long,
)

SAMPLE_RECORDS: Final = 1000
_DEPTH_MAX: Final = 64  # As of every document that syncd takes in.
_REPLACED: Final = "\ufffd"


class NdjsonRecords(LineRecords):
    """The records of a file with one object a line; see ``syncd.sources.records.Records``.

    ``names`` are the members of the first thousand records, in the order in which they appear.
    """

    dialect = Dialect.PYTHON

    def __init__(self, file: DumpFile, config: FilesSource) -> None:
        super().__init__(file, config)
        self._objects = _Objects(file.encoding)
        self.picker = self._objects.picker
        self.names = self._objects.names(self.stretches(), file)

    def examine(self, record: bytes, offset: int) -> Flaw | None:  # noqa: ARG002
        """The flaw of one record; its bytes alone show it."""
        return too_long({}) if len(record) > self._max_bytes else self._objects.flaw(record)

    def _cut(self, data: bytes, found: Gathering, *, is_last: bool) -> int:  # noqa: ARG002
        text = data[: data.rfind(b"\n") + 1]
        found.add_lines(text, 0, found.line)
        return len(text)

    def _checked(self, found: Gathering, data: bytes) -> Stretch:  # noqa: ARG002
        return found.stretch(self._max_bytes, lambda _: {})

    def _skip_long(self, head: bytes, found: Gathering) -> int:
        at, line_end = found.at + len(head), 0
        while not line_end and at < self._file.size:
            piece = self._file.read_at(at, READ_BYTES)
            line_end = piece.find(b"\n") + 1
            at += line_end or len(piece)
        found.add(b"", 0, found.line, too_long({}), self._max_bytes + 1)
        return at


class JsonArrayRecords(DumpRecords):
    """The records of a file that is one array of objects; else as NdjsonRecords.

    Raises SourceError for a file that is anything else, or whose array is not closed.
    """

    dialect = Dialect.PYTHON

    def __init__(self, file: DumpFile, config: FilesSource) -> None:
        super().__init__(file, config)
        self.is_ended = True  # The array is closed, or the read fails.
        self._objects = _Objects(file.encoding)
        self.picker = self._objects.picker
        head = file.read_at(file.start, READ_BYTES)
        text = head.lstrip()
        self._begin = file.start + len(head) - len(text) + 1
        self._first_line = 1 + head.count(b"\n", 0, len(head) - len(text))
        if not text.startswith(b"["):
            raise SourceError(
                f"{file.name}:{self._first_line}: expected an array of objects",
                hint="one object a line is source.format: ndjson",
            )
        self.names = self._objects.names(self.stretches(), file)

    def stretches(self) -> Iterator[Stretch]:
        """All records in stored order; see ``Records``."""
        at, line, rest = self._begin, self._first_line, b""
        is_closed = False
        while not is_closed:
            data = rest + self._file.read_at(at + len(rest), max(READ_BYTES, len(rest)))
            found = Gathering(at, line)
            used, is_closed = self._cut(data, found, is_first=at == self._begin)
            is_last = at + len(data) >= self._file.size
            if found.records:
                yield found.stretch(self._max_bytes, lambda _: {})
            at, line, rest = at + used, line + data.count(b"\n", 0, used), data[used:]
            if is_closed:
                self._expect_nothing(at, line)
            elif is_last or len(rest) > self._max_bytes + READ_BYTES:
                raise self._inseparable(
                    line,
                    "json_syntax",
                    f"expected an object of at most {self._max_bytes} bytes and "
                    f"{_DEPTH_MAX} levels, then a comma or the end of the array",
                    "the dump may be cut off; have it made again",
                )

    def examine(self, record: bytes, offset: int) -> Flaw | None:  # noqa: ARG002
        """The flaw of one record; its bytes alone show it."""
        return too_long({}) if len(record) > self._max_bytes else self._objects.flaw(record)

    def _cut(self, data: bytes, found: Gathering, *, is_first: bool) -> tuple[int, bool]:
        """Put the whole objects of ``data`` into ``found``; bytes used, whether that was all."""
        if is_first and (empty := _NO_ITEM.match(data)):
            return empty.end(), True
        used = 0
        while match := _ITEM.match(data, used):
            start = match.start(1)
            found.add(match[1], start, found.line_at(data, start), None)
            used = match.end()
            if match[2] == b"]":
                return used, True
        return used, False

    def _expect_nothing(self, at: int, line: int) -> None:
        while piece := self._file.read_at(at, READ_BYTES):
            if piece.strip():
                raise self._inseparable(
                    line,
                    "json_syntax",
                    "the array is closed, but the file goes on",
                    "one array of objects is expected in a file",
                )
            at += len(piece)


class _Objects:
    """What both layouts do with the bytes of one object."""

    def __init__(self, encoding: str) -> None:
        self._decode = msgspec.json.Decoder(float_hook=Decimal).decode
        self._encoding = "" if is_utf8(encoding) else encoding
        self._read = self._transcoded if self._encoding else self._decode

    def names(self, stretches: Iterator[Stretch], file: DumpFile) -> tuple[str, ...]:
        """The members of the first records that can be read."""
        names: dict[str, None] = {}
        records = (record for stretch in stretches for record in stretch.records)
        try:
            for record in islice(records, SAMPLE_RECORDS):
                with suppress(DecodeError, BadRecord):
                    names |= dict.fromkeys(self._members(record))
        except SourceError:
            # Where we cut the file ourselves, its end says nothing.
            if not file.is_cut:
                raise
        return tuple(names)

    def picker(self, names: Sequence[str]) -> Pick:
        """The members ``names``, MISSING where a record has none."""

        def pick(record: bytes) -> Sequence[object]:
            try:
                members = self._members(record)
            except DecodeError as error:
                raise BadRecord from error
            return [members.get(name, MISSING) for name in names]

        return pick

    def flaw(self, record: bytes) -> Flaw | None:
        """The flaw of a record that is not too long."""
        try:
            self._members(record)
        except DecodeError as error:
            if error.code == CHARSET:
                return Flaw(Severity.ERROR, "charset", self._undamaged(record))
            return Flaw(Severity.ERROR, "json_syntax", {})
        except BadRecord:
            return Flaw(Severity.ERROR, "json_kind", {})
        return None

    def _members(self, record: bytes) -> dict[str, object]:
        """Raises DecodeError for what is no JSON, BadRecord for no object."""
        members = decode(self._read, record)
        if not isinstance(members, dict):
            raise BadRecord
        return members

    def _transcoded(self, record: bytes) -> object:
        return self._decode(record.decode(self._encoding))

    def _undamaged(self, record: bytes) -> dict[str, object]:
        """The members of a record that is not all text, as far as they are."""
        try:
            members = decode(self._decode, record.decode(self._encoding or "utf-8", "replace"))
        except DecodeError:
            return {}
        if not isinstance(members, dict):
            return {}
        return {
            name: value
            for name, value in members.items()
            if isinstance(value, str | int) and _REPLACED not in f"{name}{value}"
        }


def _nested(depth: int) -> bytes:
    """An expression for an object whose values are nested at most that deep.

    Possessive throughout, so that text which is no JSON costs no more than text that is. Brackets
    need not be of a kind here: the parser looks at each object again.
    """
    string = rb'"[^"\\]*+(?:\\.[^"\\]*+)*+"'
    between = rb'[^"{}\[\]]*+'
    inner = string
    for _ in range(depth - 1):
        inner = rb"(?:%b|[{\[]%b(?:%b%b)*+[}\]])" % (string, between, inner, between)
    return rb"\{%b(?:%b%b)*+\}" % (between, inner, between)


_ITEM: Final = re.compile(rb"\s*+(%b)\s*+([,\]])" % _nested(_DEPTH_MAX), re.DOTALL)
_NO_ITEM: Final = re.compile(rb"\s*+\]")
