"""What must never happen, judged from outside: from the two sides and from what staff did.

It knows nothing of bases, digests or states, only which values syncd itself left in the target.
"""

from collections.abc import Mapping
from typing import TypeAlias

Cells: TypeAlias = tuple[object, ...]  # the columns of a row, the key left out
Side: TypeAlias = Mapping[int, Cells]


class Oracle:
    """Judges one table.

    ``left``: per key and column, the value that syncd last left there; where it still stands
    syncd may write. ``ours`` is the part of it that syncd must keep in step: a row that staff made
    anew is theirs, even where it looks just like the one that was there.
    """

    def __init__(self) -> None:
        self.left: dict[int, dict[int, object]] = {}
        self.ours: dict[int, dict[int, object]] = {}
        self.linked: set[int] = set()  # records that a look has found beside a row
        self.buried: set[int] = set()  # rows of such records that staff deleted

    def staff_deleted(self, key: int) -> None:
        """Staff deleted a row; if it ever stood beside its record it must stay away."""
        if self.left.get(key) or key in self.linked:
            self.buried.add(key)

    def staff_created(self, key: int) -> None:
        """Staff made the row again: it is theirs, and may become ours where both agree."""
        self.buried.discard(key)
        self.ours.pop(key, None)

    def wrote(
        self,
        source: Side,
        before: Side,
        after: Side,
        *,
        complete: bool,
        unlooked: frozenset[int] = frozenset(),
    ) -> None:
        """Judge a commit of syncd's: what it found at the target, and what it left (I2, I3, I10).

        ``source`` is what the run reads; ``complete`` says that its read may speak of absence.
        ``unlooked`` are records that this run has not looked at yet, or that wait: what agrees
        there is agreed by chance, and becomes syncd's with the look and not before.
        """
        for key in before.keys() | after.keys():
            if key not in after:
                assert complete, f"{key}: deleted by an incomplete read"
                assert key not in source, f"{key}: deleted and not absent"
                stood = self.left.pop(key, None) == dict(enumerate(before[key]))
                assert stood, f"{key}: an edited row was deleted"
                self.ours.pop(key, None)
                self.linked.discard(key)
            elif key not in before:
                assert key not in self.buried, f"{key}: recreated"
                assert after[key] == source.get(key), f"{key}: inserted something else"
                self.left[key], self.ours[key] = (dict(enumerate(after[key])) for _ in range(2))
            elif key not in unlooked:
                if key in source:
                    self.linked.add(key)
                self._updated(key, source.get(key), before[key], after[key])
            else:
                assert after[key] == before[key], f"{key}: written without a look"

    def _updated(self, key: int, source: Cells | None, before: Cells, after: Cells) -> None:
        left, ours = self.left.setdefault(key, {}), self.ours.setdefault(key, {})
        for at, (old, new) in enumerate(zip(before, after, strict=True)):
            if old != new:
                assert (at, old) in left.items(), f"{key}.{at}: an edit was overwritten"
                assert source is not None, f"{key}: written without a source"
                assert new == source[at], f"{key}.{at}: another value than the source's"
            if source is not None and new == source[at]:
                left[at] = ours[at] = new

    def assert_in_step(
        self, source: Side, target: Side, *, waiting: set[int], kept: set[int]
    ) -> None:
        """I1, after a quiet night: what is not staff's is the source's; nothing else is missing.

        ``waiting`` are records that lack their parent, ``kept`` rows that the source gave up when
        staff had edited them: they stay, also when staff took their edit back later.
        """
        for key, row in source.items():
            if key not in target:
                assert key in self.buried | waiting, f"{key}: lost"
                continue
            ours = self.ours.get(key, {})
            for at, value in enumerate(row):
                staffs = at not in ours or ours[at] != target[key][at]
                assert staffs or target[key][at] == value, f"{key}.{at}: not brought up to date"
        for key in target.keys() - source.keys() - kept:
            stands = self.ours.get(key) == dict(enumerate(target[key]))
            assert not stands, f"{key}: deleted at the source, still there"
