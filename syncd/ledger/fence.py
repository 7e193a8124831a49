"""The fence: what a run notes of itself stands only while its lease is the newest one.

The epoch is checked under FOR KEY SHARE in the transaction that writes. A takeover waits until
that has ended, and whatever is begun after a takeover is refused. The holder is checked beside it:
a standby that was promoted without the last commits counts the same epochs a second time (case 16).
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any, Final

from syncd.errors import FencedError
from syncd.flow.ports import Lease
from syncd.ledger.schema_sql import in_schema
from syncd.pg.connect import Connections
from syncd.pg.errors import translate

FENCE: Final = """
SELECT 1 FROM syncd_lease WHERE pipeline = $1 AND epoch = $2 AND holder = $3 FOR KEY SHARE
"""


def taken_over(lease: Lease) -> FencedError:
    """What to raise when the lease is not the newest any more."""
    return FencedError(
        f"pipeline {lease.pipeline}: the lease is not at epoch {lease.epoch} any more",
        hint="another instance has taken over; this one wrote nothing and stops",
    )


@asynccontextmanager
async def fenced(
    connections: Connections, schema: str, lease: Lease, doing: str
) -> AsyncIterator[Any]:
    """A connection in a transaction that the lease allows; commits when the body ends.

    For what is written beside the target's rows. Raises FencedError before the body begins.
    """
    with translate(doing):
        async with connections.acquire() as connection, connection.transaction():
            fence = in_schema(schema, FENCE)
            held = await connection.fetchval(fence, lease.pipeline, lease.epoch, lease.holder)
            if held is None:
                raise taken_over(lease)
            yield connection
