"""Five times as many rows: the time grows with them, the memory must not."""

from typing import Final

from benchmarks import table
from benchmarks.results import Case, Limit
from benchmarks.stage import Stage, expect
from benchmarks.tables_cases import COPY_TITLE, TURNS

GROWTH_MAX: Final = 1.1

_SOURCE: Final = "bench_source_large"
_TARGET: Final = "bench_target_large"


def scaled(stage: Stage, rows: int, small: Case | None) -> list[Case]:
    """A first load (recorded) and quiet nights; memory is held against the ``small`` night."""
    stage.make_source(rows, _SOURCE)
    stage.make_database(_TARGET, table.CREATE)
    config = stage.pipeline(_SOURCE, _TARGET)
    stage.init(config)
    stage.sql("postgres", "CHECKPOINT")
    base = [stage.copy_out(_SOURCE)]
    ran = stage.syncd(config)
    expect(ran, inserted=rows)
    load = Case("initial_large", f"initial load of {rows:,}", rows, COPY_TITLE, base, [ran.sample])
    load.bound_memory()
    stage.settle(_TARGET)
    base, job = [], []
    for _ in range(TURNS):
        base.append(stage.copy_out(_SOURCE))
        ran = stage.syncd(config)
        expect(ran, unchanged=rows)
        job.append(ran.sample)
    quiet = Case("no_change_large", f"no change in {rows:,}", rows, COPY_TITLE, base, job)
    quiet.bound_memory()
    if small is not None:
        growth = quiet.rss_mib / small.rss_mib
        quiet.facts["memory_growth"] = round(growth, 3)
        what = f"memory at {rows:,} rows over memory at {small.rows:,}"
        quiet.limits.append(Limit(what, growth, most=GROWTH_MAX))
    for database in (_SOURCE, _TARGET):
        stage.drop_database(database)
    return [load, quiet]
