"""The PostgreSQL source when things go wrong: it says so, stops what runs, and leaves nothing."""

# ruff: noqa: S608 - the statements are made of constants.

from collections.abc import Callable
from functools import partial
from typing import Any

import anyio
import anyio.lowlevel
import asyncpg
import pytest

from syncd.config import PostgresSource, Secret
from syncd.errors import ConfigError, DriftError, PermanentError, TransientError
from syncd.flow.ports import Block
from syncd.pg.connect import Connections, open_connection
from syncd.sources import postgres
from syncd.sources.postgres import PostgresReader, Query
from tests.patience import WAIT_S
from tests.sources.postgres.world import (
    INTEGER,
    TEXT,
    MakeReader,
    plan_from,
    plan_of,
    read,
    scan,
    statements,
    unexpected,
    until,
)


async def test_a_policy_that_hides_rows_is_refused(
    admin: Any, make_reader: MakeReader, pg_dsn: str
) -> None:
    """Rows that the role may not see would look deleted (I10)."""
    role = f"reader_{admin.get_server_pid()}"
    await admin.execute(
        f"CREATE ROLE {role} LOGIN; CREATE TABLE t (id integer); INSERT INTO t VALUES (1), (2);"
        f"GRANT SELECT ON t TO {role}; ALTER TABLE t ENABLE ROW LEVEL SECURITY;"
        "CREATE POLICY partly ON t USING (id = 1)"
    )
    try:
        dsn = pg_dsn.replace("://postgres@", f"://{role}@")
        reader = make_reader({"t": "public.t"})
        limited = PostgresReader(PostgresSource(dsn=Secret(dsn)), {"t": "public.t"}, piece_rows=9)
        plan = await plan_from(reader, "t")
        async with limited.open([plan]) as snapshot:
            with pytest.raises(PermanentError, match="42501"):
                await scan(snapshot, plan)
        await limited.close()
    finally:
        await admin.execute(f"DROP OWNED BY {role}; DROP ROLE {role}")


async def test_a_lost_connection_is_tried_again_and_leaves_no_place_taken(
    admin: Any, make_reader: MakeReader
) -> None:
    """The server ends the session in the middle of a scan, and of a fetch (case 13)."""
    await admin.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 400000) g")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")

    async def end_all(_: object) -> None:
        await admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity "
            "WHERE application_name = 'syncd' AND datname = current_database()"
        )

    for _ in range(postgres.connections_max(2) + 1):
        async with reader.open([plan]) as snapshot:
            with pytest.raises(TransientError):
                await snapshot.scan(plan, end_all, unexpected)
            with pytest.raises(TransientError):
                await snapshot.fetch(plan, [bytes([128, 0, 0, 0, 0, 0, 0, 1])])
    assert reader.connections.size == 0
    async with reader.open([plan]) as snapshot:
        assert (await scan(snapshot, plan)).rows == 400_000


SLOW = Query("SELECT g AS id, pg_sleep(0.01)::text AS x FROM generate_series(1, 100000) g")


async def test_a_cancelled_scan_stops_at_the_server(admin: Any, make_reader: MakeReader) -> None:
    """The statement ends there, the connections are closed (case 23)."""
    reader = make_reader({"slow": SLOW})
    plan = plan_of("slow", {"id": INTEGER, "x": TEXT}, ["id"])

    async def run() -> None:
        async with reader.open([plan]) as snapshot:
            await scan(snapshot, plan)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(run)
        await until(partial(statements, admin, "COPY%pg_sleep%"), wanted=True)
        tasks.cancel_scope.cancel()
    await until(partial(statements, admin, "COPY%pg_sleep%"), wanted=False)
    assert reader.connections.size == 0


async def test_a_scan_that_was_given_up_leaves_the_snapshot_usable(
    admin: Any, make_reader: MakeReader
) -> None:
    """One entity's deadline or a consumer's error is nothing to the next entity (I15)."""
    await admin.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 90000) g")
    reader = make_reader({"slow": SLOW, "t": "public.t"})
    slow = plan_of("slow", {"id": INTEGER, "x": TEXT}, ["id"])
    plan = await plan_from(reader, "t")
    full = ConnectionError("the consumer's own disk is full")

    async def fail(_: object) -> None:
        raise DriftError("the consumer's own") from full

    async with reader.open([slow, plan]) as snapshot:
        await admin.execute("DELETE FROM t")
        with anyio.move_on_after(0.1) as scope:
            await scan(snapshot, slow)
        assert scope.cancelled_caught
        with pytest.raises(DriftError, match="the consumer's own"):
            await snapshot.scan(plan, fail, unexpected)
        assert (await scan(snapshot, plan)).rows == 90_000
    assert await statements(admin, "%pg_sleep%") == 0


@pytest.fixture
def never_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    """A rollback that has to be waited for is waited for beyond the patience of a test."""
    monkeypatch.setattr(postgres, "_ROLLBACK_S_MAX", 10 * WAIT_S)


@pytest.mark.usefixtures("never_given_up")
@pytest.mark.parametrize("rows", [3, 20_000])
@pytest.mark.parametrize("look", ["scan", "read"])
async def test_a_consumer_that_fails_on_the_last_block_delays_nothing(
    admin: Any, make_reader: MakeReader, rows: int, look: str
) -> None:
    """The COPY is over by then, so there is nothing to cancel at the server and to wait for."""
    await admin.execute(f"CREATE TABLE t AS SELECT g AS id FROM generate_series(1, {rows}) g")
    reader = make_reader({"t": "public.t"}, piece_rows=1)
    plan = await plan_from(reader, "t")

    async def fail(_: object) -> None:
        raise DriftError("the consumer's own")

    async def cancel(_: object) -> None:
        scope.cancel()
        await anyio.lowlevel.checkpoint()

    with anyio.fail_after(WAIT_S):
        async with reader.open([plan]) as snapshot:
            run: Any = getattr(snapshot, look)
            with pytest.raises(DriftError, match="the consumer's own"):
                await run(plan, fail, unexpected)
            with anyio.CancelScope() as scope:
                await run(plan, cancel, unexpected)
            assert scope.cancelled_caught
            assert (await scan(snapshot, plan)).rows == rows


@pytest.mark.usefixtures("never_given_up")
@pytest.mark.trust
async def test_a_cancel_at_any_moment_is_quick_and_leaks_nothing(
    admin: Any, make_reader: MakeReader
) -> None:
    """While opening, sorting, streaming, waiting for the consumer or closing (case 23)."""
    await admin.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 40000) g")
    reader = make_reader({"t": "public.t"}, piece_rows=500)
    plan = await plan_from(reader, "t")

    async def look(delay_s: float) -> None:
        with anyio.move_on_after(delay_s):
            async with reader.open([plan]) as snapshot:
                await snapshot.scan(plan, lambda _: anyio.sleep(0.001), unexpected)
                await snapshot.read(plan, lambda _: anyio.lowlevel.checkpoint(), unexpected)

    for step in range(60):
        with anyio.fail_after(WAIT_S):
            await look(step * 0.002)
    assert reader.connections.size <= postgres.connections_max(2)
    async with reader.open([plan]) as snapshot:
        assert (await scan(snapshot, plan)).rows == 40_000
    await until(partial(statements, admin, "COPY%"), wanted=False)


async def test_a_silent_server_is_given_up(make_reader: MakeReader) -> None:
    """A stream has no limit but on silence (case 20)."""
    reader = make_reader({"slow": SLOW}, statement_timeout_s=0.3)
    plan = plan_of("slow", {"id": INTEGER, "x": TEXT}, ["id"])
    async with reader.open([plan]) as snapshot:
        with pytest.raises(TransientError, match="nothing came for"):
            await scan(snapshot, plan)


async def test_a_slow_consumer_is_waited_for(admin: Any, make_reader: MakeReader) -> None:
    """A first load may take longer than any statement should; the source does not give up."""
    # More than the sockets between us hold, so that the statement goes on until the end.
    await admin.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 500000) g")
    reader = make_reader({"t": "public.t"}, statement_timeout_s=0.5)
    plan = await plan_from(reader, "t")
    blocks = 0

    async def slowly(_: Block) -> None:
        nonlocal blocks
        blocks += 1
        await anyio.sleep(0.05)

    async with reader.open([plan]) as snapshot:
        assert await snapshot.scan(plan, slowly, unexpected) == 500_000
    assert blocks * 0.05 > 1.0


async def test_a_statement_that_takes_too_long_is_tried_again(make_reader: MakeReader) -> None:
    """The server ends a fetch that runs into statement_timeout_s."""
    endless = Query("SELECT 1 AS id, pg_sleep(600)::text AS x")
    reader = make_reader({"endless": endless}, statement_timeout_s=0.2)
    plan = plan_of("endless", {"id": INTEGER, "x": TEXT}, ["id"])
    async with reader.open([plan]) as snapshot:
        for _ in range(2):
            with pytest.raises(TransientError, match="57014"):
                await snapshot.fetch(plan, [bytes([128, 0, 0, 0, 0, 0, 0, 1])])


async def test_it_works_behind_a_proxy_that_deals_out_sessions(
    admin: Any, make_reader: MakeReader
) -> None:
    """Without prepared statements and with settings that last one transaction (case 18)."""
    await admin.execute(
        "CREATE TABLE t (id integer, at timestamptz);"
        "INSERT INTO t VALUES (1, '2024-07-01 12:00+01');"
        f"ALTER DATABASE {await admin.fetchval('SELECT current_database()')}"
        " SET TimeZone = 'Europe/London'"
    )
    reader = make_reader({"t": "public.t"}, prepared_statements=False)
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        (one,) = await read(snapshot, plan)
        assert one.row == (b"2024-07-01 11:00:00+00", b"1")
        assert await snapshot.fetch(plan, [one.key]) == [one]
        assert (await scan(snapshot, plan)).records == [(one.key, one.digest)]
    async with reader.connections.acquire() as connection:
        assert await connection.fetchval("SHOW TimeZone") == "Europe/London"


async def test_where_snapshots_cannot_be_shared_the_earlier_position_counts(
    make_database: Callable[[str], str], make_reader: MakeReader
) -> None:
    """A proxy led to two servers: after one failure each connection looks for itself."""
    dsns = [make_database("one"), make_database("two")]
    for dsn in dsns:
        connection = await asyncpg.connect(dsn)
        await connection.execute("CREATE TABLE t AS SELECT 1 AS id")
        await connection.close()
    reader = make_reader({"t": "public.t"})
    plan = plan_of("t", {"id": INTEGER}, ["id"])
    turn = iter(dsns * 10)

    async def open_next() -> Any:
        return await open_connection(
            Secret(next(turn)),
            connect_timeout_s=5,
            statement_timeout_s=5,
            read_only=True,
            prepared_statements=True,
        )

    reader.connections = Connections(open_next, size_max=4)
    async with reader.open([plan]) as snapshot:
        with pytest.raises(TransientError, match="cannot see the snapshot"):
            await scan(snapshot, plan)
    async with reader.open([plan]) as snapshot:
        scanned = await scan(snapshot, plan)
        assert [one.key for one in await snapshot.fetch(plan, scanned.keys)] == scanned.keys
        assert snapshot.position > 0


async def test_more_snapshots_than_connections_take_turns(
    admin: Any, make_reader: MakeReader
) -> None:
    """Each has both of its connections in time; none waits for another's second one (case 23)."""
    await admin.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 20) g")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    done: list[int] = []

    async def look() -> None:
        async with reader.open([plan]) as snapshot:
            done.append((await scan(snapshot, plan)).rows)

    with anyio.fail_after(WAIT_S):
        async with anyio.create_task_group() as tasks:
            for _ in range(12):
                tasks.start_soon(look)
    assert done == [20] * 12
    assert reader.connections.size <= postgres.connections_max(2)


async def test_an_old_server_is_refused(
    make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The record hash came with PostgreSQL 14."""
    monkeypatch.setattr(postgres, "_VERSION_MIN", 99)
    with pytest.raises(ConfigError, match="expected 99 or newer"):
        async with make_reader({}).open([]):
            pytest.fail("it is too old")


async def test_nothing_is_left_open_when_the_reader_is_closed(
    admin: Any, make_reader: MakeReader
) -> None:
    """No session stays at the source."""
    await admin.execute("CREATE TABLE t AS SELECT 1 AS id")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        await scan(snapshot, plan)
    await reader.close()
    assert reader.connections.size == 0
    sessions = (
        "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'syncd' "
        "AND datname = current_database()"
    )
    await until(partial(admin.fetchval, sessions), wanted=False)
