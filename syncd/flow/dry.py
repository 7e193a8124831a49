"""The applier of ``plan``: decides as a run would, in transactions that may only read."""

from collections.abc import Sequence

from msgspec import Struct

from syncd.flow.apply import Packed, Shores, Tally
from syncd.flow.decide import Batch, Decider
from syncd.flow.model import Outcome, Read

_BROUGHT_TO_LIFE = frozenset(
    {Outcome.INSERTED, Outcome.UPDATED, Outcome.LINKED, Outcome.CONFLICT, Outcome.UNCHANGED}
)


class Planned(Struct, frozen=True):
    """One change that a run would make."""

    key: bytes
    outcome: Outcome
    reason: str
    columns: tuple[str, ...]


class DryApplier:
    """Has the methods of ``Applier`` and writes nothing.

    ``planned`` collects, per entity, the keys that would be live afterwards, so that children of
    rows that are only planned are not shown as waiting.
    """

    def __init__(
        self, decider: Decider, shores: Shores, samples: int, planned: dict[str, set[bytes]]
    ) -> None:
        self.tally = Tally()
        self.samples: list[Planned] = []
        self._decider = decider
        self._shores = shores
        self._most = samples
        self._planned = planned

    async def apply(self, reads: Sequence[Read]) -> None:
        """Decide about ``reads``."""
        async with self._shores.ledger.look() as tx:
            batch = await self._decider.decide(tx, reads)
        self.tally.touched += len(batch.touched)
        self.tally.stale += len(batch.stale)
        self._count(batch)

    def pack(self, reads: Sequence[Read]) -> None:
        """Nothing: what would be loaded is decided about like everything else."""
        del reads

    async def load(self, packed: Sequence[Packed]) -> bool:
        """Never, since nothing is packed."""
        return not packed

    async def ready(self, reads: Sequence[Read]) -> list[Read]:
        """Those of ``reads`` that lack no parent, or would lack none."""
        return await self._decider.ready(reads)

    async def ask_again(self, keys: Sequence[bytes]) -> None:
        """Nothing: the ledger stays as it is."""
        del keys

    async def remove(self, keys: Sequence[bytes]) -> None:
        """Decide about absences."""
        async with self._shores.ledger.look() as tx:
            self._count(await self._decider.decide_removal(tx, keys))

    def _count(self, batch: Batch) -> None:
        plan = self._decider.plan
        self.tally.warn(batch.warned)
        alive = self._planned.get(plan.name)
        for settled in batch.settled:
            decision = settled.decision
            counts = self.tally.absent if settled.absent else self.tally.present
            counts.add(decision.outcome)
            self.tally.conflicts += len(decision.conflicts)
            if alive is not None and decision.outcome in _BROUGHT_TO_LIFE:
                alive.add(settled.key)
            if len(self.samples) < self._most and decision.outcome is not Outcome.UNCHANGED:
                columns = tuple(plan.drafted[at].into for at in decision.written)
                sample = Planned(settled.key, decision.outcome, decision.reason, columns)
                self.samples.append(sample)
