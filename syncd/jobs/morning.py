"""The morning report: what was imported, skipped, held and failed in the night, and why.

For each outcome that needs a reason the reasons add up to its count. What is left over has no
record of its own in the ledger: rows without a usable key, and absences that are only reported.
"""

from collections.abc import Iterator, Sequence
from typing import Final

from syncd.errors import ConfigError
from syncd.flow.model import Counts, Outcome
from syncd.ledger.mornings import Morning, Mornings, Row, counts_of
from syncd.reports import MorningEntity, MorningReport, Reason
from syncd.site import Site

EXPLAINED: Final = (
    Outcome.SKIPPED,
    Outcome.CONFLICT,
    Outcome.INVALID,
    Outcome.UNSUPPORTED,
    Outcome.WAITING,
    Outcome.FAILED,
)
_UNTOLD: Final = "no reason noted"
_NO_RECORD: Final = {
    Outcome.SKIPPED: "doubled, or gone at the source and only reported",
    Outcome.INVALID: "without a usable key",
}
_LATER: Final = "seen again since, by a later run"


class MorningReporter:
    """Reports of one site."""

    def __init__(self, site: Site) -> None:
        self._config = site.config
        self._mornings = Mornings(site.connections, site.config.pipeline, site.config.ledger.schema)
        self._site = site

    async def report(self, run_id: int | None = None) -> MorningReport:
        """What became of a run, the newest where none is named.

        Raises ConfigError where there is no such run. Of an older run the reasons may be fewer: an
        entry remembers its last one.
        """
        await self._site.retry(self._site.assert_ledger)
        found = await self._mornings.read(run_id, [outcome.value for outcome in EXPLAINED])
        if found is None and run_id is not None:
            raise ConfigError(
                f"--run: pipeline {self._config.pipeline} has no run {run_id}",
                hint="its last run is told by syncd status",
            )
        if found is None:
            return MorningReport(self._config.pipeline, 0, "never", "", 0.0)
        run = found.run
        return MorningReport(
            pipeline=self._config.pipeline,
            run_id=run["run_id"],
            status=run["status"],
            started_at=run["started_at"],
            seconds=round(run["seconds"], 3),
            entities=tuple(_entity(found, row) for row in found.entities),
        )


def _entity(found: Morning, row: Row) -> MorningEntity:
    counts, entity_id = counts_of(row), row["entity_id"]
    told = [_reason(one) for one in found.reasons.get(entity_id, ())]
    return MorningEntity(
        name=row["name"],
        status=row["status"],
        counts=counts,
        seconds=round(row["seconds"], 3),
        reasons=(*told, *_left_over(counts, told)),
        findings=tuple(_reason(one) for one in found.findings.get(entity_id, ())),
        notes=tuple(row["notes"]),
        open_conflicts=row["open_conflicts"],
        held_deletes=row["held"],
    )


def _reason(row: Row) -> Reason:
    return Reason(row["outcome"], row["reason"] or _UNTOLD, row["records"])


def _left_over(counts: Counts, told: Sequence[Reason]) -> Iterator[Reason]:
    """What the reasons do not cover, so that each outcome's add up to its count."""
    for outcome in EXPLAINED:
        known = sum(one.records for one in told if one.outcome == outcome.value)
        rest = getattr(counts, outcome.value) - known
        if rest > 0:
            yield Reason(outcome.value, _NO_RECORD.get(outcome, _LATER), rest)
