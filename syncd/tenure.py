"""The lease of a pipeline: taken, renewed, let go. A single run and the daemon hold it alike.

Only the database's clock says when it runs out, and no session lock is used (case 56, 18). Whoever
cannot renew it in time stops by itself; the fence in every transaction is what makes that safe.
"""

from typing import Final

import anyio

from syncd.errors import FencedError, SyncdError
from syncd.failpoints import failpoint
from syncd.flow.ports import Lease
from syncd.ledger.runs import Runs
from syncd.logs import Log
from syncd.meter import Meter

_log = Log("syncd.lease")
# Within the lease's time to live. In nights of a million rows on two busy cores the loop was late
# by up to 0.9 s and an answer by up to 1.4 s: between two renewals passed 2.7 s of 4 at most.
_HEARTBEATS: Final = 4
_POLLS: Final = 10  # of a lease that somebody holds, within its time to live


class Tenure:
    """What one instance, ``holder``, may do with the lease of a pipeline."""

    def __init__(self, runs: Runs, pipeline: str, holder: str, ttl_s: float, meter: Meter) -> None:
        self._runs = runs
        self._pipeline = pipeline
        self._holder = holder
        self._meter = meter
        self.ttl_s = ttl_s

    async def take(self) -> Lease:
        """Take the lease, waiting once for one that is not renewed to run out.

        Raises FencedError when another instance is alive and renews it.
        """
        for _ in range(_POLLS + 2):
            lease = await self.try_take()
            if lease is not None:
                return lease
            await failpoint("lease.wait")
            await anyio.sleep(self.ttl_s / _POLLS)
        held = await self._runs.holder() or {}
        raise FencedError(
            f"pipeline {self._pipeline}: the lease is held by "
            f"{held.get('holder', 'another instance')}",
            hint="it is alive and renews it; let it finish, or stop it",
        )

    async def try_take(self) -> Lease | None:
        """The lease, if it is free or has run out."""
        lease = await self._runs.acquire(self._holder, self.ttl_s)
        if lease is not None:
            await failpoint("lease.taken")
            self._meter.lead(is_leader=True)
        return lease

    async def left_s(self) -> float:
        """Seconds until the lease runs out if nobody renews it; 0 where nobody holds it."""
        held = await self._runs.holder()
        return max(0.0, held["left_s"]) if held is not None and held["held"] else 0.0

    async def keep(self, lease: Lease) -> None:
        """Renew until cancelled; FencedError ends everything beside it."""
        renewed_s = asked_s = anyio.current_time()
        while True:
            # The server counts from when it was asked, not from when its answer came.
            await anyio.sleep(max(0.0, asked_s + self.ttl_s / _HEARTBEATS - anyio.current_time()))
            asked_s = anyio.current_time()
            try:
                await failpoint("lease.heartbeat")
                await self._runs.keep(lease, self.ttl_s)
                renewed_s = asked_s
                await failpoint("lease.kept")
            except FencedError:
                raise
            except SyncdError as error:
                if anyio.current_time() - renewed_s > self.ttl_s:
                    raise FencedError(
                        f"pipeline {lease.pipeline}: the lease could not be renewed in time"
                    ) from error

    async def let_go(self, lease: Lease) -> None:
        """Give the lease back, also when cancelled; where that fails it runs out by itself."""
        self._meter.lead(is_leader=False)
        with anyio.move_on_after(self.ttl_s, shield=True):
            try:
                await failpoint("lease.release")
                await self._runs.release(lease)
                await failpoint("lease.released")
            except SyncdError as error:
                _log.warning("lease_not_released", reason=type(error).__name__)
