"""The port of the metrics: a few connections, one page, and an address that can be had."""

import socket
import struct
import urllib.request
from collections.abc import Awaitable, Callable

import anyio
import pytest
from anyio import to_thread

from syncd import metrics_listener
from syncd.errors import ConfigError
from syncd.metrics import Metrics
from syncd.metrics_listener import CONNECTIONS_MAX, MetricsListener
from tests.patience import WAIT_S


async def listening(look: Callable[[int], Awaitable[None]]) -> None:
    """Call ``look`` with the port while somebody listens there."""
    listener = MetricsListener(Metrics(), "127.0.0.1", 0)
    listens = anyio.Event()
    async with anyio.create_task_group() as tasks:
        tasks.start_soon(listener.run, listens.set)
        await listens.wait()
        await look(listener.port)
        tasks.cancel_scope.cancel()


def read(port: int) -> bytes:
    with urllib.request.urlopen(f"http://127.0.0.1:{port}/metrics", timeout=WAIT_S) as answer:
        text: bytes = answer.read()
        return text


async def test_connections_beyond_the_few_wait_for_their_turn() -> None:
    async def look(port: int) -> None:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS_MAX)]
        with socket.create_connection(("127.0.0.1", port)) as further:
            further.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
            further.settimeout(0.2)
            with pytest.raises(TimeoutError):
                await to_thread.run_sync(further.recv, 1)
            further.settimeout(30)
            for connection in idle:
                connection.sendall(b"GET /metrics HTTP/1.0\r\n\r\n")
                assert (await to_thread.run_sync(connection.recv, 15)).startswith(b"HTTP/1.0 200")
                connection.close()
            assert (await to_thread.run_sync(further.recv, 15)).startswith(b"HTTP/1.0 200")

    await listening(look)


async def test_who_says_nothing_is_given_up(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(metrics_listener, "_REQUEST_TIME", struct.pack("ll", 0, 100_000))

    async def look(port: int) -> None:
        idle = [socket.create_connection(("127.0.0.1", port)) for _ in range(CONNECTIONS_MAX)]
        assert b"syncd_build_info" in await to_thread.run_sync(read, port)
        for connection in idle:
            assert await to_thread.run_sync(connection.recv, 1) == b""
            connection.close()

    await listening(look)


async def test_the_page_is_served_while_the_loop_is_busy() -> None:
    async def look(port: int) -> None:
        # Read in the loop's own thread, which could not serve it meanwhile.
        assert b"syncd_build_info" in read(port)

    await listening(look)


async def test_a_port_that_is_taken_is_told() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        port = taken.getsockname()[1]
        with pytest.raises(ConfigError, match=f"cannot listen on 127.0.0.1 port {port}"):
            await MetricsListener(Metrics(), "127.0.0.1", port).run(lambda: None)
