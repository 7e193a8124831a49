"""A small application in the place of the real one, and the command line before it."""

from collections.abc import AsyncIterator, Awaitable, Callable, Sequence
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any, Final

import anyio
import anyio.lowlevel
from typer.testing import CliRunner, Result

from syncd.cli.main import app
from syncd.cli.shell import Shell
from syncd.config import Config
from syncd.flow.model import Counts, Issue, Severity
from syncd.progress import Progress
from syncd.reports import (
    Backlog,
    Check,
    ColumnView,
    ConflictView,
    EntityReport,
    EntityStatus,
    ExplainReport,
    HeldView,
    HistoryLine,
    InitReport,
    LookupReport,
    Mismatch,
    MorningEntity,
    MorningReport,
    ParkedGroup,
    ParkedView,
    Reason,
    RelayReport,
    RunReport,
    Sample,
    StatusReport,
    VerifyReport,
)

PIPELINE: Final = """\
pipeline: airports
source: {kind: files, path: dumps}
target: {kind: postgres, dsn: "${DSN}"}
entities:
  countries: {from: countries.csv, key: [id], into: countries}
  regions: {from: regions.csv, key: [country, code], into: regions}
"""
MORNING: Final = MorningReport(
    "airports",
    12,
    "parked",
    "2026-01-02T03:04:05Z",
    1.25,
    (
        MorningEntity(
            "countries",
            "completed",
            Counts(seen=9, inserted=1, unchanged=4, skipped=3, invalid=1),
            0.5,
            reasons=(
                Reason("skipped", "missing_licreqno", 2),
                Reason("skipped", "*ambiguous* | @all", 1),
                Reason("invalid", "without a usable key", 1),
            ),
            findings=(Reason("error", "null_key:id", 1),),
            notes=("one note",),
            open_conflicts=2,
            held_deletes=60,
        ),
    ),
)
DSN: Final = "postgresql://app:kanarie-0001@db/new"


def report(*entities: EntityReport, status: str = "completed", run_id: int = 12) -> RunReport:
    """A run of these entities."""
    return RunReport(run_id, "airports", status, "2026-01-02T03:04:05Z", 1.25, entities)


def entity(name: str = "countries", status: str = "completed", **counts: int) -> EntityReport:
    """One entity with these counts."""
    return EntityReport(name, status, Counts(**counts), 0.5)


FULL: Final = EntityReport(
    "countries",
    "completed",
    Counts(seen=9, inserted=1, updated=2, unchanged=3, conflict=1, invalid=1, held=1),
    0.5,
    notes=("new columns at the source are not mapped: x",),
    findings=(Issue(Severity.ERROR, "bad_integer", "length_ft", "runways.csv:17"),),
    findings_total=4,
    samples=(Sample("updated", ("NL",), ("name",), "changed"),),
    open_conflicts=3,
)
CONFLICT: Final = ConflictView(
    3, "countries", ("NL",), "name", "both_changed", "open", "2026-01-02", 12, "A", None
)
HELD: Final = HeldView(
    "countries", 120, 240, "above 50 rows and 0.5 %", "4f2a90", "2026-01-02", (("NL",), ("BE",))
)


COLUMN: Final = ColumnView(
    column="name",
    ownership="merge",
    source="A",
    target=None,
    source_changed=True,
    target_changed=False,
    verdict="target wins",
)


class FakeApp:
    """Answers with what a test put in; notes what it was asked."""

    def __init__(self) -> None:
        self.asked: list[tuple[Any, ...]] = []
        self.run_report = report(entity(seen=2, unchanged=2), entity("regions"))
        self.relay_report = RelayReport("airports", 3, 0, Backlog())
        self.checks = [Check("ok", "target", "connected")]
        self.differences = {"countries": {"equal": 5, "kept": 1}}
        self.held_views = [HELD]
        self.act: Callable[[], Awaitable[None]] | None = None
        self.closed = False

    async def _note(self, *asked: Any) -> None:
        self.asked.append(asked)
        if self.act is not None:
            await self.act()

    async def init(self, *, accept_schema: Sequence[str] = ()) -> InitReport:
        await self._note("init", tuple(accept_schema))
        return InitReport(("made the ledger", "made countries"))

    async def validate(self) -> list[Check]:
        await self._note("validate")
        return self.checks

    async def plan(self, select: frozenset[str] | None, *, samples: int) -> RunReport:
        await self._note("plan", select, samples)
        return self.run_report

    async def run(
        self, select: frozenset[str] | None, *, accept_rewind: bool, progress: Progress
    ) -> RunReport:
        await self._note("run", select, accept_rewind)
        progress.start("countries", 2)
        progress.advance("countries", 2)
        progress.finish("countries")
        return self.run_report

    async def status(self) -> StatusReport:
        await self._note("status")
        one = EntityStatus(
            "countries", 5, {"invalid": 2}, 3, 0, "2026-01-01", "completed", "lost x"
        )
        two = EntityStatus("regions", 0, {}, 0, 0, "", "")
        return StatusReport("airports", "host-1", 4, 12, "parked", (one, two))

    async def report(self, run_id: int | None) -> MorningReport:
        await self._note("report", run_id)
        return MORNING

    async def post(self, message: str) -> None:
        await self._note("post", message.splitlines()[0])

    async def relay(self) -> RelayReport:
        await self._note("relay")
        return self.relay_report

    async def parked_groups(self, select: frozenset[str] | None) -> list[ParkedGroup]:
        await self._note("parked_groups", select)
        return [ParkedGroup("countries", "failed", "23514:size", 2, "2026-01-01T00:00:00Z")]

    async def parked(self, entity: str, outcome: str, reason: str) -> list[ParkedView]:
        await self._note("parked", entity, outcome, reason)
        return [ParkedView(entity, ("NL",), "failed", "23514:size", 12, "2026-01-01T00:00:00Z")]

    async def replay(self, select: frozenset[str] | None, outcome: str, reason: str) -> int:
        await self._note("replay", select, outcome, reason)
        return 2

    async def resync(self, select: frozenset[str] | None, *, keys: Sequence[Sequence[str]]) -> int:
        await self._note("resync", select, [list(key) for key in keys])
        return 2

    async def verify(self, select: frozenset[str] | None) -> VerifyReport:
        await self._note("verify", select)
        return VerifyReport(
            self.differences, (Mismatch("countries", "different", ("NL",), ("name",)),)
        )

    async def explain(self, entity: str, key: Sequence[str]) -> ExplainReport:
        await self._note("explain", entity, tuple(key))
        return ExplainReport(
            entity=entity,
            key=tuple(key),
            known=True,
            state="live",
            present=True,
            incarnation=1,
            position=7,
            outcome="conflict",
            reason="both changed",
            run_id=12,
            in_source=True,
            in_target=False,
            columns=(COLUMN,),
            history=(HistoryLine("2026-01-01", 11, "inserted", "", ("name",), ()),),
        )

    async def load_lookup(self, name: str, path: Path) -> LookupReport:
        await self._note("load_lookup", name, path.name)
        return LookupReport(name, rows=5, before=4, several=1)

    async def conflicts(self, select: frozenset[str] | None, *, status: str) -> list[ConflictView]:
        await self._note("conflicts", select, status)
        return [CONFLICT]

    async def conflict(self, conflict_id: int) -> ConflictView:
        await self._note("conflict", conflict_id)
        return CONFLICT

    async def resolve(
        self, conflict_ids: Sequence[int], *, take: str, progress: Progress
    ) -> list[ConflictView]:
        progress.finish("countries")
        await self._note("resolve", list(conflict_ids), take)
        return []

    async def held(self, select: frozenset[str] | None) -> list[HeldView]:
        await self._note("held", select)
        return self.held_views

    async def approve(self, entity: str, *, plan_hash: str | None, progress: Progress) -> RunReport:
        progress.finish(entity)
        await self._note("approve", entity, plan_hash)
        return self.run_report

    async def reject(self, entity: str, *, plan_hash: str | None) -> int:
        await self._note("reject", entity, plan_hash)
        return 120


class Syncd:
    """Runs ``syncd`` with arguments; the result has ``exit_code``, ``stdout``, ``stderr``."""

    def __init__(self) -> None:
        self.app = FakeApp()

    def __call__(self, *arguments: str, **environ: str) -> Result:
        shell = Shell(self.connect, {"DSN": DSN} | environ)
        return CliRunner().invoke(app, list(arguments), obj=shell, env=dict(environ))

    @asynccontextmanager
    async def connect(self, _: Config) -> AsyncIterator[FakeApp]:
        try:
            yield self.app
        finally:
            with anyio.CancelScope(shield=True):
                await anyio.lowlevel.checkpoint()
            self.app.closed = True
