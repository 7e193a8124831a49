"""What sends events is tested against two servers, which other people wrote apart."""

from typing import Final

import pytest

from tests.cloud import MINISTACK, MOTO

_BOTH: Final = ("test_relay", "test_fifo")


def pytest_generate_tests(metafunc: pytest.Metafunc) -> None:
    """Run these modules against each of them."""
    module = metafunc.module.__name__.rpartition(".")[2]
    if module in _BOTH and "cloud_server" in metafunc.fixturenames:
        metafunc.parametrize(
            "cloud_server", [MINISTACK, MOTO], ids=["ministack", "moto"], indirect=True,
            scope="session",
        )  # fmt: skip
