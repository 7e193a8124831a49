"""What the tests of the daemon share: a pipeline that is ready to be served."""

from pathlib import Path

import pytest

from tests.daemon.process import Place


@pytest.fixture
async def place(tmp_path: Path, pg_dsn: str) -> Place:
    """A pipeline with a dump of twenty offices and as many people, initialised."""
    made = Place(tmp_path, pg_dsn)
    await made.init()
    return made
