"""The records of a CSV file, split in bulk and proved well formed.

A piece of text without any quote is split at line ends and its delimiters are counted. Text with
quotes is matched, as far as it goes, against one expression for "lines of exactly n well-formed
fields". Both leave sound records; only where they stop is one record looked at carefully: it may
span lines, be ragged, blank or broken.

Broken quoting is a finding as long as it ends with its line. When a broken record spans lines,
nobody can say where the next one begins, rows may have been swallowed, and absence proves nothing:
that is a SourceError.
"""

from collections import Counter
from collections.abc import Mapping, Sequence
from operator import itemgetter
from typing import Final

from syncd.config import FilesSource
from syncd.errors import ConfigError, SourceError
from syncd.flow.model import Severity
from syncd.flow.normalise import Dialect
from syncd.sources.csv_syntax import Grammar, dialect_of
from syncd.sources.decompression import is_utf8
from syncd.sources.dump_files import DumpFile
from syncd.sources.records import (
    READ_BYTES,
    Flaw,
    Gathering,
    LineRecords,
    Pick,
    Stretch,
    text_of,
    too_long,
    without_return,
)
from syncd.visible import visible

_NAMES_BYTES_SHOWN: Final = 300


class CsvRecords(LineRecords):
    """The records of one CSV file; see ``syncd.sources.records.Records``.

    Raises SourceError when there is no header, or one that names a column twice or not at all;
    ConfigError when there should be none and ``names`` are not given.
    """

    dialect = Dialect.TEXT

    def __init__(self, file: DumpFile, config: FilesSource, names: Sequence[str]) -> None:
        super().__init__(file, config)
        self._grammar = Grammar(dialect_of(config))
        self.names: tuple[str, ...] = ()
        if config.header:
            self._read_header()
        elif names:
            self.names = tuple(names)
        else:
            raise ConfigError(
                f"{file.name}: source.header is false and the columns of the file are not named",
                hint="list every column under the entity's 'columns', in the order of the file",
            )
        self._lines = self._grammar.lines(len(self.names))
        shape = self._grammar.dialect.delimiter + b"\n"
        self._filling = bytes(byte for byte in range(256) if byte not in shape)

    def picker(self, names: Sequence[str]) -> Pick:
        """The values of ``names`` as UTF-8, from a sound record."""
        places = [self.names.index(name) for name in names]
        pick = self._pick_first() if places == [0] else self._pick(places)
        if is_utf8(self._file.encoding):
            return pick
        encoding = self._file.encoding
        return lambda record: pick(record.decode(encoding).encode())

    def _pick_first(self) -> Pick:
        """The usual place of a key; only as much of the record is split as it needs."""
        dialect, split, head = self._grammar.dialect, self._grammar.split, self._grammar.head
        delimiter, quote = dialect.delimiter, dialect.quote or dialect.delimiter

        def pick(record: bytes) -> tuple[bytes]:
            value = record.partition(delimiter)[0]
            if quote not in value:
                return (value,)
            match = head.match(record)
            assert match, "a sound record begins with a field"
            return (split(match.group(), 1)[0],)

        return self._pick([0]) if dialect.escape else pick

    def _pick(self, places: Sequence[int]) -> Pick:
        split, fields = self._grammar.split, len(self.names)
        if len(places) == 1:
            place = places[0]
            return lambda record: (split(record, fields)[place],)
        choose = itemgetter(*places)
        return lambda record: choose(split(record, fields))

    def examine(self, record: bytes, offset: int) -> Flaw | None:
        """The flaw of the record that stands at ``offset``; see ``Records``."""
        if len(record) > self._max_bytes:
            return too_long(self._leading_of(record))
        found = Gathering(offset, 0)
        self._look(record + b"\n", 0, found, is_last=True)
        return self._checked(found, record).flaws.get(0)

    def _read_header(self) -> None:
        """Find the names, and where the data begins."""
        at, line, window = self._begin, 1, READ_BYTES
        found = Gathering(at, line)
        while not found.records:
            if at >= self._file.size or window > 2 * max(READ_BYTES, self._max_bytes):
                raise SourceError(
                    f"{self._file.name}:{line}: there is no header line",
                    hint="check the dump; files without one need source.header: false",
                )
            data = self._file.read_at(at, window)
            is_last = at + len(data) >= self._file.size
            data += b"\n" * is_last
            found = Gathering(at, line)
            used = self._look(data, 0, found, is_last=is_last)
            at, line = at + used, line + data.count(b"\n", 0, used)
            window *= 1 if used else 2
        self._begin, self._first_line = min(at, self._file.size), line
        self.names = self._header_names(found.records[0], found.flaws.get(0), found.line)

    def _header_names(self, record: bytes, flaw: Flaw | None, line: int) -> tuple[str, ...]:
        place, names = f"{self._file.name}:{line}", list[str]()
        if flaw is None or not flaw.excludes:
            try:
                names = [v.decode(self._file.encoding) for v in self._grammar.split(record)]
            except UnicodeDecodeError:
                flaw = Flaw(Severity.ERROR, "charset", {})
        if flaw is not None and flaw.excludes:
            raise SourceError(
                f"{place}: the header cannot be read ({flaw.code})",
                hint="check source.encoding, source.delimiter and source.quote",
            )
        if "" in names:
            raise SourceError(
                f"{place}: column {names.index('') + 1} of {len(names)} has no name",
                hint="name every column once",
            )
        twice = sorted(name for name, times in Counter(names).items() if times > 1)
        if twice:
            raise SourceError(
                f"{place}: named more than once: "
                + visible(", ".join(map(repr, twice)), _NAMES_BYTES_SHOWN),
                hint="name every column once",
            )
        return tuple(names)

    def _cut(self, data: bytes, found: Gathering, *, is_last: bool) -> int:
        """Put the whole records of ``data`` into ``found``; how many bytes they take."""
        if self._grammar.is_plain(data) and (used := self._cut_plain(data, found)):
            return used
        used = 0
        while used < len(data):
            match = self._lines.match(data, used)
            if match and match.group():
                found.add_lines(match.group(), used, found.line_at(data, used))
                used = match.end()
            elif (looked := self._look(data, used, found, is_last=is_last)) > used:
                used = looked
            else:
                break
        return used

    def _cut_plain(self, data: bytes, found: Gathering) -> int:
        """``_cut`` for text without quotes that is all sound; else 0, and nothing is found."""
        text = data[: data.rfind(b"\n") + 1]
        if b"\r" in text and text.count(b"\r") != text.count(b"\r\n"):
            return 0
        # Nothing but delimiters and line ends is left, and they must be as in a sound file.
        shape = text.translate(None, self._filling)
        line = self._grammar.dialect.delimiter * (len(self.names) - 1) + b"\n"
        if not text or shape != line * (len(shape) // len(line)):
            return 0
        found.add_lines(text, 0, found.line)
        return len(text)

    def _look(self, data: bytes, start: int, found: Gathering, *, is_last: bool) -> int:
        """Put the one record at ``start`` into ``found``; where it ends.

        Answers ``start`` when ``data`` does not show the record's end; ``data`` always does when
        ``is_last``. Blank lines are passed over.
        """
        match = self._grammar.record.match(data, start)
        if match:
            record = _without_end(match.group())
            if record:
                flaw = self._ragged(record, found.at + start) if self.names else None
                found.add(record, start, found.line_at(data, start), flaw)
            return match.end()
        broken = self._end_of_fields(data, start)
        line_end = data.find(b"\n", broken) + 1
        if not is_last and (not line_end or self._may_go_on(data, broken)):
            return start
        line = found.line_at(data, start)
        if self._grammar.open_quote.match(data, broken):
            raise self._inseparable(
                line,
                "unterminated_quote",
                "a quote is never closed",
                "the dump may be cut off; have it made again, or check source.quote",
            )
        if b"\n" in data[start:broken] or not self._grammar.patched.match(data, broken):
            raise self._inseparable(
                line,
                "stray_quote",
                "a quote stands where none may, in a record that spans lines",
                "have quotes inside fields doubled, or check source.quote and source.escape",
            )
        flaw = self._broken(data[start:broken], data[broken:line_end])
        found.add(_without_end(data[start:line_end]), start, line, flaw)
        return line_end

    def _may_go_on(self, data: bytes, broken: int) -> bool:
        """Whether what looks broken at the end of ``data`` may be made whole by what follows."""
        closed = self._grammar.closed.match(data, broken)
        rest = data[closed.end() :] if closed else b"?"
        return rest in (b"", b"\r") or self._grammar.open_quote.match(data, broken) is not None

    def _end_of_fields(self, data: bytes, start: int) -> int:
        match = self._grammar.fields.match(data, start)
        return match.end() if match else start

    def _ragged(self, record: bytes, offset: int) -> Flaw | None:
        values = self._grammar.split(record)
        if len(values) == len(self.names):
            return None
        if len(values) > len(self.names):
            return Flaw(Severity.WARNING, "ragged_long", self._named(values))
        # Half of a line end may be left of it.
        if not self.is_ended and offset + len(record) + 1 >= self._file.size:
            return Flaw(Severity.ERROR, "cut_record", self._named(values[:-1]))
        return Flaw(Severity.WARNING, "ragged_short", self._named(values))

    def _broken(self, before: bytes, rest: bytes) -> Flaw:
        quote = self._grammar.dialect.quote
        code = "stray_quote" if quote and quote in rest else "stray_return"
        return Flaw(Severity.ERROR, code, self._leading(before))

    def _leading_of(self, record: bytes) -> Mapping[str, bytes]:
        """The values that a record surely begins with."""
        return self._leading(record[: self._end_of_fields(record, 0)])

    def _leading(self, fields: bytes) -> Mapping[str, bytes]:
        """The values of well-formed fields that each end with a delimiter."""
        return self._named(self._grammar.split(fields[:-1])) if fields else {}

    def _named(self, values: Sequence[bytes]) -> dict[str, bytes]:
        """Values by column as UTF-8; those that are no text are left out."""
        named = {}
        for name, value in zip(self.names, values, strict=False):
            text = text_of(value, self._file.encoding)
            if text is not None:
                named[name] = text.encode()
        return named

    def _checked(self, found: Gathering, data: bytes) -> Stretch:
        """What was found in ``data``, with the flaws that only show in a second look."""
        stretch = found.stretch(self._max_bytes, self._leading_of)
        for at, flaw in found.flaws.items():
            if flaw.code == "record_too_long" and b"\n" in found.records[at]:
                raise self._too_long_to_span(found.lines[at])
        if not data.isascii() and text_of(data, self._file.encoding) is None:
            for at, record in enumerate(found.records):
                if not found.is_excluded(at) and text_of(record, self._file.encoding) is None:
                    found.flaws[at] = self._undecodable(record)
        return stretch

    def _undecodable(self, record: bytes) -> Flaw:
        named = self._named(values := self._grammar.split(record))
        field = next((n for n, _ in zip(self.names, values, strict=False) if n not in named), "")
        return Flaw(Severity.ERROR, "charset", named, field)

    def _skip_long(self, head: bytes, found: Gathering) -> int:
        """Find the end of a record of which ``head`` is more than is allowed; where it stands."""
        if b"\n" in head:
            raise self._too_long_to_span(found.line)
        quotes, at, line_end = self._grammar.quotes(head), found.at + len(head), 0
        while not line_end and at < self._file.size:
            piece = self._file.read_at(at, READ_BYTES)
            line_end = piece.find(b"\n") + 1
            piece = piece[: line_end or len(piece)]
            quotes += self._grammar.quotes(piece)
            at += len(piece)
        if quotes % 2:
            raise self._too_long_to_span(found.line)
        found.add(b"", 0, found.line, too_long(self._leading_of(head)), self._max_bytes + 1)
        return at

    def _too_long_to_span(self, line: int) -> SourceError:
        return self._inseparable(
            line,
            "record_too_long",
            f"a record spans lines and is longer than {self._max_bytes} bytes",
            "a quote may not be closed; if that is not so, raise source.max_record_bytes",
        )


def _without_end(record: bytes) -> bytes:
    return without_return(record.removesuffix(b"\n"))
