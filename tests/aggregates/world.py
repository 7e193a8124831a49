"""A small copy of a real target: referrals with their parts, groups with slots, memberships.

The legacy system keeps each aggregate in a table of its own, lists as JSON. Everything goes through
``syncd.app``, as in ``tests/pipeline``.
"""

from typing import Final

from syncd.config import Aggregate, ColumnConfig, Entity, Link, Need, Part

LEGACY: Final = """
CREATE TABLE referral (
    source_referral_id text PRIMARY KEY, crn text, person_name text, event_id text,
    sourced_from text, created_at timestamp, source_updated_at timestamptz,
    region_name text, reporting_team_name text, history jsonb);
CREATE TABLE programme_group (
    source_group_id int PRIMARY KEY, code text, region_name text, slots jsonb);
CREATE TABLE membership (source_id text PRIMARY KEY, referral text, programme_group int);
"""
TARGET: Final = """
CREATE TABLE referral (
    id uuid PRIMARY KEY, crn text NOT NULL, person_name text, event_id text, sourced_from text,
    created_at timestamp NOT NULL DEFAULT now(), status text NOT NULL DEFAULT 'open',
    updated_at timestamp NOT NULL DEFAULT now(),
    UNIQUE (crn, event_id, sourced_from), CHECK (person_name <> 'refused'));
CREATE TABLE referral_reporting_location (
    id uuid PRIMARY KEY, referral_id uuid NOT NULL UNIQUE REFERENCES referral,
    region_name text NOT NULL DEFAULT 'UNKNOWN', reporting_team text NOT NULL DEFAULT 'UNKNOWN',
    updated_at timestamp NOT NULL, CHECK (reporting_team <> 'refused'));
CREATE TABLE referral_status_history (
    id uuid PRIMARY KEY, referral_id uuid NOT NULL REFERENCES referral, status text NOT NULL,
    start_date timestamp, created_by text NOT NULL, created_at timestamp NOT NULL DEFAULT now());
CREATE TABLE programme_group (
    id uuid PRIMARY KEY, code text NOT NULL, region_name text NOT NULL, updated_at timestamp,
    UNIQUE (code, region_name));
CREATE TABLE programme_group_session_slot (
    id uuid PRIMARY KEY, programme_group_id uuid NOT NULL REFERENCES programme_group,
    day_of_week text NOT NULL, start_time time NOT NULL, room text, updated_at timestamp NOT NULL);
CREATE TABLE programme_group_membership (
    id uuid PRIMARY KEY, programme_group_id uuid NOT NULL REFERENCES programme_group,
    referral_id uuid NOT NULL REFERENCES referral, UNIQUE (referral_id));
CREATE TABLE data_import_record (
    id uuid PRIMARY KEY, entity_type varchar(255) NOT NULL, source_id varchar(255) NOT NULL,
    source_updated_at timestamptz, target_id uuid NOT NULL, target_updated_at timestamptz NOT NULL,
    imported_at timestamptz NOT NULL, UNIQUE (entity_type, source_id));
"""
LINKS: Final = "public.data_import_record"
REFERRAL: Final = Entity(
    from_="referral",
    key=("source_referral_id",),
    into="public.referral",
    columns={"history": "json"},
    aggregate=Aggregate(
        link=Link(table=LINKS, type="REFERRAL", updated="source_updated_at"),
        twins=(("crn", "event_id", "sourced_from"), ("crn", "date(created_at)")),
        touch=("updated_at",),
        parts={
            "location": Part(
                into="public.referral_reporting_location",
                on="referral_id",
                columns={"region_name": "region_name", "reporting_team": "reporting_team_name"},
                touch=("updated_at",),
            ),
            "history": Part(
                into="public.referral_status_history",
                on="referral_id",
                rows="append",
                key=("status", "start_date"),
                fields=("status", "start_date", "created_by"),
                ignore={"created_by": ("SYSTEM",)},
            ),
        },
    ),
)
GROUP: Final = Entity(
    from_="programme_group",
    key=("source_group_id",),
    into="public.programme_group",
    aggregate=Aggregate(
        link=Link(table=LINKS, type="GROUP"),
        touch=("updated_at",),
        parts={
            "slots": Part(
                into="public.programme_group_session_slot",
                on="programme_group_id",
                rows="many",
                key=("day_of_week", "start_time"),
                fields=("day_of_week", "start_time", "room"),
                touch=("updated_at",),
            )
        },
    ),
)
MEMBERSHIP: Final = Entity(
    from_="membership",
    key=("source_id",),
    into="public.programme_group_membership",
    columns={
        "referral": ColumnConfig(into="referral_id"),
        "programme_group": ColumnConfig(into="programme_group_id"),
    },
    needs={"referral": Need(columns=("referral",)), "group": Need(columns=("programme_group",))},
    aggregate=Aggregate(
        link=Link(table=LINKS, type="MEMBERSHIP"),
        refers={"referral_id": "referral", "programme_group_id": "group"},
    ),
)
ENTITIES: Final = {"referral": REFERRAL, "group": GROUP, "membership": MEMBERSHIP}
DOCUMENT: Final = """
SELECT r.crn, r.person_name, r.status, l.region_name, l.reporting_team,
       (SELECT array_agg(h.status || ' by ' || h.created_by ORDER BY h.created_at, h.status)
        FROM referral_status_history h WHERE h.referral_id = r.id)
FROM referral r LEFT JOIN referral_reporting_location l ON l.referral_id = r.id
JOIN data_import_record d ON d.target_id = r.id AND d.entity_type = 'REFERRAL'
WHERE d.source_id = $1
"""


def referral(number: int, **fields: str | None) -> str:
    """INSERT of a referral at the legacy system."""
    usual = {
        "source_referral_id": f"r{number}",
        "crn": f"X{number:06}",
        "person_name": f"person {number}",
        "event_id": str(number),
        "sourced_from": "REQUIREMENT",
        "created_at": "2026-03-01",
        "source_updated_at": "2026-03-02 03:04:05+00",
        "region_name": "North",
        "reporting_team_name": "Team 1",
        "history": '[{"status": "Awaiting assessment", "created_by": "IM", '
        '"start_date": "2026-03-01T00:00:00"}]',
    }
    known = {**usual, **fields}
    names = ", ".join(known)
    values = ", ".join("NULL" if v is None else f"$v${v}$v$" for v in known.values())
    return f"INSERT INTO referral ({names}) VALUES ({values})"  # noqa: S608 - the test's own


def group(number: int, slots: str = '[{"day_of_week": "MONDAY", "start_time": "09:30"}]') -> str:
    """INSERT of a group at the legacy system."""
    return f"INSERT INTO programme_group VALUES ({number}, 'G{number}', 'North', '{slots}')"  # noqa: S608


def membership(number: int, of: int, to: int) -> str:
    """INSERT of a membership at the legacy system."""
    return f"INSERT INTO membership VALUES ('m{number}', 'r{of}', {to})"  # noqa: S608
