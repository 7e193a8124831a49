"""What is wrong with JSON records: one bad record costs only itself."""

from pathlib import Path

import pytest

from syncd.errors import SourceError
from tests.sources.dump_world import (
    look_at_text,
)


async def test_ndjson_without_a_final_line_end_is_told(tmp_path: Path) -> None:
    """The same sign, in the other format made of lines."""
    look = await look_at_text(tmp_path, '{"id":1}\n{"id":2}', format="ndjson")
    assert look.places == [("no_final_newline", "things.ndjson:2")]
    assert look.rows == 2


@pytest.mark.parametrize("format_", ["ndjson", "json"])
@pytest.mark.parametrize(
    ("record", "code"),
    [
        (b'{"id":2,}', "json_syntax"),
        (b'{"id":2,"a":NaN}', "json_syntax"),
        (b'{"id":2,"a":"\\ud800"}', "json_syntax"),
        (b'{"id":2,"a":[1,}', "json_syntax"),
        (b'{"id":[],"a":1}', "not_integer"),
        (b'{"id":null}', "null_key"),
        (b'{"a":2}', "missing_key"),
        (b'{"id":true}', "not_integer"),
    ],
)
async def test_a_json_record_without_a_key_is_told(
    tmp_path: Path, format_: str, record: bytes, code: str
) -> None:
    """One bad record costs only itself (case 94)."""
    records = [b'{"id":1}', record, b'{"id":3}']
    text = (
        b"\n".join(records) + b"\n" if format_ == "ndjson" else b"[" + b",\n".join(records) + b"]"
    )
    if record.count(b"[") != record.count(b"]") and format_ == "json":
        with pytest.raises(SourceError):
            await look_at_text(tmp_path, text, format=format_)
        return
    look = await look_at_text(tmp_path, text, format=format_)
    assert look.places == [(code, f"things.{format_}:2")]
    assert look.rows == 3
    assert len(look.keys) == 2


@pytest.mark.parametrize(
    "line", ["[1]", "7", '"x"', "null", "{" + '"a":' + "[" * 5000 + "]" * 5000 + "}"]
)
async def test_a_json_line_that_is_no_object_is_told(tmp_path: Path, line: str) -> None:
    """Other values, and nesting without end, are findings of their line."""
    look = await look_at_text(tmp_path, f'{{"id":1}}\n{line}\n', format="ndjson")
    assert look.places[0][0] in ("json_kind", "json_syntax")
    assert look.rows == 2


@pytest.mark.parametrize("format_", ["ndjson", "json"])
async def test_json_that_is_no_text_is_present_by_its_key(tmp_path: Path, format_: str) -> None:
    """Bytes that do not decode keep the row out, not its key, unless they are part of it."""
    records = [
        *(b'{"id":1,"a":"\xff"}', b'{"id":"\xff2"}', b'{"id":3}', b'{"i\xff":4}'),
        *(b'{"id":5,"a":"\xff",}', b'{"id":6,"a":"\xff"}'),
    ]
    text = (
        b"\n".join(records) + b"\n" if format_ == "ndjson" else b"[" + b",\n".join(records) + b"]"
    )
    look = await look_at_text(tmp_path, text, format=format_)
    file = f"things.{format_}"
    assert look.own == [("charset", "", f"{file}:1"), ("charset", "", f"{file}:6")]
    assert look.places == [
        ("charset", f"{file}:2"),
        ("charset", f"{file}:4"),
        ("charset", f"{file}:5"),
    ]


async def test_a_json_line_that_is_neither_text_nor_an_object_has_no_key(tmp_path: Path) -> None:
    """What is left when its bytes are replaced is not what was meant."""
    look = await look_at_text(tmp_path, b'{"id":1}\n["\xff"]\n', format="ndjson")
    assert look.places == [("charset", "things.ndjson:2")]


async def test_the_last_of_equal_members_counts(tmp_path: Path) -> None:
    """JSON allows a member twice; the last one is taken, as most parsers do (case 64)."""
    look = await look_at_text(tmp_path, '{"id":1,"a":"x","a":"y"}\n', format="ndjson")
    assert look.values() == [("y", "1")]
