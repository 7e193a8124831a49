"""Who decided or asked for what, whether it was allowed, and by which request.

Lines are added and never changed; the ledger's own trigger sees to that. A change is noted before
it is made, so nothing is done that nobody can find; if it fails, a second line says so.
"""

from functools import partial
from typing import Literal

from msgspec import Struct

from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.errors import translate
from syncd.reports import AuditView

_NOTE = """
INSERT INTO syncd_audit (pipeline, actor, action, subject, outcome, correlation_id, detail)
VALUES ($1, $2, $3, $4, $5, $6, $7)
"""
_LISTED = """
SELECT audit_id, to_char(at AT TIME ZONE 'UTC', 'YYYY-MM-DD"T"HH24:MI:SS"Z"') AS at, actor, action,
       subject, outcome, correlation_id, detail
FROM syncd_audit WHERE pipeline = $1 AND ($2 = 0 OR audit_id < $2)
ORDER BY audit_id DESC LIMIT $3
"""


class AuditLine(Struct, frozen=True):
    """What is noted. ``subject`` is what it is about; ``detail`` never holds a row's value."""

    actor: str
    action: str
    subject: str
    outcome: Literal["allowed", "denied", "failed"]
    correlation_id: str
    detail: str = ""


class Audit:
    """The audit of one pipeline."""

    def __init__(self, connections: Connections, pipeline: str, schema: str) -> None:
        self._connections = connections
        self._pipeline = pipeline
        self._sql = partial(in_schema, schema)

    async def note(self, line: AuditLine) -> None:
        """Add a line; it stands when this returns."""
        with translate("writing the audit"):
            async with self._connections.acquire() as connection:
                await connection.execute(
                    self._sql(_NOTE), self._pipeline, line.actor, line.action, line.subject,
                    line.outcome, line.correlation_id, line.detail,
                )  # fmt: skip

    async def listed(self, *, before: int, most: int) -> list[AuditView]:
        """The newest lines first, those older than line ``before``; 0 begins at the newest."""
        with translate("reading the audit"):
            async with self._connections.acquire() as connection:
                rows = await connection.fetch(self._sql(_LISTED), self._pipeline, before, most)
        return [AuditView(*row.values()) for row in rows]
