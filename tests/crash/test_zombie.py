"""A run that is stopped (SIGSTOP), taken over, and let go on (SIGCONT): it writes nothing (I9).

Case 85. Where it is stopped inside a transaction it holds locks that the takeover needs. Whoever
takes over has the sessions ended that hold them.
"""

import asyncio
import os
import signal
import subprocess
import sys
from collections.abc import Callable
from pathlib import Path
from typing import Final, Self

import pytest

from syncd import failpoints
from syncd.cli.exit_codes import Exit
from syncd.errors import SyncdError
from syncd.ledger import takeover
from syncd.reports import RunReport
from tests.conftest import REPOSITORY
from tests.crash.series import Series, Size, crash_config
from tests.pipeline.world import MakeDatabase, Rows, World
from tests.trust.seed import ROUND

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
TAKEOVERS: Final = 5 if THOROUGH else 1  # of each kind
SECONDS_MAX: Final = 60.0
SIZE: Final = Size(parents=60, children=600, a_day=40)
_CONFIG: Final = """
pipeline: crash
source: {{kind: postgres, dsn: "{legacy}"}}
target: {{kind: postgres, dsn: "{target}", statement_timeout_s: 5}}
ledger: {{lease_ttl_s: 0.3}}
limits: {{batch_rows: 40, writers: 2, retries: 8, retry_budget_s: 20}}
deletes: {{hold_above: {{rows: 1000, percent: 50}}}}
entities:
  parents: {{from: parents, key: [id], into: public.parents}}
  children:
    from: children
    key: [id]
    into: public.children
    needs: {{parents: {{columns: [parent_id]}}}}
    event: child.changed
"""
_ALL: Final = (
    "SELECT * FROM public.parents ORDER BY id",
    "SELECT * FROM public.children ORDER BY id",
    "SELECT entity_id, key, run_id, outcome, position FROM syncd.syncd_fingerprint ORDER BY 1, 2",
    "SELECT count(*) FROM syncd.syncd_import_record",
    "SELECT count(*) FROM syncd.syncd_outbox",
    "SELECT run_id, status, attempts, epoch FROM syncd.syncd_run ORDER BY 1",
    "SELECT epoch, holder FROM syncd.syncd_lease",
)


@pytest.mark.trust
@pytest.mark.parametrize("where", ["fetch.done", pytest.param("tx.commit", id="inside")])
async def test_a_zombie_that_wakes_up_writes_nothing(
    make_database: MakeDatabase,
    tmp_path: Path,
    where: str,
    record_property: Callable[[str, object], None],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    """I9: 0 rows after the takeover, the exit code of a fenced run, and nothing lost or doubled."""
    monkeypatch.setattr(takeover, "PATIENCE_S", 0.3)
    legacy, target = make_database("legacy"), make_database("target")
    series = await Series.begin(
        crash_config(legacy, target, batch_rows=40),
        seed=len(where) + 100 * (ROUND - 1),
        size=SIZE,
    )
    path = tmp_path / "syncd.yaml"
    path.write_text(_CONFIG.format(legacy=legacy, target=target))
    await series.assert_whole(await series.world.night())
    for number in range(TAKEOVERS):
        await series.a_day()
        await series.staff_type()
        with _Zombie(path, f"{where}=slow:{number + 2}") as zombie:
            await zombie.stopped()
            report = await _taken_over(series.world)
            await series.assert_whole(report)
            before = await _everything(series.world)
            assert await zombie.wakes_up() == Exit.FENCED, zombie.said
        assert await _everything(series.world) == before
    record_property("takeovers", TAKEOVERS)


async def _taken_over(world: World) -> RunReport:
    """The night of another instance; it may have to wait until the server ends the zombie's."""
    async with asyncio.timeout(SECONDS_MAX):
        while True:
            try:
                return await world.night()
            except SyncdError:
                await asyncio.sleep(0.1)


async def _everything(world: World) -> list[Rows]:
    return [await world.rows(query) for query in _ALL]


class _Zombie:
    """A ``python -m syncd run`` that is stopped where a failpoint slows it down."""

    def __init__(self, config: Path, armed: str) -> None:
        self.said = b""
        self._process = subprocess.Popen(
            [sys.executable, "-m", "syncd", "run", "--config", str(config)],
            cwd=REPOSITORY,
            env=os.environ | {failpoints.VARIABLE: armed},
            stdout=subprocess.DEVNULL,
            stderr=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.communicate()

    async def stopped(self) -> None:
        """Returns when the failpoint has fired and the process is stopped."""
        assert self._process.stderr is not None
        while b"failpoint_fired" not in self.said:
            line = await asyncio.to_thread(self._process.stderr.readline)
            assert line, f"it ended: {self.said!r}"
            self.said += line
        self._process.send_signal(signal.SIGSTOP)

    async def wakes_up(self) -> int:
        """Its exit code, once it was let go on."""
        self._process.send_signal(signal.SIGCONT)
        _, said = await asyncio.to_thread(self._process.communicate, timeout=SECONDS_MAX)
        self.said += said
        return self._process.returncode
