"""The diff: what makes a read news, and what makes it too old."""

from typing import Final

import pytest
from msgspec.structs import replace

from syncd.flow.diff import Verdict, compare, is_stale
from syncd.flow.fingerprint import HASH_VERSION
from syncd.flow.model import PARKED, Entry, Outcome, State
from tests.flow.merge_world import plan_of

PLAN: Final = plan_of("a", "b")
FINGERPRINT: Final = b"f" * 16
EPOCH, POSITION = 2, 100

# Live, in step, under the same rules, and the same row.
IN_STEP: Final = Entry(
    key=b"17",
    digest=5,
    digest_epoch=6,
    fingerprint=FINGERPRINT,
    hash_version=HASH_VERSION,
    revision=PLAN.revision,
    shape=PLAN.shape,
    source_epoch=EPOCH,
    position=POSITION,
    state=State.LIVE,
    outcome=Outcome.UPDATED,
    reason="",
    run_id=9,
)

NEWS: Final[dict[str, list[object]]] = {
    "fingerprint": [b"g" * 16, b""],
    "hash_version": [HASH_VERSION - 1, HASH_VERSION + 1],
    "revision": [PLAN.revision - 1],
    "shape": [PLAN.shape + 1],
    "state": [state for state in State if state is not State.LIVE],
    "present": [False],
    "open": [True],
    "outcome": [*sorted(PARKED), Outcome.CONFLICT],
}
NO_NEWS: Final[dict[str, list[object]]] = {
    "key": [b"18"],
    "digest": [0, 6],
    "digest_epoch": [0, 7],
    "incarnation": [2],
    "source_base": [(b"", b"x" * 8)],
    "target_base": [(b"", b"x" * 8)],
    "reason": ["converged:a"],
    "run_id": [8],
    "disputed": [frozenset({"a"})],
    "outcome": [None, *(o for o in Outcome if o not in PARKED and o is not Outcome.CONFLICT)],
    "source_epoch": [EPOCH - 1],
    "position": [POSITION - 1],
}


def verdict(entry: Entry | None) -> Verdict:
    """The judgement of one and the same read."""
    return compare(PLAN, entry, FINGERPRINT, EPOCH, POSITION)


def changes(of: dict[str, list[object]]) -> list[tuple[str, object]]:
    """Field and value, one change at a time."""
    return [(field, value) for field, values in of.items() for value in values]


def test_a_read_without_an_entry_is_news() -> None:
    """What the ledger does not know is changed."""
    assert verdict(None) is Verdict.CHANGED


def test_the_same_row_under_the_same_rules_is_no_news() -> None:
    """A live entry with all conditions met is the same."""
    assert verdict(IN_STEP) is Verdict.SAME


@pytest.mark.parametrize(("field", "value"), changes(NEWS))
def test_each_condition_alone_makes_a_read_news(field: str, value: object) -> None:
    """Everything else being equal, this one field has the record looked at."""
    assert verdict(replace(IN_STEP, **{field: value})) is Verdict.CHANGED


@pytest.mark.parametrize(("field", "value"), changes(NO_NEWS))
def test_no_other_field_makes_a_read_news(field: str, value: object) -> None:
    """Neither digest nor bases nor a standing outcome has a record looked at."""
    assert verdict(replace(IN_STEP, **{field: value})) is Verdict.SAME


def test_every_field_of_an_entry_was_thought_of() -> None:
    """A new field must be given its place in one of the tables above."""
    assert {*NEWS, *NO_NEWS} == set(Entry.__struct_fields__)


@pytest.mark.parametrize(
    ("source_epoch", "position", "expected"),
    [
        (EPOCH, POSITION - 1, Verdict.STALE),
        (EPOCH, POSITION, Verdict.SAME),  # equal re-evaluates
        (EPOCH, POSITION + 1, Verdict.SAME),
        (EPOCH - 1, POSITION + 1000, Verdict.STALE),  # the history before a rewind
        (EPOCH + 1, 0, Verdict.SAME),  # positions begin anew after an accepted rewind
    ],
)
def test_a_look_from_before_the_remembered_one_is_stale(
    source_epoch: int, position: int, expected: Verdict
) -> None:
    """The position guard drops what is older, first by epoch, then by position (cases 26, 43)."""
    assert compare(PLAN, IN_STEP, FINGERPRINT, source_epoch, position) is expected
    assert is_stale(IN_STEP, source_epoch, position) is (expected is Verdict.STALE)


@pytest.mark.parametrize(("field", "value"), changes(NEWS))
def test_what_is_stale_is_stale_whatever_the_entry_says(field: str, value: object) -> None:
    """An older look never counts as news, not even for a parked record (case 26)."""
    entry = replace(IN_STEP, **{field: value})
    assert compare(PLAN, entry, FINGERPRINT, EPOCH, POSITION - 1) is Verdict.STALE
