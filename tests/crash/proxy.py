"""A proxy between syncd and PostgreSQL, on which a connection fails in one of eight ways.

It copies bytes both ways and asks at each moment whether something is to go wrong: for each piece
that either side sends, and for each COMMIT and each COPY that the client begins. Several of these
look the same to the client; what the server has done meanwhile is not.
"""

import asyncio
import socket
import struct
from collections import Counter
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from enum import StrEnum
from typing import Final, Self, TypeAlias
from urllib.parse import urlsplit

from msgspec import Struct

_COMMIT: Final = b"Q\x00\x00\x00\x0cCOMMIT;\x00"  # the simple query, as asyncpg sends it
_COPY_IN: Final = b"G"  # the server's answer that it takes the rows of a COPY
_CHUNK_BYTES: Final = 1 << 16
_TRICKLE_S: Final = 1.0
_RESET: Final = struct.pack("ii", 1, 0)  # SO_LINGER: closing sends RST


class Fault(StrEnum):
    """What goes wrong with one connection."""

    CUT = "cut"
    HALF_CLOSE = "half_close"  # the server is heard no more, and still hears
    RESET = "reset"
    TRICKLE = "trickle"  # one byte a second
    BLACKHOLE = "blackhole"  # nothing arrives, and nothing says so
    LOST_ANSWER = "lost_answer"  # COMMIT has been sent, and stands
    LOST_COMMIT = "lost_commit"
    CUT_COPY = "cut_copy"  # in the middle of the rows


class When(StrEnum):
    """Moments at which something may go wrong."""

    SENT = "sent"
    ANSWERED = "answered"
    COMMIT = "commit"
    COPY = "copy"


class Moment(Struct, frozen=True):
    """The n-th of its kind, from 1, over all connections."""

    when: When
    number: int


Choose: TypeAlias = Callable[[Moment], Fault | None]


class _Link:
    """One connection of the client's, and the one to the server that belongs to it."""

    def __init__(self, client: "_Ends", server: "_Ends") -> None:
        self.from_client, self.to_client = client
        self.from_server, self.to_server = server
        self.fault: Fault | None = None
        self.copying = False


_Ends: TypeAlias = tuple[asyncio.StreamReader, asyncio.StreamWriter]


class FaultyProxy:
    """``choose`` is asked at each moment what goes wrong with the connection that it is about."""

    def __init__(self, server_dsn: str, choose: Choose) -> None:
        self.struck: list[Fault] = []
        self.seen = Counter[When]()
        self._choose = choose
        self._server = urlsplit(server_dsn)
        self._port = 0
        self._handlers = set[asyncio.Task[None]]()

    @property
    def dsn(self) -> str:
        """The server's DSN, by way of the proxy; without TLS, which would hide the COMMITs."""
        user = self._server.netloc.rpartition("@")[0]
        netloc = f"{user}@127.0.0.1:{self._port}"
        return self._server._replace(netloc=netloc, query="sslmode=disable").geturl()

    @classmethod
    @asynccontextmanager
    async def serve(cls, server_dsn: str, choose: Choose) -> AsyncIterator[Self]:
        """A proxy that listens for this block, on a port of its own."""
        proxy = cls(server_dsn, choose)
        listener = await asyncio.start_server(proxy._accept, "127.0.0.1", 0)
        proxy._port = listener.sockets[0].getsockname()[1]
        async with listener:
            try:
                yield proxy
            finally:
                listener.close()
                for task in proxy._handlers:
                    task.cancel()
                await asyncio.gather(*proxy._handlers, return_exceptions=True)

    def _accept(self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter) -> None:
        handler = asyncio.ensure_future(self._connected((from_client, to_client)))
        self._handlers.add(handler)
        handler.add_done_callback(self._handlers.discard)

    async def _connected(self, client: "_Ends") -> None:
        host, port = self._server.hostname or "127.0.0.1", self._server.port or 5432
        link = _Link(client, await asyncio.open_connection(host, port))
        ways = [asyncio.ensure_future(self._forth(link)), asyncio.ensure_future(self._back(link))]
        try:
            # Whichever way ends first, the connection has ended.
            await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        finally:
            for way in ways:
                way.cancel()
            await asyncio.gather(*ways, return_exceptions=True)
            if link.fault is Fault.RESET:
                sock = link.to_client.get_extra_info("socket")
                sock.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, _RESET)
            for end in (link.to_client, link.to_server):
                end.transport.abort()

    def _strike(self, link: _Link, *moments: When) -> Fault | None:
        """What goes wrong now, once for each connection."""
        for when in moments:
            self.seen[when] += 1
            fault = self._choose(Moment(when, self.seen[when])) if link.fault is None else None
            if fault is not None:
                link.fault = fault
                self.struck.append(fault)
        return link.fault

    async def _forth(self, link: _Link) -> None:
        while chunk := await link.from_client.read(_CHUNK_BYTES):
            moments = [When.SENT]
            if chunk.endswith(_COMMIT):
                moments.append(When.COMMIT)
            if link.copying:
                link.copying = False
                moments.append(When.COPY)
            match self._strike(link, *moments):
                case Fault.CUT | Fault.RESET | Fault.LOST_COMMIT:
                    return
                case Fault.CUT_COPY:
                    link.to_server.write(chunk[: len(chunk) // 2])
                    await link.to_server.drain()
                    return
                case Fault.HALF_CLOSE if not link.to_client.is_closing():
                    if link.to_client.can_write_eof():
                        link.to_client.write_eof()
                    await _send(link, link.to_server, chunk)
                case Fault.BLACKHOLE:
                    continue
                case _:
                    await _send(link, link.to_server, chunk)

    async def _back(self, link: _Link) -> None:
        while chunk := await link.from_server.read(_CHUNK_BYTES):
            link.copying = chunk[:1] == _COPY_IN
            match self._strike(link, When.ANSWERED):
                case Fault.CUT | Fault.RESET | Fault.LOST_ANSWER:
                    return
                case Fault.HALF_CLOSE | Fault.BLACKHOLE:
                    continue
                case _:
                    await _send(link, link.to_client, chunk)


async def _send(link: _Link, end: asyncio.StreamWriter, chunk: bytes) -> None:
    if link.fault is not Fault.TRICKLE:
        end.write(chunk)
        await end.drain()
        return
    for at in range(len(chunk)):
        end.write(chunk[at : at + 1])
        await end.drain()
        await asyncio.sleep(_TRICKLE_S)
