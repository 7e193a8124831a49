"""What a daemon knows of itself at this moment: facts in memory, never a look at anything else.

The parts of the daemon set them as they go; ``/health`` and the metrics read them. Ages are counted
on the monotonic clock from what the database said of them, so a wall clock that is put back or on
changes nothing (case 56).
"""

from collections.abc import Callable, Iterable, Mapping
from enum import StrEnum
from typing import Final

from msgspec import Struct

from syncd.reports import Backlog, Component

Clock = Callable[[], float]
_RATE_S_MIN: Final = 0.5  # a rate over less says nothing
LIVE_S_MAX: Final = 30.0  # the loop beats each second; a heart that missed thirty has stopped


class Role(StrEnum):
    """What a daemon is to a pipeline; only a leader works.

    starting -> standby <-> leader; any -> broken (its reason beside it) -> standby.
    """

    STARTING = "starting"
    STANDBY = "standby"
    LEADER = "leader"
    BROKEN = "broken"


class RunVital(Struct, frozen=True):
    """The run under way. ``total_rows`` and ``eta_s`` are 0 where nobody knows."""

    run_id: int
    origin: str
    seconds: float
    entity: str
    rows: int
    total_rows: int
    rows_per_s: float
    eta_s: float


class EntityVital(Struct, frozen=True):
    """An entity when it was last looked at. ``age_s`` is None while it never was in step."""

    name: str
    last_status: str  # of its last run: completed | failed | refused | "" for never
    paused: bool
    age_s: float | None  # since its last success
    last_success_s: float | None  # the same as a time of the database, Unix seconds


class PipelineVital(Struct, frozen=True):
    """A pipeline at this moment.

    ``stale_after_s`` is None where nothing says how often it is to be synced; ``next_due_s`` is
    Unix seconds, 0 while nothing is due. ``fresh`` is None where it cannot be judged.
    """

    name: str
    role: Role
    reason: str
    paused: bool
    run: RunVital | None
    last_run_status: str
    entities: tuple[EntityVital, ...]
    claims: Backlog
    outbox: Backlog
    next_due_s: float
    interval_s: float | None
    stale_after_s: float | None
    age_s: float | None
    fresh: bool | None
    leads: int  # how often it became the leader
    overlaps: int  # times that were due while the run before was under way


class _Running(Struct):
    run_id: int
    origin: str
    begun_s: float
    entity: str = ""
    entity_s: float = 0.0
    rows: int = 0
    total_rows: int = 0


class PipelineFacts:
    """The facts of one pipeline. It is also the ``Progress`` of its runs."""

    def __init__(self, name: str, entities: Iterable[str], clock: Clock) -> None:
        self.name = name
        self._clock = clock
        self._names = tuple(entities)
        self._born_s = clock()
        self._entities: dict[str, tuple[str, float | None, float | None]] = {}
        self._running: _Running | None = None
        self._downstreams: dict[str, Component] = {}
        self._claims, self._outbox = (Backlog(), clock()), (Backlog(), clock())
        self._role, self._reason = Role.STARTING, ""
        self._paused: frozenset[str] = frozenset()
        self.last_run_status = ""
        self.next_due_s = 0.0
        self.interval_s: float | None = None
        self.stale_after_s: float | None = None
        self.leads = 0
        self.overlaps = 0

    # -- what the daemon tells ---------------------------------------------------------------

    def configured(
        self, entities: Iterable[str], *, interval_s: float | None, stale_after_s: float | None
    ) -> None:
        """What is to be kept in step, and how often."""
        self._names = tuple(entities)
        self.interval_s, self.stale_after_s = interval_s, stale_after_s

    def take_role(self, role: Role, reason: str = "") -> None:
        """Say what it is now; ``reason`` says why it is broken."""
        self.leads += role is Role.LEADER and self._role is not Role.LEADER
        self._role, self._reason = role, reason

    def rests(self, paused: Iterable[str]) -> None:
        """Which entities rest; ``""`` among them is the pipeline."""
        self._paused = frozenset(paused)

    def look(
        self, entity: str, last_status: str, age_s: float | None, success_s: float | None
    ) -> None:
        """What the ledger says of an entity; ``age_s`` is counted on from here."""
        at_s = None if age_s is None else self._clock() - age_s
        self._entities[entity] = (last_status, at_s, success_s)

    def waits(self, *, claims: Backlog | None = None, outbox: Backlog | None = None) -> None:
        """What the ledger says of its queues."""
        if claims is not None:
            self._claims = claims, self._clock()
        if outbox is not None:
            self._outbox = outbox, self._clock()

    def downstream(self, name: str, component: Component) -> None:
        """How something that it depends on is: source, target, queue, ..."""
        self._downstreams[name] = component

    def due(self, at_s: float) -> None:
        """When the next pass is due, Unix seconds; 0 for never."""
        self.next_due_s = at_s

    def overlapped(self) -> None:
        """A pass was due while the one before was under way."""
        self.overlaps += 1

    def run_begins(self, origin: str) -> None:
        """A run is about to begin; its id comes later."""
        self._running = _Running(0, origin, self._clock())

    def run_is(self, run_id: int) -> None:
        """The run has a number now."""
        if self._running is not None:
            self._running.run_id = run_id

    def run_ends(self, status: str) -> None:
        """No run is under way; how the last one ended."""
        self._running = None
        self.last_run_status = status

    # -- Progress ----------------------------------------------------------------------------

    def start(self, entity: str, total_rows: int) -> None:
        """An entity begins."""
        running = self._running
        if running is not None:
            running.entity, running.entity_s = entity, self._clock()
            running.rows, running.total_rows = 0, total_rows

    def advance(self, entity: str, rows: int) -> None:
        """Rows of the entity are done; told by another one they count for that."""
        running = self._running
        if running is not None:
            if entity != running.entity:
                self.start(entity, 0)
            running.rows += rows

    def finish(self, entity: str) -> None:
        """The entity's rows are all done."""

    # -- what others read --------------------------------------------------------------------

    def view(self) -> PipelineVital:
        """All of it, frozen."""
        entities = tuple(self._entity(name) for name in self._names)
        return PipelineVital(
            name=self.name, role=self._role, reason=self._reason, paused="" in self._paused,
            run=self._run(), last_run_status=self.last_run_status, entities=entities,
            claims=self._aged(*self._claims), outbox=self._aged(*self._outbox),
            next_due_s=self.next_due_s, interval_s=self.interval_s,
            stale_after_s=self.stale_after_s, age_s=self._age_s(entities),
            fresh=self._fresh(entities), leads=self.leads, overlaps=self.overlaps,
        )  # fmt: skip

    def components(self) -> dict[str, Component]:
        """Its lines of ``/health``: itself, its freshness, its queues and its downstreams."""
        view = self.view()
        return {
            f"pipeline:{self.name}": _itself(view),
            f"freshness:{self.name}": _freshness(view),
            f"claims:{self.name}": _backlog(view.claims),
            f"outbox:{self.name}": _backlog(view.outbox),
            **{f"{name}:{self.name}": found for name, found in self._downstreams.items()},
        }

    def _entity(self, name: str) -> EntityVital:
        status, at_s, success_s = self._entities.get(name, ("", None, None))
        age_s = None if at_s is None else self._clock() - at_s
        return EntityVital(name, status, name in self._paused, age_s, success_s)

    def _age_s(self, entities: tuple[EntityVital, ...]) -> float | None:
        """Since the entity that is furthest behind was in step; paused ones do not count."""
        ages = [entity.age_s for entity in entities if not entity.paused]
        known = [age_s for age_s in ages if age_s is not None]
        return max(known) if known and len(known) == len(ages) else None

    def _fresh(self, entities: tuple[EntityVital, ...]) -> bool | None:
        if self.stale_after_s is None:
            return None
        age_s = self._age_s(entities)
        if age_s is None:  # never in step: it has as long as any other from when it began
            age_s = self._clock() - self._born_s
        return age_s <= self.stale_after_s

    def _aged(self, backlog: Backlog, at_s: float) -> Backlog:
        waited_s = self._clock() - at_s if backlog.depth else 0.0
        return Backlog(backlog.depth, backlog.age_s + waited_s)

    def _run(self) -> RunVital | None:
        running = self._running
        if running is None:
            return None
        now_s = self._clock()
        rate = running.rows / max(now_s - running.entity_s, _RATE_S_MIN)
        left = max(running.total_rows - running.rows, 0)
        return RunVital(
            running.run_id, running.origin, now_s - running.begun_s, running.entity, running.rows,
            running.total_rows, rate, left / rate if rate else 0.0,
        )  # fmt: skip


class Vitals:
    """The facts of one process."""

    def __init__(self, clock: Clock) -> None:
        self.clock = clock
        self.pipelines: dict[str, PipelineFacts] = {}
        self.reload_failures = 0
        self.reload_failed = ""  # why the last reload was refused; empty when it was not
        self._started: dict[str, bool] = {}
        self._beat_s = clock()
        self.draining = False

    def pipeline(self, name: str, entities: Iterable[str]) -> PipelineFacts:
        """The facts of a pipeline, begun anew."""
        self.pipelines[name] = PipelineFacts(name, entities, self.clock)
        return self.pipelines[name]

    def expect(self, part: str) -> None:
        """A long-lived part must have started before this process is ready."""
        self._started.setdefault(part, False)

    def started(self, part: str) -> None:
        """The part works."""
        self._started[part] = True

    def beat(self) -> None:
        """The loop goes round."""
        self._beat_s = self.clock()

    def reloaded(self, refused: str = "") -> None:
        """The configuration was read again; ``refused`` says why the old one stays."""
        self.reload_failed = refused
        self.reload_failures += bool(refused)

    def views(self) -> Mapping[str, PipelineVital]:
        """Every pipeline, frozen."""
        return {name: facts.view() for name, facts in self.pipelines.items()}

    def components(self) -> dict[str, Component]:
        """Every line of ``/health``."""
        refused = bool(self.reload_failed)
        lines = {"configuration": Component("DOWN" if refused else "UP", {"refused": refused})}
        for facts in self.pipelines.values():
            lines |= facts.components()
        return lines

    def is_live(self) -> bool:
        """Whether the loop goes round; no database is asked."""
        return self.clock() - self._beat_s < LIVE_S_MAX

    def is_ready(self) -> bool:
        """Whether every part has started and none is being stopped; true on a standby."""
        return not self.draining and all(self._started.values())


def _itself(view: PipelineVital) -> Component:
    """A standby is well; one that rests is out of service, on purpose."""
    details: dict[str, str | int | float | bool] = {"role": view.role.value, "paused": view.paused}
    if view.run is not None:
        details |= {"run": view.run.run_id, "entity": view.run.entity, "rows": view.run.rows}
    if view.role is Role.BROKEN:
        return Component("DOWN", details)
    if view.role is Role.STARTING:
        return Component("UNKNOWN", details)
    return Component("OUT_OF_SERVICE" if view.paused else "UP", details)


def _freshness(view: PipelineVital) -> Component:
    details: dict[str, str | int | float | bool] = {}
    if view.age_s is not None:
        details["age_s"] = round(view.age_s, 1)
    if view.stale_after_s is not None:
        details["stale_after_s"] = round(view.stale_after_s, 1)
    if view.fresh is None:
        return Component("UNKNOWN", details)
    return Component("UP" if view.fresh else "DOWN", details)


def _backlog(backlog: Backlog) -> Component:
    return Component("UP", {"depth": backlog.depth, "age_s": round(backlog.age_s, 1)})
