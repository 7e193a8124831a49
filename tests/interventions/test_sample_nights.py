"""A whole sample through the pipeline: every entity, every reason, nights, and both ways in."""

from typing import Any, Final

import pytest
from msgspec.structs import replace

from config.interventions.sample.__main__ import load, pass_night
from config.interventions.sample.legacy import Legacy
from tests.interventions.world import SCHEMAS, Interventions, configured
from tests.odbc.world import PSQLODBC, config_of
from tests.pipeline.world import MakeDatabase, entity_of, told

REFERRALS: Final = 1200
NUMBERS: Final = "INSERT INTO im_data_import.iaps_licreqnos (source_referral_id, licreqno) VALUES "
INVISIBLE: Final = """
SELECT count(*) FROM referral r WHERE NOT EXISTS
    (SELECT FROM referral_caselist_item_view v WHERE v.referral_id = r.id)
"""
UNLINKED: Final = """
SELECT count(*) FROM data_import_record i WHERE NOT EXISTS (
    SELECT FROM referral WHERE id = i.target_id UNION ALL
    SELECT FROM programme_group WHERE id = i.target_id UNION ALL
    SELECT FROM programme_group_membership WHERE id = i.target_id UNION ALL
    SELECT FROM session WHERE id = i.target_id UNION ALL
    SELECT FROM attendee WHERE id = i.target_id UNION ALL
    SELECT FROM session_attendance WHERE id = i.target_id)
"""
CONTENT: Final = """
SELECT r.crn, r.person_name, r.event_id, r.sex, r.date_of_birth::text, l.reporting_team,
       (SELECT string_agg(h.created_at::text, ',' ORDER BY h.created_at)
        FROM referral_status_history h WHERE h.referral_id = r.id)
FROM referral r JOIN referral_reporting_location l ON l.referral_id = r.id
ORDER BY r.crn, r.event_id
"""


async def begin(world: Interventions, dsn: str) -> Legacy:
    """The sample as it stands before the first night, and its numbers in the lookup."""
    legacy = Legacy(REFERRALS)
    await load(legacy, dsn)
    await world.staff(
        (SCHEMAS / "manage_and_deliver.sql").read_text("utf-8"),
        (SCHEMAS / "data_import_record.sql").read_text("utf-8"),
        (SCHEMAS / "staging.sql").read_text("utf-8"),
        NUMBERS + ", ".join(f"('{key}', '{number}')" for key, number in legacy.numbers()),
    )
    await world.init()
    return legacy


async def test_nights_of_a_sample_add_up(
    interventions: Interventions,
) -> None:
    """First night, the same dump again, a night of changes: sums, reasons, links, no work."""
    source: Any = interventions.config.source
    legacy = await begin(interventions, source.dsn.value)
    first = await interventions.night()
    assert {e.name: e.status for e in first.entities} == dict.fromkeys(
        ("referral", "group", "membership", "session", "attendee", "attendance"), "completed"
    )
    assert told(first, "referral")["inserted"] > REFERRALS * 0.8
    assert told(first, "group") == {"seen": REFERRALS // 5, "inserted": REFERRALS // 5}
    assert told(first, "session") == {"seen": REFERRALS // 5, "inserted": REFERRALS // 5}
    async with interventions.app() as app:
        told_of = (await app.report(None)).entities[0]
    skipped = {reason.reason: reason.records for reason in told_of.reasons}
    assert skipped.keys() == {
        "missing_crn",
        "unknown_sourced_from",
        "missing_reporting_location",
        "missing_licreqno",
        "ambiguous_licreqno",
    }
    assert sum(skipped.values()) == told(first, "referral")["skipped"]
    assert await interventions.value(INVISIBLE) == 0
    assert await interventions.value(UNLINKED) == 0
    writes = await interventions.updates_of("referral")
    again = await interventions.night()
    assert not any(e.counts.inserted + e.counts.updated for e in again.entities)
    assert "not copied again" in entity_of(again, "group").notes[0]
    assert await interventions.updates_of("referral") == writes
    await pass_night(legacy, source.dsn.value)
    night = await interventions.night()
    assert told(night, "referral")["updated"] >= 1
    assert told(night, "group")["inserted"] >= 1
    assert await interventions.value(UNLINKED) == 0


@pytest.mark.skipif(not PSQLODBC, reason="psqlODBC is not installed")
async def test_by_odbc_the_same_rows_come_as_by_copy(
    interventions: Interventions, make_database: MakeDatabase
) -> None:
    """The very same files, the way that a SQL Server is read."""
    source: Any = interventions.config.source
    await begin(interventions, source.dsn.value)
    await interventions.night("referral", "group")
    other = Interventions(configured(source.dsn.value, make_database("by_odbc")))
    await begin(other, source.dsn.value)
    other.config = replace(other.config, source=config_of(source.dsn.value))
    night = await other.night("referral", "group")
    referral = entity_of(night, "referral")
    assert referral.status == "completed", referral.notes
    assert await other.rows(CONTENT) == await interventions.rows(CONTENT)
    assert "not copied again" in entity_of(await other.night("referral"), "referral").notes[0]
