"""Homes: an aggregate to which everything happens each day, beside the tables of the sweep.

A home has a door (one row) and rooms (many); what must stand at the target is kept here.
"""

# ruff: noqa: S608 - the statements are made of constants and of the test's own numbers.

from typing import Final

import msgspec

from tests.pipeline.world import World

CONFIG: Final = """
  homes:
    from: homes
    key: [id]
    into: public.homes
    columns: {rooms: json}
    aggregate:
      link: {table: public.home_links, type: HOME}
      twins: [[name]]
      touch: [updated_at]
      parts:
        door: {into: public.doors, on: home_id, columns: {colour: door}}
        rooms:
          {into: public.rooms, on: home_id, rows: many, key: [name], fields: [name, size]}
"""
LEGACY: Final = """
CREATE TABLE homes (id int PRIMARY KEY, name text, door text, rooms jsonb);
INSERT INTO homes SELECT g, 'home ' || g, 'red', '[{"name": "hall", "size": 1}]'
FROM generate_series(1, 5) g;
"""
TARGET: Final = """
CREATE TABLE homes (id uuid PRIMARY KEY, name text UNIQUE, updated_at timestamptz NOT NULL);
CREATE TABLE doors (id uuid PRIMARY KEY, home_id uuid NOT NULL UNIQUE REFERENCES homes,
    colour text NOT NULL);
CREATE TABLE rooms (id uuid PRIMARY KEY, home_id uuid NOT NULL REFERENCES homes, name text,
    size int);
CREATE TABLE home_links (id uuid PRIMARY KEY, entity_type text, source_id text,
    source_updated_at timestamptz, target_id uuid NOT NULL, target_updated_at timestamptz NOT NULL,
    imported_at timestamptz NOT NULL, UNIQUE (entity_type, source_id));
"""
EMPTY: Final = "TRUNCATE homes, doors, rooms, home_links"
_FOUND: Final = """
SELECT h.name, d.colour, (SELECT string_agg(r.name || r.size, ',' ORDER BY r.name) FROM rooms r
                          WHERE r.home_id = h.id)
FROM homes h LEFT JOIN doors d ON d.home_id = h.id
WHERE EXISTS (SELECT FROM home_links l WHERE l.target_id = h.id AND l.source_id = $1)
"""
_LINKED: Final = """
SELECT l.source_id::int FROM home_links l JOIN homes h ON h.id = l.target_id ORDER BY 1
"""

Home = tuple[str, str, str]


class Homes:
    """What the homes must be, and a day's work on them."""

    def __init__(self, world: World) -> None:
        self._world = world
        self._next = 6
        self.expected: dict[int, Home] = {n: (f"home {n}", "red", "hall1") for n in range(1, 6)}

    async def a_day(self) -> None:
        """One is new, one was built by staff already, one changes in all its parts, one goes."""
        new, twin, changed, gone = self._next, self._next + 1, self._next - 1, self._next - 3
        self._next += 2
        rooms = [{"name": "hall", "size": 2}, {"name": "cellar", "size": 3}]
        text = msgspec.json.encode(rooms).decode()
        await self._world.legacy(
            f"INSERT INTO homes SELECT g, 'home ' || g, 'red', '[{{\"name\": \"hall\", "
            f'"size": 1}}]\' FROM generate_series({new}, {twin}) g',
            f"UPDATE homes SET door = 'blue', rooms = '{text}' WHERE id = {changed}",
            f"DELETE FROM homes WHERE id = {gone}",
        )
        await self._world.staff(
            f"INSERT INTO homes VALUES (gen_random_uuid(), 'home {twin}', now())",
            "INSERT INTO doors SELECT gen_random_uuid(), id, 'red' FROM homes "
            f"WHERE name = 'home {twin}'",
            "INSERT INTO rooms SELECT gen_random_uuid(), id, 'hall', 1 FROM homes "
            f"WHERE name = 'home {twin}'",
        )
        self.expected |= {n: (f"home {n}", "red", "hall1") for n in (new, twin)}
        self.expected[changed] = (f"home {changed}", "blue", "cellar3,hall2")
        del self.expected[gone]

    async def emptied(self) -> None:
        """The target knows nothing of them any more."""
        await self._world.staff(EMPTY)

    async def assert_whole(self) -> None:
        """Each home that is linked has all that belongs to it: never half of it (I6)."""
        odd = await self._world.rows(
            "SELECT h.name FROM homes h LEFT JOIN doors d ON d.home_id = h.id "
            "WHERE d.id IS NULL OR NOT EXISTS (SELECT FROM rooms r WHERE r.home_id = h.id)"
        )
        assert odd == [], f"homes without a door or without rooms: {odd}"
        stray = await self._world.rows(
            "SELECT d.id FROM doors d LEFT JOIN homes h ON h.id = d.home_id WHERE h.id IS NULL"
        )
        assert stray == []
        doubled = await self._world.rows(
            "SELECT target_id FROM home_links GROUP BY 1 HAVING count(*) > 1"
        )
        assert doubled == [], "two records are linked to one row (I4)"

    async def assert_healed(self) -> None:
        """Exactly what the source says, each under its own link."""
        found = [number for (number,) in await self._world.rows(_LINKED)]
        assert found == sorted(self.expected), f"homes: {set(found) ^ set(self.expected)}"
        for number, home in self.expected.items():
            assert await self._world.rows(_FOUND, str(number)) == [home]
