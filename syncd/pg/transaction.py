"""A transaction that target and ledger share: one commit for the row and its memory."""

from collections.abc import AsyncIterator
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

import anyio
import asyncpg

from syncd.errors import LockedError, TransientError
from syncd.failpoints import failpoint
from syncd.pg.connect import Connections, begin_settings
from syncd.pg.errors import translate

Connection: TypeAlias = "asyncpg.Connection[Any]"
_COMMIT_S: Final = 30.0  # a commit is waited for even when cancelled, but not for ever
# What may arrive in place of the answer; a server that is told to stop may have flushed the
# commit before it ends the session.
_LOST = (
    asyncpg.PostgresConnectionError,
    asyncpg.exceptions.OperatorInterventionError,
    asyncpg.InterfaceError,
    OSError,
)
_CONTENDED = (
    asyncpg.exceptions.LockNotAvailableError,
    asyncpg.exceptions.DeadlockDetectedError,
    asyncpg.exceptions.SerializationError,
)
# PostgreSQL looks for a deadlock after a wait of 1 s (deadlock_timeout); this is well below it.
_IMPATIENT = "SET LOCAL lock_timeout = '200ms'"
# It locks nothing, and what it reads may have to wait for the source. The second is known since 17.
_UNHURRIED = """
SET LOCAL idle_in_transaction_session_timeout = 0;
SELECT set_config(name, '0', true) FROM pg_settings WHERE name = 'transaction_timeout'
"""
_READ_ONLY = "SET TRANSACTION ISOLATION LEVEL REPEATABLE READ READ ONLY"


class PgTx:
    """The open transaction; ``writes`` is false for a look that must not lock or change.

    ``epoch`` is that of the lease under which it was begun.
    """

    def __init__(self, connection: Connection, *, writes: bool) -> None:
        self.connection = connection
        self.writes = writes
        self.epoch = 0


@asynccontextmanager
async def transaction(
    connections: Connections, *, writes: bool = True, patient: bool = True
) -> AsyncIterator[PgTx]:
    """Open a transaction; commit when the body ends, roll back when it raises.

    One that is not ``patient`` waits for a lock for 0.2 s only: it may hold locks that others
    wait for, and must give way before a deadlock is seen and somebody else is made the victim.
    Driver errors come out translated, a lock that was not to be had as LockedError. A connection
    lost while committing comes out as TransientError with ``outcome_unknown``.
    """
    async with connections.acquire() as connection:
        with translate("in a transaction on the target"):
            inner = connection.transaction()
            await inner.start()
            try:
                async with AsyncExitStack() as given_up:
                    given_up.push_async_callback(_roll_back, connection, inner)
                    if not writes:
                        await connection.execute(_READ_ONLY)
                    await begin_settings(connection)
                    if not writes:
                        await connection.execute(_UNHURRIED)
                    if not patient:
                        await connection.execute(_IMPATIENT)
                    await failpoint("tx.begun")
                    yield PgTx(connection, writes=writes)
                    await failpoint("tx.commit")
                    given_up.pop_all()
            except _CONTENDED as error:
                raise _locked(error) from None
            await _commit(inner)
            await failpoint("tx.committed")


def _locked(error: asyncpg.PostgresError) -> LockedError:
    sqlstate = error.sqlstate or ""
    return LockedError(
        f"a row is held by another transaction (PostgreSQL {sqlstate})",
        sqlstate=sqlstate,
        constraint="locked",
    )


async def _roll_back(connection: Connection, inner: Any) -> None:
    """Roll back, shielded: the next holder of the connection must not find a transaction open."""
    await failpoint("tx.roll_back")
    if connection.is_closed():
        return
    with anyio.move_on_after(_COMMIT_S, shield=True) as scope:
        try:
            await inner.rollback()
        except (
            asyncpg.PostgresError,
            asyncpg.InterfaceError,
            asyncpg.InternalClientError,
            OSError,
        ):
            connection.terminate()  # the server rolls back what it no longer hears from
    if scope.cancelled_caught:
        connection.terminate()


async def _commit(inner: Any) -> None:
    """Commit, shielded: whether it stood must be known, even when the task is cancelled."""
    try:
        with anyio.fail_after(_COMMIT_S, shield=True):
            await inner.commit()
    except _LOST as error:
        raise TransientError(
            "the connection to the target was lost while a transaction was committing",
            hint="syncd looks in the ledger whether it stood before it repeats anything",
            outcome_unknown=True,
        ) from error
