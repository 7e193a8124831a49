"""`init` and `validate` tell of a table of links that cannot be searched by the target's id."""

from typing import Final

import pytest

from tests.aggregates.world import ENTITIES, LEGACY, TARGET
from tests.pipeline.world import MakeDatabase, World, make_config

SENTENCE: Final = (
    '"public"."data_import_record" has no index on entity_type, target_id: '
    "every batch may read all of it"
)
INDEX: Final = "CREATE INDEX ON data_import_record "


async def told(make_database: MakeDatabase, index: str) -> tuple[list[str], list[str]]:
    """What ``init`` and ``validate`` say of that index: the latter's subjects."""
    world = World(make_config(make_database("legacy"), make_database("target"), ENTITIES))
    await world.legacy(LEGACY)
    await world.staff(TARGET, *([index] if index else []))
    done = [line for line in await world.init() if SENTENCE in line]
    async with world.app() as app:
        checks = await app.validate()
    return done, [c.subject for c in checks if (c.level, c.message) == ("warning", SENTENCE)]


@pytest.mark.parametrize(
    "index",
    [
        "",
        f"{INDEX} (target_updated_at, target_id)",
        f"{INDEX} (entity_type, target_updated_at, target_id)",
        f"{INDEX} (entity_type) INCLUDE (target_id)",
        f"{INDEX} (lower(entity_type), target_id)",
        f"{INDEX} (entity_type, target_id) WHERE entity_type = 'GROUP'",
    ],
)
async def test_links_without_an_index_are_told_by_who_asks_for_them(
    make_database: MakeDatabase, index: str
) -> None:
    """Referrals look for twins, memberships refer; a group does neither."""
    done, subjects = await told(make_database, index)
    assert done == [f"referral: {SENTENCE}", f"membership: {SENTENCE}"]
    assert subjects == ["referral", "membership"]


@pytest.mark.parametrize(
    "index", [f"{INDEX} (entity_type, target_id, imported_at)", f"{INDEX} (target_id)"]
)
async def test_links_with_an_index_are_not_told(make_database: MakeDatabase, index: str) -> None:
    assert await told(make_database, index) == ([], [])
