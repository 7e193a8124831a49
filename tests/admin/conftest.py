"""One pipeline that has run, for all the tests that only look at it or leave it as it was."""

import asyncio
import uuid
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import UTC, datetime, timedelta
from ipaddress import IPv4Address
from pathlib import Path
from typing import Any

import asyncpg
import msgspec
import pytest
from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization

from syncd.config import Deletes, Entity, HoldAbove
from tests.admin.served import EC, Served, issuer, jwks, serving, settings
from tests.pipeline.world import World, make_config

LEGACY = (
    "CREATE TABLE cases (id int PRIMARY KEY, status text, note text)",
    "INSERT INTO cases SELECT i, 'A', 'n' FROM generate_series(1, 8) i",
    "CREATE TABLE people (id int PRIMARY KEY, name text)",
    "INSERT INTO people VALUES (1, 'Ann'), (2, 'bad'), (3, 'Cy')",
)
ENTITIES = {
    "cases": Entity(from_="cases", key=("id",), into="public.cases"),
    "people": Entity(from_="people", key=("id",), into="public.people"),
}


class Databases:
    """Makes databases for longer than one test."""

    def __init__(self, admin_dsn: str, dsn: Callable[[str], str]) -> None:
        self._admin_dsn = admin_dsn
        self._dsn = dsn
        self._made: list[str] = []

    def __call__(self, suffix: str) -> str:
        name = f"t_{uuid.uuid4().hex[:12]}_{suffix}"
        in_thread(self._do, f'CREATE DATABASE "{name}" TEMPLATE template0')
        self._made.append(name)
        return self._dsn(name)

    def drop(self) -> None:
        for name in self._made:
            in_thread(self._do, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    async def _do(self, statement: str) -> None:
        connection = await asyncpg.connect(self._admin_dsn)
        try:
            await connection.execute(statement)
        finally:
            await connection.close()


def in_thread(call: Callable[..., Any], *args: Any) -> Any:
    """The result of a coroutine function, run in a loop of its own."""
    with ThreadPoolExecutor(max_workers=1) as thread:
        return thread.submit(lambda: asyncio.run(call(*args))).result()


async def prepare(make_database: Callable[[str], str]) -> World:
    """A pipeline with an open conflict, two held deletes and a row that the target refuses."""
    config = make_config(
        make_database("legacy"),
        make_database("target"),
        ENTITIES,
        deletes=Deletes(hold_above=HoldAbove(rows=0, percent=0)),
    )
    world = World(msgspec.structs.replace(config, pipeline="orders"))
    await world.legacy(*LEGACY)
    await world.init()
    await world.staff("ALTER TABLE people ADD CONSTRAINT good CHECK (name <> 'bad')")
    await world.night()
    await world.staff("UPDATE cases SET status = 'X' WHERE id = 1")
    await world.legacy(
        "UPDATE cases SET status = 'B' WHERE id = 1", "DELETE FROM cases WHERE id IN (7, 8)"
    )
    await world.night()
    return world


@pytest.fixture(scope="module")
def world(pg_server: Any) -> Iterator[World]:
    """See ``prepare``; shared by the tests of a module."""
    databases = Databases(pg_server.dsn(), pg_server.dsn)
    try:
        yield in_thread(prepare, databases)
    finally:
        databases.drop()


@pytest.fixture(scope="module")
def served(world: World, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Served]:
    """The API over that pipeline, with static tokens and an issuer."""
    keys = tmp_path_factory.mktemp("keys") / "jwks.json"
    keys.write_bytes(jwks())
    with serving(settings(jwt=issuer(str(keys))), world.config) as found:
        yield found


@pytest.fixture(scope="module")
def certificate(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    """A certificate for 127.0.0.1, signed by itself, and its key."""
    folder = tmp_path_factory.mktemp("tls")
    name = x509.Name([x509.NameAttribute(x509.NameOID.COMMON_NAME, "issuer")])
    now = datetime.now(UTC)
    made = (
        x509.CertificateBuilder()
        .subject_name(name)
        .issuer_name(name)
        .public_key(EC.public_key())
        .serial_number(x509.random_serial_number())
        .not_valid_before(now - timedelta(days=1))
        .not_valid_after(now + timedelta(days=1))
        .add_extension(
            x509.SubjectAlternativeName([x509.IPAddress(IPv4Address("127.0.0.1"))]), critical=False
        )
        .sign(EC, hashes.SHA256())
    )
    cert, key = folder / "cert.pem", folder / "key.pem"
    cert.write_bytes(made.public_bytes(serialization.Encoding.PEM))
    key.write_bytes(
        EC.private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        )
    )
    return cert, key
