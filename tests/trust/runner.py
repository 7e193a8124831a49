"""Runs campaigns one after the other; a campaign runs rounds until its goal or its time is reached.

A round that broke something ends its campaign, and no other. Processes are ended when their time
is over, first kindly, so that their servers end with them.
"""

import os
import resource
import signal
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import BinaryIO, Final

from tests.conftest import REPOSITORY
from tests.trust.campaign import TOLD_MAX, Ask, Call, Campaign, Failure, Gained, Record, Said
from tests.trust.report import NIGHT, Report

WORDS_BYTES_MAX: Final = 65_536  # of what a process says
KIND_S: Final = 30.0  # from SIGINT to SIGKILL
# A child is no part of the pytest that tests this, and has no fault planted by others.
_STRANGERS: Final = ("PYTEST_", "COV_CORE_", "COVERAGE_", "SYNCD_FAULT", "SYNCD_HYPOTHESIS")


class Runner:
    """Fills a report. ``told`` gets a line for each round; ``ends_s`` is of a monotonic clock."""

    def __init__(
        self,
        report: Report,
        path: Path,
        told: Callable[[str], None],
        *,
        ends_s: float | None = None,
    ) -> None:
        self._report = report
        self._path = path
        self._told = told
        self._ends_s = ends_s

    def run(self, campaigns: Sequence[Campaign]) -> None:
        """All of them, but for those that the report has finished; it is written after each round.

        Where time is short, each has its share of what is left, so that what one spares the next
        ones have.
        """
        left = [one for one in campaigns if not self._is_over(one)]
        for at, campaign in enumerate(left):
            goal = self._goal(campaign)
            wanted = campaign.wanted or f"{goal:,}"
            self._told(f"{at + 1} of {len(left)}, {campaign.name}: {wanted} {campaign.unit}")
            shares = sum(one.share for one in left[at:])
            spare_s = self._left_s()
            mine_s = None if spare_s is None else spare_s * campaign.share / shares
            self._campaign(campaign, mine_s)

    def _goal(self, campaign: Campaign) -> int:
        return campaign.night if self._report.column == NIGHT else campaign.ci

    def _is_over(self, campaign: Campaign) -> bool:
        known = self._report.campaigns.get(campaign.name)
        return known is not None and known.is_over

    def _left_s(self) -> float | None:
        return None if self._ends_s is None else max(0.0, self._ends_s - time.monotonic())

    def _campaign(self, campaign: Campaign, budget_s: float | None) -> None:
        """Rounds, until there is nothing left to do or no time to do it in."""
        goal = self._goal(campaign)
        new = Record(campaign.what, campaign.unit, goal, campaign.wanted)
        record = self._report.campaigns.setdefault(campaign.name, new)
        begun_s = time.monotonic()
        while not record.is_over:
            if budget_s is not None and time.monotonic() - begun_s >= budget_s:
                break
            reached = record.reached
            self._round(campaign, record)
            # What reaches nothing new will not by being repeated.
            is_stuck = record.reached == reached
            record.is_over = bool(record.failures) or record.reached >= goal or is_stuck
            self._report.write(self._path)
            self._told(line(campaign.name, record))

    def _round(self, campaign: Campaign, record: Record) -> None:
        count = min(campaign.size, max(1, record.goal - record.reached)) if campaign.size else 0
        begun_s, used_s = time.monotonic(), _processor_s()
        with tempfile.TemporaryDirectory(prefix="syncd-trust-") as folder:
            report = self._report
            ask = Ask(report.seed, record.rounds, count, record.asked, report.workers, Path(folder))
            try:
                gained = self._gained(campaign, ask)
            except Exception as error:  # noqa: BLE001 - one that is broken must not stop the others
                again = f"python -m tests.trust --only {campaign.name} --seed {report.seed}"
                told = f"{type(error).__name__}: {error}"[:TOLD_MAX]
                gained = Gained(failures=[Failure(told, again)])
        seconds = time.monotonic() - begun_s
        record.add(count, gained, seconds, _processor_s() - used_s)

    @staticmethod
    def _gained(campaign: Campaign, ask: Ask) -> Gained:
        calls, gained = campaign.kind.calls(ask), Gained()
        for call, said in zip(calls, run(calls, campaign.seconds_max), strict=True):
            gained.add(campaign.kind.gained(call, said))
        return gained


def line(name: str, record: Record) -> str:
    """One campaign for people, with what repeats its failures."""
    state = "FAILED" if record.failures else "short" if record.is_short else "held"
    state = state if record.is_over else "so far"
    notes = "".join(f"\n  {note}" for note in record.notes)
    failures = "".join(f"\n  {one.told}\n  again: {one.repeat}" for one in record.failures[:5])
    return (
        f"{name}: {state}, {record.reached:,} of {record.wanted or f'{record.goal:,}'} "
        f"{record.unit}, {record.rate:,}/s, {record.seconds:.0f} s{notes}{failures}"
    )


def _processor_s() -> float:
    """Seconds of processor time that ended processes of ours have had."""
    used = resource.getrusage(resource.RUSAGE_CHILDREN)
    return used.ru_utime + used.ru_stime


# -- processes -----------------------------------------------------------------------------------


def run(calls: Sequence[Call], seconds_max: float) -> list[Said]:
    """Run processes side by side; those that take longer are ended."""
    with tempfile.TemporaryFile() as nowhere, _started(calls, nowhere) as started:
        ends_s, found = time.monotonic() + seconds_max, list[Said]()
        for process, words in started:
            code: int | None = None
            with suppress(subprocess.TimeoutExpired):
                code = process.wait(max(0.0, ends_s - time.monotonic()))
            if code is None:
                end(process)
            found.append(Said(code, _last(words)))
        return found


@contextmanager
def _started(
    calls: Sequence[Call], nothing: BinaryIO
) -> Iterator[list[tuple["subprocess.Popen[bytes]", BinaryIO]]]:
    """All of them, each with the file of its words; none is left when the block is."""
    found = []
    try:
        for call in calls:
            words: BinaryIO = tempfile.TemporaryFile()  # noqa: SIM115 - closed below
            process = subprocess.Popen(
                [sys.executable, *call.words],
                cwd=REPOSITORY, env=_environment(call.environment), start_new_session=True,
                stdin=nothing, stdout=words, stderr=subprocess.STDOUT,
            )  # fmt: skip
            found.append((process, words))
        yield found
    finally:
        for process, words in found:
            end(process)
            words.close()


def end(process: "subprocess.Popen[bytes]") -> None:
    """Ask it to end, then make it; nothing where it has ended."""
    if process.poll() is None:
        process.send_signal(signal.SIGINT)
        with suppress(subprocess.TimeoutExpired):
            process.wait(KIND_S)
        if process.poll() is None:
            with suppress(ProcessLookupError):
                os.killpg(process.pid, signal.SIGKILL)
        process.wait(KIND_S)


def _environment(added: Mapping[str, str]) -> dict[str, str]:
    kept = {k: v for k, v in os.environ.items() if not k.startswith(_STRANGERS)}
    return kept | dict(added)


def _last(words: BinaryIO) -> str:
    words.seek(0, os.SEEK_END)
    words.seek(max(0, words.tell() - WORDS_BYTES_MAX))
    return words.read().decode(errors="replace")
