"""Aggregates: a root with a part and a list, against a loop with one transaction per aggregate.

The yardstick is what an importer does that takes one aggregate at a time: BEGIN, four statements,
COMMIT, on two connections, with nothing looked up, compared or remembered. What syncd does beyond
that is paid for by writing many aggregates at once.

    python -m benchmarks.aggregate_case bare SOURCE_DSN TARGET_DSN
"""

import asyncio
import sys
import uuid
from typing import Any, Final

import asyncpg

from benchmarks.measure import Sample
from benchmarks.results import Case, Limit
from benchmarks.stage import Stage, expect

AGGREGATES_PER_S_MIN: Final = 8000  # the goal for a set-based apply on two cores
TIMES_MIN: Final = 7.0  # over one transaction per aggregate
_SOURCE: Final = "bench_aggregates"
_TARGET: Final = "bench_documents"
_BARE: Final = "bench_one_by_one"
_CONNECTIONS: Final = 2
_BARE_AGGREGATES: Final = 5000  # it is slow; its rate does not depend on the number
_LEGACY: Final = """
CREATE TABLE referral (id int PRIMARY KEY, crn text, person_name text, event_id text,
    created_at timestamp, changed_at timestamptz, region text, team text, slots jsonb)
"""
_FILL: Final = """
INSERT INTO referral SELECT g, 'X' || lpad(g::text, 7, '0'), 'person ' || g, g::text,
    '2026-01-01'::timestamp + g * interval '1 minute', NULL,
    'region ' || g % 12, 'team ' || g % 300,
    jsonb_build_array(jsonb_build_object('day', 'MONDAY', 'at', '09:30', 'room', g::text),
                      jsonb_build_object('day', 'FRIDAY', 'at', '14:00', 'room', g::text))
FROM generate_series(1, {rows}) g
"""
_TABLES: Final = """
CREATE TABLE referral (id uuid PRIMARY KEY, crn text NOT NULL, person_name text, event_id text,
    created_at timestamp NOT NULL, updated_at timestamp NOT NULL, UNIQUE (crn, event_id));
CREATE TABLE location (id uuid PRIMARY KEY, referral_id uuid NOT NULL UNIQUE REFERENCES referral,
    region text NOT NULL, team text NOT NULL, updated_at timestamp NOT NULL);
CREATE TABLE slot (id uuid PRIMARY KEY, referral_id uuid NOT NULL REFERENCES referral,
    day text NOT NULL, at time NOT NULL, room text, updated_at timestamp NOT NULL);
CREATE INDEX ON slot (referral_id);
CREATE TABLE link (id uuid PRIMARY KEY, entity_type varchar(255), source_id varchar(255),
    source_updated_at timestamptz, target_id uuid NOT NULL, target_updated_at timestamptz NOT NULL,
    imported_at timestamptz NOT NULL, UNIQUE (entity_type, source_id));
CREATE UNIQUE INDEX ON link (entity_type, target_id)
"""
_CHANGE: Final = """
UPDATE referral SET person_name = person_name || '.', team = team || '.',
    slots = jsonb_set(slots, '{1,room}', '"9"')
"""
_READ: Final = """
SELECT id, crn, person_name, event_id, created_at, region, team FROM referral LIMIT $1
"""
_ENTITY: Final = """
    from: public.referral
    key: [id]
    into: public.referral
    columns: {slots: json}
    aggregate:
      link: {table: public.link, type: REFERRAL, updated: changed_at}
      twins: [[crn, event_id], [crn, "date(created_at)"]]
      touch: [updated_at]
      parts:
        location:
          {into: public.location, on: referral_id, columns: {region: region, team: team},
           touch: [updated_at]}
        slots:
          {into: public.slot, on: referral_id, rows: many, key: [day, at],
           fields: [day, at, room], touch: [updated_at]}
"""


def aggregates(stage: Stage, rows: int) -> list[Case]:
    """A first load, a quiet night, and a night on which everything changed."""
    stage.make_database(_SOURCE, _LEGACY, _FILL.format(rows=rows))
    stage.make_database(_TARGET, *_TABLES.split(";"))
    stage.make_database(_BARE, *_TABLES.split(";"))
    stage.settle(_SOURCE)
    bare = _one_by_one(stage)
    source = f'{{kind: postgres, dsn: "{stage.dsn(_SOURCE)}"}}'
    config = stage.configure("aggregates", source, _ENTITY, _TARGET)
    stage.init(config)
    cases = []
    for name, title, outcome in (
        ("aggregate_load", "first load of aggregates", "inserted"),
        ("aggregate_quiet", "a quiet night of aggregates", "unchanged"),
        ("aggregate_update", "every aggregate changed", "updated"),
    ):
        if outcome == "updated":
            stage.sql(_SOURCE, _CHANGE)
        stage.settle(_SOURCE, _TARGET)
        ran = stage.syncd(config)
        expect(ran, **{outcome: rows})
        cases.append(_case(name, title, rows, bare, ran.sample, written=outcome != "unchanged"))
    return cases


def _case(name: str, title: str, rows: int, bare: Sample, sample: Sample, *, written: bool) -> Case:
    case = Case(name, title, rows, "one transaction per aggregate", [bare], [sample])
    per_s = round(rows / sample.wall_s)
    bare_per_s = round(_BARE_AGGREGATES / bare.wall_s)
    case.facts = {"aggregates_per_s": per_s, "one_by_one_per_s": bare_per_s}
    if written:
        case.limits.append(Limit(f"{title}: aggregates/s", per_s, least=AGGREGATES_PER_S_MIN))
        times = round(per_s / bare_per_s, 1)
        case.limits.append(Limit(f"{title}: times one by one", times, least=TIMES_MIN))
    case.bound_memory()
    return case


def _one_by_one(stage: Stage) -> Sample:
    command = [sys.executable, "-m", "benchmarks.aggregate_case", "bare"]
    return stage.measured([*command, stage.dsn(_SOURCE), stage.dsn(_BARE)]).sample


async def _bare(source_dsn: str, target_dsn: str) -> None:
    """Two connections, each with a half of the records."""
    connection: Any = await asyncpg.connect(source_dsn)
    rows = await connection.fetch(_READ, _BARE_AGGREGATES)
    await connection.close()
    async with asyncio.TaskGroup() as tasks:
        for at in range(_CONNECTIONS):
            tasks.create_task(_import(target_dsn, rows[at::_CONNECTIONS]))


async def _import(dsn: str, rows: list[Any]) -> None:
    connection: Any = await asyncpg.connect(dsn)
    for number, crn, name, event, created, region, team in rows:
        own = uuid.uuid4()
        async with connection.transaction():
            await connection.execute(
                "INSERT INTO referral VALUES ($1, $2, $3, $4, $5, now())",
                *(own, crn, name, event, created),
            )
            await connection.execute(
                "INSERT INTO location VALUES ($1, $2, $3, $4, now())",
                *(uuid.uuid4(), own, region, team),
            )
            await connection.execute(
                "INSERT INTO slot VALUES ($1, $3, 'MONDAY', '09:30', '1', now()), "
                "($2, $3, 'FRIDAY', '14:00', '1', now())",
                *(uuid.uuid4(), uuid.uuid4(), own),
            )
            await connection.execute(
                "INSERT INTO link VALUES ($1, 'REFERRAL', $2, NULL, $3, now(), now())",
                *(uuid.uuid4(), str(number), own),
            )
    await connection.close()


if __name__ == "__main__":
    asyncio.run(_bare(*sys.argv[2:4]))
