"""One small plan, and for each implementation of a port a way to fill it and look into it."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Protocol

import asyncpg
from msgspec import Struct

from syncd.app import App
from syncd.config import (
    Aggregate,
    Config,
    Entity,
    FilesSource,
    Link,
    Part,
    PostgresSource,
    PostgresTarget,
    Secret,
)
from syncd.flow.fingerprint import HASH_VERSION, Hasher
from syncd.flow.keys import encode_key
from syncd.flow.model import (
    Column,
    ColumnType,
    Decision,
    Entry,
    Found,
    Kind,
    Outcome,
    Plan,
    Row,
    State,
    Write,
)
from syncd.flow.ports import Lease, Ledger, RunBook, Source, Target
from syncd.jobs.runner import _Written
from syncd.ledger.runs import Started
from syncd.site import Site
from syncd.sources.files import Dump
from syncd.sources.odbc import OdbcReader
from syncd.sources.postgres import PostgresReader
from tests.memory.book import MemoryBook
from tests.memory.ledger import MemoryLedger
from tests.memory.source import MemorySource
from tests.memory.store import Store
from tests.memory.target import MemoryTarget
from tests.odbc.world import config_of

HASHER: Final = Hasher(b"a key of sixteen bytes or more")
TYPES: Final = {"amount": ColumnType(Kind.DECIMAL), "id": ColumnType(Kind.INTEGER)}
NAMES: Final = ("amount", "id", "name")
COLUMNS: Final = tuple(Column(name, name, TYPES.get(name, ColumnType())) for name in NAMES)
NATIVES: Final = {"amount": "numeric", "id": "bigint", "name": "text"}
TABLE: Final = "CREATE TABLE items (id bigint, name text, amount numeric)"
AGGREGATE: Final = """
CREATE SCHEMA app;
CREATE TABLE app.items (own uuid PRIMARY KEY, amount numeric);
CREATE TABLE app.names (id uuid PRIMARY KEY, item uuid NOT NULL UNIQUE REFERENCES app.items,
    name text);
CREATE TABLE app.link (id uuid PRIMARY KEY, entity_type text, source_id text,
    source_updated_at timestamptz, target_id uuid NOT NULL, target_updated_at timestamptz NOT NULL,
    imported_at timestamptz NOT NULL, UNIQUE (entity_type, source_id));
"""


def plan_of(entity_id: int = 1, shape: int = 1) -> Plan:
    """Items: an integer key, a name, an amount."""
    return Plan("items", entity_id, COLUMNS, (1,), COLUMNS, (1,), shape=shape, revision=7)


def key_of(number: int) -> bytes:
    """The key of an item."""
    return encode_key([Kind.INTEGER], [b"%d" % number])


def row_of(number: int, name: str | None = "n", amount: str | None = "1") -> Row:
    """An item in drafted order, in canonical text."""
    texts = (amount, str(number), name)
    return tuple(None if text is None else text.encode() for text in texts)


def entry_of(plan: Plan, number: int, **fields: object) -> Entry:
    """A live entry as a write leaves it."""
    hashes = HASHER.columns(row_of(number))
    known: dict[str, object] = {
        "digest": 1000 + number,
        "digest_epoch": 5,
        "fingerprint": b"f" * 16,
        "hash_version": HASH_VERSION,
        "revision": plan.revision,
        "shape": plan.shape,
        "source_epoch": 1,
        "position": 10,
        "state": State.LIVE,
        "source_base": hashes,
        "target_base": hashes,
        "outcome": Outcome.INSERTED,
        "run_id": 1,
    }
    return Entry(key=key_of(number), **(known | fields))  # type: ignore[arg-type]


def decided(write: Write, plan: Plan, number: int, written: Sequence[int] = (0, 1, 2)) -> Decision:
    """A decision of that kind."""
    return Decision(write, entry_of(plan, number), Outcome.UPDATED, written=tuple(written))


class SourceCase(Protocol):
    """A source with a way to fill it."""

    source: Source

    async def put(self, rows: Sequence[tuple[int | None, str | None, str | None]]) -> None:
        """Make these (id, name, amount) the whole content."""


class MemorySourceCase:
    """The double."""

    def __init__(self) -> None:
        self._memory = MemorySource(HASHER, batch_rows=3)
        self._memory.shapes["items"] = {c.name: Found(c.name, "", c.type) for c in COLUMNS}
        self.source: Source = self._memory

    async def put(self, rows: Sequence[tuple[int | None, str | None, str | None]]) -> None:
        """Rows in canonical text."""
        self._memory.rows["items"] = [
            (_text(amount), None if number is None else b"%d" % number, _text(name))
            for number, name, amount in rows
        ]


class PostgresSourceCase:
    """The real one, on a table without a key."""

    def __init__(self, dsn: str) -> None:
        self._dsn = dsn
        config = PostgresSource(dsn=Secret(dsn))
        self.source: Source = PostgresReader(config, {"items": "items"}, piece_rows=3)

    async def put(self, rows: Sequence[tuple[int | None, str | None, str | None]]) -> None:
        """Replace the table's content."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute(TABLE.replace("TABLE", "TABLE IF NOT EXISTS"))
            await connection.execute("TRUNCATE items")
            await connection.executemany(
                "INSERT INTO items VALUES ($1, $2, $3::text::numeric)", rows
            )
        finally:
            await connection.close()

    async def insert(self, number: int) -> None:
        """One more row, while a snapshot is open."""
        connection = await asyncpg.connect(self._dsn)
        try:
            await connection.execute("INSERT INTO items VALUES ($1, 'late', 1)", number)
        finally:
            await connection.close()


class OdbcSourceCase(PostgresSourceCase):
    """The same table, through ODBC."""

    def __init__(self, dsn: str) -> None:
        super().__init__(dsn)
        config = config_of(dsn, fetch_rows=3)
        self.source = OdbcReader(config, {"items": "items"}, HASHER, batch_rows=3)


class FilesSourceCase:
    """A folder with one CSV; NULL is an empty field, the empty text a quoted one."""

    def __init__(self, folder: Path) -> None:
        self._path = folder / "items.csv"
        self._config = FilesSource(path=str(folder))
        self._sequence = 0
        self.source: Source = self._opened()

    async def put(self, rows: Sequence[tuple[int | None, str | None, str | None]]) -> None:
        """The next dump."""
        lines = [",".join(_field(value) for value in row) for row in rows]
        self._path.write_text("\n".join(["id,name,amount", *lines, ""]), "utf-8")
        self._sequence += 1
        self.source = self._opened()

    def append(self, number: int) -> None:
        """The next dump takes this one's place while it is being read."""
        text = self._path.read_text("utf-8")
        self._path.unlink()
        self._path.write_text(f'{text}{number},"late","1"\n', "utf-8")
        self._sequence += 1

    def _opened(self) -> Dump:
        files = {"items": "items.csv"}
        return Dump(self._config, files, HASHER, sequence=self._sequence, batch_rows=3)


class Shelter(Struct):
    """Target and ledger of one implementation, on common ground."""

    plan: Plan
    target: Target
    ledger: Ledger
    lease: Lease
    stale: Lease  # one that was taken over
    memory: Store | None = None
    site: Site | None = None
    key_kind: Kind = Kind.INTEGER  # of the key, as the target describes it
    loads: bool = True  # whether rows can be copied straight into their table

    async def book(self, run: int, lease: Lease | None = None) -> RunBook:
        """The book of the n-th run, under the newest lease unless it says another."""
        if self.memory is not None:
            return MemoryBook(self.memory, run, lease or self.lease)
        assert self.site is not None
        return _Written(self.site, Started(run, 2, "", None), lease or self.lease)

    async def next_attempt(self) -> None:
        """The run was cut off and is taken up again."""
        if self.memory is not None:
            self.memory.state.attempt += 1

    async def run_id(self) -> int:
        """A run that work units may belong to."""
        if self.site is None:
            return 1
        return (await self.site.runs.start(self.lease, None)).run_id


@asynccontextmanager
async def memory_shelter() -> AsyncIterator[Shelter]:
    """The doubles."""
    store, plan = Store(), plan_of()
    store.state.epoch = 2
    target = MemoryTarget(store)
    await target.create(plan, ["id", "name", "amount"])
    leases = Lease("items", "us", 2), Lease("items", "before", 1)
    yield Shelter(plan, target, MemoryLedger(store), *leases, memory=store)


@asynccontextmanager
async def aggregate_shelter(dsn: str) -> AsyncIterator[Shelter]:
    """The same rows, as documents that lie in three tables: the name has one of its own."""
    link = Link(table="app.link", type="ITEM")
    part = Part(into="app.names", on="item", columns={"name": "name"})
    aggregate = Aggregate(link=link, id="own", parts={"named": part})
    async with postgres_shelter(dsn, AGGREGATE, aggregate) as shelter:
        shelter.key_kind, shelter.loads = Kind.TEXT, False
        yield shelter


@asynccontextmanager
async def postgres_shelter(
    dsn: str, tables: str = "CREATE SCHEMA app", aggregate: Aggregate | None = None
) -> AsyncIterator[Shelter]:
    """The real ones; the ledger is made by ``init`` in a database of its own."""
    connection = await asyncpg.connect(dsn)
    await connection.execute(TABLE)
    await connection.execute(tables)
    await connection.close()
    config = Config(
        pipeline="items",
        source=PostgresSource(dsn=Secret(dsn)),
        target=PostgresTarget(dsn=Secret(dsn)),
        entities={
            "items": Entity(
                from_="public.items", key=("id",), into="app.items", aggregate=aggregate
            )
        },
    )
    site = Site(config)
    try:
        await App(site).init()
        plan = (await site.prepared()).plans["items"]
        await site.runs.acquire("before", 0.001)
        await _expire(dsn)
        lease = await site.runs.acquire("us", 3600.0)
        assert lease is not None
        stale = Lease("items", "before", lease.epoch - 1)
        yield Shelter(plan, site.target, site.ledger, lease, stale, site=site)
    finally:
        await site.close()


async def _expire(dsn: str) -> None:
    connection = await asyncpg.connect(dsn)
    await connection.execute("UPDATE syncd.syncd_lease SET expires_at = '-infinity'")
    await connection.close()


def _field(value: int | str | None) -> str:
    if value is None:
        return ""
    return f'"{value}"' if isinstance(value, str) else str(value)


def _text(value: str | None) -> bytes | None:
    return None if value is None else value.encode()
