"""What each verb answers, as frozen values; ``cli`` only draws them.

Run and plan reports in JSON are a contract (DESIGN section 5): names and meaning do not change.
Times are ISO 8601 in UTC, durations seconds.
"""

from typing import Literal, TypeAlias

from msgspec import Struct

from syncd.flow.model import Counts, Issue


class EntityReport(Struct, frozen=True):
    """One entity of a run. ``status``: completed | failed | refused | skipped; ``notes`` say why.

    ``findings`` are the first issues met (bounded); ``findings_total`` counts all.
    ``samples`` are filled by ``plan`` only.
    """

    name: str
    status: str
    counts: Counts
    seconds: float
    notes: tuple[str, ...] = ()
    findings: tuple[Issue, ...] = ()
    findings_total: int = 0
    samples: tuple["Sample", ...] = ()
    open_conflicts: int = 0
    source_rows: int = 0


class Sample(Struct, frozen=True):
    """One planned change: the key's parts and the names of the columns that would change."""

    outcome: str
    key: tuple[str, ...]
    columns: tuple[str, ...] = ()
    reason: str = ""


class RunReport(Struct, frozen=True):
    """A whole pass. ``status``: completed | parked | held | failed | stopped."""

    run_id: int
    pipeline: str
    status: str
    started_at: str
    seconds: float
    entities: tuple[EntityReport, ...]
    resumed: bool = False  # an earlier attempt of this run was found unfinished and went on


class Check(Struct, frozen=True):
    """One line of ``validate``. ``level``: ok | warning | error."""

    level: str
    subject: str
    message: str


class InitReport(Struct, frozen=True):
    """What ``init`` made, in order, one sentence each."""

    done: tuple[str, ...]


class EntityStatus(Struct, frozen=True):
    """One entity as the ledger knows it."""

    name: str
    records: int  # entries in state live
    parked: dict[str, int]  # outcome -> entries, of those that are not in step
    open_conflicts: int
    held_deletes: int
    last_success: str  # "" when never
    last_status: str
    drift: str = ""


class StatusReport(Struct, frozen=True):
    """The pipeline as the ledger knows it."""

    pipeline: str
    lease_holder: str
    lease_epoch: int
    last_run: int
    last_run_status: str
    entities: tuple[EntityStatus, ...]


class Mismatch(Struct, frozen=True):
    """One difference found by ``verify``. ``kind``: missing | extra | different | kept.

    ``kept`` is a difference on purpose: staff own the value, or deleted or kept the row.
    """

    entity: str
    kind: str
    key: tuple[str, ...]
    columns: tuple[str, ...] = ()


class VerifyReport(Struct, frozen=True):
    """Both sides read in full. ``counts``: entity -> kind -> rows; ``equal`` is among the kinds."""

    counts: dict[str, dict[str, int]]
    mismatches: tuple[Mismatch, ...]  # bounded


class HistoryLine(Struct, frozen=True):
    """One thing that happened to a record."""

    at: str
    run_id: int
    outcome: str
    reason: str
    columns: tuple[str, ...]
    conflicts: tuple[str, ...]


class ColumnView(Struct, frozen=True):
    """One column of a record now: who holds it and how the three sides compare.

    ``source``, ``target``: the live values, for the operator's own eyes, None when NULL or absent
    (``source_missing`` tells); ``verdict`` is the line of the column rule that applies.
    """

    column: str
    ownership: str
    source: str | None
    target: str | None
    source_changed: bool
    target_changed: bool
    verdict: str


class ExplainReport(Struct, frozen=True):
    """All that is known of one record."""

    entity: str
    key: tuple[str, ...]
    known: bool
    state: str
    present: bool
    incarnation: int
    position: int
    outcome: str
    reason: str
    run_id: int
    in_source: bool
    in_target: bool
    columns: tuple[ColumnView, ...]
    history: tuple[HistoryLine, ...]
    target_id: str = ""  # of an aggregate: the id that the target knows it by


class ConflictView(Struct, frozen=True):
    """One open or ended conflict. ``status``: open | closed | resolved_source | resolved_target."""

    conflict_id: int
    entity: str
    key: tuple[str, ...]
    column: str
    kind: str
    status: str
    opened_at: str
    run_id: int
    source: str | None = None  # live values, filled by ``show`` only
    target: str | None = None


class HeldView(Struct, frozen=True):
    """The deletes that one entity holds. ``plan`` is the hash that an approval names."""

    entity: str
    rows: int
    entity_rows: int
    reason: str
    plan: str
    since: str
    keys: tuple[tuple[str, ...], ...]  # the first ones
    decision: str = ""  # "" | approved | rejected


class Reason(Struct, frozen=True):
    """Why records of one outcome did not simply flow; ``reason`` is a code of the run."""

    outcome: str
    reason: str
    records: int


class MorningEntity(Struct, frozen=True):
    """One entity in the morning: its counts, and ``reasons`` that add up to those that need one.

    ``findings`` are codes of rows (with the column, if one is to blame), with how many were kept.
    """

    name: str
    status: str
    counts: Counts
    seconds: float
    reasons: tuple[Reason, ...] = ()
    findings: tuple[Reason, ...] = ()
    notes: tuple[str, ...] = ()
    open_conflicts: int = 0
    held_deletes: int = 0


class MorningReport(Struct, frozen=True):
    """What became of the last run, or of another. ``run_id`` 0: nothing has run yet."""

    pipeline: str
    run_id: int
    status: str
    started_at: str
    seconds: float
    entities: tuple[MorningEntity, ...] = ()

    @property
    def needs_attention(self) -> bool:
        """Whether a person should look."""
        return self.status != "completed"


class ClaimView(Struct, frozen=True):
    """Work that was asked for. ``status``: waiting | running | done | failed | cancelled.

    ``entities`` is empty for all of them; ``requests`` is how often the same was asked for while it
    waited; ``run_id`` is 0 and a time "" while there is none.
    """

    claim_id: int
    entities: tuple[str, ...]
    origin: str  # schedule | dump | signal | api | cli
    requested_by: str
    requests: int
    status: str
    run_id: int
    reason: str
    requested_at: str
    started_at: str
    finished_at: str


class LookupReport(Struct, frozen=True):
    """A lookup was loaded: rows now and before, and keys that have more than one."""

    name: str
    rows: int
    before: int
    several: int


class Backlog(Struct, frozen=True):
    """What waits: how many, and how long the oldest has."""

    depth: int = 0
    age_s: float = 0.0


class EventReason(Struct, frozen=True):
    """Why events of an entity are not sent yet."""

    entity: str
    reason: str
    events: int


class RelayReport(Struct, frozen=True):
    """What a relay sent. ``postponed`` counts attempts; ``left`` is what still waits."""

    pipeline: str
    sent: int
    postponed: int
    left: Backlog
    reasons: tuple[EventReason, ...] = ()


class PauseView(Struct, frozen=True):
    """What rests; ``entity`` is empty where it is the whole pipeline."""

    entity: str
    reason: str
    paused_by: str
    paused_at: str


ComponentStatus: TypeAlias = Literal["UP", "DOWN", "OUT_OF_SERVICE", "UNKNOWN"]


class Component(Struct, frozen=True):
    """One line of ``/health``: a downstream, a queue, a pipeline or its freshness.

    ``details`` never name a host, a database or a query (case 98).
    """

    status: ComponentStatus
    details: dict[str, str | int | float | bool] = {}


class AuditView(Struct, frozen=True):
    """One line of the audit. ``outcome``: allowed | denied | failed."""

    audit_id: int
    at: str
    actor: str
    action: str
    subject: str
    outcome: str
    correlation_id: str
    detail: str


class RunEntityView(Struct, frozen=True):
    """How one entity of a run ended; ``counts`` by outcome, with ``seen``, their sum."""

    name: str
    status: str
    seconds: float
    counts: dict[str, int]
    notes: tuple[str, ...]
    findings_total: int


class FindingView(Struct, frozen=True):
    """What was wrong with a row: never its value."""

    entity: str
    severity: str
    code: str
    field: str
    place: str


class RunView(Struct, frozen=True):
    """A run as the ledger knows it; ``status`` is running until it ended.

    ``selected`` is empty for all entities. ``entities`` and ``findings`` (the first ones) are
    filled only where one run is asked for.
    """

    run_id: int
    status: str
    started_at: str
    finished_at: str  # "" while it runs
    attempts: int
    selected: tuple[str, ...]
    entities: tuple[RunEntityView, ...] = ()
    findings: tuple[FindingView, ...] = ()


class ParkedGroup(Struct, frozen=True):
    """Records that are not in step for the same reason."""

    entity: str
    outcome: str
    reason: str
    records: int
    since: str


class ParkedView(Struct, frozen=True):
    """One record that is not in step, and why."""

    entity: str
    key: tuple[str, ...]
    outcome: str
    reason: str
    run_id: int
    since: str


class Left(Struct, frozen=True):
    """What was decided here is carried out by the instance that leads, soon.

    ``records``: how many it touches; ``claim_id``: under which it is done.
    """

    records: int
    claim_id: int
    coalesced: bool
    holder: str = ""
