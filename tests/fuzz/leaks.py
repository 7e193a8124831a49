"""Marked secrets and marked row values, the command line over them, and a search for the marks."""

import base64
import os
import socket
import threading
from collections.abc import AsyncIterator, Iterable, Iterator, Mapping, Sequence
from contextlib import asynccontextmanager, contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote

import asyncpg
from msgspec import Struct
from prometheus_client import generate_latest
from typer.testing import CliRunner

from syncd.app import App
from syncd.cli.main import app
from syncd.cli.shell import Shell
from syncd.config import Config
from syncd.metrics import Metrics
from syncd.site import Site

_TABLES: Final = """
SELECT format('%I.%I', schemaname, tablename) FROM pg_catalog.pg_tables
WHERE schemaname LIKE 'syncd%' ORDER BY 1
"""


def spellings(mark: str) -> Iterator[bytes]:
    """How a mark may be written: plain, hex, base64 at each of three offsets, in a URL."""
    plain = mark.encode()
    yield plain
    yield plain.hex().encode()
    yield quote(mark, safe="").encode()
    for offset in range(3):
        # Of a longer text that was encoded whole, the characters that this part alone decides.
        encoded = base64.b64encode(bytes(offset) + plain)
        yield encoded[(0, 2, 3)[offset] : len(encoded) - 4]


def found(marks: Sequence[str], text: bytes) -> list[str]:
    """The marks that stand in ``text``, whatever way they are written."""
    lower = text.lower()
    # All begin alike: a text without any spelling of that has none of them.
    if not _stands(os.path.commonprefix(marks), text, lower):  # noqa: RUF071 - of characters
        return []
    return [mark for mark in marks if _stands(mark, text, lower)]


def _stands(mark: str, text: bytes, lower: bytes) -> bool:
    # Hexadecimal digits, and what a program writes in capitals.
    return any(s in text or s.lower() in lower for s in set(spellings(mark)))


class Said(Struct, frozen=True):
    """What one command said, on both streams and on its way out."""

    line: Sequence[str]
    code: int
    text: bytes


class Commands:
    """``syncd`` in this process, on real databases, with metrics; everything said is kept."""

    def __init__(self, folder: Path, environ: Mapping[str, str]) -> None:
        self.said: list[Said] = []
        self.metrics = Metrics()
        self._folder = folder
        self._environ = dict(environ)

    def __call__(self, *line: str, config: str = "pipeline.yaml", debug: bool = False) -> Said:
        """Run one verb; its own arguments come first."""
        environ = self._environ | ({"SYNCD_DEBUG": "1"} if debug else {})
        whole = [*line, "-c", str(self._folder / config)]
        result = CliRunner().invoke(app, whole, obj=Shell(self._connect, environ))
        text = result.output.encode() + repr(result.exception).encode()
        said = Said(line, result.exit_code, text)
        self.said.append(said)
        return said

    def counted(self) -> bytes:
        """The metrics as they are served."""
        return generate_latest(self.metrics.registry)

    @asynccontextmanager
    async def _connect(self, config: Config) -> AsyncIterator[App]:
        site = Site(config)
        try:
            yield App(site, self.metrics.pipeline(config.pipeline, "files", config.entities))
        finally:
            await site.close()


async def ledger_text(dsn: str) -> bytes:
    """Every column of every table of the ledgers in a database, as text."""
    connection = await asyncpg.connect(dsn)
    try:
        parts = []
        for (table,) in await connection.fetch(_TABLES):
            rows = await connection.fetch(f"SELECT t::text FROM {table} t")  # noqa: S608
            parts += [f"{table} {row[0]}" for row in rows]
    finally:
        await connection.close()
    return "\n".join(parts).encode()


async def execute(dsn: str, *statements: str) -> None:
    """Run statements as somebody else."""
    connection = await asyncpg.connect(dsn)
    try:
        for statement in statements:
            await connection.execute(statement)
    finally:
        await connection.close()


@contextmanager
def refusing_server() -> Iterator[int]:
    """The port of a server that asks for the password, refuses it, and quotes it in its answer."""
    listener = socket.create_server(("127.0.0.1", 0))
    thread = threading.Thread(target=_refuse, args=(listener,))
    thread.start()
    try:
        yield listener.getsockname()[1]
    finally:
        listener.shutdown(socket.SHUT_RDWR)
        listener.close()
        thread.join()


def _refuse(listener: socket.socket) -> None:
    while True:
        try:
            connection, _ = listener.accept()
        except OSError:
            return
        with connection:
            connection.settimeout(5.0)
            _refuse_one(connection)


def _refuse_one(connection: socket.socket) -> None:
    try:
        startup = _message(connection, typed=False)
        while startup[:4] in (b"\x04\xd2\x16\x2f", b"\x04\xd2\x16\x30"):  # TLS, GSS: neither
            connection.sendall(b"N")
            startup = _message(connection, typed=False)
        connection.sendall(b"R\0\0\0\x08\0\0\0\x03")  # in clear text, please
        password = _message(connection, typed=True).rstrip(b"\0")
        told = b"SFATAL\0C28P01\0Mpassword authentication failed: " + password + b"\0\0"
        connection.sendall(b"E" + (len(told) + 4).to_bytes(4, "big") + told)
    except OSError:
        return


def _message(connection: socket.socket, *, typed: bool) -> bytes:
    if typed:
        _exactly(connection, 1)
    return _exactly(connection, int.from_bytes(_exactly(connection, 4), "big") - 4)


def _exactly(connection: socket.socket, size: int) -> bytes:
    data = b""
    while len(data) < size:
        piece = connection.recv(size - len(data))
        if not piece:
            raise ConnectionResetError
        data += piece
    return data


def assert_silent(said: Iterable[Said], marks: Sequence[str], *, but: Sequence[str] = ()) -> None:
    """No mark in what was said; ``but`` are verbs whose contract is to show values."""
    leaks = [
        (one.line, found(marks, one.text)[:3])
        for one in said
        if " ".join(one.line[:2]) not in but and one.line[0] not in but
    ]
    shown: list[Any] = [leak for leak in leaks if leak[1]]
    assert not shown, f"{len(shown)} commands told marks: {shown[:5]}"
