"""Small damages to bytes, each as something in the world does it, chosen by a seeded generator.

``mutated`` answers the same for the same generator, so a case is named by its seed and number.
"""

from collections.abc import Callable, Sequence
from random import Random
from typing import Final, TypeAlias

Damage: TypeAlias = Callable[[bytes, Random], bytes]

BYTES_MAX: Final = 64 * 1024
SWOLLEN_BYTES: Final = 256 * 1024  # what is more than linear shows here and nowhere below
_SWELLS_IN: Final = 200

TOKENS: Final = (
    # Ends, signs and quotes.
    *(b"\0", b"\n", b"\r", b"\r\n", b"\n\r", b"\r\r\n", b"\x0b", b"\x0c", b"\x1a", b"\x1b[2J"),
    *(b'"', b'""', b'"' * 7, b"'", b"\\", b"\\\\", b'\\"', b"\\N", b"\\.", b",", b";", b"\t", b" "),
    # Bytes that are no text, and text that is no character.
    *(b"\xff", b"\xfe\xff", b"\xc0\x80", b"\x80", b"\xed\xa0\x80", b"\xed\xbf\xbf", b"\xf5\x80"),
    *(b"\xf4\x90\x80\x80", b"\xef\xbb\xbf", b"\xc3", b"\xe2\x80\xae", b"\xcc\x81", b"\xe2\x80\xa8"),
    *(b"\\u0000", b"\\ud800", b"\\udc00", b"\\ud83d\\ude00", b"\\uD8", b"\\x00", b"\\u00e9"),
    # Numbers at an edge, and far beyond it.
    *(b"0", b"-0", b"-0.0", b"1", b"-1", b"007", b"+7", b"1.", b".5", b"1e", b"1e5", b"1E-400"),
    *(b"9223372036854775807", b"9223372036854775808", b"-9223372036854775809", b"4294967296"),
    *(b"18446744073709551616", b"1e308", b"1e309", b"5e-324", b"1e-325", b"1e400", b"1e401"),
    *(b"1e1000000000", b"-1e-999999999", b"1e99999999999999999999", b"9" * 400, b"9" * 5000),
    *(b"NaN", b"Infinity", b"-inf", b"sNaN123", b"1_000", b"0x1F", b"0b1", b"1,5", b"\xd9\xa1"),
    # Moments.
    *(b"2026-02-30", b"2024-02-29", b"0000-01-01", b"0001-01-01", b"9999-12-31", b"10000-01-01"),
    *(
        b"24:00:00",
        b"23:59:60",
        b"T",
        b"Z",
        b"+15:59:59",
        b"-16",
        b" BC",
        b"infinity",
        b"-infinity",
    ),
    *(b"2026-10-25 01:30:00", b"2026-03-29 01:30:00", b".1234567", b"2026-W01-1"),
    # Words and brackets.
    *(b"null", b"true", b"false", b"NULL", b"[", b"]", b"{", b"}", b"[" * 70, b'{"a":' * 70),
    *(b":", b"[]", b"{}", b'{"id":1}', b"[" * 1200, b"${", b"${X}", b"$${", b"&a", b"*a", b"!!int"),
    *(b"<<", b"- ", b"---", b"...", b"#", b"|", b">", b"%", b"@", b"`", b"? "),
    # Lengths of binary formats.
    *(
        b"\x7f\xff\xff\xff",
        b"\xff\xff\xff\xff",
        b"\x80\0\0\0",
        b"\0\0\0\0",
        b"\0\0\0\1",
        b"\xff\xff",
    ),
)


def flipped(data: bytes, random: Random) -> bytes:
    """One to four bits turned."""
    changed = bytearray(data)
    for _ in range(random.randint(1, 4) if data else 0):
        changed[random.randrange(len(changed))] ^= 1 << random.randrange(8)
    return bytes(changed)


def overwritten(data: bytes, random: Random) -> bytes:
    """One byte replaced by any other."""
    if not data:
        return data
    at = random.randrange(len(data))
    return data[:at] + bytes((random.randrange(256),)) + data[at + 1 :]


def inserted(data: bytes, random: Random) -> bytes:
    """A few bytes too many."""
    at = random.randint(0, len(data))
    return data[:at] + random.randbytes(random.randint(1, 4)) + data[at:]


def deleted(data: bytes, random: Random) -> bytes:
    """A stretch is missing."""
    start, end = _stretch(data, random)
    return data[:start] + data[end:]


def truncated(data: bytes, random: Random) -> bytes:
    """The end is missing, or the beginning."""
    at = random.randint(0, len(data))
    return data[:at] if random.random() < 0.8 else data[at:]


def swapped(data: bytes, random: Random) -> bytes:
    """Two stretches have changed places."""
    start, end = _stretch(data, random)
    other = random.randint(end, len(data))
    return data[:start] + data[end:other] + data[start:end] + data[other:]


def repeated(data: bytes, random: Random) -> bytes:
    """A stretch occurs again and again."""
    start, end = _stretch(data, random, 64)
    times = random.choice((2, 2, 3, 17, 65, 1001))
    return data[:start] + data[start:end] * times + data[end:]


def wrapped(data: bytes, random: Random) -> bytes:
    """A stretch in brackets, in brackets, and so on."""
    start, end = _stretch(data, random, 64)
    times = random.choice((1, 2, 30, 63, 64, 65, 66, 1500))
    left, right = random.choice(((b"[", b"]"), (b'{"a":', b"}"), (b'"', b'"'), (b"(", b")")))
    return data[:start] + left * times + data[start:end] + right * times + data[end:]


def put_in(data: bytes, random: Random) -> bytes:
    """A token where it may mean something."""
    at = random.randint(0, len(data))
    return data[:at] + random.choice(TOKENS) + data[at:]


def put_over(data: bytes, random: Random) -> bytes:
    """A token instead of a stretch."""
    start, end = _stretch(data, random, 24)
    return data[:start] + random.choice(TOKENS) + data[end:]


def stormed(data: bytes, random: Random) -> bytes:
    """Quotes, ends or zeros all over."""
    token = random.choice((b'"', b"'", b"\n", b"\r", b"\0", b",", b"\\", b"[", b"{"))
    places = sorted(random.randint(0, len(data)) for _ in range(random.randint(2, 20)))
    parts = [data[a:b] for a, b in zip([0, *places], [*places, len(data)], strict=True)]
    return token.join(parts)


def ended_otherwise(data: bytes, random: Random) -> bytes:
    """Other line ends."""
    return data.replace(b"\n", random.choice((b"\r\n", b"\r", b"\n\n", b"\n\r", b"", b"\0")))


DAMAGES: Final[tuple[Damage, ...]] = (
    flipped,
    overwritten,
    inserted,
    deleted,
    truncated,
    swapped,
    repeated,
    wrapped,
    put_in,
    put_in,
    put_over,
    put_over,
    stormed,
    ended_otherwise,
)


def mutated(data: bytes, others: Sequence[bytes], random: Random) -> bytes:
    """``data`` after one to six damages; sometimes crossed with one of ``others``, or swollen."""
    if others and random.random() < 0.15:
        other = random.choice(others)
        data = data[: random.randint(0, len(data))] + other[random.randint(0, len(other)) :]
    for _ in range(random.choice((1, 1, 1, 2, 3, 6))):
        data = random.choice(DAMAGES)(data, random)[:BYTES_MAX]
    return swollen(data, random) if random.randrange(_SWELLS_IN) == 0 else data


def swollen(data: bytes, random: Random) -> bytes:
    """One short stretch repeated until it is long."""
    start, end = _stretch(data, random, random.choice((1, 1, 8)))
    piece = data[start:end] or b"0"
    behind = random.choice((data[start:], b"x", b""))
    return data[:start] + piece * (SWOLLEN_BYTES // len(piece)) + behind


def _stretch(data: bytes, random: Random, most: int = 4096) -> tuple[int, int]:
    start = random.randint(0, len(data))
    return start, min(len(data), start + random.randint(0, min(most, len(data))))
