"""One world and one zygote for many cells: each goes on where the one before left off."""

from collections.abc import AsyncIterator, Iterator
from pathlib import Path

import pytest

from tests.crash.zygote import Zygote
from tests.failpoints.world import Cells
from tests.pipeline.world import MakeDatabase


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """One process per worker that has imported everything and forks runs on demand."""
    with Zygote() as process:
        yield process


@pytest.fixture
async def cells(make_database: MakeDatabase, tmp_path: Path) -> AsyncIterator[Cells]:
    """A world that is filled, loaded and in step."""
    async with Cells.open(make_database("legacy"), make_database("target"), tmp_path, 4) as world:
        yield world
