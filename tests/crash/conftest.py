"""One zygote for all crash tests of a worker."""

from collections.abc import Iterator

import pytest

from tests.crash.zygote import Zygote


@pytest.fixture(scope="session")
def zygote() -> Iterator[Zygote]:
    """A process that forks the runs of all series."""
    with Zygote() as process:
        yield process
