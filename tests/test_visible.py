"""Text made printable: nothing in it can move a cursor, end a line or turn reading round."""

import sys
import unicodedata

from hypothesis import given
from hypothesis import strategies as st

from syncd.visible import visible

UNSEEN = {"Cc", "Cf", "Cs", "Co", "Cn", "Zl", "Zp"}


def test_no_unseen_character_of_unicode_is_left() -> None:
    """Every control, format, surrogate, private and separator character is escaped."""
    unseen = [c for c in map(chr, range(sys.maxunicode + 1)) if unicodedata.category(c) in UNSEEN]
    assert [hex(ord(c)) for c in unseen if c in visible(c)] == []


def test_what_can_be_seen_stays() -> None:
    """Letters of any script, marks and blanks are not touched."""
    text = "Zürich Łódź 東京 العربية e\u0301 😀 a\\b"
    assert visible(text) == text


def test_escapes_are_those_of_python() -> None:
    """Line feeds, escape sequences, bidi marks and surrogates are spelled out."""
    assert visible("a\r\n\t\x1b[31m\u202e\ud800\U000e0001") == (
        "a\\r\\n\\t\\x1b[31m\\u202e\\ud800\\U000e0001"
    )


def test_the_limit_is_in_bytes_and_is_told() -> None:
    """A long text is cut between characters and says how long it was."""
    text = visible("é" * 3000, 2048)
    assert len(text.encode()) <= 2048
    assert text.endswith("é... [6000 bytes]")


@given(st.text(alphabet=st.characters(), max_size=200), st.integers(0, 100))
def test_the_answer_is_one_printable_line_within_the_limit(text: str, limit_bytes: int) -> None:
    """Whatever goes in, one printable line of at most the limit comes out."""
    shown = visible(text, limit_bytes)
    assert shown.isprintable()
    assert len(shown.encode()) <= limit_bytes
