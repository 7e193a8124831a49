"""What happens in one simulation: days of work at both sides, and nights with what befalls them.

A schedule is a list of acts, and everything in it can be left out without changing what the rest
means: that is how a failing one is made small. ``draw`` makes one of a seed; the same schedule
with the same seed always runs the same way.
"""

from random import Random
from typing import Final

import msgspec
from msgspec import Struct

from tests.sim.setup import COLUMNS, KEYS, RARE, VALUES, Setup, draw_setup

TABLES: Final = tuple(KEYS)
STEPS_MAX: Final = 90  # of a night, in which something may befall it


class Legacy(Struct, frozen=True, tag=True):
    """The legacy system saves a record, or deletes it where ``row`` is None."""

    table: str
    number: int
    row: tuple[bytes | None, ...] | None


class Staff(Struct, frozen=True, tag=True):
    """People at the target: type | revert | delete | create. ``hold_s``: with the row held."""

    what: str
    table: str
    number: int
    at: int = 0
    value: bytes | None = None
    hold_s: float = 0.0


class Review(Struct, frozen=True, tag=True):
    """An operator decides about held deletes: approved | rejected."""

    table: str
    decision: str


class Fault(Struct, frozen=True, tag=True):
    """What befalls a process at one of its steps.

    kill | cancel | transient | lost (the answer of a commit that stood) | unsure (of one that did
    not) | restart (of the server) | delay | pause (for ``seconds``, then it goes on).
    """

    what: str
    seconds: float = 0.0


class At(Struct, frozen=True, tag=True):
    """Something that happens at the ``step``-th step of a night."""

    step: int
    act: "Fault | Staff | Legacy"


class Night(Struct, frozen=True, tag=True):
    """A run of one instance, or of two that know nothing of each other.

    ``dump`` is how the source is read: "" whole; cut:N fails after N records; short:N silently
    lacks the last N; twice: a record comes twice; keyless: a row has no key; unordered: pages are
    swapped; older: what was there a look ago, from the position of then.
    """

    befalls: tuple[At, ...] = ()
    dump: str = ""
    instances: int = 1


Act = Legacy | Staff | Review | Night


class Schedule(Struct, frozen=True):
    """All of one simulation. ``chance`` seeds the loop and all that is drawn while it runs."""

    chance: str
    setup: Setup
    acts: tuple[Act, ...]


def draw(seed: int, *, nights: int, befalls: int) -> Schedule:
    """A schedule of so many nights, with up to so many things that befall each."""
    chance = Random(seed)  # noqa: S311 - it must repeat
    setup = draw_setup(chance)
    acts: list[Act] = [
        Legacy(table, number, _row(chance, table, number))
        for table in TABLES
        for number in KEYS[table]
        if chance.random() < 0.7
    ]
    for _ in range(nights):
        acts.append(_night(chance, befalls))
        acts += [_day(chance) for _ in range(chance.randrange(6))]
    return Schedule(f"{seed}", setup, (*acts, _night(chance, befalls)))


def encode(schedule: Schedule) -> str:
    """A schedule as one line."""
    return msgspec.json.encode(schedule).decode()


def decode(line: str) -> Schedule:
    """The schedule of a line."""
    return msgspec.json.decode(line, type=Schedule)


def _row(chance: Random, table: str, number: int) -> tuple[bytes | None, ...]:
    values = [*VALUES] * 5 + [*RARE]
    own = {
        "a": chance.choice(values),
        "b": chance.choice(VALUES),
        "id": b"%d" % number,
        "parent": chance.choice([b"1", b"2", b"3", b"9", None]),
    }
    return tuple(own[column] for column in COLUMNS[table])


def _day(chance: Random) -> Act:
    what = chance.random()
    if what < 0.45:
        return _legacy(chance)
    if what < 0.88:
        return _staff(chance)
    return Review(chance.choice(TABLES), chance.choice(["approved", "approved", "rejected"]))


def _legacy(chance: Random) -> Legacy:
    table = chance.choice(TABLES)
    number = chance.choice(KEYS[table])
    row = None if chance.random() < 0.25 else _row(chance, table, number)
    return Legacy(table, number, row)


def _staff(chance: Random) -> Staff:
    table = chance.choice(TABLES)
    what = chance.choices(["type", "revert", "delete", "create"], [6, 2, 2, 1])[0]
    typed = (b"~A", b"~B", b"~X", None)
    return Staff(what, table, chance.choice(KEYS[table]), chance.randrange(2), chance.choice(typed))


def _night(chance: Random, befalls: int) -> Night:
    dump, instances = "", 1
    if befalls and chance.random() < 0.3:
        kind = chance.choice(["cut", "short", "twice", "keyless", "unordered", "older"])
        dump = f"{kind}:{chance.randrange(4)}" if kind in ("cut", "short") else kind
    if befalls and chance.random() < 0.2:
        instances = 2
    number = chance.randrange(befalls + 1)
    return Night(tuple(_befall(chance) for _ in range(number)), dump, instances)


_FAULTS: Final = (
    *("kill", "kill", "kill", "cancel", "transient", "lost", "lost", "unsure", "restart"),
    *("delay", "pause"),
)


def _befall(chance: Random) -> At:
    step, what = chance.randrange(STEPS_MAX), chance.random()
    if what < 0.45:
        fault = chance.choice(_FAULTS)
        return At(step, Fault(fault, chance.choice([1.0, 20.0, 100.0])))
    if what < 0.9:
        hold_s = chance.choice([0.0, 0.0, 0.1, 1.0, 30.0])
        return At(step, msgspec.structs.replace(_staff(chance), hold_s=hold_s))
    return At(step, _legacy(chance))
