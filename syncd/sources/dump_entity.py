"""One entity of a dump, for one plan: its file, its records, and their index once it is made."""

import codecs
from collections.abc import Generator, Iterator, Sequence
from contextlib import closing
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec

from syncd.config import FilesSource
from syncd.errors import DriftError, InvariantError
from syncd.flow.fingerprint import Hasher
from syncd.flow.model import Issue, Plan, Read, Severity
from syncd.flow.ports import Block
from syncd.sources.content_hash import CONTENT_HASH_BYTES, hashing, threads_here
from syncd.sources.csv_records import CsvRecords
from syncd.sources.dump_files import DumpFile
from syncd.sources.key_index import KeyIndex
from syncd.sources.record_index import Indexer, RowReader
from syncd.sources.records import Records
from syncd.visible import visible

# Raised when records are told apart, or their digests made, in another way.
_DIGEST_VERSION: Final = 1
# Raised when the same content is given another identity; then every file is read once more.
_IDENTITY_VERSION: Final = 2
_COLUMNS_BYTES_SHOWN: Final = 2000


def records_of(config: FilesSource, file: DumpFile, names: Sequence[str]) -> Records:
    """The records of ``file``; ``names`` are its columns where it has no header.

    Raises SourceError when not even the columns can be read, ConfigError.
    """
    if config.format == "csv":
        return CsvRecords(file, config, names)
    # Its grammar takes 20 ms to compile.
    from syncd.sources.json_records import JsonArrayRecords, NdjsonRecords  # noqa: PLC0415

    if config.format == "ndjson":
        return NdjsonRecords(file, config)
    return JsonArrayRecords(file, config)


class DumpEntity:
    """What a snapshot knows of one plan; closed by ``close``. Raises DriftError.

    Its methods do the work of a snapshot in plain steps, for a worker thread.
    """

    def __init__(
        self, config: FilesSource, file: DumpFile, names: Sequence[str], plan: Plan, hasher: Hasher
    ) -> None:
        self.plan = plan
        self.rows = 0
        self._config = config
        self._file = file
        self._records = records_of(config, file, names)
        self._absent = self._find_absent()
        self._indexer = Indexer(file, self._records, plan, hasher)
        self._reader = RowReader(file, self._records, plan)
        self._index: KeyIndex | None = None

    def digest_spec(self) -> str:
        """Everything that a digest depends on beside the bytes of its record."""
        config = self._config
        spec: dict[str, object] = {
            "source": "files",
            "version": _DIGEST_VERSION,
            "format": config.format,
            "encoding": codecs.lookup(config.encoding).name,
            "columns": [(c.name, c.type) for c in self.plan.columns],
            "key": self.plan.key,
        }
        if config.format == "csv":
            spec["dialect"] = (config.delimiter, config.quote, config.escape)
            spec["header"] = (config.header, self._records.names)
        return msgspec.json.encode(spec, order="deterministic").decode()

    def identifying(self) -> Generator[str, None, None]:
        """Work in pieces, each giving '', and at the end the identity of the content."""
        content = self._file.content_hash
        if not content:
            file = self._file
            content = yield from hashing(file.read_into, file.size, threads=threads_here())
            file.check_unchanged()
            file.content_hash = content
        whole = f"{_IDENTITY_VERSION}\n{content}\n{self.digest_spec()}".encode()
        yield blake2b(whole, digest_size=CONTENT_HASH_BYTES).hexdigest()

    def indexing(self, spool_dir: Path | None) -> Generator[list[Issue], None, None]:
        """Make the index anew, in pieces; gives what is to be told. Raises SourceError."""
        self.close()
        yield [
            Issue(Severity.WARNING, "column_absent", field=name, place=self._file.name)
            for name in self._absent
        ]
        with closing(self._indexer.steps(spool_dir)) as steps:
            for step in steps:
                if isinstance(step, list):
                    yield step
                else:
                    self._index, self.rows = step.index, step.rows

    @property
    def is_indexed(self) -> bool:
        """Whether ``blocks``, ``batches`` and ``fetch`` may be asked."""
        return self._index is not None

    def blocks(self) -> Iterator[Block]:
        """The survey records in key order."""
        return self._made().blocks()

    def batches(self, batch_rows: int) -> Iterator[list[Read]]:
        """All rows in key order, normalised."""
        for located in self._made().located():
            for start in range(0, len(located), batch_rows):
                yield self._reader.reads(located[start : start + batch_rows])

    def fetch(self, keys: Sequence[bytes]) -> list[Read]:
        """The rows of ``keys`` that are there, in key order."""
        return self._reader.reads(self._made().find(sorted(keys)))

    def close(self) -> None:
        """Drop the index. May be called twice."""
        if self._index:
            self._index.close()
            self._index = None

    def _made(self) -> KeyIndex:
        if self._index is None:
            raise InvariantError(f"entity {self.plan.name}: asked for rows before it was indexed")
        return self._index

    def _find_absent(self) -> list[str]:
        """Mapped columns that the file does not name.

        A CSV file must name them all. JSON may leave members out of any record, so there only a
        key that no record of the sample has is drift; other absent members are told.
        """
        found = self._records.names
        absent = [c.name for c in self.plan.columns if c.name not in found]
        keys = [self.plan.columns[at].name for at in self.plan.key]
        fatal = absent if self._config.format == "csv" else [n for n in keys if n in absent]
        if not found or not fatal:
            return absent if found else []
        expected = ", ".join(c.name for c in self.plan.columns)
        raise DriftError(
            f"entity {self.plan.name}: {self._file.name} has no column {_listed(fatal)}; expected "
            f"{visible(expected, _COLUMNS_BYTES_SHOWN)}; found {_listed(found)}",
            hint="give the entity's 'columns', 'key' and 'only' the names that the file uses",
        )


def _listed(names: Sequence[str]) -> str:
    return visible(", ".join(names), _COLUMNS_BYTES_SHOWN)
