"""The lease passes on, whatever its holder is doing when it stops (case 85, I9)."""

import logging
import os
from collections.abc import AsyncIterator, Callable
from contextlib import AsyncExitStack, asynccontextmanager
from typing import Any, Final, TypeAlias

import anyio
import asyncpg
import pytest

from syncd.config import Secret
from syncd.errors import FencedError, TransientError
from syncd.flow.ports import Lease
from syncd.ledger import takeover
from syncd.ledger.fence import fenced
from syncd.ledger.migrations import migrate
from syncd.ledger.runs import Runs
from syncd.pg.connect import Connections, open_connection
from tests.patience import WAIT_S

Connection: TypeAlias = "asyncpg.Connection[Any]"
SCHEMA: Final = "syncd"
EXPIRE: Final = "UPDATE syncd.syncd_lease SET expires_at = '-infinity'"
LOCK: Final = "SELECT 1 FROM syncd.syncd_lease FOR KEY SHARE"
SESSIONS: Final = "SELECT count(*) FROM pg_stat_activity WHERE application_name = 'holder'"
STRANGER: Final = f"stranger_{os.getpid()}"  # a role is the whole server's


class Instance:
    """An instance of one pipeline, with connections of its own."""

    def __init__(self, dsn: str, name: str) -> None:
        self._dsn = dsn
        self.name = name
        self.connections = Connections(self._opened, size_max=3)
        self.runs = Runs(self.connections, "p", SCHEMA)

    async def _opened(self) -> Connection:
        return await open_connection(
            Secret(value=self._dsn), connect_timeout_s=5, statement_timeout_s=1, lock_timeout_s=1,
            read_only=False, prepared_statements=True, application_name=self.name,
        )  # fmt: skip

    async def lead(self) -> Lease:
        """Take the lease; it has run out or nobody has it."""
        lease = await self.runs.acquire(self.name, 60)
        assert lease is not None
        return lease


MakeInstance: TypeAlias = Callable[[str], Instance]


@pytest.fixture(autouse=True)
def _impatient(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(takeover, "PATIENCE_S", 0.5)


@pytest.fixture
async def admin(pg_dsn: str) -> AsyncIterator[Connection]:
    """Somebody who may look at everything."""
    connection = await asyncpg.connect(pg_dsn)
    await migrate(connection, SCHEMA)
    yield connection
    await connection.close()


@pytest.fixture
async def make_instance(pg_dsn: str) -> AsyncIterator[MakeInstance]:
    """Instances by name, of one pipeline."""
    made: list[Instance] = []

    def make(name: str) -> Instance:
        made.append(Instance(pg_dsn, name))
        return made[-1]

    yield make
    for instance in made:
        await instance.connections.close()


@asynccontextmanager
async def stopped_in_a_message(instance: Instance, lease: Lease) -> AsyncIterator[None]:
    """It has the row locked, has sent the first part of a message, and says nothing any more."""
    writing = fenced(instance.connections, SCHEMA, lease, "standing still")
    connection = await writing.__aenter__()
    # Parsed and described, and neither bound nor ended by a Sync.
    await connection.prepare("SELECT 1")
    yield
    with pytest.raises(TransientError):
        await writing.__aexit__(None, None, None)


async def test_a_holder_that_stopped_in_a_message_is_ended_and_taken_over(
    make_instance: MakeInstance, admin: Connection, caplog: pytest.LogCaptureFixture
) -> None:
    """Case 85: no timeout of the server ends it; whoever takes over does, and says so."""
    holder, other = make_instance("holder"), make_instance("other")
    lease = await holder.lead()
    with anyio.fail_after(WAIT_S), caplog.at_level(logging.WARNING, "syncd.lease"):
        async with stopped_in_a_message(holder, lease):
            await admin.execute(EXPIRE)
            taken = await other.lead()
    assert taken.epoch == lease.epoch + 1
    assert [record.message for record in caplog.records] == ["session_ended"]


async def test_all_writers_of_a_stopped_holder_are_ended(
    make_instance: MakeInstance, admin: Connection
) -> None:
    """They lock the row side by side."""
    holder, other = make_instance("holder"), make_instance("other")
    lease = await holder.lead()
    with anyio.fail_after(WAIT_S):
        async with AsyncExitStack() as writers:
            for _ in range(3):
                await writers.enter_async_context(stopped_in_a_message(holder, lease))
            await admin.execute(EXPIRE)
            await other.lead()
            assert await admin.fetchval(SESSIONS) == 0


async def test_a_batch_that_ends_in_time_is_waited_for(
    make_instance: MakeInstance, admin: Connection, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What was under way when the lease ran out may commit; nobody is ended."""
    monkeypatch.setattr(takeover, "PATIENCE_S", 20.0)
    holder, other = make_instance("holder"), make_instance("other")
    lease = await holder.lead()
    async with (
        anyio.create_task_group() as tasks,
        fenced(holder.connections, SCHEMA, lease, "writing") as connection,
    ):
        await admin.execute(EXPIRE)
        tasks.start_soon(other.lead)
        await _waiting(admin, 1)
        await connection.execute("CREATE TABLE public.written ()")
    assert await admin.fetchval("SELECT to_regclass('public.written')::text") == "written"


async def test_of_two_that_take_over_neither_ends_the_other(
    make_instance: MakeInstance, admin: Connection
) -> None:
    """One waits for the holder and the other for the one; exactly one of them leads."""
    holder, one, two = (make_instance(name) for name in ("holder", "one", "two"))
    lease = await holder.lead()
    leases: list[Lease | None] = []

    async def take(instance: Instance) -> None:
        leases.append(await instance.runs.acquire(instance.name, 60))

    with anyio.fail_after(WAIT_S):
        async with stopped_in_a_message(holder, lease):
            await admin.execute(EXPIRE)
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(take, one)
                tasks.start_soon(take, two)
    assert sorted(lease is None for lease in leases) == [False, True]


async def test_a_session_of_another_role_is_told_and_left_alone(
    make_instance: MakeInstance, admin: Connection, pg_dsn: str
) -> None:
    """Whoever that is, syncd does not end it; the message says how an operator may."""
    holder, other = make_instance("holder"), make_instance("other")
    await holder.lead()
    await admin.execute(EXPIRE)
    async with _stranger(admin, pg_dsn) as stranger:
        tx = stranger.transaction()
        await tx.start()
        await stranger.execute(LOCK)
        with pytest.raises(FencedError) as caught:
            await other.lead()
        assert f"of role {STRANGER} holds its row locked" in str(caught.value)
        assert "pg_terminate_backend" in caught.value.hint
        await tx.commit()
    await other.lead()


async def _waiting(admin: Connection, sessions: int) -> None:
    """Return when so many sessions wait for a lock."""
    waiting = "SELECT count(*) FROM pg_stat_activity WHERE wait_event_type = 'Lock'"
    with anyio.fail_after(WAIT_S):
        while await admin.fetchval(waiting) < sessions:  # noqa: ASYNC110 - the server's to say
            await anyio.sleep(0.01)


@asynccontextmanager
async def _stranger(admin: Connection, dsn: str) -> AsyncIterator[Connection]:
    await admin.execute(
        f"CREATE ROLE {STRANGER} LOGIN; GRANT USAGE ON SCHEMA syncd TO {STRANGER};"
        f"GRANT SELECT, UPDATE ON syncd.syncd_lease TO {STRANGER}"
    )
    stranger = await asyncpg.connect(dsn, user=STRANGER)
    try:
        yield stranger
    finally:
        await stranger.close()
        await admin.execute(f"DROP OWNED BY {STRANGER}; DROP ROLE {STRANGER}")
