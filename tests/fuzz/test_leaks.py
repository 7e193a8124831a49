"""Fifty marked secrets and a thousand marked values go in, and none comes out (I13, case 96).

What may be shown is what docs/cli.md says: ``explain`` and ``conflicts show`` print values. No
other verb does, at any level of the log, in text or in JSON, in success or in failure; neither do
the metrics, nor the ledger. Secrets are shown nowhere, in a traceback neither.
"""

# ruff: noqa: S608 - the statements are made of the marks of this file.

import asyncio
import base64
import gzip
import socket
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Final

import pytest

from syncd import config_load
from syncd.config import Secret
from syncd.secrets import Redactor
from tests.fuzz.leaks import (
    Commands,
    assert_silent,
    execute,
    found,
    ledger_text,
    refusing_server,
    spellings,
)

MakeDatabase = Callable[[str], str]
SECRETS: Final = 50
OF_A_ROUND: Final = 5
VALUES: Final = 1000
SHARE: Final = 250
SHOW_VALUES: Final = ("explain", "conflicts show")
LOGS: Final = (
    ("--log-level", "debug", "--log-format", "json"),
    ("--log-level", "info", "--log-format", "console", "--verbose"),
    ("--log-level", "error"),
)
BOTH: Final = ("text", "json")
WAYS: Final = tuple(zip(("text", "json", "text"), LOGS, strict=True))

PEOPLE: Final = """\
pipeline: people
source: {{kind: files, path: "{folder}/dump", format: csv}}
target: {{kind: postgres, dsn: "{target}"}}
ledger: {{lease_ttl_s: 0.3}}
limits: {{batch_rows: 100}}
deletes: {{hold_above: {{rows: 5, percent: 1.0}}}}
entities:
  people:
    from: {file}
    key: [id]
    into: public.people
    columns: {{id: integer, name: text, born: date, points: integer, note: text}}
"""
TARGET: Final = """
CREATE TABLE people (
    id int PRIMARY KEY, name varchar(24) UNIQUE, born date, points int CHECK (points < 1000),
    note text CHECK (note NOT LIKE 'refused%'))
"""


def value(at: int) -> str:
    """The mark of a row."""
    return f"kanarie{at:04}row"


MARKS: Final = [value(at) for at in range(VALUES)]


def people(rows: int, *, night: int = 0) -> str:
    """A dump: most rows are sound, some have a poisoned type, some the target refuses."""
    lines = ["id,name,born,points,note"]
    for at in range(rows):
        mark = value(at)
        born, points, note = "1990-01-01", "7", f"{mark} of night {night if at < 20 else 0}"
        match at % 240:
            case 1:
                points = mark
            case 2:
                born = mark
            case 3:
                note = f"refused {mark}"
            case 4:
                mark += " and much too long for it"
            case 5:
                points = "5000"
            case 6:
                mark = value(at - 6)  # a name that is taken
            case 7:
                note = f'"{mark}" """'
            case 8:
                note = f"{mark},{mark},{mark}"
        lines.append(f"{at},{mark},{born},{points},{note}")
    return "\n".join(lines) + "\n"


class People:
    """The pipeline with the thousand rows."""

    def __init__(self, folder: Path, target: str) -> None:
        self.folder, self.target = folder, target
        self.syncd = Commands(folder, {})
        (folder / "dump").mkdir()
        self.configure("people.csv")

    def configure(self, file: str, name: str = "pipeline.yaml", target: str = "") -> None:
        text = PEOPLE.format(folder=self.folder, file=file, target=target or self.target)
        (self.folder / name).write_text(text)

    def dump(self, text: str | bytes, file: str = "people.csv") -> None:
        data = text.encode() if isinstance(text, str) else text
        (self.folder / "dump" / file).write_bytes(data)

    def every_way(self, *line: str, config: str = "pipeline.yaml") -> set[int]:
        """The same question in every form of answer and log."""
        return {
            self.syncd(*line, "--output", output, *log, config=config).code for output, log in WAYS
        }

    def staff(self, statement: str) -> None:
        asyncio.run(execute(self.target, statement))


@pytest.fixture
def pipeline(tmp_path: Path, make_database: MakeDatabase) -> People:
    target = make_database("target")
    asyncio.run(execute(target, TARGET))
    return People(tmp_path, target)


def test_no_row_value_is_told(pipeline: People) -> None:
    """Loads, parked rows, conflicts, held deletes, drift and broken dumps, by every verb."""
    assert_no_value_is_told(pipeline, SHARE)


@pytest.mark.trust
@pytest.mark.long
@pytest.mark.timeout(600)
def test_none_of_a_thousand_row_values_is_told(
    pipeline: People, record_property: Callable[[str, object], None]
) -> None:
    """The same with all of them."""
    assert_no_value_is_told(pipeline, VALUES)
    record_property("marks", VALUES)


def assert_no_value_is_told(pipeline: People, rows: int) -> None:
    syncd = pipeline.syncd
    nights(pipeline, rows)
    broken_dumps(pipeline)
    assert_silent(syncd.said, MARKS, but=SHOW_VALUES)
    told = [one for one in syncd.said if " ".join(one.line[:2]) == "conflicts show"]
    assert any(found(MARKS, one.text) for one in told), "the search finds what is shown on purpose"
    assert b"syncd_rows_read_total" in syncd.counted()
    assert found(MARKS, syncd.counted()) == []
    ledger = asyncio.run(ledger_text(pipeline.target))
    assert ledger.count(b"syncd_fingerprint") > rows // 2
    assert found(MARKS, ledger) == []


def nights(pipeline: People, rows: int) -> None:
    """What goes well, more or less."""
    syncd = pipeline.syncd
    pipeline.dump(people(rows))
    assert syncd("init", *LOGS[0]).code == 0
    pipeline.every_way("validate")
    pipeline.every_way("plan", "--samples", "1000")
    assert syncd("run", *LOGS[0]).code == 4, "rows are parked"
    assert syncd("run", "--output", "json", *LOGS[1]).code == 4
    pipeline.staff("UPDATE people SET note = 'staff ' || note, name = name WHERE id < 20")
    pipeline.staff(f"INSERT INTO people VALUES (5000, '{value(6)}x', now(), 1, '{value(9)}')")
    pipeline.dump(people(rows, night=1))
    assert syncd("run", *LOGS[0]).code == 4
    for verb in ("status", "verify", "conflicts list", "deletes list", "config show"):
        pipeline.every_way(*verb.split())
    for output in BOTH:
        assert syncd("explain", "people", "10", "--output", output, *LOGS[0]).code == 0
        assert syncd("explain", "people", "1", "--output", output).code == 0
    shown = [syncd("conflicts", "show", str(n), *LOGS[0]).code for n in range(1, 4)]
    assert 0 in shown
    assert syncd("conflicts", "resolve", "1", "--take", "target", *LOGS[0]).code == 0
    syncd("conflicts", "resolve", "2", "3", "--take", "source", *LOGS[0])
    syncd("conflicts", "resolve", "99", "--take", "source")
    pipeline.dump(people(rows // 2, night=1))
    assert syncd("run", *LOGS[0]).code == 5, "deletes are held"
    pipeline.every_way("deletes", "list")
    syncd("deletes", "approve", "people", "--plan", "0123456789abcdef", *LOGS[0])
    syncd("deletes", "reject", "people", *LOGS[0])
    syncd("resync", "people", "--key", "10", *LOGS[0])
    syncd("run", "--output", "json", *LOGS[0])


def broken_dumps(pipeline: People) -> None:
    """What stops an entity."""
    sound = people(50).encode()
    stray = sound.replace(b"kanarie0010row", b'kanarie0010row" x', 1)
    broken: dict[str, bytes] = {
        "cut.csv": sound[:-20],
        "open.csv": sound + b'77,"kanarie0077row',
        "spanning.csv": sound + b'78,"kanarie0078row\nmore" kanarie0079row,1990-01-01,1,x\n',
        "stray.csv": stray,
        "charset.csv": sound.replace(b"kanarie0011row", b"kanarie0011row\xff", 1),
        "nul.csv": sound.replace(b"kanarie0012row", b"kanarie0012row\0", 1),
        "twice.csv": sound + sound,
        "lacks.csv": sound.replace(b"points", b"score", 1),
        "empty.csv": b"",
        "cut.csv.gz": gzip.compress(sound)[:-30],
        "long.csv": sound + b"79," + b"kanarie0080row" * 400_000 + b",1990-01-01,1,x\n",
    }
    for file, data in broken.items():
        pipeline.dump(data, file)
        pipeline.configure(file, "broken.yaml")
        pipeline.syncd("run", *LOGS[0], config="broken.yaml")
        pipeline.syncd("plan", "--output", "json", config="broken.yaml")
        pipeline.syncd("verify", config="broken.yaml")
    codes = {one.code for one in pipeline.syncd.said[-3 * len(broken) :]}
    assert 1 in codes
    pipeline.staff("ALTER TABLE people DROP COLUMN note")
    pipeline.syncd("run", *LOGS[0])
    pipeline.syncd("validate", *LOGS[0])


# -- secrets ---------------------------------------------------------------------------------

PLACES: Final = """\
pipeline: places
source: {{kind: postgres, dsn: {source}}}
target: {{kind: postgres, dsn: {target}}}
ledger: {{hash_key: {key}, schema: syncd_{number}, lease_ttl_s: 0.3}}
entities:
  places: {{from: {table}, key: [id], into: public.places_{number}}}
"""


def secret(at: int) -> str:
    """The mark of a secret."""
    return f"Geheim{at:02}Wort"


class Round:
    """Five secrets: two passwords, the hash key, PGPASSWORD, and one beside a DSN."""

    def __init__(self, folder: Path, number: int, dsns: Sequence[str]) -> None:
        self.folder, self.number = folder, number
        self.marks = [secret(number * OF_A_ROUND + at) for at in range(OF_A_ROUND)]
        self.environ = {"PGPASSWORD": self.marks[3]}
        self.legacy, self.target = dsns
        self.write("pipeline.yaml")
        self.syncd = Commands(folder, self.environ)

    def write(self, file: str, *, table: str = "places", **changed: str) -> None:
        """A configuration; ``changed`` are other DSNs."""
        source = with_password(changed.get("source", self.legacy), self.marks[0])
        beside = f"?application_name={self.marks[4]}&password={self.marks[1]}"
        target = changed.get("target", self.target) + beside * (self.number % 2)
        target = target if self.number % 2 else with_password(target, self.marks[1])
        stem = file.partition(".")[0]
        text = PLACES.format(
            number=self.number,
            table=table,
            source=self._given(f"SOURCE_{stem}", source, 0),
            target=self._given(f"TARGET_{stem}", target, 1),
            key=self._given(f"KEY_{stem}", f"{self.marks[2]}-of-sixteen-bytes", 2),
        )
        (self.folder / file).write_text(text)

    def _given(self, name: str, text: str, at: int) -> str:
        """The text of the file: the secret itself, or where it is to be found."""
        way = (self.number + at) % 3
        if way == 0:
            return f'"{text}"'
        if way == 1:
            self.environ[name] = text
            return f'"${{{name}}}"'
        (self.folder / name).write_text(text + "\n")
        return f'"${{file:{name}}}"'


def with_password(dsn: str, password: str) -> str:
    """The DSN with a password for its user."""
    head, _, rest = dsn.partition("@")
    return f"{head}:{password}@{rest}"


def one_round(folder: Path, number: int, dsns: Sequence[str], refusing: int, closed: int) -> Round:
    """Every verb that connects, in success and in failure."""
    folder.mkdir()
    found_round = Round(folder, number, dsns)
    found_round.write("role.yaml", target=dsns[1].replace("postgres@", "nobody@"))
    found_round.write("password.yaml", target=_at_port(dsns[1], refusing))
    found_round.write("legacy.yaml", source=_at_port(dsns[0], refusing))
    found_round.write("closed.yaml", target=_at_port(dsns[1], closed))
    found_round.write("query.yaml", table="bad.sql")
    (folder / "bad.sql").write_text("SELECT id, name::int AS name FROM places")
    found_round.syncd = Commands(folder, found_round.environ)
    syncd = found_round.syncd
    for verb in ("init", "validate", "plan", "run", "status", "verify", "config show"):
        assert syncd(*verb.split(), *LOGS[number % 3]).code == 0, syncd.said[-1].text.decode()
    syncd("config", "show", "--output", "json")
    for config in ("role", "password", "legacy", "closed", "query"):
        for verb in ("run", "validate", "status"):
            debug = verb == "run"
            syncd(verb, *LOGS[0], config=f"{config}.yaml", debug=debug)
        assert any(one.code for one in syncd.said[-3:]), config
    return found_round


def _at_port(dsn: str, port: int) -> str:
    head, _, database = dsn.rpartition("/")
    return f"{head.rpartition(':')[0].rpartition('@')[0]}@127.0.0.1:{port}/{database}"


def secret_rounds(folder: Path, make_database: MakeDatabase, rounds: int) -> None:
    dsns = make_database("legacy"), make_database("target")
    rows = [f"INSERT INTO places SELECT n, '{value(0)}' || n FROM generate_series(1, 20) n"]
    asyncio.run(execute(dsns[0], "CREATE TABLE places (id int PRIMARY KEY, name text)", *rows))
    free = socket.create_server(("127.0.0.1", 0))
    closed = free.getsockname()[1]
    free.close()
    with refusing_server() as refusing:
        done = [one_round(folder / f"round{n}", n, dsns, refusing, closed) for n in range(rounds)]
    marks = [mark for one in done for mark in one.marks]
    assert len(set(marks)) == rounds * OF_A_ROUND
    for one in done:
        assert_silent(one.syncd.said, marks)
        undebugged = [said for said in one.syncd.said if "query.yaml" not in said.line]
        assert undebugged
        assert found(marks, one.syncd.counted()) == []
        assert_silent([s for s in one.syncd.said if s.line[0] != "run"], [value(0)])
    assert found(marks, asyncio.run(ledger_text(dsns[1]))) == []


def test_no_secret_is_told(tmp_path: Path, make_database: MakeDatabase) -> None:
    """A share of the rounds: each way of giving a secret, each way of failing to use it."""
    secret_rounds(tmp_path, make_database, 2)


@pytest.mark.trust
@pytest.mark.long
@pytest.mark.timeout(600)
def test_none_of_fifty_secrets_is_told(
    tmp_path: Path, make_database: MakeDatabase, record_property: Callable[[str, object], None]
) -> None:
    """All of them."""
    secret_rounds(tmp_path, make_database, SECRETS // OF_A_ROUND)
    record_property("marks", SECRETS)


@pytest.mark.parametrize("offset", range(4))
def test_a_mark_is_found_however_it_is_written(offset: int) -> None:
    """The search itself: plain, hex, base64 at any place of a longer text, and of any case."""
    mark = secret(7)
    whole = b"x" * offset + mark.encode() + b"yy"
    for text in (whole, whole.hex().encode(), whole.hex().upper().encode()):
        assert found([mark, secret(8)], text) == [mark]
    encoded = base64.b64encode(whole)
    assert found([mark, secret(8)], encoded) == [mark]
    assert all(len(s) >= 8 for s in spellings(mark)), "a short spelling is in everything"


@pytest.mark.parametrize("has_redactor", [True, False])
def test_one_net_holds_where_another_is_torn(
    tmp_path: Path,
    make_database: MakeDatabase,
    monkeypatch: pytest.MonkeyPatch,
    *,
    has_redactor: bool,
) -> None:
    """Where ``config show`` forgets its mask the redactor hides; without it the search finds."""
    shown = config_load._shown

    def unmasked(found: object) -> object:
        return found.value if isinstance(found, Secret) else shown(found)

    monkeypatch.setattr(config_load, "_shown", unmasked)
    if has_redactor:
        secret_rounds(tmp_path, make_database, 1)
        return
    for method in ("text", "rendered"):
        monkeypatch.setattr(Redactor, method, lambda _self, text: text)
    with pytest.raises(AssertionError, match="commands told marks"):
        secret_rounds(tmp_path, make_database, 1)
