"""No secret leaves: fifty marked ones go in at every door, and none comes out (case 96)."""

import copy
import io
import pickle
import traceback
from collections.abc import AsyncIterator, Iterator, Mapping
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import pytest
from hypothesis import given
from hypothesis import strategies as st
from typer.testing import CliRunner

from syncd import config_load, logs, secrets
from syncd.cli.main import app
from syncd.cli.shell import Shell
from syncd.config import Config, Secret
from syncd.errors import ConfigError, TransientError
from syncd.secrets import MASK, Redactor

MARK: Final = "kanarie"
MARKS: Final = 50

# Where a secret may stand: a password plain, encoded or badly encoded, a parameter, a whole DSN.
DSNS: Final = (
    "postgresql://app:{}@db:5432/new",
    "postgresql://app:{}@one:1,two:2/new?sslmode=verify-full",
    "postgres://app:p%40{}%2F@db/new",
    "postgresql://app:a@b/{}#?c@db/new",
    "postgresql://app@db/new?password={}",
    "postgresql://db/new?user=app&sslpassword={}&connect_timeout=3",
)
PIPELINE: Final = """\
pipeline: airports
source: {source}
target: {target}
ledger: {{hash_key: {hash_key}}}
entities:
  countries: {{from: countries, key: [id], into: countries{field}}}
"""
# Mistakes beside the secrets, and some with a secret in the wrong place.
MISTAKES: Final = (
    ", colour: red", ", columns: {id: x}", ", transform: x", ", needs: [x]", ", key: [a]",
    ", [", ", x: *y", ", ownership: {id: target}", ', only: ["${SECRET}"], groups: [["${SECRET}"]]',
    ', transform: "${SECRET}"', ', columns: {id: "${SECRET}"}', ', needs: ["${SECRET}"]',
    ', deletes: {policy: "${SECRET}"}', ', merge: {i_accept_overwrite: "${SECRET}"}',
    ', deletes: {hold_above: "${SECRET}"}',
)  # fmt: skip


class Doors:
    """Marks secrets and puts them into a configuration in one of many ways."""

    def __init__(self, folder: Path, number: int, field: str) -> None:
        self.folder = folder
        self.marks = [f"{MARK}-{number}-{n}-{'xyz'[n % 3] * 3}" for n in range(4)]
        self.environ = {"SECRET": self.marks[3], "PGPASSWORD": self.marks[3]}
        source, target = (DSNS[(number + n) % len(DSNS)].format(self.marks[n]) for n in (0, 1))
        self.source = source
        (folder / "pipeline.yaml").write_text(
            PIPELINE.format(
                source=f"{{kind: postgres, dsn: {self._given('SOURCE', source, number)}}}",
                target=f"{{kind: postgres, dsn: {self._given('TARGET', target, number + 1)}}}",
                hash_key=self._given("KEY", f"{self.marks[2]}-sixteen-bytes", number + 2),
                field=field,
            )
        )

    def _given(self, name: str, secret: str, way: int) -> str:
        """The text that stands in the file for ``secret``."""
        match way % 4:
            case 0:
                return f'"{secret}"'
            case 1:
                self.environ[name] = secret
                return f'"${{{name}}}"'
            case 2:
                (self.folder / name).write_text(secret + "\n")
                return f'"${{file:{name}}}"'
            case _:
                if name == "TARGET":
                    self.environ["SYNCD_TARGET__DSN"] = secret
                    return '"postgresql://overridden"'
                return f"'{secret}'"


def everything_about(error: BaseException) -> Iterator[str]:
    yield from (str(error), repr(error), repr(error.args), *traceback.format_exception(error))


def everything_about_config(config: Config) -> Iterator[str]:
    yield from (repr(config), str(config), f"{config}", config_load.show(config))
    yield repr(config.target)
    yield str(config_load.shown(config))
    yield repr([config.target.dsn, {"dsn": config.target.dsn}])
    yield repr(copy.copy(config))


def everything_printed(folder: Path, environ: Mapping[str, str], dsn: str) -> Iterator[str]:
    """What the command line prints when drivers quote what they were given."""
    quoting: tuple[Exception, ...] = (
        TransientError(f"cannot connect to {dsn}", hint=f"check {dsn}"),
        ConfigError(f"bad dsn {dsn!r}"),
        OSError(2, dsn, dsn),
        ExceptionGroup(dsn, [ValueError(dsn)]),
    )
    for error in quoting:

        @asynccontextmanager
        async def connect(_: Config, error: Exception = error) -> AsyncIterator[Any]:
            logs.Log("syncd.test").error("connect_failed", reason=dsn, exc_info=error)
            if error.args:
                raise error
            yield

        for line in (["run"], ["status", "--output", "json", "--log-format", "json"]):
            shell = Shell(connect, {**environ, "SYNCD_DEBUG": "1"})
            result = CliRunner().invoke(
                app, ["-c", str(folder / "pipeline.yaml"), *line], obj=shell
            )
            assert result.stderr
            yield result.output
            if result.exception is not None:
                yield repr(result.exception)
    shown = CliRunner().invoke(
        app, ["config", "show", "-c", str(folder / "pipeline.yaml")], obj=Shell(connect, environ)
    )
    yield shown.output


@pytest.fixture(autouse=True)
def as_before(monkeypatch: pytest.MonkeyPatch) -> None:
    for name in ("SYNCD_CONFIG", "SYNCD_DEBUG", "PGPASSWORD"):
        monkeypatch.delenv(name, raising=False)


@pytest.mark.parametrize("number", range(MARKS))
def test_a_marked_secret_never_comes_out(tmp_path: Path, number: int) -> None:
    """Not in reprs, shown configurations, logs or anything printed (case 96)."""
    doors = Doors(tmp_path, number, "")
    config = config_load.load(tmp_path / "pipeline.yaml", doors.environ)
    out = [
        *everything_about_config(config),
        *everything_printed(tmp_path, doors.environ, doors.source),
        *everything_printed(tmp_path, doors.environ, config.target.dsn.value),
    ]
    assert [text for text in out if MARK in text] == []
    logged = [text for text in out if "connect_failed" in text]
    assert len(logged) == 16
    assert all(MASK in text for text in logged)


@pytest.mark.parametrize("number", range(MARKS))
def test_a_marked_secret_is_in_no_error(tmp_path: Path, number: int) -> None:
    """A mistake beside a secret, or a secret in the wrong place, does not tell it (case 96)."""
    doors = Doors(tmp_path, number, MISTAKES[number % len(MISTAKES)])
    with pytest.raises(ConfigError) as caught:
        config_load.load(tmp_path / "pipeline.yaml", doors.environ)
    out = [
        *everything_about(caught.value),
        *everything_printed(tmp_path, doors.environ, doors.source),
    ]
    assert [text for text in out if MARK in text] == []


def test_the_marks_would_be_found() -> None:
    """The search itself works: a secret that is told is found."""
    error = TransientError(f"cannot connect with {MARK}-0")
    assert [text for text in everything_about(error) if MARK in text] != []


def test_a_secret_is_never_part_of_a_copy_s_text() -> None:
    """Copies and equality work on a secret, its text stays hidden."""
    secret = Secret(MARK)
    assert copy.deepcopy(secret) == secret
    assert MARK not in repr(pickle.loads(pickle.dumps(secret)))  # noqa: S301 - our own bytes.


@pytest.mark.parametrize(
    ("dsn", "found"),
    [
        ("postgresql://app:pw-1234@db/x", ("pw-1234",)),
        ("postgresql://app:p%40w@db/x", ("p%40w", "p@w")),
        ("postgresql://app:a@b@db/x", ("a@b",)),
        ("postgresql://postgres:postgres@db/x", ()),
        ("postgresql://app:db@db/x", ()),
        ("postgresql://app@db/x?password=pw-1", ("pw-1",)),
        ("host=db user=app password='p w'", ("p w",)),
        ("postgresql://app@db/x", ()),
        ("no dsn at all", ()),
    ],
)
def test_the_passwords_of_a_dsn_are_found(dsn: str, found: tuple[str, ...]) -> None:
    """As written and as decoded; one that is also a name beside it protects nothing."""
    assert secrets.passwords(dsn) == found


@pytest.mark.parametrize(
    ("text", "shown"),
    [
        ("to postgresql://app:pw@db failed", "to postgresql://app:***@db failed"),
        ("to postgresql:/app:pw@db failed", "to postgresql:/app:***@db failed"),
        ('{"a":"http://h:80/x","b":"c@d"}', '{"a":"http://h:80/x","b":"c@d"}'),
        ("at 12:30 mail a@b", "at 12:30 mail a@b"),
        ("sslpassword = 'a b' x", "sslpassword = *** x"),
        ("API_TOKEN=abc&x=1", "API_TOKEN=***&x=1"),
    ],
)
def test_passwords_are_masked_where_they_stand(text: str, shown: str) -> None:
    """Known or not, what stands as a password in a DSN is masked and the rest stays."""
    assert secrets.masked(text) == shown


@given(st.text(min_size=12, max_size=40), st.text(max_size=20), st.text(max_size=20))
def test_a_registered_secret_is_replaced_wherever_it_stands(
    secret: str, before: str, after: str
) -> None:
    """Any text registered is gone from any text around it."""
    assert secret not in Redactor([secret]).text(before + secret + after).replace(MASK, "")


def test_the_longer_of_two_secrets_goes_whole() -> None:
    """A secret that begins with another one leaves no rest."""
    assert Redactor(["abcd1234", "abcd1234-efgh"]).text("x abcd1234-efgh y") == "x *** y"


def test_a_short_secret_does_not_blank_the_page() -> None:
    """Below four characters a secret is hidden by type and by place, not hunted for."""
    found = secrets.redactor(["abc", "postgresql://app:a@db/x"], {"PGPASSWORD": "xyz"})
    assert found.text("abc a xyz") == "abc a xyz"


def test_a_hostile_line_costs_no_more_than_a_plain_one() -> None:
    """Patterns are bounded: a megabyte of near misses is done in a moment."""
    for text in ("password" * 100_000, "://a:" * 100_000, "://a:" + "b" * 1_000_000):
        assert secrets.masked(text) == text


def test_logs_hide_what_the_environment_holds() -> None:
    """PGPASSWORD is a secret of the driver, and of ours."""
    stream = io.BytesIO()
    logs.configure("json", "info", secrets.redactor([], {"PGPASSWORD": "kanarie-pg"}), stream)
    logs.Log("syncd.test").info("it", reason="with kanarie-pg")
    assert logs.flush()
    assert b"with ***" in stream.getvalue()
    assert MARK.encode() not in stream.getvalue()
