"""Log lines: one event each, allowed fields only, printable, bounded, without secrets."""

import io
import json
import logging
import re
from collections.abc import Callable, Iterator
from typing import Any, Final

import anyio
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd import logs
from syncd.errors import RowError
from syncd.flow.model import Counts, Outcome
from syncd.secrets import Redactor, redactor

DSN: Final = "postgresql://app:p%40ss-w0rd!@db:5432/new"
HOSTILE: Final = 'x\r\n{"event":"forged"}\x1b[2J\u202e\u2028\x85\x00\ud800"}'


@pytest.fixture(autouse=True)
def as_before() -> Iterator[None]:
    """Give the process its own logging back."""
    root = logging.getLogger()
    handlers, level = root.handlers, root.level
    ours = logging.getLogger("syncd")
    ours_level = ours.level
    yield
    for handler in root.handlers:
        handler.close()
    root.handlers = handlers
    root.setLevel(level)
    ours.setLevel(ours_level)


class Written:
    """What a process would have written to standard error."""

    def __init__(self, log_format: logs.Format, level: logs.Level, secrets: Redactor) -> None:
        self._stream = io.BytesIO()
        logs.configure(log_format, level, secrets, self._stream)
        self.log: Any = logs.Log("syncd.test")

    @property
    def lines(self) -> list[str]:
        assert logs.flush()
        return self._stream.getvalue().decode().split("\n")[:-1]

    @property
    def events(self) -> list[dict[str, Any]]:
        return [json.loads(line) for line in self.lines]


def written(log_format: logs.Format = "json", level: logs.Level = "info", *secrets: str) -> Written:
    return Written(log_format, level, redactor(secrets, {}))


def test_an_event_is_one_object_with_time_level_and_code() -> None:
    """A line holds time, level and code first, then the fields."""
    out = written()
    out.log.info("run_started", rows=3, reason="asked")

    [line] = out.lines

    assert re.match(r'\{"timestamp":"\d{4}-\d\d-\d\dT[0-9:.]+Z","level":"info","event":"run_', line)
    assert json.loads(line) | {"timestamp": ""} == {
        "timestamp": "", "level": "info", "event": "run_started", "rows": 3, "reason": "asked",
    }  # fmt: skip


def test_a_scope_marks_every_event_inside_and_in_tasks_started_there() -> None:
    """Run id and entity are bound once and follow the tasks; outside they are gone."""
    out = written()

    async def told() -> None:
        with logs.scope(run_id=7, entity="countries"):
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(tell)

    async def tell() -> None:
        out.log.info("inside")

    anyio.run(told)
    out.log.info("outside")
    assert [(e["event"], e.get("run_id"), e.get("entity")) for e in out.events] == [
        ("inside", 7, "countries"),
        ("outside", None, None),
    ]


def test_what_is_bound_stays_in_its_context() -> None:
    """A run binds its id for all that it tells; the next one begins without it."""
    out = written()

    async def told() -> None:
        logs.bind(run_id=7)
        out.log.info("inside", entity="countries")

    anyio.run(told)
    out.log.info("outside")
    assert [(e["event"], e.get("run_id")) for e in out.events] == [("inside", 7), ("outside", None)]


def test_events_below_the_level_are_not_written() -> None:
    """The level is the least that is written."""
    out = written("json", "warning")
    out.log.info("quiet")
    out.log.warning("loud")
    assert [event["event"] for event in out.events] == ["loud"]


@pytest.mark.parametrize("log_format", ["json", "console"])
def test_a_hostile_value_stays_on_its_line(log_format: logs.Format) -> None:
    """Line ends, escapes, bidi marks and quotes in a value make no second event (case 95)."""
    out = written(log_format)
    out.log.info("row_rejected", reason=HOSTILE, path=HOSTILE, column=[HOSTILE])
    [line] = out.lines
    assert line.isprintable()
    assert "forged" in line


@given(st.text(alphabet=st.characters(), max_size=300))
def test_each_line_is_exactly_one_event(text: str) -> None:
    """Any text as value or code gives one line that is one JSON object in ASCII (case 95)."""
    out = written()
    out.log.info(text, reason=text, columns=[text, text], entity=text)
    [line] = out.lines
    assert line.isascii()
    assert line.isprintable()
    assert set(json.loads(line)) == {
        "timestamp", "level", "event", "entity", "reason", "columns"
    }  # fmt: skip


def test_a_row_logged_by_accident_loses_its_values() -> None:
    """Fields that are not on the list are dropped; their names, not their values, are told."""
    out = written()
    row = {"surname": "Lovelace", "email": "ada@x.org", "name": "Ada", "notes": "n", "a b": "c"}
    out.log.info("row_read", **row)
    [event] = out.events
    assert event["dropped_fields"] == ["email", "name", "notes", "surname"]
    assert not any(value in str(out.lines) for value in ("Lovelace", "ada@", "Ada"))


def test_a_field_for_a_number_takes_no_text() -> None:
    """A row's text under the name of a counter is dropped, a number stays."""
    out = written()
    out.log.info("row_read", inserted="Lovelace", rows=2, updated=True)
    [event] = out.events
    assert (event["rows"], event["updated"]) == (2, True)
    assert event["dropped_fields"] == ["inserted"]


def test_a_sentence_is_no_code() -> None:
    """An event that was formatted with a value in it is replaced."""
    out = written()
    surname = "Lovelace"
    out.log.info(f"read {surname}")  # noqa: G004 - the mistake that is looked at.
    [event] = out.events
    assert event["event"] == "event_without_a_code"
    assert "Lovelace" not in out.lines[0]


def test_every_count_may_be_told() -> None:
    """The numbers of a run are all on the list."""
    assert set(Counts.__struct_fields__) <= logs.ALLOWED


@pytest.mark.parametrize(
    ("value", "told"),
    [
        (Outcome.FAILED, "failed"),
        (b"Lovelace", "<bytes>"),
        ({"surname": "Lovelace"}, "<dict>"),
        (object(), "<object>"),
        (2**70, "a number beyond 64 bits"),
        (float("nan"), "nan"),
        (float("-inf"), "-inf"),
        (1.5, 1.5),
        (None, None),
        (("a", 2), ["a", 2]),
        ({"b", "a"}, ["a", "b"]),
        ([["Lovelace"]], ["<list>"]),
    ],
)
def test_a_value_is_a_scalar_or_a_list_of_them(value: object, told: object) -> None:
    """Enums give their value, other objects only their type: a repr may hold anything."""
    out = written()
    out.log.info("it", reason=value)
    assert out.events[0]["reason"] == told


def test_a_field_has_at_most_two_kibibytes() -> None:
    """Long texts and long lists are cut, and say so."""
    out = written()
    out.log.info("it", reason="é" * 5000, columns=["x" * 100] * 60, findings=list(range(60)))
    [event] = out.events
    assert len(event["reason"].encode()) <= logs.FIELD_BYTES_MAX
    assert event["reason"].endswith("... [10000 bytes]")
    assert event["columns"] == [*["x" * 100] * 20, "... 60 in all"]
    assert event["findings"] == [*range(50), "... 60 in all"]


@pytest.mark.parametrize("log_format", ["json", "console"])
@pytest.mark.parametrize(
    "spelled",
    [
        DSN,
        "p%40ss-w0rd!",
        "p@ss-w0rd!",
        "connect to postgresql://app:p@ss-w0rd!@db failed",
        "postgresql://other:unregistered@db/x",
        "user=app password='un registered' host=db",
        "dbname=x&sslpassword=unregistered",
    ],
)
def test_a_secret_never_leaves(log_format: logs.Format, spelled: str) -> None:
    """Registered secrets in any spelling, and whatever stands as a password, are *** (case 96)."""
    out = written(log_format, "info", DSN)
    out.log.info("it", reason=f"<{spelled}>", columns=[spelled], where="here")
    [line] = out.lines
    assert "***" in line
    assert not re.search(r"ss-w0rd|un ?registered", line)
    assert line.endswith('"here"}' if log_format == "json" else "where=here")


def test_the_last_net_is_below_everything_else() -> None:
    """A secret that stands where no value is expected goes in the final line (case 96)."""
    out = written("json", "info", "kanarie_of_twenty_four")
    out.log.info("kanarie_of_twenty_four")
    assert out.events[0]["event"] == "***"


def test_half_a_secret_does_not_survive_the_cut() -> None:
    """A secret that would be cut in two at the limit is replaced before."""
    secret = "0123456789abcdefSECRET"  # noqa: S105 - made up.
    out = written("json", "info", secret)
    out.log.info("it", reason="x" * (logs.FIELD_BYTES_MAX - 30) + secret + "y" * 100)
    assert "0123456" not in out.lines[0]


def test_a_secret_that_is_a_common_word_leaves_the_line_whole() -> None:
    """A password that equals a key or a number is hidden in values and nowhere else."""
    out = written("json", "info", "event", "1234", "info")
    out.log.info("it", rows=1234, reason="the event 1234")
    assert out.events[0]["rows"] == 1234
    assert out.events[0]["reason"] == "the *** ***"


def test_an_exception_of_ours_tells_its_message() -> None:
    """Our errors hold no values, so message and place are told."""
    out = written()
    try:
        raise RowError("the target refused a row", sqlstate="23505")  # noqa: TRY301
    except RowError:
        out.log.exception("row_failed")
    [event] = out.events
    assert (event["error_type"], event["error"]) == ("RowError", "the target refused a row")
    assert event["where"].startswith("test_logs:")


def test_an_exception_of_a_driver_tells_only_its_class() -> None:
    """A driver's message may quote a value, so only class and place are told (case 96)."""
    out = written()
    out.log.error("row_failed", exc_info=ValueError("invalid input: 'Lovelace'"))
    assert out.events[0]["error_type"] == "ValueError"
    assert "Lovelace" not in out.lines[0]


def test_a_library_s_sentence_is_not_repeated() -> None:
    """What libraries log is told by logger, place and level, without their words."""
    out = written()
    try:
        int("Lovelace")
    except ValueError:
        logging.getLogger("asyncpg").exception("bad argument %r", "Lovelace")
    logging.getLogger("asyncio").warning("slow callback Lovelace")
    logging.getLogger("asyncio").info("not told")
    assert [(e["logger"], e["level"], e["event"]) for e in out.events] == [
        ("asyncpg", "error", "library_message"),
        ("asyncio", "warning", "library_message"),
    ]
    assert "Lovelace" not in str(out.lines)


def test_the_console_quotes_what_would_be_misread() -> None:
    """Values with blanks, commas, quotes or equal signs are quoted; empty ones are left out."""
    out = written("console")
    out.log.warning("it", reason="a b", path="x=y", entity="countries", hint="", columns=["a", "b"])
    [line] = out.lines
    assert line.split(" ", 1)[1] == (
        'warning it entity=countries reason="a b" path="x=y" columns=a,b'
    )


def test_without_a_stream_lines_go_to_standard_error(
    capfdbinary: pytest.CaptureFixture[bytes],
) -> None:
    """Standard output belongs to reports; logs go to standard error."""
    logs.configure("json", "info", Redactor())
    logs.Log("syncd.test").info("it")
    assert logs.flush()
    captured = capfdbinary.readouterr()
    assert captured.out == b""
    assert json.loads(captured.err)["event"] == "it"


def test_a_line_is_written_whole() -> None:
    """Every event is one write, so that lines of two threads do not mix."""
    writes: list[bytes] = []

    class Stream(io.BytesIO):
        def write(self, data: Any, /) -> int:
            writes.append(bytes(data))
            return len(data)

    logs.configure("json", "info", Redactor(), Stream())
    log: Callable[..., None] = logs.Log("syncd.test").info
    log("one")
    log("two")
    assert logs.flush()
    assert [data.count(b"\n") for data in writes] == [1, 1]
    assert all(data.endswith(b"\n") for data in writes)
