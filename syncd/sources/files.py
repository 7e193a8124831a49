"""Dumps as a source: a folder, a file or an archive of CSV or JSON files.

Every entity is one file. A survey reads it once, in stored order, and builds an index of its keys
on disk; what the survey pushes, and every row that is asked for later, comes from there. Memory
does not depend on the size of a file. The parts, in the order in which data meets them:
``dump_root`` finds and opens, ``dump_files`` makes readable, ``csv_records`` and ``json_records``
split, ``sorted_index`` sorts, ``key_index`` stores, ``record_index`` ties them together.

All of it is plain code without waiting, in steps; here it is run in a worker thread for a few
milliseconds at a time, so that the event loop lives and a cancellation is heard.
"""

from collections.abc import AsyncIterator, Callable, Generator, Iterator, Mapping, Sequence
from contextlib import ExitStack, asynccontextmanager, closing
from pathlib import Path
from time import perf_counter
from typing import Final, TypeVar

from anyio import to_thread

from syncd.config import FilesSource
from syncd.errors import ConfigError, SyncdError
from syncd.flow.fingerprint import Hasher
from syncd.flow.model import ColumnType, Found, Issue, Plan, Read, Shape
from syncd.flow.ports import WHOLE, Emit, EmitReads, Span, Tell
from syncd.sources.dump_entity import DumpEntity, records_of
from syncd.sources.dump_files import DumpFile, Opener
from syncd.sources.dump_root import opening

_HEAD_BYTES: Final = 4 * 1024 * 1024
# A step of work takes 10 ms or so; a thread is entered for a few of them, as 0.1 ms is lost.
_TURN_S: Final = 0.02

_T = TypeVar("_T")


class Dump:
    """The Source for ``FilesSource``.

    ``files`` is each entity's ``from``; ``columns`` are the names of its columns in file order
    where files have no header; ``sequence`` is the number of this dump in the order in which they
    came, and becomes the position of every read.
    """

    def __init__(
        self,
        config: FilesSource,
        files: Mapping[str, str],
        hasher: Hasher,
        *,
        sequence: int,
        batch_rows: int,
        spool_dir: Path | None = None,
        columns: Mapping[str, Sequence[str]] | None = None,
    ) -> None:
        self._config = config
        self._files = files
        self._hasher = hasher
        self._sequence = sequence
        self._batch_rows = batch_rows
        self._spool_dir = spool_dir
        self._columns = columns or {}

    async def describe(self, entity: str) -> Shape:
        """Columns of the file now, all of them text; of JSON, those of the first 1000 records.

        Raises SourceError, ConfigError.
        """
        opener = Opener(self._config, self._spool_dir, _HEAD_BYTES)
        with ExitStack() as stack:
            file = (await self._open([entity], opener, stack))[entity]
            if isinstance(file, SyncdError):
                raise file
            columns = self._columns.get(entity, ())
            records = await to_thread.run_sync(records_of, self._config, file, columns)
        native = "text" if self._config.format == "csv" else "json"
        return {name: Found(name, native, ColumnType()) for name in records.names}

    @asynccontextmanager
    async def open(self, plans: Sequence[Plan]) -> "AsyncIterator[DumpSnapshot]":
        """All files of ``plans``, opened (and spooled where they must be) for as long as needed.

        A file that cannot be opened is an error of the first call about its plan, so that the
        other entities go on. Raises SourceError when ``source.path`` itself cannot be read.
        """
        opener = Opener(self._config, self._spool_dir)
        with ExitStack() as stack:
            files = await self._open([plan.name for plan in plans], opener, stack)

            def make(plan: Plan, file: DumpFile) -> DumpEntity:
                columns = self._columns.get(plan.name, ())
                return DumpEntity(self._config, file, columns, plan, self._hasher)

            snapshot = DumpSnapshot(
                files, make, self._sequence, batch_rows=self._batch_rows, spool_dir=self._spool_dir
            )
            stack.callback(snapshot.close)
            yield snapshot

    async def close(self) -> None:
        """Nothing outlives ``open``."""

    async def _open(
        self, entities: Sequence[str], opener: Opener, stack: ExitStack
    ) -> dict[str, DumpFile | SyncdError]:
        """The file of each entity, or why it is shut; ``stack`` closes them."""
        unknown = [entity for entity in entities if entity not in self._files]
        if unknown:
            raise ConfigError(f"entity {unknown[0]}: no file is configured for it")
        found: dict[str, DumpFile | SyncdError] = {}

        def take(opened: tuple[str, DumpFile | SyncdError] | None) -> None:
            if opened:
                found[opened[0]] = opened[1]
                if isinstance(opened[1], DumpFile):
                    stack.callback(opened[1].close)

        wanted = {entity: self._files[entity] for entity in entities}
        await _work(await to_thread.run_sync(opening, opener, wanted), take)
        return found


class DumpSnapshot:
    """The Snapshot of opened files.

    What ``scan`` and ``read`` tell adds up: with R rows returned, K keys pushed, E findings told
    with severity ERROR and D findings told as ``duplicate_record``, R = K + E + D. A row that was
    pushed carries its own errors as issues of its ``Read``, and its digest is 0. Of a key whose
    records differ, the first is pushed (its ``Read`` says ``duplicate_key``) and each other is
    told as ERROR ``duplicate_key``; of records that are equal, one is pushed and each other told as
    WARNING ``duplicate_record``. The codes stand in ``syncd.sources.records``; to them come those
    of the keys (``syncd.flow.keys``) and of the values (``syncd.flow.normalise``).

    An ERROR other than ``duplicate_key`` that was told has no key: any absent key may be its own.
    """

    def __init__(
        self,
        files: Mapping[str, DumpFile | SyncdError],
        make: Callable[[Plan, DumpFile], DumpEntity],
        position: int,
        *,
        batch_rows: int,
        spool_dir: Path | None,
    ) -> None:
        self.position = position
        self.lanes = 1
        self._files = files
        self._make = make
        self._batch_rows = batch_rows
        self._spool_dir = spool_dir
        self._entities: dict[str, DumpEntity] = {}

    async def identity(self, plan: Plan) -> str:
        """Hash of the file as stored and of how it is read; of an archive, of its member.

        Raises SourceError, DriftError and ConfigError, like every method here.
        """
        entity, found = await self._entity(plan), list[str]()
        await _work(entity.identifying(), found.append)
        return found[-1]

    async def digest_spec(self, plan: Plan) -> str:
        """Everything that a digest depends on beside the bytes of its record, as JSON."""
        return (await self._entity(plan)).digest_spec()

    async def spans(self, plan: Plan, extent: tuple[bytes, bytes], rows: int) -> Sequence[Span]:
        """A file is read from its beginning to its end."""
        del plan, extent, rows
        return (WHOLE,)

    async def scan(self, plan: Plan, emit: Emit, tell: Tell, within: Span = WHOLE) -> int:
        """Index the file anew and push its keys; see the class for what is told."""
        assert within == WHOLE
        entity = await self._indexed(plan, tell)
        blocks = entity.blocks()
        while block := await to_thread.run_sync(next, blocks, None):
            await emit(block)
        return entity.rows

    async def read(self, plan: Plan, emit: EmitReads, tell: Tell) -> int:
        """Index the file anew and push its rows; see the class for what is told."""
        entity = await self._indexed(plan, tell)
        batches = entity.batches(self._batch_rows)
        while reads := await to_thread.run_sync(next, batches, None):
            await emit(reads)
        return entity.rows

    async def fetch(self, plan: Plan, keys: Sequence[bytes]) -> list[Read]:
        """Rows of ``keys``, by the index of the last ``scan`` or ``read``; else it is made."""
        entity = await self._entity(plan)
        if not entity.is_indexed:
            await self._indexed(plan, lambda _: None)
        reads: list[Read] = []
        for start in range(0, len(keys), self._batch_rows):
            some = keys[start : start + self._batch_rows]
            reads += await to_thread.run_sync(entity.fetch, some)
        return reads

    def close(self) -> None:
        """Drop all indexes. May be called twice."""
        for entity in self._entities.values():
            entity.close()

    async def _entity(self, plan: Plan) -> DumpEntity:
        entity = self._entities.get(plan.name)
        if entity and entity.plan == plan:
            return entity
        file = self._files.get(plan.name)
        if file is None:
            raise ConfigError(f"entity {plan.name}: its file was not opened with this snapshot")
        if isinstance(file, SyncdError):
            raise file
        made = await to_thread.run_sync(self._make, plan, file)
        if entity:
            entity.close()
        self._entities[plan.name] = made
        return made

    async def _indexed(self, plan: Plan, tell: Tell) -> DumpEntity:
        entity = await self._entity(plan)

        def tell_all(issues: list[Issue]) -> None:
            for issue in issues:
                tell(issue)

        await _work(entity.indexing(self._spool_dir), tell_all)
        return entity


async def _work(steps: Generator[_T, None, None], use: Callable[[_T], None]) -> None:
    """Run ``steps`` to their end in a worker thread, a turn at a time; ``use`` what they give."""
    with closing(steps):
        is_done = False
        while not is_done:
            results, is_done, error = await to_thread.run_sync(_turn, steps)
            for result in results:
                use(result)
            if error:
                raise error


def _turn(steps: Iterator[_T]) -> tuple[list[_T], bool, SyncdError | None]:
    """What the next steps give, whether they are done, and the error that ended them."""
    results, end_s = list[_T](), perf_counter() + _TURN_S
    try:
        for result in steps:
            results.append(result)
            if perf_counter() > end_s:
                return results, False, None
    except SyncdError as error:
        return results, True, error
    return results, True, None
