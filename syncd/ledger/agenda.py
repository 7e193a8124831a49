"""What was claimed by the clock and for dumps, so that no instance claims the same twice.

Mark and claim are one transaction under the fence: a crash leaves both or none.
"""

from collections.abc import Awaitable, Callable
from datetime import UTC, datetime
from functools import partial
from typing import Any, Final

from syncd.flow.ports import Lease
from syncd.ledger.claims import ASK
from syncd.ledger.fence import fenced
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.retry import Retry

_NOTED = "SELECT value FROM syncd_setting WHERE name = $1"
_NOTE = "INSERT INTO syncd_setting (name, value) VALUES ($1, $2) ON CONFLICT (name) DO NOTHING"
# Times are compared as text of one length; bytea has the order of its bytes.
_LATER = """
INSERT INTO syncd_setting (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
WHERE syncd_setting.value < excluded.value RETURNING true
"""
_OTHER = """
INSERT INTO syncd_setting (name, value) VALUES ($1, $2)
ON CONFLICT (name) DO UPDATE SET value = excluded.value
WHERE syncd_setting.value <> excluded.value RETURNING true
"""
_UNDER_WAY = """
SELECT EXISTS (SELECT 1 FROM syncd_claim WHERE pipeline = $1 AND scope = '' AND status = 'running')
"""
_FORM: Final = "%Y-%m-%dT%H:%M:%SZ"


class Agenda:
    """The marks of one pipeline. All of it raises FencedError once another instance leads.

    ``retry`` may repeat each of them: a mark that stood already claims nothing again.
    """

    def __init__(
        self, connections: Connections, pipeline: str, schema: str, lease: Lease, retry: Retry
    ) -> None:
        self._connections = connections
        self._retry = retry
        self._pipeline = pipeline
        self._schema = schema
        self._lease = lease
        self._sql = partial(in_schema, schema)

    async def noted(self) -> datetime | None:
        """The latest due time that was claimed."""
        value = await self._within(lambda c: c.fetchval(self._sql(_NOTED), self._name("due")))
        if value is None:
            return None
        return datetime.strptime(value.decode(), _FORM).replace(tzinfo=UTC)

    async def note(self, at: datetime) -> None:
        """Begin the schedule here."""
        name, value = self._name("due"), _told(at)
        await self._within(lambda c: c.execute(self._sql(_NOTE), name, value))

    async def claim(self, at: datetime) -> str:
        """Claim all that is due ``at``: claimed | known | overlaps."""
        value = _told(at)

        async def marked(connection: Any) -> str:
            if not await connection.fetchval(self._sql(_LATER), self._name("due"), value):
                return "known"
            if await connection.fetchval(self._sql(_UNDER_WAY), self._pipeline):
                return "overlaps"
            by = f"schedule {value.decode()}"
            await connection.execute(self._sql(ASK), self._pipeline, "", "schedule", by)
            return "claimed"

        return str(await self._within(marked))

    async def claim_dump(self, identity: str) -> bool:
        """Claim all of a new dump; false when this one was claimed before."""

        async def marked(connection: Any) -> bool:
            values = self._name("dump"), identity.encode()
            if not await connection.fetchval(self._sql(_OTHER), *values):
                return False
            await connection.execute(self._sql(ASK), self._pipeline, "", "dump", "a new dump")
            return True

        return bool(await self._within(marked))

    async def _within(self, work: Callable[[Any], Awaitable[Any]]) -> Any:
        async def once() -> Any:
            doing = "noting what is due"
            async with fenced(self._connections, self._schema, self._lease, doing) as connection:
                return await work(connection)

        return await self._retry(once)

    def _name(self, kind: str) -> str:
        return f"{kind}/{self._pipeline}"


def _told(at: datetime) -> bytes:
    return f"{at.astimezone(UTC):{_FORM}}".encode()
