"""What is wrong with a dump: each finding with its file and line, and what becomes of the row.

Every look also checks the sum: rows = keys pushed + errors told + equal duplicates told.
"""

from pathlib import Path
from typing import Final

import pytest

from syncd.errors import SourceError
from syncd.flow.model import MISSING, ColumnType, Issue, Kind, Severity
from syncd.sources import key_index
from syncd.sources.records import LINE_MAX, lines_from
from tests.sources.dump_world import (
    ENTITY,
    digest_of,
    dump_at,
    integer,
    look_at,
    look_at_text,
    plan_of,
    scan,
)

FILE: Final = "things.csv"


async def test_a_clean_file_has_no_findings(tmp_path: Path) -> None:
    """Digests are those of the raw lines, and nothing is told."""
    look = await look_at_text(tmp_path, "id,a\n2,x\n1,y\n")
    assert (look.told, look.own) == ([], [])
    assert look.digests == [digest_of("1,y"), digest_of("2,x")]
    assert look.rows == 2


async def test_a_short_row_lacks_values(tmp_path: Path) -> None:
    """Fields that a line does not have are MISSING, not empty (case 57)."""
    look = await look_at_text(tmp_path, "id,b,c\n1,x,y\n2,x\n3\n")
    assert look.places == [("ragged_short", f"{FILE}:3"), ("ragged_short", f"{FILE}:4")]
    assert {issue.severity for issue in look.told} == {Severity.WARNING}
    assert look.values() == [("x", "y", "1"), ("x", MISSING, "2"), (MISSING, MISSING, "3")]
    assert look.digests[1] == digest_of("2,x")
    assert look.own == []


async def test_a_long_row_loses_what_has_no_name(tmp_path: Path) -> None:
    """Fields beyond the header are ignored, with a warning."""
    look = await look_at_text(tmp_path, 'id,b\n1,x,y\n2,"x",\n3,z\n')
    assert look.places == [("ragged_long", f"{FILE}:2"), ("ragged_long", f"{FILE}:3")]
    assert look.values() == [("x", "1"), ("x", "2"), ("z", "3")]


@pytest.mark.parametrize("end", ["\n", "\r\n"])
async def test_blank_lines_are_no_rows(tmp_path: Path, end: str) -> None:
    """They are neither counted nor told, before the header or after, in any path of the code."""
    lines = ["", "id,a", "", "1,x", "", "", '2,"y"', "", "3", ""]
    look = await look_at_text(tmp_path, end.join(lines))
    assert look.rows == 3
    assert look.places == [("ragged_short", f"{FILE}:9")]


async def test_blank_lines_of_a_single_column_are_no_rows(tmp_path: Path) -> None:
    """Where every value is a line of its own, an empty one is written as two quotes."""
    look = await look_at_text(tmp_path, 'a\nx\n\ny\n""\n', ["a"])
    assert look.values() == [("",), ("x",), ("y",)]


@pytest.mark.parametrize(
    ("line", "own"),
    [
        ('2,5" pipe,z', [("stray_quote", "", f"{FILE}:3")]),
        ('2,"a "b" c",z', [("stray_quote", "", f"{FILE}:3")]),
        ('2,"a"b,z', [("stray_quote", "", f"{FILE}:3")]),
        ('2, "a",z', [("stray_quote", "", f"{FILE}:3")]),
        ('2,a,z"', [("stray_quote", "", f"{FILE}:3")]),
        ("2,a\rb,z", [("stray_return", "", f"{FILE}:3")]),
        ("2,a,z\r", []),
    ],
)
async def test_broken_quoting_within_a_line_keeps_its_row_out(
    tmp_path: Path, line: str, own: list[tuple[str, str, str]]
) -> None:
    """The row is present by its key, has no values, and its digest is unknown."""
    look = await look_at_text(tmp_path, f"id,b,c\n1,x,y\n{line}\n3,x,y\n")
    assert (look.rows, look.told, look.own) == (3, [], own)
    assert look.values()[0] == ("x", "y", "1")
    if own:
        assert look.digests[1] == 0
        assert look.values()[1] == (MISSING, MISSING, MISSING)


async def test_a_key_behind_broken_quoting_cannot_be_trusted(tmp_path: Path) -> None:
    """A record whose key stands after the stray quote has no key; the error is told."""
    look = await look_at_text(tmp_path, 'a,id\nx"y,1\nz,2\n')
    assert look.told == [Issue(Severity.ERROR, "stray_quote", "", f"{FILE}:2")]
    assert look.values() == [("z", "2")]


@pytest.mark.parametrize(
    "text",
    [
        'id,b\n1,"abc\n2,"def"\n3,x\n',
        'id,b\n1,5","abc\n2,def\n',
        'id,b\n1,"a\nb"c\n2,x\n',
        'id,b\n1,x"y,"\n2,x\n',
    ],
)
async def test_broken_quoting_across_lines_ends_the_read(tmp_path: Path, text: str) -> None:
    """Rows may have been swallowed, so nothing can be said about what is absent (I10)."""
    (tmp_path / FILE).write_text(text)
    dump = dump_at(tmp_path, FILE)
    plan, told = plan_of(["id", "b"], ["id"], integer("id")), list[Issue]()
    async with dump.open([plan]) as snapshot:
        with pytest.raises(SourceError, match=r"things\.csv:2: a quote"):
            await snapshot.scan(plan, lambda _: pytest.fail("pushed"), told.append)
    assert [(i.severity, i.place) for i in told] == [(Severity.FATAL, f"{FILE}:2")]


@pytest.mark.parametrize(
    "text", ['id,b\n1,x\n2,"cut', 'id,b\n1,x\n2,"cut\n3,x\n', 'id,b\n1,x\n2,"']
)
async def test_an_unterminated_quote_is_a_cut_dump(tmp_path: Path, text: str) -> None:
    """A dump that ends inside quotes was cut off, or a quote was lost; both are told (case 39)."""
    (tmp_path / FILE).write_text(text)
    dump = dump_at(tmp_path, FILE)
    plan, told = plan_of(["id", "b"], ["id"], integer("id")), list[Issue]()
    async with dump.open([plan]) as snapshot:
        with pytest.raises(SourceError, match=r"things\.csv:3: a quote is never closed"):
            await snapshot.scan(plan, lambda _: pytest.fail("pushed"), told.append)
    assert told == [Issue(Severity.FATAL, "unterminated_quote", "", f"{FILE}:3")]


@pytest.mark.parametrize(
    ("text", "place"),
    [
        ("id,a\n1,x\n2,y", 3),
        ("id,a\n1,x\n2,y\r", 3),
        ('id,a\n1,x\n2,"y\nz"', 3),
        ("id,a", 1),
    ],
)
async def test_a_last_line_without_an_end_is_told(tmp_path: Path, text: str, place: int) -> None:
    """It is the sign of a dump that was cut off between two fields (case 39)."""
    look = await look_at_text(tmp_path, text)
    assert look.places[-1] == ("no_final_newline", f"{FILE}:{place}")
    assert look.told[-1].severity is Severity.WARNING


async def test_a_dump_that_must_have_a_last_line_end_is_refused_without(tmp_path: Path) -> None:
    """A value that was cut off in the middle looks like another value (case 39)."""
    whole = await look_at_text(tmp_path, "id,b,c\n1,x,y\n", final_newline="required")
    assert len(whole.digests) == 1
    with pytest.raises(SourceError, match=r":2: the last line has no end, .* cut off"):
        await look_at_text(tmp_path, "id,b,c\n1,x,y", final_newline="required")


@pytest.mark.parametrize("end", ["", "\r"])
async def test_a_last_line_that_is_short_and_has_no_end_was_cut(tmp_path: Path, end: str) -> None:
    """Its values are not used; its key is, when a delimiter shows that all of it is there."""
    look = await look_at_text(tmp_path, f"id,b,c\n11,x,y\n12,x{end}")
    assert look.own == [("cut_record", "", f"{FILE}:3")]
    assert look.digests[1] == 0
    look = await look_at_text(tmp_path, f"id,b,c\n11,x,y\n1{end}")
    assert look.places == [("cut_record", f"{FILE}:3"), ("no_final_newline", f"{FILE}:3")]
    look = await look_at_text(tmp_path, "id,b,c\n12,x\n11,x,y")
    assert look.codes == {"ragged_short": 1, "no_final_newline": 1}


@pytest.mark.parametrize("quoted", [True, False])
async def test_bytes_that_are_no_text_keep_their_row_out(tmp_path: Path, *, quoted: bool) -> None:
    """The row is invalid and names the column; its key still counts as present (case 61)."""
    mark = b'"' if quoted else b""
    text = b"id,b,c\n1,\xc3\xa9,y\n2,x," + mark + b"\xff\xfe" + mark + b"\n3,\xc3\xa9,z\n"
    look = await look_at_text(tmp_path, text)
    assert look.told == []
    assert look.own == [("charset", "c", f"{FILE}:3")]
    assert look.digests[1] == 0
    assert [row[-1] for row in look.values()] == ["1", MISSING, "3"]


async def test_a_key_that_is_no_text_is_told(tmp_path: Path) -> None:
    """Without a readable key the row has no place; the error says where it stood."""
    look = await look_at_text(tmp_path, b"k,b\nx\xff,y\nz,w\n", ["k"])
    assert look.told == [Issue(Severity.ERROR, "charset", "k", f"{FILE}:2")]
    assert look.values() == [("w", "z")]


async def test_undefined_bytes_of_a_code_page_are_no_text(tmp_path: Path) -> None:
    """cp1252 leaves five bytes without a meaning; guessing one would be wrong for ever."""
    look = await look_at_text(tmp_path, b"id,b\n1,\x81\n2,\xe9\n", encoding="cp1252")
    assert look.own == [("charset", "b", f"{FILE}:2")]
    assert look.values()[1] == ("é", "2")


async def test_a_nul_character_is_a_finding_of_its_value(tmp_path: Path) -> None:
    """PostgreSQL cannot store it (case 61)."""
    look = await look_at_text(tmp_path, b"id,b\n1,a\0b\n2,x\n")
    assert look.own == [("charset", "b", f"{FILE}:2")]


@pytest.mark.parametrize(
    ("value", "code"),
    [("", "null_key"), ("x", "not_integer"), ("9223372036854775808", "out_of_range")],
)
async def test_a_key_that_cannot_be_used_is_told(tmp_path: Path, value: str, code: str) -> None:
    """The row is counted and told, with its line, and pushed nowhere."""
    look = await look_at_text(tmp_path, f"id,b\n1,x\n{value},y\n3,z\n")
    assert [(issue.severity, issue.code, issue.place) for issue in look.told] == [
        (Severity.ERROR, code, f"{FILE}:3")
    ]
    assert look.rows == 3
    assert len(look.keys) == 2


async def test_a_key_that_the_line_does_not_reach_is_told_twice(tmp_path: Path) -> None:
    """Once as a ragged line, which is a warning, and once as the row without a key that it is."""
    look = await look_at_text(tmp_path, "a,id\nx,1\ny\n")
    assert look.places == [("ragged_short", f"{FILE}:3"), ("missing_key", f"{FILE}:3")]


async def test_a_declared_null_is_no_key(tmp_path: Path) -> None:
    """A text that means NULL, or blanks that are stripped, are not keys."""
    (tmp_path / FILE).write_text("k,b\nNULL,x\n  ,y\n z ,w\n")
    dump = dump_at(tmp_path, FILE)
    type_ = ColumnType(strip=True, empty_as_null=True, null_values=("NULL",))
    look = await look_at(dump, plan_of(["k", "b"], ["k"], {"k": type_}))
    assert look.places == [("null_key", f"{FILE}:2"), ("null_key", f"{FILE}:3")]
    assert look.keys == [b"z\0"]


@pytest.mark.parametrize("spelling", ["01", "+1", " 1", "1 "])
async def test_a_key_is_compared_by_its_value(tmp_path: Path, spelling: str) -> None:
    """Two spellings of one integer are one key."""
    look = await look_at_text(tmp_path, f"id,b\n{spelling},x\n1,y\n")
    assert look.places == [("duplicate_key", f"{FILE}:3")]


async def test_a_letter_in_two_forms_is_one_key(tmp_path: Path) -> None:
    """é as one code point and as two is the same record (case 61)."""
    look = await look_at_text(tmp_path, "k,b\ne\u0301,x\n\u00e9,x\n", ["k"])
    assert look.places == [("duplicate_key", f"{FILE}:3")]


async def test_rows_that_share_a_key_are_all_kept_out(tmp_path: Path) -> None:
    """The key is pushed once with an unknown digest, its Read says why, the others are told."""
    look = await look_at_text(tmp_path, "id,b\n5,x\n7,a\n7,b\n6,y\n7,c\n")
    assert look.places == [("duplicate_key", f"{FILE}:4"), ("duplicate_key", f"{FILE}:6")]
    assert look.own == [("duplicate_key", "", f"{FILE}:3")]
    assert look.rows == 5
    assert look.digests[2] == 0
    assert all(issue.severity is Severity.ERROR for issue in look.told)


async def test_equal_rows_are_one_row(tmp_path: Path) -> None:
    """Lines that are the same to the last byte say one thing; the surplus is a warning."""
    look = await look_at_text(tmp_path, "id,b\n7,a\n5,x\n7,a\n7,a\n")
    assert look.places == [("duplicate_record", f"{FILE}:4"), ("duplicate_record", f"{FILE}:5")]
    assert {issue.severity for issue in look.told} == {Severity.WARNING}
    assert look.own == []
    assert look.digests[1] == digest_of("7,a")


async def test_one_row_that_differs_spoils_the_equal_ones(tmp_path: Path) -> None:
    """Of a, a and b nobody can say which is meant."""
    look = await look_at_text(tmp_path, "id,b\n7,a\n7,a\n7,b\n")
    assert look.places == [("duplicate_key", f"{FILE}:3"), ("duplicate_key", f"{FILE}:4")]


async def test_broken_rows_are_never_equal(tmp_path: Path) -> None:
    """Two records that cannot be read are two errors, even when they are the same bytes."""
    look = await look_at_text(tmp_path, 'id,b\n7,a"\n7,a"\n')
    assert look.places == [("duplicate_key", f"{FILE}:3")]
    assert {code for code, _, _ in look.own} == {"duplicate_key", "stray_quote"}


async def test_equal_ragged_rows_are_one_row(tmp_path: Path) -> None:
    """A ragged row is whole enough to be the same as another."""
    look = await look_at_text(tmp_path, "id,b,c\n7,a\n7,a\n")
    assert look.codes == {"ragged_short": 2, "duplicate_record": 1}


async def test_a_column_that_is_no_key_ends_the_read(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """So many rows under one key are a wrong configuration, and memory stays bounded (I14)."""
    monkeypatch.setattr(key_index, "SAME_KEY_MAX", 50)
    rows = "".join(f"x,{n}\n" for n in range(50))
    assert (await look_at_text(tmp_path, f"k,b\n{rows}", ["k"])).rows == 50
    with pytest.raises(SourceError, match="more than 50 records share one key"):
        await look_at_text(tmp_path, f"k,b\n{rows}x,50\n", ["k"])


async def test_values_that_do_not_convert_are_issues_of_their_row(tmp_path: Path) -> None:
    """The normaliser's findings get the file and the line."""
    (tmp_path / FILE).write_text("id,d\n1,2020-01-01\n2,never\n")
    dump = dump_at(tmp_path, FILE)
    types = integer("id") | {"d": ColumnType(kind=Kind.DATE)}
    look = await look_at(dump, plan_of(["id", "d"], ["id"], types))
    assert look.own == [("not_date", "d", f"{FILE}:3")]
    assert look.digests[1] == digest_of("2,never")


@pytest.mark.parametrize("text", [b"", b"\xef\xbb\xbf"])
@pytest.mark.parametrize("format_", ["csv", "ndjson", "json"])
@pytest.mark.parametrize("header", [True, False])
async def test_an_empty_file_proves_nothing(
    tmp_path: Path, text: bytes, format_: str, *, header: bool
) -> None:
    """Zero bytes are a failed dump, not a table without rows (case 42)."""
    name = f"things.{format_}"
    (tmp_path / name).write_bytes(text)
    dump = dump_at(tmp_path, name, columns=["id"], format=format_, header=header)
    plan = plan_of(["id"], ["id"], integer("id"))
    with pytest.raises(SourceError, match=rf"{name}: is empty, which proves nothing"):
        await look_at(dump, plan)


@pytest.mark.parametrize("text", ["\n", "\r\n\n", "\n\n\n"])
async def test_a_file_of_blank_lines_has_no_header(tmp_path: Path, text: str) -> None:
    """Without a header line there is no table at all."""
    with pytest.raises(SourceError, match="there is no header line"):
        await look_at_text(tmp_path, text)


async def test_a_header_alone_is_an_empty_table(tmp_path: Path) -> None:
    """No rows and no error: what that means for deletes is for the guard to say."""
    look = await look_at_text(tmp_path, "id,a\n")
    assert (look.rows, look.keys, look.told) == (0, [], [])


@pytest.mark.parametrize(
    ("header", "message"),
    [
        ("id,a,a", r":1: named more than once: 'a'"),
        ("id,,a", r":1: column 2 of 3 has no name"),
        ("id,a,", r":1: column 3 of 3 has no name"),
        ('id,"a"b', r":1: the header cannot be read \(stray_quote\)"),
        ("id,a\rb", r":1: the header cannot be read \(stray_return\)"),
        ('id,"a', r":1: a quote is never closed"),
    ],
)
async def test_a_header_that_names_nothing_is_refused(
    tmp_path: Path, header: str, message: str
) -> None:
    """Each column is named once, on the first line."""
    with pytest.raises(SourceError, match=rf"things\.csv{message}"):
        await look_at_text(tmp_path, f"{header}\n1,x,y\n")


async def test_a_header_that_is_no_text_is_refused(tmp_path: Path) -> None:
    """A wrong encoding shows in the header first."""
    with pytest.raises(SourceError, match=r":1: the header cannot be read \(charset\)"):
        await look_at_text(tmp_path, b"id,n\xe9\n1,x\n")


async def test_a_header_without_end_is_refused(tmp_path: Path) -> None:
    """A file of one endless line is no table (I14)."""
    with pytest.raises(SourceError, match="there is no header line"):
        await look_at_text(tmp_path, "x" * 9_000_000 + "\n", max_record_bytes=1024)


async def test_names_may_hold_quotes_delimiters_and_line_ends(tmp_path: Path) -> None:
    """A quoted header is read like any record, and the lines after it are counted on."""
    look = await look_at_text(tmp_path, 'id,"a,""b""\nc"\n1,x\n2\n')
    assert look.places == [("ragged_short", f"{FILE}:4")]


async def test_a_finding_never_holds_a_value(tmp_path: Path) -> None:
    """Neither findings nor errors repeat what stands in the file (I13, case 96)."""
    marker = "m4rk3r"
    text = f'id,b\n{marker},x\n1,{marker}"\n2,{marker},{marker}\n2,{marker}\n3,"{marker}'
    (tmp_path / FILE).write_text(text)
    plan, told = plan_of(["id", "b"], ["id"], integer("id")), list[Issue]()
    async with dump_at(tmp_path, FILE).open([plan]) as snapshot:
        with pytest.raises(SourceError) as caught:
            await snapshot.scan(plan, lambda _: pytest.fail("pushed"), told.append)
    assert told
    assert marker not in f"{told}{caught.value}"


def test_lines_beyond_what_the_index_holds_are_told_as_the_last_one() -> None:
    """A line number has four bytes; files of more than four thousand million lines exist."""
    assert list(lines_from(LINE_MAX - 2, 2)) == [LINE_MAX - 2, LINE_MAX - 1]
    assert list(lines_from(LINE_MAX - 1, 4)) == [LINE_MAX - 1, LINE_MAX, LINE_MAX, LINE_MAX]


async def test_lines_are_counted_over_records_that_span_them(tmp_path: Path) -> None:
    """Places are physical lines, as an editor shows them, in every stretch of a large file."""
    many = "".join(f'{n},"a\nb"\n{n + 1},x\n' for n in range(0, 120_000, 2))
    look_path = tmp_path / FILE
    look_path.write_text(f"id,v\n{many}bad,x\n")
    plan = plan_of(["id", "v"], ["id"], integer("id"))
    async with dump_at(tmp_path, FILE).open([plan]) as snapshot:
        look = await scan(snapshot, plan)
        last = await snapshot.fetch(plan, look.keys[-1:])
    assert look.places == [("not_integer", f"{FILE}:{1 + 180_000 + 1}")]
    assert last[0].row == (b"119999", b"x")


async def test_a_plan_that_was_not_opened_is_a_configuration_error(tmp_path: Path) -> None:
    """A snapshot serves the plans that it was opened for."""
    (tmp_path / FILE).write_text("id\n1\n")
    dump = dump_at(tmp_path, FILE)
    plan = plan_of(["id"], ["id"])
    async with dump.open([plan]) as snapshot:
        assert await snapshot.identity(plan)
        with pytest.raises(Exception, match="entity others"):
            await snapshot.identity(plan_of(["id"], ["id"], entity="others"))
    with pytest.raises(Exception, match="entity others"):
        await dump.describe("others")
    assert set(await dump.describe(ENTITY)) == {"id"}
