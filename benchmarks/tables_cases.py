"""PostgreSQL to PostgreSQL: first load, quiet night, ordinary night, new epoch, everything new.

The order is that of a pipeline's life, so each case begins where the one before ended. The
yardstick is measured in turns with the job, on the same rows, and the middle one of each counts.
"""

from typing import Final

from benchmarks import table
from benchmarks.measure import Sample, median_wall_s
from benchmarks.results import Case, Limit, Sees
from benchmarks.stage import SOURCE, TARGET, Stage, expect

TURNS: Final = 3
COPY_TITLE: Final = "psql COPY item TO STDOUT"

_PIPE: Final = "bench_pipe"
_BARE: Final = "bench_bare"
_APPLIED_ROWS_PER_S_MIN: Final = 50_000


class Tables:
    """The cases between two tables. Each may be called once, in the order in which they stand.

    What a case needs from one that was left out is done unmeasured.
    """

    def __init__(self, stage: Stage, rows: int) -> None:
        self._stage = stage
        self._rows = rows
        self._night = 0
        self._is_loaded = False
        self.sees: list[Sees] = []

    def initial(self) -> list[Case]:
        """An empty target, against two psql; and the rate, against the bare loop."""
        stage, rows = self._stage, self._rows
        base: list[Sample] = []
        bare: list[Sample] = []
        job: list[Sample] = []
        for _ in range(TURNS):
            self._empty(_PIPE)
            base.append(stage.copy_pipe(_PIPE))
            self._empty(_BARE)
            bare.append(stage.bare_upsert(_BARE))
            job.append(self._load())
        stage.drop_database(_PIPE)
        stage.settle(TARGET, _BARE)
        load = Case("initial", "initial load", rows, "psql COPY | psql COPY", base, job)
        load.bound_ratio(3.5)
        load.bound_memory()
        return [load, _rate("initial_rate", "rows/s of the initial load", rows, bare, job)]

    def no_change(self) -> list[Case]:
        """Nothing has changed."""
        stage = self._loaded()
        live = stage.number(SOURCE, "SELECT count(*) FROM item")
        base, job = [], []
        for _ in range(TURNS):
            base.append(stage.copy_out())
            ran = stage.syncd(stage.pipeline())
            expect(ran, unchanged=live)
            job.append(ran.sample)
        case = Case("no_change", "no change", self._rows, COPY_TITLE, base, job)
        case.bound_ratio(0.8)
        case.bound_memory()
        return [case]

    def night(self) -> list[Case]:
        """Nights with 1 % updated, 0.1 % inserted and 0.1 % deleted, and with staff at work."""
        stage = self._loaded()
        base, job = [], []
        seen: list[Sees] = []
        for _ in range(TURNS):
            night = self.next_night()
            stage.sql(TARGET, table.edit_by_staff(night))
            changed = live_night(stage, night, self._rows)
            stage.settle(SOURCE, TARGET)
            base.append(stage.copy_out())
            ran = stage.syncd(stage.pipeline())
            expect(ran, **changed)
            job.append(ran.sample)
            seen.append(what_it_saw(stage, "syncd", TARGET, "item", night, self._rows, changed))
        self.sees = seen[-1:]
        title = "1 % updated, 0.1 % inserted, 0.1 % deleted"
        case = Case("night", title, self._rows, COPY_TITLE, base, job)
        case.facts = {
            "rows_changed_a_night": sum(changed.values()),
            "staff_edits": table.STAFF_EDITS * TURNS,
            "staff_edits_kept": sum(one.edits_kept for one in seen),
        }
        case.bound_ratio(2.0)
        case.bound_memory()
        return [case]

    def epoch(self) -> list[Case]:
        """A column's type at the source is another one, its values are not: all is read again.

        Only the fingerprint stands between this and a million writes.
        """
        stage = self._loaded()
        live = stage.number(SOURCE, "SELECT count(*) FROM item")
        before = stage.written(TARGET)
        stage.sql(SOURCE, "ALTER TABLE item ALTER COLUMN description TYPE varchar")
        base = [stage.copy_out()]
        ran = stage.syncd(stage.pipeline())
        expect(ran, unchanged=live)
        writes = sum(stage.written(TARGET).values()) - sum(before.values())
        case = Case("epoch", "digest epoch change", self._rows, COPY_TITLE, base, [ran.sample])
        case.facts = {"target_writes": writes}
        case.limits.append(Limit("digest epoch change: rows written at the target", writes, most=0))
        case.bound_memory()
        return [case]

    def everything(self) -> list[Case]:
        """Every row has changed; and the rate, against the bare loop on the same rows."""
        stage, rows = self._loaded(), self._rows
        if not stage.has_database(_BARE):
            self._empty(_BARE)
            stage.bare_upsert(_BARE)
        live = stage.number(SOURCE, "SELECT count(*) FROM item")
        stage.sql(SOURCE, table.update_all(1), "VACUUM FULL item")
        stage.settle(SOURCE, TARGET, _BARE)
        base = [stage.copy_out()]
        bare = [stage.bare_upsert(_BARE)]
        stage.drop_database(_BARE)
        stage.sql("postgres", "CHECKPOINT")
        ran = stage.syncd(stage.pipeline())
        expect(ran, updated=live)
        case = Case("everything", "100 % updated", rows, COPY_TITLE, base, [ran.sample])
        case.bound_memory()
        rate = _rate("update_rate", "rows/s of a 100 % update", live, bare, [ran.sample])
        return [case, rate]

    def next_night(self) -> int:
        """The number of a night that has not been."""
        self._night += 1
        assert self._night <= table.NIGHTS_MAX
        return self._night

    def _empty(self, database: str) -> None:
        self._stage.make_database(database, table.CREATE)
        self._stage.sql("postgres", "CHECKPOINT")

    def _load(self) -> Sample:
        """The first run into an empty target."""
        stage = self._stage
        stage.make_database(TARGET, table.CREATE)
        config = stage.pipeline()
        stage.init(config)
        stage.sql("postgres", "CHECKPOINT")
        ran = stage.syncd(config)
        expect(ran, inserted=stage.number(SOURCE, "SELECT count(*) FROM item"))
        self._is_loaded = True
        return ran.sample

    def _loaded(self) -> Stage:
        if not self._is_loaded:
            self._load()
            self._stage.settle(TARGET)
        return self._stage


def live_night(stage: Stage, night: int, rows: int) -> dict[str, int]:
    """Let a night pass at the source; what changed, in the words of the report."""
    tags = stage.sql(
        SOURCE,
        table.update_some(night),
        table.delete_some(night, rows),
        table.insert_some(night, rows),
    )
    updated, deleted, inserted = (int(tag.split()[-1]) for tag in tags)
    return {"updated": updated, "deleted": deleted, "inserted": inserted}


def what_it_saw(
    stage: Stage,
    name: str,
    database: str,
    item: str,
    night: int,
    rows: int,
    changed: dict[str, int],
) -> Sees:
    """What of a night has reached the table ``item`` of a target."""

    def count(condition: str) -> int:
        return stage.number(database, f"SELECT count(*) FROM {item} WHERE {condition}")  # noqa: S608

    return Sees(
        name=name,
        changed=changed,
        inserted=count(table.is_inserted(night, rows)),
        updated=count(table.is_updated(night)),
        deleted=changed["deleted"] - count(table.is_deleted(night, rows)),
        edits=table.STAFF_EDITS,
        edits_kept=count(f"note = '{table.staff_note(night)}'"),
    )


def _rate(name: str, title: str, rows: int, bare: list[Sample], job: list[Sample]) -> Case:
    """A case for the rate: 50,000 rows/s, or 0.9 of the bare loop's rate."""
    case = Case(name, title, rows, "bare COPY-and-upsert loop", bare, job)
    rate, bare_rate = rows / median_wall_s(job), rows / median_wall_s(bare)
    case.facts = {"rows_per_s": round(rate), "bare_rows_per_s": round(bare_rate)}
    if rate < _APPLIED_ROWS_PER_S_MIN:
        case.limits.append(
            Limit(f"{title}, as a part of the bare loop's", rate / bare_rate, least=0.9)
        )
    return case
