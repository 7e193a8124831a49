"""The desk as the API has it: every decision that needs a run leaves a claim for whoever leads."""

from collections.abc import Callable, Sequence
from typing import Final

from syncd.jobs.desk import LISTED_MAX, Desk, Parked, Side
from syncd.jobs.explain import Explainer
from syncd.ledger.audit import AuditLine
from syncd.ledger.claims import Claimed
from syncd.reports import (
    AuditView,
    ClaimView,
    ConflictView,
    ExplainReport,
    HeldView,
    Left,
    ParkedGroup,
    PauseView,
    RunView,
    StatusReport,
)
from syncd.site import Site

Select = frozenset[str] | None
_FINDINGS_SHOWN: Final = 100


class Office:
    """What may be asked of one site from outside; ``by`` is who asks.

    ``claimed`` is called when there is a claim, so that a leader in this process need not look.
    """

    def __init__(self, site: Site, claimed: Callable[[], None] = lambda: None) -> None:
        self._site = site
        self._claimed = claimed
        self._desk = Desk(site)
        self.entities = frozenset(site.config.entities)

    async def note(self, line: AuditLine) -> None:
        """Add a line to the audit."""
        await self._site.audit.note(line)

    async def audit(self, *, before: int, most: int) -> list[AuditView]:
        """The newest lines first."""
        return await self._site.audit.listed(before=before, most=min(most, LISTED_MAX))

    async def status(self) -> StatusReport:
        """What the ledger knows."""
        return await self._desk.status()

    async def runs(self, *, before: int, most: int) -> list[RunView]:
        """The newest runs first."""
        return await self._site.listings.runs(before=before, most=min(most, LISTED_MAX))

    async def run(self, run_id: int) -> RunView | None:
        """One run with its entities and first findings."""
        return await self._site.listings.run(run_id, findings=_FINDINGS_SHOWN)

    async def ask(self, select: Select, by: str) -> Claimed:
        """Have the entities synced."""
        claimed = await self._site.claims.ask(select, "api", by)
        self._claimed()
        return claimed

    async def claims(self, *, most: int) -> list[ClaimView]:
        """The newest claims first."""
        return await self._site.claims.listed(min(most, LISTED_MAX))

    async def claim(self, claim_id: int) -> ClaimView | None:
        """One claim."""
        return await self._site.claims.one(claim_id)

    async def pauses(self) -> list[PauseView]:
        """What rests."""
        return await self._site.pauses.listed()

    async def pause(self, entity: str, reason: str, by: str) -> None:
        """Let an entity rest, or with "" the pipeline."""
        await self._site.pauses.pause(entity, reason, by)

    async def resume(self, entity: str) -> bool:
        """Let it go on; false when it did not rest."""
        return await self._site.pauses.resume(entity)

    async def resync(self, select: Select, keys: Sequence[Sequence[str]], by: str) -> Left:
        """Look again at all records of the entities, or at ``keys`` of one."""
        records = await self._desk.resync(select, keys=keys)
        return await self._left(records, select, by)

    async def conflicts(
        self, select: Select, *, status: str, after: int, most: int
    ) -> list[ConflictView]:
        """Conflicts of a status or ``all``, oldest first."""
        return await self._desk.conflicts(select, status=status, after=after, most=most)

    async def entity_of_conflict(self, conflict_id: int) -> str | None:
        """The entity that a conflict is about."""
        return await self._desk.entity_of_conflict(conflict_id)

    async def conflict(self, conflict_id: int) -> ConflictView:
        """One conflict with its live values."""
        return await self._desk.conflict(conflict_id)

    async def resolve(self, conflict_id: int, take: Side, by: str) -> Left:
        """Decide a conflict; only for the source is there anything left to run."""
        entities = await self._desk.decide([conflict_id], take)
        return await self._left(1, entities, by) if entities else Left(1, 0, coalesced=False)

    async def held(self, select: Select) -> list[HeldView]:
        """Deletes that wait for a decision."""
        return await self._desk.held(select)

    async def approve(self, entity: str, plan: str, by: str) -> Left:
        """Have exactly the deletes of this plan carried out."""
        records = await self._desk.decide_held(entity, plan, "approved")
        return await self._left(records, frozenset({entity}), by)

    async def reject(self, entity: str, plan: str) -> int:
        """Keep exactly the rows of this plan; how many."""
        return await self._desk.decide_held(entity, plan, "rejected")

    async def parked_groups(self) -> list[ParkedGroup]:
        """What is not in step, by entity, outcome and reason."""
        return await self._site.listings.parked_groups(most=LISTED_MAX)

    async def parked(
        self, entity: str, outcome: str, reason: str, *, after: str, most: int
    ) -> Parked:
        """Records that are not in step."""
        return await self._desk.parked(entity, outcome, reason, after=after, most=most)

    async def replay(self, entity: str, outcome: str, reason: str, by: str) -> Left:
        """Look again at what is parked."""
        records = await self._desk.replay(entity, outcome, reason)
        return await self._left(records, frozenset({entity}), by)

    async def explain(self, entity: str, key: Sequence[str]) -> ExplainReport:
        """All about one record."""
        return await Explainer(self._site).explain(entity, key)

    async def _left(self, records: int, select: Select, by: str) -> Left:
        claimed = await self.ask(select, by)
        return Left(records, claimed.claim_id, claimed.coalesced)
