"""Drafts: the row as it is, or what a transform made of it, and never an exception."""

from collections.abc import Mapping
from datetime import UTC, date, datetime, time
from decimal import Decimal
from types import MappingProxyType
from typing import Final
from uuid import UUID

import pytest
from msgspec.structs import replace

from syncd.flow.model import (
    MISSING,
    Column,
    ColumnType,
    Draft,
    Issue,
    Kind,
    Plan,
    Row,
    Severity,
)
from syncd.flow.transform import Drafted, Drafter, Skip, Transform

PRIVATE: Final = "943 476 5919"


def column(name: str, kind: Kind = Kind.TEXT, into: str = "") -> Column:
    """A column; ``into`` is its name at the target where that differs."""
    return Column(name, into or name, ColumnType(kind))


SOURCE: Final = (
    column("born", Kind.DATE),
    column("code"),
    column("id", Kind.INTEGER),
    column("name"),
)
TARGET: Final = (
    column("age_days", Kind.INTEGER),
    column("full_name"),
    column("id", Kind.INTEGER),
)
PLAN: Final = Plan("people", 1, SOURCE, key=(2,), drafted=TARGET, target_key=(2,))
ROW: Final[Row] = (b"1990-05-17", None, b"17", b"Ada")


def with_(transform: Transform) -> Draft:
    """The draft of the one row."""
    return Drafter(PLAN, transform).draft(ROW)


def answering(answer: object) -> Draft:
    """The draft where the transform returns ``answer``, whatever it is."""
    return with_(lambda _: answer)  # type: ignore[arg-type,return-value]


def error(code: str, field: str = "") -> Issue:
    """A finding that keeps the row out."""
    return Issue(Severity.ERROR, code, field)


# -- without a transform -----------------------------------------------------------------------


def test_without_a_transform_the_draft_is_the_row() -> None:
    """The very same object where the order is the same: nothing is copied."""
    drafter = Drafter(replace(PLAN, drafted=SOURCE))
    assert drafter.is_identity
    assert drafter.draft(ROW).row is ROW
    assert drafter.draft(ROW) == Draft(ROW)


def test_without_a_transform_values_follow_the_targets_order() -> None:
    """Columns renamed on the way are sorted by their new names, values with them."""
    source = (column("a", into="z"), column("b"), column("c", into="a2"))
    drafted = tuple(sorted(source, key=lambda c: c.into))
    drafter = Drafter(Plan("e", 1, source, key=(1,), drafted=drafted, target_key=(1,)))
    assert not drafter.is_identity
    assert drafter.draft((b"A", None, MISSING)) == Draft((MISSING, None, b"A"))


def test_a_transform_is_no_identity_even_if_it_changes_nothing() -> None:
    """What it returns is looked at every time."""
    drafter = Drafter(replace(PLAN, drafted=SOURCE), dict)
    assert not drafter.is_identity
    assert drafter.draft(ROW) == Draft(ROW)


# -- what a transform is given -----------------------------------------------------------------


def test_a_transform_is_given_python_values_by_source_name() -> None:
    """Each value is of its column's type; NULL is None and what is absent stays MISSING."""
    kinds = {
        Kind.BOOLEAN: (b"true", True),
        Kind.BYTES: (b"\\x00ff", b"\x00\xff"),
        Kind.DATE: (b"2024-02-29", date(2024, 2, 29)),
        Kind.DECIMAL: (b"1.50", Decimal("1.50")),
        Kind.FLOAT: (b"0.1", 0.1),
        Kind.INTEGER: (b"-7", -7),
        Kind.JSON: (b'{"a":1.5}', {"a": Decimal("1.5")}),
        Kind.TEXT: ("é".encode(), "é"),
        Kind.TIME: (b"23:59:59.5", time(23, 59, 59, 500000)),
        Kind.TIMESTAMP: (b"2024-02-29 01:02:03", datetime(2024, 2, 29, 1, 2, 3)),  # noqa: DTZ001
        Kind.TIMESTAMPTZ: (
            b"2024-02-29 01:02:03+00",
            datetime(2024, 2, 29, 1, 2, 3, tzinfo=UTC),
        ),
        Kind.UUID: (
            b"f47ac10b-58cc-4372-a567-0e02b2c3d479",
            UUID("f47ac10b-58cc-4372-a567-0e02b2c3d479"),
        ),
    }
    assert set(kinds) == set(Kind)
    columns = (*(column(kind.value, kind) for kind in kinds), column("x"), column("y"))
    plan = Plan("e", 1, columns, key=(5,), drafted=columns, target_key=(5,))
    seen: dict[str, object] = {}

    def look(record: Mapping[str, object]) -> Skip:
        seen.update(record)
        return Skip("seen")

    Drafter(plan, look).draft((*(text for text, _ in kinds.values()), None, MISSING))
    expected = {kind.value: value for kind, (_, value) in kinds.items()}
    assert seen == {**expected, "x": None, "y": MISSING}


def test_a_transform_may_alter_the_record_it_is_given() -> None:
    """It is its own; the row and the next record are untouched."""

    def alter(record: Mapping[str, object]) -> Mapping[str, object]:
        assert isinstance(record, dict)
        assert record["id"] == 17
        return {"full_name": record.pop("name"), "id": record.pop("id")}

    drafter = Drafter(PLAN, alter)
    assert drafter.draft(ROW) == drafter.draft(ROW) == Draft((MISSING, b"Ada", b"17"))


# -- what it may answer ------------------------------------------------------------------------


def test_the_answer_is_normalised_by_the_targets_types() -> None:
    """Objects and their text are alike, in drafted order; what is left out is MISSING."""
    assert answering({"id": "17", "age_days": Decimal("3.0")}) == Draft((b"3", MISSING, b"17"))
    assert answering({"id": 17, "age_days": " 3 ", "full_name": None}) == Draft((b"3", None, b"17"))
    assert answering({"id": 17, "full_name": MISSING}) == Draft((MISSING, MISSING, b"17"))


def test_any_mapping_is_an_answer() -> None:
    """It need not be a dict."""
    assert answering(MappingProxyType({"id": 17})) == Draft((MISSING, MISSING, b"17"))


def test_a_skip_has_its_reason_and_no_row() -> None:
    """The record is left out for the reason that the transform gave."""
    assert answering(Skip("closed before 2010")) == Draft((), skip="closed before 2010")


def test_a_skip_without_a_reason_is_a_skip_still() -> None:
    """An empty reason must not pass for a row without columns."""
    assert answering(Skip("")) == Draft((), skip="skipped")


def test_issues_come_with_the_values() -> None:
    """A warning is told and the row is drafted all the same."""
    warning = Issue(Severity.WARNING, "guessed", "full_name")
    draft = answering(Drafted({"id": 17, "full_name": "Ada"}, (warning,)))
    assert draft == Draft((MISSING, b"Ada", b"17"), (warning,))


def test_an_error_of_the_transform_is_an_issue_like_ours() -> None:
    """It may say itself that the record is invalid."""
    issue = error("no_consent")
    assert answering(Drafted({"id": 17}, (issue,))).issues == (issue,)


# -- what it may do wrong ----------------------------------------------------------------------


class _Leaky(Exception):  # noqa: N818 - named for what it does
    """An exception of somebody's code."""


def fail(record: Mapping[str, object]) -> Mapping[str, object]:
    """A transform that tells a value."""
    raise _Leaky(f"cannot parse {PRIVATE} of {record['name']}")


def test_an_exception_is_an_issue_with_its_type_alone() -> None:
    """Its message may hold values and goes nowhere; other records are drafted."""
    draft = with_(fail)
    assert draft == Draft((), (error("transform_failed:_Leaky"),))
    assert PRIVATE not in repr(draft)


@pytest.mark.parametrize("kind", [KeyError, ZeroDivisionError, RecursionError, AssertionError])
def test_every_exception_of_a_record_is_its_own_affair(kind: type[Exception]) -> None:
    """Whatever is raised, one bad record never stops its batch."""

    def transform(_: Mapping[str, object]) -> Mapping[str, object]:
        raise kind

    assert with_(transform).issues == (error(f"transform_failed:{kind.__name__}"),)


def test_an_interrupt_is_no_issue() -> None:
    """Ctrl-C inside a transform ends the run."""

    def transform(_: Mapping[str, object]) -> Mapping[str, object]:
        raise KeyboardInterrupt

    with pytest.raises(KeyboardInterrupt):
        with_(transform)


@pytest.mark.parametrize(
    ("answer", "name"),
    [
        (None, "NoneType"),  # the return was forgotten
        ([("id", 17)], "list"),
        (PRIVATE, "str"),
        (Drafted(None), "NoneType"),  # type: ignore[arg-type]
        (Skip, "StructMeta"),  # the class, not one of it
    ],
)
def test_an_answer_that_is_no_mapping_is_an_issue(answer: object, name: str) -> None:
    """Its type is told and its value is not."""
    assert answering(answer) == Draft((), (error(f"transform_returned:{name}"),))


def test_a_value_that_its_column_refuses_is_named_by_its_column() -> None:
    """Each bad value is a finding of its own, and the value goes nowhere."""
    draft = answering({"id": 17, "age_days": PRIVATE, "full_name": "a\0b"})
    assert draft.row == (MISSING, MISSING, b"17")
    assert draft.issues == (error("not_integer", "age_days"), error("charset", "full_name"))
    assert PRIVATE not in repr(draft)


def test_a_column_that_the_target_lacks_is_an_error() -> None:
    """Nothing is dropped silently; all such columns are told, in order."""
    draft = answering({"id": 17, "surname": "L", "forename": "A", 5: None})
    assert draft.issues == (
        error("unknown_column", "5"),
        error("unknown_column", "forename"),
        error("unknown_column", "surname"),
    )


@pytest.mark.parametrize("changed", [18, "018", None, MISSING])
def test_a_transform_may_not_change_the_key(changed: object) -> None:
    """The record would be written under a key that nobody has locked."""
    draft = answering({"full_name": "Ada", "id": changed})
    assert draft.issues == (error("key_changed_by_transform"),)


def test_a_warning_does_not_hide_that_the_key_was_changed() -> None:
    """Both are told."""
    warning = Issue(Severity.WARNING, "guessed")
    assert answering(Drafted({"id": 18}, (warning,))).issues == (
        warning,
        error("key_changed_by_transform"),
    )


def test_a_bad_key_is_told_as_what_it_is() -> None:
    """One finding says it: that the key then differs is no news."""
    assert answering({"id": "seventeen"}).issues == (error("not_integer", "id"),)


def test_a_key_may_move_to_another_column_and_type() -> None:
    """What counts is the canonical value at the key's place in the target."""
    plan = replace(PLAN, drafted=(column("record_id"), column("tag")), target_key=(0,))
    draft = Drafter(plan, lambda r: {"record_id": str(r["id"])}).draft(ROW)
    assert draft == Draft((b"17", MISSING))
