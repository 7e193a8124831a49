"""What the driver raises, as one of ours; the only file that reads a SQLSTATE.

The driver's texts are never passed on: a constraint's detail and a parser's complaint quote the
row (case 96). A message is made of the SQLSTATE, its name and names from the catalogue; the
driver's exception is not chained either, because a traceback would print it.
"""

import re
import socket
import ssl
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, TypeVar

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

_T = TypeVar("_T")

# The longest prefix of the SQLSTATE decides. What is not listed is permanent.
_KINDS: Final[Mapping[str, type[SyncdError]]] = MappingProxyType(
    {
        "08": TransientError,  # connection exceptions
        "22": RowError,  # data exceptions
        "23": RowError,  # integrity constraints
        "25P03": TransientError,  # idle in transaction for too long
        "25P04": TransientError,  # transaction timeout
        "28": ConfigError,  # authorisation
        "3D": ConfigError,  # no such database
        "40": TransientError,  # serialisation, deadlock
        "44": RowError,  # WITH CHECK OPTION of a view
        "53": TransientError,  # out of disk, memory, connections
        "54000": RowError,  # a value too large for its index
        "55P03": TransientError,  # lock timeout
        "57": TransientError,  # cancelled, timed out, shut down
        "72": TransientError,  # snapshot too old
        "HV00N": TransientError,  # a foreign server cannot be reached
        "P0": RowError,  # raised by a trigger
    }
)
_HINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "08": "it is tried again",
        "25006": "the session is read-only or the server is a standby; connect to the primary",
        "26000": "behind a transaction-pooling proxy set prepared_statements: false",
        "28": "check user, password and pg_hba.conf",
        "3D": "check the name of the database",
        "42501": "grant the privilege that the README lists for this role",
        "42601": "check the SQL of the query",
        "42703": "a column was dropped or renamed; compare with `syncd validate`",
        "42883": "PostgreSQL 14 or newer is needed",
        "42P01": "a table was dropped or renamed; compare with `syncd validate`",
        "42P05": "behind a transaction-pooling proxy set prepared_statements: false",
        "53100": "free disk space on the server",
        "53300": "raise max_connections or lower limits.writers",
        "57014": "it ran into statement_timeout_s or was cancelled",
    }
)
# What the driver raises by itself; the first that fits decides.
_CLIENT_KINDS: Final[Sequence[tuple[type[Exception], type[SyncdError], str]]] = (
    (driver.ClientConfigurationError, ConfigError, "the DSN or its settings are not valid"),
    (driver.UnsupportedClientFeatureError, PermanentError, "the driver lacks a feature"),
    (driver.UnsupportedServerFeatureError, PermanentError, "the server lacks a feature"),
    (driver.TargetServerAttributeNotMatched, TransientError, "no server has the wanted role now"),
    (driver.InternalClientError, TransientError, "the conversation with PostgreSQL broke off"),
    (ValueError, RowError, "a value does not fit its parameter"),
)
_NAME_CHARS_MAX: Final = 63


@contextmanager
def translate(doing: str, *, reading: bool = False) -> Iterator[None]:
    """Turn what the driver raises inside the ``with`` into one of ours.

    ``doing`` says what was tried ("while reading the table public.runways"); it must not hold
    a value. Where only reads are done (``reading``), what would be a RowError is a SourceError:
    nothing was refused, but not everything can be read. Ours, cancellation and mistakes of Python
    pass through untouched.
    """
    try:
        yield
    except driver.PostgresError as error:
        raise _for(_from_server(error, doing), reading=reading) from None
    except (driver.InterfaceError, driver.InternalClientError) as error:
        raise _for(_from_client(error, doing), reading=reading) from None
    except (OSError, EOFError) as error:
        raise _from_network(error, doing) from None


def _for(error: SyncdError, *, reading: bool) -> SyncdError:
    if reading and isinstance(error, RowError):
        return SourceError(error.message, hint="a value in the source cannot be read as declared")
    return error


def _from_server(error: driver.PostgresError, doing: str) -> SyncdError:
    sqlstate = str(getattr(error, "sqlstate", None) or "")
    if isinstance(error, driver.InvalidCachedStatementError):
        return TransientError(f"{doing}: a table changed while statements on it were prepared")
    if isinstance(error, driver.ConnectionDoesNotExistError):
        return TransientError(f"{doing}: the connection was lost", hint=_HINTS["08"])
    kind = _by_prefix(_KINDS, sqlstate) or _unlisted(error)
    names = _names(error)
    message = f"{doing}: PostgreSQL said {sqlstate or 'nothing'} {_condition(error)}{names}"
    if kind is RowError:
        return RowError(
            message,
            sqlstate=sqlstate,
            constraint=_clean(error, "constraint_name"),
            column=_clean(error, "column_name"),
        )
    if kind is TransientError:
        unknown = sqlstate == "40003"  # statement completion unknown
        hint = _by_prefix(_HINTS, sqlstate) or ""
        return TransientError(message, hint=hint, outcome_unknown=unknown)
    return kind(message, hint=_by_prefix(_HINTS, sqlstate) or "")


def _unlisted(error: driver.PostgresError) -> type[SyncdError]:
    """A SQLSTATE that PostgreSQL does not know comes from a trigger's RAISE."""
    return RowError if isinstance(error, driver.UnknownPostgresError) else PermanentError


def _from_client(error: Exception, doing: str) -> SyncdError:
    for raised, kind, words in _CLIENT_KINDS:
        if isinstance(error, raised):
            return kind(f"{doing}: {words}")
    # The driver tells the states of a connection apart by its words alone; none holds a value.
    if any(word in str(error) for word in ("clos", "cancelling", "released")):
        return TransientError(f"{doing}: the connection was closed", hint=_HINTS["08"])
    return InvariantError(f"{doing}: the driver was used wrongly ({type(error).__name__})")


def _from_network(error: OSError | EOFError, doing: str) -> SyncdError:
    if isinstance(error, ssl.SSLCertVerificationError):
        return ConfigError(
            f"{doing}: the server's certificate is not trusted",
            hint="check sslmode and sslrootcert of the DSN",
        )
    if isinstance(error, socket.gaierror):
        return TransientError(f"{doing}: the host's name cannot be resolved")
    if isinstance(error, TimeoutError):
        return TransientError(f"{doing}: no answer in time", hint=_HINTS["08"])
    return TransientError(f"{doing}: {type(error).__name__}", hint=_HINTS["08"])


def _by_prefix(table: Mapping[str, _T], sqlstate: str) -> _T | None:
    for size in (5, 2):
        if sqlstate[:size] in table:
            return table[sqlstate[:size]]
    return None


def _condition(error: driver.PostgresError) -> str:
    """``UniqueViolationError`` as PostgreSQL names it: unique_violation."""
    name = type(error).__name__.removesuffix("Error")
    return re.sub(r"(?<=[a-z0-9])(?=[A-Z])", "_", name).lower()


def _names(error: driver.PostgresError) -> str:
    found = [
        f"{label} {name}"
        for label, field in (
            ("constraint", "constraint_name"),
            ("table", "table_name"),
            ("column", "column_name"),
        )
        if (name := _clean(error, field))
    ]
    return f" ({', '.join(found)})" if found else ""


def _clean(error: driver.PostgresError, field: str) -> str:
    """A name from the catalogue, cut and printable: a trigger may put anything there."""
    name = str(getattr(error, field, None) or "")[:_NAME_CHARS_MAX]
    return "".join(char if char.isprintable() else "?" for char in name)
