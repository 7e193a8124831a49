"""The book of runs in memory."""

from collections.abc import Sequence

from syncd.flow.model import Plan
from syncd.flow.ports import Decisions, Lease, Unit
from tests.memory.store import Held, Store


class MemoryBook:
    """The book of one run, which holds ``lease``."""

    def __init__(self, store: Store, run_id: int, lease: Lease) -> None:
        self._store = store
        self._lease = lease
        self._run_id = run_id

    async def earlier_units(self, plan: Plan) -> list[Unit]:
        """Units of the attempts before this one."""
        state = self._store.state
        return [
            unit
            for (run_id, entity_id, _), (attempt, unit) in state.units.items()
            if (run_id, entity_id) == (self._run_id, plan.entity_id) and attempt < state.attempt
        ]

    async def decisions(self, plan: Plan) -> Decisions:
        """What was decided about the held deletes."""
        held = self._store.state.held.get(plan.entity_id, {})
        return Decisions(
            frozenset(key for key, one in held.items() if one.decision == "approved"),
            frozenset(key for key, one in held.items() if one.decision == "rejected"),
            {key: one.missed_runs for key, one in held.items()},
        )

    async def hold(self, plan: Plan, keys: Sequence[bytes], reason: str) -> None:
        """Hold exactly these."""
        del reason
        self._store.assert_fence(self._lease)
        before, held = self._store.state.held.get(plan.entity_id, {}), {}
        for key in keys:
            old = before.get(key, Held(self._run_id, 0))
            missed = old.missed_runs + (old.run_id != self._run_id or not old.missed_runs)
            held[key] = Held(self._run_id, missed, old.decision)
        self._store.state.held[plan.entity_id] = held
