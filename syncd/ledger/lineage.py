"""Which history the target's server writes, so that a rewind is told rather than only healed.

A standby that is promoted writes on a timeline of its own, and a copy that is restored stands in
another cluster. Either may lack the last commits. Target and ledger lie in one database and lose
them together, so the next run finds by itself what is missing (case 16); that it happened is for
people to know.
"""

from typing import Final

from syncd.errors import PermanentError
from syncd.flow.ports import Lease
from syncd.ledger.fence import fenced
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections

# The name of the file being written begins with the timeline, which the control file only learns
# at the next checkpoint.
_NOW: Final = """
SELECT coalesce(CASE WHEN has_function_privilege('pg_control_system()', 'EXECUTE')
                     THEN (SELECT system_identifier FROM pg_control_system())::text END, '')
       || '/' || left(pg_walfile_name(pg_current_wal_lsn()), 8)
"""
_BEFORE: Final = "SELECT convert_from(value, 'UTF8') FROM syncd_setting WHERE name = $1"
_NOTE: Final = """
INSERT INTO syncd_setting (name, value) VALUES ($1, convert_to($2, 'UTF8'))
ON CONFLICT (name) DO UPDATE SET value = excluded.value
"""


async def has_another_history(connections: Connections, schema: str, lease: Lease) -> bool:
    """Whether the server writes another history than when this was last asked; notes the new one.

    Never on the first time, nor where the server does not tell. Raises FencedError.
    """
    name = f"lineage/{lease.pipeline}"
    try:
        async with fenced(connections, schema, lease, "looking at the target's history") as found:
            now = await found.fetchval(_NOW)
            before = await found.fetchval(in_schema(schema, _BEFORE), name)
            if before != now:
                await found.execute(in_schema(schema, _NOTE), name, now)
    except PermanentError:
        return False  # not every service that looks like PostgreSQL has timelines
    return before is not None and before != now
