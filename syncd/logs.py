"""Logs: one event on one line of standard error, and never a row's value in it.

Three nets, each enough alone. An event is a code and its fields have names from a closed list, so
a row passed by accident loses every value (only the names of what was dropped are told). Values
are scalars made printable and cut at 2 KiB, so nothing can forge a line (case 95). The final
bytes go through the ``Redactor``, so no known secret leaves (case 96).

``run_id`` and ``entity`` are bound once (``scope``) and follow every task started below.
Standard output belongs to reports.
"""

import json
import logging
import math
import re
import sys
import threading
import traceback
from collections.abc import Iterator, Mapping, MutableMapping
from contextlib import contextmanager
from datetime import datetime
from enum import Enum
from pathlib import Path
from typing import Any, Final, Literal, Protocol, TypeAlias

import structlog

from syncd.errors import SyncdError
from syncd.flow.model import Counts
from syncd.secrets import Redactor
from syncd.visible import visible

Format: TypeAlias = Literal["console", "json"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Field: TypeAlias = str | int | float | list[Any] | None

FIELD_BYTES_MAX: Final = 2048
ITEMS_MAX: Final = 50
_INTEGER_BITS_MAX: Final = 64
_EVENT: Final = re.compile(r"[a-z][a-z0-9_]{0,63}")
_NAME: Final = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,62}")
_LEVELS: Final[Mapping[str, int]] = {
    "debug": logging.DEBUG,
    "info": logging.INFO,
    "warning": logging.WARNING,
    "error": logging.ERROR,
}

# What may be told. Names that a table is likely to have as columns (name, email, notes, address)
# are not among them, and a number's name takes nothing but a number.
_LEADING: Final = ("timestamp", "level", "event", "pipeline", "run_id", "entity")
WORDS: Final = frozenset(_LEADING) | {
    *("code", "column", "columns", "constraint", "field", "findings", "outcome", "phase", "place"),
    *("reason", "relation", "schema", "sqlstate", "status", "table", "transform", "unit_id"),
    *("error", "error_type", "hint", "logger", "where"),
    *("cron", "holder", "next_at", "path", "plan", "policy", "signal", "version"),
}
NUMBERS: Final = frozenset(Counts.__struct_fields__) | {
    *("attempt", "attempts", "batch_rows", "bytes", "columns_total", "conflict_id", "conflicts"),
    *("digest_epoch", "epoch", "findings_total", "lag_s", "limit_rows", "pid", "port", "position"),
    *("ratio", "retry_in_s", "revision", "rows", "rows_per_s", "seconds", "source_epoch"),
    *("timeout_s", "total_rows", "ttl_s", "units", "wave", "waves", "workers", "writers"),
}
ALLOWED: Final = WORDS | NUMBERS
DROPPED: Final = "dropped_fields"  # names only


class ByteStream(Protocol):
    """Where lines go: ``sys.stderr.buffer`` or a stand-in."""

    def write(self, data: bytes, /) -> int:
        """Take all of ``data``."""

    def flush(self) -> None:
        """Hand it on."""


def configure(
    log_format: Format, level: Level, redactor: Redactor, stream: ByteStream | None = None
) -> None:
    """Send the events of this process, and those of libraries, to ``stream``.

    Called once at the start; again it replaces what was set. Without ``stream`` lines go to
    standard error.
    """
    out = _Lines(stream, redactor)
    render = _json_line if log_format == "json" else _console_line
    structlog.configure(
        processors=[
            structlog.contextvars.merge_contextvars,
            structlog.processors.add_log_level,
            structlog.processors.TimeStamper(fmt="iso", utc=True),
            _explained,
            _Cleaner(redactor),
            render,
        ],
        wrapper_class=structlog.make_filtering_bound_logger(_LEVELS[level]),
        logger_factory=lambda *_: out,
        cache_logger_on_first_use=False,
    )
    root = logging.getLogger()
    root.handlers = [_Library()]
    # Libraries tell too much below this: asyncio's debug lines quote arguments.
    root.setLevel(max(_LEVELS[level], logging.WARNING))


@contextmanager
def scope(**fields: str | int) -> Iterator[None]:
    """Every event inside, and in tasks started inside, carries ``fields`` (run_id, entity)."""
    with structlog.contextvars.bound_contextvars(**fields):
        yield


class _Lines:
    """The end of the chain: redacts and writes whole lines, one at a time."""

    def __init__(self, stream: ByteStream | None, redactor: Redactor) -> None:
        self._stream = stream
        self._redactor = redactor
        self._lock = threading.Lock()

    def msg(self, line: str) -> None:
        data = self._redactor.rendered(line).encode("utf-8", "backslashreplace") + b"\n"
        stream = self._stream or sys.stderr.buffer
        with self._lock:
            stream.write(data)
            stream.flush()

    debug = info = warning = error = critical = log = msg


def _explained(_: Any, __: str, event: MutableMapping[str, Any]) -> MutableMapping[str, Any]:
    """An exception as its class, its place and, when it is ours, its message.

    A driver's message may quote a value, so it never passes.
    """
    error = event.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        event["error_type"] = type(error).__name__
        event["where"] = _place(error)
        if isinstance(error, SyncdError):
            event["error"] = error.message
            event["hint"] = error.hint
    return event


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).stem}:{frames[-1].lineno}" if frames else ""


class _Cleaner:
    """Keeps what may be told, printable and short."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(
        self, _: Any, __: str, event: MutableMapping[str, Any]
    ) -> MutableMapping[str, Any]:
        code = event.pop("event", None)
        clean: dict[str, Field] = {"timestamp": None, "level": None}
        # A sentence may have been formatted with a value in it; a code cannot.
        named = isinstance(code, str) and _EVENT.fullmatch(code)
        clean["event"] = code if named else "event_without_a_code"
        told = [n for n in (*_LEADING, *event) if n in event and self._may_tell(n, event[n])]
        clean |= {name: self._value(event[name]) for name in told}
        dropped = sorted(str(n) for n in event if n not in clean)
        if dropped:
            clean[DROPPED] = [n for n in dropped if _NAME.fullmatch(n)][:ITEMS_MAX]
        return clean

    @staticmethod
    def _may_tell(name: str, value: object) -> bool:
        return name in WORDS or (name in NUMBERS and isinstance(value, int | float | None))

    def _value(self, value: object) -> Field:
        if isinstance(value, list | tuple | set | frozenset):
            items = sorted(value, key=str) if isinstance(value, set | frozenset) else list(value)
            return self._list(items)
        return self._scalar(value)

    def _list(self, items: list[Any]) -> Field:
        """The first items, together within the limit of a field."""
        kept: list[Field] = []
        left_bytes = FIELD_BYTES_MAX
        for item in items[:ITEMS_MAX]:
            told = self._scalar(item)
            left_bytes -= len(str(told).encode())
            if left_bytes < 0:
                break
            kept.append(told)
        if len(kept) < len(items):
            kept.append(f"... {len(items)} in all")
        return kept

    def _scalar(self, value: object) -> Field:
        if isinstance(value, Enum):
            value = value.value
        if value is None or isinstance(value, bool):
            return value
        if isinstance(value, float):
            return value if math.isfinite(value) else str(value)  # JSON has no infinity
        if isinstance(value, int):
            return value if value.bit_length() <= _INTEGER_BITS_MAX else "a number beyond 64 bits"
        if isinstance(value, str):
            # Redacted before it is cut: half a secret is one too.
            return visible(self._redactor.text(str(value)), FIELD_BYTES_MAX)
        if isinstance(value, datetime):
            return value.isoformat()
        # Never the repr: it may hold anything.
        return f"<{type(value).__name__}>"


def _json_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """One JSON object in ASCII."""
    return json.dumps(event, separators=(",", ":"), allow_nan=False)


def _console_line(_: Any, __: str, event: MutableMapping[str, Any]) -> str:
    """``time level event name=value ...``; values with blanks or quotes are quoted."""
    rest = (n for n in event if n not in ("timestamp", "level", "event"))
    fields = " ".join(f"{n}={_console_value(event[n])}" for n in rest if event[n] not in ("", None))
    head = f"{event['timestamp']} {event['level']:<7} {event['event']}"
    return f"{head} {fields}".rstrip()


def _console_value(value: Field) -> str:
    if isinstance(value, list):
        return ",".join(_console_value(item) for item in value)
    text = str(value)
    return json.dumps(text, ensure_ascii=False) if re.search(r"[\s\"=,]", text) else text


class _Library(logging.Handler):
    """What libraries log: who, where and how grave. Their sentences may quote values."""

    def emit(self, record: logging.LogRecord) -> None:
        level = "error" if record.levelno >= logging.ERROR else "warning"
        told = {"logger": record.name, "where": f"{record.module}:{record.lineno}"}
        if record.exc_info and record.exc_info[0]:
            told["error_type"] = record.exc_info[0].__name__
        structlog.get_logger().log(_LEVELS[level], "library_message", **told)
