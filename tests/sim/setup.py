"""What a simulated pipeline is like: the configuration, and the same told to the checker.

``Setup`` is drawn from the seed. ``config_of`` makes of it what production plans with, ``rules_of``
what the checker knows; neither is made of the other.
"""

from collections.abc import Callable, Mapping
from random import Random
from typing import Final

from msgspec import Struct

from syncd.config import (
    Config,
    Deletes,
    Entity,
    HoldAbove,
    LedgerConfig,
    Limits,
    Merge,
    Need,
    PostgresSource,
    PostgresTarget,
    Secret,
)
from syncd.errors import RowError
from syncd.flow.model import ColumnType, Found, Kind, OnConflict, Ownership, Row, Value
from tests.sim.transforms import BAD, SKIPPED

COLUMNS: Final = {"parents": ("a", "b", "id"), "children": ("a", "b", "id", "parent")}
KEYS: Final = {"parents": (1, 2, 3), "children": (1, 2, 3, 4)}
IDS: Final = {"parents": 1, "children": 2}
LEASE_TTL_S: Final = 15.0
# Every value holds a tilde, so that one in a message is easily found.
POISON: Final = b"~poison"  # what the target refuses
CLINGING: Final = b"~clinging"  # a row with it cannot be deleted
VALUES: Final = (b"~A", b"~B", b"~C", None)
RARE: Final = (POISON, CLINGING, BAD, SKIPPED)


class Setup(Struct, frozen=True):
    """A pipeline of parents and children; the defaults are the plainest."""

    owned: dict[str, str] = {}  # columns of both entities that are not owned by `merge`
    is_grouped: bool = False
    on_conflict: str = "target_wins"
    deletes: str = "apply"
    hold_rows: int = 2
    hold_percent: float = 30.0
    confirm_runs: int = 1
    needs: str = "hard"  # hard | soft | none
    is_transformed: bool = False
    is_lowered: bool = False  # the target stores text in lower case
    batch_rows: int = 2
    writers: int = 2
    retries: int = 3
    block_rows: int = 1
    event: str = ""


def draw_setup(chance: Random) -> Setup:
    """A setup; each special trait is rare enough that most schedules have one or two."""
    owned = {}
    if chance.random() < 0.3:
        owned[chance.choice("ab")] = chance.choice(["source", "target", "initial"])
    return Setup(
        owned=owned,
        is_grouped=not owned and chance.random() < 0.25,
        on_conflict="quarantine" if chance.random() < 0.1 else "target_wins",
        deletes=chance.choices(["apply", "soft", "report"], [8, 1, 1])[0],
        hold_rows=chance.choice([0, 0, 1, 9]),
        hold_percent=chance.choice([0.0, 0.0, 30.0, 100.0]),
        confirm_runs=chance.choices([1, 2], [5, 1])[0],
        needs=chance.choices(["hard", "soft", "none"], [4, 2, 1])[0],
        is_transformed=chance.random() < 0.25,
        is_lowered=chance.random() < 0.2,
        batch_rows=chance.choice([1, 2, 3]),
        writers=chance.choice([1, 2]),
        retries=chance.choice([2, 4]),
        block_rows=chance.choice([1, 2, 9]),
        event="saved" if chance.random() < 0.5 else "",
    )


def config_of(setup: Setup) -> Config:
    """The configuration of a pipeline like that; its addresses lead nowhere."""
    nowhere = Secret("postgresql://nowhere.invalid/none")
    need = Need(columns=("parent",), nullable=setup.needs == "soft")
    needs = {} if setup.needs == "none" else {"parents": need}
    groups = (("a", "b"),) if setup.is_grouped else ()
    ownership = {column: Ownership(owner) for column, owner in setup.owned.items()}
    merge = Merge(on_conflict=OnConflict(setup.on_conflict))
    return Config(
        pipeline="simulated",
        source=PostgresSource(dsn=nowhere),
        target=PostgresTarget(dsn=nowhere),
        entities={
            "parents": Entity(
                from_="parents", key=("id",), into="public.parents", ownership=ownership,
                groups=groups, merge=merge, event=setup.event or None,
            ),
            "children": Entity(
                from_="children", key=("id",), into="public.children", ownership=ownership,
                groups=groups, merge=merge, needs=needs,
                transform="tests.sim.transforms:careful" if setup.is_transformed else None,
            ),
        },
        ledger=LedgerConfig(lease_ttl_s=LEASE_TTL_S),
        limits=Limits(
            batch_rows=setup.batch_rows, writers=setup.writers, retries=setup.retries,
            retry_budget_s=600.0, findings=5,
        ),
        deletes=Deletes(
            policy=setup.deletes,  # type: ignore[arg-type]
            hold_above=HoldAbove(rows=setup.hold_rows, percent=setup.hold_percent),
            confirm_runs=setup.confirm_runs,
        ),
    )  # fmt: skip


class Rule(Struct, frozen=True):
    """One entity as the checker knows it. Rows are tuples in the order of ``columns``.

    ``make`` gives the row that the target should hold for a row of the source, or the reason why
    there is none; ``stored`` is what the target makes of it.
    """

    name: str
    entity_id: int
    columns: tuple[str, ...]
    key_at: int
    owners: tuple[str, ...]
    group: tuple[int, ...]
    make: Callable[[Row], Row | str]
    stored: Callable[[Row], Row]
    parent: str
    parent_at: int
    is_soft: bool  # the parent's column is left out until it has landed

    def key_of(self, row: Row) -> bytes:
        """The key of a row; b'' where it has none."""
        return self.key_from(row[self.key_at])

    @staticmethod
    def key_from(value: Value) -> bytes:
        """An integer as the ledger's key: eight bytes, the sign bit flipped."""
        if not isinstance(value, bytes) or not value.isdigit():
            return b""
        return (int(value) + (1 << 63)).to_bytes(8, "big")

    def refuses(self, made: Row) -> bool:
        """Whether the target takes no such row."""
        return POISON in made


def rules_of(setup: Setup) -> dict[str, Rule]:
    """Both entities, for the checker."""
    rules = {}
    for name, columns in COLUMNS.items():
        is_child = name == "children" and setup.needs != "none"
        rules[name] = Rule(
            name,
            IDS[name],
            columns,
            columns.index("id"),
            tuple(setup.owned.get(column, "merge") for column in columns),
            (0, 1) if setup.is_grouped else (),
            _careful if name == "children" and setup.is_transformed else _same,
            lowered if setup.is_lowered else _as_sent,
            "parents" if is_child else "",
            columns.index("parent") if is_child else 0,
            setup.needs == "soft",
        )
    return rules


def stored_of(setup: Setup) -> Callable[[Row], Row]:
    """What the target makes of a row; raises RowError for one that it refuses."""

    def stored(row: Row) -> Row:
        if POISON in row:
            raise RowError("refused", sqlstate="23514", constraint="no_poison")
        return lowered(row) if setup.is_lowered else row

    return stored


def lowered(row: Row) -> Row:
    """The row in lower case."""
    return tuple(value.lower() if isinstance(value, bytes) else value for value in row)


def shape_of(name: str) -> Mapping[str, Found]:
    """An entity's columns, the same on both sides."""
    kinds = {"id": Kind.INTEGER, "parent": Kind.INTEGER}
    return {c: Found(c, "", ColumnType(kinds.get(c, Kind.TEXT))) for c in COLUMNS[name]}


def _as_sent(row: Row) -> Row:
    return row


def _same(row: Row) -> Row | str:
    return row


def _careful(row: Row) -> Row | str:
    """What ``transforms.careful`` makes of a child, told once more."""
    if row[0] == BAD:
        return "invalid"
    if row[0] == SKIPPED:
        return "skipped"
    return (row[0], b"~none" if row[1] is None else row[1], *row[2:])
