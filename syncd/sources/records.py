"""What every format of a dump gives: records with their places, and what is wrong with them.

A record is the bytes between two line ends (or the bytes of one JSON object), found by offset.
Nearly all are **sound**: well formed, complete, in the file's encoding. Those are handled in bulk
and never looked at one by one. The others carry a **flaw**.

| code | severity | the record |
|---|---|---|
| ragged_short | warning | has fewer fields than there are columns; the rest are MISSING |
| ragged_long | warning | has more fields than columns; they are ignored |
| charset | error | holds bytes that are not text in the file's encoding |
| stray_quote | error | holds a quote where none may stand |
| stray_return | error | holds a carriage return outside quotes that ends no line |
| record_too_long | error | is longer than ``max_record_bytes`` |
| json_syntax | error | is not JSON |
| json_kind | error | is JSON, but no object |
| cut_record | error | is short, the last of its file, and has no line end: it was cut off |
| no_final_newline | warning | is the last of its file and has no line end (a sign of a cut dump) |

A record with an error is present at the source when its key can still be read; its values are not
used.
"""

from abc import ABC, abstractmethod
from collections.abc import Callable, Iterator, Mapping, Sequence
from itertools import accumulate
from typing import Final, Protocol, TypeAlias

from msgspec import Struct

from syncd.config import FilesSource
from syncd.errors import SourceError
from syncd.flow.model import MISSING, Severity
from syncd.flow.normalise import Dialect
from syncd.sources.dump_files import DumpFile

READ_BYTES: Final = 128 * 1024  # More is no faster, and memory grows with it for tiny records.
RECORD_BYTES_MAX: Final = 2**30 - 2  # What the index can note, less one that means "longer".
LINE_MAX: Final = 2**32 - 1  # Lines beyond are all told as this one.

Pick: TypeAlias = Callable[[bytes], Sequence[object]]
Failure: TypeAlias = tuple[str, int]
Known: TypeAlias = Callable[[bytes], Mapping[str, object]]


class Flaw(Struct, frozen=True):
    """What is wrong with a record. ``values`` are those that can be trusted, by column."""

    severity: Severity
    code: str
    values: Mapping[str, object]
    field: str = ""

    @property
    def excludes(self) -> bool:
        """Whether the values may not be used."""
        return self.severity is Severity.ERROR

    def pick(self, names: Sequence[str]) -> tuple[object, ...]:
        """The trusted values of ``names``, MISSING for the others."""
        return tuple(self.values.get(name, MISSING) for name in names)


class Stretch(Struct, frozen=True):
    """Records that follow each other in a file, at least one.

    ``records`` are their bytes without line ends; ``offsets``, ``sizes`` and ``lines`` say where
    each stands (``sizes`` is what is to be read at the offset, at most one more byte than the
    longest record allowed). ``flaws`` are by index.
    """

    records: Sequence[bytes]
    offsets: Sequence[int]
    sizes: Sequence[int]
    lines: Sequence[int]
    flaws: Mapping[int, Flaw]


class BadRecord(ValueError):  # noqa: N818 - it is a finding about data.
    """Raised by a ``Pick`` for a record that turned out to have a flaw."""


class Records(Protocol):
    """The records of one file.

    ``names`` are its columns, ``dialect`` says what kind of values a ``Pick`` gives, and
    ``is_ended`` is false when the last record has no line end (a sign of a cut dump), and
    ``must_end`` says that it must have one. ``failure``
    is the code and the line of what made ``stretches`` give up, None while it did not.
    """

    names: tuple[str, ...]
    dialect: Dialect
    is_ended: bool
    must_end: bool
    failure: "Failure | None"

    def stretches(self) -> Iterator[Stretch]:
        """All records in stored order, blank lines left out.

        Raises SourceError where the rest of the file cannot be told apart into records.
        """

    def picker(self, names: Sequence[str]) -> Pick:
        """What gives the values of ``names`` of a sound record. The answer raises BadRecord."""

    def examine(self, record: bytes, offset: int) -> Flaw | None:
        """The flaw of the record that stands at ``offset``; None when it is sound."""


def lines_from(first: int, count: int) -> Sequence[int]:
    """The numbers of ``count`` lines that follow each other."""
    if first + count <= LINE_MAX:
        return range(first, first + count)
    return [min(first + at, LINE_MAX) for at in range(count)]


def too_long(values: Mapping[str, object]) -> Flaw:
    """The flaw of a record above the limit."""
    return Flaw(Severity.ERROR, "record_too_long", values)


class Gathering:
    """Records found so far in one piece of text, which begins at ``at`` and on ``line``."""

    def __init__(self, at: int, line: int) -> None:
        self.at = at
        self.line = line
        self.records: list[bytes] = []
        self.offsets: list[int] = []
        self.sizes: list[int] = []
        self.lines: list[int] = []
        self.flaws: dict[int, Flaw] = {}
        self._counted = 0

    def line_at(self, data: bytes, start: int) -> int:
        """The line on which ``start`` stands; to be asked in ascending order."""
        self.line += data.count(b"\n", self._counted, start)
        self._counted = start
        return min(self.line, LINE_MAX)

    def add(
        self, record: bytes, start: int, line: int, flaw: Flaw | None, size: int | None = None
    ) -> None:
        """One record that stands at ``start`` of the text; ``size`` where it is not all there."""
        if flaw:
            self.flaws[len(self.records)] = flaw
        self.records.append(record)
        self.offsets.append(self.at + start)
        self.sizes.append(len(record) if size is None else size)
        self.lines.append(line)

    def add_lines(self, text: bytes, start: int, line: int) -> None:
        """The sound records of ``text``, one a line, blank lines left out."""
        records = text.split(b"\n")
        records.pop()
        stored = map((1).__add__, map(len, records))
        offsets = list(accumulate(stored, initial=self.at + start))
        offsets.pop()
        lines = lines_from(line, len(records))
        if b"\r" in text:
            records = [without_return(record) for record in records]
        if b"" in records:
            filled = [at for at, record in enumerate(records) if record]
            records = [records[at] for at in filled]
            offsets = [offsets[at] for at in filled]
            lines = [lines[at] for at in filled]
        self.records += records
        self.offsets += offsets
        self.sizes += map(len, records)
        self.lines += lines

    def is_excluded(self, at: int) -> bool:
        """Whether the record has a flaw that keeps it out already."""
        flaw = self.flaws.get(at)
        return flaw is not None and flaw.excludes

    def stretch(self, max_bytes: int = RECORD_BYTES_MAX, known: Known = lambda _: {}) -> Stretch:
        """What was found. Records above ``max_bytes`` are flawed; ``known`` gives their values."""
        if max(self.sizes) > max_bytes:
            for at, record in enumerate(self.records):
                if len(record) > max_bytes:
                    self.flaws[at] = too_long(known(record))
                    self.sizes[at] = max_bytes + 1
        return Stretch(self.records, self.offsets, self.sizes, self.lines, self.flaws)


class DumpRecords:
    """What the records of every format have."""

    failure: Failure | None = None

    def __init__(self, file: DumpFile, config: FilesSource) -> None:
        self._file = file
        self._max_bytes = min(config.max_record_bytes, RECORD_BYTES_MAX)
        self.must_end = config.final_newline == "required"
        if file.size <= file.start:
            raise SourceError(
                f"{file.name}: is empty, which proves nothing", hint="have the dump made again"
            )
        self.is_ended = file.read_at(file.size - 1, 1) == b"\n"
        self._begin, self._first_line = file.start, 1

    def _inseparable(self, line: int, code: str, reason: str, hint: str) -> SourceError:
        """The error for a file of which the rest cannot be told apart into records."""
        self.failure = (code, min(line, LINE_MAX))
        return SourceError(
            f"{self._file.name}:{line}: {reason}; the rest of the file cannot be read", hint=hint
        )


class LineRecords(DumpRecords, ABC):
    """Walks a file of which a record ends with a line, though not every line with a record."""

    def stretches(self) -> Iterator[Stretch]:
        """All records in stored order; see ``Records``."""
        at, line, rest = self._begin, self._first_line, b""
        is_last = at >= self._file.size
        while not is_last:
            data = rest + self._file.read_at(at + len(rest), max(READ_BYTES, len(rest)))
            is_last = at + len(data) >= self._file.size
            if is_last and not self.is_ended:
                data += b"\n"
            found = Gathering(at, line)
            try:
                used = self._cut(data, found, is_last=is_last)
            except SourceError:
                # What stands before the place where it ends is still told.
                if found.records:
                    yield self._checked(found, data)
                raise
            if found.records:
                yield self._checked(found, data[:used])
            at, line, rest = at + used, line + data.count(b"\n", 0, used), data[used:]
            # One byte more than allowed may be half of a line end.
            if len(rest) > self._max_bytes + 1:
                found = Gathering(at, line)
                at = self._skip_long(rest, found)
                yield found.stretch()
                line, rest, is_last = line + 1, b"", at >= self._file.size

    @abstractmethod
    def _cut(self, data: bytes, found: Gathering, *, is_last: bool) -> int:
        """Put the whole records of ``data`` into ``found``; how many bytes they take."""

    @abstractmethod
    def _checked(self, found: Gathering, data: bytes) -> Stretch:
        """What was found in ``data``, with the flaws that only show in a second look."""

    @abstractmethod
    def _skip_long(self, head: bytes, found: Gathering) -> int:
        """Find the end of a record of which ``head`` is more than is allowed; where it stands."""


def without_return(record: bytes) -> bytes:
    """A well-formed record without the return that belongs to its line end."""
    # A well-formed record ends with a quote or with no return at all, so this one is a line end.
    return record[:-1] if record[-1:] == b"\r" else record


def text_of(data: bytes, encoding: str) -> str | None:
    """``data`` as text; None where it is not."""
    try:
        return data.decode(encoding)
    except UnicodeDecodeError:
        return None
