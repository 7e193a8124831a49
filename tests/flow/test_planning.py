"""Planning, the columns: what is pinned, what is drift, and how the two sides are mapped."""

from collections.abc import Mapping
from typing import Any, Literal

import pytest
from msgspec.structs import replace

from syncd.config import ColumnConfig
from syncd.errors import ConfigError, DriftError
from syncd.flow.model import Column, ColumnType, Found, Kind, Ownership, Shape
from syncd.planning import Mapped, describe_found, drift, map_columns, type_text
from tests.flow.plan_world import MONEY, PEOPLE, PINNED, config_of, entity_of, shape

# -- what is pinned ----------------------------------------------------------------------------


@pytest.mark.parametrize(
    ("type_", "text"),
    [
        (ColumnType(Kind.TEXT, zone="Europe/London", strip=True), "text"),
        (ColumnType(Kind.DECIMAL), "decimal"),
        (ColumnType(Kind.DECIMAL, scale=0), "decimal(0)"),
        (ColumnType(Kind.DECIMAL, scale=-2), "decimal(-2)"),
    ],
)
def test_a_type_is_pinned_as_its_kind_and_decimals(type_: ColumnType, text: str) -> None:
    """How text is read is the configuration's affair, and no property of the source."""
    assert type_text(type_) == text


def test_all_columns_are_pinned_in_the_order_of_the_source() -> None:
    """A mirror is made with them in that order."""
    pinned = describe_found("people", entity_of(), PEOPLE)
    assert pinned == PINNED
    assert list(pinned) == ["name", "id", "born", "debt"]


def test_only_the_columns_asked_for_are_pinned_and_the_key() -> None:
    """What is not mapped may come and go."""
    pinned = describe_found("people", entity_of(only=("debt",)), PEOPLE)
    assert list(pinned) == ["id", "debt"]


@pytest.mark.parametrize(
    "fields",
    [
        {"key": ("id", "zip", "code")},
        {"only": ("zip", "code")},
        {"columns": {"zip": "text", "code": ColumnConfig()}},
        {"key": ("zip",), "columns": {"code": "text"}},
    ],
)
def test_a_column_that_is_configured_must_be_at_the_source(fields: Mapping[str, Any]) -> None:
    """The error names all that are lacking and all that were found."""
    with pytest.raises(DriftError) as info:
        describe_found("people", entity_of(**fields), PEOPLE)
    assert info.value.message == (
        "entity people: the source has no column code, zip; found name, id, born, debt"
    )


# -- drift -------------------------------------------------------------------------------------


def without(shape_: Shape, *names: str) -> Shape:
    """The shape without some columns."""
    return {name: found for name, found in shape_.items() if name not in names}


@pytest.mark.parametrize(
    "found",
    [
        PEOPLE,
        dict(sorted(PEOPLE.items())),
        {**PEOPLE, "name": replace(PEOPLE["name"], nullable=False, native="varchar(9)")},
        {**PEOPLE, "name": replace(PEOPLE["name"], writable=False)},
    ],
    ids=["the same", "reordered", "not null, other length", "generated"],
)
def test_what_means_the_same_is_no_drift(found: Shape) -> None:
    """Order, length and NOT NULL change no canonical value (case 49)."""
    assert drift("people", PINNED, entity_of(), found) == ""


@pytest.mark.parametrize(
    ("found", "told"),
    [
        (without(PEOPLE, "born"), "has lost the column born; nothing was read, nothing is deleted"),
        (without(PEOPLE, "born", "name"), "has lost the column name, born; nothing was read"),
        (
            {**without(PEOPLE, "born"), "birthday": PEOPLE["born"]},
            "has lost the column born; new are birthday; nothing was read",
        ),
        ({**PEOPLE, **shape(born=Kind.TEXT)}, "has changed a type: born was date and is text"),
        (
            {**PEOPLE, **shape(debt=ColumnType(Kind.DECIMAL, scale=3))},
            "has changed a type: debt was decimal(2) and is decimal(3)",
        ),
        (
            {**PEOPLE, **shape(debt=Kind.DECIMAL, id=Kind.UUID)},
            "id was integer and is uuid, debt was decimal(2) and is decimal",
        ),
    ],
    ids=["dropped", "two dropped", "renamed", "retyped", "other scale", "two retyped"],
)
def test_a_column_lost_or_retyped_stops_the_entity(found: Shape, told: str) -> None:
    """The error says which, what was expected and found, and how to accept it (case 49)."""
    with pytest.raises(DriftError) as info:
        drift("people", PINNED, entity_of(), found)
    assert told in info.value.message
    assert info.value.hint == "if that is meant, run syncd init --accept-schema people"


def test_a_new_column_is_told_and_left_alone() -> None:
    """Nothing is guessed about it (case 49)."""
    found = {**PEOPLE, **shape(email=Kind.TEXT, phone=Kind.TEXT)}
    assert drift("people", PINNED, entity_of(), found) == (
        "new columns at the source are not mapped: email, phone "
        "(to take them: syncd init --accept-schema people)"
    )


def test_where_columns_are_chosen_a_new_one_is_no_news() -> None:
    """Nobody asked for it."""
    pinned = {"id": "integer", "debt": "decimal(2)"}
    assert drift("people", pinned, entity_of(only=("debt",)), PEOPLE) == ""


# -- columns and their types -------------------------------------------------------------------


def mapped(
    target: Shape | None = None, kind: Literal["files", "postgres"] = "postgres", **fields: Any
) -> Mapped:
    """The mapping of people onto ``target``."""
    return map_columns(config_of(entity_of(**fields), kind), "people", PINNED, target or {})


def types(of: Mapped) -> dict[str, ColumnType]:
    """Types by source name."""
    return {column.name: column.type for column in of.columns}


def test_columns_are_sorted_by_name_and_drafted_ones_by_their_new_name() -> None:
    """Rows, drafts and bases follow these orders for ever."""
    made = mapped(columns={"born": ColumnConfig(into="z_born"), "id": ColumnConfig(into="key")})
    assert [column.name for column in made.columns] == ["born", "debt", "id", "name"]
    assert [column.into for column in made.drafted] == ["debt", "key", "name", "z_born"]
    assert (made.key, made.target_key) == ((2,), (1,))


def test_the_key_keeps_the_order_that_was_configured() -> None:
    """It is the order of its bytes."""
    made = mapped(key=("name", "id", "born"))
    assert made.key == made.target_key == (3, 2, 0)


def test_a_database_has_the_types_that_were_pinned() -> None:
    """Whatever the target makes of them."""
    target = shape(id=Kind.TEXT, debt=Kind.FLOAT)
    assert types(mapped(target)) == {
        "born": ColumnType(Kind.DATE),
        "debt": MONEY,
        "id": ColumnType(Kind.INTEGER),
        "name": ColumnType(),
    }


def test_a_dump_takes_the_types_of_the_target() -> None:
    """Its own are all text; a column that the target lacks stays what was pinned."""
    pinned = dict.fromkeys(PINNED, "text")
    config = config_of(entity_of(columns={"debt": ColumnConfig(into="owed")}), "files")
    target = shape(id=Kind.INTEGER, owed=MONEY, debt=Kind.JSON, born=Kind.DATE)
    assert types(map_columns(config, "people", pinned, target)) == {
        "born": ColumnType(Kind.DATE),
        "debt": MONEY,
        "id": ColumnType(Kind.INTEGER),
        "name": ColumnType(),
    }


@pytest.mark.parametrize("kind", ["files", "postgres"])
def test_a_declared_type_is_stronger_than_both_sides(kind: Literal["files", "postgres"]) -> None:
    """In its short form and in its long one."""
    made = mapped(
        shape(debt=Kind.FLOAT, born=Kind.DATE),
        kind,
        columns={"debt": "numeric(9, 4)", "born": ColumnConfig(type="text")},
    )
    assert types(made)["debt"] == ColumnType(Kind.DECIMAL, scale=4)
    assert types(made)["born"] == ColumnType()


def test_how_text_is_read_is_taken_from_the_long_form() -> None:
    """Every rule that a column may declare, with or without a type of its own."""
    rules: Any = {
        "zone": "Europe/London",
        "fold": "later",
        "empty_as_null": True,
        "strip": True,
        "null_values": ("n/a",),
    }
    declared = mapped(columns={"born": ColumnConfig(type="timestamptz", **rules)})
    assert types(declared)["born"] == ColumnType(Kind.TIMESTAMPTZ, **rules)
    taken = mapped(shape(debt=MONEY), "files", columns={"debt": ColumnConfig(**rules)})
    assert types(taken)["debt"] == ColumnType(Kind.DECIMAL, scale=2, **rules)


# -- ownership ---------------------------------------------------------------------------------


def test_ownership_is_given_by_either_name_and_the_sources_is_stronger() -> None:
    """Merge is the rule where nothing is said."""
    made = mapped(
        columns={"debt": ColumnConfig(into="owed"), "born": ColumnConfig(into="birthday")},
        ownership={
            "owed": Ownership.SOURCE,
            "born": Ownership.INITIAL,
            "birthday": Ownership.COMPUTED,
        },
    )
    assert {column.name: column.ownership for column in made.columns} == {
        "born": Ownership.INITIAL,
        "debt": Ownership.SOURCE,
        "id": Ownership.MERGE,
        "name": Ownership.MERGE,
    }
    assert {c.into: c.ownership for c in made.drafted}["owed"] is Ownership.SOURCE


# -- with a transform --------------------------------------------------------------------------


def test_a_transform_drafts_what_the_target_has_and_takes() -> None:
    """Its columns and types are the target's, but for those that the target computes."""
    target = shape(name=Kind.TEXT, id=Kind.INTEGER, age=Kind.INTEGER)
    target = {**target, "search": replace(Found("search", "x", ColumnType()), writable=False)}
    made = mapped(target, transform="some.module:f", ownership={"age": Ownership.TARGET})
    assert made.drafted == (
        Column("age", "age", ColumnType(Kind.INTEGER), Ownership.TARGET),
        Column("id", "id", ColumnType(Kind.INTEGER)),
        Column("name", "name", ColumnType()),
    )
    assert [column.name for column in made.columns] == ["born", "debt", "id", "name"]
    assert (made.key, made.target_key) == ((2,), (1,))


def test_a_transform_is_given_the_text_of_a_dump() -> None:
    """A column of the target that has the same name may mean another thing by it."""
    config = config_of(entity_of(transform="some.module:f", columns={"debt": "float"}), "files")
    pinned = dict.fromkeys(PINNED, "text")
    target = shape(id=Kind.TEXT, name=Kind.INTEGER, born=Kind.DATE)
    assert types(map_columns(config, "people", pinned, target)) == {
        "born": ColumnType(),
        "debt": ColumnType(Kind.FLOAT),
        "id": ColumnType(),
        "name": ColumnType(),
    }


# -- what cannot be mapped ---------------------------------------------------------------------


def test_a_key_must_be_among_what_was_pinned() -> None:
    """A key that the configuration has since been given is drift, told with what there is."""
    with pytest.raises(DriftError) as info:
        mapped(key=("zip",))
    assert info.value.message == (
        "entity people: the source has no mapped column zip for the key; found born, debt, id, name"
    )


@pytest.mark.parametrize(
    ("target", "found"), [({}, "none"), (shape(name=Kind.TEXT), "name")], ids=["none", "no key"]
)
def test_a_transform_needs_a_target_with_the_key(target: Shape, found: str) -> None:
    """There is no table to mirror: it must be there already."""
    with pytest.raises(DriftError) as info:
        mapped(target, transform="some.module:f")
    assert info.value.message == (
        f"entity people: the target has no mapped column id for the key; found {found}"
    )


def test_a_key_must_be_of_a_kind_that_has_an_order() -> None:
    """The error names the column, its kind and the kinds that may be."""
    with pytest.raises(ConfigError) as info:
        mapped(key=("debt",))
    assert info.value.message == (
        "entities.people.key: column debt is decimal, expected one of date, integer, text, uuid"
    )
