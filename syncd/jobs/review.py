"""Decisions that are carried out at once, where the lease is free; else by whoever holds it."""

from collections.abc import Sequence
from typing import Final

from syncd.errors import FencedError, PermanentError
from syncd.failpoints import failpoint
from syncd.jobs.desk import Desk, Side
from syncd.jobs.runner import Runner
from syncd.progress import Progress
from syncd.reports import ConflictView, Left, RunReport
from syncd.site import Site

_BY: Final = "cli"


class Review:
    """Decisions about one site, and the runs that they need."""

    def __init__(self, site: Site, desk: Desk, runner: Runner) -> None:
        self._site = site
        self._desk = desk
        self._runner = runner

    async def resolve(
        self, conflict_ids: Sequence[int], *, take: Side, progress: Progress
    ) -> list[ConflictView] | Left:
        """Decide open conflicts; each as it stands afterwards, or who will carry it out."""
        entities = await self._desk.decide(conflict_ids, take)
        if entities:
            await failpoint("resolve.marked")
            ran = await self._carry_out(entities, len(conflict_ids), progress)
            if isinstance(ran, Left):
                return ran
        found = [await self._desk.conflict(number) for number in conflict_ids]
        for view in found:
            if view.status == "open":
                raise PermanentError(
                    f"conflict {view.conflict_id} of {view.entity}: the target's value is not the "
                    "one that the conflict was about; it was not overwritten",
                    hint="look at it again with syncd conflicts show",
                )
        return found

    async def approve(
        self, entity: str, *, plan_hash: str | None, progress: Progress
    ) -> RunReport | Left:
        """Approve what the entity holds, as a ceiling, and run it: the diff is made anew.

        Raises PermanentError when something else is held than ``plan_hash`` names.
        """
        rows = await self._desk.decide_held(entity, plan_hash, "approved")
        await failpoint("approve.decided")
        return await self._carry_out(frozenset({entity}), rows, progress)

    async def resync(
        self, select: frozenset[str] | None, *, keys: Sequence[Sequence[str]]
    ) -> int | Left:
        """Have the next run look again; the daemon is asked for it where one leads."""
        rows = await self._desk.resync(select, keys=keys)
        holder = await self._site.runs.holder() or {}
        return await self._leave(select, rows) if holder.get("held") else rows

    async def replay(self, select: frozenset[str] | None, outcome: str, reason: str) -> int | Left:
        """Have the next run look anew at what is parked; "" takes any outcome or reason."""
        rows = 0
        for name in self._site.config.entities:
            if select is None or name in select:
                rows += await self._desk.replay(name, outcome, reason)
        holder = await self._site.runs.holder() or {}
        return await self._leave(select, rows) if holder.get("held") else rows

    async def _carry_out(
        self, entities: frozenset[str], records: int, progress: Progress
    ) -> RunReport | Left:
        """Run the entities, or leave that to the instance that holds the lease."""
        try:
            return await self._runner.run(entities, accept_rewind=False, progress=progress)
        except FencedError:
            return await self._leave(entities, records)

    async def _leave(self, select: frozenset[str] | None, records: int) -> Left:
        claimed = await self._site.claims.ask(select, "cli", _BY)
        holder = await self._site.runs.holder() or {}
        return Left(records, claimed.claim_id, claimed.coalesced, str(holder.get("holder", "")))
