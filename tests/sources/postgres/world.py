"""Plans, and a consumer that keeps what a source pushes."""

from collections.abc import Awaitable, Callable, Sequence
from typing import Any, TypeAlias

import anyio
import pytest
from msgspec import Struct
from msgspec.structs import replace

from syncd.flow.model import Column, ColumnType, Issue, Kind, Plan, Read
from syncd.flow.ports import Block, Snapshot
from syncd.pg.dialect import split_copy_line
from syncd.sources.postgres import PostgresReader
from tests.patience import WAIT_S

MakeReader: TypeAlias = Callable[..., PostgresReader]
INTEGER = ColumnType(Kind.INTEGER)
TEXT = ColumnType(Kind.TEXT)


class Scanned(Struct, frozen=True):
    """What a scan pushed and told."""

    records: list[tuple[bytes, int]]
    told: list[Issue]
    rows: int

    @property
    def keys(self) -> list[bytes]:
        """The keys pushed, in their order."""
        return [key for key, _ in self.records]


def plan_of(name: str, types: dict[str, ColumnType], key: Sequence[str]) -> Plan:
    """A plan that mirrors columns of these types."""
    columns = tuple(Column(column, column, type_) for column, type_ in sorted(types.items()))
    at = tuple([column.name for column in columns].index(part) for part in key)
    return Plan(name, 1, columns, at, columns, at)


async def plan_from(reader: PostgresReader, name: str, key: Sequence[str] = ("id",)) -> Plan:
    """A plan that mirrors what the source has."""
    shape = await reader.describe(name)
    return plan_of(name, {column: found.type for column, found in shape.items()}, key)


async def scan(snapshot: Snapshot, plan: Plan) -> Scanned:
    """A whole scan, its blocks taken apart."""
    records: list[tuple[bytes, int]] = []
    told: list[Issue] = []

    async def emit(block: Block) -> None:
        at = 0
        while at < len(block.data):
            end = at + 18 + int.from_bytes(block.data[at + 2 : at + 6], "big")
            assert block.width in (0, end - at)
            record = block.data[at:end]
            records.append((record[6:-12], int.from_bytes(record[-8:], "big", signed=True)))
            at = end

    rows = await snapshot.scan(plan, emit, told.append)
    return Scanned(records, told, rows)


async def read(snapshot: Snapshot, plan: Plan) -> list[Read]:
    """A whole full read, its pieces joined; every row is pushed or told.

    The line that comes with a row says what the row holds; it is left out of the answer, so that
    the reads can be compared with fetched ones.
    """
    reads: list[Read] = []
    told: list[Issue] = []

    async def emit(piece: Sequence[Read]) -> None:
        for one in piece:
            assert not one.line or tuple(split_copy_line(one.line)) == one.row
            reads.append(replace(one, line=b""))

    assert await snapshot.read(plan, emit, told.append) == len(reads) + len(told)
    return reads


def unexpected(issue: Issue) -> None:
    """A listener that wants to hear nothing."""
    pytest.fail(f"there was nothing to tell, and {issue.code} was told")


async def nothing(_: object) -> None:
    """A consumer that takes everything at once."""


async def until(ask: Callable[[], Awaitable[Any]], *, wanted: bool) -> None:
    """Wait until the answer is as wanted."""
    with anyio.fail_after(WAIT_S):
        while bool(await ask()) is not wanted:  # noqa: ASYNC110 - the server tells nobody
            await anyio.sleep(0.01)


async def statements(admin: Any, like: str) -> int:
    """How many statements like this one run in the test's database now."""
    count: int = await admin.fetchval(
        "SELECT count(*) FROM pg_stat_activity WHERE pid <> pg_backend_pid() AND state = 'active' "
        "AND datname = current_database() AND query LIKE $1",
        like,
    )
    return count
