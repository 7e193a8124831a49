"""A last look before a batch is written: nothing is replaced but what syncd itself left there (I2).

The merge rule has decided already, with both sides locked. This asks again, in another way and of
what is about to be written alone, so that no mistake of the rule can reach somebody's edit. It
costs one hash for each value that an update replaces, and for each of a row that is deleted.
"""

from collections.abc import Iterator, Mapping

from syncd.errors import InvariantError
from syncd.flow.decide import Batch, Settled
from syncd.flow.fingerprint import Hasher
from syncd.flow.model import Ownership, Plan, Row, Value, Write

Forced = Mapping[bytes, Mapping[str, bytes]]


def assert_ours(plan: Plan, hasher: Hasher, batch: Batch, forced: Forced) -> None:
    """Raise InvariantError when a write would replace what is not syncd's own.

    Columns that the source owns, that an operator decided for the source, and that the
    configuration lets the source win, may be replaced whatever they hold.
    """
    values: list[Value] = []
    known: list[bytes] = []
    for settled in batch.settled:
        if settled.decision.write is Write.NOTHING:
            continue
        locked = batch.locked.get(settled.key)
        if (locked is None) is not (settled.decision.write is Write.INSERT):
            raise _broken(plan, "a row is to be written that was not locked as it was decided on")
        if locked is None:
            continue
        before = batch.before.get(settled.key)
        base = before.target_base if before is not None else ()
        for at in _replaced(plan, settled, locked, forced.get(settled.key, {})):
            bt = base[at] if base else b""
            if bt or locked[at] is not None:
                values.append(locked[at])
                known.append(bt)
    if hasher.columns(tuple(values)) != tuple(known):
        raise _broken(plan, "a value is to be replaced that is not the one that syncd left there")


def _replaced(
    plan: Plan, settled: Settled, locked: Row, forced: Mapping[str, bytes]
) -> Iterator[int]:
    """Columns that must hold what syncd left there for the write to be right."""
    decision, columns = settled.decision, plan.drafted
    if decision.write is Write.DELETE:
        yield from (at for at, c in enumerate(columns) if c.ownership is not Ownership.COMPUTED)
        return
    if plan.timestamps is not None:  # the seed's rule goes by times, and has no base
        return
    consented = {c.column for c in decision.conflicts if c.kind == "overwritten"} | forced.keys()
    for at in decision.written:
        column = columns[at]
        if (
            settled.row[at] != locked[at]
            and column.ownership is not Ownership.SOURCE
            and column.into not in consented
        ):
            yield at


def _broken(plan: Plan, found: str) -> InvariantError:
    return InvariantError(
        f"entity {plan.name}: {found}; the batch was rolled back",
        hint="no edit was touched; please report this with the run's id",
    )
