"""From the rows of a driver to an index of their keys, and from the index to rows.

Rows are read once, in whatever order the server gives them: SQL Server sorts identifiers by their
last bytes and text by a collation, so its order is never relied on. Each row is kept in a temporary
file as one line of canonical COPY text, its key is sorted by our own machinery, and what a survey,
a full read or a fetch gives afterwards comes from there. So all three see one and the same look at
the source, and nothing of a read that was cut off is ever used.
"""

from collections import Counter
from collections.abc import Iterator, Mapping, Sequence
from itertools import accumulate
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from syncd.config import Collation
from syncd.errors import InvariantError, SourceError
from syncd.flow.fingerprint import Hasher
from syncd.flow.keys import KeyIssue, encode_key, encode_keys
from syncd.flow.model import Found, Issue, Kind, Plan, Read, ReadColumns, Severity, Value
from syncd.flow.normalise import BadValue, Dialect, Normaliser
from syncd.flow.ports import Block
from syncd.pg.dialect import copy_rows, split_copy_line, split_copy_text
from syncd.sources.key_index import KeyIndex, Located, Repeated, first_of_each
from syncd.sources.odbc_values import Writer, columns_of
from syncd.sources.record_index import records_of
from syncd.sources.sorted_index import FLAWED, SIZE_MASK, TAIL, RunSorter
from syncd.sources.spool import Spool

_UNKNOWN: Final = frozenset({0, -1})
_LINE_MAX: Final = 2**32 - 1

Columns = list[Sequence[bytes | None]]


class Answer(Struct, frozen=True):
    """How a row of the server is laid out: where the wanted columns stand, and the digest.

    ``digest_at`` is None where digests are made here.
    """

    picks: tuple[int, ...]
    writers: tuple[Writer, ...]
    digest_at: int | None = None

    def columns(self, rows: Sequence[Sequence[Any]]) -> Columns:
        """The wanted columns as canonical text."""
        picked = [[row[at] for at in self.picks] for row in rows]
        return columns_of(picked, self.writers)


class RowReading:
    """What is known of one plan's rows: how they are keyed, folded and normalised."""

    def __init__(
        self, plan: Plan, found: Mapping[str, Found], hasher: Hasher, collation: Collation
    ) -> None:
        self.plan = plan
        self.key_field = ", ".join(plan.columns[at].name for at in plan.key)
        self.folded = [
            at
            for at in plan.key
            if plan.columns[at].type.kind is Kind.TEXT and collation != Collation()
        ]
        self._collation = collation
        self._digest = hasher.digest
        self.all = _normaliser(plan, range(len(plan.columns)), found)
        self.keys = _normaliser(plan, plan.key, found)

    def digests(self, columns: Columns) -> list[int]:
        """A digest for each row, before anything is folded: two spellings are two contents."""
        return [*map(self._digest, lines_of(columns))]

    def fold(self, column: Sequence[bytes | None]) -> Sequence[bytes | None]:
        """The canonical spelling of a part of the key."""
        if self._collation.trailing_blanks == "ignored":
            column = [None if value is None else value.rstrip(b" ") for value in column]
        if self._collation.case == "insensitive":
            column = [None if value is None else value.upper() for value in column]
        return column

    def is_beyond(self, value: bytes | None) -> bool:
        """Whether no rule of ours says which other spellings the collation holds equal."""
        return self._collation.case == "insensitive" and not (value or b"").isascii()

    def key(self, parts: Sequence[bytes | None]) -> bytes:
        """The key of one row. Raises KeyIssue."""
        row, issues = self.keys.row(parts)
        if issues:
            raise KeyIssue(issues[0].code, "a part of the key is not of its kind")
        return encode_key(self.plan.key_types, row)

    def read(self, key: bytes, digest: int, line: bytes, issues: Sequence[Issue]) -> Read:
        """One row, with what was found of it before."""
        row, more = self.all.row(split_copy_line(line))
        return Read(key, row, digest, (*issues, *more))

    def duplicate(self) -> Issue:
        """Several rows have the key; none of them may be written."""
        return Issue(Severity.ERROR, "duplicate_key", field=self.key_field)

    def beyond(self) -> Issue:
        """The key has a letter beyond ASCII, under a collation that ignores case (case 60)."""
        return Issue(Severity.ERROR, "key_not_ascii", field=self.key_field)


def lines_of(columns: Columns) -> list[bytes]:
    """Each row as one line of COPY text without its newline."""
    rows = list(zip(*columns, strict=True))
    return copy_rows(rows).split(b"\n")[:-1] if rows else []


def _normaliser(plan: Plan, picks: Sequence[int], found: Mapping[str, Found]) -> Normaliser:
    columns = [plan.columns[at] for at in picks]
    return Normaliser(
        [column.name for column in columns],
        [column.type for column in columns],
        [
            Dialect.CANONICAL
            if found[column.name].type.kind is column.type.kind is not Kind.TEXT
            else Dialect.TEXT
            for column in columns
        ],
    )


class RowIndex:
    """Takes the rows of one read, then gives them back in key order. Closed by ``close``.

    ``with_rows`` false keeps keys and digests only. All of it is plain code for a worker thread.
    """

    def __init__(
        self, reading: RowReading, answer: Answer, spool_dir: Path | None, *, with_rows: bool
    ) -> None:
        self.rows = 0
        self.with_rows = with_rows
        # What is told of the read, as often as it was found; its places would be mere numbers.
        self.told: Counter[Issue] = Counter()
        self._reading = reading
        self._answer = answer
        self._spool_dir = spool_dir
        self._spool = Spool(spool_dir)
        self._sorter = RunSorter(spool_dir)
        self._index: KeyIndex | None = None

    def take(self, rows: Sequence[Sequence[Any]]) -> None:
        """Take rows as the driver gave them."""
        reading, answer = self._reading, self._answer
        columns = answer.columns(rows)
        if answer.digest_at is None:
            digests = reading.digests(columns)
        else:
            digests = [known(row[answer.digest_at]) for row in rows]
        key_at = reading.plan.key if self.with_rows else range(len(reading.plan.key))
        flaws: set[int] = set()
        for at in reading.folded if self.with_rows else ():
            columns[at] = reading.fold(columns[at])
            flaws |= {n for n, value in enumerate(columns[at]) if reading.is_beyond(value)}
        keys = self._keys([columns[at] for at in key_at])
        lines = lines_of(columns) if self.with_rows else [b""] * len(rows)
        self._add(keys, digests, lines, flaws)
        self.rows += len(rows)

    def _keys(self, parts: Columns) -> list[bytes]:
        """The key of each row; b"" for one that has none, which is told."""
        kinds = self._reading.plan.key_types
        try:
            return encode_keys(kinds, self._reading.keys.columns(parts))
        except (BadValue, KeyIssue):
            return [self._careful_key(row) for row in zip(*parts, strict=True)]

    def _careful_key(self, parts: Sequence[bytes | None]) -> bytes:
        try:
            return self._reading.key(parts)
        except KeyIssue as issue:
            self.told[Issue(Severity.ERROR, issue.code, field=self._reading.key_field)] += 1
            return b""

    def _add(
        self, keys: list[bytes], digests: list[int], lines: list[bytes], flaws: set[int]
    ) -> None:
        if max(map(len, lines), default=0) > SIZE_MASK:
            raise SourceError("a row of the source is larger than 1 GiB")
        starts = accumulate((len(line) + 1 for line in lines), initial=self._spool.size)
        if self.with_rows:
            self._spool.append(b"\n".join([*lines, b""]))
        entries = []
        for at, (key, line, start) in enumerate(zip(keys, lines, starts, strict=False)):
            if key:
                bad = at in flaws
                size, digest = (len(line) | FLAWED, 0) if bad else (len(line), digests[at])
                number = min(self.rows + at + 1, _LINE_MAX)
                entries.append(key + TAIL.pack(start, size, number, digest))
        self._sorter.add(entries)

    def merging(self) -> Iterator[None]:
        """Everything was taken: bring it in order, in pieces."""
        index = self._index = KeyIndex(self._spool_dir, self._sorter.key_bytes)
        for entries, repeated in first_of_each(self._sorter.merged()):
            index.append(entries)
            self.told.update(map(self._repeated, repeated))
            yield
        index.finish()
        self._sorter.close()

    def _repeated(self, one: Repeated) -> Issue:
        if one.is_same and self.with_rows:
            field = self._reading.key_field
            return Issue(Severity.WARNING, "duplicate_record", field=field)
        return self._reading.duplicate()

    def blocks(self) -> Iterator[Block]:
        """The survey records in key order."""
        return self._made().blocks()

    def batches(self, batch_rows: int) -> Iterator[Sequence[Read]]:
        """All rows in key order, normalised."""
        for located in self._made().located():
            for start in range(0, len(located), batch_rows):
                yield self._reads(located[start : start + batch_rows])

    def find(self, keys: Sequence[bytes]) -> list[Read]:
        """The rows of ``keys`` that are there, in key order."""
        return list(self._reads(self._made().find(sorted(set(keys)))))

    def close(self) -> None:
        """Give the room back. May be called twice."""
        self._spool.close()
        self._sorter.close()
        if self._index is not None:
            self._index.close()

    def _made(self) -> KeyIndex:
        if self._index is None:
            raise InvariantError("asked for rows before they were brought in order")
        return self._index

    def _reads(self, located: Sequence[Located]) -> Sequence[Read]:
        lines = records_of(located, self._spool.read_at)
        if lines and not any(one.is_flawed or one.is_twice for one in located):
            try:
                return self._alike(located, lines)
            except (BadValue, ValueError):
                pass  # one of them is bad, and it is told which
        return [self._one(one, line) for one, line in zip(located, lines, strict=True)]

    def _alike(self, located: Sequence[Located], lines: list[bytes]) -> ReadColumns:
        raw: list[Sequence[Value]] = [*split_copy_text(b"\n".join(lines), len(lines))]
        columns = self._reading.all.columns(raw)
        is_as_said = all(one is other for one, other in zip(raw, columns, strict=True))
        return ReadColumns(
            [one.key for one in located],
            [one.digest for one in located],
            columns,
            lines if is_as_said else [b""] * len(lines),
        )

    def _one(self, one: Located, line: bytes) -> Read:
        issues = [self._reading.duplicate()] if one.is_twice else []
        if one.is_flawed:
            issues.append(self._reading.beyond())
        return self._reading.read(one.key, one.digest, line, issues)


def known(digest: int) -> int:
    """A digest of the server, which may not be one of the two that mean something else."""
    return 1 if digest in _UNKNOWN else digest
