"""Connection strings: read, completed for each driver, written; never shown."""

from typing import Any

import pytest

from syncd.config import Secret, SqlServerSource
from syncd.errors import ConfigError
from syncd.sources.odbc_strings import compose, driver_of, family_of, parse, target_of

PARTS = {"server": "old.example,1433", "database": "IM", "user": "reader"}


def source(**fields: Any) -> SqlServerSource:
    """A source by its parts, or by ``odbc``."""
    if "odbc" in fields:
        return SqlServerSource(**(fields | {"odbc": Secret(fields["odbc"])}))
    return SqlServerSource(password=Secret("p;w}d"), **(PARTS | fields))


@pytest.mark.parametrize(
    ("text", "pairs"),
    [
        ("Server=a;Database=b", [("Server", "a"), ("Database", "b")]),
        (" Server = a ; Database = b ; ", [("Server", "a"), ("Database", "b")]),
        ("PWD={a;b}}c};UID=x;", [("PWD", "a;b}c"), ("UID", "x")]),
        ("PWD=;UID=x", [("PWD", ""), ("UID", "x")]),
        ("PWD=a=b", [("PWD", "a=b")]),
        ("Driver={ODBC Driver 18 for SQL Server}", [("Driver", "ODBC Driver 18 for SQL Server")]),
    ],
)
def test_a_string_is_read(text: str, pairs: list[tuple[str, str]]) -> None:
    """Keywords and values, braces undone."""
    assert list(parse(text)) == pairs


@pytest.mark.parametrize("value", ["a", "a;b", "a}b", "{a}", " a", "a=b", "p@ss!", "", "ü;}}"])
def test_what_is_written_is_read_again(value: str) -> None:
    """Whatever a password holds."""
    assert list(parse(compose([("PWD", value), ("UID", "x")]))) == [("PWD", value), ("UID", "x")]


@pytest.mark.parametrize(
    "text", ["", "hunter22", "PWD={hunter22", "a=b;hunter22", ";", "PWD=hunter22;" * 1000]
)
def test_what_is_no_string_is_refused_unseen(text: str) -> None:
    """It may hold a password."""
    with pytest.raises(ConfigError) as raised:
        parse(text)
    assert "hunter22" not in str(raised.value)


def test_microsofts_driver_is_told_to_encrypt_and_to_read() -> None:
    """Safe unless the configuration says another thing."""
    target = target_of(source(), "/opt/libmsodbcsql-18.6.so.2.1")
    assert target.text == (
        "Driver=/opt/libmsodbcsql-18.6.so.2.1;Server=old.example,1433;Database=IM;UID=reader;"
        "PWD={p;w}}d};Encrypt=yes;TrustServerCertificate=no;ApplicationIntent=ReadOnly;APP=syncd;"
        "ConnectRetryCount=0;"
    )
    assert (target.family, target.database) == ("msodbcsql", "IM")


def test_freetds_is_told_the_same_in_its_own_words() -> None:
    """And that text is UTF-8."""
    target = target_of(source(encrypt="no", application_intent="ReadWrite"), "FreeTDS")
    assert target.text.endswith(
        "Encryption=off;ApplicationIntent=ReadWrite;TDS_Version=7.4;ClientCharset=UTF-8;APP=syncd;"
    )


def test_what_a_string_says_stands() -> None:
    """In any letter case; only what it does not say is added."""
    odbc = "Driver=FreeTDS;SERVER=a;encryption=off;tds_version=7.3"
    target = target_of(source(odbc=odbc), "FreeTDS")
    assert target.text == (
        "Driver=FreeTDS;SERVER=a;encryption=off;tds_version=7.3;ApplicationIntent=ReadOnly;"
        "ClientCharset=UTF-8;APP=syncd;"
    )


@pytest.mark.parametrize("odbc", ["Server=a;Database=IM", "Server=a;INITIAL CATALOG=IM"])
def test_the_servers_own_database_takes_the_others_place(odbc: str) -> None:
    """From there a database that is being restored can be looked at."""
    target = target_of(source(odbc=odbc), "FreeTDS", master=True)
    assert target.database == "IM"
    assert "IM" not in target.text
    assert "Database=master;" in target.text


@pytest.mark.parametrize(
    ("fields", "driver"),
    [
        ({}, "auto"),
        ({"driver": "freetds"}, "freetds"),
        ({"odbc": "Driver={My Driver};Server=a"}, "My Driver"),
        ({"odbc": "Server=a", "driver": "msodbcsql"}, "msodbcsql"),
        ({"odbc": "DSN=old"}, ""),
    ],
)
def test_the_driver_is_the_one_that_was_said(fields: dict[str, Any], driver: str) -> None:
    """A data source name leads to its own."""
    assert driver_of(source(**fields)) == driver


@pytest.mark.parametrize(
    ("driver", "family"),
    [
        ("ODBC Driver 18 for SQL Server", "msodbcsql"),
        ("/usr/lib/x86_64-linux-gnu/odbc/libtdsodbc.so", "freetds"),
        ("PostgreSQL Unicode", "psqlodbc"),
        ("libsqlite3odbc.so", "sqlite"),
        ("Another", ""),
    ],
)
def test_a_driver_is_known_by_its_name(driver: str, family: str) -> None:
    """Path or registered name."""
    assert family_of(driver) == family


def test_a_target_does_not_show_itself() -> None:
    """Its text holds the password."""
    assert "p;w" not in repr(target_of(source(), "FreeTDS"))
