"""The rights that docs/interventions.md asks for, and no night with fewer than it needs."""

import re
import uuid
from pathlib import Path
from typing import Any, Final
from urllib.parse import quote, urlsplit

from msgspec.structs import replace

from syncd.config import PostgresTarget, Secret
from syncd.progress import Silent
from tests.conftest import REPOSITORY
from tests.interventions.world import (
    GROUP,
    SLOT,
    Interventions,
    change,
    insert,
    recent,
    referral,
    uuid_of,
)
from tests.pipeline.world import told

PAGE: Final = (REPOSITORY / "docs" / "interventions.md").read_text("utf-8")
LEDGER: Final = (
    "GRANT USAGE ON SCHEMA syncd TO syncd_writer",
    "GRANT SELECT, INSERT, UPDATE, DELETE ON ALL TABLES IN SCHEMA syncd TO syncd_writer",
)


def granted(role: str) -> list[str]:
    """The statements of the page, for a role of another name."""
    block = re.search(r"```sql\n(.*?)```", PAGE, re.DOTALL)
    assert block is not None
    statements = [*LEDGER, *filter(str.strip, re.sub(r"--.*", "", block[1]).split(";"))]
    return [statement.replace("syncd_writer", role) for statement in statements]


async def test_a_night_needs_no_more_rights_than_the_page_says(
    interventions: Interventions, tmp_path: Path
) -> None:
    """The lookup is loaded and a night runs, as a role that has these grants alone."""
    role, owner = f"importer_{uuid.uuid4().hex[:8]}", interventions.config.target
    await interventions.begin(
        referral(1),
        recent(2),
        insert("ProgrammeGroup", GROUP),
        insert("GroupSlot", {**SLOT, "SlotID": uuid_of(201), "DayNumber": 1}),
    )
    url: Any = urlsplit(owner.dsn.value)
    place = url.netloc.rpartition("@")[2]
    dsn = url._replace(netloc=f"{role}:{quote('change me')}@{place}").geturl()
    await interventions.staff(f"CREATE ROLE {role} LOGIN PASSWORD 'change me'", *granted(role))
    try:
        as_role = PostgresTarget(dsn=Secret(dsn))
        interventions.config = replace(interventions.config, target=as_role)
        await interventions.numbers(tmp_path, (1, "31001"))
        async with interventions.app() as app:
            report = await app.run(None, accept_rewind=False, progress=Silent())
        assert told(report, "referral") == {"seen": 2, "inserted": 2}
        await interventions.im(
            change(2, SourcedFromID="77", StatusCode="AL", StatusTs="2026-02-20"),
            "UPDATE dbo.GroupSlot SET StartTime = '20:00'",
        )
        async with interventions.app() as app:
            report = await app.run(None, accept_rewind=False, progress=Silent())
        assert told(report, "referral") == {"seen": 2, "updated": 1, "unchanged": 1}
        assert told(report, "group") == {"seen": 1, "updated": 1}
    finally:
        interventions.config = replace(interventions.config, target=owner)
        await interventions.staff(f"DROP OWNED BY {role} CASCADE", f"DROP ROLE {role}")
