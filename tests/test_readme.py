"""What README.md says a newcomer can type, typed; and the privileges that it names, granted."""

import asyncio
import os
import re
import subprocess
import sys
import uuid
from collections.abc import Awaitable, Callable, Iterator, Mapping
from pathlib import Path
from typing import Final
from urllib.parse import urlsplit

import asyncpg
import pytest

from syncd import config_load
from syncd.app import connect
from syncd.cli.exit_codes import Exit
from syncd.errors import SyncdError
from syncd.progress import Silent
from syncd.reports import RunReport
from tests.conftest import REPOSITORY

MakeDatabase = Callable[[str], str]

README: Final = (REPOSITORY / "README.md").read_text("utf-8")
BLOCKS: Final = dict(re.findall(r"<!-- test: (.+?) -->\n```\w+\n(.*?)```", README, re.DOTALL))
DEMO: Final = REPOSITORY / "demo" / "casework"


async def execute(dsn: str, *scripts: str) -> None:
    connection = await asyncpg.connect(dsn)
    try:
        for script in scripts:
            await connection.execute(script)
    finally:
        await connection.close()


async def fetch(dsn: str, query: str, *values: object) -> list[tuple[object, ...]]:
    connection = await asyncpg.connect(dsn)
    try:
        return [tuple(row) for row in await connection.fetch(query, *values)]
    finally:
        await connection.close()


def shell(script: str, folder: Path, **environ: str) -> str:
    """What a shell prints for ``script``, which must not fail."""
    path = f"{Path(sys.executable).parent}{os.pathsep}{os.environ['PATH']}"
    done = subprocess.run(
        ["/bin/bash", "-eu", "-c", script],
        cwd=folder,
        env=os.environ | {"PATH": path} | environ,
        capture_output=True,
        text=True,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    return done.stdout


def verbs(dsn: str) -> str:
    """The verbs of the first pipeline, on a database that exists."""
    script, replaced = re.subn(r'"postgresql://USER.*"', f'"{dsn}"', BLOCKS["verbs"])
    assert replaced == 1
    return script


def test_the_first_pipeline_over_files_works_as_printed(tmp_path: Path, pg_dsn: str) -> None:
    """Files, pipeline and verbs, copied from the page, bring both tables into the database."""
    shell(BLOCKS["files"], tmp_path)
    (tmp_path / "pipeline.yaml").write_text(BLOCKS["pipeline over files"], "utf-8")
    told = shell(verbs(pg_dsn), tmp_path)
    assert "loans: created public.loans with 5 columns" in told
    assert "members: inserted 1: active, id, joined, name" in told
    assert told.count("completed in") == 3
    loans = asyncio.run(fetch(pg_dsn, "SELECT id, title, due::text, fine::text FROM loans"))
    assert sorted(loans) == [
        (10, "The Fen", "2026-05-01", "0.00"),
        (11, "Salt Roads", "2026-04-12", "1.50"),
    ]


def test_the_first_pipeline_has_twenty_lines() -> None:
    """It is as short as its heading's promise: at most twenty lines."""
    assert len(BLOCKS["pipeline over files"].splitlines()) <= 20


def test_the_first_pipeline_over_postgresql_works_as_printed(
    tmp_path: Path, make_database: MakeDatabase
) -> None:
    """The same from a database, where no type has to be told."""
    legacy, target = make_database("legacy"), make_database("target")
    tables = """
        CREATE SCHEMA lib;
        CREATE TABLE lib.members (id integer PRIMARY KEY, name text, joined date, active boolean);
        CREATE TABLE lib.loans (id integer PRIMARY KEY, member_id integer REFERENCES lib.members,
                                title text, due date, fine numeric(8, 2));
        INSERT INTO lib.members VALUES (1, 'Ada Lund', '2021-03-01', true);
        INSERT INTO lib.loans VALUES (10, 1, 'The Fen', '2026-05-01', 1.50);
    """
    asyncio.run(execute(legacy, tables))
    (tmp_path / "pipeline.yaml").write_text(BLOCKS["pipeline over PostgreSQL"], "utf-8")
    told = shell(verbs(target), tmp_path, LEGACY_DSN=legacy)
    assert told.count("completed in") == 3
    assert asyncio.run(fetch(target, "SELECT id, due::text, fine::text FROM loans")) == [
        (10, "2026-05-01", "1.50")
    ]


def test_every_exit_code_is_in_the_readme() -> None:
    """The table of exit codes has a line for each code that the command line can give."""
    table = README.partition("| exit code | means |")[2].partition("\n\n")[0]
    rows = re.findall(r"^\| (\d+)(?:, (\d+))? \|", table, re.MULTILINE)
    found = {int(code) for row in rows for code in row if code}
    assert found == {*map(int, Exit), 130, 143}


# -- privileges --------------------------------------------------------------------------------


class Roles:
    """Both databases of the demo in small, with the two roles of the page."""

    def __init__(self, legacy: str, target: str, folder: Path) -> None:
        self.owners = {"legacy": legacy, "casework": target}
        self.suffix = uuid.uuid4().hex[:8]
        self.folder = folder

    def statements(self, block: str) -> list[str]:
        """The statements of a block, for this test's own databases and roles."""
        text = re.sub(r"--.*", "", BLOCKS[block])
        for name, dsn in self.owners.items():
            database = urlsplit(dsn).path.lstrip("/")
            text = text.replace(f"DATABASE {name}", f'DATABASE "{database}"')
        text = re.sub(r"\bsyncd_(reader|writer)\b", rf"syncd_\1_{self.suffix}", text)
        return [s.strip() for s in text.split(";") if s.strip()]

    def as_role(self, role: str, database: str) -> str:
        """The DSN of a database for one of the roles."""
        url = urlsplit(self.owners[database])
        host = (url.netloc or "").rsplit("@", 1)[-1]
        netloc = f"syncd_{role}_{self.suffix}:change%20me@{host}"
        return url._replace(netloc=netloc).geturl()

    async def grant(self, left_out: str = "") -> None:
        """Make both roles anew with what the page grants them, but for one statement."""
        await self.drop()
        for block, database in (
            ("grants at the source", "legacy"),
            ("grants at the target", "casework"),
        ):
            granted = [s for s in self.statements(block) if s != left_out]
            await execute(self.owners[database], *granted)

    async def drop(self) -> None:
        """Remove both roles."""
        for role in ("reader", "writer"):
            name = f"syncd_{role}_{self.suffix}"
            query = "SELECT 1 FROM pg_roles WHERE rolname = $1"
            known = await fetch(self.owners["legacy"], query, name)
            for dsn in self.owners.values() if known else ():
                await execute(dsn, f"DROP OWNED BY {name}")
            await execute(self.owners["legacy"], f"DROP ROLE IF EXISTS {name}")

    async def run(self, environ: Mapping[str, str]) -> RunReport:
        """One pass of the demo's pipeline."""
        config = config_load.load(self.folder / "pipeline.yaml", environ)
        async with connect(config) as app:
            return await app.run(None, accept_rewind=False, progress=Silent())

    async def run_as_roles(self) -> RunReport:
        """One pass with the roles' rights, with all kinds of work in it."""
        await execute(
            self.owners["legacy"],
            "UPDATE casebook.region SET region_name = region_name || '.' WHERE region_code = 'HL'",
            "INSERT INTO casebook.region VALUES ('ZZ' || nextval('casebook.n'), 'New')",
            "DELETE FROM casebook.region WHERE region_code IN"
            " (SELECT min(region_code) FROM casebook.region WHERE region_code LIKE 'ZZ%')",
        )
        return await self.run(
            {
                "LEGACY_DSN": self.as_role("reader", "legacy"),
                "CASEWORK_DSN": self.as_role("writer", "casework"),
            }
        )


@pytest.fixture
def roles(make_database: MakeDatabase, tmp_path: Path) -> Iterator[Roles]:
    """The demo's tables with a few regions and offices; PUBLIC has no rights at all."""
    legacy, target = make_database("legacy"), make_database("casework")
    script = (DEMO / "legacy.sql").read_text("utf-8").partition("INSERT INTO casebook.referral")[0]
    public = "REVOKE ALL ON DATABASE {} FROM PUBLIC; REVOKE ALL ON SCHEMA public FROM PUBLIC"
    for dsn in (legacy, target):
        asyncio.run(execute(dsn, public.format(f'"{urlsplit(dsn).path.lstrip("/")}"')))
    extra = "CREATE SEQUENCE casebook.n; INSERT INTO casebook.region VALUES ('ZZ', 'Old')"
    asyncio.run(execute(legacy, script, extra))
    asyncio.run(execute(target, (DEMO / "casework.sql").read_text("utf-8")))
    for path in (DEMO / "pipeline").iterdir():
        (tmp_path / path.name).write_text(path.read_text("utf-8"), "utf-8")
    found = Roles(legacy, target, tmp_path)
    owner = {"LEGACY_DSN": legacy, "CASEWORK_DSN": target}
    asyncio.run(_init_and_run(found, owner))
    try:
        yield found
    finally:
        asyncio.run(found.drop())


async def _init_and_run(roles: Roles, environ: Mapping[str, str]) -> None:
    config = config_load.load(roles.folder / "pipeline.yaml", environ)
    async with connect(config) as app:
        await app.init()
    assert (await roles.run(environ)).status == "completed"


def test_an_accepted_drift_is_told_as_printed(roles: Roles) -> None:
    """A column that came to the old system is added to the new one when it is accepted."""
    asyncio.run(execute(roles.owners["legacy"], "ALTER TABLE casebook.office ADD phone text"))
    command, _, printed = BLOCKS["drift"].partition("\n")
    environ = {"LEGACY_DSN": roles.owners["legacy"], "CASEWORK_DSN": roles.owners["casework"]}
    assert shell(command.removeprefix("$ "), roles.folder, **environ) == printed


async def refused(work: Awaitable[RunReport]) -> bool:
    """Whether the work fails, or one of its entities does."""
    try:
        return (await work).status == "failed"
    except SyncdError:
        return True


def test_the_roles_of_the_readme_suffice(roles: Roles) -> None:
    """With what the page grants, a night inserts, updates and deletes."""
    asyncio.run(roles.grant())
    report = asyncio.run(roles.run_as_roles())
    assert report.status == "completed", report
    counts = report.entities[0].counts
    assert (counts.inserted, counts.updated, counts.deleted) == (1, 1, 1)


def test_the_roles_of_the_readme_have_no_right_too_many(roles: Roles) -> None:
    """Without any one of the grants on databases and schemas a night fails."""
    blocks = ("grants at the source", "grants at the target")
    grants = [s for b in blocks for s in roles.statements(b) if s.startswith("GRANT")]
    assert len(grants) == 7
    superfluous = []
    for grant in grants:
        asyncio.run(roles.grant(left_out=grant))
        if not asyncio.run(refused(roles.run_as_roles())):
            superfluous.append(grant)
    assert superfluous == []


def test_the_reader_of_the_readme_cannot_write(roles: Roles) -> None:
    """The role at the source may change nothing, whatever the session says."""
    asyncio.run(roles.grant())
    with pytest.raises(asyncpg.InsufficientPrivilegeError):
        asyncio.run(execute(roles.as_role("reader", "legacy"), "DELETE FROM casebook.region"))
