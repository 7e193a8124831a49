"""A network of its own in which the kernel drops packets; and the way from it to PostgreSQL.

Loopback of a network namespace with a rule of iptables that drops one packet in so many, both
ways; so TCP loses, waits and sends again as it does anywhere. The server is outside: inside stands
a proxy (this module as a program), which reaches it by its Unix socket.
"""

import asyncio
import subprocess
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Final

from tests.conftest import REPOSITORY

PORT: Final = 5432
_DROP: Final = (
    "ip link set lo up && iptables -A INPUT -p tcp -m statistic --mode random "
    "--probability {share} -j DROP && echo up && read -r _"
)
_CHUNK_BYTES: Final = 1 << 16


@contextmanager
def network(share: float) -> Iterator[tuple[str, ...] | None]:
    """What a command begins with that is to run inside; None where the machine does not allow it.

    It ends with the block, and with this process.
    """
    command = ["unshare", "--net", "sh", "-c", _DROP.format(share=share)]
    try:
        holder = subprocess.Popen(
            command, stdin=subprocess.PIPE, stdout=subprocess.PIPE, stderr=subprocess.DEVNULL
        )
    except OSError:
        yield None
        return
    with holder:
        assert holder.stdin is not None
        assert holder.stdout is not None
        is_up = holder.stdout.readline() == b"up\n"
        yield ("nsenter", "--net", "--target", str(holder.pid)) if is_up else None
        holder.stdin.close()


def dropped(inside: tuple[str, ...]) -> int:
    """Packets that the kernel dropped so far."""
    said = subprocess.run(
        [*inside, "iptables", "-nvxL", "INPUT"], check=True, capture_output=True, text=True
    ).stdout
    return sum(int(line.split()[0]) for line in said.splitlines() if " DROP " in line)


@contextmanager
def way_in(inside: tuple[str, ...], socket: str) -> Iterator[None]:
    """The proxy inside, for this block."""
    command = [*inside, sys.executable, "-m", "tests.daemon.lossy", socket]
    with subprocess.Popen(command, cwd=REPOSITORY, stdout=subprocess.PIPE) as proxy:
        assert proxy.stdout is not None
        assert proxy.stdout.readline() == b"listening\n"
        try:
            yield
        finally:
            proxy.kill()


async def _serve(socket: str) -> None:
    async def connected(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        from_server, to_server = await asyncio.open_unix_connection(socket)
        await asyncio.gather(_copy(reader, to_server), _copy(from_server, writer))

    async with await asyncio.start_server(connected, "127.0.0.1", PORT) as server:
        print("listening", flush=True)  # noqa: T201 - to whoever started it
        await server.serve_forever()


async def _copy(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
    try:
        while chunk := await reader.read(_CHUNK_BYTES):
            writer.write(chunk)
            await writer.drain()
    except ConnectionError:
        pass  # the other side has gone
    finally:
        writer.close()


if __name__ == "__main__":
    asyncio.run(_serve(sys.argv[1]))
