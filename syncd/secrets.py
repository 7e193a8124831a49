"""What must not be seen, and the last net that keeps it from being seen.

The configuration hides its secrets by type (``config.Secret``); messages are composed without
values. A ``Redactor`` stands behind both: it replaces every known secret, in every spelling that
a renderer may give it, in the final bytes of logs, reports and errors (case 96).
"""

import json
import re
from collections.abc import Iterable, Iterator, Mapping
from typing import Final
from urllib.parse import quote, unquote

from syncd.visible import visible

MASK: Final = "***"
# Shorter ones are not hunted for as bare words: blanking every "a" would hide the message itself.
SHORTEST: Final = 4

# A password may hold anything, badly quoted ones even @ and /: it ends at the last @ of the word,
# and the word at a blank or at a double quote (beyond that a JSON line would lose its structure).
# One slash does: a DSN that was taken for a path has lost the other.
# Both patterns begin with fixed text and never go back far: a hostile line costs no more.
_AUTHORITY: Final = re.compile(
    r"(?P<before>:/{1,2}[^\s:/@\"']{0,200}:)(?P<word>(?:\\.|[^\s\"\\])*+)"
)
_PARAMETER: Final = re.compile(
    r"(?P<before>(?:password|passwd|pwd|secret|token)\w{0,40}\s{0,3}=\s{0,3})"
    r"(?P<password>'[^'\"]{0,1000}'|[^\s&;'\"]{1,1000})",
    re.IGNORECASE,
)
_NAMES: Final = re.compile(
    r"://(?P<user>[^:@/\s]*)\S*@(?P<host>[^:/?,\s]*)[^/\s]*/?(?P<database>[^?\s]*)"
)
# Names further in are not looked for: the search costs the square of the length.
_NAMES_CHARS_MAX: Final = 4096
# What a report or a log line may hold by itself: short words in lower case, and numbers.
_ORDINARY: Final = re.compile(r"[a-z0-9_.+-]{1,11}|[0-9]+")


class Redactor:
    """Replaces registered secrets in text; also whatever looks like a password in a DSN."""

    def __init__(self, secrets: Iterable[str] = ()) -> None:
        self._secrets: set[str] = set()
        self._known: re.Pattern[str] | None = None
        self._telling: re.Pattern[str] | None = None
        self._add(secrets)

    def learn(self, values: Iterable[str]) -> None:
        """Replace these (DSNs, keys) and their passwords, too, from now on."""
        self._add(_worth_hiding(values))

    def _add(self, secrets: Iterable[str]) -> None:
        new = set(secrets) - self._secrets
        if not new:
            return
        self._secrets |= new  # what was a secret before may still be on its way to a line
        spellings = {s for secret in self._secrets for s in _spellings(secret)}
        self._known = _any_of(spellings)
        self._telling = _any_of(s for s in spellings if not _ORDINARY.fullmatch(s))

    def text(self, text: str) -> str:
        """A value or a sentence with every secret replaced by ``***``."""
        return masked(_replaced(self._known, text))

    def rendered(self, text: str) -> str:
        """A whole line or document, whose values went through ``text`` before.

        Secrets that are ordinary words or numbers stay: they may be keys or counts here.
        """
        return masked(_replaced(self._telling, text))


def masked(text: str) -> str:
    """``text`` without passwords of any connection string in it, known or not."""
    text = _AUTHORITY.sub(_without_password, text)
    return _PARAMETER.sub(rf"\g<before>{MASK}", text)


def redactor(values: Iterable[str], environ: Mapping[str, str]) -> Redactor:
    """A redactor for ``values`` (DSNs, keys), their passwords, and what the driver reads itself."""
    return Redactor(_worth_hiding([environ.get("PGPASSWORD", ""), *values]))


def _worth_hiding(values: Iterable[str]) -> list[str]:
    known = [s for value in values for s in (value, *passwords(value))]
    return [s for s in known if len(s) >= SHORTEST]


def passwords(dsn: str) -> tuple[str, ...]:
    """Every password inside a connection string, as written and as decoded.

    One that equals the user, host or database beside it is left out: it protects nothing, and
    hunting for it would blank ordinary words ("postgres") everywhere.
    """
    words = [m["word"].rpartition("@")[0] for m in _AUTHORITY.finditer(dsn)]
    found = [*words, *(m["password"].strip("'") for m in _PARAMETER.finditer(dsn))]
    names = _NAMES.search(dsn, 0, _NAMES_CHARS_MAX)
    plain = set(names.groups()) if names else set()
    both = dict.fromkeys(s for word in found for s in (word, unquote(word)))
    return tuple(word for word in both if word and word not in plain)


def _without_password(found: re.Match[str]) -> str:
    _, at, rest = found["word"].rpartition("@")
    return f"{found['before']}{MASK}@{rest}" if at else found[0]


def _spellings(secret: str) -> Iterator[str]:
    """How a secret may be written by the time it reaches a stream."""
    for plain in (secret, visible(secret)):
        yield plain
        yield quote(plain, safe="")
        yield json.dumps(plain)[1:-1]
        yield json.dumps(plain, ensure_ascii=False)[1:-1]
        yield repr(plain)[1:-1]


def _any_of(spellings: Iterable[str]) -> re.Pattern[str] | None:
    # The longest first: a password that begins with another one must vanish whole.
    ordered = sorted(spellings, key=lambda s: (-len(s), s))
    return re.compile("|".join(map(re.escape, ordered))) if ordered else None


def _replaced(pattern: re.Pattern[str] | None, text: str) -> str:
    return text if pattern is None else pattern.sub(MASK, text)
