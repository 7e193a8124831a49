"""The target's server is lost, and its standby lacks the last commits (case 16).

The standby is a real one (pg_basebackup, streaming). It stops hearing at some moment, the server
goes on and dies, and the standby is promoted in its place. Ledger and target have gone back
together, so the next night does all that was lost once more.
"""

import asyncio
import shutil
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Final

import anyio
import asyncpg
import pytest
from msgspec.structs import replace

from syncd import embedded, unprivileged
from syncd.errors import FencedError
from syncd.flow.ports import Lease
from syncd.site import Site
from tests.crash.series import Series, crash_config
from tests.crash.zygote import Ask, Zygote
from tests.pipeline.world import MakeDatabase, World

DATABASE: Final = "target"
ATTEMPTS_MAX: Final = 5
CAUGHT_UP: Final = """
SELECT count(*) FROM pg_stat_replication WHERE replay_lsn >= pg_current_wal_lsn()
"""
UNITS: Final = "SELECT count(*) FROM syncd.syncd_work_unit WHERE run_id = 2"


class Pair:
    """A server and its standby, which may take its place under the same address."""

    def __init__(self, folder: Path) -> None:
        self.first = embedded.prepare(folder)
        self.process = embedded.start(self.first)
        self._standby: embedded.Process | None = None

    def copy(self) -> None:
        """Make the standby, and start it."""
        data = self.first.data_dir.with_name("standby")
        unprivileged.own(data)
        done = unprivileged.run(
            [
                *(self.first.bin_dir / "pg_basebackup", "-D", str(data), "-R", "-c", "fast"),
                *("-d", self.first.dsn()),
            ]
        )
        assert done.returncode == 0, done.stderr
        place = replace(self.first, data_dir=data, port=_free_port(), socket_dir=None)
        self._standby = embedded.start(place)

    def part(self) -> None:
        """The standby hears nothing from now on."""
        assert self._standby is not None
        self._standby.stop()

    def promote(self) -> None:
        """The server dies; the standby takes its address and its place."""
        assert self._standby is not None
        self.process.crash()
        place = replace(self._standby.server, port=self.first.port)
        self.process = embedded.start(place)

    def close(self) -> None:
        """End both and remove what they made."""
        self.process.stop()
        if self._standby is not None:
            self._standby.stop()
            shutil.rmtree(self._standby.server.data_dir, ignore_errors=True)
        embedded.discard(self.first)

    async def ask(self, query: str) -> object:
        """The first value that a query finds at the server of now."""
        connection = await asyncpg.connect(self.first.dsn())
        try:
            return await connection.fetchval(query)
        finally:
            await connection.close()

    async def are_equal(self) -> None:
        """Return when the standby has all that the server has."""
        with anyio.fail_after(30):
            while await self.ask(CAUGHT_UP) != 1:  # noqa: ASYNC110 - a server tells nobody
                await anyio.sleep(0.05)


@pytest.fixture
def pair(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Pair]:
    """A server of this test's own, that may be lost."""
    with closing(Pair(tmp_path_factory.mktemp("pair"))) as made:
        yield made


async def loaded(pair: Pair, make_database: MakeDatabase, ttl_s: float = 0.3) -> Series:
    """A first night behind it, and a standby that has all of it."""
    await pair.ask(f"CREATE DATABASE {DATABASE}")
    config = crash_config(
        make_database("legacy"), pair.first.dsn(DATABASE), batch_rows=50, lease_ttl_s=ttl_s
    )
    series = await Series.begin(config, seed=16)
    report = await series.world.night()
    assert await series.is_through()
    await series.assert_whole(report)
    await anyio.to_thread.run_sync(pair.copy)
    await pair.are_equal()
    return series


async def night(world: World, series: Series) -> None:
    """A completed night in as many attempts as it takes, and everything in its place."""
    for _ in range(ATTEMPTS_MAX):
        report = await world.night()
        if report.status == "completed":
            break
    await series.assert_whole(report, runs_max=ATTEMPTS_MAX)


@pytest.mark.trust
async def test_a_night_that_was_lost_whole_is_done_again(
    pair: Pair, make_database: MakeDatabase, caplog: pytest.LogCaptureFixture
) -> None:
    """Case 16: after one night both sides are equal again, and the log says what happened."""
    series = await loaded(pair, make_database)
    await anyio.to_thread.run_sync(pair.part)
    await series.a_day()
    assert (await series.world.night()).status == "completed"
    await anyio.to_thread.run_sync(pair.promote)
    await pair.ask("SELECT pg_promote()")
    caplog.clear()
    await night(series.world, series)
    assert "target_rewound" in caplog.text
    caplog.clear()
    await series.a_day()
    await night(series.world, series)
    assert "target_rewound" not in caplog.text


@pytest.mark.trust
async def test_a_night_of_which_a_part_was_lost_is_finished(
    pair: Pair, make_database: MakeDatabase, zygote: Zygote
) -> None:
    """Case 16: the standby has some batches of the night, the server died in a later one."""
    series = await loaded(pair, make_database)
    await series.a_day()
    ran = asyncio.create_task(anyio.to_thread.run_sync(zygote.run, Ask(series.world.config)))
    while not await series.world.value(UNITS):  # noqa: ASYNC110 - as above
        await anyio.sleep(0.01)
    await anyio.to_thread.run_sync(pair.part)
    await anyio.to_thread.run_sync(pair.promote)
    await pair.ask("SELECT pg_promote()")
    await ran
    await night(series.world, series)


@pytest.mark.trust
async def test_who_led_in_the_lost_part_does_not_write_beside_who_leads_now(
    pair: Pair, make_database: MakeDatabase
) -> None:
    """Cases 16 and 85: the same epoch is given twice, to two holders; the first one is refused."""
    series = await loaded(pair, make_database, ttl_s=3600.0)
    await anyio.to_thread.run_sync(pair.part)
    before, after = Site(series.world.config), Site(series.world.config)
    try:
        lost = await before.runs.acquire(before.holder, 3600.0)
        await anyio.to_thread.run_sync(pair.promote)
        await pair.ask("SELECT pg_promote()")
        stands = await after.runs.acquire(after.holder, 3600.0)
        assert lost is not None
        assert stands is not None
        assert lost.epoch == stands.epoch
        for refused in (before.runs.keep(lost, 1.0), _write(before, lost)):
            with pytest.raises(FencedError):
                await refused
        await before.runs.release(lost)
        held = await after.runs.holder()
        assert held is not None
        assert (held["holder"], held["held"]) == (after.holder, True)
    finally:
        await before.close()
        await after.close()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


async def _write(site: Site, lease: Lease) -> None:
    async with site.ledger.begin(lease):
        raise AssertionError("it was let in")
