"""``python -m tests.fuzz``: mutation fuzzing of every decoder of outside input; 1 where one fails.

Bounded by cases and by seconds, whichever ends first; the seconds are shared out evenly. Every
failure is printed with the command that repeats it.
"""

import argparse
import math
import sys
from collections.abc import Sequence
from pathlib import Path
from typing import Any, Final

import msgspec

from tests.fuzz.planted import plant

_CASES: Final = 1000


def main(arguments: Sequence[str]) -> int:
    """Hunt, print a table, write the report."""
    asked = _parser().parse_args(arguments)
    if asked.plant:
        plant(asked.plant)
    # Only now, so that a planted fault is in what is imported.
    from tests.fuzz.catalogue import decoders  # noqa: PLC0415
    from tests.fuzz.hunt import hunt, told  # noqa: PLC0415

    every = decoders()
    names = asked.decoder or list(every)
    unknown = sorted(set(names) - set(every))
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; there are {', '.join(every)}\n")
        return 2
    share_s = asked.seconds / len(names) if asked.seconds else None
    cases = asked.cases if asked.cases or not asked.seconds else sys.maxsize
    parts = {name: 1 / every[name].weight for name in names}
    hunted = []
    for name in names:
        own = cases or _CASES
        if asked.total:
            own = math.ceil(asked.total * parts[name] / sum(parts.values()))
        found = hunt(every[name], asked.seed, cases=own, seconds=share_s, first=asked.first)
        hunted.append(found)
        sys.stdout.write(f"{name:24} {found.cases:9} cases {found.rate:8.0f}/s {found.outcomes}\n")
        sys.stdout.write(told(found.failures) + "\n" * bool(found.failures))
        sys.stdout.flush()
    failures = sum(len(found.failures) for found in hunted)
    total, seconds = sum(f.cases for f in hunted), sum(f.seconds for f in hunted)
    sys.stdout.write(
        f"{total} cases in {seconds:.1f} s, {len(hunted)} decoders, {failures} failures\n"
    )
    if asked.report:
        report = {
            "seed": asked.seed,
            "cases": total,
            "seconds": round(seconds, 3),
            "failures": failures,
            "decoders": [{**_plain(found), "rate": round(found.rate)} for found in hunted],
        }
        encoded = msgspec.json.format(msgspec.json.encode(report), indent=1)
        Path(asked.report).write_bytes(encoded + b"\n")
    return 1 if failures else 0


def _plain(found: object) -> dict[str, Any]:
    plain: dict[str, Any] = msgspec.to_builtins(found)
    return plain


def _parser() -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(prog="python -m tests.fuzz", description=__doc__)
    parser.add_argument("--seconds", type=float, help="of all decoders together")
    parser.add_argument("--cases", type=int, help=f"of each decoder; {_CASES} unless said")
    parser.add_argument("--total", type=int, help="of all together, shared out by their weight")
    parser.add_argument("--seed", type=int, default=1)
    parser.add_argument("--first", type=int, default=0, help="number of the first case")
    parser.add_argument("--decoder", action="append", metavar="NAME", help="only this; repeat it")
    parser.add_argument("--report", metavar="FILE", help="where the figures go, as JSON")
    parser.add_argument("--plant", metavar="FAULT", help="one of tests.fuzz.planted")
    return parser


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
