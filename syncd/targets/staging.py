"""What all tables of the target share: their names, their staging, the proofs of a write."""

import re
from collections.abc import Mapping, Sequence
from typing import Any, Final, TypeAlias

from syncd.errors import InvariantError, RowError
from syncd.flow.model import MISSING, Decision, Plan, Row, Write
from syncd.flow.normalise import Normaliser
from syncd.flow.ports import Tx
from syncd.pg import dialect
from syncd.pg.transaction import PgTx

Changes: TypeAlias = Sequence[tuple[bytes, Row, Decision]]

STAGE_TYPES: Final = {"character": "bpchar", "bit": "bit varying"}  # bare, they mean one character
_MODIFIERS: Final = re.compile(r"\([\d, -]+\)")


def qualified(name: str) -> str:
    """The quoted name; a table without a schema is meant in ``public``."""
    schema, _ = dialect.split_table(name)
    return dialect.table_ident(name if schema else f"public.{name}")


def bare_type(native: str) -> str:
    """A type without its length or precision, for staging."""
    bare = _MODIFIERS.sub("", native)
    return STAGE_TYPES.get(bare, bare)


def opened(tx: Tx) -> tuple[Any, bool]:
    """The connection of a transaction, and whether it may lock and write."""
    assert isinstance(tx, PgTx)
    return tx.connection, tx.writes


def counted(changes: Changes) -> dict[Write, int]:
    """How many changes there are of each kind."""
    counts = dict.fromkeys(Write, 0)
    for _, _, decision in changes:
        counts[decision.write] += 1
    return counts


def expect(plan: Plan, verb: str, rows: int, tag: str) -> None:
    """Raise when a statement did not touch as many rows as were locked for it.

    Fewer means that a trigger swallowed one, which is then found by halving; more means that the
    target's key is not unique.
    """
    touched = int(tag.rsplit(" ", 1)[-1])
    if touched < rows:
        raise swallowed(plan)
    if touched > rows:
        raise InvariantError(
            f"entity {plan.name}: {verb} touched {touched} rows, expected {rows} that were "
            "locked; the batch was rolled back",
            hint="make the key unique in the target",
        )


def swallowed(plan: Plan) -> RowError:
    """What a write comes to of which nothing is there afterwards."""
    return RowError(
        f"entity {plan.name}: a trigger or rule of the target swallowed the write of a row",
        sqlstate="SYN01",
        constraint="swallowed_by_trigger",
    )


def assert_single(plan: Plan, doubled: int) -> None:
    """Raise InvariantError when the target holds a key twice that was just written (I4)."""
    if doubled:
        raise InvariantError(
            f"entity {plan.name}: {doubled} of the rows written are in the target twice; "
            "the batch was rolled back",
            hint="make the key unique in the target",
        )


def assert_stored(plan: Plan, changes: Changes, stored: Mapping[bytes, Row]) -> None:
    """Raise RowError when a written row is not there: a trigger swallowed it."""
    for key, _, decision in changes:
        if decision.write in (Write.INSERT, Write.UPDATE) and key not in stored:
            raise swallowed(plan)


def canonical_row(reader: Normaliser, texts: Sequence[str | None]) -> Row:
    """A fetched row in canonical values.

    A value that no canonical type holds (infinity, a year before 1) stays as the target prints
    it: it must compare and hash like any other, and nobody writes it anywhere.
    """
    raw = [None if text is None else text.encode() for text in texts]
    values, issues = reader.row(raw)
    if not issues:
        return values
    return tuple(
        text if value is MISSING else value for value, text in zip(values, raw, strict=True)
    )
