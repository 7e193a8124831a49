"""What an ODBC driver raises, as one of ours; the only file that reads its SQLSTATE.

A driver's text may quote a row or a password (case 96), so nothing of it goes on but two things:
the SQLSTATE, and the server's own error numbers, which stand in brackets before the name of the
call. SQL Server says more by its numbers than by the SQLSTATE: 42000 is a table that is not there,
a database that is being restored and a mistake in the query alike.
"""

import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from types import MappingProxyType
from typing import Final, TypeVar

from syncd.errors import ConfigError, PermanentError, SourceError, SyncdError, TransientError
from syncd.sources.odbc_driver import library

_T = TypeVar("_T")


class NotReadyError(TransientError):
    """The database is not there, or may not be used now: most likely it is being restored."""


_LOGIN_REFUSED: Final = (18452, 18456, 18470)
# The longest prefix of the SQLSTATE decides. What is not listed is permanent.
_KINDS: Final[Mapping[str, type[SyncdError]]] = MappingProxyType(
    {
        "01000": ConfigError,  # the driver manager's way to say that it cannot load a driver
        "08": TransientError,  # connection exceptions
        "22": SourceError,  # data exceptions: a value cannot be read as it was asked for
        "28": ConfigError,  # authorisation
        "3D": ConfigError,  # no such database
        "40": TransientError,  # serialisation, deadlock
        "53": TransientError,  # out of resources
        "57": TransientError,  # cancelled, shut down
        "HY000": TransientError,  # general: FreeTDS says no more of a session that was killed
        "HY008": TransientError,  # cancelled
        "HY117": TransientError,  # the connection is suspended
        "HYT": TransientError,  # timeouts
        "IM": ConfigError,  # the driver manager: no such driver, no such data source
    }
)
# SQL Server's own numbers, which say more.
_NUMBERS: Final[Mapping[int, type[SyncdError]]] = MappingProxyType(
    {
        **dict.fromkeys((596, 1205, 3960, 6005, 10053, 10054, 10928, 10929), TransientError),
        **dict.fromkeys((40197, 40501, 40613, 49918, 49919, 49920), TransientError),
        **dict.fromkeys(_LOGIN_REFUSED, ConfigError),
        # No right to a database, an object or a column.
        **dict.fromkeys((229, 230, 297, 300, 916), PermanentError),
        # Cannot be opened: absent or offline, being restored, in recovery, in single-user mode.
        **dict.fromkeys(
            (904, 905, 911, 921, 922, 923, 924, 927, 942, 946, 952, 4060, 4064, 5064),
            NotReadyError,
        ),
    }
)
_HINTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "01000": "check source.driver: the file may be missing, or a library that it needs",
        "08": "it is tried again; check the server's name and port, and the way there",
        "28": "check user and password",
        "42000": "check the SQL of the query and the rights of the user",
        "42S02": "a table was dropped or renamed; compare with `syncd validate`",
        "42S22": "a column was dropped or renamed; compare with `syncd validate`",
        "42P01": "a table was dropped or renamed; compare with `syncd validate`",
        "42703": "a column was dropped or renamed; compare with `syncd validate`",
        "HYT": "no answer in time; it is tried again",
        "IM": "check source.driver and what `odbcinst -q -d` lists",
    }
)
_TRUST_HINT: Final = (
    "the server's certificate may not be trusted: install its authority, or say "
    "trust_certificate: true and know that anybody may listen"
)
_STATE: Final = re.compile(r"[0-9A-Z]{5}")
_NUMBER: Final = re.compile(r"\((-?\d{1,9})\) ?\(SQL")
_NUMBERS_TOLD_MAX: Final = 5


@contextmanager
def translated(doing: str) -> Iterator[None]:
    """Turn what the driver raises inside the ``with`` into one of ours.

    ``doing`` says what was tried; it must not hold a value. Ours, cancellation and mistakes of
    Python pass through untouched.
    """
    try:
        yield
    except library().pyodbc.Error as error:
        raise told(error, doing) from None
    except UnicodeDecodeError:
        raise SourceError(
            f"{doing}: a text is not valid in its encoding",
            hint="look for broken text in the columns of type nvarchar, or leave them out",
        ) from None


def told(error: Exception, doing: str) -> SyncdError:
    """The driver's ``error`` as one of ours. Nothing of its text is in it."""
    state = sqlstate_of(error)
    numbers = numbers_of(error)
    known = [_NUMBERS[number] for number in numbers if number in _NUMBERS]
    kind = NotReadyError if NotReadyError in known else next(iter(known), None)
    kind = kind or _by_prefix(_KINDS, state) or PermanentError
    listed = f" {', '.join(map(str, numbers))}" if any(numbers) else ""
    hint = _by_prefix(_HINTS, state) or ""
    if "certificate" in str(error).lower():
        kind, hint = ConfigError, _TRUST_HINT
    return kind(f"{doing}: the driver said {state or 'nothing'}{listed}", hint=hint)


def refuses_login(error: Exception) -> bool:
    """Whether the server knows no such user with that password.

    Where psqlODBC has no SQLSTATE for it, only its text says so.
    """
    numbers = set(numbers_of(error))
    said = sqlstate_of(error)[:2] == "28" or not numbers.isdisjoint(_LOGIN_REFUSED)
    return said or "password authentication failed" in str(error)


def sqlstate_of(error: Exception) -> str:
    """The five characters, '' where the driver gave none."""
    first = str(error.args[0]) if error.args else ""
    return first if _STATE.fullmatch(first) else ""


def numbers_of(error: Exception) -> list[int]:
    """The server's own numbers, in the order in which it told them, each once."""
    found = [int(number) for arg in error.args for number in _NUMBER.findall(str(arg))]
    return list(dict.fromkeys(found))[:_NUMBERS_TOLD_MAX]


def _by_prefix(table: Mapping[str, _T], state: str) -> _T | None:
    return next((table[state[:size]] for size in (5, 3, 2) if state[:size] in table), None)
