"""``syncd lookup load``: a file is taken whole, or told line by line what is wrong with it."""

from pathlib import Path
from typing import Final

import asyncpg
import pytest

from syncd.app import connect
from syncd.config import Config, Entity, Lookup, Staging
from syncd.errors import ConfigError
from syncd.jobs.lookups import read_rows
from tests.cli.fake_app import Syncd
from tests.pipeline.world import make_config

LOOKUP: Final = Lookup(columns=("source_referral_id", "licreqno"))
HEADER: Final = b"source_referral_id,licreqno\n"
BAD: Final = {
    "a header of other names": (b"id,licreqno\n", ":1: expected the header"),
    "an empty file": (b"", ":1: expected the header"),
    "a line too short": (HEADER + b"a\n", ":2: expected 2 fields, found 1"),
    "a blank line": (HEADER + b"a,1\n\nb,2\n", ":3: expected 2 fields, found 0"),
    "an empty value": (HEADER + b"a,1\nb, \n", ":3: expected a value for licreqno"),
    "blanks around a value": (HEADER + b"a ,1\n", ":2: expected no blanks around source_ref"),
    "a quote that is not closed": (HEADER + b'a,"1\n', "found a quote that does not fit"),
    "a character behind a quote": (HEADER + b'"a"b,1\n', ":2: expected CSV"),
    "a NUL": (HEADER + b"a,1\x002\n", ":2: expected at most 10000 characters without NUL"),
    "other bytes than UTF-8": (HEADER + b"\xff,1\n", "expected UTF-8"),
}


@pytest.mark.parametrize("name", BAD)
def test_a_file_that_cannot_be_taken_is_told_by_line(tmp_path: Path, name: str) -> None:
    """File, line and what was expected; never a value."""
    content, said = BAD[name]
    path = tmp_path / "numbers.csv"
    path.write_bytes(content)
    with pytest.raises(ConfigError, match=r"numbers\.csv") as refused:
        read_rows(path, LOOKUP)
    assert said in str(refused.value)


def test_bad_lines_are_told_up_to_a_number(tmp_path: Path) -> None:
    """Twenty are named, the others are counted."""
    path = tmp_path / "numbers.csv"
    path.write_bytes(HEADER + b"a\n" * 25)
    with pytest.raises(ConfigError) as refused:
        read_rows(path, LOOKUP)
    assert str(refused.value).count("expected 2 fields") == 20
    assert "and 5 more" in str(refused.value)


def test_a_missing_file_is_told(tmp_path: Path) -> None:
    """Its name and why; nothing was asked of a database."""
    with pytest.raises(ConfigError, match=r"nope\.csv: cannot be read"):
        read_rows(tmp_path / "nope.csv", LOOKUP)


def config(dsn: str) -> Config:
    """A pipeline with one lookup."""
    made = make_config(dsn, dsn, {"a": Entity(from_="a", key=("id",), into="public.a")})
    staging = Staging(tables={}, schema="im_data_import", lookups={"iaps_licreqnos": LOOKUP})
    return Config(
        pipeline="p", source=made.source, target=made.target, entities={}, staging=staging
    )


async def test_a_lookup_is_replaced_whole(pg_dsn: str, tmp_path: Path) -> None:
    """Rows before and after, and keys with several, are told; a bad file changes nothing."""
    path = tmp_path / "numbers.csv"
    async with connect(config(pg_dsn)) as app:
        path.write_bytes(HEADER + b"a,1\na,2\nb,3\n")
        first = await app.load_lookup("iaps_licreqnos", path)
        path.write_bytes(HEADER + b'"c, d",4\r\n')
        second = await app.load_lookup("iaps_licreqnos", path)
        path.write_bytes(HEADER + b"e,5\nf\n")
        with pytest.raises(ConfigError):
            await app.load_lookup("iaps_licreqnos", path)
        with pytest.raises(ConfigError, match=r"expected one of staging.lookups \(iaps_licreqnos"):
            await app.load_lookup("other", path)
    assert (first.rows, first.before, first.several) == (3, 0, 1)
    assert (second.rows, second.before, second.several) == (1, 3, 0)
    connection = await asyncpg.connect(pg_dsn)
    rows = await connection.fetch(
        "SELECT source_referral_id, licreqno FROM im_data_import.iaps_licreqnos"
    )
    await connection.close()
    assert [tuple(row) for row in rows] == [("c, d", "4")]


def test_the_verb_tells_what_was_loaded(syncd: Syncd) -> None:
    """One sentence for people, the numbers for programs."""
    shown = syncd("lookup", "load", "iaps_licreqnos", "numbers.csv")
    assert shown.stdout == ("iaps_licreqnos: 5 rows in the place of 4; 1 keys have more than one\n")
    assert syncd.app.asked == [("load_lookup", "iaps_licreqnos", "numbers.csv")]
