"""The worked examples of the merge rule through the whole pipeline, one referral for each.

Referral 4 is example 4, and so on; the column is ``event_id``, A is what the first night brought.
Example 14, a race, is proved where races are (``tests/pipeline/test_staff_writers.py``).
"""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from typing import Final

from tests.interventions.world import Interventions, change, gone, recent, uuid_of
from tests.pipeline.world import told

EXAMPLES: Final = range(1, 16)
EVENTS: Final = """
SELECT i.source_id, r.event_id FROM data_import_record i JOIN referral r ON r.id = i.target_id
WHERE i.entity_type = 'REFERRAL'
"""


def im(number: int, event: str, **more: object) -> str:
    """IM says another event; its time of update is not to be trusted."""
    return change(number, SourcedFromID=event, **more)


def staff(number: int, assignment: str) -> str:
    """Somebody saves a referral in M&D, which moves ``updated_at``."""
    return f"UPDATE referral SET {assignment}, updated_at = now() WHERE crn = 'X{number:06}'"


def deleted(number: int) -> list[str]:
    """Somebody deletes a referral in M&D."""
    of = f"IN (SELECT id FROM referral WHERE crn = 'X{number:06}')"
    parts = ("reporting_location", "status_history", "cohort_history")
    statements = [f"DELETE FROM referral_{part} WHERE referral_id {of}" for part in parts]
    return [*statements, f"DELETE FROM referral WHERE id {of}"]


async def test_the_examples_end_as_the_page_says(interventions: Interventions) -> None:
    """Four nights with what each example asks for between them."""
    await interventions.begin(*(recent(number, SourcedFromID="A") for number in EXAMPLES))
    assert told(await interventions.night(), "referral") == {"seen": 15, "inserted": 15}
    await interventions.staff(
        *(staff(number, "event_id = 'X'") for number in (3, 4, 9, 10)),
        staff(5, "event_id = event_id"),
        staff(6, "event_id = event_id"),
        staff(7, "crn = 'Y000007'"),
        staff(8, "event_id = 'B'"),
        staff(15, "sourced_from = 'LICENCE_CONDITION'"),
        *deleted(13),
    )
    await interventions.im(
        *(im(number, "B") for number in (2, 5, 6, 7, 8, 9, 10, 13, 15)),
        im(11, "B", UpdateTs=None),
        gone(12),
    )
    night = await interventions.night()
    assert told(night, "referral")["conflict"] == 4
    await interventions.im(im(4, "B"), im(8, "C"), im(9, "A"), im(13, "C"))
    await interventions.staff(staff(10, "event_id = 'A'"))
    await interventions.night()
    await interventions.im()
    await interventions.night()
    found = {int(key[-12:]): event for key, event in await interventions.rows(EVENTS)}
    assert found == {
        1: "A", 2: "B", 3: "X", 4: "X", 5: "B", 6: "B", 7: "B", 8: "C", 9: "X", 10: "B", 11: "B",
        12: "A", 14: "A", 15: "A",
    }  # fmt: skip
    assert await interventions.value("SELECT crn FROM referral WHERE crn LIKE 'Y%'") == "Y000007"
    open_ones = {int(c.key[0][-12:]) for c in await interventions.open_conflicts()}
    assert open_ones - {13} == {4, 15}
    assert await interventions.state("referral", uuid_of(13)) == "tgt_deleted"
