"""The simulation's share of `make test`, and more of it under the marker `trust`."""

import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import anyio
import pytest

from tests.conftest import REPOSITORY
from tests.sim import checker
from tests.sim.canaries import CANARIES
from tests.sim.checker import KNOWN
from tests.sim.hunt import DRIVERS, FULL, QUICK, find, series, shrink
from tests.sim.loop import Process, SimLoop, StuckError, enter
from tests.sim.planter import Canary, MisfitError, Planter, planted
from tests.sim.run import judge
from tests.sim.schedule import decode, encode

IS_THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
QUICK_SCHEDULES: Final = 200_000 if IS_THOROUGH else 1_500
FULL_SCHEDULES: Final = 2_000 if IS_THOROUGH else 40
SHARES: Final = 8 if IS_THOROUGH else 1
# One of each kind: the merge rule, the guard, what must stand together, the lease.
ALWAYS: Final = ("not_healed", "guard_counts_wrong", "written_apart", "unfenced_write", "no_lookup")
HASH_SEEDS: Final = ("0", "1", "4711")
TRACES: Final = """
from tests.sim.hunt import DRIVERS
from tests.sim.run import judge
for seed in (3, 11, 42):
    print(judge(DRIVERS["full"].draw(seed)).trace)
"""
KEPT: Final = [
    line
    for line in Path(__file__).with_name("regressions.txt").read_text("utf-8").splitlines()
    if line and not line.startswith("#")
]


def assert_holds(driver: str, share: int, schedules: int) -> None:
    """Schedules of one share; a failure is shown with what repeats it."""
    size = schedules // SHARES
    played = series(DRIVERS[driver], 1 + share * size, size, broken_max=1)
    told = [f'{b.told}\npython -m tests.sim --again "{b.driver} {b.seed}"\n{b.line}'
            for b in played.broken]  # fmt: skip
    assert not told, told[0]


@pytest.mark.trust
@pytest.mark.parametrize("share", range(SHARES))
def test_quick_schedules_keep_the_invariants(share: int) -> None:
    """Batches of one entity, before and after a reconcile."""
    assert_holds("quick", share, QUICK_SCHEDULES)


@pytest.mark.trust
@pytest.mark.parametrize("share", range(SHARES))
def test_full_schedules_keep_the_invariants(share: int) -> None:
    """Runs of one or two instances over virtual days, before and after a reconcile."""
    assert_holds("full", share, FULL_SCHEDULES)


@pytest.mark.parametrize("line", KEPT, ids=range(len(KEPT)))
def test_what_once_failed_holds(line: str) -> None:
    """Every schedule that was kept."""
    _, name, rest = line.split(" ", 2)
    assert DRIVERS[name].broken(decode(rest)) == ""


def test_known_faults_are_still_there(monkeypatch: pytest.MonkeyPatch) -> None:
    """Once one is mended, its name goes from `KNOWN`; its line stays and is played above."""
    for fault in sorted(KNOWN):
        monkeypatch.setattr(checker, "KNOWN", KNOWN - {fault})
        lines = [line.split(" ", 2) for line in KEPT if line.startswith(f"{fault} ")]
        assert lines, fault
        for _, name, rest in lines:
            assert DRIVERS[name].broken(decode(rest)) != "", fault


def test_one_seed_is_one_trace_under_any_hash_seed() -> None:
    """No order of a set, no id, no clock and no uuid gets into a run."""
    found = set()
    for hash_seed in HASH_SEEDS:
        done = subprocess.run(
            [sys.executable, "-c", TRACES],
            cwd=REPOSITORY, env={**os.environ, "PYTHONHASHSEED": hash_seed},
            capture_output=True, text=True, check=True, timeout=100,
        )  # fmt: skip
        found.add(done.stdout)
    assert len(found) == 1
    assert len(set(found.pop().split())) == 3


def test_one_seed_is_one_trace_in_one_process() -> None:
    """No address of an object either: other things lie where they lay the first time."""
    seeds = range(60, 68)
    traces = [judge(FULL.draw(seed)).trace for seed in seeds]
    between = [[object() for _ in range(1000 + seed)] for seed in seeds]
    assert [judge(FULL.draw(seed)).trace for seed in seeds] == traces
    assert len(set(traces)) == len(between)


@pytest.mark.trust
@pytest.mark.parametrize("name", sorted(CANARIES) if IS_THOROUGH else ALWAYS)
def test_a_canary_is_found(name: str) -> None:
    """One of each kind always, and all of them under `make trust`: within 20,000 schedules."""
    assert find(CANARIES[name], 1).schedules > 0


def test_every_canary_fits_the_code() -> None:
    """What a fault replaces is there, and is put back."""
    assert len(CANARIES) >= 25
    for canary in CANARIES.values():
        with planted(canary):
            pass
    assert FULL.broken(FULL.draw(1)) == ""


@pytest.mark.parametrize(
    "path", ["syncd.flow.merge:gone", "syncd.gone:x", "syncd.flow.apply:Applier.gone"]
)
def test_a_canary_that_fits_no_more_is_an_error(path: str) -> None:
    """It is never taken for a fault that was found."""
    gone = Canary("gone", "its place is gone", lambda planter: planter.set(path, None))
    with pytest.raises(MisfitError, match="not there any more"):
        find(gone, 1, 1)


def test_a_line_that_is_gone_is_an_error() -> None:
    """The same for a line of a table."""
    with pytest.raises(MisfitError):
        Planter().item({}, "line", None)


def test_a_failing_schedule_is_made_small() -> None:
    """What is left breaks the same invariant, and nothing in it can be left out."""
    with planted(CANARIES["source_wins"]):
        seed = next(s for s in range(1, 200) if QUICK.broken(QUICK.draw(s)))
        schedule = QUICK.draw(seed)
        told = QUICK.broken(schedule)
        small = shrink(QUICK, schedule, told)
        assert QUICK.broken(small)[:2] == told[:2]
        assert len(small.acts) < len(schedule.acts)
        assert len(small.acts) <= 5
    assert decode(encode(small)) == small
    assert QUICK.broken(small) == ""


# -- the loop ------------------------------------------------------------------------------------


async def _sleepers(order: list[int]) -> float:
    async def sleep(number: int) -> None:
        await anyio.sleep(3600 - number // 2)
        order.append(number)

    async with anyio.create_task_group() as tasks:
        for number in range(6):
            tasks.start_soon(sleep, number)
    return anyio.current_time()


def test_the_clock_jumps_and_order_comes_from_the_seed() -> None:
    """An hour takes no time; the same seed gives the same order, another one another."""
    orders = []
    for seed in (1, 1, 2, 3, 4):
        order: list[int] = []
        assert SimLoop(seed).run(_sleepers(order)) == pytest.approx(3600, abs=1)
        assert sorted(order[:2]) == [4, 5]
        orders.append(tuple(order))
    assert orders[0] == orders[1]
    assert len(set(orders)) > 1


def test_a_run_that_does_not_get_on_names_its_tasks() -> None:
    """Nothing is ready and no timer is set."""

    async def wait_for_ever() -> None:
        await anyio.Event().wait()

    with pytest.raises(StuckError, match="wait_for_ever"):
        SimLoop(1).run(wait_for_ever())


def test_a_paused_process_takes_no_step() -> None:
    """Its timers pass and wait for it; another process goes on."""
    ticks: dict[str, list[float]] = {"a": [], "b": []}

    async def tick(process: Process) -> None:
        enter(process)
        for _ in range(5):
            await anyio.sleep(1)
            ticks[process.name].append(round(anyio.current_time()))

    async def main() -> None:
        sleeper = Process("a")
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(tick, sleeper)
            tasks.start_soon(tick, Process("b"))
            await anyio.sleep(2.5)
            loop.pause(sleeper)
            await anyio.sleep(10)
            loop.resume(sleeper)

    loop = SimLoop(1)
    loop.run(main())
    assert ticks["b"] == [1, 2, 3, 4, 5]
    assert ticks["a"][:2] == [1, 2]
    assert ticks["a"][2] >= 12
