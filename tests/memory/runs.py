"""Runs, the lease, and what people decide about held deletes, in memory."""

from collections.abc import Callable, Mapping, Sequence
from typing import Any, Final

from msgspec import Struct
from msgspec.structs import replace

from syncd.errors import TransientError
from syncd.flow.model import Plan
from syncd.flow.ports import Decisions, Lease, Unit
from syncd.ledger.reviews import Decided
from syncd.ledger.runs import Closing, Pinned, Started
from syncd.ledger.takeover import PATIENCE_S
from tests.memory.store import Held, MemoryTx, Store

_GOOD: Final = ("completed", "parked", "held")


class Run(Struct):
    """One run."""

    run_id: int
    selected: list[str] | None
    epoch: int
    started_s: float
    status: str = "running"
    attempts: int = 1


class MemoryRuns:
    """The runs of one pipeline. ``now_s`` is the server's clock.

    The fence is the store's: a takeover waits until the transactions of the old holder have ended.
    """

    def __init__(self, store: Store, pipeline: str, now_s: Callable[[], float]) -> None:
        self.runs: dict[int, Run] = {}
        self.closings: dict[tuple[int, int], Closing] = {}
        self.entities: dict[str, Pinned] = {}
        self._store = store
        self._pipeline = pipeline
        self._now_s = now_s
        self._settings: dict[str, bytes] = {}
        self._shapes: dict[tuple[int, tuple[str, ...]], int] = {}
        self.holder_name = ""  # who took the lease last
        self.closed_under: dict[tuple[int, int], str] = {}  # who had taken it last by then
        self.finished_under: dict[int, str] = {}
        self._expires_s = float("-inf")

    async def acquire(self, holder: str, ttl_s: float) -> Lease | None:
        """Take the lease if it is free or has run out, after the old holder's transactions.

        Those that do not end in time are ended.
        """
        await self._store.point("lease.acquire")
        left_s = PATIENCE_S
        while self._expires_s <= self._now_s():
            fenced = [tx for tx in self._store.open if tx.lease is not None and tx.void is None]
            if not fenced:
                self.holder_name, self._expires_s = holder, self._now_s() + ttl_s
                self._store.state.epoch += 1
                return Lease(self._pipeline, holder, self._store.state.epoch)
            if left_s <= 0:
                self._end(fenced)
                continue
            left_s -= await self._store.wait(left_s) or 1e-9
        return None

    def _end(self, blockers: Sequence[MemoryTx]) -> None:
        for tx in blockers:
            tx.void = TransientError("the connection was closed")
            self._store.end(tx)

    async def keep(self, lease: Lease, ttl_s: float) -> None:
        """Put off the lease's end."""
        await self._store.point("lease.keep")
        self._store.assert_fence(lease)
        self._expires_s = self._now_s() + ttl_s

    async def release(self, lease: Lease) -> None:
        """Let the lease go, if it is still this one."""
        await self._store.point("lease.release")
        if lease.epoch == self._store.state.epoch:
            self._expires_s = float("-inf")

    async def holder(self) -> Mapping[str, Any] | None:
        """Who holds the lease."""
        await self._store.point("lease.holder")
        if not self._store.state.epoch:
            return None
        left_s = self._expires_s - self._now_s()
        return {
            "holder": self.holder_name,
            "epoch": self._store.state.epoch,
            "held": left_s > 0,
            "left_s": left_s,
        }

    async def start(self, lease: Lease, selected: Sequence[str] | None) -> Started:
        """Begin a run, or take up the newest unfinished one that asked for the same."""
        await self._store.point("runs.start")
        self.assert_fence(lease)
        chosen = None if selected is None else sorted(selected)
        found: Run | None = None
        for run in sorted(self.runs.values(), key=lambda run: -run.run_id):
            if run.status != "running":
                continue
            if found is None and run.selected == chosen:
                found = run
            else:
                run.status = "stopped"
        if found is None:
            run_id = max(self.runs, default=0) + 1
            found = self.runs[run_id] = Run(run_id, chosen, lease.epoch, self._now_s())
        else:
            found.attempts, found.epoch = found.attempts + 1, lease.epoch
        self._store.state.attempts[found.run_id] = found.attempts
        earlier = [
            run.started_s
            for run in self.runs.values()
            if run.run_id < found.run_id and run.status in _GOOD
        ]
        previous = f"{max(earlier):020.6f}".encode() if earlier else None
        return Started(found.run_id, found.attempts, f"{found.started_s:.3f}", previous)

    def assert_fence(self, lease: Lease) -> None:
        """Raise FencedError where another has taken the lease: what is noted now is another's."""
        self._store.assert_fence(lease)

    async def finish(self, lease: Lease, run_id: int, status: str) -> None:
        """Close the run."""
        await self._store.point("runs.finish")
        self.assert_fence(lease)
        self.finished_under[run_id] = self.holder_name
        self.runs[run_id].status = status

    async def earlier_units(self, started: Started, plan: Plan) -> list[Unit]:
        """Units of the attempts before this one."""
        await self._store.point("runs.earlier_units")
        return [
            unit
            for (run_id, entity_id, _), (attempt, unit) in self._store.state.units.items()
            if (run_id, entity_id) == (started.run_id, plan.entity_id) and attempt < started.attempt
        ]

    async def close_entity(
        self, lease: Lease, run_id: int, entity_id: int, closing: Closing
    ) -> None:
        """Note how an entity ended; its place moves only when it ended well."""
        await self._store.point("runs.close_entity")
        self.assert_fence(lease)
        self.closed_under[run_id, entity_id] = self.holder_name
        self.closings[run_id, entity_id] = closing
        name = next(n for n, pinned in self.entities.items() if pinned.entity_id == entity_id)
        pinned = self.entities[name]
        if closing.status == "completed":
            self.entities[name] = replace(
                pinned,
                position=max(pinned.position, closing.position),
                source_epoch=closing.source_epoch,
                identity=closing.identity,
                identity_rows=closing.source_rows,
                last_rows=closing.source_rows,
                drift=closing.drift,
            )
        else:
            self.entities[name] = replace(pinned, drift=closing.drift)

    async def pinned(self) -> dict[str, Pinned]:
        """What was pinned."""
        await self._store.point("runs.pinned")
        return {
            name: replace(pinned, completed_run=self._completed_run(pinned.entity_id))
            for name, pinned in self.entities.items()
        }

    def _completed_run(self, entity_id: int) -> int:
        completed = [
            run_id
            for (run_id, entity), closing in self.closings.items()
            if entity == entity_id
            and closing.status == "completed"
            and self.runs[run_id].status not in ("running", "stopped")
        ]
        return max(completed, default=0)

    async def pin(self, entity: str, target: str, columns: Mapping[str, str]) -> int:
        """Agree on an entity."""
        known = self.entities.get(entity)
        entity_id = known.entity_id if known else len(self.entities) + 1
        blank = Pinned(entity_id, entity, target, dict(columns), 1, 0, "", 0, 0, "")
        if known is None:
            self.entities[entity] = blank
        else:
            self.entities[entity] = replace(
                known, target=target, columns=dict(columns), drift="", identity=""
            )
        return entity_id

    async def shape(self, entity_id: int, columns: Sequence[str], *, make: bool) -> int:
        """The id of a list of columns."""
        where = entity_id, tuple(columns)
        if make:
            self._shapes.setdefault(where, len(self._shapes) + 1)
        return self._shapes.get(where, 0)

    async def rewind(self, lease: Lease, entity_id: int) -> None:
        """Begin a new source epoch."""
        await self._store.point("runs.rewind")
        self.assert_fence(lease)
        for name, pinned in self.entities.items():
            if pinned.entity_id == entity_id:
                self.entities[name] = replace(
                    pinned, source_epoch=pinned.source_epoch + 1, position=0, identity=""
                )

    async def setting(self, name: str, default: bytes | None = None) -> bytes | None:
        """A setting; stored when it was not there."""
        if default is not None:
            self._settings.setdefault(name, default)
        return self._settings.get(name)

    async def prune(
        self,
        *,
        runs_days: int,
        imports_days: int,
        tombstones_days: int,
        outbox_days: int,
        audit_days: int,
    ) -> None:
        """Nothing is old enough here."""
        del runs_days, imports_days, tombstones_days, outbox_days, audit_days
        await self._store.point("runs.prune")

    async def tidy(self) -> None:
        """Nothing to tidy."""


class MemoryReviews:
    """Held deletes and what was decided about them; nothing is decided about conflicts."""

    def __init__(self, store: Store, runs: MemoryRuns) -> None:
        self._store = store
        self._runs = runs

    async def decisions(self, plan: Plan) -> Decisions:
        """What was decided about the held deletes."""
        await self._store.point("reviews.decisions")
        held = self._store.state.held.get(plan.entity_id, {})
        return Decisions(
            frozenset(key for key, one in held.items() if one.decision == "approved"),
            frozenset(key for key, one in held.items() if one.decision == "rejected"),
            {key: one.missed_runs for key, one in held.items()},
        )

    async def hold(
        self, lease: Lease, plan: Plan, run_id: int, keys: Sequence[bytes], reason: str
    ) -> None:
        """Hold exactly these."""
        del reason
        await self._store.point("reviews.hold")
        self._runs.assert_fence(lease)
        before = self._store.state.held.get(plan.entity_id, {})
        self._store.state.held[plan.entity_id] = {
            key: _again(before[key], run_id) if key in before else Held(run_id) for key in keys
        }

    async def decide_held(self, entity_id: int, decision: str) -> int:
        """Approve or reject all that the entity holds now; how many."""
        held = self._store.state.held.get(entity_id, {})
        for key, one in held.items():
            held[key] = replace(one, decision=decision)
        return len(held)

    async def decided_for_source(self, entity_ids: Sequence[int], most: int) -> list[Decided]:
        """None, ever."""
        del entity_ids, most
        return []

    async def last_run(self) -> tuple[int, str]:
        """Id and status of the newest run."""
        run_id = max(self._runs.runs, default=0)
        return (run_id, self._runs.runs[run_id].status) if run_id else (0, "")


def _again(held: Held, run_id: int) -> Held:
    missed = held.missed_runs + (held.run_id != run_id)
    return Held(run_id, missed, held.decision)
