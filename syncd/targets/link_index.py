"""Whether the links of an aggregate can be found by the target's id, as twins and references are.

Without an index nothing is wrong, and a batch may read the whole table.
"""

from typing import Final

from syncd.pg.connect import Connections
from syncd.pg.errors import translate
from syncd.targets.layout import Layout

# One that begins with the target's id serves as well; a partial one may lack the type asked for.
_INDEXED: Final = """
SELECT EXISTS (
    SELECT 1 FROM pg_catalog.pg_index i, LATERAL (
        SELECT array_agg(a.attname::text ORDER BY k.at) AS names
        FROM unnest(i.indkey[0:i.indnkeyatts - 1]) WITH ORDINALITY k (attnum, at)
        JOIN pg_catalog.pg_attribute a ON a.attrelid = i.indrelid AND a.attnum = k.attnum
    ) columns
    WHERE i.indrelid = to_regclass($1) AND i.indisvalid AND i.indpred IS NULL AND i.indexprs IS NULL
      AND (names[1] = 'target_id' OR names[1:2] = '{entity_type,target_id}')
)
"""


async def unindexed_links(connections: Connections, layout: Layout) -> tuple[str, ...]:
    """A sentence for each table of links that is asked for a target's id and has no index on it."""
    asked = [layout.link] if layout.twins else []
    asked += [other.table for other in layout.refers]
    with translate("looking for indexes"):
        async with connections.acquire() as connection:
            lacking = [
                table
                for table in dict.fromkeys(asked)
                if not await connection.fetchval(_INDEXED, table)
            ]
    return tuple(
        f"{table} has no index on entity_type, target_id: every batch may read all of it"
        for table in lacking
    )
