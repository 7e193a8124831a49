"""``python -m tests.faults [NAME ...]``: plant every fault, one at a time; 1 if one survives.

First the same tests are run without a fault: one that fails anyway would find everything.
A Markdown table goes to standard output, so that it can be kept (docs/faults.md).
"""

import os
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path

from syncd import embedded
from tests.faults.hunt import PASSED, Found, hunt, run
from tests.faults.planted import FAULTS, Fault


def main(names: list[str]) -> int:
    """Hunt the named faults, all where none is named."""
    unknown = [name for name in names if name not in FAULTS]
    if unknown:
        sys.stderr.write(f"unknown: {', '.join(unknown)}; there are {', '.join(FAULTS)}\n")
        return 2
    faults = [FAULTS[name] for name in names or FAULTS]
    with _server() as dsn:
        code, said = run(sorted({test for fault in faults for test in fault.tests}), dsn)
        if code:
            sys.stderr.write(f"the tests fail without a fault:\n{said}\n")
            return 2
        survived = [found for found in _hunted(faults, dsn) if not found.by]
    for found in survived:
        how = "" if found.code == PASSED else f"its tests broke down with {found.code}\n"
        sys.stderr.write(f"\n{found.fault.name} survived:\n{how}{found.said}\n")
    return 1 if survived else 0


@contextmanager
def _server() -> Iterator[str]:
    """The DSN of a server for all, the one that is named or one of our own."""
    named = os.environ.get("SYNCD_TEST_DSN")
    if named:
        yield named
        return
    with tempfile.TemporaryDirectory() as root:
        settings = {"max_connections": "200"}
        with embedded.serve(Path(root), settings=settings) as server:
            yield server.dsn()


def _hunted(faults: Sequence[Fault], dsn: str) -> Iterator[Found]:
    """Each fault with what became of it; a line of the table is written at once."""
    sys.stdout.write("| fault | what is wrong | found by | seconds |\n|---|---|---|---|\n")
    for fault in faults:
        found = hunt(fault, dsn)
        by = found.by.removeprefix("tests/") or "**nothing**"
        sys.stdout.write(f"| {fault.name} | {fault.what} | {by} | {found.seconds:.1f} |\n")
        sys.stdout.flush()
        yield found


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
