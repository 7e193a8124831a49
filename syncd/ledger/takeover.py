"""The lease passes on, also from a holder that was stopped inside a transaction (case 85).

A takeover changes the lease's row, which every transaction that writes holds locked to its end. The
server ends a transaction in which nobody says anything any more, but not one whose client stopped
between two parts of a message, nor one whose client a proxy keeps alive. So whoever waits here,
once the lease has run out by the server's clock, asks which sessions it waits for, and has those of
its own role ended whose client has been silent for a while. What they had not committed is rolled
back, as after any crash.

A session that works or waits for a lock is left alone: the server's own timeouts end it, or it is
another instance that takes over. Sessions of other roles are nobody's to end but an operator's.
"""

from typing import Any, Final

import anyio

from syncd.errors import FencedError
from syncd.flow.pipeline import foremost
from syncd.logs import Log
from syncd.pg.connect import Connections, begin_settings
from syncd.pg.errors import translate

_log = Log("syncd.lease")
# A batch that was under way when the lease ran out goes on sooner.
PATIENCE_S: Final = 2.0
_POLL_S: Final = 0.1
# Above the time for which a session that is left alone waits for a lock, by default.
_TAKE_S_MAX: Final = 15
_ANSWER_S_MAX: Final = 5.0
_PATIENT: Final = f"SET LOCAL lock_timeout = 0; SET LOCAL statement_timeout = '{_TAKE_S_MAX}s'"
# Behind a proxy the driver knows another number; this one holds until the transaction ends.
_PID: Final = "SELECT pg_backend_pid()"
_END_BLOCKERS: Final = """
SELECT a.pid, coalesce(a.usename::text, '') AS role, a.usename = current_user AS is_ours,
       CASE WHEN a.usename = current_user AND a.wait_event_type = 'Client'
                 AND a.state_change < clock_timestamp() - make_interval(secs => $2)
            THEN pg_terminate_backend(a.pid) ELSE false END AS ended
FROM unnest(pg_blocking_pids($1)) AS b (pid) JOIN pg_stat_activity a ON a.pid = b.pid
"""


async def take_over(connections: Connections, statement: str, *values: object) -> Any:
    """The value of ``statement``, which takes the lease; sessions that block it may be ended.

    Takes a second connection while it waits. Raises FencedError where a session of another role
    holds the row, TransientError where the row is not to be had in 15 s.
    """
    try:
        with translate("taking the lease"):
            async with connections.acquire() as connection, connection.transaction():
                await begin_settings(connection)
                await connection.execute(_PATIENT)
                pid = await connection.fetchval(_PID)
                is_taken = anyio.Event()
                async with anyio.create_task_group() as tasks:
                    tasks.start_soon(_clear_the_way, connections, pid, is_taken)
                    with translate("taking the lease"):
                        value = await connection.fetchval(
                            statement, *values, timeout=_TAKE_S_MAX + _ANSWER_S_MAX
                        )
                    is_taken.set()
                return value
    except BaseExceptionGroup as group:
        raise (foremost(group) or group) from None


async def _clear_the_way(connections: Connections, pid: int, is_taken: anyio.Event) -> None:
    """End what ``pid`` waits for, one after the other, until it has what it wants."""
    ended: set[int] = set()
    pause_s = PATIENCE_S
    while not is_taken.is_set():
        with anyio.move_on_after(pause_s):
            await is_taken.wait()
            return
        with translate("looking for who holds the lease's row"):
            async with connections.acquire(_ANSWER_S_MAX) as connection:
                blockers = await connection.fetch(
                    _END_BLOCKERS, pid, PATIENCE_S, timeout=_ANSWER_S_MAX
                )
        for blocker in blockers:
            if not blocker["is_ours"]:
                raise _held_by_another(blocker["pid"], blocker["role"])
            if blocker["ended"] and blocker["pid"] not in ended:
                ended.add(blocker["pid"])  # it may take a while to go
                _log.warning("session_ended", pid=blocker["pid"])
        pause_s = _POLL_S


def _held_by_another(pid: int, role: str) -> FencedError:
    return FencedError(
        f"the lease has run out, and session {pid} of role {role} holds its row locked, expected "
        "sessions of our own role only; nothing was written",
        hint=f"as that role or a superuser: SELECT pg_terminate_backend({pid}), then run again",
    )
