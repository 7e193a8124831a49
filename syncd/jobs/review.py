"""What operators decide: conflicts, held deletes, and looking again."""

from collections.abc import Sequence
from typing import Final, Literal

from syncd.errors import ConfigError, PermanentError
from syncd.failpoints import failpoint
from syncd.flow.guard import plan_hash
from syncd.flow.keys import display_key
from syncd.flow.model import Plan
from syncd.jobs.explain import Explainer, key_from, plan_of
from syncd.jobs.runner import Runner
from syncd.ledger.reviews import ConflictRow
from syncd.progress import Progress
from syncd.reports import ConflictView, HeldView, RunReport
from syncd.site import Prepared, Site

_LISTED_MAX: Final = 1000
_KEYS_SHOWN: Final = 20


class Review:
    """Decisions about one site."""

    def __init__(self, site: Site, runner: Runner) -> None:
        self._site = site
        self._runner = runner

    # -- conflicts ---------------------------------------------------------------------------

    async def conflicts(self, select: frozenset[str] | None, *, status: str) -> list[ConflictView]:
        """Conflicts of a status or ``all``, oldest first, at most 1,000."""
        prepared = await self._site.prepared()
        names = {p.entity_id: n for n, p in prepared.pinned.items() if not select or n in select}
        rows = await self._site.reviews.conflicts(
            list(names), status, conflict_id=None, most=_LISTED_MAX
        )
        return [_view(row, names[row.entity_id], prepared) for row in rows]

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

    async def resolve(
        self,
        conflict_ids: Sequence[int],
        *,
        take: Literal["source", "target"],
        progress: Progress,
    ) -> list[ConflictView]:
        """Decide open conflicts; each as it stands afterwards.

        For the target: its value stays, and counts as the target's own. For the source: the
        source's value is written, if the target still holds what the conflict was about.
        """
        prepared = await self._site.prepared()
        chosen = [await self._stored(prepared, number) for number in conflict_ids]
        for row, _ in chosen:
            if row.status != "open":
                raise PermanentError(
                    f"conflict {row.conflict_id} is {row.status} already; nothing was done"
                )
        if take == "target":
            for row, name in chosen:
                into = [column.into for column in _plan(prepared, name).drafted]
                at = into.index(row.column) if row.column in into else None
                whole_row = row.kind in ("target_deleted", "delete_vs_edit")
                await self._site.reviews.resolve_for_target(row, None if whole_row else at)
        else:
            await self._take_source(chosen, progress)
        return [await self.conflict(number) for number in conflict_ids]

    async def _take_source(
        self, chosen: Sequence[tuple[ConflictRow, str]], progress: Progress
    ) -> None:
        forced: dict[str, dict[bytes, dict[str, bytes]]] = {}
        for row, name in chosen:
            if row.kind in ("target_deleted", "delete_vs_edit"):
                raise PermanentError(
                    f"conflict {row.conflict_id} is about a whole row ({row.kind}); syncd neither "
                    "recreates what staff deleted nor deletes what staff edited",
                    hint="take the target's side, and change the row in the target itself",
                )
            by_key = forced.setdefault(name, {})
            by_key.setdefault(row.key, {})[row.column] = row.target_hash
        for row, _ in chosen:
            await self._site.reviews.release(row)
            await self._site.reviews.resync(row.entity_id, [row.key])
        await failpoint("resolve.marked")
        select = frozenset(forced)
        await self._runner.run(select, accept_rewind=False, progress=progress, forced=forced)
        await failpoint("resolve.ran")
        for row, name in chosen:
            if (await self._stored(await self._site.prepared(), row.conflict_id))[
                0
            ].status == "open":
                raise PermanentError(
                    f"conflict {row.conflict_id} of {name}: the target's value is not the one "
                    "that the conflict was about; it was not overwritten",
                    hint="look at it again with syncd conflicts show",
                )
            await self._site.reviews.resolved_for_source(row.conflict_id)

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

    async def approve(self, entity: str, *, plan_hash: str | None, progress: Progress) -> RunReport:
        """Approve what the entity holds, as a ceiling, and run it: the diff is made anew.

        Raises PermanentError when something else is held than ``plan_hash`` names.
        """
        plan = await self._matching(entity, plan_hash)
        await self._site.reviews.decide_held(plan.entity_id, "approved")
        await failpoint("approve.decided")
        return await self._runner.run(frozenset({entity}), accept_rewind=False, progress=progress)

    async def reject(self, entity: str, *, plan_hash: str | None) -> int:
        """Keep the rows; the deletes stay held, and are not proposed again."""
        plan = await self._matching(entity, plan_hash)
        return await self._site.reviews.decide_held(plan.entity_id, "rejected")

    async def _matching(self, entity: str, wanted: str | None) -> Plan:
        plan = await plan_of(self._site, entity)
        rows = await self._site.reviews.held(plan.entity_id)
        if not rows:
            raise PermanentError(f"entity {entity} holds no deletes")
        found = plan_hash(entity, [row["key"] for row in rows])
        if wanted is not None and wanted != found:
            raise PermanentError(
                f"entity {entity} holds plan {found}, not {wanted}; nothing was decided",
                hint="look at it again with syncd deletes list",
            )
        return plan

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


def _plan(prepared: Prepared, name: str) -> Plan:
    if name in prepared.errors:
        raise prepared.errors[name]
    return prepared.plans[name]


def _view(row: ConflictRow, name: str, prepared: Prepared) -> ConflictView:
    key = display_key(_plan(prepared, name).key_types, row.key)
    return ConflictView(
        row.conflict_id, name, key, row.column, row.kind, row.status, row.opened_at, row.run_id
    )
