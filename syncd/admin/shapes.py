"""What the API takes and answers beside the reports of the jobs: strict on the way in."""

from typing import Annotated, Literal

from msgspec import Meta, Struct

from syncd.config import Name
from syncd.reports import (
    AuditView,
    ClaimView,
    ConflictView,
    HeldView,
    ParkedGroup,
    ParkedView,
    PauseView,
    RunView,
)
from syncd.vitals import RunVital

PAGE_MAX = 1000
# No control characters: a text of ours goes to logs, and PostgreSQL has no NUL.
Text = Annotated[str, Meta(max_length=200, pattern=r"^[^\x00-\x1f\x7f-\x9f\u2028\u2029]*$")]
Key = Annotated[tuple[Text, ...], Meta(min_length=1, max_length=8)]
Most = Annotated[int, Meta(ge=1, le=PAGE_MAX)]
Cursor = Annotated[int, Meta(ge=0, le=2**63 - 1)]
Outcome = Literal["", "skipped", "invalid", "unsupported", "waiting", "failed", "conflict"]
ConflictStatus = Literal["open", "closed", "resolved_source", "resolved_target", "all"]


class Taken(Struct, frozen=True, forbid_unknown_fields=True):
    """Base of what is taken: an unknown field is refused, never ignored (case 92)."""

    def told(self) -> str:
        """What the audit says of it; never a key or a value."""
        return ""


class NewestFirst(Taken, frozen=True):
    """A page of ``limit``, of those before ``before``; 0 begins at the newest."""

    limit: Most = 100
    before: Cursor = 0


class Newest(Taken, frozen=True):
    """The newest ``limit``."""

    limit: Most = 100


class ConflictQuery(Taken, frozen=True):
    """A page of conflicts after conflict ``after``, of one entity or of all."""

    status: ConflictStatus = "open"
    entity: Name | None = None
    limit: Most = 100
    after: Cursor = 0


class ParkedQuery(Taken, frozen=True):
    """A page of records; ``after`` is as the page before said."""

    outcome: Outcome = ""
    reason: Text = ""
    limit: Most = 100
    after: Annotated[str, Meta(max_length=2048, pattern=r"^([0-9a-f]{2})*$")] = ""


class KeyQuery(Taken, frozen=True):
    """One record, by the parts of its key in order."""

    key: Key


class Ask(Taken, frozen=True):
    """Which entities to sync; all of them where none is named."""

    entities: Annotated[tuple[Name, ...], Meta(max_length=1000)] = ()

    def told(self) -> str:
        """The entities."""
        return ",".join(self.entities)[:500]


class Why(Taken, frozen=True):
    """Why something is to rest."""

    reason: Annotated[Text, Meta(min_length=1)]

    def told(self) -> str:
        """The reason."""
        return self.reason


class Keys(Taken, frozen=True):
    """Records to look at again; all of them where none is named."""

    keys: Annotated[tuple[Key, ...], Meta(max_length=PAGE_MAX)] = ()

    def told(self) -> str:
        """How many."""
        return f"{len(self.keys)} keys" if self.keys else "all keys"


class Decision(Taken, frozen=True):
    """Whose value stays."""

    take: Literal["source", "target"]

    def told(self) -> str:
        """The side."""
        return self.take


class Plan(Taken, frozen=True):
    """Which deletes are meant: the hash that the list shows. ``If-Match`` may say it instead."""

    plan: Annotated[str, Meta(pattern=r"^([0-9a-f]{16})?$")] = ""

    def told(self) -> str:
        """The plan."""
        return self.plan


class Which(Taken, frozen=True):
    """Which parked records; "" takes every outcome or reason."""

    outcome: Outcome = ""
    reason: Text = ""

    def told(self) -> str:
        """Both."""
        return f"{self.outcome} {self.reason}".strip()


class PipelineLine(Struct, frozen=True):
    """A pipeline of this process; ``fresh`` is null where nothing says how often it must run."""

    name: str
    role: str
    reason: str
    paused: bool
    fresh: bool | None
    age_s: float | None
    last_run_status: str
    run: RunVital | None


class Pipelines(Struct, frozen=True):
    """The pipelines of this process."""

    pipelines: tuple[PipelineLine, ...]


class Runs(Struct, frozen=True):
    """A page; ``before`` begins the next one, 0 where there is none."""

    runs: tuple[RunView, ...]
    before: int


class Claims(Struct, frozen=True):
    """The newest claims."""

    claims: tuple[ClaimView, ...]


class Asked(Struct, frozen=True):
    """It will be done. ``coalesced``: the same was asked for before, and waits still."""

    claim_id: int
    coalesced: bool
    status: str


class Marked(Struct, frozen=True):
    """It will be done, under this claim, for so many records."""

    records: int
    claim_id: int
    coalesced: bool


class Pauses(Struct, frozen=True):
    """What rests."""

    pauses: tuple[PauseView, ...]


class Resting(Struct, frozen=True):
    """Whether it rests now; ``entity`` is "" for the pipeline."""

    entity: str
    paused: bool


class Conflicts(Struct, frozen=True):
    """A page; ``after`` begins the next one, 0 where there is none."""

    conflicts: tuple[ConflictView, ...]
    after: int


class Held(Struct, frozen=True):
    """What is held, by entity."""

    held: tuple[HeldView, ...]


class Kept(Struct, frozen=True):
    """So many rows stay."""

    records: int


class Groups(Struct, frozen=True):
    """What is not in step, by entity, outcome and reason; the largest 1,000."""

    groups: tuple[ParkedGroup, ...]


class ParkedRecords(Struct, frozen=True):
    """A page; ``after`` begins the next one, "" where there is none."""

    records: tuple[ParkedView, ...]
    after: str


class AuditPage(Struct, frozen=True):
    """A page; ``before`` begins the next one, 0 where there is none."""

    lines: tuple[AuditView, ...]
    before: int
