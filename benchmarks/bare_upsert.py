"""The bare loop that a flat apply is held against: COPY to a temporary table, then upsert.

It reads the source's rows as COPY text and never looks into them: no digest, no fingerprint, no
memory, no comparison with what staff did, no history. What it takes is the price of moving rows
through one Python process into PostgreSQL; what syncd takes beyond it is the price of the rest.

    python -m benchmarks.bare_upsert SOURCE_DSN TARGET_DSN
"""

import asyncio
import sys
from io import BytesIO
from typing import Any, Final

import asyncpg

BATCH_ROWS: Final = 5000
CONNECTIONS: Final = 2

_STAGE: Final = "CREATE TEMP TABLE IF NOT EXISTS stage (LIKE item) ON COMMIT DELETE ROWS"
_COLUMNS: Final = """
SELECT string_agg(format('%I = excluded.%I', attname, attname), ', ' ORDER BY attnum)
FROM pg_attribute
WHERE attrelid = 'item'::regclass AND attnum > 0 AND NOT attisdropped AND attname <> 'id'
"""


async def _write(dsn: str, batches: "asyncio.Queue[bytes]") -> None:
    """Write batches until an empty one comes; each is one transaction."""
    connection = await asyncpg.connect(dsn)
    try:
        columns = await connection.fetchval(_COLUMNS)
        upsert = f"INSERT INTO item SELECT * FROM stage ON CONFLICT (id) DO UPDATE SET {columns}"  # noqa: S608
        await connection.execute(_STAGE)
        while data := await batches.get():
            async with connection.transaction():
                await connection.copy_to_table("stage", source=BytesIO(data), format="text")
                await connection.execute(upsert)
    finally:
        await connection.close()


async def _read(dsn: str, batches: "asyncio.Queue[bytes]") -> None:
    """Cut the source's COPY stream into batches of whole lines."""
    rest, lines = b"", list[bytes]()

    async def take(piece: bytes) -> None:
        nonlocal rest
        found = (rest + piece).split(b"\n")
        rest = found.pop()
        lines.extend(found)
        while len(lines) >= BATCH_ROWS:
            await batches.put(b"\n".join(lines[:BATCH_ROWS]) + b"\n")
            del lines[:BATCH_ROWS]

    connection: Any = await asyncpg.connect(dsn)
    try:
        await connection.copy_from_query("SELECT * FROM item ORDER BY id", output=take)
    finally:
        await connection.close()
    if lines:
        await batches.put(b"\n".join(lines) + b"\n")
    for _ in range(CONNECTIONS):
        await batches.put(b"")


async def _run(source_dsn: str, target_dsn: str) -> None:
    batches: asyncio.Queue[bytes] = asyncio.Queue(1)
    async with asyncio.TaskGroup() as tasks:
        tasks.create_task(_read(source_dsn, batches))
        for _ in range(CONNECTIONS):
            tasks.create_task(_write(target_dsn, batches))


if __name__ == "__main__":
    asyncio.run(_run(*sys.argv[1:3]))
