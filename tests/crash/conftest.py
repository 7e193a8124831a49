"""What the crash tests share: the process that forks their runs."""

from collections.abc import Iterator

import pytest

from tests.crash.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """One process per worker that has imported everything and forks runs on demand."""
    with Zygote() as process:
        yield process
