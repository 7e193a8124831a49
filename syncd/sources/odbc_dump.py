"""Which dump stands at the source, and whether it may be read now.

SQL Server remembers what was restored and from which backup; where that may not be read, the
database's own date of creation says when it was restored. Both are asked of ``master``, because a
session in the database itself would stand in the way of the next restore.
"""

from datetime import UTC, datetime
from typing import Final

import anyio
from msgspec import Struct

from syncd.config import SqlServerSource
from syncd.errors import ConfigError, PermanentError
from syncd.logs import Log
from syncd.sources import odbc_sql as sql
from syncd.sources.odbc_connections import OdbcConnections, Session
from syncd.sources.odbc_errors import NotReadyError
from syncd.sources.upstream import Dump

_log = Log("syncd.source")
_POLL_S: Final = 5.0
_US_PER_S: Final = 1_000_000
_DOING: Final = "asking which dump stands at the source"


class DumpWatch:
    """Looks at the database from outside; ``connections`` lead to ``master`` where there is one.

    ``poll_s`` is how often it is looked at while it is not ready.
    """

    def __init__(
        self,
        config: SqlServerSource,
        database: str,
        connections: OdbcConnections,
        *,
        poll_s: float = _POLL_S,
    ) -> None:
        self._config = config
        self._database = database
        self._connections = connections
        self._poll_s = poll_s
        self._patience_s = config.ready_timeout_s

    async def ready(self) -> Dump:
        """Wait until the database may be read; which dump it is.

        Raises TransientError (NotReadyError) when it does not become ready in time. That time is
        spent once: whoever asks again afterwards is told at once.
        """
        until_s = anyio.current_time() + self._patience_s
        while True:
            try:
                return await self.now()
            except NotReadyError as error:
                if anyio.current_time() + self._poll_s > until_s:
                    self._patience_s = 0.0
                    raise
                _log.info("source_not_ready", reason=error.message)
            await anyio.sleep(self._poll_s)

    async def now(self) -> Dump:
        """Which dump it is. Raises NotReadyError while it may not be read."""
        async with self._connections.acquire() as session:
            if self._config.dialect == "tsql":
                return await self._of_server(session)
            if self._config.dialect == "postgres":
                rows = await session.rows(_DOING, sql.STAND_IN)
                return stand_in(str(rows[0][0]), live=self._config.content == "live")
        return Dump("", 0)

    async def _of_server(self, session: Session) -> Dump:
        rows = await session.rows(_DOING, sql.DATABASE, self._database)
        if not rows:
            raise self._not_ready("is not there")
        state, access, standby, created = (str(value) for value in rows[0])
        if state != "ONLINE":
            raise self._not_ready(f"is {_word(state)}")
        if access != "MULTI_USER":
            raise self._not_ready(f"is open to few only ({_word(access)})")
        history = await self._history(session)
        return dump_of(self._config.content, created, standby, history)

    async def _history(self, session: Session) -> "Restored | None":
        """The last restore; None where there was none, or where it may not be seen."""
        try:
            rows = await session.rows(_DOING, sql.RESTORED, self._database)
        except PermanentError:
            # No right to see it, or no such tables: the date of creation says enough.
            return None
        return Restored(*(str(value) for value in rows[0])) if rows else None

    def _not_ready(self, how: str) -> NotReadyError:
        return NotReadyError(
            f"the database {self._database} {how}",
            hint=f"a restore may be under way; it was waited for as long as ready_timeout_s "
            f"({self._config.ready_timeout_s:g} s) says",
        )


class Restored(Struct, frozen=True):
    """The last restore of a database: when, from which backup, up to which LSN, finished when."""

    restored: str
    backup: str
    last_lsn: str
    finished: str


def dump_of(content: str, created: str, standby: str, history: Restored | None) -> Dump:
    """What is known of a database as its identity and position.

    A database that was not restored is somebody's live one, whose content nothing proves.
    """
    moment = history.finished if history else created
    known = content == "dump" or (content == "auto" and history is not None)
    parts = [created, standby]
    if history:
        parts += [history.restored, history.backup, history.last_lsn]
    return Dump("|".join(parts) if known else "", position_of(moment))


def position_of(moment: str) -> int:
    """Microseconds since 1970 of a moment as ISO writes it. Raises ConfigError for another text."""
    try:
        parsed = datetime.fromisoformat(moment)
    except ValueError:
        raise ConfigError(
            "the time of the dump cannot be read", hint="expected YYYY-MM-DD HH:MM:SS"
        ) from None
    aware = parsed if parsed.tzinfo else parsed.replace(tzinfo=UTC)
    since = aware - datetime(1970, 1, 1, tzinfo=UTC)
    return since.days * 86_400 * _US_PER_S + since.seconds * _US_PER_S + since.microseconds


def stand_in(comment: str, *, live: bool) -> Dump:
    """The dump that the comment of a stand-in's database tells; other words tell nothing."""
    if not comment[:1].isdigit():  # said for people
        return Dump("", 0)
    return Dump("" if live else comment, position_of(comment))


def _word(state: str) -> str:
    """A state of the catalogue as a word; never anything else."""
    return state.lower().replace("_", " ") if state.replace("_", "").isalpha() else "not usable"
