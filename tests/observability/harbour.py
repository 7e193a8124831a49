"""A pipeline that has lived a little: two nights with everything that waits for somebody.

The first night brings all rows; in the second some change, one field was changed on both sides,
more is gone than may be deleted at once, one row has no parent and one cannot be read.
"""

from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import asyncpg

from syncd import config_load
from syncd.app import App
from syncd.config import Config
from syncd.meter import Meter
from syncd.progress import Silent
from syncd.site import Site

PIPELINE: Final = "harbour"
ENTITIES: Final = ("ports", "berths")
_CONFIG: Final = """
pipeline: harbour
source: {{kind: files, path: {dump}}}
target: {{kind: postgres, dsn: "{dsn}"}}
deletes: {{policy: apply, hold_above: {{rows: 1, percent: 1}}}}
{more}
entities:
  ports:
    from: ports.csv
    key: [id]
    columns: {{id: integer, name: text}}
    into: public.ports
  berths:
    from: berths.csv
    key: [id]
    columns: {{id: integer, port_id: integer, depth_m: decimal}}
    into: public.berths
    needs: {{ports: {{columns: [port_id]}}}}
"""


def configure(folder: Path, dsn: str, more: str = "") -> Path:
    """The file of the pipeline, beside its dump; ``more`` are lines of YAML."""
    (folder / "dump").mkdir(exist_ok=True)
    path = folder / "pipeline.yaml"
    path.write_text(_CONFIG.format(dump=folder / "dump", dsn=dsn, more=more), "utf-8")
    return path


def first_dump(folder: Path) -> None:
    """Twelve ports, a berth in each."""
    _write(folder, "ports", "id,name", [f"{n},Port {n}" for n in range(12)])
    _write(folder, "berths", "id,port_id,depth_m", [f"{n},{n},7.5" for n in range(12)])


def second_dump(folder: Path) -> None:
    """What the second night finds."""
    _write(folder, "ports", "id,name", ["0,Zero", *(f"{n},Port {n}" for n in range(1, 12))])
    berths = [*(f"{n},{n},8" for n in range(6)), "20,99,7", "21,1,deep"]
    _write(folder, "berths", "id,port_id,depth_m", berths)


async def staff_edit(dsn: str) -> None:
    """Somebody at the target renames the port that the source renames too."""
    connection = await asyncpg.connect(dsn)
    try:
        await connection.execute("UPDATE public.ports SET name = 'Naught' WHERE id = 0")
    finally:
        await connection.close()


@asynccontextmanager
async def held(dsn: str) -> AsyncIterator[None]:
    """Somebody holds the ports meanwhile, so a run stands still in them."""
    connection = await asyncpg.connect(dsn)
    try:
        async with connection.transaction():
            await connection.execute("LOCK TABLE public.ports IN EXCLUSIVE MODE")
            yield
    finally:
        await connection.close()


def load(path: Path) -> Config:
    """The configuration."""
    return config_load.load(path, {})


async def two_nights(folder: Path, dsn: str, site: Site, meter: Meter) -> None:
    """Live them; ``configure`` was before."""
    app = App(site, meter)
    first_dump(folder)
    await app.init()
    await app.run(None, accept_rewind=False, progress=Silent())
    second_dump(folder)
    await staff_edit(dsn)
    await app.run(None, accept_rewind=False, progress=Silent())


def _write(folder: Path, name: str, header: str, lines: list[str]) -> None:
    (folder / "dump" / f"{name}.csv").write_text("\n".join([header, *lines, ""]), "utf-8")
