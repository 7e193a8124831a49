"""Runs the tests that must find a fault, in a process of their own with the fault in it."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from typing import Final

from msgspec import Struct

from tests.conftest import REPOSITORY
from tests.faults.planted import Fault

PASSED: Final = 0  # pytest's exit code where all tests passed,
FAILED: Final = 1  # and where some failed and nothing worse happened
SECONDS_MAX: Final = 180
_FAILED_TEST: Final = re.compile(r"^FAILED (\S+?)(?:\[.*)?(?: - .*)?$", re.MULTILINE)


class Found(Struct, frozen=True):
    """What became of a fault. ``by`` is the test that failed, '' where none did.

    Without one the fault has survived only where ``code`` says that all tests passed.
    """

    fault: Fault
    by: str
    seconds: float
    said: str
    code: int = FAILED


def hunt(fault: Fault, dsn: str | None = None) -> Found:
    """Plant the fault and run its tests until one fails; ``dsn`` names a server to use."""
    begun_s = time.monotonic()
    code, said, by = _tried(fault, dsn)
    if code != PASSED and not by:  # the tests broke down, which says nothing about the fault
        code, said, by = _tried(fault, dsn)
    return Found(fault, by, time.monotonic() - begun_s, said, code)


def _tried(fault: Fault, dsn: str | None) -> tuple[int, str, str]:
    """Pytest's exit code and words, and the test that failed."""
    code, said = run(fault.tests, dsn, fault.name)
    by = _FAILED_TEST.search(said) if code == FAILED else None
    return code, said, by.group(1) if by else ""


def run(tests: Sequence[str], dsn: str | None, fault: str = "") -> tuple[int, str]:
    """Run tests until one fails, with a fault if one is named: pytest's exit code and words."""
    # The child is no part of this pytest: not of its workers, nor of its coverage.
    strangers = ("PYTEST_", "COV_CORE_", "COVERAGE_", "SYNCD_FAULT", "SYNCD_HYPOTHESIS")
    environment = {k: v for k, v in os.environ.items() if not k.startswith(strangers)}
    environment["PYTHONDONTWRITEBYTECODE"] = "1"
    environment["SYNCD_HYPOTHESIS_PROFILE"] = "hunt"
    if fault:
        environment["SYNCD_FAULT"] = fault
    if dsn is not None:
        environment["SYNCD_TEST_DSN"] = dsn
    done = subprocess.run(
        [
            *(sys.executable, "-m", "pytest", "-p", "tests.faults.plant"),
            *("-p", "no:cacheprovider", "-x", "-q", "--tb=line", *tests),
        ],
        cwd=REPOSITORY,
        env=environment,
        capture_output=True,
        text=True,
        timeout=SECONDS_MAX,
        check=False,
    )
    return done.returncode, done.stdout + done.stderr
