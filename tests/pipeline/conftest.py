"""Worlds for the end-to-end tests: two fresh databases each, dropped when the test ends."""

from collections.abc import Awaitable, Mapping, Sequence
from typing import Any, Protocol

import pytest

from syncd.config import Entity
from tests.pipeline.world import MakeDatabase, World, make_config

CASES = Entity(from_="cases", key=("id",), into="public.cases")


class MakeWorld(Protocol):
    """See ``make_world``."""

    def __call__(
        self,
        legacy: Sequence[str],
        entities: Mapping[str, Entity],
        target: Sequence[str] = (),
        **config: Any,
    ) -> Awaitable[World]: ...


@pytest.fixture
def make_world(make_database: MakeDatabase) -> MakeWorld:
    """Makes a world: statements for the legacy database, entities, statements for the target.

    The target's statements run before ``init``, which has been called when it returns.
    """

    async def make(
        legacy: Sequence[str],
        entities: Mapping[str, Entity],
        target: Sequence[str] = (),
        **config: Any,
    ) -> World:
        world = World(
            make_config(make_database("legacy"), make_database("target"), entities, **config)
        )
        await world.legacy(*legacy)
        await world.staff(*target)
        await world.init()
        return world

    return make


@pytest.fixture
async def cases(make_world: MakeWorld) -> World:
    """One entity with one record: cases (id 1, status A, note n), seen by no night yet."""
    return await make_world(
        [
            "CREATE TABLE cases (id int PRIMARY KEY, status text, note text, updated timestamptz)",
            "INSERT INTO cases VALUES (1, 'A', 'n', '2020-01-01Z')",
        ],
        {"cases": CASES},
    )
