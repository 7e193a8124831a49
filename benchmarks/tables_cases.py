"""PostgreSQL to PostgreSQL: first load, quiet night, ordinary night, new epoch, everything new.

The order is that of a pipeline's life, so each case begins where the one before ended. The
yardstick is measured in turns with the job, on the same rows, and the middle one of each counts.
"""

from collections.abc import Callable
from typing import Final

from benchmarks import table
from benchmarks.measure import Sample, median_wall_s
from benchmarks.results import Case, Limit
from benchmarks.stage import SOURCE, TARGET, BenchError, RunOfSyncd, Stage

TURNS: Final = 3
COPY_TITLE: Final = "psql COPY item TO STDOUT"

_PIPE: Final = "bench_pipe"
_BARE: Final = "bench_bare"
_APPLIED_ROWS_PER_S_MIN: Final = 50_000


def initial(stage: Stage, rows: int) -> list[Case]:
    """An empty target, against two psql; and the rate, against the bare loop."""
    base: list[Sample] = []
    bare: list[Sample] = []
    job: list[Sample] = []
    for _ in range(TURNS):
        stage.make_database(_PIPE, table.CREATE)
        stage.sql("postgres", "CHECKPOINT")
        base.append(stage.copy_pipe(_PIPE))
        stage.make_database(_BARE, table.CREATE)
        stage.sql("postgres", "CHECKPOINT")
        bare.append(stage.bare_upsert(_BARE))
        stage.make_database(TARGET, table.CREATE)
        config = stage.pipeline()
        stage.init(config)
        stage.sql("postgres", "CHECKPOINT")
        ran = stage.syncd(config)
        _expect(ran, inserted=rows)
        job.append(ran.sample)
    stage.drop_database(_PIPE)
    stage.settle(TARGET, _BARE)
    load = Case("initial", "initial load", rows, "psql COPY | psql COPY", base, job)
    load.bound_ratio(3.5)
    load.bound_memory()
    return [load, _rate("initial_rate", "rows/s of the initial load", rows, bare, job)]


def quiet(stage: Stage, rows: int) -> Case:
    """Nothing has changed."""
    base, job = _in_turns(stage, lambda: stage.syncd(stage.pipeline()), unchanged=rows)
    case = Case("no_change", "no change", rows, COPY_TITLE, base, job)
    case.bound_ratio(0.8)
    case.bound_memory()
    return case


def nights(stage: Stage, rows: int) -> Case:
    """Three nights, each with 1 % updated, 0.1 % inserted and 0.1 % deleted, and staff at work."""
    base: list[Sample] = []
    job: list[Sample] = []
    kept = planted = written = 0
    for night in range(1, TURNS + 1):
        stage.sql(TARGET, table.edit_by_staff(night))
        changed = live_night(stage, night, rows)
        stage.settle(SOURCE, TARGET)
        base.append(stage.copy_out())
        ran = stage.syncd(stage.pipeline())
        _expect(ran, **changed)
        job.append(ran.sample)
        written += sum(changed.values())
        planted += table.STAFF_EDITS
        kept += staff_edits_left(stage, TARGET, night)
    title = "1 % updated, 0.1 % inserted, 0.1 % deleted"
    case = Case("night", title, rows, COPY_TITLE, base, job)
    case.facts = {
        "rows_changed_a_night": written // TURNS,
        "staff_edits": planted,
        "staff_edits_kept": kept,
    }
    case.bound_ratio(2.0)
    case.bound_memory()
    return case


def epoch(stage: Stage, rows: int) -> Case:
    """A column's type at the source is another one, its values are not: all rows are read again.

    Only the fingerprint stands between this and a million writes.
    """
    live = stage.number(SOURCE, "SELECT count(*) FROM item")
    before = stage.written(TARGET)
    stage.sql(SOURCE, "ALTER TABLE item ALTER COLUMN description TYPE varchar")
    base = [stage.copy_out()]
    ran = stage.syncd(stage.pipeline())
    _expect(ran, unchanged=live)
    after = stage.written(TARGET)
    stage.sql(SOURCE, "ALTER TABLE item ALTER COLUMN description TYPE text")
    writes = sum(after.values()) - sum(before.values())
    case = Case("epoch", "digest epoch change", rows, COPY_TITLE, base, [ran.sample])
    case.facts = {"target_writes": writes}
    case.limits.append(Limit("digest epoch change: rows written at the target", writes, most=0))
    case.bound_memory()
    return case


def everything(stage: Stage, rows: int) -> list[Case]:
    """Every row has changed; and the rate, against the bare loop on the same rows."""
    live = stage.number(SOURCE, "SELECT count(*) FROM item")
    stage.sql(SOURCE, table.update_all(1), "VACUUM FULL item")
    stage.settle(SOURCE, TARGET)
    base = [stage.copy_out()]
    bare = [stage.bare_upsert(_BARE)]
    stage.drop_database(_BARE)
    stage.sql("postgres", "CHECKPOINT")
    ran = stage.syncd(stage.pipeline())
    _expect(ran, updated=live)
    case = Case("everything", "100 % updated", rows, COPY_TITLE, base, [ran.sample])
    case.bound_memory()
    return [case, _rate("update_rate", "rows/s of a 100 % update", live, bare, [ran.sample])]


def live_night(stage: Stage, night: int, rows: int) -> dict[str, int]:
    """Let a night pass at the source; what changed, in the words of the report."""
    tags = stage.sql(
        SOURCE,
        table.update_some(night),
        table.delete_some(night),
        table.insert_some(night, rows),
    )
    updated, deleted, inserted = (int(tag.split()[-1]) for tag in tags)
    return {"updated": updated, "deleted": deleted, "inserted": inserted}


def staff_edits_left(stage: Stage, database: str, night: int, name: str = "item") -> int:
    """How many of the night's edits by staff are still in the target."""
    note = table.staff_note(night)
    return stage.number(database, f"SELECT count(*) FROM {name} WHERE note = '{note}'")  # noqa: S608


def _in_turns(
    stage: Stage, job: Callable[[], RunOfSyncd], **counts: int
) -> tuple[list[Sample], list[Sample]]:
    base, samples = [], []
    for _ in range(TURNS):
        base.append(stage.copy_out())
        ran = job()
        _expect(ran, **counts)
        samples.append(ran.sample)
    return base, samples


def _rate(name: str, title: str, rows: int, bare: list[Sample], job: list[Sample]) -> Case:
    """A case for the rate: 50,000 rows/s, or 0.9 of the bare loop's rate."""
    case = Case(name, title, rows, "bare COPY-and-upsert loop", bare, job)
    rate, bare_rate = rows / median_wall_s(job), rows / median_wall_s(bare)
    case.facts = {"rows_per_s": round(rate), "bare_rows_per_s": round(bare_rate)}
    if rate < _APPLIED_ROWS_PER_S_MIN:
        case.limits.append(Limit(f"{title}, of the bare loop's", rate / bare_rate, least=0.9))
    return case


def _expect(ran: RunOfSyncd, **counts: int) -> None:
    """Raise BenchError when a run did something else than what was prepared for it."""
    for name, rows in counts.items():
        found = ran.counts.get(name, 0)
        if found != rows:
            raise BenchError(f"expected {rows} {name}, found {found}: {dict(ran.counts)}")
