"""Case 93: what one may send, how fast, how often. Limits at one below, at it, and above."""

import contextlib
import json
import socket
import time
from collections.abc import Iterator
from http import HTTPStatus
from typing import Final

import msgspec
import pytest

from syncd.admin import reading
from syncd.admin.listener import Listener
from tests.admin.served import TOKENS, Served, serving, settings
from tests.patience import WAIT_S
from tests.pipeline.world import World

API: Final = "/api/pipelines/orders"
HEADER_BYTES: Final = 16 * 1024
BODY_BYTES: Final = 64 * 1024


def raw(served: Served, *parts: bytes, read: bool = True) -> bytes:
    """All that comes back on one connection."""
    with socket.create_connection(("127.0.0.1", served.port), timeout=WAIT_S) as connection:
        for part in parts:
            connection.sendall(part)
        found = b""
        while read and (data := connection.recv(65536)):
            found += data
        return found


def status_of(answer: bytes) -> int:
    return int(answer.split(b" ", 2)[1])


def header_of(size: int) -> bytes:
    """A request for /ping whose header has exactly so many bytes."""
    head, tail = b"GET /ping HTTP/1.1\r\nHost: x\r\nX-Fill: ", b"\r\n\r\n"
    return head + b"a" * (size - len(head) - len(tail)) + tail


@pytest.mark.parametrize(
    ("size", "status"), [(HEADER_BYTES - 1, 200), (HEADER_BYTES, 200), (HEADER_BYTES + 1, 431)]
)
def test_a_header_has_sixteen_kibibytes(served: Served, size: int, status: int) -> None:
    """431 above."""
    assert status_of(raw(served, header_of(size))) == status


def test_a_header_without_an_end_is_refused_as_soon_as_it_is_too_big(served: Served) -> None:
    """Nobody waits for the end of it."""
    answer = raw(served, b"GET /ping HTTP/1.1\r\n" + b"a" * HEADER_BYTES)
    assert status_of(answer) == 431


def test_a_header_may_come_in_pieces(served: Served) -> None:
    """Also when its end is torn."""
    answer = raw(served, b"GET /pi", b"ng HTTP/1.1\r\nHost: x\r", b"\n\r", b"\n")
    assert answer.startswith(b"HTTP/1.1 200 OK")
    assert answer.endswith(b"pong")


@pytest.mark.parametrize(
    ("size", "status"), [(BODY_BYTES - 1, 202), (BODY_BYTES, 202), (BODY_BYTES + 1, 413)]
)
@pytest.mark.parametrize("chunked", [False, True])
def test_a_body_has_sixty_four_kibibytes(
    served: Served, size: int, status: int, *, chunked: bool
) -> None:
    """413 above, whether its length was told before or not."""
    body = b"{}" + b" " * (size - 2)
    head = (
        f"POST {API}/claims HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKENS['admin']}\r\n"
        "Content-Type: application/json\r\n"
    ).encode()
    if chunked:
        framed = head + b"Transfer-Encoding: chunked\r\n\r\n%x\r\n%b\r\n0\r\n\r\n" % (size, body)
    else:
        framed = head + b"Content-Length: %d\r\n\r\n%b" % (size, body)
    assert status_of(raw(served, framed)) == status


def test_the_body_of_a_stranger_is_not_read(served: Served) -> None:
    """Whoever has no token is refused before the body has come."""
    head = f"POST {API}/claims HTTP/1.1\r\nHost: x\r\nContent-Length: 1000000000\r\n\r\n"
    assert status_of(raw(served, head.encode())) == 401  # and not 408


@pytest.mark.parametrize(
    ("body", "content_type", "status"),
    [
        (b"[" * 30_000, "application/json", 400),
        (b'{"entities": [' + b"[" * 5000, "application/json", 400),
        (b"\xff\xfe", "application/json", 400),
        (b'{"entities": "cases"}', "application/json", 400),
        (b'{"entities": ["cases"], "more": 1}', "application/json", 400),
        (b'{"entities": ["ca\\u0000ses"]}', "application/json", 400),
        (b'{"entities": ["cases; DROP TABLE x"]}', "application/json", 400),
        (b"entities=cases", "application/x-www-form-urlencoded", 415),
        (b"{}", "text/plain", 415),
        (b'{"entities": ["nothing"]}', "application/json", 404),
    ],
)
def test_a_body_that_does_not_fit_is_refused(
    served: Served, body: bytes, content_type: str, status: int
) -> None:
    """Cases 88, 94: depth, bytes that are no text, types, fields, names; never a 500."""
    answer = served.post(f"{API}/claims", body, Content_Type=content_type)
    assert answer.status == status
    assert b"DROP" not in answer.body


def test_a_compressed_body_is_refused(served: Served) -> None:
    """No bomb is unpacked to see how big it is."""
    assert served.post(f"{API}/claims", b"x", Content_Encoding="gzip").status == 415


@pytest.mark.parametrize(
    "sent",
    [b"nonsense\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", b"GET /\x00 HTTP/1.1\r\nHost: x\r\n\r\n"],
)
def test_what_is_no_request_is_answered_without_quoting_it(served: Served, sent: bytes) -> None:
    """A problem like every other; what was sent is not in it (case 95)."""
    head, _, body = raw(served, sent).partition(b"\r\n\r\n")
    assert status_of(head) == 400
    assert json.loads(body)["detail"] == "this is no request"


def test_a_connection_serves_one_request(served: Served) -> None:
    """A second one on it is not heard, so nobody holds a seat between two."""
    one = b"GET /ping HTTP/1.1\r\nHost: x\r\n\r\n"
    assert raw(served, one + one).count(b"HTTP/1.1") == 1


@pytest.mark.parametrize(("path", "allow"), [("/health", "GET"), (f"{API}/claims", "GET, POST")])
def test_another_method_is_answered_with_those_that_are_allowed(
    served: Served, path: str, allow: str
) -> None:
    """405 with Allow."""
    answer = served.ask("DELETE", path, TOKENS["admin"])
    assert (answer.status, answer.headers["Allow"]) == (405, allow)


def hasten(listener: Listener) -> None:
    """Bounds that a test can wait for."""
    bounds = msgspec.structs.replace(listener.gate.bounds, header_s=0.3, total_s=1.5)
    listener.gate.bounds = bounds


def be_patient(listener: Listener) -> None:
    """No connection is cut for its slowness while a test waits."""
    long_s, bounds = 10 * WAIT_S, listener.gate.bounds
    listener.gate.bounds = msgspec.structs.replace(bounds, header_s=long_s, total_s=long_s)


@pytest.fixture(scope="module")
def hasty(world: World) -> Iterator[Served]:
    """A listener with four seats and little patience, and one change a minute."""
    limits = settings(connections=4, changes_per_minute=2)
    with serving(limits, world.config, change=hasten) as found:
        yield found


def test_a_header_that_does_not_come_in_time_is_told_so(hasty: Served) -> None:
    """Slowloris: 408, and the seat is free."""
    assert status_of(raw(hasty, b"GET /ping HTTP/1.1\r\nHost")) == 408


def test_a_body_that_does_not_come_in_time_is_told_so(
    hasty: Served, monkeypatch: pytest.MonkeyPatch
) -> None:
    """408."""
    monkeypatch.setattr(reading, "BODY_S", 0.2)
    head = (
        f"POST {API}/claims HTTP/1.1\r\nHost: x\r\nAuthorization: Bearer {TOKENS['admin']}\r\n"
        "Content-Type: application/json\r\nContent-Length: 9\r\n\r\n{"
    )
    assert status_of(raw(hasty, head.encode())) == HTTPStatus.REQUEST_TIMEOUT


def test_slow_connections_give_way_to_one_that_asks(hasty: Served) -> None:
    """All seats are held by people who do not finish a header: a probe is answered at once."""
    slow = [socket.create_connection(("127.0.0.1", hasty.port)) for _ in range(20)]
    try:
        for connection in slow:
            connection.sendall(b"GET /health/liveness HTTP/1.1\r\n")
        assert hasty.get("/health/liveness").status == 200
        assert hasty.listener.gate.taken <= 4
    finally:
        for connection in slow:
            connection.close()


def test_a_connection_that_gives_way_is_closed_at_once(world: World) -> None:
    """Seventeen for sixteen seats: the first one need not wait until its time is up."""
    with serving(settings(), world.config, change=be_patient) as served:
        place = ("127.0.0.1", served.port)
        slow = [socket.create_connection(place, timeout=WAIT_S) for _ in range(17)]
        try:
            with contextlib.suppress(ConnectionResetError):
                assert slow[0].recv(1) == b""
        finally:
            for connection in slow:
                connection.close()


def test_a_connection_is_cut_after_its_time(hasty: Served) -> None:
    """A body of a stranger may linger, and no longer than the connection may live."""
    head = b"POST /api/pipelines HTTP/1.1\r\nHost: x\r\nContent-Length: 100\r\n\r\n"
    begun_s = time.monotonic()
    raw(hasty, head)
    assert time.monotonic() - begun_s < reading.BODY_S


def test_changes_are_counted_by_subject(hasty: Served) -> None:
    """Two a minute here: 429 with Retry-After for the third; looking and others go on."""
    path = f"{API}/entities/people/resume"
    found = [hasty.post(path, token=TOKENS["operate"]).status for _ in range(3)]
    assert found == [200, 200, 429]
    refused = hasty.post(path, token=TOKENS["operate"])
    assert 1 <= int(refused.headers["Retry-After"]) <= 60
    assert hasty.get(API, TOKENS["operate"]).status == 200
    assert hasty.post(path, token=TOKENS["admin"]).status == 200
