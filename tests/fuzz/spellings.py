"""Values of every native type as sources spell them, made by a seeded generator."""

# ruff: noqa: DTZ901 - local moments have no zone.

import json
import struct
from collections.abc import Callable
from datetime import UTC, date, datetime, time, timedelta
from random import Random
from typing import Final, TypeAlias

from msgspec import Struct

from syncd.flow.model import ColumnType
from syncd.pg import dialect

Spell: TypeAlias = Callable[[Random], str]

_LETTERS: Final = "aZ09 \t\n\r\"'\\,;é\u0301ßЖ字😀\u00a0\u2028\u202e\x01\x7f~|{}[]"
_DAYS: Final = (date.max - date.min).days
_US_OF_A_DAY: Final = 24 * 3600 * 1_000_000
_US_MAX: Final = (_DAYS - 2) * _US_OF_A_DAY


class Pair(Struct, frozen=True):
    """A native type of PostgreSQL and how its values may be spelled."""

    native: str
    spell: Spell

    @property
    def type(self) -> ColumnType:
        """The canonical type that is declared for it."""
        return dialect.column_type(self.native)


def integer(bits: int) -> Spell:
    """Integers that fit, the edges among them, also with a plus, zeros or blanks."""

    def spell(random: Random) -> str:
        largest = 2 ** (bits - 1)
        number = random.choice((random.randrange(-largest, largest), random.randint(-99, 99)))
        if random.random() < 0.02:
            number = random.choice((-largest, largest - 1, 0))
        form = random.choice(("{}", "{}", "{}", " {} ", "{:+}", "{:05}"))
        return form.format(number)

    return spell


def decimal(digits: int, scale: int) -> Spell:
    """Decimals of at most ``digits`` before the point, with more than ``scale`` behind it."""

    def spell(random: Random) -> str:
        whole = random.randrange(10 ** random.randint(0, digits))
        sign = random.choice(("", "-", "+"))
        behind = random.choice(("", ".", "." + _digits(random, random.randint(1, scale + 3))))
        exponent = random.choice(("", "", "", "e0", "E-3", "e-10"))
        return f"{sign}{whole}{behind}{exponent}"

    return spell


def _digits(random: Random, count: int) -> str:
    return "".join(random.choices("0123456789", k=count))


def double(random: Random) -> str:
    """Doubles of any bits that are finite and not too small to be told from 0."""
    if random.random() < 0.3:
        return random.choice(("0", "-0.0", "1e16", "1e15", "123456789.0", "5e-324", "1e308"))
    (number,) = struct.unpack(">d", random.randbytes(8))
    return repr(number) if number - number == 0.0 else "0.1"


def single(random: Random) -> str:
    """What a ``real`` keeps: six digits.

    Of large numbers that lie half way between two of its values the server prints more of them.
    """
    return f"{random.uniform(-1, 1) * 10.0 ** random.randint(-30, 5):.6g}"


def truth(random: Random) -> str:
    """Every word for it."""
    words = ("true", "false", "t", "f", "yes", "no", "y", "n", "on", "off", "1", "0", "TRUE", "No")
    return random.choice(words)


def day(random: Random) -> str:
    """Any day there is."""
    found = date.min + timedelta(days=random.randint(0, _DAYS))
    return random.choice((date.min, date.max, found, found, found)).isoformat()


def clock(decimals: int) -> Spell:
    """A time of day with that many decimals of a second, or fewer."""

    def spell(random: Random) -> str:
        at = time(random.randrange(24), random.randrange(60), random.randrange(60))
        written = at.isoformat()
        return random.choice((written, f"{written}{_fraction(random, decimals)}", written[:5]))

    return spell


def _fraction(random: Random, decimals: int) -> str:
    return "." + _digits(random, random.randint(1, decimals)) if decimals else ""


def moment(decimals: int) -> Spell:
    """A local moment, with a blank or a T."""

    def spell(random: Random) -> str:
        found = datetime.min + timedelta(microseconds=random.randrange(_US_MAX))
        written = found.replace(microsecond=0).isoformat(random.choice(" T"))
        return written + random.choice(("", _fraction(random, decimals)))

    return spell


def instant(decimals: int) -> Spell:
    """A moment with an offset, years apart from both ends."""

    def spell(random: Random) -> str:
        start = datetime(2, 1, 1, tzinfo=UTC)
        found = start + timedelta(microseconds=random.randrange(_US_MAX - 1000 * _US_OF_A_DAY))
        written = found.replace(microsecond=0, tzinfo=None).isoformat(" ")
        offset = random.choice(("Z", "+00", "+01:00", "-0530", "+14", "-12:45", "+15:59"))
        return written + random.choice(("", _fraction(random, decimals))) + offset

    return spell


def uuid(random: Random) -> str:
    """Sixteen bytes, with hyphens or without, in braces or not."""
    found = random.randbytes(16).hex()
    hyphened = "-".join((found[:8], found[8:12], found[12:16], found[16:20], found[20:]))
    return random.choice((found, hyphened, hyphened.upper(), f"{{{hyphened}}}"))


def octets(random: Random) -> str:
    """Any bytes."""
    found = random.randbytes(random.choice((0, 1, 7, 40))).hex()
    return "\\x" + random.choice((found, found.upper()))


def text(most: int) -> Spell:
    """Any characters but NUL; ``most`` of them."""

    def spell(random: Random) -> str:
        return "".join(random.choices(_LETTERS, k=random.randint(0, most)))

    return spell


def padded(random: Random) -> str:
    """What ``char`` keeps: no blanks at the end."""
    return "".join(random.choices("abcé字 -", k=random.randint(0, 11))) + "x"


def document(random: Random) -> str:
    """A JSON document, spaced and escaped at will."""
    separators = random.choice(((",", ":"), (", ", ": "), (" ,\n", "\t:")))
    written = json.dumps(
        [_tree(random, 3)], ensure_ascii=random.random() < 0.5, separators=separators
    )
    # Of equal numbers each spelling occurs.
    return written.replace("1.5", random.choice(("1.5", "1.50", "15e-1", "0.15E+1")))


def _tree(random: Random, depth: int) -> object:
    kind = random.randrange(8 if depth else 5)
    if kind < 5:
        leaves = (None, True, random.randint(-(10**20), 10**20), random.choice((1.5, -0.0, 2e30)),
                  "".join(random.choices(_LETTERS, k=random.randint(0, 6))))  # fmt: skip
        return leaves[kind]
    size = random.randint(0, 3)
    if kind == 5:
        return [_tree(random, depth - 1) for _ in range(size)]
    return {
        random.choice(("a", "B", "é", "z\n", "")): _tree(random, depth - 1) for _ in range(size)
    }


PAIRS: Final = (
    Pair("smallint", integer(16)),
    Pair("integer", integer(32)),
    Pair("bigint", integer(64)),
    Pair("numeric", decimal(30, 20)),
    Pair("numeric(14,2)", decimal(11, 2)),
    Pair("numeric(9,0)", decimal(8, 0)),
    Pair("real", single),
    Pair("double precision", double),
    Pair("boolean", truth),
    Pair("date", day),
    Pair("time without time zone", clock(6)),
    Pair("time(3) without time zone", clock(3)),
    Pair("timestamp without time zone", moment(6)),
    Pair("timestamp(3) without time zone", moment(3)),
    Pair("timestamp with time zone", instant(6)),
    Pair("timestamp(0) with time zone", instant(0)),
    Pair("uuid", uuid),
    Pair("bytea", octets),
    Pair("json", document),
    Pair("jsonb", document),
    Pair("text", text(40)),
    Pair("character varying(60)", text(60)),
    Pair("character(12)", padded),
)
