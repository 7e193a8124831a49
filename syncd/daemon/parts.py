"""What lives as long as the daemon does.

    Daemon
    ├── beat, reload                      the daemon's own
    ├── Part ...                          the listener, ...
    └── PipelineLoop (a Part) ...
        ├── look, wishes                  any instance
        └── while this instance leads:    the lease, claims, inboxes, relay, retention

A task ends when it is cancelled, or it ends what it stands in; nobody is left behind.
"""

from collections.abc import Callable, Coroutine, Sequence
from typing import Any, Protocol, TypeAlias, runtime_checkable

from msgspec import Struct

from syncd.config_serve import Service
from syncd.flow.ports import Lease
from syncd.ledger.claims import Claims
from syncd.ledger.pulse import Pulse
from syncd.progress import Progress
from syncd.reports import RunReport
from syncd.retry import Retry
from syncd.tenure import Tenure

Started: TypeAlias = Callable[[], None]
Step: TypeAlias = Callable[[], Coroutine[Any, Any, None]]
Forever: TypeAlias = Step  # until it is cancelled


class Part(Protocol):
    """Something that runs until it is cancelled."""

    @property
    def name(self) -> str:
        """Its name in ``/health`` and in the log."""

    async def run(self, started: Started) -> None:
        """Work; ``started`` is called once it does. What it raises ends the daemon."""


@runtime_checkable
class Heeding(Protocol):
    """A part that takes other settings while it runs."""

    def heed(self, service: Service) -> Callable[[], None]:
        """What puts them in effect. Raises ConfigError, and then nothing has changed."""


class Work(Protocol):
    """What makes a pass (``syncd.jobs.runner``)."""

    async def run_under(
        self,
        lease: Lease,
        select: frozenset[str] | None,
        *,
        accept_rewind: bool,
        progress: Progress,
        numbered: Callable[[int], None],
    ) -> RunReport:
        """One pass under a lease that the caller renews; raises any SyncdError."""

    async def prune(self) -> None:
        """Remove from the ledger what is past its retention, at most once a day."""


class Bench(Struct, frozen=True):
    """All that one pipeline works with under one configuration; ``close`` ends it.

    What one of ``led`` raises ends the leadership, and with it the run that is under way: trouble
    that may pass is its own business.
    """

    entities: tuple[str, ...]
    interval_s: float | None
    stale_after_s: float | None
    tenure: Tenure
    claims: Claims
    pulse: Pulse
    work: Work
    retry: Retry
    assert_ready: Step  # raises ConfigError where the ledger is not there
    see_source: Step  # raises SyncdError where the source cannot be reached
    see_standings: Step  # tells the meter what waits for somebody
    led: Callable[[Lease], Sequence[Forever]]  # inboxes and the relay, while this instance leads
    close: Step
