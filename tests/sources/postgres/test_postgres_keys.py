"""Keys and their order are ours to the byte, whatever the server's types and collations are."""

# ruff: noqa: S608 - the statements are made of constants.

import asyncio
import unicodedata
from collections import Counter
from collections.abc import Sequence
from datetime import date
from typing import Any, Final

import asyncpg
import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.config import PostgresSource, Secret
from syncd.errors import ConfigError, SourceError
from syncd.flow.keys import encode_key
from syncd.flow.model import ColumnType, Kind
from syncd.sources.postgres import PostgresReader
from syncd.sources.postgres_sql import compile_statements
from tests.sources.postgres.world import INTEGER, TEXT, MakeReader, plan_from, plan_of, read, scan

KELVIN, ANGSTROM = "\u212a", "\u212b"
# Few letters, so that prefixes, repetitions and spellings of one word meet often.
LETTERS: Final = "aAbBzZ09-_ '\\\t\n~éÉßñ字😀K" + KELVIN + ANGSTROM + "\u0301\u030a\u0323e;\u037e"

words = st.text(st.sampled_from(LETTERS), max_size=6)
any_words = st.text(
    st.characters(exclude_categories=["Cs", "Cn"], exclude_characters="\0"), max_size=6
)
dates = st.dates() | st.sampled_from([date(9999, 12, 31), date(1, 1, 1)])
NATIVES: Final[dict[str, tuple[ColumnType, st.SearchStrategy[Any]]]] = {
    "smallint": (INTEGER, st.integers(-(2**15), 2**15 - 1)),
    "integer": (INTEGER, st.integers(-300, 300) | st.integers(-(2**31), 2**31 - 1)),
    "bigint": (INTEGER, st.integers(-(2**63), 2**63 - 1)),
    "numeric(19,0)": (INTEGER, st.integers(-(2**63), 2**63 - 1)),
    "oid": (INTEGER, st.integers(0, 2**32 - 1)),
    "uuid": (ColumnType(Kind.UUID), st.uuids()),
    "date": (ColumnType(Kind.DATE), dates),
    "text": (TEXT, words | any_words),
    "character varying(12)": (TEXT, words),
    "character(12)": (TEXT, words),
    "public.citext": (TEXT, words),
}
COMPOSITES: Final = [
    ("integer", "integer"),
    ("uuid", "smallint"),
    ("text", "text"),
    ("text", "integer", "date"),
    ("character(12)", "public.citext"),
]


def literal(value: Any) -> str | None:
    """As the server reads it."""
    return None if value is None else str(value)


def canonical(native: str, value: Any) -> bytes | None:
    """The canonical text of a value; blanks at the end of char(n) are padding."""
    if value is None:
        return None
    text = str(value).rstrip(" ") if native.startswith("character(") else str(value)
    return text.encode()


def expected_keys(
    natives: Sequence[str], rows: Sequence[Sequence[Any]]
) -> "tuple[Counter[bytes], int]":
    """How often each key is there by our own encoding, and how many rows have none."""
    kinds = [NATIVES[native][0].kind for native in natives]
    found: Counter[bytes] = Counter()
    for row in rows:
        if None not in row:
            parts = [canonical(native, value) for native, value in zip(natives, row, strict=True)]
            found[encode_key(kinds, parts)] += 1
    return found, sum(None in row for row in rows)


async def filled(admin: Any, natives: Sequence[str], rows: Sequence[Sequence[Any]]) -> list[str]:
    """A new table ``t`` with these rows; the names of its key columns."""
    names = [f"k{at}" for at in range(len(natives))]
    columns = ", ".join(f"{name} {native}" for name, native in zip(names, natives, strict=True))
    await admin.execute(
        "CREATE EXTENSION IF NOT EXISTS citext SCHEMA public;"
        f"DROP TABLE IF EXISTS t; CREATE TABLE t ({columns}, x integer)"
    )
    casts = ", ".join(f"${at + 1}::text::{native}" for at, native in enumerate(natives))
    statement = f"INSERT INTO t VALUES ({casts}, 7)"
    await admin.executemany(statement, [[literal(value) for value in row] for row in rows])
    return names


async def prove(
    admin: Any, reader: PostgresReader, natives: Sequence[str], rows: Sequence[Sequence[Any]]
) -> None:
    """Scan, full read and fetch agree with our own encoding about every row."""
    names = await filled(admin, natives, rows)
    types = {name: NATIVES[native][0] for name, native in zip(names, natives, strict=True)}
    plan = plan_of("t", {**types, "x": INTEGER}, names)
    counts, without = expected_keys(natives, rows)
    async with reader.open([plan]) as snapshot:
        scanned = await scan(snapshot, plan)
        assert scanned.keys == sorted(counts)
        assert [digest == 0 for _, digest in scanned.records] == [
            counts[key] > 1 for key in scanned.keys
        ]
        told = Counter(issue.code for issue in scanned.told)
        assert told["null_key"] == without
        assert told["duplicate_key"] == sum(counts.values()) - len(counts)
        assert scanned.rows == len(rows)
        reads = await read(snapshot, plan)
        assert [(one.key, one.digest) for one in reads] == scanned.records
        fetched = await snapshot.fetch(plan, scanned.keys)
        assert [one.key for one in fetched] == scanned.keys
        alone = [one for one in reads if counts[one.key] == 1]
        assert [one for one in fetched if counts[one.key] == 1] == alone


def prove_examples(pg_dsn: str, natives: Sequence[str]) -> None:
    """``prove`` for many tables, with one loop and one reader for all of them.

    The driver's loop is a thread's own here, because examples are drawn outside of it.
    """
    parts = st.tuples(*(NATIVES[native][1] | st.none() for native in natives))
    with asyncio.Runner() as runner:
        admin = runner.run(asyncpg.connect(pg_dsn))
        config = PostgresSource(dsn=Secret(pg_dsn))
        reader = PostgresReader(config, {"t": "public.t"}, piece_rows=7)

        @given(st.lists(parts, max_size=25))
        def examples(rows: list[tuple[Any, ...]]) -> None:
            runner.run(prove(admin, reader, natives, rows))

        try:
            examples()
        finally:
            runner.run(reader.close())
            runner.run(admin.close())


@pytest.mark.trust
@pytest.mark.parametrize("native", NATIVES)
def test_order_and_bytes_of_keys_are_ours(pg_dsn: str, native: str) -> None:
    """For every type of key, the server's order is bytewise and its bytes are ours (case 45)."""
    prove_examples(pg_dsn, [native])


@pytest.mark.trust
@pytest.mark.parametrize("natives", COMPOSITES, ids=" and ".join)
def test_order_and_bytes_of_composite_keys_are_ours(pg_dsn: str, natives: tuple[str, ...]) -> None:
    """Parts in their order, a prefix before what continues it, NULL in any part told."""
    prove_examples(pg_dsn, natives)


async def test_a_collation_of_people_does_not_order_keys(
    admin: Any, make_reader: MakeReader
) -> None:
    """Such a collation passes over hyphens; pages in its order skip rows (case 45)."""
    collation = await admin.fetchval(
        "SELECT quote_ident(collname) FROM pg_collation WHERE collname IN "
        "('en-x-icu', 'en_US.utf8', 'en_GB.utf8', 'de_DE.utf8') AND collencoding IN (-1, 6) LIMIT 1"
    )
    if collation is None:
        pytest.skip("this server knows no collation but C")
    await admin.execute(
        f"CREATE TABLE t (id text COLLATE {collation} PRIMARY KEY);"
        "INSERT INTO t VALUES ('Y-11-3-4'), ('Y1-01-1-1'), ('Y-1'), ('y1'), ('Y 1'), ('Ÿ1')"
    )
    by_people = [row["id"] for row in await admin.fetch("SELECT id FROM t ORDER BY id")]
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        keys = (await scan(snapshot, plan)).keys
    assert keys == sorted(id_.encode() + b"\0" for id_ in by_people)
    assert keys != [id_.encode() + b"\0" for id_ in by_people]


async def test_two_spellings_of_one_word_are_one_key(admin: Any, make_reader: MakeReader) -> None:
    """PostgreSQL has two primary keys, for us it is one record that nobody may use (case 61)."""
    await admin.execute("CREATE TABLE t (id text PRIMARY KEY, x integer)")
    await admin.execute("INSERT INTO t VALUES ($1, 1), ($2, 2)", "caf\u00e9", "cafe\u0301")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        scanned = await scan(snapshot, plan)
        assert scanned.records == [("café".encode() + b"\0", 0)]
        assert [issue.code for issue in scanned.told] == ["duplicate_key"]
        (found,) = await snapshot.fetch(plan, scanned.keys)
        assert [issue.code for issue in found.issues] == ["duplicate_key"]


@pytest.mark.parametrize(
    "stored", ["cafe\u0301", f"{KELVIN}81001", "a;\u037e", f"{ANGSTROM}a\u0323\u030a", "é字"]
)
@pytest.mark.parametrize("native", ["text", "character varying(12)", "character(12)"])
async def test_a_key_is_found_however_it_is_spelt(
    admin: Any, make_reader: MakeReader, native: str, stored: str
) -> None:
    """The ledger has keys in NFC; the source may store any spelling, and gives it back."""
    await admin.execute(f"CREATE TABLE t (id {native} PRIMARY KEY, n integer)")
    await admin.execute("INSERT INTO t VALUES ($1, 5), ('other', 6)", stored)
    reader = make_reader({"t": "public.t", "two": "public.t"})
    key = encode_key([Kind.TEXT], [stored.encode()])
    assert unicodedata.normalize("NFC", stored).encode() + b"\0" == key
    plan = await plan_from(reader, "t")
    both = await plan_from(reader, "two", ("id", "n"))
    async with reader.open([plan, both]) as snapshot:
        (found,) = await snapshot.fetch(plan, [key])
        assert found.row == (stored.encode(), b"5")
        composite = encode_key([Kind.TEXT, Kind.INTEGER], [stored.encode(), b"5"])
        assert [one.row for one in await snapshot.fetch(both, [composite])] == [found.row]
        wrong = encode_key([Kind.TEXT, Kind.INTEGER], [stored.encode(), b"6"])
        assert await snapshot.fetch(both, [wrong]) == []


@pytest.mark.parametrize("native", ["public.citext", "text"])
async def test_letter_case_makes_another_key(
    admin: Any, make_reader: MakeReader, native: str
) -> None:
    """A type that calls 'ABC' and 'abc' equal finds one for the other; we do not (case 59)."""
    await admin.execute(
        "CREATE EXTENSION citext SCHEMA public;"
        f"CREATE TABLE t (id {native} PRIMARY KEY); INSERT INTO t VALUES ('ABC')"
    )
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    async with reader.open([plan]) as snapshot:
        assert await snapshot.fetch(plan, [b"abc\0"]) == []
        assert [one.key for one in await snapshot.fetch(plan, [b"ABC\0"])] == [b"ABC\0"]


@pytest.mark.parametrize(
    ("native", "type_", "asked"),
    [
        ("smallint", INTEGER, [b"40000", b"-9223372036854775808", b"5"]),
        ("oid", INTEGER, [b"-1", b"9223372036854775807", b"5"]),
        ("numeric(4,0)", INTEGER, [b"123456", b"5"]),
        ("integer", TEXT, [b"x", b"", b"5"]),
        ("character(2)", TEXT, [b"longer", b"5"]),
        ("uuid", TEXT, [b"no uuid", b"00000000-0000-0000-0000-000000000005"]),
        ("date", TEXT, [b"2024-02-30", b"2024-02-29"]),
    ],
)
async def test_a_key_that_cannot_be_there_is_left_out(
    admin: Any, make_reader: MakeReader, native: str, type_: ColumnType, asked: list[bytes]
) -> None:
    """An event may name any key; it must not spoil the others of its batch (case 36)."""
    await admin.execute(f"CREATE TABLE t (id {native} PRIMARY KEY)")
    await admin.execute(f"INSERT INTO t VALUES ($1::text::{native})", asked[-1].decode())
    reader = make_reader({"t": "public.t"})
    plan = plan_of("t", {"id": type_}, ["id"])
    keys = [encode_key([type_.kind], [part]) for part in asked]
    async with reader.open([plan]) as snapshot:
        assert [one.key for one in await snapshot.fetch(plan, keys)] == [keys[-1]]


async def test_a_key_asked_for_twice_is_found_once(admin: Any, make_reader: MakeReader) -> None:
    """Asking twice does not make two rows of one."""
    rows = [(1, "a"), (2, "b")]
    await filled(admin, ["integer", "text"], rows)
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t", ("k0", "k1"))
    key = encode_key([Kind.INTEGER, Kind.TEXT], [b"1", b"a"])
    async with reader.open([plan]) as snapshot:
        (found,) = await snapshot.fetch(plan, [key, key])
        assert found.issues == ()


@pytest.mark.parametrize(
    ("native", "key"),
    [
        ("integer", ["id"]),
        ("smallint", ["id"]),
        ("bigint", ["id"]),
        ("numeric(9,0)", ["id"]),
        ("uuid", ["id"]),
        ("date", ["id"]),
        ("text", ["id"]),
        ("character varying(40)", ["id"]),
        ("character(12)", ["id"]),
        ("integer", ["id", "n"]),
        ("text", ["id", "n"]),
    ],
)
async def test_a_fetch_uses_the_index_of_the_key(
    admin: Any, make_reader: MakeReader, native: str, key: list[str]
) -> None:
    """Two keys of a large table are not worth reading it."""
    made = {"uuid": "md5(g::text)::uuid", "date": "'2000-01-01'::date + g", "smallint": "g - 9000"}
    await admin.execute(
        f"CREATE TABLE t AS SELECT ({made.get(native, 'g')})::{native} AS id, g AS n"
        " FROM generate_series(1, 20000) g;"
        f"ALTER TABLE t ADD PRIMARY KEY ({', '.join(key)}); ANALYZE t"
    )
    reader = make_reader({"t": "public.t"})
    shape = dict(await reader.describe("t"))
    declared = INTEGER if native.startswith("numeric") else shape["id"].type
    plan = plan_of("t", {"id": declared, "n": INTEGER}, key)
    statement = compile_statements(plan, "public.t", shape).fetch
    samples = await admin.fetch("SELECT id::text, n::text FROM t WHERE n IN (5, 15000)")
    explained = await admin.fetch(
        f"EXPLAIN {statement}", *([sample[part] for sample in samples] for part in key)
    )
    plan_lines = "\n".join(row[0] for row in explained)
    assert "using t_pkey" in plan_lines or "on t_pkey" in plan_lines
    assert "Seq Scan" not in plan_lines


async def test_a_type_that_is_no_key_is_refused_before_anything_runs(
    admin: Any, make_reader: MakeReader
) -> None:
    """The message names the column and what would do."""
    await admin.execute("CREATE TABLE t (id timestamptz, n text)")
    reader = make_reader({"t": "public.t"})
    for types, key in (({"id": TEXT}, "id"), ({"n": INTEGER}, "n")):
        plan = plan_of("t", types, [key])
        async with reader.open([plan]) as snapshot:
            with pytest.raises(ConfigError, match="cannot be a key"):
                await scan(snapshot, plan)


async def test_a_declared_type_other_than_the_native_one_is_hashed_as_text(
    admin: Any, make_reader: MakeReader
) -> None:
    """A float declared as text has '-0' and '0' as two values, which its own hash does not."""
    await admin.execute("CREATE TABLE t (id integer, x double precision)")
    reader = make_reader({"t": "public.t"})
    digests = set()
    for value in (0.0, -0.0):
        await admin.execute("DELETE FROM t")
        await admin.execute("INSERT INTO t VALUES (1, $1)", value)
        plan = plan_of("t", {"id": INTEGER, "x": TEXT}, ["id"])
        async with reader.open([plan]) as snapshot:
            (one,) = await read(snapshot, plan)
            digests.add((one.row[1], one.digest))
    assert {text for text, _ in digests} == {b"0", b"-0"}
    assert len({digest for _, digest in digests}) == 2


async def test_a_source_that_orders_otherwise_is_found_out(
    admin: Any, make_reader: MakeReader, monkeypatch: pytest.MonkeyPatch
) -> None:
    """If the order were ever not bytewise, the scan would say so and conclude nothing (case 45)."""
    await admin.execute("CREATE TABLE t AS SELECT g AS id FROM generate_series(1, 9) g")
    reader = make_reader({"t": "public.t"})
    plan = await plan_from(reader, "t")
    monkeypatch.setattr("syncd.sources.postgres_sql.order_sql", lambda refs, *_: f"{refs[0]} DESC")
    async with reader.open([plan]) as snapshot:
        for look in (scan, read):
            with pytest.raises(SourceError, match="ascending"):
                await look(snapshot, plan)
