"""Connections: how one is opened, and a small pool that never hands out a doubtful one.

Nothing is left behind in a session: settings are given when it starts, or with SET LOCAL where a
proxy deals sessions out per transaction (case 18). A connection whose holder was cancelled is
closed, because its statement may still be running (case 23).
"""

import asyncio
import re
import socket
from collections.abc import AsyncIterator, Awaitable, Callable, Iterator, Mapping
from contextlib import ExitStack, asynccontextmanager, contextmanager
from typing import TYPE_CHECKING, Any, Final, TypeAlias

import anyio
import anyio.to_thread
import asyncpg

from syncd.errors import ConfigError, TransientError
from syncd.pg.dialect import SESSION_SETTINGS
from syncd.pg.errors import translate
from syncd.rotation import Hidden, taken

Connection: TypeAlias = "asyncpg.Connection[Any]"
Open: TypeAlias = Callable[[], Awaitable[Connection]]
if TYPE_CHECKING:
    _Base = asyncpg.Connection[Any]  # generic in the stubs only
else:
    _Base = asyncpg.Connection

# A peer that vanished is noticed within 30 s (case 20): sent data unacknowledged for that long,
# or 15 s of silence and three probes 5 s apart.
_UNACKNOWLEDGED_MS_MAX: Final = 30_000
_KEEPALIVE_IDLE_S: Final = 15
_KEEPALIVE_INTERVAL_S: Final = 5
_KEEPALIVE_PROBES: Final = 3
# The server ends a statement by itself; this is for the case that it cannot say so any more.
_ANSWER_GRACE_S: Final = 15.0
_CLOSE_S_MAX: Final = 5.0
_ACQUIRE_S_MAX: Final = 60.0  # longer than any lock that a writer waits for
_IDLE_S_MAX: Final = 60.0  # firewalls forget; the next run opens anew rather than wait for them
_STATEMENTS_CACHED: Final = 100  # asyncpg's own default
# Since this version a server ends a transaction that lasts too long, also one whose client stopped
# in the middle of a message, which is not idle to it (case 85).
_TRANSACTIONS_ARE_TIMED: Final = (17,)
_STATEMENTS_MAX: Final = 10  # of the longest kind; no transaction of ours that writes has as many
_CLOSING_FAILED: Final = (
    asyncpg.PostgresError,
    asyncpg.InterfaceError,
    asyncpg.InternalClientError,
    OSError,
)
_SEARCH_PATH_IN_DSN: Final = re.compile(r"[?&]search_path=").search
# These say nothing once a transaction runs, or stay as the proxy's user has them.
_NOT_LOCAL: Final = frozenset({"default_transaction_read_only", "search_path"})


class Session(_Base):
    """A connection that knows what to say at the start of each transaction behind a proxy."""

    __slots__ = ("begin_sql",)

    begin_sql: str
    _config: Any  # the driver's

    async def _cleanup_stmts(self) -> None:
        """Close prepared statements that fell out of the cache, within the time of a command.

        The driver's own way has no limit, so a connection that falls silent just then would be
        waited for without end (case 20).
        """
        driver: Any = super()
        async with asyncio.timeout(self._config.command_timeout):
            await driver._cleanup_stmts()  # noqa: SLF001 - it has no public way


async def open_connection(
    dsn: Hidden,
    *,
    connect_timeout_s: float,
    statement_timeout_s: float,
    read_only: bool,
    prepared_statements: bool,
    lock_timeout_s: float = 0.0,
    idle_timeout_s: float = 0.0,
    application_name: str = "syncd",
    search_path: str | None = "",
) -> Connection:
    """A new connection with ``SESSION_SETTINGS``.

    A ``search_path`` (quoted names) takes the place of ours, as does one in the DSN; None leaves
    the role's own. A ``lock_timeout_s`` of 0 waits as long as the statement may run; one of
    ``idle_timeout_s`` lets a transaction say nothing, and last, for as long as it likes. With
    ``prepared_statements`` false every transaction must begin with ``begin_settings``.
    Raises TransientError when the server cannot be reached in time, ConfigError when it refuses
    the login or the DSN cannot be read.
    """
    settings = {
        **SESSION_SETTINGS,
        "default_transaction_read_only": "on" if read_only else "off",
        "statement_timeout": f"{statement_timeout_s * 1000:.0f}",
        "lock_timeout": f"{lock_timeout_s * 1000:.0f}",
        "idle_in_transaction_session_timeout": f"{idle_timeout_s * 1000:.0f}",
    }
    if search_path is None:
        del settings["search_path"]
    elif search_path:
        settings["search_path"] = search_path
    elif _SEARCH_PATH_IN_DSN(dsn.value):
        del settings["search_path"]
    # A pooling proxy refuses settings that it does not track when a session starts.
    at_start = settings if prepared_statements else {}

    async def connect(plain: str) -> Session:
        session: Session = await asyncpg.connect(
            plain,
            timeout=connect_timeout_s,
            command_timeout=statement_timeout_s + _ANSWER_GRACE_S,
            statement_cache_size=_STATEMENTS_CACHED if prepared_statements else 0,
            server_settings={**at_start, "application_name": application_name},
            connection_class=Session,
        )
        return session

    doing = "connecting to PostgreSQL"
    with translate(doing), _readable_dsn():
        session = await taken(dsn, connect, doing, asyncpg.InvalidAuthorizationSpecificationError)
        if idle_timeout_s and session.get_server_version() >= _TRANSACTIONS_ARE_TIMED:
            most_ms = f"{statement_timeout_s * _STATEMENTS_MAX * 1000:.0f}"
            settings["transaction_timeout"] = most_ms
            if prepared_statements:
                await _set(session, "transaction_timeout", most_ms)
    session.begin_sql = "" if prepared_statements else _set_local(settings, read_only=read_only)
    _notice_silence(session)
    return session


@contextmanager
def _readable_dsn() -> Iterator[None]:
    """What parsers of URLs and ports complain about is the DSN; their texts may hold a password."""
    try:
        yield
    except ValueError as error:
        if isinstance(error, OSError):  # a certificate that is not trusted is both
            raise
        raise ConfigError(
            "the DSN of PostgreSQL cannot be read", hint="expected postgresql://user@host/name"
        ) from None


async def _set(session: Connection, name: str, value: str) -> None:
    """Set what the server may not know, so that it cannot be said before its version is known."""
    with ExitStack() as given_up:
        given_up.callback(session.terminate)
        await session.execute(f"SET {name} = '{value}'")
        given_up.pop_all()


async def begin_settings(connection: Connection) -> None:
    """Say the settings at the start of a transaction, where they cannot be said at connect.

    Must be the first statement of the transaction, but for SET TRANSACTION. Costs one message
    behind a proxy and nothing elsewhere.
    """
    begin_sql = getattr(connection, "begin_sql", "")
    if begin_sql:
        with translate("beginning a transaction"):
            await connection.execute(begin_sql)


def _set_local(settings: Mapping[str, str], *, read_only: bool) -> str:
    """One message for all; the names and values are ours, none comes from outside."""
    lines = [f"SET LOCAL {k} = '{v}'" for k, v in settings.items() if k not in _NOT_LOCAL]
    if "search_path" in settings:
        lines.append(f"SET LOCAL search_path = {settings['search_path']}")
    if read_only:
        lines.insert(0, "SET TRANSACTION READ ONLY")
    return "; ".join(lines)


def _notice_silence(session: Any) -> None:
    """Let the kernel end a connection whose peer does not answer any more."""
    sock = session._transport.get_extra_info("socket")  # noqa: SLF001 - there is no other way
    if sock is None or sock.family == socket.AF_UNIX:
        return
    sock.setsockopt(socket.SOL_SOCKET, socket.SO_KEEPALIVE, 1)
    for name, value in (
        ("TCP_KEEPIDLE", _KEEPALIVE_IDLE_S),
        ("TCP_KEEPINTVL", _KEEPALIVE_INTERVAL_S),
        ("TCP_KEEPCNT", _KEEPALIVE_PROBES),
        ("TCP_USER_TIMEOUT", _UNACKNOWLEDGED_MS_MAX),
    ):
        if hasattr(socket, name):  # not all of them exist everywhere
            sock.setsockopt(socket.IPPROTO_TCP, getattr(socket, name), value)


async def close_connection(connection: Connection) -> None:
    """Close within 5 s, whatever state it is in; a running statement is cancelled at the server.

    Shielded: a cancelled caller must not leave a statement running behind it. May be repeated.
    """
    if connection.is_closed():
        return
    with anyio.CancelScope(shield=True):
        try:
            await connection.close(timeout=_CLOSE_S_MAX)
        except _CLOSING_FAILED:
            connection.terminate()


class Connections:
    """At most ``size_max`` connections, lent to one holder at a time, the last used first.

    ``open_one`` opens a connection; it is called only when none is idle.
    """

    def __init__(
        self, open_one: Open, *, size_max: int, acquire_timeout_s: float = _ACQUIRE_S_MAX
    ) -> None:
        self._open_one = open_one
        self._size_max = size_max
        self._acquire_timeout_s = acquire_timeout_s
        self._free = anyio.Semaphore(size_max)
        self._idle: list[tuple[Connection, float]] = []  # with the time when it came back
        self._lent: set[Connection] = set()
        self._closed = False

    @property
    def size(self) -> int:
        """Connections that are open now, idle or lent."""
        return len(self._idle) + len(self._lent)

    @asynccontextmanager
    async def acquire(self, timeout_s: float | None = None) -> AsyncIterator[Connection]:
        """Lend a connection; it comes back only if it is idle, whole and outside a transaction.

        Raises TransientError when none is free in time or a new one cannot be opened.
        """
        limit_s = self._acquire_timeout_s if timeout_s is None else timeout_s
        try:
            with anyio.fail_after(limit_s):
                await self._free.acquire()
        except TimeoutError:
            raise TransientError(
                f"no database connection became free within {limit_s:g} s; "
                f"all {self._size_max} are in use",
                hint="lower limits.writers, or look for a statement that hangs",
            ) from None
        try:
            connection = await self._take()
            try:
                yield connection
            except anyio.get_cancelled_exc_class():
                await close_connection(connection)
                raise
            finally:
                await self._give_back(connection)
        finally:
            self._free.release()

    async def _take(self) -> Connection:
        if self._closed:
            raise TransientError("the database connections are closed: syncd is stopping")
        while self._idle:
            connection, since_s = self._idle.pop()
            if anyio.current_time() - since_s > _IDLE_S_MAX:
                await close_connection(connection)
            elif not connection.is_closed():
                break
        else:
            # Shielded, and bounded by its own timeout: the driver leaves an unread error behind
            # when it is cancelled between TCP and TLS.
            with anyio.CancelScope(shield=True):
                connection = await self._open_one()
        self._lent.add(connection)
        return connection

    async def _give_back(self, connection: Connection) -> None:
        self._lent.discard(connection)
        if connection.is_closed():
            return
        if self._closed or connection.is_in_transaction() or _is_busy(connection):
            await close_connection(connection)
        else:
            self._idle.append((connection, anyio.current_time()))

    async def close(self) -> None:
        """Close the idle ones now and each lent one when it comes back; may be called twice."""
        self._closed = True
        while self._idle:
            await close_connection(self._idle.pop()[0])


def _is_busy(connection: Any) -> bool:
    """Whether a statement or its cancellation is under way (a timeout of ours, say)."""
    return bool(connection._protocol._is_cancelling())  # noqa: SLF001 - as the driver's own pool
