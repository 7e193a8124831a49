"""Sessions over ODBC: how one is opened, used without blocking, stopped, and never reused in doubt.

A driver blocks whoever calls it, so every call runs in a thread of this pool, one per session at a
time. Cancelling the waiting task would leave the statement running over there and the thread with
it; so a cancelled or late call is first stopped at the server, from another thread, and the
session closed (case 23). A session on which anything failed is closed as well: some drivers report
a killed session as a general error, and a dead one must never be handed out (cases 13, 20).
"""

import asyncio
from collections.abc import AsyncIterator, Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import AsyncExitStack, asynccontextmanager, suppress
from typing import Any, Final, TypeVar

import anyio

from syncd.errors import TransientError
from syncd.rotation import Hidden, taken
from syncd.sources.odbc_driver import library
from syncd.sources.odbc_errors import refuses_login, translated
from syncd.sources.odbc_strings import Target
from syncd.sources.odbc_values import DATETIMEOFFSET, instant_of

_STOP_S_MAX: Final = 5.0  # for a driver to give up a statement, and to close
_CONNECT_GRACE_S: Final = 5.0  # beyond the driver's own limit
_ACQUIRE_S_MAX: Final = 60.0
_CONNECTING: Final = "connecting to the source"
_LOOK: Final = "SELECT 1"

T = TypeVar("T")


class Session:
    """One connection. One statement at a time: its cursor is replaced by that of the next."""

    def __init__(self, connection: Any, threads: ThreadPoolExecutor, silence_s_max: float) -> None:
        self.is_doubtful = False
        self._connection = connection
        self._threads = threads
        self._silence_s_max = silence_s_max
        self._running: asyncio.Future[Any] | None = None

    @asynccontextmanager
    async def statement(self, doing: str, sql: str, *values: str) -> AsyncIterator["Statement"]:
        """``sql`` run with ``values`` bound, and its rows to be fetched.

        Raises as ``call``. ``doing`` begins every message and must not hold a value.
        """
        cursor = await self.call(doing, None, self._connection._conn.cursor)  # noqa: SLF001
        async with AsyncExitStack() as given_up:
            # Whoever gives up the answer must not leave the server at work on the rest of it.
            given_up.push_async_callback(self._stop, cursor)
            await self.call(doing, cursor, cursor.execute, sql, *values)
            yield Statement(self, cursor, doing)
            given_up.pop_all()
        await self._finish(doing, cursor)

    async def rows(self, doing: str, sql: str, *values: str) -> list[Sequence[Any]]:
        """All rows of a small answer. Raises as ``call``."""
        async with self.statement(doing, sql, *values) as statement:
            return await statement.call(_all_rows)

    async def call(self, doing: str, cursor: Any, work: Callable[..., T], *arguments: Any) -> T:
        """``work`` in a thread; ``cursor`` is what it uses, and what is stopped.

        Raises TransientError when the server says nothing for too long, and what
        ``odbc_errors`` makes of the driver's own errors.
        """
        loop = asyncio.get_running_loop()
        running = loop.run_in_executor(self._threads, work, *arguments)
        running.add_done_callback(_looked_at)
        self._running = running
        try:
            finished, _ = await asyncio.wait({running}, timeout=self._silence_s_max)
        except asyncio.CancelledError:
            await self._stop(cursor)
            raise
        if not finished:
            await self._stop(cursor)
            raise TransientError(
                f"{doing}: nothing came for {self._silence_s_max:g} s; the statement was stopped",
                hint="raise query_timeout_s, or make the query quicker",
            )
        with translated(doing):
            self.is_doubtful |= running.cancelled() or running.exception() is not None
            return running.result()

    async def _stop(self, cursor: Any) -> None:
        """End what runs over there, and wait until its thread is back; within bounds.

        The session is not used again. May be repeated.
        """
        if self.is_doubtful and self._running is not None and self._running.done():
            return
        self.is_doubtful = True
        assert self._running is not None
        loop = asyncio.get_running_loop()
        with anyio.CancelScope(shield=True):
            if cursor is not None:
                stopping = loop.run_in_executor(self._threads, cursor.cancel)
                stopping.add_done_callback(_looked_at)
                await asyncio.wait({stopping}, timeout=_STOP_S_MAX)
            await asyncio.wait({self._running}, timeout=_STOP_S_MAX)

    async def _finish(self, doing: str, cursor: Any) -> None:
        """Let go of an answer, read to its end or not."""
        with anyio.move_on_after(_STOP_S_MAX) as scope:
            await self.call(doing, cursor, cursor.close)
        if scope.cancelled_caught:
            raise TransientError(f"{doing}: the driver does not let go of the answer")

    async def is_alive(self) -> bool:
        """Whether the server still answers on it."""
        with suppress(library().pyodbc.Error, TransientError):
            await self.rows("checking a connection", _LOOK)
            return not self.is_doubtful
        return False

    async def roll_back(self) -> None:
        """End the transaction that reading began."""
        await self.call("ending a read", None, self._connection._conn.rollback)  # noqa: SLF001

    async def close(self) -> None:
        """Close within bounds, whatever state it is in. May be repeated.

        A driver that does not come back keeps its thread; its connection is closed when it does.
        """
        with anyio.CancelScope(shield=True):
            if self._running is not None and not self._running.done():
                self._running.add_done_callback(self._hang_up_later)
                return
            loop = asyncio.get_running_loop()
            closing = loop.run_in_executor(self._threads, self._hang_up)
            closing.add_done_callback(_looked_at)
            await asyncio.wait({closing}, timeout=_STOP_S_MAX)

    def _hang_up_later(self, _: "asyncio.Future[Any]") -> None:
        with suppress(RuntimeError):  # the threads have ended, and the process is about to
            self._threads.submit(self._hang_up)

    def _hang_up(self) -> None:
        raw, self._connection._conn = self._connection._conn, None  # noqa: SLF001
        if raw is not None:
            with suppress(library().pyodbc.Error):
                raw.close()


class Statement:
    """A statement that was run: its columns, and its rows in pieces."""

    def __init__(self, session: Session, cursor: Any, doing: str) -> None:
        self.description: Sequence[Sequence[Any]] = cursor.description or ()
        self._session = session
        self._cursor = cursor
        self._doing = doing

    async def call(self, work: Callable[[Any], T]) -> T:
        """``work`` on the driver's cursor, in a thread: fetching, and what is made of the rows."""
        return await self._session.call(self._doing, self._cursor, work, self._cursor)


class OdbcConnections:
    """At most ``size_max`` sessions, each lent to one holder, checked before it is lent again.

    ``target_with`` completes the connection string with a value of ``secret``, which is asked for
    anew by each session; with "" where there is none. ``wide`` is for drivers that tell text as
    UTF-16.
    """

    def __init__(
        self,
        target_with: Callable[[str], Target],
        secret: Hidden | None,
        *,
        wide: bool,
        size_max: int,
        connect_timeout_s: float,
        silence_s_max: float,
        autocommit: bool,
        first: Sequence[str] = (),
    ) -> None:
        self._target_with = target_with
        self._secret = secret
        self._prepare = _prepared_wide if wide else _prepared
        self._connect_timeout_s = connect_timeout_s
        self._silence_s_max = silence_s_max
        self._autocommit = autocommit
        self._first = first
        # A thread for each session, and one to stop each.
        self._threads = ThreadPoolExecutor(2 * size_max, thread_name_prefix="odbc")
        self._free = anyio.Semaphore(size_max)
        self._size_max = size_max
        self._idle: list[Session] = []
        self._lent: set[Session] = set()
        self._is_closed = False

    @property
    def size(self) -> int:
        """Sessions that are open now, idle or lent."""
        return len(self._idle) + len(self._lent)

    @asynccontextmanager
    async def acquire(self, timeout_s: float = _ACQUIRE_S_MAX) -> AsyncIterator[Session]:
        """Lend a session that answers. Raises TransientError when none is free in time."""
        try:
            with anyio.fail_after(timeout_s):
                await self._free.acquire()
        except TimeoutError:
            raise TransientError(
                f"no connection to the source became free within {timeout_s:g} s; "
                f"all {self._size_max} are in use",
                hint="raise source.connections",
            ) from None
        try:
            session = await self._take()
            self._lent.add(session)
            try:
                yield session
            finally:
                with anyio.CancelScope(shield=True):
                    await self._give_back(session)
        finally:
            self._free.release()

    async def _take(self) -> Session:
        if self._is_closed:
            raise TransientError("the connections to the source are closed: syncd is stopping")
        while self._idle:
            session = self._idle.pop()
            if await session.is_alive():
                return session
            await session.close()
        return await self._open()

    async def _open(self) -> Session:
        """A new session.

        Shielded and bounded: a connection whose opener was cancelled would be nobody's.
        """
        with anyio.CancelScope(shield=True), translated(_CONNECTING):
            if self._secret is None:
                connection = await self._connected("")
            else:
                refusals = library().pyodbc.Error
                connection = await taken(
                    self._secret, self._connected, _CONNECTING, refusals, refuses_login
                )
        session = Session(connection, self._threads, self._silence_s_max)
        for sql in self._first:
            async with session.statement("beginning a session", sql):
                pass
        return session

    async def _connected(self, secret: str) -> Any:
        """A connection with that value; raises what the driver raises."""
        limit_s = self._connect_timeout_s + _CONNECT_GRACE_S
        try:
            with anyio.fail_after(limit_s):
                return await library().aioodbc.connect(
                    dsn=self._target_with(secret).text,
                    autocommit=self._autocommit,
                    timeout=max(1, round(self._connect_timeout_s)),
                    executor=self._threads,
                    after_created=self._prepare,
                )
        except TimeoutError:
            raise TransientError(
                f"{_CONNECTING}: no answer within {limit_s:g} s",
                hint="check the server's name and port, and the way there",
            ) from None

    async def _give_back(self, session: Session) -> None:
        self._lent.discard(session)
        if not self._autocommit and not session.is_doubtful:
            with suppress(TransientError):
                await session.roll_back()
        if session.is_doubtful or self._is_closed:
            await session.close()
        else:
            self._idle.append(session)
        self._end_threads()

    async def close(self) -> None:
        """Close the idle ones now and each lent one when it comes back; may be called twice.

        A database with a session in it cannot be restored, so none outlives a run.
        """
        self._is_closed = True
        while self._idle:
            await self._idle.pop().close()
        self._end_threads()

    def _end_threads(self) -> None:
        if self._is_closed and not self._lent:
            self._threads.shutdown(wait=False)


async def _prepared(connection: Any) -> None:
    """Teach a new connection what its driver does not know."""
    connection.add_output_converter(DATETIMEOFFSET, instant_of)


async def _prepared_wide(connection: Any) -> None:
    """The same, with all text as UTF-16.

    Microsoft's driver would convert ``varchar`` to the encoding of the process, whatever that is.
    """
    await _prepared(connection)
    pyodbc = library().pyodbc
    connection.setdecoding(pyodbc.SQL_CHAR, encoding="utf-16le", ctype=pyodbc.SQL_WCHAR)


def _all_rows(cursor: Any) -> list[Sequence[Any]]:
    return list(cursor.fetchall())


def _looked_at(future: "asyncio.Future[Any]") -> None:
    """An error that nobody waits for any more is no news."""
    if not future.cancelled():
        future.exception()
