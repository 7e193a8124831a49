"""The lease does not change hands for a bad line (case 86)."""

import time
from collections.abc import Iterator
from typing import Final
from urllib.parse import urlsplit

import pytest

from syncd import embedded
from syncd.config import LedgerConfig
from tests.conftest import AnyServer
from tests.daemon.lossy import PORT, dropped, network, way_in
from tests.daemon.process import Place, Served

LOST: Final = 0.1  # of all packets, each way
CHANGES_A_MINUTE_MAX: Final = 1


@pytest.fixture
def inside(pg_server: AnyServer) -> Iterator[tuple[str, ...]]:
    """How a command is started behind the bad line."""
    if isinstance(pg_server, embedded.Server) and pg_server.socket_dir is not None:
        with network(LOST) as command:
            if command is None:
                pytest.skip("no network of our own with iptables: it needs root and Linux")
            socket = pg_server.socket_dir / f".s.PGSQL.{pg_server.port}"
            with way_in(command, str(socket)):
                yield command
    else:
        pytest.skip("the server has no Unix socket that we know of")


@pytest.mark.parametrize(
    "watched_s", [30, pytest.param(180, marks=[pytest.mark.long, pytest.mark.timeout(300)])]
)
async def test_the_lease_stays_while_one_packet_in_ten_is_lost(
    place: Place, inside: tuple[str, ...], watched_s: int
) -> None:
    """Case 86: two daemons with the default lease and work to do; at most one change a minute."""
    place.ttl_s = LedgerConfig().lease_ttl_s
    place.write(dsn=urlsplit(place.dsn)._replace(netloc=f"postgres@127.0.0.1:{PORT}").geturl())
    with Served(place, inside=inside) as first:
        first.wait("leadership_taken")
        with Served(place, inside=inside) as second:
            second.wait("serving")
            begun_s, runs = time.monotonic(), 0
            while time.monotonic() - begun_s < watched_s:
                runs += 1
                place.deliver(500, f"night{runs}")
                await place.ask()
                while await place.value(
                    "SELECT count(*) FROM $ledger.syncd_claim WHERE finished_at IS NULL"
                ):
                    time.sleep(0.2)  # noqa: ASYNC251 - the daemons work meanwhile
            changes = sum(len(d.found("leadership_taken")) for d in (first, second)) - 1
            assert changes <= CHANGES_A_MINUTE_MAX * max(1, watched_s // 60)
    assert runs > 1
    assert dropped(inside) > watched_s  # the line was bad
    assert await place.value("SELECT count(*) FROM one_staff WHERE name LIKE $1", f"night{runs} %")
