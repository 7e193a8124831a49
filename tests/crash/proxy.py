"""A proxy between syncd and PostgreSQL that loses chosen COMMITs, or the answers to them.

It copies bytes both ways. When the client sends its n-th COMMIT, over all connections, and n is
one to cut, it either lets the server commit and drops the answer, or drops the COMMIT itself; then
both ends are closed. The client sees the same both times: a connection that died while committing.
"""

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Final, Literal, Self, TypeAlias
from urllib.parse import urlsplit

_COMMIT: Final = b"Q\x00\x00\x00\x0cCOMMIT;\x00"  # the simple query, as asyncpg sends it
_CHUNK_BYTES: Final = 1 << 16
Lost: TypeAlias = Literal["answer", "commit"]
Choose: TypeAlias = Callable[[int], Lost | None]


class CommitProxy:
    """``choose`` gets the number of a COMMIT, from 1, and says what of it is to be lost."""

    def __init__(self, server_dsn: str, choose: Choose) -> None:
        self.commits = 0
        self.lost: list[Lost] = []
        self._choose = choose
        self._server = urlsplit(server_dsn)
        self._port = 0

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
        listener = await asyncio.start_server(proxy._connected, "127.0.0.1", 0)
        proxy._port = listener.sockets[0].getsockname()[1]
        async with listener:
            yield proxy

    async def _connected(
        self, from_client: asyncio.StreamReader, to_client: asyncio.StreamWriter
    ) -> None:
        host, port = self._server.hostname or "127.0.0.1", self._server.port or 5432
        from_server, to_server = await asyncio.open_connection(host, port)
        mute = asyncio.Event()  # the server's next answer is the one to lose
        ways = [
            asyncio.ensure_future(self._forth(from_client, to_server, mute)),
            asyncio.ensure_future(_back(from_server, to_client, mute)),
        ]
        # Whichever way ends first, the connection has ended.
        await asyncio.wait(ways, return_when=asyncio.FIRST_COMPLETED)
        for way in ways:
            way.cancel()
        await asyncio.gather(*ways, return_exceptions=True)
        for end in (to_client, to_server):
            end.close()

    async def _forth(
        self, client: asyncio.StreamReader, server: asyncio.StreamWriter, mute: asyncio.Event
    ) -> None:
        while chunk := await client.read(_CHUNK_BYTES):
            if chunk.endswith(_COMMIT):
                self.commits += 1
                lost = self._choose(self.commits)
                if lost is not None:
                    self.lost.append(lost)
                if lost == "commit":
                    return
                if lost == "answer":
                    mute.set()
            server.write(chunk)
            await server.drain()


async def _back(
    server: asyncio.StreamReader, client: asyncio.StreamWriter, mute: asyncio.Event
) -> None:
    while chunk := await server.read(_CHUNK_BYTES):
        if mute.is_set():
            return
        client.write(chunk)
        await client.drain()
