"""The operators' desk: all that may be looked at, decided and asked for without running anything.

What is decided here stands in the ledger, and is carried out by whichever instance leads, in its
next run. So a decision needs no lease, and is not lost with the process that heard it.
"""

from collections.abc import Sequence
from functools import partial
from typing import Final, Literal

from msgspec import Struct

from syncd.errors import ConfigError, PermanentError
from syncd.flow.guard import plan_hash
from syncd.flow.keys import display_key
from syncd.flow.model import Plan
from syncd.jobs.explain import Explainer, key_from, plan_of
from syncd.ledger.reviews import ConflictRow
from syncd.reports import (
    ConflictView,
    EntityStatus,
    HeldView,
    ParkedGroup,
    ParkedView,
    StatusReport,
)
from syncd.site import Prepared, Site

LISTED_MAX: Final = 1000
_KEYS_SHOWN: Final = 20
_WHOLE_ROW: Final = ("target_deleted", "delete_vs_edit")

Side = Literal["source", "target"]


class Parked(Struct, frozen=True):
    """A page of records that are not in step; ``after`` begins the next one, "" where none is."""

    records: tuple[ParkedView, ...]
    after: str = ""


class Desk:
    """Looks and decisions of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def status(self) -> StatusReport:
        """The pipeline as the ledger knows it."""
        await self._site.retry(self._site.assert_ledger)
        lease = await self._site.runs.holder() or {}
        run_id, run_status = await self._site.reviews.last_run()
        entities, parked = await self._site.reviews.status()
        return StatusReport(
            pipeline=self._site.config.pipeline,
            lease_holder=lease.get("holder", "") if lease.get("held") else "",
            lease_epoch=lease.get("epoch", 0),
            last_run=run_id,
            last_run_status=run_status,
            entities=tuple(
                EntityStatus(
                    name=row["name"],
                    records=row["records"],
                    parked=dict(parked.get(row["entity_id"], {})),
                    open_conflicts=row["open_conflicts"],
                    held_deletes=row["held"],
                    last_success=row["last_success"],
                    last_status=row["last_status"],
                    drift=row["drift"],
                )
                for row in entities
            ),
        )

    # -- conflicts ---------------------------------------------------------------------------

    async def conflicts(
        self,
        select: frozenset[str] | None,
        *,
        status: str,
        after: int = 0,
        most: int = LISTED_MAX,
    ) -> list[ConflictView]:
        """Conflicts of a status or ``all``, oldest first, those after conflict ``after``."""
        prepared = await self._site.prepared()
        names = {
            p.entity_id: n for n, p in prepared.pinned.items() if select is None or n in select
        }
        rows = await self._site.reviews.conflicts(
            list(names), status, conflict_id=None, after=after, most=min(most, LISTED_MAX)
        )
        return [_view(row, names[row.entity_id], prepared) for row in rows]

    async def entity_of_conflict(self, conflict_id: int) -> str | None:
        """The entity that a conflict is about; None when there is no such conflict."""
        pinned = await self._site.runs.pinned()
        names = {p.entity_id: name for name, p in pinned.items()}
        rows = await self._site.reviews.conflicts(
            list(names), "all", conflict_id=conflict_id, most=1
        )
        return names[rows[0].entity_id] if rows else None

    async def conflict(self, conflict_id: int) -> ConflictView:
        """One conflict with both values as they are now."""
        prepared = await self._site.prepared()
        row, name = await self._stored(prepared, conflict_id)
        view = _view(row, name, prepared)
        report = await Explainer(self._site).explain(name, view.key)
        live = next((c for c in report.columns if c.column == row.column), None)
        return ConflictView(
            view.conflict_id, view.entity, view.key, view.column, view.kind, view.status,
            view.opened_at, view.run_id,
            source=live.source if live else None, target=live.target if live else None,
        )  # fmt: skip

    async def decide(self, conflict_ids: Sequence[int], take: Side) -> frozenset[str]:
        """Decide open conflicts; the entities that a run must carry it out for.

        For the target: its value stays, and counts as the target's own; nothing is left to do. For
        the source: the next run writes the source's value, if the target still holds what the
        conflict was about.
        """
        prepared = await self._site.prepared()
        chosen = [await self._stored(prepared, number) for number in conflict_ids]
        for row, _ in chosen:
            _assert_decidable(row, take)
        for row, name in chosen:
            if take == "source":
                done = await self._site.reviews.decide_for_source(row)
            else:
                into = [column.into for column in _plan(prepared, name).drafted]
                at = into.index(row.column) if row.column in into else None
                whole_row = row.kind in _WHOLE_ROW
                done = await self._site.reviews.resolve_for_target(row, None if whole_row else at)
            if not done:
                raise PermanentError(f"conflict {row.conflict_id} is not open any more")
        return frozenset(name for _, name in chosen) if take == "source" else frozenset()

    async def _stored(self, prepared: Prepared, conflict_id: int) -> tuple[ConflictRow, str]:
        names = {p.entity_id: name for name, p in prepared.pinned.items()}
        rows = await self._site.reviews.conflicts(
            list(names), "all", conflict_id=conflict_id, most=1
        )
        if not rows:
            raise ConfigError(f"there is no conflict {conflict_id} in this pipeline")
        return rows[0], names[rows[0].entity_id]

    # -- deletes -----------------------------------------------------------------------------

    async def held(self, select: frozenset[str] | None) -> list[HeldView]:
        """Deletes that wait for a decision, one view for each entity that has any."""
        prepared = await self._site.prepared()
        views = []
        for name, pinned in prepared.pinned.items():
            if select is not None and name not in select:
                continue
            rows = await self._site.reviews.held(pinned.entity_id)
            if not rows or name not in prepared.plans:
                continue
            kinds = prepared.plans[name].key_types
            views.append(
                HeldView(
                    entity=name,
                    rows=len(rows),
                    entity_rows=await self._site.reviews.remembered(pinned.entity_id),
                    reason=rows[0]["reason"],
                    plan=plan_hash(name, [row["key"] for row in rows]),
                    since=rows[0]["since"],
                    keys=tuple(display_key(kinds, row["key"]) for row in rows[:_KEYS_SHOWN]),
                    decision=rows[0]["decision"],
                )
            )
        return views

    async def decide_held(
        self, entity: str, wanted: str | None, decision: Literal["approved", "rejected"]
    ) -> int:
        """Decide about exactly what the entity holds now; how many rows that are.

        Approved ones are deleted by the next run, as a ceiling: the diff is made anew. Raises
        PermanentError when something else is held than the plan ``wanted`` names.
        """
        plan = await plan_of(self._site, entity)
        keys = [row["key"] for row in await self._site.reviews.held(plan.entity_id)]
        if not keys:
            raise PermanentError(f"entity {entity} holds no deletes")
        found = plan_hash(entity, keys)
        if wanted is not None and wanted != found:
            raise PermanentError(
                f"entity {entity} holds plan {found}, not {wanted}; nothing was decided",
                hint="look at it again with syncd deletes list",
            )
        return await self._site.reviews.decide_held(plan.entity_id, decision, keys)

    # -- looking again -----------------------------------------------------------------------

    async def resync(self, select: frozenset[str] | None, *, keys: Sequence[Sequence[str]]) -> int:
        """Have the next run look again at all records of the entities, or at ``keys``."""
        prepared = await self._site.prepared()
        names = [name for name in prepared.plans if select is None or name in select]
        if keys and len(names) != 1:
            raise ConfigError("resync: keys belong to one entity; name exactly one")
        marked = 0
        for name in names:
            plan = prepared.plans[name]
            chosen = [key_from(plan, parts) for parts in keys] or None
            marked += await self._site.reviews.resync(plan.entity_id, chosen)
        return marked

    async def parked_groups(self, select: frozenset[str] | None) -> list[ParkedGroup]:
        """What is not in step, counted by entity, outcome and reason."""
        await self._site.retry(self._site.assert_ledger)
        found = await self._site.listings.parked_groups(most=LISTED_MAX)
        return [group for group in found if select is None or group.entity in select]

    async def parked(
        self, entity: str, outcome: str, reason: str, *, after: str, most: int
    ) -> Parked:
        """Records that are not in step, a page; ``after`` is where the last one ended."""
        plan = await plan_of(self._site, entity)
        most = min(most, LISTED_MAX)
        rows = await self._site.listings.parked(
            plan.entity_id, outcome, reason, after=bytes.fromhex(after), most=most
        )
        key = partial(display_key, plan.key_types)
        views = tuple(
            ParkedView(
                entity, key(row["key"]), row["outcome"], row["reason"], row["run_id"], row["since"]
            )
            for row in rows
        )
        return Parked(views, rows[-1]["key"].hex() if len(rows) == most else "")

    async def replay(self, entity: str, outcome: str, reason: str) -> int:
        """Have the next run look again at what is parked, as if for the first time; how many."""
        plan = await plan_of(self._site, entity)
        return await self._site.listings.replay(plan.entity_id, outcome, reason)


def _assert_decidable(row: ConflictRow, take: Side) -> None:
    """Raise PermanentError where the conflict cannot be decided so."""
    if row.status != "open":
        raise PermanentError(
            f"conflict {row.conflict_id} is {row.status} already; nothing was done"
        )
    if take == "source" and row.kind in _WHOLE_ROW:
        raise PermanentError(
            f"conflict {row.conflict_id} is about a whole row ({row.kind}); syncd neither "
            "recreates what staff deleted nor deletes what staff edited",
            hint="take the target's side, and change the row in the target itself",
        )


def _plan(prepared: Prepared, name: str) -> Plan:
    if name in prepared.errors:
        raise prepared.errors[name]
    return prepared.plans[name]


def _view(row: ConflictRow, name: str, prepared: Prepared) -> ConflictView:
    key = display_key(_plan(prepared, name).key_types, row.key)
    return ConflictView(
        row.conflict_id, name, key, row.column, row.kind, row.status, row.opened_at, row.run_id
    )
