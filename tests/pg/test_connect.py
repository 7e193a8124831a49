"""Connections: what they are set to, what becomes of broken ones, and that none leaks."""

import socket
from collections.abc import AsyncIterator, Callable

import anyio
import asyncpg
import pytest

from syncd.config import Secret
from syncd.errors import ConfigError, PermanentError, TransientError
from syncd.pg import connect
from syncd.pg.connect import (
    Connection,
    Connections,
    begin_settings,
    close_connection,
    open_connection,
)
from syncd.pg.dialect import SESSION_SETTINGS
from syncd.pg.errors import translate
from tests.crash.proxy import Fault, FaultyProxy, Moment, When
from tests.patience import WAIT_S

ACTIVE = "SELECT count(*) FROM pg_stat_activity WHERE query LIKE '%pg_sleep(600)%' AND pid <> $1"


async def opened(dsn: str, *, read_only: bool = False, prepared: bool = True) -> Connection:
    return await open_connection(
        Secret(dsn),
        connect_timeout_s=5,
        statement_timeout_s=20,
        read_only=read_only,
        prepared_statements=prepared,
        lock_timeout_s=3,
    )


@pytest.fixture
async def pool(pg_dsn: str) -> AsyncIterator[Connections]:
    connections = Connections(lambda: opened(pg_dsn), size_max=2, acquire_timeout_s=10)
    yield connections
    await connections.close()


async def shown(connection: Connection, name: str) -> str:
    value: str = await connection.fetchval("SELECT current_setting($1)", name)
    return value


async def test_a_session_has_our_settings(connection: Connection) -> None:
    """Text never depends on what a role or a database is set to (case 53)."""
    assert {name: await shown(connection, name) for name in SESSION_SETTINGS} == dict(
        SESSION_SETTINGS
    )
    assert await shown(connection, "application_name") == "syncd"


async def test_timeouts_are_the_server_s(pg_dsn: str) -> None:
    """A statement and a wait for a lock end by themselves (case 19)."""
    connection = await opened(pg_dsn)
    assert await shown(connection, "statement_timeout") == "20s"
    assert await shown(connection, "lock_timeout") == "3s"
    await connection.close()


@pytest.mark.parametrize("prepared", [True, False])
async def test_a_transaction_ends_by_itself_where_the_server_knows_how(
    pg_dsn: str, *, prepared: bool
) -> None:
    """PostgreSQL 17 does; it also ends one whose client stopped in a message (case 85)."""
    connection = await open_connection(
        Secret(pg_dsn), connect_timeout_s=5, statement_timeout_s=0.1, read_only=False,
        prepared_statements=prepared, idle_timeout_s=20,
    )  # fmt: skip
    if connection.get_server_version() < (17,):
        pytest.skip("this server has no transaction_timeout")
    await connection.execute("BEGIN")
    await begin_settings(connection)
    await connection.prepare("SELECT 1")
    with anyio.fail_after(WAIT_S):
        while not connection.is_closed():  # noqa: ASYNC110 - the driver tells nobody
            await anyio.sleep(0.01)


async def test_a_search_path_in_the_dsn_wins(pg_dsn: str) -> None:
    """Who keeps the tables elsewhere says so in the DSN."""
    connection = await opened(f"{pg_dsn}?search_path=legacy")
    assert await shown(connection, "search_path") == "legacy"
    await connection.close()


@pytest.mark.parametrize("prepared", [True, False])
async def test_a_source_s_session_cannot_write(pg_dsn: str, *, prepared: bool) -> None:
    """Nothing is ever written to a source, whatever the role may do (I11)."""
    connection = await opened(pg_dsn, read_only=True, prepared=prepared)
    await connection.execute("BEGIN")
    await begin_settings(connection)
    with pytest.raises(PermanentError, match="read-only"), translate("writing"):
        await connection.execute("CREATE TABLE public.t (a integer)")
    await connection.close()


async def test_behind_a_proxy_settings_hold_for_one_transaction(pg_dsn: str) -> None:
    """Sessions are shared there, so nothing may stay behind in them (case 18)."""
    connection = await opened(pg_dsn, prepared=False)
    names = [*SESSION_SETTINGS, "statement_timeout", "lock_timeout"]
    before = {name: await shown(connection, name) for name in names}
    async with connection.transaction():
        await begin_settings(connection)
        inside = {name: await shown(connection, name) for name in names}
    assert inside == {**SESSION_SETTINGS, "statement_timeout": "20s", "lock_timeout": "3s"}
    assert {name: await shown(connection, name) for name in names} == before
    assert before != inside
    await connection.close()


async def test_behind_a_proxy_no_statement_is_kept_prepared(pg_dsn: str) -> None:
    """The next transaction may meet another server session (case 18)."""
    connection = await opened(pg_dsn, prepared=False)
    await connection.fetchval("SELECT $1::text", "x")
    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") <= 1
    assert await connection.fetchval("SELECT count(*) FROM pg_prepared_statements") <= 1
    await connection.close()


async def test_settings_need_no_message_where_the_session_has_them(connection: Connection) -> None:
    """Beginning a transaction costs nothing without a proxy."""
    async with connection.transaction():
        await connection.execute("SET LOCAL TimeZone = 'Europe/London'")
        await begin_settings(connection)
        assert await shown(connection, "TimeZone") == "Europe/London"


async def test_a_peer_that_vanishes_is_noticed_by_the_kernel(connection: Connection) -> None:
    """Both silence and unacknowledged data end a connection within 30 s (case 20)."""
    sock = connection._transport.get_extra_info("socket")  # type: ignore[attr-defined]
    assert sock.getsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE) == 1
    idle_s = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPIDLE)
    interval_s = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPINTVL)
    probes = sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_KEEPCNT)
    assert idle_s + interval_s * probes <= 30
    assert sock.getsockopt(socket.IPPROTO_TCP, socket.TCP_USER_TIMEOUT) <= 30_000


async def test_a_server_that_accepts_and_says_nothing_is_given_up() -> None:
    """The login has a deadline of its own (case 20)."""
    with socket.create_server(("127.0.0.1", 0)) as silent:
        port = silent.getsockname()[1]
        with pytest.raises(TransientError, match="no answer in time"):
            await open_connection(
                Secret(f"postgresql://u:p@127.0.0.1:{port}/d"),
                connect_timeout_s=0.2,
                statement_timeout_s=1,
                read_only=True,
                prepared_statements=True,
            )


@pytest.mark.parametrize("dsn", ["nonsense://x", "postgresql://h:port/d", "postgresql://[h/d"])
async def test_a_dsn_that_cannot_be_read_is_a_mistake_of_the_configuration(dsn: str) -> None:
    """It is no reason to try again, and it is not quoted (case 96)."""
    with pytest.raises(ConfigError) as caught:
        await opened(dsn)
    assert dsn not in str(caught.value)


async def test_a_database_that_is_not_there_is_a_mistake_of_the_configuration(pg_dsn: str) -> None:
    """The server says so at the login, and trying again does not help."""
    with pytest.raises(ConfigError, match="name of the database"):
        await opened(f"{pg_dsn}_gone")


async def test_a_port_that_nobody_listens_on_is_tried_again() -> None:
    """The server may only be restarting (case 13)."""
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
    with pytest.raises(TransientError):
        await opened(f"postgresql://u:p@127.0.0.1:{port}/d")


async def test_a_connection_comes_back_and_is_lent_again(pool: Connections) -> None:
    """The one used last is taken first, so that few stay open."""
    async with pool.acquire() as first:
        pass
    async with pool.acquire() as second:
        assert second is first
        assert pool.size == 1


async def test_a_full_pool_says_so_in_time(pool: Connections) -> None:
    """Waiting has a limit, and the message says how many there are (case 23)."""
    async with pool.acquire(), pool.acquire():
        with pytest.raises(TransientError, match="all 2 are in use"):
            async with pool.acquire(timeout_s=0.01):
                pytest.fail("there were only two")
        assert pool.size == 2


async def test_an_error_of_a_statement_keeps_the_connection(pool: Connections) -> None:
    """The server said no; the connection is as good as before."""
    for _ in range(20):
        with pytest.raises(asyncpg.DivisionByZeroError):
            async with pool.acquire() as connection:
                await connection.execute("SELECT 1/0")
    assert pool.size == 1


async def test_a_connection_that_broke_is_never_lent_again(pool: Connections) -> None:
    """The server ended it in the middle of a statement (case 13)."""
    with pytest.raises(asyncpg.PostgresError):
        async with pool.acquire() as connection:
            await connection.execute("SELECT pg_terminate_backend(pg_backend_pid())")
    assert pool.size == 0
    async with pool.acquire() as connection:
        assert await connection.fetchval("SELECT 1") == 1


async def test_a_connection_that_broke_while_idle_is_never_lent(pool: Connections) -> None:
    """The pool looks before it lends."""
    async with pool.acquire() as other, pool.acquire() as victim:
        pid = victim.get_server_pid()
        await victim.execute("SELECT 1")
        await other.execute("SELECT 1")
    async with pool.acquire() as first:
        if first.get_server_pid() == pid:
            pytest.fail("the one that came back last is lent first")
        closed = anyio.Event()
        victim.add_termination_listener(lambda _: closed.set())
        await first.execute("SELECT pg_terminate_backend($1)", pid)
        with anyio.fail_after(WAIT_S):
            await closed.wait()
        async with pool.acquire() as second:
            assert second.get_server_pid() not in (pid, first.get_server_pid())


async def test_a_connection_left_in_a_transaction_is_closed(pool: Connections) -> None:
    """Its locks and its snapshot must not outlive its holder."""
    async with pool.acquire() as connection:
        await connection.execute("BEGIN")
    assert connection.is_closed()
    assert pool.size == 0


async def test_a_cancelled_statement_stops_at_the_server(
    pool: Connections, connection: Connection
) -> None:
    """Its connection is closed and nothing goes on running there (case 23)."""
    lent: list[Connection] = []

    async def ask() -> None:
        async with pool.acquire() as mine:
            lent.append(mine)
            await mine.execute("SELECT pg_sleep(600)")

    async def until_active(number: int) -> None:
        with anyio.fail_after(WAIT_S):
            pid = connection.get_server_pid()
            while await connection.fetchval(ACTIVE, pid) != number:  # noqa: ASYNC110 - a server's
                await anyio.sleep(0.01)

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(ask)
        await until_active(1)
        tasks.cancel_scope.cancel()
    assert lent[0].is_closed()
    assert pool.size == 0
    await until_active(0)


async def test_a_connection_of_a_cancelled_holder_is_closed_whatever_it_did(
    pool: Connections,
) -> None:
    """The driver can lose its place in a stream without a sign of it (case 23)."""
    with anyio.CancelScope() as scope:
        async with pool.acquire() as lent:
            scope.cancel()
            await anyio.sleep_forever()
    assert lent.is_closed()
    assert pool.size == 0


async def test_the_pool_is_the_same_size_after_many_cancels(pool: Connections) -> None:
    """Cancelled while waiting, while opening or while asking: every place comes back (case 23)."""

    async def work() -> None:
        async with pool.acquire() as connection:
            await connection.execute("SELECT pg_sleep(0.003)")

    for delay_s in (0.0, 0.001, 0.002, 0.004, 0.008, 0.016) * 5:
        with anyio.move_on_after(delay_s):
            async with anyio.create_task_group() as tasks:
                for _ in range(4):
                    tasks.start_soon(work)
    assert pool.size <= 2
    async with pool.acquire(timeout_s=WAIT_S), pool.acquire(timeout_s=WAIT_S):
        assert pool.size == 2


async def test_a_timeout_inside_a_loan_closes_the_connection(pool: Connections) -> None:
    """A cancellation that is still under way would meet the next holder's statement."""
    async with pool.acquire() as connection:
        with anyio.move_on_after(0.05):
            await connection.execute("SELECT pg_sleep(600)")
    async with pool.acquire() as another:
        assert another is not connection or not connection.is_closed()
        assert await another.fetchval("SELECT 1") == 1


async def test_one_that_was_idle_for_long_is_opened_anew(
    pool: Connections, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A firewall forgets a silent connection without a word."""
    async with pool.acquire() as first:
        pass
    monkeypatch.setattr(connect, "_IDLE_S_MAX", -1.0)
    async with pool.acquire() as second:
        assert second is not first
    assert first.is_closed()


async def test_a_closed_pool_lends_nothing_and_takes_what_comes_back(pool: Connections) -> None:
    """Closing may be repeated; a connection that is out is closed when it returns."""
    async with pool.acquire() as lent:
        await pool.close()
        await pool.close()
        assert not lent.is_closed()
    assert lent.is_closed()
    with pytest.raises(TransientError, match="stopping"):
        async with pool.acquire():
            pytest.fail("it was closed")
    assert pool.size == 0


async def test_a_failed_opening_frees_its_place(make_database: Callable[[str], str]) -> None:
    """A server that is away for a while does not use the pool up."""
    dsn = make_database("late")
    attempts = 0

    async def flaky() -> Connection:
        nonlocal attempts
        attempts += 1
        if attempts < 5:
            raise TransientError("away")
        return await opened(dsn)

    pool = Connections(flaky, size_max=1)
    for _ in range(4):
        with pytest.raises(TransientError, match="away"):
            async with pool.acquire():
                pytest.fail("it did not open")
    async with pool.acquire(timeout_s=WAIT_S) as connection:
        assert await connection.fetchval("SELECT 1") == 1
    await pool.close()


async def test_closing_a_prepared_statement_is_not_waited_for_without_end(
    pg_dsn: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Case 20: the connection falls silent just then; nobody else would notice."""
    monkeypatch.setattr(connect, "_STATEMENTS_CACHED", 1)
    monkeypatch.setattr(connect, "_ANSWER_GRACE_S", 0.1)
    monkeypatch.setattr(connect, "_CLOSE_S_MAX", 0.1)
    silent_at = 0

    def choose(moment: Moment) -> Fault | None:
        is_now = moment.when is When.SENT and moment.number == silent_at
        return Fault.BLACKHOLE if is_now else None

    async with FaultyProxy.serve(pg_dsn, choose) as proxy:
        connection = await open_connection(
            Secret(proxy.dsn), connect_timeout_s=5, statement_timeout_s=0.3, read_only=False,
            prepared_statements=True,
        )  # fmt: skip
        await connection.fetch("SELECT 1")
        # Then the next is prepared, the one before is closed, and only then it is executed.
        silent_at = proxy.seen[When.SENT] + 2
        with anyio.fail_after(WAIT_S), pytest.raises(TransientError), translate("looking"):
            await connection.fetch("SELECT 2")
        await close_connection(connection)
        assert proxy.struck == [Fault.BLACKHOLE]
