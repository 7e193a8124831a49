"""``python -m tests.trust``: every campaign of the trust harness, one after the other.

    python -m tests.trust                             # the CI column: `make trust`
    python -m tests.trust --nightly --hours 8 --resume       # `make trust-nightly`
    python -m tests.trust --only kill --seed 7        # one campaign, another seed
    python -m tests.trust --page docs/trust.md        # the table of the page, from the report

The report is written after each round. With --resume what it has finished is not run again; it
must be of the same commit, column and seed. Ends with 1 when something broke, with 3 when nothing
did and a goal of the CI column was not reached, with 2 when it could not begin.
"""

import argparse
import os
import signal
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

from tests.conftest import REPOSITORY
from tests.trust import page
from tests.trust.catalogue import CAMPAIGNS
from tests.trust.report import CI, NIGHT, Report, ResumeError, read
from tests.trust.runner import Runner

HOURS: Final = 8.0  # of a night, unless said
BROKE: Final = 1
CANNOT: Final = 2
SHORT: Final = 3
BROKEN_OFF: Final = 130


def main(words: Sequence[str]) -> int:
    """Run what is asked for; the exit code."""
    asked = _parser().parse_args(words)
    column = NIGHT if asked.nightly else CI
    path = asked.report or REPOSITORY / "build" / f"trust-{column}.json"
    if asked.page:
        return _page(asked.page, path)
    try:
        of = (column, asked.seed, asked.workers)
        report = Report.resume(path, *of) if asked.resume else Report.begin(*of)
    except ResumeError as error:
        _say(str(error))
        return CANNOT
    hours = asked.hours or (HOURS if asked.nightly else None)
    ends_s = time.monotonic() + hours * 3600 if hours else None
    report.write(path)
    campaigns = [CAMPAIGNS[name] for name in asked.only or CAMPAIGNS]
    try:
        Runner(report, path, _say, ends_s=ends_s).run(campaigns)
    except KeyboardInterrupt:
        _say(f"broken off; what {path.name} holds stands: go on with --resume")
        return BROKEN_OFF
    return _ended(report)


def _page(target: Path, path: Path) -> int:
    if not path.exists():
        _say(f"there is no report {path.name} yet: run `make trust` first")
        return CANNOT
    page.put(target, read(path))
    return 0


def _ended(report: Report) -> int:
    broke = [name for name, one in report.campaigns.items() if one.failures]
    short = [name for name, one in report.campaigns.items() if one.is_short]
    _say(
        f"{len(report.campaigns)} campaigns in {report.seconds:.0f} s; "
        f"broke: {', '.join(broke) or 'none'}; short of the goal: {', '.join(short) or 'none'}"
    )
    if broke:
        return BROKE
    return SHORT if short and report.column == CI else 0


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(
        prog="python -m tests.trust",
        description=__doc__,
        formatter_class=argparse.RawDescriptionHelpFormatter,
    )
    parser.add_argument("--nightly", action="store_true", help="the goals of a night")
    parser.add_argument("--only", action="append", metavar="NAME", choices=list(CAMPAIGNS),
                        help=f"one of {', '.join(CAMPAIGNS)}; repeat it")  # fmt: skip
    parser.add_argument("--resume", action="store_true", help="go on with the report")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--report", type=Path, metavar="FILE")
    parser.add_argument(
        "--hours", type=float, help=f"no round begins later; {HOURS:.0f} of a night"
    )
    parser.add_argument("--workers", type=int, default=len(os.sched_getaffinity(0)),
                        help="processes at a time")  # fmt: skip
    parser.add_argument("--page", type=Path, metavar="FILE", help="only put the table there")
    return parser


def _say(text: str) -> None:
    sys.stdout.write(f"{text}\n")
    sys.stdout.flush()


if __name__ == "__main__":
    # As Ctrl-C: what runs is ended, and the report stands. A shell may have had SIGINT ignored,
    # by us and by what we start.
    for number in (signal.SIGINT, signal.SIGTERM):
        signal.signal(number, signal.default_int_handler)
    raise SystemExit(main(sys.argv[1:]))
