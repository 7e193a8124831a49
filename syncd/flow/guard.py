"""What may be deleted, what is held, and why.

Absence is evidence only when the scope was read completely, and even then a dump that lost a part
of itself looks exactly like a deletion (case 39). So deletes beyond *both* bounds are held until
an operator approves them, and an entity that came back empty never deletes, approved or not.
"""

from collections.abc import Collection, Sequence
from hashlib import blake2b

from msgspec import Struct


class Bounds(Struct, frozen=True):
    """Deletes are held when they exceed ``rows`` and ``percent`` of the entity, both."""

    rows: int
    percent: float
    confirm_runs: int = 1


class Evidence(Struct, frozen=True):
    """What a complete read says. ``remembered``: records the ledger knew as present before it.

    ``cut`` is the reason to believe that the dump was cut off, or empty. ``unread`` rows have no
    key that could be read: any record that is missing may be one of them.
    """

    source_rows: int
    remembered: int
    cut: str = ""
    unread: int = 0


class Judgement(Struct, frozen=True):
    """``allowed``, ``held`` and ``kept`` part the absentees; ``reason`` tells why any are held.

    ``kept`` are those that an operator rejected: they stay, and nobody is asked again.
    """

    allowed: tuple[bytes, ...]
    held: tuple[bytes, ...]
    kept: tuple[bytes, ...] = ()
    reason: str = ""


def judge(
    absent: Sequence[bytes],
    evidence: Evidence,
    bounds: Bounds,
    *,
    approved: Collection[bytes] = (),
    rejected: Collection[bytes] = (),
    missed_runs: dict[bytes, int] | None = None,
) -> Judgement:
    """Part ``absent`` into deletes that may be applied and deletes that are held.

    ``approved`` is a ceiling: only keys that are absent now *and* were approved pass by it; what
    else is missing is judged by itself. ``rejected`` keys are always kept. ``missed_runs`` counts,
    per key, the earlier consecutive complete reads that lacked it.
    """
    kept = tuple(key for key in absent if key in rejected)
    asked = [key for key in absent if key not in rejected]
    if not asked:
        return Judgement((), (), kept)
    if evidence.source_rows == 0:
        reason = "the source holds no row of this entity at all"
        return Judgement((), tuple(asked), kept, reason)
    if evidence.cut:
        return Judgement((), tuple(asked), kept, evidence.cut)
    passed = [key for key in asked if key in approved]
    others = [key for key in asked if key not in approved]
    ripe, young = _ripe(others, bounds.confirm_runs, missed_runs or {})
    reasons = []
    if young:
        reasons.append(f"{len(young)} not yet missed in {bounds.confirm_runs} complete reads")
    if _too_many(len(others), evidence.remembered, bounds):
        reasons.append(
            f"{len(others)} of {evidence.remembered} records are missing, more than "
            f"{bounds.rows} and more than {bounds.percent:g} %"
        )
        ripe, young = [], others
    if evidence.unread and others:
        reasons.append(
            f"{evidence.unread} rows have a key that could not be read, and may be among the "
            f"{len(others)} that are missing"
        )
        ripe, young = [], others
    allowed = sorted([*passed, *ripe])
    return Judgement(tuple(allowed), tuple(young), kept, "; ".join(reasons))


def _ripe(
    keys: Sequence[bytes], confirm_runs: int, missed_runs: dict[bytes, int]
) -> tuple[list[bytes], list[bytes]]:
    """Part keys by whether this is at least their ``confirm_runs``-th consecutive absence."""
    ripe = [key for key in keys if missed_runs.get(key, 0) + 1 >= confirm_runs]
    young = [key for key in keys if missed_runs.get(key, 0) + 1 < confirm_runs]
    return ripe, young


def _too_many(rows: int, remembered: int, bounds: Bounds) -> bool:
    return rows > bounds.rows and rows * 100 > bounds.percent * remembered


def plan_hash(entity: str, keys: Sequence[bytes]) -> str:
    """Name a set of held deletes: 16 hex digits that change with any key.

    An approval that names it approves exactly what the operator looked at.
    """
    digest = blake2b(entity.encode(), digest_size=8)
    for key in sorted(keys):
        digest.update(len(key).to_bytes(4, "big") + key)
    return digest.hexdigest()
