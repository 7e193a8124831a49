"""The source over psqlODBC: keys, collations, digests, and a dump that is exchanged."""

import tracemalloc
from collections.abc import AsyncIterator, Callable, Sequence
from pathlib import Path
from typing import Any

import pytest

from syncd.config import Collation, PostgresSource, Secret, SqlServerSource
from syncd.errors import DriftError, SourceError
from syncd.flow.keys import encode_key
from syncd.flow.model import Column, ColumnType, Issue, Kind, Plan, Read
from syncd.flow.ports import Block, Snapshot
from syncd.sources import odbc
from syncd.sources.odbc import OdbcReader
from syncd.sources.postgres import PostgresReader
from syncd.sources.postgres_sql import Query
from tests.contracts.test_source import records_of
from tests.contracts.world import HASHER
from tests.odbc.world import LIBODBC, SQLITE, config_of, run

MakeReader = Callable[..., OdbcReader]
FOLDED = Collation(case="insensitive", trailing_blanks="ignored")
TEXT, INTEGER, UUID = ColumnType(), ColumnType(Kind.INTEGER), ColumnType(Kind.UUID)


def plan_of(key: Sequence[str], **types: ColumnType) -> Plan:
    """A plan of the entity ``things``."""
    columns = tuple(Column(name, name, types[name]) for name in sorted(types))
    at = tuple(sorted(types).index(name) for name in key)
    return Plan("things", 1, columns, at, columns, at)


def named(*names: str) -> Plan:
    """Things with a text for a key, and a note."""
    return plan_of(["code"], code=TEXT, **dict.fromkeys(names, TEXT))


@pytest.fixture
async def make_reader(odbc_dsn: str) -> AsyncIterator[MakeReader]:
    """Makes readers of the test's own database; all are closed at the end, twice."""
    made: list[OdbcReader] = []

    def make(table: str | Query = "things", **fields: Any) -> OdbcReader:
        collation = fields.pop("collation", Collation())
        config = config_of(odbc_dsn, collation=collation, **fields)
        made.append(OdbcReader(config, {"things": table}, HASHER, batch_rows=100))
        return made[-1]

    yield make
    for reader in made:
        await reader.close()
        await reader.close()


class Heard:
    """What a snapshot pushed and told."""

    def __init__(self, snapshot: Snapshot, plan: Plan) -> None:
        self.records: list[tuple[bytes, int]] = []
        self.reads: list[Read] = []
        self.told: list[Issue] = []
        self._snapshot = snapshot
        self._plan = plan

    async def scan(self) -> "Heard":
        """A survey."""

        async def emit(block: Block) -> None:
            self.records += records_of(block)

        await self._snapshot.scan(self._plan, emit, self.told.append)
        return self

    async def read(self) -> "Heard":
        """A full read."""

        async def emit(reads: Sequence[Read]) -> None:
            self.reads += reads

        await self._snapshot.read(self._plan, emit, self.told.append)
        return self


async def heard(reader: OdbcReader, plan: Plan) -> Heard:
    """A survey and a full read of one snapshot; findings are those of the second."""
    async with reader.open([plan]) as snapshot:
        records = (await Heard(snapshot, plan).scan()).records
        found = await Heard(snapshot, plan).read()
        found.records = records
        return found


def codes_of(read: Read) -> list[str]:
    """What is wrong with a row."""
    return [issue.code for issue in read.issues]


async def test_keys_come_in_the_order_of_their_bytes_whatever_the_server_thinks(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """Text by code point, identifiers by their bytes."""
    await run(
        odbc_dsn,
        "CREATE TABLE things AS SELECT code, md5(code)::uuid AS id"
        " FROM unnest(ARRAY['b','B','ä','a','A b','Ab','_','10','9']) AS code",
    )
    reader = make_reader(Query("SELECT code, id FROM things ORDER BY id DESC"))
    by_text = await heard(reader, plan_of(["code"], code=TEXT, id=UUID))
    by_id = await heard(reader, plan_of(["id"], code=TEXT, id=UUID))
    texts = [read.row[0] for read in by_text.reads if isinstance(read.row[0], bytes)]
    ids = [read.row[1] for read in by_id.reads]
    assert texts == sorted(texts)
    assert [key for key, _ in by_id.records] == sorted(key for key, _ in by_id.records)
    assert len(ids) == len(set(ids)) == len(texts) == 9


async def test_spellings_that_a_collation_holds_equal_are_one_key(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """Cases 58 and 59: as declared; the key is the canonical spelling."""
    await run(
        odbc_dsn,
        "CREATE TABLE things (code text, note text)",
        "INSERT INTO things VALUES ('x1  ', 'a'), ('y2', 'b')",
    )
    found = await heard(make_reader(collation=FOLDED), named("note"))
    assert [read.row for read in found.reads] == [(b"X1", b"a"), (b"Y2", b"b")]
    assert found.told == []


@pytest.mark.parametrize("second", ["x1", "X1 ", "X1"])
async def test_rows_that_share_a_key_are_set_aside_together(
    make_reader: MakeReader, odbc_dsn: str, second: str
) -> None:
    """Neither is written, although all else be equal; the third row is untouched."""
    await run(
        odbc_dsn,
        "CREATE TABLE things (code text, note text)",
        f"INSERT INTO things VALUES ('x1  ', 'a'), ('{second}', 'a'), ('y2', 'b')",  # noqa: S608
    )
    reader, plan = make_reader(collation=FOLDED), named("note")
    found = await heard(reader, plan)
    assert [codes_of(read) for read in found.reads] == [["duplicate_key"], []]
    assert [(one.code, one.excludes) for one in found.told] == [("duplicate_key", True)]
    assert [digest == 0 for _, digest in found.records] == [True, False]
    async with reader.open([plan]) as snapshot:
        (fetched,) = await snapshot.fetch(plan, [encode_key([Kind.TEXT], [b"X1"])])
    assert codes_of(fetched) == ["duplicate_key"]


async def test_undeclared_spellings_stay_apart(make_reader: MakeReader, odbc_dsn: str) -> None:
    """Guessing at a collation would merge what is not the same."""
    await run(
        odbc_dsn,
        "CREATE TABLE things AS SELECT unnest(ARRAY['x1', 'X1', 'x1 ']) AS code",
    )
    found = await heard(make_reader(), named())
    assert [read.row for read in found.reads] == [(b"X1",), (b"x1",), (b"x1 ",)]


async def test_a_letter_beyond_ascii_is_set_aside_where_case_is_ignored(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """Case 60: which other letters the collation holds equal is not known here."""
    await run(odbc_dsn, "CREATE TABLE things AS SELECT unnest(ARRAY['straße', 'x']) AS code")
    reader, plan = make_reader(collation=FOLDED), named()
    found = await heard(reader, plan)
    assert [codes_of(read) for read in found.reads] == [["key_not_ascii"], []]
    assert [digest == 0 for _, digest in found.records] == [True, False]


async def test_rows_are_fetched_by_keys_of_several_parts_without_a_survey(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """Bound as text and cast over there; in key order; what is not there is left out."""
    await run(
        odbc_dsn,
        "CREATE TABLE things AS SELECT n AS id, date '2026-01-01' + n AS day, 'n' || n AS code"
        " FROM generate_series(1, 9) AS n",
    )
    plan = plan_of(["day", "id"], id=INTEGER, day=ColumnType(Kind.DATE), code=TEXT)
    wanted = [(b"2026-01-09", b"8"), (b"2026-01-03", b"2"), (b"2026-01-03", b"7")]
    keys = [encode_key(plan.key_types, parts) for parts in wanted]
    reader = make_reader()
    async with reader.open([plan]) as snapshot:
        alone = await snapshot.fetch(plan, keys)
        await Heard(snapshot, plan).scan()
        indexed = await snapshot.fetch(plan, keys)
    assert [read.row[0] for read in alone] == [b"n2", b"n8"]
    assert [(r.key, r.row, r.digest) for r in alone] == [(r.key, r.row, r.digest) for r in indexed]


@pytest.mark.parametrize(
    ("stored", "collation", "key"),
    [("e\u0301", Collation(), "é"), ("x1  ", FOLDED, "X1"), ("é", Collation(), "é")],
)
async def test_a_row_is_fetched_whatever_the_spelling_of_its_key(
    make_reader: MakeReader, odbc_dsn: str, stored: str, collation: Collation, key: str
) -> None:
    """Composed or not (case 61), folded or not."""
    await run(odbc_dsn, f"CREATE TABLE things AS SELECT '{stored}'::text AS code")
    plan = named()
    async with make_reader(collation=collation).open([plan]) as snapshot:
        wanted = encode_key([Kind.TEXT], [key.encode()])
        assert [read.key for read in await snapshot.fetch(plan, [wanted])] == [wanted]


async def test_digests_of_the_server_are_the_same_in_every_call(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """Survey, read and fetch; and they follow the row."""
    await run(
        odbc_dsn,
        "CREATE TABLE things AS SELECT n AS id, 'n' || n AS code FROM generate_series(1, 9) n",
    )
    reader, plan = make_reader(digests="pushdown"), plan_of(["id"], id=INTEGER, code=TEXT)
    async with reader.open([plan]) as snapshot:
        found = await Heard(snapshot, plan).scan()
        fetched = await snapshot.fetch(plan, [key for key, _ in found.records])
        await found.read()
    assert [(read.key, read.digest) for read in fetched] == found.records
    assert [(read.key, read.digest) for read in found.reads] == found.records
    await run(odbc_dsn, "UPDATE things SET code = 'other' WHERE id = 5")
    again = await heard(reader, plan)
    assert [a == b for a, b in zip(found.records, again.records, strict=True)].count(False) == 1


async def test_a_value_that_cannot_be_is_a_finding_of_its_row(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """The other rows are read; the row is present and invalid."""
    await run(
        odbc_dsn,
        "CREATE TABLE things (id int, amount float8)",
        "INSERT INTO things VALUES (1, 1.5), (2, 'NaN'), (3, 2.5)",
    )
    plan = plan_of(["id"], id=INTEGER, amount=ColumnType(Kind.FLOAT))
    found = await heard(make_reader(), plan)
    assert [codes_of(read) for read in found.reads] == [[], ["not_finite"], []]


async def test_rows_alike_are_one_record(make_reader: MakeReader, odbc_dsn: str) -> None:
    """A join that says everything twice; told as a warning for each that was left out."""
    await run(odbc_dsn, "CREATE TABLE things AS SELECT 'x' AS code FROM generate_series(1, 3)")
    found = await heard(make_reader(), named())
    assert [codes_of(read) for read in found.reads] == [[]]
    assert [one.code for one in found.told] == ["duplicate_record"] * 2


async def test_the_same_row_is_the_same_as_from_postgresql(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """Canonical text does not tell the way on which it came."""
    await run(
        odbc_dsn,
        "CREATE TABLE things AS SELECT 1 AS id, 1.50::numeric(9,2) AS a, 0.1::real AS b,"
        " 1e16::float8 AS c, true AS d, E'x\\ty\\\\n' AS e, '2026-03-29 01:30:00.25'::timestamp f,"
        " '2026-03-29 01:30:00+02'::timestamptz AS g, '2026-03-29'::date AS h,"
        " '07:30:00.5'::time AS i, md5('x')::uuid AS j, '\\x00ff'::bytea AS k,"
        " '{\"b\": 1.0, \"a\": [1]}'::jsonb AS l, NULL::text AS m, ''::varchar(3) AS n",
    )
    reader = make_reader()
    shape = await reader.describe("things")
    config = PostgresSource(dsn=Secret(odbc_dsn))
    direct = PostgresReader(config, {"things": "things"})
    plan = plan_of(["id"], **{name: found.type for name, found in shape.items()})
    try:
        assert dict(await direct.describe("things")).keys() == shape.keys()
        async with direct.open([plan]) as one, reader.open([plan]) as other:
            expected = await Heard(one, plan).read()
            found = await Heard(other, plan).read()
    finally:
        await direct.close()
    assert [read.row for read in found.reads] == [read.row for read in expected.reads]


async def dumped(dsn: str, moment: str) -> None:
    """Another dump of the stand-in."""
    await run(dsn, f"COMMENT ON DATABASE \"{dsn.rpartition('/')[2]}\" IS '{moment}'")


@pytest.mark.parametrize("digests", ["client", "pushdown"])
async def test_a_dump_that_is_exchanged_while_it_is_read_is_discarded(
    make_reader: MakeReader, odbc_dsn: str, digests: str
) -> None:
    """Case 40: nothing of it is given away."""
    await run(odbc_dsn, "CREATE TABLE things AS SELECT 'x' AS code")
    await dumped(odbc_dsn, "2026-09-01 02:00:00")
    plan = named()
    async with make_reader(digests=digests).open([plan]) as snapshot:
        await snapshot.digest_spec(plan)
        await dumped(odbc_dsn, "2026-09-02 02:00:00")
        found = Heard(snapshot, plan)
        with pytest.raises(SourceError, match="another dump was restored"):
            await found.scan()
        with pytest.raises(SourceError, match="another dump was restored"):
            await snapshot.fetch(plan, [encode_key([Kind.TEXT], [b"x"])])
    assert found.records == []


async def test_an_identity_is_of_the_dump_and_of_what_is_asked(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """Another dump or another query: another content. A live database has none."""
    await run(odbc_dsn, "CREATE TABLE things AS SELECT 'x' AS code")
    await dumped(odbc_dsn, "2026-09-01 02:00:00")

    async def identity(table: str | Query = "things", **fields: Any) -> str:
        async with make_reader(table, **fields).open([named()]) as snapshot:
            return await snapshot.identity(named())

    first = await identity()
    assert first == await identity()
    assert first != await identity(Query("SELECT code FROM things"))
    assert await identity(content="live") == ""
    await dumped(odbc_dsn, "2026-09-02 02:00:00")
    assert first != await identity()


async def test_a_fetch_of_what_is_no_key_ends(
    make_reader: MakeReader, odbc_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """However many rows share it."""
    monkeypatch.setattr(odbc, "_FOUND_ROWS_MAX", 10)
    await run(odbc_dsn, "CREATE TABLE things AS SELECT 'x' AS code FROM generate_series(1, 11)")
    async with make_reader().open([named()]) as snapshot:
        with pytest.raises(SourceError, match="more than 10 rows have one of 1 keys"):
            await snapshot.fetch(named(), [encode_key([Kind.TEXT], [b"x"])])


async def test_a_column_that_is_gone_stops_its_entity(
    make_reader: MakeReader, odbc_dsn: str
) -> None:
    """Case 49."""
    await run(odbc_dsn, "CREATE TABLE things AS SELECT 'x' AS code")
    plan = named("note")
    async with make_reader().open([plan]) as snapshot:
        with pytest.raises(DriftError, match="entity things: the source has no column note"):
            await snapshot.digest_spec(plan)


async def test_a_table_that_is_not_there_is_told(make_reader: MakeReader) -> None:
    """By its quoted name."""
    with pytest.raises(DriftError, match=r'entity things: .* no table "public"\."things"'):
        await make_reader().describe("things")


async def test_a_query_may_be_any_that_the_server_runs(make_reader: MakeReader) -> None:
    """It is run as it stands: WITH and ORDER BY are no obstacle."""
    query = Query("WITH n AS (SELECT 'x' AS code, 'y' AS more) SELECT code FROM n ORDER BY 1; ")
    found = await heard(make_reader(query), named())
    assert [read.row for read in found.reads] == [(b"x",)]


async def test_the_memory_of_a_read_does_not_grow_with_its_rows(make_reader: MakeReader) -> None:
    """Five thousand rows of 8 kB are 40 MB; some of them are held at a time."""
    query = "SELECT n AS id, repeat('x', 8000) AS code FROM generate_series(1, 5000) AS n"
    plan = plan_of(["id"], id=INTEGER, code=TEXT)
    async with make_reader(Query(query)).open([plan]) as snapshot:
        tracemalloc.start()
        try:
            await Heard(snapshot, plan).scan()
            peak_bytes = tracemalloc.get_traced_memory()[1]
        finally:
            tracemalloc.stop()
    assert peak_bytes < 20_000_000


@pytest.mark.skipif(not (LIBODBC and SQLITE), reason="no SQLite ODBC: install libsqliteodbc")
async def test_another_driver_reads_by_the_same_rules(tmp_path: Path) -> None:
    """SQLite knows no catalogue of ours, and types by the row."""
    path = tmp_path / "old.db"
    import sqlite3  # noqa: PLC0415 - this test's alone

    with sqlite3.connect(path) as database:
        database.execute("CREATE TABLE things (id INTEGER, code VARCHAR(20))")
        database.executemany("INSERT INTO things VALUES (?, ?)", [(10, "ä"), (9, None)])
    database.close()
    config = SqlServerSource(odbc=Secret(f"Driver={SQLITE};Database={path}"), dialect="sqlite")
    reader, plan = (
        OdbcReader(config, {"things": "things"}, HASHER, batch_rows=5),
        plan_of(["id"], id=INTEGER, code=TEXT),
    )
    try:
        assert list(await reader.describe("things")) == ["id", "code"]
        found = await heard(reader, plan)
        async with reader.open([plan]) as snapshot:
            keys = [encode_key([Kind.INTEGER], [b"10"])]
            (fetched,) = await snapshot.fetch(plan, keys)
    finally:
        await reader.close()
    assert [read.row for read in found.reads] == [(None, b"9"), ("ä".encode(), b"10")]
    assert fetched.row == ("ä".encode(), b"10")
