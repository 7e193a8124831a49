"""A disk that is full and memory that runs out while a dump is read (cases 9 and 11).

Nothing was read whole, so nothing is concluded: no row is deleted, no edit is touched, and the next
run, which has room, does what was to be done.
"""

import os
import shutil
import subprocess
import sys
from collections.abc import Iterable
from pathlib import Path
from typing import Final

import anyio.to_thread
import asyncpg
import pytest

from tests.conftest import REPOSITORY
from tests.crash.zygote import Ask, Told, Zygote
from tests.pipeline.world import MakeDatabase

SECONDS_MAX: Final = 90.0
ROWS: Final = 60_000  # their index takes more than the disk has
WIDE_ROWS: Final = 10_000
WIDE_BYTES: Final = 4096
HEADROOM_BYTES: Final = 20 << 20  # the dump has twice as many
_DISK: Final = "1m"
_CONFIG: Final = """
pipeline: exhausted
source: {{kind: files, path: "{folder}", format: csv}}
target: {{kind: postgres, dsn: "{target}"}}
limits: {{batch_rows: 500, retries: 0}}
deletes: {{hold_above: {{rows: 1000, percent: 50}}}}
entities:
  items: {{from: items.csv, key: [id], into: public.items, columns: {{id: integer, note: text}}}}
"""
Items = dict[int, str]


class World:
    """A dump, its target, and what must stand there."""

    def __init__(self, folder: Path, target: str, items: Items) -> None:
        self.items = items
        self.path = folder / "syncd.yaml"
        self._target = target
        self._dump = folder / "dump" / "items.csv"
        self._dump.parent.mkdir()
        self.path.write_text(_CONFIG.format(folder=self._dump.parent, target=target), "utf-8")
        self.dump(items)

    def dump(self, items: Items) -> None:
        """The next dump."""
        with self._dump.open("w", encoding="utf-8") as file:
            file.write("id,note\n")
            file.writelines(f"{id_},{note}\n" for id_, note in items.items())

    async def a_day(self) -> None:
        """Some rows change, some go, some come; staff type into others."""
        edited = [id_ for id_ in self.items if id_ % 500 == 7]
        connection = await asyncpg.connect(self._target)
        try:
            await connection.execute(
                "UPDATE items SET note = 'typed' WHERE id = ANY($1::bigint[])", edited
            )
        finally:
            await connection.close()
        width = len(self.items[1])
        new = {id_: note for id_, note in self.items.items() if id_ % 500 != 8}
        new |= {id_: "c" * width for id_ in new if id_ % 100 == 1}
        new |= {max(new) + n: "n" * width for n in range(1, 101)}
        self.dump(new)
        self.items = new | dict.fromkeys(edited, "typed")

    async def stands(self) -> Items:
        """What is at the target."""
        connection = await asyncpg.connect(self._target)
        try:
            return dict(await connection.fetch("SELECT id, note FROM items"))  # type: ignore[arg-type]
        finally:
            await connection.close()


def _run(
    *words: str, folder: Path, before: Iterable[str] = ()
) -> "subprocess.CompletedProcess[str]":
    return subprocess.run(
        [*before, sys.executable, "-m", "syncd", *words],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(folder)},
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )


async def _syncd(world: World, verb: str, folder: Path, before: Iterable[str] = ()) -> str:
    """What a verb says; it must end as it is expected to: badly where something is ``before``."""
    done = await anyio.to_thread.run_sync(
        lambda: _run(verb, "--config", str(world.path), folder=folder, before=before)
    )
    assert done.returncode == (1 if before else 0), done.stdout + done.stderr
    return done.stdout + done.stderr


def _small_disk(at: Path) -> list[str]:
    """A command that runs another with a disk of 1 MiB at that folder; skips where it cannot."""
    unshare = shutil.which("unshare")
    if unshare is None:
        pytest.skip("no unshare: a small disk of its own cannot be mounted")
    mount = f'mount -t tmpfs -o size={_DISK} tmpfs "{at}"'
    own = [unshare, "--mount", "sh", "-c"]
    tried = subprocess.run([*own, mount], capture_output=True, text=True, check=False)
    if tried.returncode:
        pytest.skip(f"a small disk cannot be mounted here: {tried.stderr.strip()}")
    return [*own, f'{mount} && exec "$@"', "sh"]


@pytest.mark.trust
async def test_a_full_disk_ends_the_run_and_harms_nothing(
    make_database: MakeDatabase, tmp_path: Path
) -> None:
    """Case 11: the entity fails and says why; nothing is written; with room it is done."""
    disk = tmp_path / "disk"
    disk.mkdir()
    small = _small_disk(disk)
    world = World(tmp_path, make_database("target"), {n: f"note {n}" for n in range(1, ROWS)})
    await _syncd(world, "init", tmp_path)
    await _syncd(world, "run", tmp_path)
    assert await world.stands() == world.items
    await world.a_day()
    before = await world.stands()
    said = await _syncd(world, "run", disk, small)
    assert "No space left on device" in said
    assert await world.stands() == before
    await _syncd(world, "run", tmp_path)
    assert await world.stands() == world.items


@pytest.mark.trust
async def test_memory_that_runs_out_ends_the_run_and_harms_nothing(
    make_database: MakeDatabase, zygote: Zygote, tmp_path: Path
) -> None:
    """Case 9: a dump larger than the memory is read all the same, or the run ends with an error."""
    wide = dict.fromkeys(range(1, WIDE_ROWS), "w" * WIDE_BYTES)
    world = World(tmp_path, make_database("target"), wide)
    await _syncd(world, "init", tmp_path)
    for headroom_bytes in (HEADROOM_BYTES, HEADROOM_BYTES // 4, HEADROOM_BYTES):
        before = await world.stands()
        told = await _with_little_memory(world, zygote, headroom_bytes)
        assert told.code in (0, 1), told.said
        assert told.code == 0 or "error" in told.said
        stands = await world.stands()
        for id_, note in stands.items():
            assert note in (before.get(id_), world.items.get(id_)), "neither old nor new"
        assert stands.keys() >= before.keys() & world.items.keys(), "lost"
        await _syncd(world, "run", tmp_path)
        assert await world.stands() == world.items
        await world.a_day()


async def _with_little_memory(world: World, zygote: Zygote, headroom_bytes: int) -> Told:
    words = ("run", "--config", str(world.path))
    ask = Ask(arguments=words, headroom_bytes=headroom_bytes)
    return await anyio.to_thread.run_sync(zygote.run, ask)
