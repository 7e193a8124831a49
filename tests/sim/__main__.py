"""``python -m tests.sim``: play schedules, plant canaries, or play one seed or line again.

    python -m tests.sim --schedules 20000 --full 500 --seed 1 --canaries --report sim.json
    python -m tests.sim --again "full 1234"        # a seed that failed, made small
    python -m tests.sim --again 'full {"chance": ...}'
    python -m tests.sim --plots 20 --first-plot 0  # all orders of so many plots (interleavings.py)
    python -m tests.sim --again 'order {"plot": ...}'

Ends with 1 when an invariant was broken or a canary was missed, and says how to repeat it.
"""

import argparse
import subprocess
import sys
import time
from pathlib import Path

import msgspec

from tests.conftest import REPOSITORY
from tests.sim.canaries import CANARIES
from tests.sim.hunt import (
    CANARY_SCHEDULES_MAX,
    DRIVERS,
    FULL,
    QUICK,
    Found,
    Series,
    find,
    series,
    shrink,
)
from tests.sim.interleavings import Broken, Explored, explore, plots
from tests.sim.interleavings import again as again_in_order
from tests.sim.schedule import decode, encode


class Report(msgspec.Struct, frozen=True):
    """What one call has played and found."""

    seed: int
    commit: str
    seconds: float
    series: list[Series]
    canaries: list[Found]
    missed: list[str]
    explored: Explored


def main(arguments: list[str]) -> int:
    """Play what is asked for."""
    asked = _parser().parse_args(arguments)
    if asked.again:
        return again(asked.again)
    begun_s = time.monotonic()
    played = []
    for driver, number in ((QUICK, asked.schedules), (FULL, asked.full)):
        if number:
            played.append(series(driver, asked.seed, number))
            _say(_told(played[-1]))
    canaries = []
    chosen = asked.only or (list(CANARIES) if asked.canaries else [])
    for name in chosen:
        canaries.append(find(CANARIES[name], asked.seed, asked.canary_schedules))
        _say(_line(canaries[-1]))
    explored = explore(plots()[asked.first_plot :][: asked.plots])
    if asked.plots:
        _say(_orders(explored))
    missed = [found.name for found in canaries if not found.schedules]
    seconds = round(time.monotonic() - begun_s, 1)
    report = Report(asked.seed, _commit(), seconds, played, canaries, missed, explored)
    if asked.report:
        text = msgspec.json.format(msgspec.json.encode(report), indent=2)
        Path(asked.report).write_bytes(text + b"\n")
    return 1 if missed or explored.broken or any(one.broken for one in played) else 0


def again(what: str) -> int:
    """Play a kept line, or a seed and what is left of it when it is made small."""
    name, _, rest = what.partition(" ")
    if name == "order":
        one = msgspec.json.decode(rest, type=Broken)
        told = again_in_order(one.plot, one.order)
        _say(told or "it holds")
        return 1 if told else 0
    driver = DRIVERS[name]
    schedule = driver.draw(int(rest)) if rest.isdigit() else decode(rest)
    told = driver.broken(schedule)
    _say(told or "it holds")
    if told and rest.isdigit():
        _say(f"{name} {encode(shrink(driver, schedule, told))}")
    return 1 if told else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.sim", description=__doc__)
    parser.add_argument("--schedules", type=int, default=0, help="schedules of the quick driver")
    parser.add_argument("--full", type=int, default=0, help="schedules of whole runs")
    parser.add_argument("--seed", type=int, default=1, help="the first seed")
    parser.add_argument("--canaries", action="store_true", help="plant every fault")
    parser.add_argument("--only", action="append", choices=sorted(CANARIES), help="one fault")
    parser.add_argument("--canary-schedules", type=int, default=CANARY_SCHEDULES_MAX)
    parser.add_argument("--plots", type=int, default=0, help="plots of which to play all orders")
    parser.add_argument("--first-plot", type=int, default=0, help="the first of them, from 0")
    parser.add_argument("--report", help="write a JSON report to this file")
    parser.add_argument("--again", help='"quick SEED", "full SEED" or a kept line')
    return parser


def _told(played: Series) -> str:
    name, broken = played.driver, len(played.broken)
    lines = [f"{name}: {played.schedules} schedules, {played.rate}/s, {broken} broke"]
    for one in played.broken:
        lines += [
            f"  {one.told}",
            f'  repeat: python -m tests.sim --again "{one.driver} {one.seed}"',
            f"  keep in tests/sim/regressions.txt: {one.line}",
        ]
    return "\n".join(lines)


def _orders(explored: Explored) -> str:
    said = f"{explored.plots} plots, {explored.orders:,} orders of them, {explored.steps:,} steps"
    lines = [f"{said}, {len(explored.broken)} broke"]
    for one in explored.broken:
        lines += [f"  {one.told}", f"  repeat: python -m tests.sim --again '{one.line}'"]
    return "\n".join(lines)


def _line(found: Found) -> str:
    after = f"after {found.schedules}" if found.schedules else "MISSED"
    return f"{found.name}: {after} ({found.driver}, {found.seconds:.2f} s) {found.told}"


def _commit() -> str:
    """The commit that is checked out, '' where there is none."""
    said = subprocess.run(
        ["git", "rev-parse", "HEAD"],  # noqa: S607 - whichever is installed
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    return said.stdout.strip()


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
