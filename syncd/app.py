"""The composition root: a configuration becomes a site, its jobs and the verbs that use them."""

from collections.abc import AsyncIterator, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final, Literal

from syncd.config import Config
from syncd.errors import ConfigError, PermanentError
from syncd.jobs.desk import Desk
from syncd.jobs.explain import Explainer
from syncd.jobs.lookups import Lookups
from syncd.jobs.morning import MorningReporter
from syncd.jobs.relay import Relay
from syncd.jobs.review import Review
from syncd.jobs.runner import Runner
from syncd.jobs.setup import Setup
from syncd.jobs.verify import Verifier
from syncd.meter import Meter, Unmetered
from syncd.progress import Progress
from syncd.reports import (
    Check,
    ConflictView,
    ExplainReport,
    HeldView,
    InitReport,
    Left,
    LookupReport,
    MorningReport,
    ParkedGroup,
    ParkedView,
    RelayReport,
    RunReport,
    StatusReport,
    VerifyReport,
)
from syncd.rotation import taken
from syncd.site import Site

Select = frozenset[str] | None
PARKED_SHOWN: Final = 100


class App:
    """One pipeline and its verbs. Each may raise any SyncdError; see the jobs for what they do.

    ``meter`` counts what is done; a command that ends at once needs none.
    """

    def __init__(self, site: Site, meter: Meter | None = None) -> None:
        self._site = site
        self._meter = meter or Unmetered()
        self._runner = Runner(site, self._meter)
        self._desk = Desk(site)
        self._review = Review(site, self._desk, self._runner)

    async def init(self, *, accept_schema: Sequence[str] = ()) -> InitReport:
        """Make ledger and tables, pin schemas."""
        return await Setup(self._site).init(accept_schema)

    async def validate(self) -> list[Check]:
        """Check everything, write nothing."""
        return await Setup(self._site).validate()

    async def plan(self, select: Select, *, samples: int) -> RunReport:
        """What a run would do."""
        return await self._runner.plan(select, samples=samples)

    async def run(self, select: Select, *, accept_rewind: bool, progress: Progress) -> RunReport:
        """One pass."""
        return await self._runner.run(select, accept_rewind=accept_rewind, progress=progress)

    async def status(self) -> StatusReport:
        """What the ledger knows."""
        return await self._desk.status()

    async def report(self, run_id: int | None) -> MorningReport:
        """What became of a run."""
        return await MorningReporter(self._site).report(run_id)

    async def post(self, message: str) -> None:
        """Send a message to ``report.webhook``; ConfigError where there is none."""
        from syncd.publish.webhook import post  # noqa: PLC0415 - it brings aiohttp.

        found = self._site.config.report
        if found is None:
            raise ConfigError(
                "report.webhook: expected the address of a webhook, found nothing",
                hint="add report: {webhook: ...} to the pipeline's file, as a secret",
            )

        async def send(url: str) -> None:
            await post(url, message, timeout_s=found.timeout_s)

        await self._site.retry(
            lambda: taken(found.webhook, send, "posting the report", PermanentError)
        )

    async def relay(self) -> RelayReport:
        """Send events."""
        events = self._site.config.events
        if events is None:
            raise ConfigError("events: expected the place that events go to, found nothing")
        return await Relay(self._site, events).once(self._runner.tenure)

    async def resync(self, select: Select, *, keys: Sequence[Sequence[str]]) -> int | Left:
        """Have the next run look again."""
        return await self._review.resync(select, keys=keys)

    async def parked_groups(self, select: Select) -> list[ParkedGroup]:
        """What is not in step, by reason."""
        return await self._desk.parked_groups(select)

    async def parked(self, entity: str, outcome: str, reason: str) -> list[ParkedView]:
        """The first records that are not in step."""
        page = await self._desk.parked(entity, outcome, reason, after="", most=PARKED_SHOWN)
        return list(page.records)

    async def replay(self, select: Select, outcome: str, reason: str) -> int | Left:
        """Have the next run look at them as if for the first time."""
        return await self._review.replay(select, outcome, reason)

    async def verify(self, select: Select) -> VerifyReport:
        """Compare both sides in full."""
        return await Verifier(self._site, self._meter).verify(select)

    async def explain(self, entity: str, key: Sequence[str]) -> ExplainReport:
        """All about one record."""
        return await Explainer(self._site).explain(entity, key)

    async def load_lookup(self, name: str, path: Path) -> LookupReport:
        """Fill a lookup from a file."""
        return await Lookups(self._site).load(name, path)

    async def conflicts(self, select: Select, *, status: str) -> list[ConflictView]:
        """Conflicts of a status."""
        return await self._desk.conflicts(select, status=status)

    async def conflict(self, conflict_id: int) -> ConflictView:
        """One conflict with its live values."""
        return await self._desk.conflict(conflict_id)

    async def resolve(
        self,
        conflict_ids: Sequence[int],
        *,
        take: Literal["source", "target"],
        progress: Progress,
    ) -> list[ConflictView] | Left:
        """Decide conflicts."""
        return await self._review.resolve(conflict_ids, take=take, progress=progress)

    async def held(self, select: Select) -> list[HeldView]:
        """Deletes that wait."""
        return await self._desk.held(select)

    async def approve(
        self, entity: str, *, plan_hash: str | None, progress: Progress
    ) -> RunReport | Left:
        """Approve held deletes and run."""
        return await self._review.approve(entity, plan_hash=plan_hash, progress=progress)

    async def reject(self, entity: str, *, plan_hash: str | None) -> int:
        """Keep what was to be deleted."""
        return await self._desk.decide_held(entity, plan_hash, "rejected")


@asynccontextmanager
async def connect(config: Config) -> AsyncIterator[App]:
    """The application for one configuration; every connection is closed at the end."""
    site = Site(config)
    try:
        yield App(site)
    finally:
        await site.close()
