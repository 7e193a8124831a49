"""A password may be changed while syncd runs, wherever it is kept, and no value of it leaves."""

import json
import os
import re
import sys
from collections.abc import AsyncIterator, Callable, Sequence
from contextlib import asynccontextmanager, suppress
from pathlib import Path
from typing import Any, Final
from urllib.parse import urlsplit

import anyio
import asyncpg
import msgspec
import pytest
from aiohttp import web

from syncd import config_load, config_rules_ends, secrets
from syncd.app import connect
from syncd.config import Config, Secret, SqlServerSource
from syncd.config_anew import Anew
from syncd.errors import ConfigError, TransientError
from syncd.pg.connect import Connection, open_connection
from syncd.progress import Silent
from syncd.reports import EntityReport
from syncd.sources.odbc_database import Database
from syncd.sources.odbc_strings import target_of, with_secret
from tests.cloud import Cloud
from tests.conftest import REPOSITORY, AnyServer, ExternalServer
from tests.odbc.world import LIBODBC, PSQLODBC, connection_string
from tests.pipeline.world import World

ROLE: Final = "rotating"
PIPELINE: Final = """\
pipeline: cases
source: {{kind: postgres, dsn: "{source}"}}
target: {{kind: postgres, dsn: "{target}"}}
ledger: {{lease_ttl_s: 2}}
entities:
  things: {{from: thing, key: [id], into: public.thing}}
"""


@pytest.fixture
async def role(pg_server: AnyServer, pg_dsn: str) -> AsyncIterator["Role"]:
    """A role that has to tell its password, unlike all others of the tests."""
    if isinstance(pg_server, ExternalServer):
        pytest.skip("the server's pg_hba.conf is not ours to change")
    admin = await asyncpg.connect(pg_dsn)
    try:
        ask_for_password(Path(await admin.fetchval("SHOW hba_file")))
        await admin.execute(f"CREATE ROLE {ROLE} SUPERUSER LOGIN; SELECT pg_reload_conf()")
        yield Role(admin, pg_dsn)
        await admin.execute(f"DROP OWNED BY {ROLE}; DROP ROLE {ROLE}")
    finally:
        await admin.close()


def ask_for_password(hba: Path) -> None:
    """Have the server ask the role for its password, once it reads its rules again."""
    line = f"host all {ROLE} 127.0.0.1/32 scram-sha-256\n"
    if line not in hba.read_text():
        hba.write_text(line + hba.read_text())


class Role:
    """The role, by a connection of somebody else."""

    def __init__(self, admin: Any, dsn: str) -> None:
        self._admin = admin
        self._dsn = urlsplit(dsn)

    def dsn(self, password: str) -> str:
        """How the role logs in, with a reference in the place of its password."""
        place = f"{ROLE}:{password}@{self._dsn.hostname}:{self._dsn.port}"
        return self._dsn._replace(netloc=place).geturl()

    async def becomes(self, password: str) -> None:
        """Change the password."""
        await self._admin.execute(f"ALTER ROLE {ROLE} PASSWORD '{password}'")

    async def thrown_out(self) -> None:
        """End all of its sessions, so that it has to log in again."""
        await self._admin.execute(
            "SELECT pg_terminate_backend(pid) FROM pg_stat_activity WHERE usename = $1", ROLE
        )


def load(folder: Path, dsn: str, source: str = "postgresql://nobody@nowhere/none") -> Config:
    """A configuration whose target is ``dsn``."""
    path = folder / "pipeline.yaml"
    path.write_text(PIPELINE.format(source=source, target=dsn))
    return config_load.load(path, {})


@asynccontextmanager
async def logged_in(secret: Secret) -> AsyncIterator[Connection]:
    """A connection that was opened with a secret."""
    connection = await open_connection(
        secret, connect_timeout_s=5, statement_timeout_s=5, read_only=False,
        prepared_statements=True,
    )  # fmt: skip
    try:
        yield connection
    finally:
        await connection.close()


class Kept:
    """A secret of Secrets Manager, as a rotation leaves it."""

    def __init__(self, client: Any) -> None:
        self._client = client

    async def made(self, password: str) -> None:
        """The first version."""
        text = json.dumps({"username": ROLE, "password": password})
        await self._client.create_secret(Name="db/casework", SecretString=text)

    async def becomes(self, password: str, *stages: str) -> None:
        """A new version; the current one turns into the previous one."""
        text = json.dumps({"username": ROLE, "password": password})
        more = {"VersionStages": list(stages)} if stages else {}
        await self._client.put_secret_value(SecretId="db/casework", SecretString=text, **more)


REFERENCE: Final = "${secret:db/casework#password}"


@pytest.fixture
async def kept(cloud: Cloud, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Kept]:
    monkeypatch.setenv("AWS_ENDPOINT_URL", cloud.url)
    async with cloud.client("secretsmanager") as client:
        yield Kept(client)


async def test_a_file_that_changes_is_read_again_for_the_next_connection(
    role: Role, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("first-word\n")
    await role.becomes("first-word")
    dsn = load(tmp_path, role.dsn("${file:password}")).target.dsn
    async with logged_in(dsn):
        pass
    await role.becomes("second-word")
    (tmp_path / "password").write_text("second-word\n")
    async with logged_in(dsn):
        pass


async def test_a_file_that_changes_before_the_role_does_costs_nothing(
    role: Role, tmp_path: Path
) -> None:
    (tmp_path / "password").write_text("first-word")
    await role.becomes("first-word")
    dsn = load(tmp_path, role.dsn("${file:password}")).target.dsn
    async with logged_in(dsn):
        pass
    (tmp_path / "password").write_text("second-word")
    async with logged_in(dsn):
        pass


async def test_the_variable_of_a_mounted_file_is_read_again_too(role: Role, tmp_path: Path) -> None:
    mounted = tmp_path / "dsn"
    mounted.write_text(role.dsn("first-word"))
    await role.becomes("first-word")
    path = tmp_path / "pipeline.yaml"
    path.write_text(PIPELINE.format(source="postgresql://n@n/n", target="postgresql://n@n/n"))
    dsn = config_load.load(path, {"SYNCD_TARGET__DSN_FILE": str(mounted)}).target.dsn
    mounted.write_text(role.dsn("second-word"))
    await role.becomes("second-word")
    async with logged_in(dsn):
        pass


@pytest.mark.parametrize("stage", ["AWSCURRENT", "AWSPREVIOUS", "AWSPENDING"])
async def test_every_version_of_a_rotation_is_tried(
    role: Role, kept: Kept, tmp_path: Path, stage: str
) -> None:
    """Case 82: the role may be at any of the three for a moment."""
    await kept.made("previous-word")
    await kept.becomes("current-word")
    await kept.becomes("pending-word", "AWSPENDING")
    dsn = load(tmp_path, role.dsn(REFERENCE)).target.dsn
    assert dsn.value == role.dsn("current-word")
    await role.becomes(f"{stage.removeprefix('AWS').lower()}-word")
    async with logged_in(dsn):
        pass


async def test_a_login_that_never_worked_is_a_mistake_and_one_that_did_may_work_again(
    role: Role, kept: Kept, tmp_path: Path
) -> None:
    await kept.made("wrong-word")
    await role.becomes("right-word")
    dsn = load(tmp_path, role.dsn(REFERENCE)).target.dsn
    with pytest.raises(ConfigError, match="28P01"):
        async with logged_in(dsn):
            pass
    await kept.becomes("right-word")
    async with logged_in(dsn):
        pass
    await role.becomes("not-yet-known")
    with pytest.raises(TransientError, match="refused, which worked before"):
        async with logged_in(dsn):
            pass


async def test_a_vault_that_is_away_leaves_the_last_value_in_use(
    role: Role, kept: Kept, cloud: Cloud, tmp_path: Path
) -> None:
    await kept.made("only-word")
    await role.becomes("only-word")
    dsn = load(tmp_path, role.dsn(REFERENCE)).target.dsn
    cloud.reset()  # the secret is gone
    async with logged_in(dsn):
        pass


async def test_a_new_value_is_known_to_the_redactor_before_it_is_used(
    kept: Kept, tmp_path: Path
) -> None:
    """Case 96 holds for values that were not there when the configuration was read."""
    await kept.made("first-word")
    config = load(tmp_path, f"postgresql://{ROLE}:{REFERENCE}@db/casework")
    redactor = secrets.redactor(config_load.secret_values(config), {})
    config_load.tell_secrets(config, redactor.learn)
    assert redactor.text("Second-word-2") == "Second-word-2"
    await kept.becomes("Second-word-2")
    assert "Second-word-2" in config.target.dsn.values(refused=True)[0]
    assert redactor.text("first-word, Second-word-2") == "***, ***"
    assert redactor.rendered('{"x": "Second-word-2"}') == '{"x": "***"}'
    assert "word" not in repr(config) + config_load.show(config)


async def test_a_secret_that_cannot_be_read_stops_the_start_and_shows_nothing(
    kept: Kept, tmp_path: Path
) -> None:
    await kept.made("hidden-word")
    for reference, said in (
        ("${secret:db/none}", "the secret db/none of AWS Secrets Manager, found none"),
        ("${secret:db/casework#passwd}", "expected text in its field, found none"),
        ("${secret:db/casework#password#x}", "expected text in its field, found none"),
    ):
        with pytest.raises(ConfigError, match=re.escape(said)) as refused:
            load(tmp_path, f"postgresql://app:{reference}@db/casework")
        assert "word" not in str(refused.value).replace("password", "")


async def test_a_whole_secret_may_be_the_dsn(kept: Kept, tmp_path: Path) -> None:
    await kept.made("x")
    value = load(tmp_path, "postgresql://db/x?y=${secret:db/casework}").target.dsn.value
    assert json.loads(value.partition("y=")[2]) == {"username": ROLE, "password": "x"}


class Shelf:
    """A place in memory."""

    def __init__(self) -> None:
        self.looks = 0

    def now(self) -> str:
        self.looks += 1
        return f"v{self.looks}"

    def beside(self) -> list[str]:
        return ["before", "after"]


def test_a_burst_of_connections_is_one_look_at_the_place_and_a_refusal_another() -> None:
    at_s = [100.0]
    shelf = Shelf()
    anew = Anew(shelf, "v0", lambda: at_s[0])
    assert anew.values(refused=False) == ("v1",)
    assert anew.values(refused=False) == ("v1",)
    anew.works("v1")
    assert anew.values(refused=True) == ("v2", "before", "after", "v1")
    at_s[0] += 1.0
    assert anew.values(refused=False) == ("v3", "v1")


async def night(world: World) -> Sequence[EntityReport]:
    """The entities of a run; one that was thrown out beside its batches begins again."""
    async with world.app() as app:
        while True:
            with suppress(TransientError):
                report = await app.run(None, accept_rewind=False, progress=Silent())
                return report.entities


async def rotate(times: int, role: Role, kept: Kept, world: World) -> int:
    """Change the password while nights pass, throwing the role out each time; failed batches."""
    failed = 0
    over, passed = anyio.Event(), anyio.Event()

    async def pass_nights() -> None:
        nonlocal failed, passed
        while not over.is_set():
            await world.legacy("UPDATE thing SET n = n + 1")
            for entity in await night(world):
                failed += entity.counts.failed + (entity.status != "completed")
            passed.set()
            passed = anyio.Event()

    async with anyio.create_task_group() as tasks:
        tasks.start_soon(pass_nights)
        for n in range(times):
            # Either order happens, and either way there is a moment in which the two differ.
            steps = [kept.becomes(f"word-number-{n}"), role.becomes(f"word-number-{n}")]
            for step in steps if n % 2 else steps[::-1]:
                await step
            await role.thrown_out()
            await passed.wait()
        over.set()
    return failed


@pytest.fixture
async def under_load(
    role: Role, kept: Kept, make_database: Callable[[str], str], tmp_path: Path
) -> World:
    """A pipeline whose target is reached with a secret; 300 rows change each night."""
    await kept.made("word-number-x")
    await role.becomes("word-number-x")
    config = load(tmp_path, role.dsn(REFERENCE), make_database("legacy"))
    limits = msgspec.structs.replace(config.limits, batch_rows=50)
    world = World(msgspec.structs.replace(config, limits=limits))
    await world.legacy(
        "CREATE TABLE thing (id int PRIMARY KEY, n int)",
        "INSERT INTO thing SELECT g, 0 FROM generate_series(1, 300) g",
    )
    await world.init()
    return world


@pytest.mark.parametrize(
    "times", [4, pytest.param(100, marks=[pytest.mark.long, pytest.mark.timeout(900)])]
)
async def test_no_batch_fails_while_the_password_is_changed_again_and_again(
    under_load: World, role: Role, kept: Kept, times: int
) -> None:
    """Case 82."""
    assert await rotate(times, role, kept, under_load) == 0


async def test_a_secret_of_the_vault_stands_in_no_output(
    role: Role, kept: Kept, tmp_path: Path
) -> None:
    await kept.made("wrong-word-1")
    await role.becomes("right-word-1")
    load(tmp_path, role.dsn(REFERENCE))

    path = str(tmp_path / "pipeline.yaml")
    ended = await anyio.run_process(
        [sys.executable, "-m", "syncd", "validate", "-c", path, "--log-level", "debug"],
        env={**os.environ, "SYNCD_DEBUG": "1"}, cwd=REPOSITORY, check=False,
    )  # fmt: skip
    said = (ended.stdout + ended.stderr).decode()
    assert "28P01" in said
    assert "word-1" not in said


@pytest.mark.skipif(not (LIBODBC and PSQLODBC), reason="no psqlODBC: install odbc-postgresql")
async def test_a_source_over_odbc_logs_in_with_the_password_of_now(
    role: Role, tmp_path: Path
) -> None:
    """Each session asks for it anew, whether the whole string or the password is kept outside."""
    (tmp_path / "password").write_text("first-word")
    await role.becomes("first-word")
    url = role.dsn("first-word")
    source = connection_string(url).replace("PWD=first-word", "PWD=${file:password}")
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        PIPELINE.format(source="unused", target=url).replace(
            '{kind: postgres, dsn: "unused"}',
            f'{{kind: sqlserver, dialect: postgres, odbc: "{source}"}}',
        )
    )
    database = Database(config_load.load(path, {}).source)  # type: ignore[arg-type]
    try:
        for word in ("first-word", "second-word", "third-word"):
            (tmp_path / "password").write_text(word)
            await role.becomes(word)
            await role.thrown_out()
            with suppress(TransientError):  # the session that was thrown out
                async with database.connections.acquire() as session:
                    assert await session.rows("asking", "SELECT 1")
            async with database.connections.acquire() as session:
                assert await session.rows("asking", "SELECT 1")
        await role.becomes("not-yet-known")
        await role.thrown_out()
        with pytest.raises(TransientError, match="refused, which worked before"):
            async with database.connections.acquire():
                pass
    finally:
        await database.close()


async def test_the_password_of_sql_server_stands_in_each_new_string(tmp_path: Path) -> None:
    """Where no string is given but its parts; the driver is not there, so nothing is opened."""
    (tmp_path / "password").write_text("first-word")
    path = tmp_path / "pipeline.yaml"
    path.write_text(
        PIPELINE.format(source="unused", target="postgresql://n@n/n").replace(
            '{kind: postgres, dsn: "unused"}',
            "{kind: sqlserver, server: s, database: d, user: u, driver: /none/libtdsodbc.so, "
            'password: "${file:password}"}',
        )
    )
    source = config_load.load(path, {}).source
    assert isinstance(source, SqlServerSource)
    assert source.password is not None
    (tmp_path / "password").write_text("second-word")
    [now] = source.password.values(refused=False)
    assert "PWD=second-word;" in target_of(with_secret(source, now), "/none/libtdsodbc.so").text


async def test_a_webhook_that_moved_is_read_again(world_of_hook: "Hook") -> None:
    """Both when it changed before, and when the old one is refused."""
    hook = world_of_hook
    async with connect(hook.config) as app:
        await app.post("one")
        hook.moves_to("second")
        await app.post("two")
        hook.answers_only("third")
        with pytest.raises(TransientError, match="refused, which worked before"):
            await app.post("lost")
        hook.file.write_text(f"{hook.url}/third")
        await app.post("three")
    assert hook.told == [("first", "one"), ("second", "two"), ("third", "three")]


class Hook:
    """A webhook that moves, and the file that says where to."""

    def __init__(self, folder: Path) -> None:
        self.url = ""
        self.file = folder / "hook"
        self.told: list[tuple[str, str]] = []
        self._path = ""
        self._folder = folder

    @property
    def config(self) -> Config:
        """A pipeline that reports there."""
        path = self._folder / "pipeline.yaml"
        text = PIPELINE.format(source="postgresql://n@n/n", target="postgresql://n@n/n")
        path.write_text(f'{text}report: {{webhook: "${{file:hook}}"}}\n')
        return config_load.load(path, {})

    def answers_only(self, path: str) -> None:
        """Any other is not known from now on."""
        self._path = path

    def moves_to(self, path: str) -> None:
        """The same, and the file says so."""
        self._path = path
        self.file.write_text(f"{self.url}/{path}")

    async def take(self, request: web.Request) -> web.Response:
        """A message."""
        path = request.match_info["path"]
        if path != self._path:
            return web.Response(status=404)
        self.told.append((path, (await request.json())["text"]))
        return web.Response()


@pytest.fixture
async def world_of_hook(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Hook]:
    """A server on loopback; a configuration only takes https, so that rule is left out."""
    monkeypatch.setattr(config_rules_ends, "_WEBHOOK", re.compile("http://127"))
    hook = Hook(tmp_path)
    app = web.Application()
    app.add_routes([web.post("/{path}", hook.take)])
    runner = web.AppRunner(app)
    await runner.setup()
    await web.TCPSite(runner, "127.0.0.1", 0).start()
    hook.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    hook.moves_to("first")
    try:
        yield hook
    finally:
        await runner.cleanup()
