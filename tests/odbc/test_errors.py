"""What drivers say, recorded, and what becomes of it: a kind, a SQLSTATE, numbers, never text."""

import sys
from collections.abc import Sequence

import pytest

from syncd.errors import ConfigError, PermanentError, SourceError, SyncdError, TransientError
from syncd.sources import odbc_driver
from syncd.sources.odbc_driver import find_driver, library
from syncd.sources.odbc_errors import NotReadyError, numbers_of, told, translated
from tests.odbc.world import LIBODBC

MS = "[Microsoft][ODBC Driver 18 for SQL Server][SQL Server]"
needs_manager = pytest.mark.skipif(not LIBODBC, reason="no driver manager: install libodbc2")

# SQLSTATE, words, the server's number, and what it is to us.
RECORDED: Sequence[tuple[str, str, str, type[SyncdError]]] = [
    ("HYT00", "Login timeout expired", "", TransientError),
    ("08S01", "TCP Provider: error 0x2746", "10054", TransientError),
    ("08001", "connection to server at reader failed", "101", TransientError),
    ("40001", "Transaction was deadlocked on lock resources", "1205", TransientError),
    ("HY000", "Unknown error", "", TransientError),  # FreeTDS of a session that was killed
    ("HY008", "Operation canceled", "", TransientError),
    ("57014", "ERROR: canceling statement due to user request", "1", TransientError),
    ("28000", "Login failed for user 'reader'.", "18456", ConfigError),
    ("01000", "Can't open lib '/reader.so'", "", ConfigError),
    ("IM002", "Data source name not found", "", ConfigError),
    ("42000", "Cannot open database reader requested by the login.", "4060", NotReadyError),
    (
        "42000",
        "Database reader cannot be opened, in the middle of a restore.",
        "927",
        NotReadyError,
    ),
    ("42000", "Database reader is already open and can only have one user.", "924", NotReadyError),
    ("42S02", "Invalid object name 'dbo.secret'.", "208", PermanentError),
    ("22003", "Arithmetic overflow, value = 12345.", "8115", SourceError),
    ("22012", "ERROR: division by zero", "1", SourceError),
    ("HY106", "ODBC SQL type -155 is not yet supported.", "", PermanentError),
]


def raised(state: str, words: str, number: str) -> Exception:
    """A driver's error as it was recorded."""
    return RuntimeError(state, f"[{state}] {MS}{words} ({number or 0}) (SQLExecDirectW)")


@pytest.mark.parametrize(("state", "words", "number", "kind"), RECORDED)
def test_what_a_driver_says_is_one_of_our_kinds(
    state: str, words: str, number: str, kind: type[SyncdError]
) -> None:
    """By the SQLSTATE, and by the server's own numbers where these say more."""
    error = told(raised(state, words, number), "reading")
    expected = f"reading: the driver said {state}{f' {number}' if number else ''}"
    assert (type(error), error.message) == (kind, expected)


@pytest.mark.parametrize(("state", "words", "number", "kind"), RECORDED)
def test_nothing_of_a_drivers_text_goes_on(
    state: str, words: str, number: str, kind: type[SyncdError]
) -> None:
    """It may quote a row, a name or a password (case 96)."""
    del kind
    said = str(told(raised(state, words, number), "reading"))
    assert not [word for word in ("reader", "secret", "12345", "overflow") if word in said]


def test_a_database_that_cannot_be_opened_goes_before_a_login_that_failed() -> None:
    """SQL Server tells both, and only the first is true."""
    text = "[28000] Login failed. (18456) (SQLDriverConnect); [28000] Cannot open (4060)(SQLDriver"
    error = told(RuntimeError("28000", text), "reading")
    assert isinstance(error, NotReadyError)
    assert error.message == "reading: the driver said 28000 18456, 4060"


def test_an_error_without_a_state_is_permanent() -> None:
    """Nobody knows what it was."""
    assert type(told(RuntimeError("something"), "reading")) is PermanentError


def test_a_certificate_that_is_not_trusted_is_a_matter_of_configuration() -> None:
    """Trying again would not help."""
    text = f"[08001] {MS}SSL Provider: certificate verify failed (-1) (SQLDriverConnect)"
    error = told(RuntimeError("08001", text), "connecting")
    assert isinstance(error, ConfigError)
    assert "trust_certificate" in error.hint


def test_a_number_inside_a_text_is_not_the_servers() -> None:
    """Only what stands before the name of the call is."""
    assert numbers_of(RuntimeError("42000", "[42000] (927) and (5) (208) (SQLExecDirectW)")) == [
        208
    ]


@needs_manager
def test_broken_text_is_told_without_its_bytes() -> None:
    """What Python raises holds the whole value."""
    with pytest.raises(SourceError, match="not valid in its encoding") as raised, translated("x"):
        b"secret\xff".decode()
    assert raised.value.__cause__ is None
    assert "secret" not in str(raised.value)


@needs_manager
def test_a_drivers_exception_is_not_chained() -> None:
    """A traceback would print it."""
    with pytest.raises(TransientError) as raised, translated("reading"):
        raise library().pyodbc.Error("08S01", "secret")
    assert (raised.value.__cause__, raised.value.__suppress_context__) == (None, True)


def test_a_missing_driver_manager_is_named() -> None:
    """pyodbc brings none, and its import fails."""
    broken = ImportError("libodbc.so.2: cannot open shared object file: No such file or directory")
    error = odbc_driver._lacking(broken)
    assert "libodbc.so.2" in error.message
    assert "install libodbc2" in error.hint


def test_missing_packages_are_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """What the extra installs."""
    monkeypatch.setitem(sys.modules, "pyodbc", None)
    with pytest.raises(ConfigError, match=r"install syncd\[sqlserver\]"):
        library.__wrapped__()


@needs_manager
def test_a_missing_driver_is_named(monkeypatch: pytest.MonkeyPatch) -> None:
    """With what would bring one."""
    monkeypatch.setattr(odbc_driver, "_found", lambda _: "")
    with pytest.raises(ConfigError, match="no ODBC driver msodbcsql or freetds is installed"):
        find_driver("auto", "tsql")


@needs_manager
def test_microsofts_driver_goes_before_freetds(monkeypatch: pytest.MonkeyPatch) -> None:
    """Where both are there."""
    monkeypatch.setattr(odbc_driver, "_found", lambda kind: f"/lib/{kind}.so")
    assert find_driver("auto", "tsql") == "/lib/msodbcsql.so"


@pytest.mark.parametrize("name", ["My Driver", __file__])
def test_another_name_is_passed_on(name: str) -> None:
    """A registered name, or the path of a file that is there."""
    assert find_driver(name, "tsql") == name


def test_a_path_that_leads_nowhere_is_told() -> None:
    """Before the driver manager says it in its own way."""
    with pytest.raises(ConfigError, match="there is no such file"):
        find_driver("/nowhere/libtdsodbc.so", "tsql")
