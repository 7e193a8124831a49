"""The grammar of CSV by itself: what is split fast is split as if it had been split slowly."""

import csv
import io
from typing import Final, Literal, TypeAlias

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.sources.csv_syntax import Dialect, Grammar

Quoting: TypeAlias = Literal[0, 1]
PLAIN: Final = Grammar(Dialect(b",", b'"', b""))
ESCAPED: Final = Grammar(Dialect(b",", b'"', b"\\"))
VALUES: Final = st.lists(st.text('",x', max_size=6), min_size=1, max_size=6)
QUOTING: Final[list[Quoting]] = [csv.QUOTE_MINIMAL, csv.QUOTE_ALL]


def written(values: list[str], quoting: Quoting) -> bytes:
    stream = io.StringIO(newline="")
    csv.writer(stream, quoting=quoting, lineterminator="").writerow(values)
    return stream.getvalue().encode()


@given(values=VALUES, quoting=st.sampled_from(QUOTING))
def test_a_record_splits_into_what_was_written(values: list[str], quoting: Quoting) -> None:
    """With and without the number of fields, by every shortcut, the values are the same."""
    record, expected = written(values, quoting), [value.encode() for value in values]
    for grammar in (PLAIN, ESCAPED):
        assert grammar.split(record, len(values)) == expected
        assert grammar.split(record) == expected


@given(values=VALUES, quoting=st.sampled_from(QUOTING), other=st.integers(1, 7))
def test_lines_are_matched_by_their_number_of_fields(
    values: list[str], quoting: Quoting, other: int
) -> None:
    """A line is whole when its fields are well formed and as many as expected."""
    line = written(values, quoting) + b"\n"
    match = PLAIN.lines(other).match(line * 3)
    assert match
    assert match.end() == (3 * len(line) if other == len(values) else 0)


@pytest.mark.parametrize("pattern", ["record", "fields", "open_quote", "patched"])
@pytest.mark.parametrize("piece", [b'"', b'""', b',"', b'a"', b'",', b"\\", b',"\n', b"\r"])
def test_no_text_takes_long_to_match(pattern: str, piece: bytes) -> None:
    """A megabyte of the worst text is matched or refused at once: no pattern goes back."""
    for grammar in (PLAIN, ESCAPED):
        match = getattr(grammar, pattern).match
        text = b'1,"x' + piece * (1_000_000 // len(piece))
        for start in range(4):
            match(text, start)
