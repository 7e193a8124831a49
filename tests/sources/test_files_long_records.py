"""Records above the limit: skipped, told, and never the end of a read that can go on (I14)."""

from pathlib import Path
from typing import Final

import pytest

from syncd.errors import SourceError
from syncd.flow.model import MISSING, Issue, Severity
from tests.sources.dump_world import (
    look_at_text,
)

FILE: Final = "things.csv"


LIMIT: Final = 1024


@pytest.mark.parametrize("over", [0, 1, 2, 500, 3_000_000])
@pytest.mark.parametrize("place", ["middle", "end", "end without newline"])
async def test_a_long_record_is_skipped_but_present(tmp_path: Path, over: int, place: str) -> None:
    """At the limit it is read; above it is invalid; the rest of the file is read (I14)."""
    long = "2," + "x" * (LIMIT + over - 2)
    lines = ["1,a", long, "3,b"] if place == "middle" else ["1,a", "3,b", long]
    end = "" if place == "end without newline" else "\n"
    look = await look_at_text(tmp_path, "id,v\n" + "\n".join(lines) + end, max_record_bytes=LIMIT)
    line = 2 + lines.index(long)
    assert look.rows == len(look.keys) == 3
    assert look.own == ([("record_too_long", "", f"{FILE}:{line}")] if over else [])
    assert look.codes == ({} if end else {"no_final_newline": 1})
    assert [row[0] for row in look.values()] == ["1", MISSING if over else "2", "3"]


async def test_a_long_quoted_record_is_skipped_too(tmp_path: Path) -> None:
    """Quotes do not matter as long as the record stays on its line."""
    text = 'id,v\n1,"a"\n2,"' + "x," * 2_000_000 + '"\n3,b\n'
    look = await look_at_text(tmp_path, text, max_record_bytes=LIMIT)
    assert look.own == [("record_too_long", "", f"{FILE}:3")]
    assert look.rows == 3


@pytest.mark.parametrize("text", [r"\"", r"\\"])
async def test_escaped_quotes_do_not_count_in_a_long_line(tmp_path: Path, text: str) -> None:
    """An odd number of them leaves no quote open."""
    content = f"id,v\n1,{text}" + "x" * 3_000_000 + "\n2,y\n"
    look = await look_at_text(tmp_path, content, max_record_bytes=LIMIT, escape="\\")
    assert look.own == [("record_too_long", "", f"{FILE}:2")]


async def test_a_long_record_without_a_readable_key_is_told(tmp_path: Path) -> None:
    """Where the key stands behind the long field, nobody knows whose record it is."""
    text = "v,id\nx,1\n" + "y" * 5000 + ",2\n"
    look = await look_at_text(tmp_path, text, max_record_bytes=LIMIT)
    assert look.told == [Issue(Severity.ERROR, "record_too_long", "", f"{FILE}:3")]


@pytest.mark.parametrize("size", [3000, 3_000_000])
async def test_a_long_record_that_spans_lines_ends_the_read(tmp_path: Path, size: int) -> None:
    """It may be a lost quote that swallows one record after the other."""
    text = 'id,v\n1,"' + "abc\n" * (size // 4) + '"\n2,x\n'
    with pytest.raises(SourceError, match=r"things\.csv:2: a record spans lines and is longer"):
        await look_at_text(tmp_path, text, max_record_bytes=LIMIT)


async def test_a_quote_that_opens_in_a_long_line_ends_the_read(tmp_path: Path) -> None:
    """The line's end may be inside quotes, so the record may go on."""
    text = "id,v\n1," + "x" * 3_000_000 + '"abc\n2,x\n'
    with pytest.raises(SourceError, match=r"things\.csv:2: a record spans lines and is longer"):
        await look_at_text(tmp_path, text, max_record_bytes=LIMIT)


@pytest.mark.parametrize("size", [2000, 3_000_000])
async def test_a_long_json_line_is_told(tmp_path: Path, size: int) -> None:
    """Its key is not looked for."""
    text = '{"id":1}\n{"id":2,"v":"' + "x" * size + '"}\n{"id":3}\n'
    look = await look_at_text(tmp_path, text, format="ndjson", max_record_bytes=LIMIT)
    assert look.told == [Issue(Severity.ERROR, "record_too_long", "", "things.ndjson:2")]
    assert look.rows == 3


async def test_a_long_object_of_an_array_is_told_or_ends_the_read(tmp_path: Path) -> None:
    """While it fits what is read at once it is skipped; beyond, its end cannot be found."""
    text = '[{"id":1},\n{"id":2,"v":"%s"},{"id":3}]'
    look = await look_at_text(tmp_path, text % ("x" * 2000), format="json", max_record_bytes=LIMIT)
    assert look.told == [Issue(Severity.ERROR, "record_too_long", "", "things.json:2")]
    with pytest.raises(SourceError, match=r"things\.json:"):
        await look_at_text(
            tmp_path, text % ("x" * 9_000_000), format="json", max_record_bytes=LIMIT
        )
