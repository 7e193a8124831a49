"""The end of a log line's way: never waited for, bounded, in order, and honest about gaps."""

import io
import os
import threading
from collections.abc import Iterator

import pytest

from syncd.log_writer import Descriptor, LineWriter


class Gate(io.BytesIO):
    """A reader that can be stopped; ``reached`` is set when a line waits for it."""

    def __init__(self) -> None:
        super().__init__()
        self.open = threading.Event()
        self.reached = threading.Event()

    def write(self, data: object, /) -> int:
        self.reached.set()
        assert self.open.wait(30)
        return super().write(data)  # type: ignore[arg-type]


def missing(lines: int) -> bytes:
    return b"%d missing\n" % lines


@pytest.fixture
def gate() -> Iterator[Gate]:
    gate = Gate()
    yield gate
    gate.open.set()


def test_lines_come_in_their_order() -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream, missing)
    for n in range(1000):
        writer.put(b"%d\n" % n)
    assert writer.flush(30)
    assert stream.getvalue().split() == [b"%d" % n for n in range(1000)]
    writer.close(30)


def test_a_stopped_reader_is_not_waited_for_and_the_gap_is_told_where_it_is(gate: Gate) -> None:
    """What does not fit is counted, and told before the line that follows it (case 12)."""
    writer = LineWriter(gate, missing, bytes_max=6)
    writer.put(b"1\n")
    assert gate.reached.wait(30)  # the thread has it, so the queue is empty
    for line in (b"2\n", b"3\n", b"4\n", b"5\n", b"6\n"):
        writer.put(line)
    assert writer.dropped == 2
    gate.open.set()
    assert writer.flush(30)
    writer.put(b"7\n")
    assert writer.flush(30)
    assert gate.getvalue() == b"1\n2\n3\n4\n2 missing\n7\n"
    writer.close(30)


def test_a_wait_for_a_stopped_reader_ends_and_is_not_tried_again(gate: Gate) -> None:
    writer = LineWriter(gate, missing)
    writer.put(b"1\n")
    assert not writer.flush(0.01)
    assert not writer.flush(3600)
    gate.open.set()
    # Once it moves again it is worth waiting for; until then the answer is no.
    while not writer.flush(30):
        pass
    assert gate.getvalue() == b"1\n"
    writer.close(30)


def test_a_stream_that_nobody_reads_any_more_costs_the_lines_and_nothing_else() -> None:
    reader, writer_end = os.pipe()
    os.close(reader)
    writer = LineWriter(Descriptor(writer_end), missing)
    writer.put(b"1\n")
    assert writer.flush(30)
    assert writer.dropped == 1
    os.close(writer_end)
    writer.put(b"2\n")
    assert writer.flush(30)
    assert writer.dropped == 2
    writer.close(30)


def test_a_pipe_that_does_not_block_is_written_whole() -> None:
    """A parent may have made standard error non-blocking; a line is still one line."""
    reader, writer_end = os.pipe()
    os.set_blocking(writer_end, False)
    writer = LineWriter(Descriptor(writer_end), missing)
    line = b"x" * 300_000 + b"\n"
    writer.put(line)
    found = b""
    while len(found) < len(line):
        found += os.read(reader, 65536)
    assert found == line
    writer.close(30)
    os.close(reader)
    os.close(writer_end)


def test_a_closed_writer_begins_again_with_the_next_line() -> None:
    stream = io.BytesIO()
    writer = LineWriter(stream, missing)
    writer.put(b"1\n")
    writer.close(30)
    writer.put(b"2\n")
    assert writer.flush(30)
    assert stream.getvalue() == b"1\n2\n"
    writer.close(30)
