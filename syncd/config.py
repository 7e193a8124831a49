"""The configuration: frozen structs of the YAML, strict, with units in the names.

Loading (files, references, overrides, messages with a path) is in ``syncd.config_load``.
Every default says why beside it.
"""

from typing import Annotated, Any, Final, Literal, TypeAlias

from msgspec import Meta, Struct

from syncd.flow.model import OnConflict, Ownership

Name = Annotated[
    str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}$", description="lower case, at most 63 long")
]
_DATE: Final = r"^[0-9]{4}-[0-9]{2}-[0-9]{2}$"
_PLAIN: Final = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
Table = Annotated[
    str,
    Meta(pattern=rf"^(?:{_PLAIN}\.)?{_PLAIN}$", description="table or schema.table in plain names"),
]
Rows = Annotated[int, Meta(ge=1, le=100_000)]
Applied = Literal["inserted", "linked", "updated", "deleted"]
APPLIED: Final[tuple[Applied, ...]] = ("inserted", "linked", "updated", "deleted")
Seconds = Annotated[float, Meta(gt=0, le=86_400)]


class Strict(Struct, frozen=True, forbid_unknown_fields=True, kw_only=True):
    """Base: an unknown field is an error, never silently ignored."""


class Secret(Struct, frozen=True, eq=False):
    """A value that must not be seen: its repr, str and errors are '***'.

    ``value`` is what it was when the configuration was read. Where its place may say something
    else later (a file, Secrets Manager), ``anew`` reads it again (``syncd.config_anew``).
    """

    value: str
    anew: Any = None

    def __eq__(self, other: object) -> bool:
        return isinstance(other, Secret) and self.value == other.value

    def __hash__(self) -> int:
        return hash(self.value)

    def __repr__(self) -> str:
        return "***"

    __str__ = __repr__

    @property
    def ever_worked(self) -> bool:
        """Whether a login with it, as it is or was, has succeeded."""
        return self.anew is not None and bool(self.anew.ever_worked)

    @property
    def changes(self) -> bool:
        """Whether it may be another one by now."""
        return self.anew is not None

    def values(self, *, refused: bool) -> tuple[str, ...]:
        """Values that may be right now, the likeliest first; waits, so call it in a thread.

        With ``refused``, all that its place knows in this moment.
        """
        found: tuple[str, ...] = (self.value,)
        return found if self.anew is None else tuple(self.anew.values(refused=refused))

    def works(self, value: str) -> None:
        """A login succeeded with ``value``."""
        if self.anew is not None:
            self.anew.works(value)


class FilesSource(Strict, frozen=True, tag="files", tag_field="kind"):
    """A folder, a file or an archive (tar, zip) of dumps.

    ``path`` is the root; nothing outside it is ever opened. ``header`` false means that
    ``Entity.columns`` names the columns in file order.
    """

    path: str
    format: Literal["csv", "json", "ndjson"] = "csv"
    header: bool = True
    delimiter: Annotated[str, Meta(min_length=1, max_length=1)] = ","
    quote: Annotated[str, Meta(min_length=0, max_length=1)] = '"'
    escape: Annotated[str, Meta(min_length=0, max_length=1)] = ""
    encoding: str = "utf-8"
    final_newline: Literal["optional", "required"] = "optional"  # without one a dump was cut off
    max_file_bytes: Annotated[int, Meta(ge=1)] = 64 * 1024**3
    max_record_bytes: Annotated[int, Meta(ge=1024)] = 4 * 1024**2
    max_ratio: Annotated[int, Meta(ge=1)] = 200  # decompressed to compressed: a bomb is refused


class PostgresSource(Strict, frozen=True, tag="postgres", tag_field="kind"):
    """A PostgreSQL database, read in a read-only repeatable-read snapshot."""

    dsn: Secret
    statement_timeout_s: Seconds = 3600.0
    connect_timeout_s: Seconds = 10.0
    prepared_statements: bool = True  # false behind a transaction-pooling proxy
    scan_connections: Annotated[int, Meta(ge=1, le=8)] = 2  # that read a big table side by side


class Collation(Strict, frozen=True):
    """What the source's collation holds equal in the text of a key; said, never guessed."""

    case: Literal["sensitive", "insensitive"] = "sensitive"
    trailing_blanks: Literal["significant", "ignored"] = "significant"


class SqlServerSource(Strict, frozen=True, tag="sqlserver", tag_field="kind"):
    """A database behind ODBC: SQL Server, or another where ``dialect`` says so.

    ``odbc`` is a whole connection string; else it is made of the parts. What it does not say about
    driver, encryption and intent is added.
    """

    odbc: Secret | None = None
    server: str = ""  # HOST or HOST,PORT
    database: str = ""
    user: str = ""
    password: Secret | None = None
    driver: str = "auto"  # auto | msodbcsql | freetds | the path or registered name of a driver
    encrypt: Literal["yes", "strict", "no"] = "yes"
    trust_certificate: bool = False  # true takes any certificate, so anybody may listen
    application_intent: Literal["ReadOnly", "ReadWrite"] = "ReadOnly"
    dialect: Literal["tsql", "postgres", "sqlite"] = "tsql"
    content: Literal["auto", "dump", "live"] = "auto"  # dump: nobody writes to what was restored
    digests: Literal["client", "pushdown"] = "client"
    collation: Collation = Collation()
    connections: Annotated[int, Meta(ge=1, le=32)] = 4
    fetch_rows: Annotated[int, Meta(ge=1, le=100_000)] = 1000  # 10,000 were no faster
    connect_timeout_s: Seconds = 15.0
    query_timeout_s: Seconds = 3600.0  # that the server may say nothing
    ready_timeout_s: Annotated[float, Meta(ge=0, le=86_400)] = 600.0  # for a restore under way


class PostgresTarget(Strict, frozen=True, tag="postgres", tag_field="kind"):
    """The PostgreSQL database that is kept in step; the ledger lives in it too."""

    dsn: Secret
    statement_timeout_s: Seconds = 300.0
    lock_timeout_s: Seconds = 10.0  # staff wait for us at most this long, and we for them
    connect_timeout_s: Seconds = 10.0
    prepared_statements: bool = True


AnySource: TypeAlias = FilesSource | PostgresSource | SqlServerSource


class Schedule(Strict, frozen=True):
    """When ``serve`` starts a pass by itself."""

    cron: str | None = None
    timezone: str = "UTC"
    watch_s: Seconds | None = None  # how often to look whether there is a new dump
    # Two of the longest intervals of ``cron`` where nothing is said; a month is the most.
    stale_after_s: Annotated[float, Meta(gt=0, le=2_678_400)] | None = None


class HoldAbove(Strict, frozen=True):
    """Deletes are held when they are more than ``rows`` and more than ``percent`` of the entity."""

    rows: Annotated[int, Meta(ge=0)] = 50
    percent: Annotated[float, Meta(ge=0, le=100)] = 0.5


class Deletes(Strict, frozen=True):
    """What the absence of a record means.

    apply: delete the row. soft: set ``column`` to the time. report: only tell.
    ``confirm_runs`` is the number of consecutive complete reads that must lack the record.
    """

    policy: Literal["apply", "soft", "report"] = "apply"
    hold_above: HoldAbove = HoldAbove()
    confirm_runs: Annotated[int, Meta(ge=1, le=100)] = 1
    column: str = "_syncd_deleted_at"


class ColumnConfig(Strict, frozen=True):
    """Long form of a column; the short form is its type alone.

    Without ``type`` it has the type that it would have if it were not named at all.
    """

    type: str | None = None
    into: str | None = None
    zone: str = "UTC"
    fold: Literal["reject", "earlier", "later"] = "reject"
    empty_as_null: bool = False
    strip: bool = False
    null_values: tuple[str, ...] = ()


class Need(Strict, frozen=True):
    """Long form of one parent: which columns hold its key."""

    columns: tuple[str, ...] = ()
    nullable: bool = False


class Merge(Strict, frozen=True):
    """The row policy. ``timestamps`` is seed 000's rule, for comparison only."""

    policy: Literal["three_way", "timestamps"] = "three_way"
    on_conflict: OnConflict = OnConflict.TARGET_WINS
    i_accept_overwrite: bool = False  # consent that source_wins requires
    source_updated: str | None = None  # timestamps only: the source's column
    target_updated: str | None = None  # timestamps only: the target's column


class Link(Strict, frozen=True):
    """The target's table that says which row of it is which record of the source.

    ``type`` is what stands in its column ``entity_type``; ``updated`` is the document's column that
    is carried into ``source_updated_at``, and is never a reason to write.
    """

    table: Table
    type: Annotated[str, Meta(min_length=1, max_length=255)]
    updated: str | None = None


class Part(Strict, frozen=True):
    """A table whose rows belong to a root; ``on`` is its column that holds the root's id.

    one: its ``columns`` (the table's name to the document's) are columns of the document.
    many: its rows are one column of the document, a list of ``fields``, matched by ``key``.
    append: like many, but rows are only ever added, by syncd and by others alike.
    """

    into: Table
    on: str
    rows: Literal["one", "many", "append"] = "one"
    id: str = "id"
    columns: dict[str, str] = {}
    key: tuple[str, ...] = ()
    fields: tuple[str, ...] = ()
    ignore: dict[str, tuple[str, ...]] = {}  # append: rows of these authors are nobody's edit
    touch: tuple[str, ...] = ()


class Aggregate(Strict, frozen=True):
    """A root with its parts: one document, one fingerprint, one transaction.

    ``twins`` are lists of the root's columns, ``column`` or ``date(column)``, that find the row of
    a record which is not linked yet. ``touch`` are columns set to the time of each write of ours.
    ``refers`` names, per column of the root, the entity whose row it points to.
    """

    link: Link
    id: str = "id"
    twins: tuple[Annotated[tuple[str, ...], Meta(min_length=1)], ...] = ()
    touch: tuple[str, ...] = ()
    refers: dict[str, str] = {}
    parts: Annotated[dict[Name, Part], Meta(max_length=20)] = {}


class Event(Strict, frozen=True):
    """Long form of an entity's event; the short form is its type alone.

    ``details`` is a query that is asked, when the event is sent, for what it says of a record.
    """

    type: Annotated[str, Meta(min_length=1, max_length=200)]
    on: Annotated[tuple[Applied, ...], Meta(min_length=1)] = APPLIED
    details: str | None = None
    detail_url: str | None = None
    description: str | None = None
    version: Annotated[int, Meta(ge=1)] = 1


class Entity(Strict, frozen=True, rename={"from_": "from"}):
    """One kind of record."""

    from_: str
    key: Annotated[tuple[str, ...], Meta(min_length=1, max_length=8)]
    into: str
    aggregate: Aggregate | None = None  # the target keeps a record in several tables
    columns: dict[str, str | ColumnConfig] = {}
    only: tuple[str, ...] = ()  # map just these columns; all where empty
    transform: str | None = None
    ownership: dict[str, Ownership] = {}
    groups: tuple[tuple[str, ...], ...] = ()
    needs: tuple[str, ...] | dict[str, Need] = ()
    deletes: Deletes | None = None
    merge: Merge = Merge()
    collation: Collation | None = None  # of the key, where it is not the source's
    event: str | Event | None = None  # what each applied change puts in the outbox


class SnsTopic(Strict, frozen=True, tag="sns", tag_field="kind"):
    """A topic of SNS."""

    topic_arn: str
    region: str | None = None  # the one in the ARN
    endpoint_url: str | None = None


class SqsQueue(Strict, frozen=True, tag="sqs", tag_field="kind"):
    """A queue of SQS. ``notification``: bodies look as if a topic had handed them on."""

    queue_url: str
    notification: bool = True
    region: str | None = None  # the one in the URL, else the environment's
    endpoint_url: str | None = None


class Notify(Strict, frozen=True, tag="notify", tag_field="kind"):
    """A channel of the target's PostgreSQL."""

    channel: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "syncd_events"


class Events(Strict, frozen=True):
    """Where the events of the outbox go, and how fast."""

    to: SnsTopic | SqsQueue | Notify
    rate_per_s: Annotated[float, Meta(gt=0, le=10_000)] = 50.0  # unmeasured; consumers are slow
    batch: Annotated[int, Meta(ge=1, le=10)] = 10  # what SNS and SQS take at once
    poll_s: Seconds = 1.0


class StagedTable(Strict, frozen=True, rename={"from_": "from"}):
    """A table beside the target that one query at the source fills anew from each dump."""

    from_: str
    key: tuple[str, ...] = ()  # indexed, as what the entities' queries join on


class Needed(Strict, frozen=True, rename={"from_": "from"}):
    """Of which dates a lookup must have an answer; both ends may be left open."""

    from_: Annotated[str, Meta(pattern=_DATE)] | None = None
    before: Annotated[str, Meta(pattern=_DATE)] | None = None


class Lookup(Strict, frozen=True):
    """A table of fixed answers that ``syncd lookup load`` fills from a CSV file."""

    columns: Annotated[tuple[str, ...], Meta(min_length=1, max_length=20)]
    needed: Needed = Needed()


class Staging(Strict, frozen=True):
    """Tables in the target's database between the source and the entities.

    With it the entities' queries run there, on ``schema``, and no more at the source.
    """

    tables: Annotated[dict[Name, StagedTable], Meta(min_length=1, max_length=100)]
    schema: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "staging"
    lookups: Annotated[dict[Name, Lookup], Meta(max_length=100)] = {}
    timeout_s: Seconds = 3600.0  # of one table; the job that restores a dump has no more


class Retention(Strict, frozen=True):
    """How long the ledger keeps what grows. Days."""

    runs_days: Annotated[int, Meta(ge=1)] = 90
    imports_days: Annotated[int, Meta(ge=1)] = 400  # a year of nights and the month to look at it
    tombstones_days: Annotated[int, Meta(ge=28)] = 28  # outlives every message and its redrive
    outbox_days: Annotated[int, Meta(ge=1)] = 14
    audit_days: Annotated[int, Meta(ge=28)] = 400  # as long as the history that it explains


class LedgerConfig(Strict, frozen=True):
    """The memory beside the target."""

    schema: Annotated[str, Meta(pattern=r"^[a-z_][a-z0-9_]{0,62}$")] = "syncd"
    lease_ttl_s: Annotated[float, Meta(ge=0.2, le=3600)] = 4.0  # a takeover waits this long
    hash_key: Secret | None = None  # 16 to 64 bytes; made on init and kept in the ledger if absent
    retention: Retention = Retention()


class Limits(Strict, frozen=True):
    """Bounds of one run."""

    batch_rows: Rows = 5000  # 20,000 was no faster and twice the memory
    writers: Annotated[int, Meta(ge=1, le=32)] = 2  # 4 were no faster on two cores
    retries: Annotated[int, Meta(ge=0, le=20)] = 5
    retry_budget_s: Seconds = 120.0
    findings: Annotated[int, Meta(ge=0, le=100_000)] = 1000  # kept per entity; all are counted


class Report(Strict, frozen=True):
    """Where ``syncd report --post`` sends its message: a webhook that takes {"text": ...}."""

    webhook: Secret
    timeout_s: Seconds = 10.0


class Config(Strict, frozen=True):
    """A pipeline."""

    pipeline: Name
    source: AnySource
    target: PostgresTarget
    entities: Annotated[dict[Name, Entity], Meta(min_length=1, max_length=1000)]
    ledger: LedgerConfig = LedgerConfig()
    schedule: Schedule | None = None
    deletes: Deletes = Deletes()
    limits: Limits = Limits()
    report: Report | None = None
    staging: Staging | None = None
    events: Events | None = None
