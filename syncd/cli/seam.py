"""The application as the verbs see it. ``syncd.app`` is it; tests put a small one in its place."""

from collections.abc import Callable, Sequence
from contextlib import AbstractAsyncContextManager
from pathlib import Path
from typing import Literal, Protocol, TypeAlias

from syncd.config import Config
from syncd.config_serve import Settings
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

Select: TypeAlias = frozenset[str] | None  # names of entities, None for all
Side: TypeAlias = Literal["source", "target"]


class App(Protocol):
    """One method for each verb; every one of them may raise any SyncdError."""

    async def init(self, *, accept_schema: Sequence[str]) -> InitReport:
        """Make the ledger and missing tables; take the present schema of the named entities."""

    async def validate(self) -> list[Check]:
        """Look at both sides without writing."""

    async def plan(self, select: Select, *, samples: int) -> RunReport:
        """A pass that writes nothing, with up to ``samples`` changes of each entity."""

    async def run(self, select: Select, *, accept_rewind: bool, progress: Progress) -> RunReport:
        """One pass."""

    async def status(self) -> StatusReport:
        """What the ledger knows."""

    async def report(self, run_id: int | None) -> MorningReport:
        """What became of a run, the last one where none is named."""

    async def post(self, message: str) -> None:
        """Send a message to the webhook of the pipeline."""

    async def relay(self) -> RelayReport:
        """Send the events that are due."""

    async def resync(self, select: Select, *, keys: Sequence[Sequence[str]]) -> int | Left:
        """Have the next pass look at these records again; how many are marked, or who does it."""

    async def parked_groups(self, select: Select) -> list[ParkedGroup]:
        """What is not in step, by reason."""

    async def parked(self, entity: str, outcome: str, reason: str) -> list[ParkedView]:
        """The first records that are not in step; "" for any outcome or reason."""

    async def replay(self, select: Select, outcome: str, reason: str) -> int | Left:
        """Have the next pass look at them as if for the first time; how many."""

    async def verify(self, select: Select) -> VerifyReport:
        """Compare both sides in full."""

    async def explain(self, entity: str, key: Sequence[str]) -> ExplainReport:
        """All about one record."""

    async def load_lookup(self, name: str, path: Path) -> LookupReport:
        """Put a file's rows in the place of what a lookup holds."""

    async def conflicts(self, select: Select, *, status: str) -> list[ConflictView]:
        """Conflicts of a status, or all."""

    async def conflict(self, conflict_id: int) -> ConflictView:
        """One conflict with its live values."""

    async def resolve(
        self, conflict_ids: Sequence[int], *, take: Side, progress: Progress
    ) -> list[ConflictView] | Left:
        """Decide conflicts."""

    async def held(self, select: Select) -> list[HeldView]:
        """Deletes that wait for a decision."""

    async def approve(
        self, entity: str, *, plan_hash: str | None, progress: Progress
    ) -> RunReport | Left:
        """Carry out what is held."""

    async def reject(self, entity: str, *, plan_hash: str | None) -> int:
        """Drop what is held; how many rows stay."""


Connect: TypeAlias = Callable[[Config], AbstractAsyncContextManager[App]]


class Served(Protocol):
    """A daemon (``syncd.daemon.daemon``)."""

    settings: Settings

    async def run(self) -> None:
        """Until it is drained."""

    def hang_up(self) -> None:
        """Read the configuration again and look at everything once more."""

    def drain(self) -> None:
        """Finish or roll back what is under way, and end."""


Build: TypeAlias = Callable[[Settings, Callable[[], Settings]], Served]
