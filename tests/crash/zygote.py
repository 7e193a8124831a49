"""A process that has imported everything and forks a run on demand, so that a kill costs little.

Started as ``python -m tests.crash.zygote``; one line of JSON in asks for a run, one line out tells
how it ended. The fork is killed here, before it is waited for, so that no other process can ever
have its number.
"""

import contextlib
import os
import resource
import signal
import subprocess
import sys
import time
from collections.abc import Callable
from pathlib import Path
from types import TracebackType
from typing import IO, Final, Self, cast

import anyio
import msgspec
from msgspec import Struct

from syncd import failpoints, logs, secrets
from syncd.app import connect
from syncd.cli.main import main
from syncd.config import Config
from syncd.progress import Silent
from syncd.reports import RunReport

_POLL_S: Final = 0.001
_RUN_S_MAX: Final = 60.0
_CHUNK_BYTES: Final = 1 << 16
_FIRED: Final = b"failpoint_fired"


class Ask(Struct, frozen=True):
    """A run of ``config``, or of the command line with ``arguments``.

    The fork gets ``signal_number`` after ``delay_s``; never, where that is None. With
    ``failpoints`` (and ``arguments``, which read them) it gets it when the last of them fires.
    ``headroom_bytes`` is the address space that it may take beyond what it has when it begins.
    """

    config: Config | None = None
    arguments: tuple[str, ...] = ()
    delay_s: float | None = None
    signal_number: int = signal.SIGKILL
    failpoints: str = ""
    headroom_bytes: int | None = None


class Told(Struct, frozen=True):
    """How a run ended: its exit code (minus the number of a signal) and its report, if any.

    ``fired`` says whether a failpoint did; ``said`` is then what the run wrote to standard error.
    """

    code: int
    signalled: bool
    seconds: float
    report: RunReport | None = None
    fired: bool = False
    said: str = ""


class Zygote:
    """The process, from the side of a test."""

    def __init__(self) -> None:
        self._process = subprocess.Popen(
            [sys.executable, "-m", "tests.crash.zygote"],
            stdin=subprocess.PIPE,
            stdout=subprocess.PIPE,
        )

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        kind: type[BaseException] | None,
        error: BaseException | None,
        at: TracebackType | None,
    ) -> None:
        self._process.communicate(timeout=_RUN_S_MAX)

    def run(self, ask: Ask) -> Told:
        """Have a run made and wait for its end."""
        stdin, stdout = (
            cast("IO[bytes]", self._process.stdin),
            cast("IO[bytes]", self._process.stdout),
        )
        stdin.write(msgspec.json.encode(ask) + b"\n")
        stdin.flush()
        return msgspec.json.decode(stdout.readline(), type=Told)


def _serve() -> None:
    for line in sys.stdin.buffer:
        told = _forked(msgspec.json.decode(line, type=Ask))
        sys.stdout.buffer.write(msgspec.json.encode(told) + b"\n")
        sys.stdout.buffer.flush()


def _forked(ask: Ask) -> Told:
    (reading, writing), (hearing, saying) = os.pipe(), os.pipe()
    started_s = time.monotonic()
    pid = os.fork()
    if pid == 0:
        os.close(reading)
        if ask.failpoints or ask.headroom_bytes:
            os.dup2(saying, 2)
        _be_the_run(ask, writing)
    os.close(writing)
    os.close(saying)
    os.set_blocking(hearing, False)
    said, armed = bytearray(), ask.failpoints.count(",") + 1
    signalled, status = _waited(pid, ask, started_s, lambda: _heard(hearing, said) == armed)
    fired = _heard(hearing, said) > 0
    os.close(hearing)
    with os.fdopen(reading, "rb") as answer:
        text = answer.read()
    return Told(
        os.waitstatus_to_exitcode(status),
        signalled,
        time.monotonic() - started_s,
        msgspec.json.decode(text, type=RunReport) if text else None,
        fired,
        said.decode(errors="replace"),
    )


def _heard(hearing: int, said: bytearray) -> int:
    """Take what the run has said; how many failpoints have fired."""
    with contextlib.suppress(BlockingIOError):
        while more := os.read(hearing, _CHUNK_BYTES):
            said += more
    return said.count(_FIRED)


def _waited(pid: int, ask: Ask, started_s: float, fired: Callable[[], bool]) -> tuple[bool, int]:
    """Signal the fork when its time has come; whether that was done, and its wait status."""
    signalled = False
    while True:
        ended, status = os.waitpid(pid, os.WNOHANG)
        if ended:
            return signalled, status
        passed_s = time.monotonic() - started_s
        due = fired() if ask.failpoints else ask.delay_s is not None and passed_s >= ask.delay_s
        if due and not signalled:
            os.kill(pid, ask.signal_number)
            signalled = True
        if passed_s > _RUN_S_MAX:
            os.kill(pid, signal.SIGKILL)
        time.sleep(_POLL_S)


def _be_the_run(ask: Ask, writing: int) -> None:
    """The fork: a run, and the end of the process whatever happens."""
    code = 1
    os.environ[failpoints.VARIABLE] = ask.failpoints
    if ask.headroom_bytes:
        pages = int(Path("/proc/self/statm").read_text("ascii").split()[0])
        bytes_max = pages * resource.getpagesize() + ask.headroom_bytes
        resource.setrlimit(resource.RLIMIT_AS, (bytes_max, bytes_max))
    # What the run prints must not be taken for an answer.
    os.dup2(os.open(os.devnull, os.O_WRONLY), 1)
    os.dup2(os.open(os.devnull, os.O_RDONLY), 0)
    try:
        if ask.config is not None:
            report = anyio.run(_night, ask.config)
            os.write(writing, msgspec.json.encode(report))
            code = 0
        else:
            sys.argv = ["syncd", *ask.arguments]
            main()
    except SystemExit as end:
        code = end.code if isinstance(end.code, int) else 1
    except BaseException as error:  # noqa: BLE001 - the end of a process; the code says it all
        os.write(2, f"{type(error).__name__}: {error}\n".encode())
    finally:
        os._exit(code)


async def _night(config: Config) -> RunReport:
    async with connect(config) as app:
        return await app.run(None, accept_rewind=False, progress=Silent())


if __name__ == "__main__":
    logs.configure("json", "error", secrets.redactor([], {}))
    _serve()
