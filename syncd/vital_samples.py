"""What a daemon knows of itself, as numbers; see ``syncd.vitals``."""

from collections.abc import Iterator

from syncd.meter import Health
from syncd.vitals import EntityVital, PipelineVital, Role

Sample = tuple[str, tuple[str, ...], float]  # name, values of its labels after the pipeline, value


def of_pipeline(view: PipelineVital) -> Iterator[Sample]:
    """Gauges and counters of a pipeline; what is not known is left out."""
    yield "syncd_leader", (), float(view.role is Role.LEADER)
    yield "syncd_broken", (), float(view.role is Role.BROKEN)
    yield "syncd_paused", (), float(view.paused)
    yield "syncd_leads_total", (), view.leads
    yield "syncd_schedule_overlaps_total", (), view.overlaps
    if view.next_due_s:
        yield "syncd_schedule_next_timestamp_seconds", (), view.next_due_s
    yield from _freshness(view)
    if view.role is Role.LEADER:  # others do not look at the queues
        yield "syncd_claims_depth", (), view.claims.depth
        yield "syncd_claims_oldest_age_seconds", (), view.claims.age_s
        yield "syncd_outbox_depth", (), view.outbox.depth
        yield "syncd_outbox_oldest_age_seconds", (), view.outbox.age_s


def _freshness(view: PipelineVital) -> Iterator[Sample]:
    if view.age_s is not None:
        yield "syncd_freshness_age_seconds", (), view.age_s
    if view.stale_after_s is not None:
        yield "syncd_stale_after_seconds", (), view.stale_after_s
    if view.fresh is not None:
        yield "syncd_fresh", (), float(view.fresh)


def health_of(vital: EntityVital | None, told: Health | None) -> Health | None:
    """An entity's health: a pause counts first, then what runs told, then the ledger."""
    if vital is not None and vital.paused:
        return Health.PAUSED
    if told is not None or vital is None or not vital.last_status:
        return told
    return Health.OK if vital.last_status == "completed" else Health.ERROR


def success_of(vital: EntityVital | None, told_s: float | None) -> float | None:
    """The later of what runs told and what the ledger says; another instance may have worked."""
    known = [s for s in (told_s, None if vital is None else vital.last_success_s) if s is not None]
    return max(known, default=None)
