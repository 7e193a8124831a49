"""Worlds of aggregates: a legacy database and a target with several tables."""

from collections.abc import Awaitable
from typing import Any, Protocol

import pytest

from tests.aggregates.world import ENTITIES, LEGACY, TARGET
from tests.pipeline.world import MakeDatabase, World, make_config


class MakeAggregates(Protocol):
    """See ``make_aggregates``."""

    def __call__(self, *legacy: str, staff: str = "", **config: Any) -> Awaitable[World]: ...


@pytest.fixture
def make_aggregates(make_database: MakeDatabase) -> MakeAggregates:
    """Makes a world of referrals, groups and memberships; ``staff`` runs before the first night."""

    async def make(*legacy: str, staff: str = "", **config: Any) -> World:
        entities = config.pop("entities", ENTITIES)
        world = World(
            make_config(make_database("legacy"), make_database("target"), entities, **config)
        )
        await world.legacy(LEGACY, *legacy)
        await world.staff(TARGET, *([staff] if staff else []))
        await world.init()
        return world

    return make
