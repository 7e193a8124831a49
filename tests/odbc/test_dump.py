"""Which dump stands there: recorded answers of SQL Server, and a database that is not ready yet."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from typing import TYPE_CHECKING, Any, cast

import pytest

from syncd.config import SqlServerSource
from syncd.errors import ConfigError, PermanentError
from syncd.sources import odbc_sql as sql
from syncd.sources.odbc_dump import DumpWatch, Restored, dump_of, position_of
from syncd.sources.odbc_errors import NotReadyError
from syncd.sources.upstream import Dump

if TYPE_CHECKING:
    from syncd.sources.odbc_connections import OdbcConnections

CREATED = "2026-09-02T03:15:00.123"
ONLINE = ("ONLINE", "MULTI_USER", 0, CREATED)
LAST = Restored("2026-09-02T03:14:58", "7C1D", "38000000012300001", "2026-09-02T01:00:07")
BACKUP_US = 1_788_310_807_000_000  # of 2026-09-02 01:00:07
CREATED_US = 1_788_318_900_123_000


class Server:
    """Answers by statement, one after the other, the last for ever; an error is raised."""

    def __init__(self, **answers: Sequence[Any]) -> None:
        self.asked: list[tuple[str, tuple[str, ...]]] = []
        self._answers = {name: list(given) for name, given in answers.items()}

    @asynccontextmanager
    async def acquire(self) -> AsyncIterator["Server"]:
        """Lend itself."""
        yield self

    async def rows(self, doing: str, statement: str, *values: str) -> list[Any]:
        """The next answer to the statement."""
        del doing
        self.asked.append((statement, values))
        known = {sql.DATABASE: "database", sql.RESTORED: "restored"}
        given = self._answers[known[statement]]
        answer = given.pop(0) if len(given) > 1 else given[0]
        if isinstance(answer, Exception):
            raise answer
        return list(answer)


def watch(server: Server, **fields: Any) -> DumpWatch:
    """A watch that looks every millisecond."""
    config = SqlServerSource(server="old", database="IM", **({"ready_timeout_s": 5.0} | fields))
    return DumpWatch(config, "IM", cast("OdbcConnections", server), poll_s=0.001)


async def test_a_restored_database_is_known_by_its_backup() -> None:
    """Identity of the restore and the backup, position of when the backup was finished."""
    server = Server(database=[[ONLINE]], restored=[[_row(LAST)]])
    assert await watch(server).ready() == Dump(
        f"{CREATED}|0|2026-09-02T03:14:58|7C1D|38000000012300001", BACKUP_US
    )
    assert [values for _, values in server.asked] == [("IM",), ("IM",)]


def _row(restored: Restored) -> tuple[str, ...]:
    return (restored.restored, restored.backup, restored.last_lsn, restored.finished)


@pytest.mark.parametrize("said", ["229", "208", "916"])
async def test_without_the_history_the_creation_says_when(said: str) -> None:
    """No right to it, or no such tables; but that nobody writes to it must be said then."""
    server = Server(database=[[ONLINE]], restored=[PermanentError(said)])
    assert await watch(server).ready() == Dump("", CREATED_US)
    server = Server(database=[[ONLINE]], restored=[PermanentError(said)])
    assert await watch(server, content="dump").ready() == Dump(f"{CREATED}|0", CREATED_US)


async def test_a_database_that_was_never_restored_is_a_live_one() -> None:
    """Its content may be any, so nothing is taken for read."""
    server = Server(database=[[ONLINE]], restored=[[]])
    assert (await watch(server).ready()).identity == ""


@pytest.mark.parametrize(
    "before",
    [
        [],
        [("RESTORING", "MULTI_USER", 0, CREATED)],
        [("RECOVERING", "MULTI_USER", 0, CREATED)],
        [("OFFLINE", "MULTI_USER", 0, CREATED)],
        [("ONLINE", "SINGLE_USER", 0, CREATED)],
        [("ONLINE", "RESTRICTED_USER", 0, CREATED)],
    ],
)
async def test_a_database_that_is_not_ready_is_waited_for(before: Sequence[Any]) -> None:
    """Absent, being restored, in recovery, or open to few (case 40)."""
    server = Server(database=[before, before, [ONLINE]], restored=[[_row(LAST)]])
    assert (await watch(server).ready()).position == BACKUP_US


async def test_a_database_that_cannot_be_opened_yet_is_waited_for() -> None:
    """As the driver tells it while it connects."""
    server = Server(database=[NotReadyError("4060"), [ONLINE]], restored=[[]])
    assert (await watch(server).ready()).position == CREATED_US


async def test_patience_ends() -> None:
    """With what was found, and how long it was waited for."""
    server = Server(database=[[("RESTORING", "MULTI_USER", 0, CREATED)]])
    with pytest.raises(NotReadyError, match=r"IM is restoring; .* ready_timeout_s \(0.02 s\)"):
        await watch(server, ready_timeout_s=0.02).ready()
    assert len(server.asked) > 1


async def test_patience_is_spent_once() -> None:
    """A pipeline of ten entities must not wait ten times as long."""
    server = Server(database=[[]])
    watching = watch(server, ready_timeout_s=0.02)
    for _ in range(2):
        before = len(server.asked)
        with pytest.raises(NotReadyError, match="IM is not there"):
            await watching.ready()
    assert len(server.asked) == before + 1


async def test_another_error_is_not_waited_for() -> None:
    """A login that fails now fails in an hour."""
    server = Server(database=[ConfigError("login"), [ONLINE]])
    with pytest.raises(ConfigError):
        await watch(server).ready()


@pytest.mark.parametrize(
    "other",
    [
        ("2026-09-02T03:16:00", "0", LAST),
        (CREATED, "1", LAST),
        (CREATED, "0", Restored("2026-09-03T03:14:58", *_row(LAST)[1:])),
        (CREATED, "0", Restored(LAST.restored, "8D2E", LAST.last_lsn, LAST.finished)),
        (CREATED, "0", Restored(LAST.restored, LAST.backup, "38000000012300002", LAST.finished)),
        (CREATED, "0", None),
    ],
)
def test_another_restore_is_another_dump(other: tuple[str, str, Restored | None]) -> None:
    """Whichever part of it differs."""
    assert dump_of("dump", CREATED, "0", LAST) != dump_of("dump", *other)


def test_a_live_database_has_no_identity_whatever_was_restored() -> None:
    """It was said that it is written to."""
    assert dump_of("live", CREATED, "0", LAST) == Dump("", BACKUP_US)


@pytest.mark.parametrize(
    ("moment", "position"),
    [
        ("1970-01-01T00:00:00.000001", 1),
        ("1970-01-02 00:00:00", 86_400_000_000),
        ("2026-09-02T01:00:07", BACKUP_US),
        ("2026-09-02T03:00:07+02:00", BACKUP_US),
    ],
)
def test_a_position_is_microseconds_since_1970(moment: str, position: int) -> None:
    """Without an offset as if it were UTC: only the order matters."""
    assert position_of(moment) == position


def test_a_time_that_cannot_be_read_is_told() -> None:
    """A stand-in's comment may be anything."""
    with pytest.raises(ConfigError, match="cannot be read"):
        position_of("yesterday")
