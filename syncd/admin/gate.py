"""Connections before HTTP: how many there may be, how long a header may take and how big it may be.

The HTTP library reads headers for as long as they take to come, so whoever sends one byte a second
could hold every seat (slowloris, case 93). Here a connection waits outside until its header is
whole; only then the library hears of it. When all seats are taken, the one that has been at its
header for longest must give way, so a probe always finds one.

A connection serves one request. Nobody holds a seat between two, and what one may do in it is
bounded in time: after ``total_s`` it is cut, whatever is left to send.
"""

import asyncio
from collections.abc import Callable
from http import HTTPStatus
from typing import Final

from msgspec import Struct

HEADER_BYTES_MAX: Final = 16 * 1024
LINGER_S: Final = 1.0  # for the other side to read why; closed at once, its system would drop it
_END: Final = b"\r\n\r\n"

Refuse = Callable[[HTTPStatus], bytes]  # a whole answer, in bytes


class Bounds(Struct, frozen=True):
    """What a connection may take."""

    connections: int = 16
    header_bytes: int = HEADER_BYTES_MAX
    header_s: float = 5.0
    total_s: float = 30.0


class Gate:
    """Makes the protocols of a listening socket. ``serve`` makes the library's own."""

    def __init__(
        self, bounds: Bounds, serve: Callable[[], asyncio.Protocol], refuse: Refuse
    ) -> None:
        self.bounds = bounds
        self.serve = serve
        self.refuse = refuse
        self._seats: dict[_Seat, None] = {}  # in the order in which they were taken

    @property
    def taken(self) -> int:
        """Seats that are taken."""
        return len(self._seats)

    def admit(self) -> asyncio.Protocol:
        """A protocol for a new connection."""
        return _Seat(self)

    def sit(self, seat: "_Seat") -> bool:
        """Give a seat, if need be that of somebody who is slow; False when there is none."""
        if self.taken >= self.bounds.connections:
            slow = next((other for other in self._seats if not other.served), None)
            if slow is None:
                return False
            self.leave(slow)
            slow.cut()
        self._seats[seat] = None
        return True

    def leave(self, seat: "_Seat") -> None:
        """Free a seat; may be repeated."""
        self._seats.pop(seat, None)


class _Seat(asyncio.Protocol):
    """One connection: gathers the header, then hands everything on to the library."""

    def __init__(self, gate: Gate) -> None:
        self._gate = gate
        self._header = bytearray()
        self._inner: asyncio.Protocol | None = None
        self._transport: asyncio.Transport | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._refused = False

    @property
    def served(self) -> bool:
        """Whether its header is whole and the library has it."""
        return self._inner is not None

    def connection_made(self, transport: asyncio.BaseTransport) -> None:
        assert isinstance(transport, asyncio.Transport)
        self._transport = transport
        if self._gate.sit(self):
            slow = HTTPStatus.REQUEST_TIMEOUT
            self._after(self._gate.bounds.header_s, lambda: self._refuse(slow))
        else:
            self._refuse(HTTPStatus.SERVICE_UNAVAILABLE)

    def data_received(self, data: bytes) -> None:
        if self._inner is not None:
            self._inner.data_received(data)
        elif not self._refused:
            self._gather(data)

    def eof_received(self) -> bool | None:
        return self._inner.eof_received() if self._inner is not None else None

    def connection_lost(self, exc: Exception | None) -> None:
        self._gate.leave(self)
        if self._timer is not None:
            self._timer.cancel()
        if self._inner is not None:
            self._inner.connection_lost(exc)

    def pause_writing(self) -> None:
        if self._inner is not None:
            self._inner.pause_writing()

    def resume_writing(self) -> None:
        if self._inner is not None:
            self._inner.resume_writing()

    def cut(self) -> None:
        """End the connection, whatever is under way."""
        assert self._transport is not None
        self._transport.abort()

    def _gather(self, data: bytes) -> None:
        most = self._gate.bounds.header_bytes
        begin = max(0, len(self._header) - len(_END) + 1)
        self._header += data
        end = self._header.find(_END, begin)
        header_bytes = end + len(_END) if end >= 0 else len(self._header)
        if header_bytes > most:
            self._refuse(HTTPStatus.REQUEST_HEADER_FIELDS_TOO_LARGE)
        elif end >= 0:
            self._hand_on()

    def _hand_on(self) -> None:
        assert self._transport is not None
        self._after(self._gate.bounds.total_s, self.cut)
        self._inner = self._gate.serve()
        self._inner.connection_made(self._transport)
        self._inner.data_received(bytes(self._header))
        self._header.clear()

    def _refuse(self, status: HTTPStatus) -> None:
        assert self._transport is not None
        self._refused = True
        self._transport.write(self._gate.refuse(status))
        if self._transport.can_write_eof():
            self._transport.write_eof()
        self._after(LINGER_S, self.cut)

    def _after(self, seconds: float, act: Callable[[], None]) -> None:
        if self._timer is not None:
            self._timer.cancel()
        self._timer = asyncio.get_running_loop().call_later(seconds, act)
