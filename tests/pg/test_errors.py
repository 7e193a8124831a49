"""Whatever the driver raises becomes one of ours, and none of it quotes a row."""

# ruff: noqa: S608 - the statements are made of what is tested, and of constants.

import inspect
import socket
import ssl
import traceback
from collections.abc import Callable

import asyncpg
import pytest
from asyncpg import exceptions as driver

from syncd.errors import (
    ConfigError,
    InvariantError,
    PermanentError,
    RowError,
    SourceError,
    SyncdError,
    TransientError,
)
from syncd.pg.connect import Connection
from syncd.pg.errors import translate

CANARY = "canary-5a7e"
# Delivered to listeners, never raised: they are no Exception or a warning.
NEVER_RAISED = (Warning, driver.PostgresLogMessage)

BY_SQLSTATE: dict[str, type[SyncdError]] = {
    "08000": TransientError,
    "08006": TransientError,
    "0A000": PermanentError,
    "21000": PermanentError,
    "22001": RowError,
    "22P02": RowError,
    "23502": RowError,
    "23503": RowError,
    "23505": RowError,
    "23514": RowError,
    "23P01": RowError,
    "25006": PermanentError,
    "25P03": TransientError,
    "28P01": ConfigError,
    "3D000": ConfigError,
    "40001": TransientError,
    "40P01": TransientError,
    "42501": PermanentError,
    "42703": PermanentError,
    "42P01": PermanentError,
    "44000": RowError,
    "53100": TransientError,
    "53300": TransientError,
    "54000": RowError,
    "54001": PermanentError,
    "55000": PermanentError,
    "55P03": TransientError,
    "57014": TransientError,
    "57P01": TransientError,
    "57P02": TransientError,
    "57P03": TransientError,
    "58030": PermanentError,
    "P0001": RowError,
    "XX000": PermanentError,
    "ZZ999": RowError,  # a trigger's own
}
BY_THE_CLIENT: list[tuple[Exception, type[SyncdError]]] = [
    (asyncpg.InterfaceError("connection is closed"), TransientError),
    (asyncpg.InterfaceError("cannot perform operation: connection is closed"), TransientError),
    (asyncpg.InterfaceError("another operation is cancelling"), TransientError),
    (asyncpg.InterfaceError("another operation is in progress"), InvariantError),
    (driver.ClientConfigurationError(CANARY), ConfigError),
    (driver.TargetServerAttributeNotMatched(CANARY), TransientError),
    (driver.ProtocolError(CANARY), TransientError),
    (driver.UnsupportedServerFeatureError(CANARY), PermanentError),
    (driver.InvalidCachedStatementError(CANARY), TransientError),
    (ConnectionResetError(104, CANARY), TransientError),
    (ConnectionRefusedError(111, CANARY), TransientError),
    (TimeoutError(CANARY), TransientError),
    (EOFError(CANARY), TransientError),
    (socket.gaierror(-2, CANARY), TransientError),
    (ssl.SSLCertVerificationError(1, CANARY), ConfigError),
]


def translated(error: Exception, *, reading: bool = False) -> SyncdError:
    with pytest.raises(SyncdError) as caught, translate("writing runways", reading=reading):
        raise error
    return caught.value


def server_error(sqlstate: str) -> asyncpg.PostgresError:
    """As the driver makes it of a message from the server, with the row in every text."""
    fields = {"C": sqlstate, "M": CANARY, "D": CANARY, "H": CANARY, "W": CANARY, "S": "ERROR"}
    error = driver.PostgresError.new(fields)
    assert isinstance(error, asyncpg.PostgresError)
    return error


def every_driver_exception() -> list[type[Exception]]:
    found = [
        kind
        for _, kind in inspect.getmembers(driver, inspect.isclass)
        if issubclass(kind, Exception) and not issubclass(kind, NEVER_RAISED)
    ]
    assert len(found) > 250
    return found


@pytest.mark.parametrize("kind", every_driver_exception(), ids=lambda kind: kind.__name__)
def test_every_exception_of_the_driver_is_one_of_ours(kind: type[Exception]) -> None:
    """None gets out as it is, and none takes its text along (case 96)."""
    error = kind(CANARY)
    for field in ("message", "detail", "hint", "context", "query"):
        if isinstance(error, asyncpg.PostgresError):
            setattr(error, field, CANARY)
    found = translated(error)
    shown = "".join(traceback.format_exception(found)) + repr(found) + found.hint
    assert CANARY not in shown
    assert "writing runways" in found.message


@pytest.mark.parametrize(("sqlstate", "expected"), BY_SQLSTATE.items())
def test_the_sqlstate_decides_the_kind(sqlstate: str, expected: type[SyncdError]) -> None:
    """Only what may pass by itself is transient; only what a row caused is a row's error."""
    found = translated(server_error(sqlstate))
    assert type(found) is expected
    assert sqlstate in found.message
    assert CANARY not in str(found)


@pytest.mark.parametrize(
    ("error", "expected"), BY_THE_CLIENT, ids=lambda value: getattr(value, "__name__", None)
)
def test_the_client_s_own_errors_are_told_apart(
    error: Exception, expected: type[SyncdError]
) -> None:
    """A closed connection is tried again; a misuse of the driver is ours."""
    assert type(translated(error)) is expected


def test_a_row_error_names_what_refused_the_row() -> None:
    """SQLSTATE, constraint and column are names; they tell the operator where to look."""
    error = server_error("23505")
    error.constraint_name, error.column_name = "runways_pkey", "id"
    found = translated(error)
    assert isinstance(found, RowError)
    assert (found.sqlstate, found.constraint, found.column) == ("23505", "runways_pkey", "id")
    assert "unique_violation" in found.message


def test_a_name_that_a_trigger_made_up_is_cut_and_printable() -> None:
    """RAISE may put any text where a name is expected (case 95)."""
    error = server_error("P0001")
    error.constraint_name = "\x1b[31m\n" + "x" * 200
    found = translated(error)
    assert isinstance(found, RowError)
    assert len(found.constraint) == 63
    assert found.constraint.isprintable()


def test_a_reader_meets_no_row_errors() -> None:
    """While reading, a value that cannot be read means that the read is not whole."""
    found = translated(server_error("22003"), reading=True)
    assert type(found) is SourceError
    assert type(translated(server_error("40001"), reading=True)) is TransientError


@pytest.mark.parametrize("error", [KeyError("x"), SourceError("x"), RowError("x")])
@pytest.mark.parametrize("reading", [False, True])
def test_ours_and_mistakes_pass_through(error: Exception, *, reading: bool) -> None:
    """What a consumer raises inside is not the driver's and stays what it is."""
    with pytest.raises(type(error)) as caught, translate("writing", reading=reading):
        raise error
    assert caught.value is error


def test_a_commit_of_unknown_outcome_says_so() -> None:
    """SQLSTATE 40003 must be looked up before anything is repeated (case 14)."""
    found = translated(server_error("40003"))
    assert isinstance(found, TransientError)
    assert found.outcome_unknown


@pytest.mark.parametrize(
    "statement",
    [
        f"INSERT INTO public.t VALUES (1, '{CANARY}')",
        f"INSERT INTO public.t VALUES ('{CANARY}', '')",
        f"INSERT INTO public.t VALUES (2, '{CANARY}{'x' * 40}')",
        f"INSERT INTO public.t VALUES (NULL, '{CANARY}')",
        f"DO $$ BEGIN RAISE EXCEPTION '{CANARY}' USING DETAIL = '{CANARY}'; END $$",
    ],
)
async def test_a_refusal_of_a_real_server_quotes_no_value(
    connection: Connection, statement: str
) -> None:
    """Details of constraints, parse errors and RAISE all quote the row; ours never do (case 96)."""
    await connection.execute(
        "CREATE TABLE public.t (n integer PRIMARY KEY, x varchar(30));"
        f"INSERT INTO public.t VALUES (1, '{CANARY}')"
    )
    with pytest.raises(RowError) as caught, translate("writing t"):
        await connection.execute(statement)
    assert CANARY not in "".join(traceback.format_exception(caught.value)).replace(statement, "")
    assert CANARY not in str(caught.value)


@pytest.mark.parametrize(
    "argument", [f"{CANARY}\ud800b", 2**70, object()], ids=["surrogate", "overflow", "object"]
)
async def test_a_parameter_that_does_not_fit_is_not_quoted(
    connection: Connection, argument: object
) -> None:
    """The driver quotes the argument that it cannot send (case 96)."""
    statement = "SELECT $1::text" if isinstance(argument, str) else "SELECT $1::bigint"
    with pytest.raises(RowError) as caught, translate("asking"):
        await connection.fetchval(statement, argument)
    assert CANARY not in str(caught.value)
    assert str(2**70) not in str(caught.value)


@pytest.mark.parametrize(
    ("statement", "words"),
    [
        ("SELECT * FROM public.gone", "dropped or renamed"),
        ("SELECT gone FROM pg_class", "dropped or renamed"),
        ("SELECT gone()", "PostgreSQL 14"),
        ("SELEC 1", "check the SQL"),
    ],
)
async def test_a_mistake_comes_with_what_to_do(
    connection: Connection, statement: str, words: str
) -> None:
    """A permanent error has a hint for the operator."""
    with pytest.raises(PermanentError, match=words), translate("asking"):
        await connection.execute(statement)


def raise_and_keep(make: Callable[[], Exception]) -> BaseException:
    with pytest.raises(SyncdError) as caught, translate("asking"):
        raise make()
    return caught.value


def test_the_driver_s_exception_is_not_chained() -> None:
    """A traceback prints what is chained, and with it the row (case 96)."""
    found = raise_and_keep(lambda: server_error("23505"))
    assert found.__cause__ is None
    assert found.__suppress_context__
