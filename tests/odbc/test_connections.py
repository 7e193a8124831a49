"""The pool on a real server: bounded, never blocking the loop, never handing out a dead session."""

import asyncio
import time
from collections.abc import Callable
from typing import Any

import anyio
import pytest

from syncd.errors import ConfigError, SyncdError, TransientError
from syncd.sources.odbc_connections import OdbcConnections, Session
from syncd.sources.odbc_database import Database
from tests.odbc.world import FREETDS, LIBODBC, MSODBC, PSQLODBC, SQLITE, asked, config_of
from tests.patience import WAIT_S

MakeSource = Callable[..., Database]

PID = "SELECT pg_backend_pid()"
# Which of the sessions still runs a statement that holds the mark.
RUNNING = "SELECT pid FROM pg_stat_activity WHERE state = 'active' AND query LIKE '%{}%pg_sleep%'"
SLEEP_S = 60
SLEEP = f"SELECT '{{}}' AS mark, pg_sleep({SLEEP_S})"


async def pid_of(session: Session) -> int:
    """The server's process of a session."""
    return int((await session.rows("asking", PID))[0][0])


async def running(dsn: str, mark: str) -> int:
    """How many sessions run the marked statement; the one that asks says so too."""
    query = RUNNING.format(mark)
    return len(await asked(dsn, f"{query} AND pid <> pg_backend_pid()"))


async def until_running(dsn: str, mark: str, number: int) -> None:
    """Wait until so many sessions run the marked statement."""
    with anyio.fail_after(WAIT_S):
        while await running(dsn, mark) != number:  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.01)


async def test_a_session_is_lent_again(make_source: MakeSource) -> None:
    """The same process serves one holder after the other."""
    connections = make_source().connections
    pids = []
    for _ in range(2):
        async with connections.acquire() as session:
            pids.append(await pid_of(session))
    assert pids[0] == pids[1]
    assert connections.size == 1


async def test_a_cancelled_statement_ends_at_the_server(
    make_source: MakeSource, odbc_server: str
) -> None:
    """Case 23: nothing runs on over there, and its session is not lent again."""
    connections = make_source().connections

    async def hold() -> None:
        async with connections.acquire() as session:
            await session.rows("sleeping", SLEEP.format("cancelled"))

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(hold)
        await until_running(odbc_server, "cancelled", 1)
        started_s = time.monotonic()
        tasks.cancel_scope.cancel()
    assert time.monotonic() - started_s < SLEEP_S / 2
    assert await running(odbc_server, "cancelled") == 0
    assert connections.size == 0


async def test_a_task_that_is_cancelled_by_asyncio_stops_it_too(
    make_source: MakeSource, odbc_server: str
) -> None:
    """Cancellation need not come from a scope of anyio."""
    connections = make_source().connections

    async def hold() -> None:
        async with connections.acquire() as session:
            await session.rows("sleeping", SLEEP.format("by-asyncio"))

    async with asyncio.TaskGroup() as tasks:
        task = tasks.create_task(hold())
        await until_running(odbc_server, "by-asyncio", 1)
        task.cancel()
    assert await running(odbc_server, "by-asyncio") == 0
    assert connections.size == 0


async def test_silence_stops_the_statement_at_the_server(
    make_source: MakeSource, odbc_server: str
) -> None:
    """After ``query_timeout_s``, as an error that may be repeated."""
    connections = make_source(query_timeout_s=0.3).connections
    with pytest.raises(TransientError, match=r"sleeping: nothing came for 0\.3 s"):
        async with connections.acquire() as session:
            await session.rows("sleeping", SLEEP.format("silent"))
    assert await running(odbc_server, "silent") == 0
    assert connections.size == 0


async def test_a_killed_session_is_a_passing_error_and_is_replaced(
    make_source: MakeSource, odbc_server: str
) -> None:
    """Case 13: the holder is told, the next one gets another session."""
    connections = make_source().connections
    said: list[TransientError] = []

    async def hold(session: Session) -> None:
        try:
            await session.rows("sleeping", SLEEP.format("killed"))
        except TransientError as error:
            said.append(error)

    async with connections.acquire() as session:
        pid = await pid_of(session)
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(hold, session)
            await _kill_once_running(odbc_server, pid)
    assert str(said[0]).startswith(
        ("sleeping: the driver said 57P01", "sleeping: the driver said 08")
    )
    async with connections.acquire() as session:
        assert await pid_of(session) != pid


async def _kill_once_running(dsn: str, pid: int) -> None:
    await until_running(dsn, "killed", 1)
    await asked(dsn, f"SELECT pg_terminate_backend({pid})")


async def test_a_session_that_died_while_idle_is_never_lent(
    make_source: MakeSource, odbc_server: str
) -> None:
    """It is asked before it is handed out (case 20)."""
    connections = make_source().connections
    async with connections.acquire() as session:
        pid = await pid_of(session)
    await asked(odbc_server, f"SELECT pg_terminate_backend({pid}, 5000)")
    async with connections.acquire() as session:
        assert await pid_of(session) != pid


async def test_a_session_on_which_anything_failed_is_not_lent_again(
    make_source: MakeSource,
) -> None:
    """Some drivers call the end of a session a general error."""
    connections = make_source().connections
    with pytest.raises(SyncdError):
        async with connections.acquire() as session:
            await session.rows("dividing", "SELECT 1 / 0")
    assert connections.size == 0


async def test_forty_queries_over_four_sessions_do_not_block_the_loop(
    make_source: MakeSource,
) -> None:
    """No more than four sessions at any time; the loop turns all the while."""
    connections = make_source(connections=4).connections
    pids, turns, within = set(), 0, []

    async def query() -> None:
        async with connections.acquire() as session:
            pids.add(await pid_of(session))
            before = turns
            await session.rows("sleeping", "SELECT pg_sleep(0.05)")
            within.append(turns - before)

    async def turn() -> None:
        nonlocal turns
        while True:
            await anyio.sleep(0.005)
            turns += 1

    async with anyio.create_task_group() as ticking:
        ticking.start_soon(turn)
        async with anyio.create_task_group() as tasks:
            for _ in range(40):
                tasks.start_soon(query)
        ticking.cancel_scope.cancel()
    assert len(pids) == 4
    # A blocked loop would not turn while a query sleeps; a busy machine misses a few turns.
    assert sorted(within)[len(within) // 2] > 1


async def test_waiting_for_a_session_ends(make_source: MakeSource) -> None:
    """The message says what to change."""
    connections = make_source(connections=1).connections
    async with connections.acquire():
        with pytest.raises(TransientError, match=r"all 1 are in use; raise source\.connections"):
            async with connections.acquire(timeout_s=0.05):
                pass


async def test_closing_ends_lent_sessions_when_they_come_back(
    make_source: MakeSource, odbc_server: str
) -> None:
    """No session may stand in the way of the next restore."""
    source = make_source()
    async with source.connections.acquire() as session:
        pid = await pid_of(session)
        await source.close()
        assert await session.rows("asking", "SELECT 1")
    left = await asked(odbc_server, "SELECT pid FROM pg_stat_activity")
    assert pid not in [row["pid"] for row in left]
    with pytest.raises(TransientError, match="syncd is stopping"):
        async with source.connections.acquire():
            pass


def _closed(driver: str, **fields: Any) -> OdbcConnections:
    """Connections to a port on which nobody listens."""
    from syncd.config import SqlServerSource  # noqa: PLC0415 - short for the tests below

    known = {"server": "127.0.0.1,1", "database": "im", "user": "reader", "driver": driver}
    config = SqlServerSource(**(known | {"connect_timeout_s": 1.0} | fields))
    return Database(config).connections


@pytest.mark.skipif(not LIBODBC or not MSODBC, reason="no driver of Microsoft's: syncd[msodbc]")
async def test_microsofts_driver_is_loaded_and_finds_nobody() -> None:
    """The one of the wheel, without being registered anywhere."""
    connections = _closed("msodbcsql")
    with pytest.raises(TransientError, match="the driver said HYT00"):
        async with connections.acquire():
            pass
    await connections.close()


@pytest.mark.skipif(not LIBODBC or not FREETDS, reason="no FreeTDS: install tdsodbc")
async def test_freetds_is_loaded_and_finds_nobody() -> None:
    """As Microsoft's."""
    connections = _closed("freetds")
    with pytest.raises(TransientError, match="connecting to the source: the driver said 08"):
        async with connections.acquire():
            pass
    await connections.close()


@pytest.mark.skipif(not LIBODBC or not PSQLODBC, reason="no psqlODBC: install odbc-postgresql")
async def test_psqlodbc_finds_nobody() -> None:
    """As the others."""
    connections = Database(config_of("postgresql://app@127.0.0.1:1/old")).connections
    with pytest.raises(TransientError, match="08001"):
        async with connections.acquire():
            pass
    await connections.close()


@pytest.mark.skipif(not LIBODBC or not SQLITE, reason="no SQLite ODBC: install libsqliteodbc")
async def test_a_name_that_is_no_driver_is_told() -> None:
    """By the SQLSTATE of the driver manager, with what to look at."""
    connections = _closed("No Such Driver")
    with pytest.raises(ConfigError, match=r"01000|IM00\d"):
        async with connections.acquire():
            pass
    await connections.close()
