"""The table that everybody reads and writes, and what happens to it in a night.

All of it is made inside PostgreSQL by hashing the number of the row, so a million rows take a few
seconds and every run, on every machine, has the same rows. The 15 columns are what a legacy table
has: numbers, texts of several lengths, money, days and times, flags, a uuid, and some NULLs.
"""

from typing import Final

COLUMNS: Final = 15
CHANGED_PER_MILLE: Final = 10  # 1 % of the rows are updated in a night
GONE_PER_MILLE: Final = 1  # and 0.1 % deleted, and as many inserted
STAFF_EDITS: Final = 100
NIGHTS_MAX: Final = 9  # a whole run has six

CREATE: Final = """
CREATE TABLE item (
    id bigint PRIMARY KEY,
    customer_id integer NOT NULL,
    status smallint NOT NULL,
    quantity integer,
    name varchar(60) NOT NULL,
    title text NOT NULL,
    note text,
    description text,
    postcode varchar(10),
    price numeric(12,2) NOT NULL,
    weight double precision,
    is_active boolean NOT NULL,
    started_on date,
    updated_at timestamptz NOT NULL,
    reference uuid NOT NULL
)
"""

# h: 63 random bits; m: 32 hexadecimal digits; n: 32 more where a long text needs them.
_SELECT: Final = """
SELECT g,
       (h % 200000)::integer,
       (h % 7)::smallint,
       CASE WHEN h % 10 <> 0 THEN (h % 5000)::integer END,
       initcap(translate(substr(m, 1, 12), '0123456789', 'ghijklmnop')) || ' '
           || initcap(translate(substr(m, 13, 4 + (h % 6)::integer), '0123456789', 'qrstuvwxyz')),
       'Item ' || g || ', series ' || substr(m, 20, 6),
       CASE WHEN h % 3 <> 0 THEN 'seen ' || substr(n, 1, 8) || '; ' || substr(n, 9, 16) END,
       CASE WHEN h % 20 <> 0 THEN m || ' / ' || substr(n, 1, 8 + (h % 24)::integer) END,
       CASE WHEN h % 8 <> 0
            THEN upper(substr(m, 3, 2)) || (h % 90 + 10) || ' ' || (h % 9 + 1)
                 || upper(substr(m, 7, 2)) END,
       (h % 10000000)::numeric / 100,
       CASE WHEN h % 5 <> 0 THEN (h % 1000003)::double precision / 1000 END,
       h % 4 <> 0,
       CASE WHEN h % 6 <> 0 THEN date '1940-01-01' + (h % 30000)::integer END,
       timestamptz '2015-01-01 00:00:00+00' + (h % 315360000) * interval '1.000007 second',
       m::uuid
FROM (SELECT g, hashint8extended(g, 1) & 9223372036854775807 AS h,
             md5(g::text) AS m, md5('n' || g) AS n
      FROM generate_series({first}::bigint, {last}::bigint) AS g) AS made
"""


def fill(first: int, last: int) -> str:
    """INSERT of the rows with the keys ``first`` to ``last``, both included."""
    return f"INSERT INTO item {_SELECT.format(first=first, last=last)}"


def _lot(night: int) -> str:
    """A number from 0 to 999 that a row draws anew each night."""
    return f"((hashint8extended(id, {night + 100}) & 9223372036854775807) % 1000)"


def update_some(night: int) -> str:
    """One row in a hundred gets another quantity and another time."""
    return (
        f"UPDATE item SET quantity = coalesce(quantity, 0) + 1, {is_updated(night)} "  # noqa: S608
        f"WHERE {_lot(night)} < {CHANGED_PER_MILLE}"
    )


def is_updated(night: int) -> str:
    """A condition that rows meet which that night has updated."""
    return f"updated_at = timestamptz '2025-01-01 00:00:00+00' + interval '{night} day'"


def is_deleted(night: int, rows: int) -> str:
    """A condition that rows meet which that night deletes, as long as they are there."""
    return f"{_is_doomed(night)} AND id < {_first_new(night, rows)}"


def _is_doomed(night: int) -> str:
    low, high = CHANGED_PER_MILLE, CHANGED_PER_MILLE + GONE_PER_MILLE
    return f"({_lot(night)} BETWEEN {low} AND {high - 1})"


def is_inserted(night: int, rows: int) -> str:
    """A condition that rows meet which that night has inserted."""
    return f"id >= {_first_new(night, rows)} AND id < {_first_new(night + 1, rows)}"


def delete_some(night: int, rows: int) -> str:
    """One row in a thousand goes; none that was updated in the same night."""
    return f"DELETE FROM item WHERE {is_deleted(night, rows)}"  # noqa: S608 - numbers


def insert_some(night: int, rows: int) -> str:
    """As many new rows as are deleted, above all keys so far."""
    return fill(_first_new(night, rows), _first_new(night + 1, rows) - 1)


def _first_new(night: int, rows: int) -> int:
    return 10 * rows + night * (rows * GONE_PER_MILLE // 1000)


def update_all(round_: int) -> str:
    """Every row gets another quantity and another time."""
    return (
        "UPDATE item SET quantity = coalesce(quantity, 0) + 1, "  # noqa: S608 - numbers
        f"updated_at = timestamptz '2026-01-01 00:00:00+00' + interval '{round_} day'"
    )


def edit_by_staff(night: int) -> str:
    """Staff write a note into 50 rows that the night will change, and into 50 that it will not.

    They never touch a row that any night of the benchmark deletes: that would be a conflict of
    its own, and the counts could not be foretold.
    """
    half = STAFF_EDITS // 2
    changed = f"{_lot(night)} < {CHANGED_PER_MILLE}"
    stays = " AND ".join(f"NOT {_is_doomed(other)}" for other in range(1, NIGHTS_MAX + 1))
    picked = " UNION ALL ".join(
        f"(SELECT id FROM item WHERE {condition} AND {stays} ORDER BY id LIMIT {half})"  # noqa: S608
        for condition in (changed, f"NOT {changed}")
    )
    return f"UPDATE item SET note = '{staff_note(night)}' WHERE id IN ({picked})"  # noqa: S608


def staff_note(night: int) -> str:
    """What staff write before that night; no generated row holds it."""
    return f"called back, night {night}"
