"""The PostgreSQL source against a real server: one snapshot, whole reads, all rows counted."""

# ruff: noqa: S608 - the statements are made of constants.

from collections.abc import Sequence
from functools import partial
from typing import Any

import pytest

from syncd.errors import DriftError, InvariantError, PermanentError, SourceError
from syncd.flow.model import Read
from syncd.flow.ports import Block
from syncd.flow.survey import Finding, survey
from syncd.sources.postgres import Query
from tests.sources.postgres.world import (
    INTEGER,
    TEXT,
    MakeReader,
    Scanned,
    nothing,
    plan_from,
    plan_of,
    read,
    scan,
    unexpected,
)


async def test_a_table_is_described_by_the_catalogue(admin: Any, make_reader: MakeReader) -> None:
    """Domains by their base type, generated columns as not to be written."""
    await admin.execute(
        "CREATE DOMAIN code AS varchar(7);"
        "CREATE TABLE t (id integer PRIMARY KEY, code code, price numeric(9,2),"
        " twice numeric GENERATED ALWAYS AS (price * 2) STORED)"
    )
    shape = await make_reader({"t": "public.t"}).describe("t")
    assert {name: found.native for name, found in shape.items()} == {
        "id": "integer",
        "code": "character varying(7)",
        "price": "numeric(9,2)",
        "twice": "numeric",
    }
    assert [found.writable for found in shape.values()] == [True, True, True, False]


@pytest.mark.parametrize("end", ["", ";", " ;\n", " -- the end", "\n/* end */"])
async def test_a_query_is_described_and_scanned_like_a_table(
    admin: Any, make_reader: MakeReader, end: str
) -> None:
    """However its file ends: a semicolon or a comment is no part of it."""
    await admin.execute(
        "CREATE TABLE t AS SELECT 3 - g AS id, 'x' AS x FROM generate_series(0, 2) g"
    )
    reader = make_reader({"q": Query(f"SELECT id, x FROM t WHERE id > 1{end}")})
    plan = await plan_from(reader, "q")
    assert [column.type for column in plan.columns] == [INTEGER, TEXT]
    async with reader.open([plan]) as snapshot:
        assert (await scan(snapshot, plan)).rows == 2
        assert [one.row for one in await read(snapshot, plan)] == [(b"2", b"x"), (b"3", b"x")]


async def test_a_query_that_would_write_is_refused(admin: Any, make_reader: MakeReader) -> None:
    """The transaction is read-only, also for what hides in a function (I11)."""
    await admin.execute(
        "CREATE TABLE t (id integer);"
        "CREATE FUNCTION sneaky() RETURNS integer LANGUAGE sql AS "
        "'INSERT INTO public.t VALUES (1) RETURNING id'"
    )
    reader = make_reader({"q": Query("SELECT sneaky() AS id")})
    plan = plan_of("q", {"id": INTEGER}, ["id"])
    async with reader.open([plan]) as snapshot:
        with pytest.raises(PermanentError, match="read-only"):
            await snapshot.scan(plan, nothing, unexpected)
    assert await admin.fetchval("SELECT count(*) FROM t") == 0


async def test_a_query_of_two_statements_is_never_run(admin: Any, make_reader: MakeReader) -> None:
    """Every query is prepared as one statement before any is copied (case 88)."""
    await admin.execute("CREATE TABLE t AS SELECT 1 AS id")
    text = "SELECT id FROM t) AS q; DROP TABLE public.t; SELECT * FROM (SELECT 1 AS id"
    reader = make_reader({"q": Query(text)})
    plan = plan_of("q", {"id": INTEGER}, ["id"])
    with pytest.raises(PermanentError, match="check the SQL"):
        await reader.describe("q")
    async with reader.open([plan]) as snapshot:
        with pytest.raises(PermanentError, match="check the SQL"):
            await scan(snapshot, plan)
    assert await admin.fetchval("SELECT count(*) FROM t") == 1


async def test_a_missing_table_or_column_stops_its_entity_alone(
    admin: Any, make_reader: MakeReader
) -> None:
    """The same snapshot goes on with the others (case 49)."""
    await admin.execute("CREATE TABLE t AS SELECT 1 AS id")
    reader = make_reader({"gone": "public.gone", "t": "public.t", "lacking": "public.t"})
    with pytest.raises(DriftError, match="no table"):
        await reader.describe("gone")
    plans = [
        plan_of("gone", {"id": INTEGER}, ["id"]),
        plan_of("lacking", {"id": INTEGER, "name": TEXT}, ["id"]),
        plan_of("t", {"id": INTEGER}, ["id"]),
    ]
    async with reader.open(plans) as snapshot:
        with pytest.raises(DriftError, match="no table"):
            await scan(snapshot, plans[0])
        with pytest.raises(DriftError, match='no column "name"'):
            await scan(snapshot, plans[1])
        assert (await scan(snapshot, plans[2])).rows == 1


async def test_scan_and_fetch_see_one_and_the_same_moment(
    admin: Any, make_reader: MakeReader
) -> None:
    """What changes after the snapshot is in neither, though they use two connections (case 43)."""
    await admin.execute("CREATE TABLE t AS SELECT g AS id, 'old' AS x FROM generate_series(1, 9) g")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        await admin.execute("UPDATE t SET x = 'new'; DELETE FROM t WHERE id < 3")
        await admin.execute("INSERT INTO t VALUES (10, 'new')")
        scanned = await scan(snapshot, plan)
        fetched = await snapshot.fetch(plan, scanned.keys)
        assert [one.row for one in fetched] == [(b"%d" % n, b"old") for n in range(1, 10)]
        assert [(one.key, one.digest) for one in fetched] == scanned.records
        assert await read(snapshot, plan) == fetched
    async with reader.open([plan]) as snapshot:
        assert (await scan(snapshot, plan)).rows == 8


async def test_a_consumer_may_fetch_while_the_scan_waits_for_it(
    admin: Any, make_reader: MakeReader
) -> None:
    """Suspects are fetched in the middle of a survey, on the other connection."""
    await admin.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 30000) g")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    fetched: list[Read] = []
    async with reader.open([plan]) as snapshot:

        async def emit(block: Block) -> None:
            first = block.data[6:14]
            fetched.extend(await snapshot.fetch(plan, [first]))

        assert await snapshot.scan(plan, emit, unexpected) == 30_000
    assert len(fetched) > 1


async def test_two_surveys_of_the_same_data_find_nothing(
    admin: Any, make_reader: MakeReader
) -> None:
    """Blocks of two snapshots are the same bytes, and one changed row is the one suspect."""
    await admin.execute(
        "CREATE TABLE t AS SELECT g - 5000 AS id, g || 'x' AS x FROM generate_series(1, 25000) g"
    )
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    findings: list[Finding] = []

    async def consume(finding: Finding) -> None:
        findings.append(finding)

    async with reader.open([plan]) as before:
        async with reader.open([plan]) as same:
            scans = [partial(each.scan, plan, tell=unexpected) for each in (before, same)]
            totals = await survey(scans[0], scans[1], consume)
            assert totals.equal == totals.source_rows == totals.ledger_rows == 25_000
        await admin.execute("UPDATE t SET x = 'y' WHERE id = -4990; DELETE FROM t WHERE id = 7")
        async with reader.open([plan]) as after:
            findings.clear()
            scans = [partial(each.scan, plan, tell=unexpected) for each in (after, before)]
            await survey(scans[0], scans[1], consume)
    suspects = [key for finding in findings for key in finding.suspects]
    absentees = [key for finding in findings for key in finding.absentees]
    assert suspects == [((1 << 63) - 4990).to_bytes(8, "big")]
    assert absentees == [((1 << 63) + 7).to_bytes(8, "big")]


async def test_the_position_is_taken_before_the_snapshot(
    admin: Any, make_reader: MakeReader
) -> None:
    """It is a lower bound: whatever was committed before it is seen."""
    await admin.execute("CREATE TABLE t (id integer)")
    reader = make_reader({"t": "public.t"})
    lsn = "SELECT (pg_current_wal_lsn() - '0/0'::pg_lsn)::bigint"
    positions = []
    for n in range(3):
        await admin.execute("INSERT INTO t VALUES ($1)", n)
        before = await admin.fetchval(lsn)
        async with reader.open([]) as snapshot:
            assert before <= snapshot.position <= await admin.fetchval(lsn)
            positions.append(snapshot.position)
    assert positions == sorted(set(positions))


async def test_the_digest_epoch_follows_types_columns_and_server(
    admin: Any, make_reader: MakeReader
) -> None:
    """It changes when stored digests lose their meaning, and never with the data."""
    await admin.execute("CREATE TABLE t (id integer, x integer, y text)")
    reader = make_reader({"t": "public.t"})

    async def spec(*columns: str) -> str:
        whole = await plan_from(reader, "t")
        types = {column.name: column.type for column in whole.columns if column.name in columns}
        plan = plan_of("t", types, ["id"])
        async with reader.open([plan]) as snapshot:
            assert await snapshot.identity(plan) == ""
            return await snapshot.digest_spec(plan)

    first = await spec("id", "x")
    await admin.execute("INSERT INTO t VALUES (1, 2, 'z')")
    assert await spec("id", "x") == first
    assert await spec("id", "x", "y") != first
    await admin.execute("ALTER TABLE t ALTER x TYPE bigint")
    assert await spec("id", "x") != first
    assert f"postgres {admin.get_server_version().major} " in first


async def test_keys_that_are_null_or_occur_twice_are_told_and_counted(
    admin: Any, make_reader: MakeReader
) -> None:
    """Every row read is a key pushed or a finding told; scan and full read agree."""
    await admin.execute("CREATE TABLE t (id integer, x text)")
    await admin.execute(
        "INSERT INTO t VALUES (1, 'a'), (2, 'b'), (2, 'c'), (2, 'b'), (NULL, 'd'), (NULL, NULL)"
    )
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        scanned = await scan(snapshot, plan)
        reads = await read(snapshot, plan)
        (twice,) = await snapshot.fetch(plan, [scanned.keys[1]])
    assert scanned.rows == len(scanned.keys) + len(scanned.told) == 6
    assert sorted(issue.code for issue in scanned.told) == ["duplicate_key"] * 2 + ["null_key"] * 2
    assert scanned.records[1][1] == 0
    assert [one.key for one in reads] == scanned.keys
    assert [len(one.issues) for one in reads] == [0, 1]
    assert [issue.code for issue in twice.issues] == ["duplicate_key"]
    assert twice.digest == 0


async def test_an_empty_table_is_a_complete_read_of_nothing(
    admin: Any, make_reader: MakeReader
) -> None:
    """What absence then means is not the source's to decide (case 42)."""
    await admin.execute("CREATE TABLE t (id integer)")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        assert await scan(snapshot, plan) == Scanned([], [], 0)
        assert await read(snapshot, plan) == []
        assert await snapshot.fetch(plan, []) == []


async def test_a_full_read_comes_in_pieces(admin: Any, make_reader: MakeReader) -> None:
    """Of the wanted size at most; none is empty."""
    await admin.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 2500) g")
    reader = make_reader({"t": "public.t"}, piece_rows=1000)
    plan = await plan_from(reader, "t")
    sizes: list[int] = []

    async def emit(batch: Sequence[Read]) -> None:
        sizes.append(len(batch))

    async with reader.open([plan]) as snapshot:
        assert await snapshot.read(plan, emit, unexpected) == 2500
    assert sum(sizes) == 2500
    assert all(1 <= size <= 1000 for size in sizes)


async def test_a_value_that_cannot_be_read_as_the_key_ends_the_read(
    admin: Any, make_reader: MakeReader
) -> None:
    """A numeric key beyond 64 bits is no row's error: the table cannot be read whole."""
    await admin.execute("CREATE TABLE t AS SELECT 1e20::numeric(30,0) AS id")
    reader = make_reader({"t": "public.t"})
    plan = plan_of("t", {"id": INTEGER}, ["id"])
    async with reader.open([plan]) as snapshot:
        with pytest.raises(SourceError, match="22003"):
            await scan(snapshot, plan)


async def test_bytes_that_are_no_key_are_a_fault_of_ours(
    admin: Any, make_reader: MakeReader
) -> None:
    """They cannot come from a scan of this entity."""
    await admin.execute("CREATE TABLE t (id integer)")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        with pytest.raises(InvariantError, match="not one of this entity"):
            await snapshot.fetch(plan, [b"\0"])
