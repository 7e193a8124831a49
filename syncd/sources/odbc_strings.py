"""Connection strings of ODBC: read, completed and written; nothing here waits or opens.

What a string says stands. What it does not say is added for the driver that it names: encryption,
read-only intent, UTF-8, and that rows come in pieces. A string holds a password, so no message here
ever quotes one.
"""

import re
from collections.abc import Mapping, Sequence
from typing import Final, TypeAlias

from msgspec import Struct
from msgspec.structs import replace

from syncd.config import Secret, SqlServerSource
from syncd.errors import ConfigError

Pairs: TypeAlias = Sequence[tuple[str, str]]

_PAIR: Final = re.compile(r"\s*([^=;{}]+?)\s*=\s*(?:\{((?:[^}]|\}\})*)\}|(?!\{)([^;]*?))\s*(?:;|$)")
_MUST_BRACE: Final = re.compile(r"[;{}\[\]()?*=!@]|^\s|\s$")
_CHARS_MAX: Final = 4096
_MASTER: Final = "master"  # always there, also while another database is restored

# Which family a driver belongs to, by what its name or path holds.
_FAMILIES: Final[Mapping[str, str]] = {
    "msodbcsql": "msodbcsql",
    "for sql server": "msodbcsql",
    "tdsodbc": "freetds",
    "freetds": "freetds",
    "psqlodbc": "psqlodbc",
    "postgresql": "psqlodbc",
    "sqlite": "sqlite",
}


class Target(Struct, frozen=True):
    """A completed connection string. It never prints itself: it holds a password.

    ``database`` is the one that it names, '' where it does not.
    """

    text: str
    family: str
    database: str

    def __repr__(self) -> str:
        return "Target(***)"


def parse(text: str) -> Pairs:
    """The keywords of a connection string with their values, in order.

    Raises ConfigError when it is none.
    """
    pairs, at = [], 0
    body = text.strip()
    while at < len(body) and len(body) <= _CHARS_MAX:
        found = _PAIR.match(body, at)
        if not found:
            break
        braced = found[2]
        pairs.append((found[1], found[3] if braced is None else braced.replace("}}", "}")))
        at = found.end()
    if not pairs or at < len(body):
        raise ConfigError(
            "source.odbc is no connection string",
            hint="expected KEYWORD=VALUE;KEYWORD=VALUE; with {} around a value that holds ;",
        )
    return pairs


def compose(pairs: Pairs) -> str:
    """The connection string of ``pairs``; values are braced where they must be."""
    return "".join(f"{key}={_value(value)};" for key, value in pairs)


def _value(value: str) -> str:
    return f"{{{value.replace('}', '}}')}}}" if _MUST_BRACE.search(value) else value


def driver_of(config: SqlServerSource) -> str:
    """The driver that the configuration names, 'auto' where it is to be found.

    '' where the string leads to a data source name, which names its driver itself.
    """
    if config.odbc is None:
        return config.driver
    said = _lowered(parse(config.odbc.value))
    return said.get("driver") or ("" if "dsn" in said or "filedsn" in said else config.driver)


def family_of(driver: str) -> str:
    """The family of a driver by its name or path; '' for one that is not known."""
    name = driver.lower()
    return next((family for word, family in _FAMILIES.items() if word in name), "")


def target_of(config: SqlServerSource, driver: str, *, master: bool = False) -> Target:
    """The connection string for ``driver``, a path or a registered name.

    With ``master`` it leads to the server's own database, from which others can be looked at.
    """
    pairs = list(_parts(config) if config.odbc is None else parse(config.odbc.value))
    said = _lowered(pairs)
    database = said.get("database", said.get("initial catalog", ""))
    if driver:
        pairs = [("Driver", driver), *(pair for pair in pairs if pair[0].lower() != "driver")]
    if master:
        pairs = [*(p for p in pairs if p[0].lower() not in _NAMES_OF_IT), ("Database", _MASTER)]
    family = family_of(driver)
    extra = _defaults(config, family)
    known = set(_lowered(pairs))
    pairs += [pair for pair in extra if pair[0].lower() not in known]
    return Target(compose(pairs), family, database)


def secret_of(config: SqlServerSource) -> Secret | None:
    """What of the connection string is secret: all of it, or the password."""
    return config.password if config.odbc is None else config.odbc


def with_secret(config: SqlServerSource, secret: str) -> SqlServerSource:
    """The source with the value that its secret has by now."""
    field = "password" if config.odbc is None else "odbc"
    return replace(config, **{field: Secret(secret)})


_NAMES_OF_IT: Final = ("database", "initial catalog")


def _lowered(pairs: Pairs) -> dict[str, str]:
    return {key.lower(): value for key, value in pairs}


def _parts(config: SqlServerSource) -> Pairs:
    password = config.password.value if config.password else ""
    named = (
        ("Server", config.server),
        ("Database", config.database),
        ("UID", config.user),
        ("PWD", password),
    )
    return [(key, value) for key, value in named if value]


def _defaults(config: SqlServerSource, family: str) -> Pairs:
    """What the driver needs to be told where the string does not."""
    trusted = "yes" if config.trust_certificate else "no"
    if family == "msodbcsql":
        return [
            ("Encrypt", config.encrypt),
            ("TrustServerCertificate", trusted),
            ("ApplicationIntent", config.application_intent),
            ("APP", "syncd"),
            # A session that came back by itself would hide that another was killed.
            ("ConnectRetryCount", "0"),
        ]
    if family == "freetds":
        encryption = {"yes": "require", "strict": "strict", "no": "off"}[config.encrypt]
        return [
            ("Encryption", encryption),
            ("ApplicationIntent", config.application_intent),
            ("TDS_Version", "7.4"),  # the first with datetime2 and datetimeoffset is 7.3
            ("ClientCharset", "UTF-8"),
            ("APP", "syncd"),
        ]
    if family == "psqlodbc":
        return [
            ("UseDeclareFetch", "1"),  # else the whole answer is held in memory
            ("Fetch", str(config.fetch_rows)),
            ("BoolsAsChar", "0"),
        ]
    return []
