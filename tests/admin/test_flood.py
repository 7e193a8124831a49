"""Case 93: people who do not stop asking, and people who never finish, while a run is under way."""

import socket
import statistics
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from http.client import HTTPConnection, HTTPException
from pathlib import Path
from typing import Final

import pytest

from tests.admin.served import TOKENS
from tests.daemon.process import Place, Served

ROWS: Final = 15_000
RUNS: Final = 3
SLOW: Final = 40  # connections at a time that never finish a header
SERVICE: Final = """
http:
  port: 0
  tokens: [{{name: admin, role: admin, token: "${{file:{token}}}"}}]
"""


def resyncs(port: int, stop: threading.Event, answers: list[int]) -> None:
    """One after another, as fast as they are answered."""
    headers = {"Authorization": f"Bearer {TOKENS['admin']}"}
    while not stop.is_set():
        connection = HTTPConnection("127.0.0.1", port, timeout=10)
        try:
            connection.request("POST", "/api/pipelines/one/entities/staff/resync", None, headers)
            answers.append(connection.getresponse().status)
        except (OSError, HTTPException):
            answers.append(0)
        finally:
            connection.close()


def slowloris(port: int, stop: threading.Event, answers: list[int]) -> None:
    """A byte a second on each connection; those that are cut are opened again."""
    held: list[socket.socket] = []
    while not stop.is_set():
        while len(held) < SLOW:
            held.append(socket.create_connection(("127.0.0.1", port), timeout=5))
            answers.append(1)
        for connection in list(held):
            try:
                connection.sendall(b"x")
            except OSError:
                held.remove(connection)
                connection.close()
        stop.wait(1)
    for connection in held:
        connection.close()


@contextmanager
def flooded(port: int, *floods: Callable[..., None]) -> Iterator[list[list[int]]]:
    stop = threading.Event()
    answers: list[list[int]] = [[] for _ in floods]
    threads = [
        threading.Thread(target=flood, args=(port, stop, told))
        for flood, told in zip(floods, answers, strict=True)
    ]
    for thread in threads:
        thread.start()
    try:
        yield answers
    finally:
        stop.set()
        for thread in threads:
            thread.join(20)


@pytest.mark.long
@pytest.mark.timeout(600)
async def test_a_flood_slows_a_run_by_little(
    place: Place, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Runs over 30,000 changed rows, alone and beside both floods; a probe is answered."""
    (tmp_path / "token").write_text(TOKENS["admin"], "utf-8")
    service = tmp_path / "service.yaml"
    service.write_text(SERVICE.format(token=tmp_path / "token"), "utf-8")
    with Served(place, arguments=("--service", str(service))) as daemon:
        port = daemon.wait("http_listening")["port"]
        quiet = [await passing(place, daemon, f"quiet{number}") for number in range(RUNS + 1)][1:]
        with flooded(port, resyncs, slowloris) as (resynced, slow):
            busy = [await passing(place, daemon, f"busy{number}") for number in range(RUNS)]
            begun_s = time.monotonic()
            connection = HTTPConnection("127.0.0.1", port, timeout=5)
            connection.request("GET", "/health/liveness")
            assert connection.getresponse().status == 200
            probed_s = time.monotonic() - begun_s
            connection.close()
    ratio = statistics.median(busy) / statistics.median(quiet)
    with capsys.disabled():
        accepted, refused = resynced.count(202), resynced.count(429)
        print(  # noqa: T201 - its figure is its result
            f"\nflood: {ratio:.3f} of the quiet time; {len(resynced)} resyncs: {accepted} accepted "
            f"and {refused} refused; {len(slow)} slow connections; probe {probed_s * 1000:.0f} ms"
        )
    assert refused > accepted
    assert probed_s < 1
    assert ratio < 1.5  # the floods take processors of their own here; see docs/trust.md


async def passing(place: Place, daemon: Served, word: str) -> float:
    """Seconds of the run that brings a dump in which every row is another."""
    place.deliver(ROWS, word)
    seen = "SELECT count(*) FROM one_staff WHERE name LIKE $1"
    number = len(daemon.found("run_ended"))
    await place.ask()
    while True:
        number += 1
        event = daemon.wait("run_ended", number=number)
        if await place.value(seen, f"{word} %") == ROWS:
            return float(event["seconds"])


@pytest.fixture
async def place(tmp_path: Path, pg_dsn: str) -> Place:
    """A pipeline that has its tables."""
    made = Place(tmp_path, pg_dsn)
    await made.init()
    return made
