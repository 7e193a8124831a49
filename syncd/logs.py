"""Logs: one event on one line of standard error, and never a row's value in it.

Three nets, each enough alone. An event is a code and its fields have names from a closed list, so
a row passed by accident loses every value (only the names of what was dropped are told). Values
are scalars made printable and cut at 2 KiB, so nothing can forge a line (case 95). The final
bytes go through the ``Redactor``, so no known secret leaves (case 96).

``run_id``, ``correlation_id`` and ``entity`` are bound once (``bind``, ``scope``) and follow every
task started below. Standard output belongs to reports.

Events travel as records of the standard library, so that one handler writes ours and those of
libraries, and an event below the level costs one comparison. The last step is a thread of its own
(``syncd.log_writer``): whoever tells an event never waits for whoever reads it. The names of all
events stand in ``syncd.log_events``.
"""

import io
import json
import logging
import math
import re
import sys
import time
import traceback
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from contextvars import ContextVar
from datetime import UTC, datetime
from enum import Enum
from pathlib import Path
from types import MappingProxyType
from typing import Any, Final, Literal, TypeAlias

from syncd.errors import SyncdError
from syncd.flow.model import Counts
from syncd.log_writer import ByteStream, Descriptor, LineWriter
from syncd.secrets import Redactor
from syncd.visible import visible

Format: TypeAlias = Literal["console", "json"]
Level: TypeAlias = Literal["debug", "info", "warning", "error"]
Field: TypeAlias = str | int | float | list[Any] | None
Event: TypeAlias = dict[str, Any]

FIELD_BYTES_MAX: Final = 2048
FLUSH_S: Final = 2.0  # what an end waits for its last lines; more would look like a hang
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

_OURS: Final = "syncd"  # the logger above all of ours; its level is that of events
_FIELDS: Final = "syncd_fields"  # of a record: it is one of our events
_BOUND: Final[ContextVar[Mapping[str, str | int]]] = ContextVar(
    "syncd_log_fields", default=MappingProxyType({})
)

# What may be told. Names that a table is likely to have as columns (name, email, notes, address)
# are not among them, and a number's name takes nothing but a number.
_LEADING: Final = (
    *("timestamp", "level", "event", "pipeline", "run_id", "correlation_id", "claim_id", "entity"),
)
WORDS: Final = frozenset(_LEADING) | {
    *("code", "column", "columns", "constraint", "field", "findings", "outcome", "phase", "place"),
    *("reason", "relation", "schema", "sqlstate", "status", "table", "transform", "unit_id"),
    *("error", "error_type", "hint", "logger", "where"),
    *("cron", "holder", "next_at", "path", "plan", "policy", "signal", "version"),
}
NUMBERS: Final = frozenset(Counts.__struct_fields__) | {
    *("attempt", "attempts", "batch_rows", "bytes", "columns_total", "conflict_id", "conflicts"),
    *(
        "digest_epoch",
        "epoch",
        "findings_total",
        "lag_s",
        "limit_rows",
        "lines",
        "pid",
        "port",
        "position",
    ),
    *("ratio", "retry_in_s", "revision", "rows", "rows_per_s", "seconds", "source_epoch"),
    *("timeout_s", "total_rows", "ttl_s", "units", "wave", "waves", "workers", "writers"),
}
ALLOWED: Final = WORDS | NUMBERS
DROPPED: Final = "dropped_fields"  # names only


class Log:
    """Tells events; ``name`` is that of a part of the program, such as ``syncd.run``.

    An event is a code, ``fields`` are as the module says; ``exc_info`` among them is an exception,
    or True for the one that is being handled.
    """

    def __init__(self, name: str) -> None:
        self._logger = logging.getLogger(name)

    def debug(self, event: str, /, **fields: object) -> None:
        """Tell what helps to find a fault."""
        self._tell(logging.DEBUG, event, fields)

    def info(self, event: str, /, **fields: object) -> None:
        """Tell what happened."""
        self._tell(logging.INFO, event, fields)

    def warning(self, event: str, /, **fields: object) -> None:
        """Tell what needs a look."""
        self._tell(logging.WARNING, event, fields)

    def error(self, event: str, /, **fields: object) -> None:
        """Tell what went wrong."""
        self._tell(logging.ERROR, event, fields)

    def exception(self, event: str, /, **fields: object) -> None:
        """Tell what went wrong, with the exception that is being handled."""
        self._tell(logging.ERROR, event, {"exc_info": True, **fields})

    def _tell(self, level: int, event: str, fields: Event) -> None:
        if self._logger.isEnabledFor(level):
            told = {**_BOUND.get(), **_explained(fields)}
            self._logger.log(level, event, extra={_FIELDS: told})


def configure(
    log_format: Format, level: Level, redactor: Redactor, stream: ByteStream | None = None
) -> None:
    """Send the events of this process, and those of libraries, to ``stream``.

    Called once at the start; again it replaces what was set. Without ``stream`` lines go to
    standard error.
    """
    render = _json_line if log_format == "json" else _console_line
    root = logging.getLogger()
    for lines in _ends():
        lines.close()
    root.handlers = [_Lines(stream or _standard_error(), redactor, render)]
    # Libraries tell too much below this: asyncio's debug lines quote arguments.
    root.setLevel(max(_LEVELS[level], logging.WARNING))
    logging.getLogger(_OURS).setLevel(_LEVELS[level])


def flush(within_s: float = FLUSH_S) -> bool:
    """Wait until every line is written, at most ``within_s``; whether they are."""
    return all(lines.written(within_s) for lines in _ends())


def lines_dropped() -> int:
    """Lines that were not written because their reader did not keep up."""
    return sum(lines.dropped for lines in _ends())


def _ends() -> "list[_Lines]":
    return [handler for handler in logging.getLogger().handlers if isinstance(handler, _Lines)]


def _standard_error() -> ByteStream:
    try:
        return Descriptor(sys.stderr.fileno())
    except io.UnsupportedOperation:  # a test's stand-in
        return sys.stderr.buffer


def bind(**fields: str | int) -> None:
    """Every event from here on, and in tasks started from here, carries ``fields``."""
    _BOUND.set({**_BOUND.get(), **fields})


@contextmanager
def scope(**fields: str | int) -> Iterator[None]:
    """Every event inside, and in tasks started inside, carries ``fields`` (run_id, entity)."""
    token = _BOUND.set({**_BOUND.get(), **fields})
    try:
        yield
    finally:
        _BOUND.reset(token)


class _Lines(logging.Handler):
    """Cleans, renders and redacts whole lines, and hands them to the one who writes."""

    def __init__(
        self, stream: ByteStream, redactor: Redactor, render: Callable[[Event], str]
    ) -> None:
        super().__init__()
        self._redactor = redactor
        self._render = render
        self._clean = _Cleaner(redactor)
        self._writer = LineWriter(stream, self._missing)

    @property
    def dropped(self) -> int:
        """Lines that did not fit."""
        return self._writer.dropped

    def emit(self, record: logging.LogRecord) -> None:
        """Hand one record on; the handler's own lock is held meanwhile."""
        told = _told_by_us(record) if hasattr(record, _FIELDS) else _told_by_library(record)
        self._writer.put(self._line(record.created, told))

    def written(self, within_s: float) -> bool:
        """Wait until all lines are written, at most ``within_s``; whether they are."""
        return self._writer.flush(within_s)

    def flush(self) -> None:
        """The same, for the end of the interpreter, which is not kept from ending."""
        self._writer.flush(FLUSH_S)

    def close(self) -> None:
        """Write what is there and end the thread."""
        self._writer.close(FLUSH_S)
        super().close()

    def _line(self, at_s: float, told: Event) -> bytes:
        at = datetime.fromtimestamp(at_s, UTC)
        event = {"timestamp": f"{at:%Y-%m-%dT%H:%M:%S.%f}Z", **told}
        line = self._redactor.rendered(self._render(self._clean(event)))
        return line.encode("utf-8", "backslashreplace") + b"\n"

    def _missing(self, lines: int) -> bytes:
        told = {"level": "warning", "event": "log_lines_dropped", "lines": lines}
        return self._line(time.time(), told)


def _told_by_us(record: logging.LogRecord) -> Event:
    return {
        **getattr(record, _FIELDS),
        "level": record.levelname.lower(),
        "event": record.msg,
    }


def _told_by_library(record: logging.LogRecord) -> Event:
    """Who, where and how grave. The sentences of libraries may quote values."""
    told = {
        "level": "error" if record.levelno >= logging.ERROR else "warning",
        "event": "library_message",
        "logger": record.name,
        "where": f"{record.module}:{record.lineno}",
    }
    if record.exc_info and record.exc_info[0]:
        told["error_type"] = record.exc_info[0].__name__
    return {**_BOUND.get(), **told}


def _explained(fields: Event) -> Event:
    """An exception as its class, its place and, when it is ours, its message.

    A driver's message may quote a value, so it never passes.
    """
    told = dict(fields)
    error = told.pop("exc_info", None)
    if error is True:
        error = sys.exc_info()[1]
    if isinstance(error, BaseException):
        told["error_type"] = type(error).__name__
        told["where"] = _place(error)
        if isinstance(error, SyncdError):
            told["error"] = error.message
            told["hint"] = error.hint
    return told


def _place(error: BaseException) -> str:
    frames = traceback.extract_tb(error.__traceback__)
    return f"{Path(frames[-1].filename).stem}:{frames[-1].lineno}" if frames else ""


class _Cleaner:
    """Keeps what may be told, printable and short."""

    def __init__(self, redactor: Redactor) -> None:
        self._redactor = redactor

    def __call__(self, event: Event) -> Event:
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


def _json_line(event: Event) -> str:
    """One JSON object in ASCII."""
    return json.dumps(event, separators=(",", ":"), allow_nan=False)


def _console_line(event: Event) -> str:
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
