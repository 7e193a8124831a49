"""Measure, print, write the results, and say which limits are missed."""

import argparse
import sys
import tempfile
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from benchmarks import machine, stage, tables_cases, tell
from benchmarks.results import Case, Results
from benchmarks.stage import SOURCE, TARGET, BenchError, Stage
from syncd import embedded

ROWS: Final = 1_000_000
ROWS_QUICK: Final = 100_000


def main(words: Sequence[str] | None = None) -> int:
    """The exit code: 1 when a limit is missed or a step failed."""
    asked = _parser().parse_args(words)
    with tempfile.TemporaryDirectory(prefix="syncd-bench-") as folder:
        work_dir = Path(folder)
        server = embedded.prepare(work_dir / "pg")
        try:
            with embedded.start(server, settings=stage.server_settings()) as process:
                results = _measured(Stage(process, work_dir), asked)
        finally:
            embedded.discard(server)
    return 0


if __name__ == "__main__":
    sys.exit(main())
