"""Rules for both ends of a pipeline and for where its messages go; see ``config_rules``."""

import codecs
import re
from collections.abc import Callable
from typing import Final

from syncd.config import Config, Event, FilesSource, SnsTopic, SqlServerSource, SqsQueue
from syncd.config_references import Found, Problem

_HASH_KEY_BYTES: Final = (16, 64)  # BLAKE2b takes no longer key; a shorter one can be guessed
_URL: Final = re.compile(r"postgres(?:ql)?://.")  # the only form that asyncpg takes
_WEB: Final = re.compile(r"https?://.")
_TOPIC: Final = re.compile(r"arn:[a-z-]+:sns:[a-z0-9-]+:[0-9]{12}:[A-Za-z0-9_.-]{1,256}")
_PLACE: Final = re.compile(r"\{([A-Za-z_][A-Za-z0-9_]*)\}")
_WEBHOOK: Final = re.compile(r"https://.|http://(?:127\.0\.0\.1|localhost|\[::1\])(?:[:/]|$)")


def _connections(config: Config) -> Found:
    for where, side in (("source", config.source), ("target", config.target)):
        if isinstance(side, FilesSource | SqlServerSource) or _URL.match(side.dsn.value):
            continue
        # Never say what was found: it may be a password.
        yield Problem(
            (where, "dsn"),
            "expected postgresql://USER@HOST:PORT/DATABASE, found text of another form",
        )
    key = config.ledger.hash_key
    size = len(key.value.encode()) if key else _HASH_KEY_BYTES[0]
    if not _HASH_KEY_BYTES[0] <= size <= _HASH_KEY_BYTES[1]:
        least, most = _HASH_KEY_BYTES
        yield Problem(("ledger", "hash_key"), f"expected {least} to {most} bytes, found {size}")


def _odbc(config: Config) -> Found:
    source = config.source
    if not isinstance(source, SqlServerSource):
        for name, entity in config.entities.items():
            if entity.collation is not None:
                yield Problem(
                    ("entities", name, "collation"),
                    "expected nothing: only source.kind sqlserver has one, found an object",
                )
        return
    if source.odbc is None:
        if not source.server:
            yield Problem(("source", "server"), "expected a host, or odbc, found neither")
        if source.dialect == "tsql" and not source.database:
            yield Problem(("source", "database"), "expected the name of a database, found nothing")
    else:
        for field in ("server", "database", "user", "password"):
            if getattr(source, field):
                yield Problem(("source", field), "expected nothing beside odbc, found a value")
    if source.digests == "pushdown" and source.dialect == "sqlite":
        yield Problem(
            ("source", "digests"), "expected client: sqlite has no digests, found pushdown"
        )


def _events(config: Config) -> Found:
    to = None if config.events is None else config.events.to
    if isinstance(to, SnsTopic) and not _TOPIC.fullmatch(to.topic_arn):
        yield Problem(
            ("events", "to", "topic_arn"), "expected arn:aws:sns:REGION:ACCOUNT:NAME, found",
            to.topic_arn,
        )  # fmt: skip
    if isinstance(to, SqsQueue) and not _WEB.match(to.queue_url):
        yield Problem(("events", "to", "queue_url"), "expected an http URL, found", to.queue_url)
    for name, entity in config.entities.items():
        if isinstance(entity.event, Event):
            yield from _event(name, entity.event)


def _event(name: str, event: Event) -> Found:
    path = ("entities", name, "event")
    if event.details is not None and not event.details.endswith(".sql"):
        yield Problem((*path, "details"), "expected a file NAME.sql, found", event.details)
    url = event.detail_url
    if url is None:
        return
    if not _WEB.match(url):
        yield Problem((*path, "detail_url"), "expected an http URL, found", url)
    if re.search(r"[{}]", _PLACE.sub("", url)):
        yield Problem(
            (*path, "detail_url"), "expected names of columns in braces as in {id}, found", url
        )
    elif event.details is None and set(_PLACE.findall(url)) - {"key", "entity"}:
        yield Problem(
            (*path, "detail_url"), "expected only {key} and {entity} without details, found", url
        )


def _webhook(config: Config) -> Found:
    """Who may read the message on its way must not: TLS, but to this machine itself."""
    if config.report is not None and not _WEBHOOK.match(config.report.webhook.value):
        yield Problem(
            ("report", "webhook"), "expected https://HOST/..., found text of another form"
        )


def _file_format(config: Config) -> Found:
    source = config.source
    if not isinstance(source, FilesSource):
        return
    try:
        codecs.lookup(source.encoding)
    except (LookupError, ValueError):
        yield Problem(
            ("source", "encoding"),
            "expected an encoding such as utf-8 or cp1252, found",
            source.encoding,
        )
    if source.delimiter == source.quote:
        yield Problem(("source", "quote"), "expected another character than delimiter, found it")
    if source.delimiter in "\r\n":
        yield Problem(("source", "delimiter"), "expected no end of line, found one")
    if source.header:
        return
    for name, entity in config.entities.items():
        if not entity.columns:
            yield Problem(
                ("entities", name, "columns"),
                "expected the names of all columns in file order (header is false), found none",
            )


RULES: Final[tuple[Callable[[Config], Found], ...]] = (
    _connections,
    _odbc,
    _events,
    _webhook,
    _file_format,
)
