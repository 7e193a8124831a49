"""Keys: their byte order is the order of their parts, and nothing is lost on the way back."""

import unicodedata
import uuid

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.flow.keys import KEY_KINDS, KeyIssue, decode_key, display_key, encode_key, encode_keys
from syncd.flow.model import MISSING, Kind, Value

INT8_MIN, INT8_MAX = -(2**63), 2**63 - 1
ID = "f47ac10b-58cc-4372-a567-0e02b2c3d479"

integers = st.integers(INT8_MIN, INT8_MAX)
texts = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), max_size=8)
nfc_texts = texts.map(lambda text: unicodedata.normalize("NFC", text))


@pytest.mark.parametrize(
    ("kind", "part", "key"),
    [
        (Kind.INTEGER, b"0", "8000000000000000"),
        (Kind.INTEGER, b"1", "8000000000000001"),
        (Kind.INTEGER, b"-1", "7fffffffffffffff"),
        (Kind.INTEGER, b"-9223372036854775808", "0000000000000000"),
        (Kind.INTEGER, b"9223372036854775807", "ffffffffffffffff"),
        (Kind.UUID, ID.encode(), "f47ac10b58cc4372a5670e02b2c3d479"),
        (Kind.TEXT, b"", "00"),
        (Kind.TEXT, b"A81001 ", "4138313030312000"),
        (Kind.TEXT, "é".encode(), "c3a900"),
        (Kind.DATE, b"2026-03-29", "323032362d30332d323900"),
    ],
)
def test_a_key_has_these_bytes_and_comes_back(kind: Kind, part: bytes, key: str) -> None:
    """The layout of each kind is fixed, for the ledger and PostgreSQL hold it too."""
    encoded = encode_key([kind], [part])
    assert encoded.hex() == key
    assert decode_key([kind], encoded) == (part,)


@pytest.mark.trust
@given(st.lists(integers, min_size=2, max_size=20))
def test_integers_order_as_numbers(numbers: list[int]) -> None:
    """Sorting keys sorts integers by value, negative ones first."""
    by_key = sorted(numbers, key=lambda n: encode_key([Kind.INTEGER], [b"%d" % n]))
    assert by_key == sorted(numbers)


@pytest.mark.trust
@given(st.lists(st.uuids(), min_size=2, max_size=20))
def test_uuids_order_by_their_bytes(ids: list[uuid.UUID]) -> None:
    """Sorting keys sorts UUIDs as PostgreSQL does."""
    by_key = sorted(ids, key=lambda i: encode_key([Kind.UUID], [str(i).encode()]))
    assert by_key == sorted(ids, key=lambda i: i.bytes)


@pytest.mark.trust
@given(st.lists(st.tuples(nfc_texts, integers, nfc_texts), min_size=2, max_size=20))
def test_composite_keys_order_as_tuples(rows: list[tuple[str, int, str]]) -> None:
    """A part that is a prefix of another never lets the next part decide."""
    kinds = [Kind.TEXT, Kind.INTEGER, Kind.TEXT]

    def key(row: tuple[str, int, str]) -> bytes:
        return encode_key(kinds, [row[0].encode(), b"%d" % row[1], row[2].encode()])

    expected = sorted(rows, key=lambda row: (row[0].encode(), row[1], row[2].encode()))
    assert sorted(rows, key=key) == expected


@pytest.mark.trust
@given(nfc_texts, integers, st.uuids(), st.dates(), nfc_texts)
def test_decoding_is_the_exact_inverse(
    head: str, number: int, identity: uuid.UUID, day: object, tail: str
) -> None:
    """Every part comes back as the canonical text that went in."""
    kinds = [Kind.TEXT, Kind.INTEGER, Kind.UUID, Kind.DATE, Kind.TEXT]
    parts = tuple(str(part).encode() for part in (head, number, identity, day, tail))
    assert decode_key(kinds, encode_key(kinds, parts)) == parts


@pytest.mark.trust
@given(st.binary(max_size=40), st.lists(st.sampled_from(sorted(KEY_KINDS)), max_size=3))
def test_any_bytes_are_a_key_or_refused(data: bytes, kinds: list[Kind]) -> None:
    """What decodes encodes to the same bytes; everything else is a KeyIssue."""
    try:
        parts = decode_key(kinds, data)
    except KeyIssue:
        return
    assert encode_key(kinds, parts) == data


def test_two_spellings_of_a_letter_are_one_key() -> None:
    """Text keys are brought to NFC, so an accent typed apart is no new record (case 61)."""
    composed, decomposed = "Zoë", "Zoe\u0308"
    assert composed != decomposed
    assert encode_key([Kind.TEXT], [decomposed.encode()]) == encode_key(
        [Kind.TEXT], [composed.encode()]
    )


@pytest.mark.parametrize(
    ("one", "other"), [("abc", "abc "), ("ABC", "abc"), ("strasse", "straße"), ("e", "é")]
)
def test_keys_are_never_folded(one: str, other: str) -> None:
    """Blanks, case and accents tell records apart: no collation is guessed (cases 58 to 60)."""
    assert encode_key([Kind.TEXT], [one.encode()]) != encode_key([Kind.TEXT], [other.encode()])


@pytest.mark.parametrize(
    ("kinds", "parts", "code"),
    [
        ([Kind.TEXT], [None], "null_key"),
        ([Kind.TEXT], [MISSING], "missing_key"),
        ([Kind.TEXT, Kind.TEXT], [b"a", None], "null_key"),
        ([Kind.INTEGER], [b"9223372036854775808"], "key_range"),
        ([Kind.INTEGER], [b"-9223372036854775809"], "key_range"),
        ([Kind.INTEGER], [b"seven"], "key_value"),
        ([Kind.INTEGER], [b"007"], "key_value"),
        ([Kind.INTEGER], [b" 7"], "key_value"),
        ([Kind.UUID], [ID.upper().encode()], "key_value"),
        ([Kind.UUID], [b"f47ac10b"], "key_value"),
        ([Kind.UUID], [b"not a uuid"], "key_value"),
        ([Kind.DATE], [b"29/03/2026"], "key_value"),
        ([Kind.TEXT], [b"a\0b"], "key_charset"),
        ([Kind.TEXT], [b"\xff"], "key_charset"),
        ([Kind.DECIMAL], [b"1"], "key_kind"),
        ([], [], "key_kind"),
        ([Kind.TEXT], [b"a", b"b"], "key_parts"),
    ],
)
def test_an_unfit_key_is_refused_with_a_code(
    kinds: list[Kind], parts: list[Value], code: str
) -> None:
    """A key that could not be found again is never made."""
    with pytest.raises(KeyIssue) as refused:
        encode_key(kinds, parts)
    assert refused.value.code == code


@pytest.mark.parametrize(
    ("kinds", "key", "code"),
    [
        ([Kind.INTEGER], b"\x80\0\0\0\0\0\0", "key_malformed"),
        ([Kind.INTEGER], bytes(9), "key_malformed"),
        ([Kind.UUID], bytes(15), "key_malformed"),
        ([Kind.TEXT], b"abc", "key_malformed"),
        ([Kind.TEXT], b"", "key_malformed"),
        ([Kind.TEXT], b"\xff\0", "key_malformed"),
        ([Kind.TEXT], b"Zoe\xcc\x88\0", "key_malformed"),
        ([Kind.TEXT], b"a\0b\0", "key_malformed"),
        ([Kind.DATE], b"2026\0", "key_malformed"),
        ([Kind.FLOAT], b"1\0", "key_kind"),
        ([], b"", "key_kind"),
    ],
)
def test_bytes_that_are_no_key_are_refused(kinds: list[Kind], key: bytes, code: str) -> None:
    """A damaged key is found when it is read, not when a row is missed."""
    with pytest.raises(KeyIssue) as refused:
        decode_key(kinds, key)
    assert refused.value.code == code


@given(st.lists(st.integers(-(2**63), 2**63 - 1)))
def test_a_column_of_integers_gives_the_keys_of_each(numbers: list[int]) -> None:
    parts = [b"%d" % number for number in numbers]
    expected = [encode_key([Kind.INTEGER], [part]) for part in parts]
    assert encode_keys([Kind.INTEGER], [parts]) == expected


@pytest.mark.parametrize("part", [None, MISSING, b"x", b"01", b" 1", b"+1", b"9223372036854775808"])
def test_a_column_with_one_unfit_integer_is_refused(part: Value) -> None:
    """As ``encode_key`` refuses it alone."""
    with pytest.raises(KeyIssue):
        encode_key([Kind.INTEGER], [part])
    with pytest.raises(KeyIssue):
        encode_keys([Kind.INTEGER], [[b"1", part]])


def test_a_key_is_shown_as_people_write_it() -> None:
    """The operator sees the parts as text, in key order."""
    kinds = [Kind.TEXT, Kind.INTEGER]
    assert display_key(kinds, encode_key(kinds, [b"A81001", b"-7"])) == ("A81001", "-7")


def test_a_refusal_never_shows_the_key() -> None:
    """Messages about keys hold no value: a key may be personal data."""
    with pytest.raises(KeyIssue) as refused:
        encode_key([Kind.INTEGER], [b"4000000001x"])
    assert "4000000001" not in str(refused.value)
