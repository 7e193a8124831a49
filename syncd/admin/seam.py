"""What the API may ask of one pipeline. The application is it; tests put a small one in its place.

Nothing here runs anything: what must be done is asked for as a claim, and whoever leads does it.
Every method may raise any SyncdError.
"""

from collections.abc import Mapping, Sequence
from typing import Literal, Protocol, TypeAlias

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
    ParkedView,
    PauseView,
    RunView,
    StatusReport,
)

Select: TypeAlias = frozenset[str] | None  # names of entities, None for all
Side: TypeAlias = Literal["source", "target"]


class ParkedPage(Protocol):
    """A page of records that are not in step."""

    @property
    def records(self) -> tuple[ParkedView, ...]:
        """The records."""

    @property
    def after(self) -> str:
        """Where the next page begins; "" where there is none."""


class Desk(Protocol):
    """One pipeline. ``by`` is who asks; ``most`` is at most 1,000."""

    @property
    def entities(self) -> frozenset[str]:
        """The names of its entities."""

    async def note(self, line: AuditLine) -> None:
        """Add a line to the audit."""

    async def audit(self, *, before: int, most: int) -> list[AuditView]:
        """The newest lines first."""

    async def status(self) -> StatusReport:
        """What the ledger knows."""

    async def runs(self, *, before: int, most: int) -> list[RunView]:
        """The newest runs first."""

    async def run(self, run_id: int) -> RunView | None:
        """One run with its entities and first findings."""

    async def ask(self, select: Select, by: str) -> Claimed:
        """Have the entities synced."""

    async def claims(self, *, most: int) -> list[ClaimView]:
        """The newest claims first."""

    async def claim(self, claim_id: int) -> ClaimView | None:
        """One claim."""

    async def pauses(self) -> list[PauseView]:
        """What rests."""

    async def pause(self, entity: str, reason: str, by: str) -> None:
        """Let an entity rest, or with "" the pipeline."""

    async def resume(self, entity: str) -> bool:
        """Let it go on; false when it did not rest."""

    async def resync(self, select: Select, keys: Sequence[Sequence[str]], by: str) -> Left:
        """Look again at all records of the entities, or at ``keys`` of one."""

    async def conflicts(
        self, select: Select, *, status: str, after: int, most: int
    ) -> list[ConflictView]:
        """Conflicts of a status or ``all``, oldest first."""

    async def entity_of_conflict(self, conflict_id: int) -> str | None:
        """The entity that a conflict is about."""

    async def conflict(self, conflict_id: int) -> ConflictView:
        """One conflict with its live values."""

    async def resolve(self, conflict_id: int, take: Side, by: str) -> Left:
        """Decide a conflict."""

    async def held(self, select: Select) -> list[HeldView]:
        """Deletes that wait for a decision."""

    async def approve(self, entity: str, plan: str, by: str) -> Left:
        """Have exactly the deletes of this plan carried out."""

    async def reject(self, entity: str, plan: str) -> int:
        """Keep exactly the rows of this plan; how many."""

    async def parked_groups(self) -> list[ParkedGroup]:
        """What is not in step, by entity, outcome and reason."""

    async def parked(
        self, entity: str, outcome: str, reason: str, *, after: str, most: int
    ) -> ParkedPage:
        """Records that are not in step."""

    async def replay(self, entity: str, outcome: str, reason: str, by: str) -> Left:
        """Look again at what is parked."""

    async def explain(self, entity: str, key: Sequence[str]) -> ExplainReport:
        """All about one record."""


Desks: TypeAlias = Mapping[str, Desk]
