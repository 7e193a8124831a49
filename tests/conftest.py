"""What every test may ask for: databases that are its own, the reference data, one event loop.

A worker starts one PostgreSQL and a test makes databases in it. ``SYNCD_TEST_DSN`` names a
server to use instead; ``SYNCD_TEST_PG`` chooses the programs, for example ``15``.
"""

import os
import uuid
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import TYPE_CHECKING, Any, Final, Literal, TypeAlias
from urllib.parse import urlsplit

import asyncpg
import hypothesis
import pytest
from anyio.from_thread import BlockingPortal, start_blocking_portal
from msgspec import Struct

from syncd import embedded
from tests import scratch

if TYPE_CHECKING:
    from tests.cloud import Cloud

REPOSITORY: Final = Path(__file__).resolve().parent.parent

scratch.prefer_memory()

# Two workers on two cores make single examples slow at times; a deadline would only flicker.
hypothesis.settings.register_profile("test", deadline=None, print_blob=True, max_examples=50)
hypothesis.settings.register_profile("hunt", deadline=None, print_blob=True, max_examples=100)
hypothesis.settings.register_profile("trust", deadline=None, print_blob=True, max_examples=2000)
hypothesis.settings.load_profile(os.environ.get("SYNCD_HYPOTHESIS_PROFILE", "test"))


class ExternalServer(Struct, frozen=True):
    """A server that somebody else started, by the URL of one of its databases."""

    url: str

    def dsn(self, database: str = "") -> str:
        """The same URL for another database; the given one when none is named."""
        return urlsplit(self.url)._replace(path=f"/{database}").geturl() if database else self.url


AnyServer: TypeAlias = embedded.Server | ExternalServer


@pytest.fixture(scope="session")
def anyio_backend() -> Literal["asyncio"]:
    """The loop that production runs on, and no other."""
    return "asyncio"


@pytest.fixture(scope="session")
def pg_server(tmp_path_factory: pytest.TempPathFactory) -> Iterator[AnyServer]:
    """A running server, one per worker."""
    url = os.environ.get("SYNCD_TEST_DSN")
    if url:
        yield ExternalServer(url)
        return
    preferred = os.environ.get("SYNCD_TEST_PG") or None
    server = embedded.prepare(tmp_path_factory.mktemp("pg"), preferred=preferred)
    try:
        with embedded.start(server, settings={"max_connections": "200", "max_wal_size": "256MB"}):
            yield server
    finally:
        embedded.discard(server)


@pytest.fixture(scope="session")
def database_maker(pg_server: AnyServer) -> Iterator["DatabaseMaker"]:
    """One per worker. It may be used from plain and from async tests: its loop is in a thread."""
    with start_blocking_portal() as portal:
        maker = DatabaseMaker(pg_server.dsn(), portal)
        try:
            yield maker
        finally:
            maker.close()


@pytest.fixture
def make_database(
    pg_server: AnyServer, database_maker: "DatabaseMaker"
) -> Iterator[Callable[[str], str]]:
    """Makes empty databases: a suffix in, a DSN out; all are dropped when the test ends."""
    made: list[str] = []

    def make(name_suffix: str) -> str:
        name = f"t_{uuid.uuid4().hex[:12]}_{name_suffix}"
        database_maker.create(name)
        made.append(name)
        return pg_server.dsn(name)

    try:
        yield make
    finally:
        for name in made:
            database_maker.drop(name)


@pytest.fixture
def pg_dsn(make_database: Callable[[str], str]) -> str:
    """The DSN of an empty database of this test's own."""
    return make_database("main")


@pytest.fixture(scope="session")
def cloud_server(
    request: pytest.FixtureRequest, tmp_path_factory: pytest.TempPathFactory
) -> "Iterator[Cloud]":
    """A running cloud, one per worker; ``cloud`` is what a test asks for."""
    from tests import cloud  # noqa: PLC0415 - it names this module

    kind = getattr(request, "param", cloud.MINISTACK)
    if not kind.path.exists():
        pytest.skip("no cloud: `make test` installs it from requirements/cloud.lock")
    with cloud.running(tmp_path_factory.mktemp("cloud") / "cloud.log", kind) as server:
        yield server


@pytest.fixture
def cloud(cloud_server: "Cloud", monkeypatch: pytest.MonkeyPatch) -> "Cloud":
    """An empty cloud, and the credentials that it takes in the environment."""
    from tests.cloud import CREDENTIALS  # noqa: PLC0415 - as above

    for name, value in CREDENTIALS.items():
        monkeypatch.setenv(name, value)
    cloud_server.reset()
    return cloud_server


@pytest.fixture(scope="session")
def shared_dir() -> Path:
    """The folder of reference data: ``SYNCD_SHARED``, else ``shared`` beside the repository."""
    folder = Path(os.environ.get("SYNCD_SHARED") or REPOSITORY.parent / "shared")
    if not folder.is_dir():
        pytest.skip("no reference data: set SYNCD_SHARED to its folder")
    return folder


class DatabaseMaker:
    """Makes and drops databases over one connection, since a test makes two and is short."""

    def __init__(self, admin_dsn: str, portal: BlockingPortal) -> None:
        self._dsn = admin_dsn
        self._portal = portal
        self._connection: asyncpg.Connection[Any] | None = None

    def create(self, name: str) -> None:
        """Make an empty database."""
        self._portal.call(self._create, name)

    def drop(self, name: str) -> None:
        """Drop it, whoever is connected; may be repeated."""
        self._portal.call(self._execute, f'DROP DATABASE IF EXISTS "{name}" WITH (FORCE)')

    def close(self) -> None:
        """End the connection."""
        if self._connection is not None:
            self._portal.call(self._connection.close)

    async def _connected(self) -> "asyncpg.Connection[Any]":
        if self._connection is None or self._connection.is_closed():
            self._connection = await asyncpg.connect(self._dsn)
        return self._connection

    async def _create(self, name: str) -> None:
        # Copying files is faster than the log for an empty template; the choice came with 15.
        copying = (await self._connected()).get_server_version().major >= 15
        strategy = " STRATEGY file_copy" if copying else ""
        await self._execute(f'CREATE DATABASE "{name}" TEMPLATE template0{strategy}')

    async def _execute(self, statement: str) -> None:
        await (await self._connected()).execute(statement)
