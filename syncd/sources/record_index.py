"""From the records of a file to its index, and from the index to rows.

What is told on the way adds up: with R records in the file, K keys in the index, E findings told
with severity ERROR and D findings told as ``duplicate_record``, R = K + E + D, always. So a
finding of severity ERROR is told exactly for a record that has no place of its own in the index,
and a record that has one carries its errors with it, as issues of its ``Read``; its digest is then
0, so that every survey looks at it again.
"""

from collections.abc import Callable, Generator, Iterator, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct
from msgspec.structs import replace

from syncd.errors import SourceError
from syncd.flow.fingerprint import Hasher
from syncd.flow.keys import KeyIssue, encode_key
from syncd.flow.model import MISSING, Issue, Plan, Read, Row, Severity
from syncd.flow.normalise import Dialect, Normaliser
from syncd.sources.dump_files import DumpFile
from syncd.sources.key_index import KeyIndex, Located, Repeated, first_of_each
from syncd.sources.records import BadRecord, Flaw, Records, Stretch
from syncd.sources.sorted_index import FLAWED, TAIL, RunSorter

# Records that stand close together are read in one go.
_GAP_BYTES: Final = 4096
_READ_BYTES_MAX: Final = 1024 * 1024


class Indexed(Struct):
    """What indexing leaves behind: the index, and the number of records in the file."""

    index: KeyIndex
    rows: int


class Indexer:
    """Indexes one file for one plan."""

    def __init__(self, file: DumpFile, records: Records, plan: Plan, hasher: Hasher) -> None:
        columns = [plan.columns[at] for at in plan.key]
        self._file = file
        self._records = records
        self._names = tuple(column.name for column in columns)
        self._kinds = plan.key_types
        self._pick = records.picker(self._names)
        self._normaliser = Normaliser(self._names, [c.type for c in columns], records.dialect)
        # A text that encodes as it stands is canonical, unless it was declared to mean another.
        self._is_direct = records.dialect is Dialect.TEXT and not any(
            c.type.strip or c.type.empty_as_null or c.type.null_values for c in columns
        )
        self._digest = hasher.digest

    def steps(self, spool_dir: Path | None) -> Generator[list[Issue] | Indexed, None, None]:
        """Work in pieces: findings to tell, and at the end the index, which the caller closes.

        Raises SourceError where the file cannot be read whole, after a finding of severity FATAL
        when that is due to its text.
        """
        sorter, rows, line = RunSorter(spool_dir), 0, 1
        index: KeyIndex | None = None
        try:
            for stretch in self._records.stretches():
                entries, issues = self._entries(stretch)
                sorter.add(entries)
                rows, line = rows + len(stretch.records), stretch.lines[-1]
                yield issues
            self._file.check_unchanged()
            if not self._records.is_ended:
                if self._records.must_end:
                    raise _cut(self._file.name, line)
                yield [self._finding(Severity.WARNING, "no_final_newline", line)]
            index = KeyIndex(spool_dir, sorter.key_bytes)
            for entries, repeated in first_of_each(sorter.merged()):
                index.append(entries)
                yield [self._repeated(one) for one in repeated]
            index.finish()
            done, index = index, None
            yield Indexed(done, rows)
        except SourceError:
            if self._records.failure:
                code, line = self._records.failure
                yield [self._finding(Severity.FATAL, code, line)]
            raise
        finally:
            sorter.close()
            if index:
                index.close()

    def _entries(self, stretch: Stretch) -> tuple[list[bytes], list[Issue]]:
        """An entry for each record with a key, and what is to be told of the records."""
        keys = self._sound_keys(stretch)
        digests = list(map(self._digest, stretch.records))
        sizes, issues = stretch.sizes, list[Issue]()
        if b"" in keys:
            sizes = list(sizes)
            for at in [at for at, key in enumerate(keys) if not key]:
                record, line = stretch.records[at], stretch.lines[at]
                flaw = stretch.flaws.get(at) or self._records.examine(record, stretch.offsets[at])
                keys[at], told = self._careful_key(record, flaw, line)
                issues += told
                if flaw:
                    sizes[at] |= FLAWED
                    digests[at] = 0 if flaw.excludes else digests[at]
        tails = map(TAIL.pack, stretch.offsets, sizes, stretch.lines, digests)
        return [key + tail for key, tail in zip(keys, tails, strict=True) if key], issues

    def _sound_keys(self, stretch: Stretch) -> list[bytes]:
        """The key of each record that shows it at a glance; b"" for the others."""
        pick, kinds, keys = self._pick, self._kinds, list[bytes]()
        parts = pick if self._is_direct else self._normalised
        flaws = stretch.flaws
        for at, record in enumerate(stretch.records):
            try:
                keys.append(encode_key(kinds, parts(record)) if at not in flaws else b"")  # type: ignore[arg-type]
            except (KeyIssue, BadRecord):
                keys.append(b"")
        return keys

    def _normalised(self, record: bytes) -> Row:
        return self._normaliser.row(self._pick(record))[0]

    def _careful_key(
        self, record: bytes, flaw: Flaw | None, line: int
    ) -> tuple[bytes, list[Issue]]:
        """The key of a record that may have a flaw, b"" for none; and what is to be told."""
        told = []
        if flaw and not flaw.excludes:
            told.append(self._finding(flaw.severity, flaw.code, line))
        row, issues = self._normaliser.row(flaw.pick(self._names) if flaw else self._pick(record))
        try:
            if not issues:
                return encode_key(self._kinds, row), told
            code, field = issues[0].code, issues[0].field
        except KeyIssue as issue:
            code, field = issue.code, ""
        if flaw and flaw.excludes:
            code, field = flaw.code, flaw.field
        return b"", [*told, self._finding(Severity.ERROR, code, line, field)]

    def _repeated(self, one: Repeated) -> Issue:
        if one.is_same:
            return self._finding(Severity.WARNING, "duplicate_record", one.line)
        return self._finding(Severity.ERROR, "duplicate_key", one.line)

    def _finding(self, severity: Severity, code: str, line: int, field: str = "") -> Issue:
        return Issue(severity, code, field, f"{self._file.name}:{line}")


def _cut(name: str, line: int) -> SourceError:
    return SourceError(
        f"{name}:{line}: the last line has no end, and source.final_newline is required: the "
        "dump was cut off; nothing was concluded from this read",
        hint="have the dump made again",
    )


class RowReader:
    """Reads and normalises the records that an index points at."""

    def __init__(self, file: DumpFile, records: Records, plan: Plan) -> None:
        self._file = file
        self._records = records
        self._names = tuple(column.name for column in plan.columns)
        self._pick = records.picker(self._names)
        types = [column.type for column in plan.columns]
        self._normaliser = Normaliser(self._names, types, records.dialect)
        self._nothing: Row = (MISSING,) * len(self._names)

    def reads(self, located: Sequence[Located]) -> list[Read]:
        """The rows of ``located``, in that order. Raises SourceError when the file has changed."""
        records = records_of(located, self._file.read_at)
        self._file.check_unchanged()
        return [self._read(one, record) for one, record in zip(located, records, strict=True)]

    def _read(self, one: Located, record: bytes) -> Read:
        if one.is_flawed or one.is_twice:
            return self._doubtful(one, record)
        row, issues = self._normaliser.row(self._pick(record))
        return Read(one.key, row, one.digest, self._placed(one, issues) if issues else ())

    def _doubtful(self, one: Located, record: bytes) -> Read:
        flaw = self._records.examine(record, one.offset) if one.is_flawed else None
        found: tuple[Issue, ...] = ()
        if one.is_twice:
            found = (Issue(Severity.ERROR, "duplicate_key"),)
        if flaw and flaw.excludes:
            found = (*found, Issue(Severity.ERROR, flaw.code, flaw.field))
            return Read(one.key, self._nothing, 0, self._placed(one, found))
        raw = flaw.pick(self._names) if flaw else self._pick(record)
        row, issues = self._normaliser.row(raw)
        return Read(one.key, row, one.digest, self._placed(one, (*found, *issues)))

    def _placed(self, one: Located, issues: Sequence[Issue]) -> tuple[Issue, ...]:
        place = f"{self._file.name}:{one.line}"
        return tuple(replace(issue, place=place) for issue in issues)


def records_of(located: Sequence[Located], read_at: Callable[[int, int], bytes]) -> list[bytes]:
    """The bytes of each record, in the order asked; neighbours are read in one go.

    ``read_at`` takes an offset and a size.
    """
    records = [b""] * len(located)
    order = sorted(range(len(located)), key=lambda at: located[at].offset)
    for together in _neighbours(located, order):
        first, last = located[together[0]], located[together[-1]]
        data = read_at(first.offset, last.offset + last.size - first.offset)
        for at in together:
            start = located[at].offset - first.offset
            records[at] = data[start : start + located[at].size]
    return records


def _neighbours(located: Sequence[Located], order: Sequence[int]) -> Iterator[list[int]]:
    """``order`` (by offset) cut into runs that are worth one read."""
    together: list[int] = []
    start = end = 0
    for at in order:
        one = located[at]
        if together and (one.offset > end + _GAP_BYTES or one.offset > start + _READ_BYTES_MAX):
            yield together
            together = []
        if not together:
            start = one.offset
        together.append(at)
        end = one.offset + one.size
    if together:
        yield together
