"""How a program is measured: the whole process, from its start to its end.

Wall time is what an operator waits for, so start-up, imports and connecting are in it. CPU is the
client's own (``wait4``) and, apart, what the PostgreSQL server used meanwhile (``/proc``): on a
machine with other load the sum of both is the steadier figure. Peak memory is ``ru_maxrss`` of
the process, of the largest one where a shell starts several.
"""

import os
import signal
import subprocess
import tempfile
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from statistics import median
from typing import Final

from msgspec import Struct

_TICKS_PER_S: Final = os.sysconf("SC_CLK_TCK")
_TAIL_CHARACTERS: Final = 2000
SECONDS_MAX: Final = 3600.0


class Sample(Struct, frozen=True):
    """One execution. ``reported_s`` is what the program itself said, where it says something."""

    wall_s: float
    client_cpu_s: float
    server_cpu_s: float
    rss_bytes: int
    reported_s: float | None = None


class Ran(Struct, frozen=True):
    """A sample with what the program left: exit code, standard output, end of standard error."""

    sample: Sample
    code: int
    out: str
    err: str


def run(
    command: Sequence[str | Path],
    *,
    postmaster: int | None,
    environ: Mapping[str, str] | None = None,
    cwd: Path | None = None,
    keep_output: bool = True,
    seconds_max: float = SECONDS_MAX,
) -> Ran:
    """Run ``command`` to its end; without ``keep_output`` its standard output goes nowhere.

    ``environ`` is added to ours. After ``seconds_max`` it is killed with all that it started.
    """
    with tempfile.TemporaryFile() as out, tempfile.TemporaryFile() as err:
        server_before_s = server_cpu_s(postmaster)
        begun_s = time.perf_counter()
        process = subprocess.Popen(  # noqa: S603 - our own arguments
            command,
            stdin=subprocess.DEVNULL,
            stdout=out if keep_output else subprocess.DEVNULL,
            stderr=err,
            env={**os.environ, **(environ or {})},
            cwd=cwd,
            start_new_session=True,
        )
        # Not ``Popen.wait``: only ``wait4`` tells what the process has used.
        timer = threading.Timer(seconds_max, os.killpg, (process.pid, signal.SIGKILL))
        timer.start()
        try:
            _, status, usage = os.wait4(process.pid, 0)
        finally:
            timer.cancel()
        wall_s = time.perf_counter() - begun_s
        process.returncode = os.waitstatus_to_exitcode(status)
        sample = Sample(
            wall_s=wall_s,
            client_cpu_s=usage.ru_utime + usage.ru_stime,
            server_cpu_s=server_cpu_s(postmaster) - server_before_s,
            rss_bytes=usage.ru_maxrss * 1024,
        )
        out.seek(0)
        err.seek(0)
        told = err.read().decode(errors="replace")[-_TAIL_CHARACTERS:]
        return Ran(sample, process.returncode, out.read().decode(errors="replace"), told)


def server_cpu_s(postmaster: int | None) -> float:
    """CPU seconds of a server and all its sessions, those that have ended too; 0 without one."""
    if postmaster is None:
        return 0.0
    ticks = 0
    for stat in Path("/proc").glob("[0-9]*/stat"):
        try:
            _, _, rest = stat.read_text(errors="replace").rpartition(")")
        except OSError:
            continue  # it ended while we looked
        fields = rest.split()
        if int(stat.parent.name) == postmaster:
            ticks += sum(map(int, fields[11:15]))
        elif int(fields[1]) == postmaster:
            ticks += sum(map(int, fields[11:13]))
    return ticks / _TICKS_PER_S


def median_wall_s(samples: Sequence[Sample]) -> float:
    """The middle wall time."""
    return median(sample.wall_s for sample in samples)


def median_cpu_s(samples: Sequence[Sample]) -> float:
    """The middle CPU time, of client and server together."""
    return median(sample.client_cpu_s + sample.server_cpu_s for sample in samples)
