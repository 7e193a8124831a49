"""From a change to a draft: the source's row in the shape of the target, with its issues.

Without a transform a draft is the row itself in the target's column order. A transform is a pure
function of one record in Python values; what it returns is normalised by the target's types, so
it may hand over a ``date`` or its text alike.
"""

from collections.abc import Callable, Mapping
from typing import Any, TypeAlias, TypeVar

from msgspec import Struct

from syncd.flow.model import MISSING, Draft, Issue, Plan, Row, Severity, Value
from syncd.flow.normalise import BadValue, from_object, to_object

T = TypeVar("T")


class Skip(Struct, frozen=True):
    """Returned by a transform: leave this record out, for ``reason`` (short, without values)."""

    reason: str


class Drafted(Struct, frozen=True):
    """Returned by a transform that has something to say beside the values."""

    values: Mapping[str, object]
    issues: tuple[Issue, ...] = ()


Transform: TypeAlias = Callable[[Mapping[str, object]], Mapping[str, object] | Skip | Drafted]


class Failed(Struct, frozen=True):
    """The code of others raised; ``kind`` is the type's name. Its message may hold values."""

    kind: str


def foreign(call: Callable[[], T]) -> T | Failed:
    """Run the code of others: anything may come out of it, and nothing goes through."""
    try:
        return call()
    except Exception as error:  # noqa: BLE001 - see above
        return Failed(type(error).__name__)


class Drafter:
    """Makes drafts for one plan."""

    def __init__(self, plan: Plan, transform: Transform | None = None) -> None:
        self._plan = plan
        self._transform = transform
        positions = {column.name: at for at, column in enumerate(plan.columns)}
        self._order = () if transform else tuple(positions[column.name] for column in plan.drafted)
        self._objects = tuple((column.name, to_object(column.type)) for column in plan.columns)
        self._values = tuple((column.into, from_object(column.type)) for column in plan.drafted)
        self._known = frozenset(column.into for column in plan.drafted)
        self._same_order = self._order == tuple(range(len(plan.columns)))

    @property
    def is_identity(self) -> bool:
        """Whether the draft is the row, value for value and in the same order."""
        return self._transform is None and self._same_order

    def draft(self, row: Row) -> Draft:
        """The draft of one normalised row.

        An exception of the transform becomes an issue ``transform_failed``: one bad record never
        stops its batch, and its message, which may hold values, goes nowhere.
        """
        if self._transform is None:
            return Draft(row if self._same_order else tuple([row[at] for at in self._order]))
        record = {
            name: value if value is None or value is MISSING else read(value)
            for (name, read), value in zip(self._objects, row, strict=True)
        }
        transform = self._transform
        answer = foreign(lambda: transform(record))
        if isinstance(answer, Failed):
            return Draft((), (Issue(Severity.ERROR, f"transform_failed:{answer.kind}"),))
        if isinstance(answer, Skip):
            return Draft((), skip=answer.reason or "skipped")
        drafted = answer if isinstance(answer, Drafted) else Drafted(answer)
        values: object = drafted.values
        if not isinstance(values, Mapping):
            code = f"transform_returned:{type(values).__name__}"
            return Draft((), (Issue(Severity.ERROR, code),))
        return self._normalised(row, values, drafted.issues)

    def _normalised(
        self, row: Row, values: Mapping[str, object], issues: tuple[Issue, ...]
    ) -> Draft:
        """The transform's values in canonical form, in drafted order."""
        found = list(issues)
        drafted: list[Value] = []
        for name, read in self._values:
            value: Any = values.get(name, MISSING)
            try:
                drafted.append(value if value is None or value is MISSING else read(value))
            except BadValue as error:
                drafted.append(MISSING)
                found.append(Issue(Severity.ERROR, error.code, name))
        unknown = sorted(str(name) for name in values if name not in self._known)
        found.extend(Issue(Severity.ERROR, "unknown_column", name) for name in unknown)
        moved = any(
            drafted[to] != row[at]
            for at, to in zip(self._plan.key, self._plan.target_key, strict=True)
        )
        if moved and not any(issue.excludes for issue in found):
            found.append(Issue(Severity.ERROR, "key_changed_by_transform"))
        return Draft(tuple(drafted), tuple(found))
