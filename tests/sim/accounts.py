"""One row of the target as the judge remembers it: who left what in which column."""

from typing import Final

from syncd.flow.model import MISSING, Row, Value
from tests.sim.history import Change
from tests.sim.setup import Rule

_NEVER: Final = "never"  # nothing of syncd's stands in the column


class BrokenError(AssertionError):
    """An invariant was broken: ``invariant`` names it."""

    def __init__(self, invariant: str, told: str) -> None:
        super().__init__(f"{invariant}: {told}")
        self.invariant = invariant


def hold(invariant: str, that: object, told: str, *values: object) -> None:
    """Raise BrokenError unless ``that``; only then are ``values`` put into what is told."""
    if not that:
        raise BrokenError(invariant, told.format(*values) if values else told)


def is_value(text: str) -> bool:
    """Whether a value of a row is in a text: each holds a tilde, and nothing else does."""
    return "~" in text


class Account:
    """``left``: the value that syncd last left in each column; where it stands it may be written.

    ``ours`` is the part of it that must be kept in step: a row that staff made anew is theirs.
    ``is_buried``: staff deleted a row of syncd's. ``is_touched``: staff ever changed it.
    """

    def __init__(self, rule: Rule) -> None:
        width = len(rule.columns)
        self.rule = rule
        self.row: Row | None = None
        self.left: list[Value | str] = [_NEVER] * width
        self.ours: list[Value | str] = [_NEVER] * width
        self.is_buried = False
        self.is_touched = False
        self.is_marked = False
        self.staff_at = 0

    def staff(self, change: Change, at: int) -> None:
        """People changed the row."""
        self.row, self.staff_at, self.is_touched = change.after, at, True
        if change.after is None:
            # Who clears away what syncd has marked as deleted does not say that it must stay away.
            stood = any(value != _NEVER for value in self.left) and not self.is_marked
            self.is_buried, self.is_marked = self.is_buried or stood, False
        elif change.before is None:
            self.is_buried = False
            self.ours = [_NEVER] * len(self.ours)

    def deleted(self, before: Row | None, *, is_soft: bool = False) -> None:
        """Syncd deleted the row, or marked it."""
        assert before is not None
        columns = zip(self.rule.columns, self.rule.owners, before, self.left, strict=True)
        for name, owner, value, left in columns:
            stood = value == left or owner == "computed" or (value is None and left == _NEVER)
            hold("I2", stood, "{}.{}: an edited row was deleted", self.rule.name, name)
        if is_soft:
            self.is_marked = True
            return
        self.row = None
        self.left = [_NEVER] * len(self.left)
        self.ours = list(self.left)

    def written(self, change: Change, made: Row | str, *, overwrites: bool) -> None:
        """Syncd inserted or updated the row."""
        assert change.after is not None
        hold("I1", not isinstance(made, str), "{}: a record that is {}", self.rule.name, made)
        assert isinstance(made, tuple)
        stored = self.rule.stored(made)
        if change.before is None:
            hold("I3", not self.is_buried, "{} {!r}: recreated", self.rule.name, change.key)
            self._assert_sent(change.after, stored)
            self.left, self.ours = list(change.after), list(change.after)
            self.is_touched = False
        else:
            self._updated(change, made, stored, overwrites=overwrites)
        self.row = change.after

    def _assert_sent(self, after: Row, stored: Row) -> None:
        for at, (value, sent) in enumerate(zip(after, stored, strict=True)):
            is_left_out = self.rule.is_soft and at == self.rule.parent_at and value is None
            is_sent = value == sent or sent is MISSING or is_left_out
            hold("I1", is_sent, "{}.{}: another value", self.rule.name, self.rule.columns[at])

    def _updated(self, change: Change, made: Row, stored: Row, *, overwrites: bool) -> None:
        rule, before, after = self.rule, change.before, change.after
        assert before is not None
        assert after is not None
        left, is_edited = list(self.left), self._is_edited(before, made)
        for at, (old, new) in enumerate(zip(before, after, strict=True)):
            if old == new:
                continue
            name, owner = f"{rule.name}.{rule.columns[at]}", rule.owners[at]
            hold("I2", owner not in ("target", "computed"), "{}: not syncd's to write", name)
            hold("I1", new == stored[at], "{}: another value than the source's", name)
            if owner != "source" and not overwrites:
                unit = rule.group if at in rule.group else (at,)
                stood = all(before[member] == left[member] for member in unit)
                hold("I2", stood, "{}: an edit was overwritten", name)
                stays = owner == "initial" and is_edited
                hold("I2", not stays, "{}: written after an edit of the row", name)
            self.left[at] = self.ours[at] = new

    def _is_edited(self, row: Row, made: Row) -> bool:
        columns = zip(self.rule.owners, row, self.left, made, strict=True)
        return any(t not in (left, s) and owner != "source" for owner, t, left, s in columns)

    def agreed(self, target: Row, made: Row) -> None:
        """Both sides say the same, of a group as a whole: it is syncd's from now on.

        Not of a column that the target owns: nothing is remembered of what it holds.
        """
        for at, value in enumerate(target):
            if self.rule.owners[at] == "target":
                continue
            unit = self.rule.group if at in self.rule.group else (at,)
            if all(target[member] == made[member] for member in unit):
                self.left[at] = self.ours[at] = value

    def is_ours(self, row: Row) -> bool:
        """Whether nothing in the row is staff's."""
        return all(value == ours for value, ours in zip(row, self.ours, strict=True))

    def assert_in_step(
        self, name: str, key: bytes, made: Row, target: Row | None, *, lacks_parent: bool
    ) -> None:
        """I1: the row is there unless staff deleted it, and what is not theirs is the source's."""
        if target is None:
            hold("I1", self.is_buried, "{} {!r}: lost", name, key)
            return
        hold("I1", not self.is_marked, "a row of the source is still marked as deleted")
        if target == made:
            return
        stored = self.rule.stored(made)
        for at, value in enumerate(target):
            owner = self.rule.owners[at]
            unit = self.rule.group if at in self.rule.group else (at,)
            is_theirs = any(self.ours[member] != target[member] for member in unit)
            if owner in ("target", "computed") or (owner == "initial" and self.is_touched):
                continue
            if lacks_parent and self.rule.is_soft and at == self.rule.parent_at:
                continue
            is_same = value in (made[at], stored[at]) or is_theirs
            if not is_same:
                raise BrokenError("I1", f"{name}.{self.rule.columns[at]} {key!r}: not up to date")
