"""What was freed is given back."""

import os
import subprocess
import sys

from tests.conftest import REPOSITORY

PROGRAM = """
import pathlib
from syncd.thrift import give_back

def kib():
    lines = pathlib.Path("/proc/self/status").read_text().splitlines()
    return next(int(line.split()[1]) for line in lines if line.startswith("VmRSS"))

held = [bytes(200) for _ in range(400_000)]
high = kib()
del held[:-1]
low = kib()
give_back()
print(high, low, kib())
"""


def test_memory_below_something_that_is_still_in_use_goes_back() -> None:
    """Of 90 MiB, all but the last few bytes were freed, and stay until they are given back."""
    environ = os.environ | {"PYTHONMALLOC": "malloc"}
    ran = subprocess.run(
        [sys.executable, "-c", PROGRAM], env=environ, cwd=REPOSITORY, check=True,
        capture_output=True, text=True,
    )  # fmt: skip
    high, low, after = map(int, ran.stdout.split())
    assert low > high * 0.9
    assert after < high * 0.5
