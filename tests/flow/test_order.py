"""The order of entities: parents first, cycles told or cut, and never a cut too many."""

from collections.abc import Callable, Mapping, Sequence
from itertools import pairwise

import pytest
from hypothesis import given
from hypothesis import strategies as st

from syncd.errors import ConfigError
from syncd.flow.model import Parent
from syncd.flow.order import waves


def hard(*names: str) -> list[Parent]:
    """Needs that must be met."""
    return [Parent(name) for name in names]


def soft(*names: str) -> list[Parent]:
    """Needs that may be met later."""
    return [Parent(name, ("parent_id",), nullable=True) for name in names]


def test_parents_stand_in_earlier_waves() -> None:
    """Each entity stands one wave after the last of its parents (case 70)."""
    needs = {
        "runways": hard("airports"),
        "airports": hard("regions", "countries"),
        "regions": hard("countries"),
        "countries": hard(),
        "navaids": hard("countries"),
    }
    assert waves(needs) == (("countries",), ("regions", "navaids"), ("airports",), ("runways",))


def test_within_a_wave_the_order_is_as_written() -> None:
    """Entities without needs come in the order of the configuration, not of the alphabet."""
    assert waves({"c": hard(), "a": hard(), "b": hard()}) == (("c", "a", "b"),)


def test_nothing_has_no_waves() -> None:
    """No entity, no wave."""
    assert waves({}) == ()


@pytest.mark.parametrize("of", [hard, soft])
def test_an_entity_may_need_itself(of: Callable[[str], list[Parent]]) -> None:
    """Its rows are ordered by waiting, not by waves (case 70)."""
    assert waves({"a": of("a"), "b": hard("a")}) == (("a",), ("b",))


def test_an_unknown_need_is_named_with_what_is_known() -> None:
    """The error says where, what was found, and the names that may stand there."""
    with pytest.raises(ConfigError) as info:
        waves({"runways": hard("airport"), "airports": hard()})
    assert str(info.value) == (
        "entities.runways.needs: found 'airport', expected one of airports, runways"
    )


@pytest.mark.parametrize(
    ("needs", "circle"),
    [
        ({"a": hard("b"), "b": hard("a")}, "a -> b -> a"),
        ({"c": hard("a"), "a": hard("b"), "b": hard("c")}, "c -> a -> b -> c"),
        ({"x": hard("a"), "a": hard("b"), "b": hard("a")}, "a -> b -> a"),
        ({"x": soft("a"), "a": hard("b"), "b": hard("a")}, "a -> b -> a"),
        ({"y": hard("x"), "x": soft("a"), "a": hard("b"), "b": hard("a")}, "a -> b -> a"),
        ({"a": [*hard("b"), *soft("b")], "b": hard("a")}, "a -> b -> a"),
        ({"p": hard(), "a": hard("p", "b"), "b": hard("p", "a")}, "a -> b -> a"),
    ],
)
def test_a_cycle_is_spelled_out(needs: Mapping[str, Sequence[Parent]], circle: str) -> None:
    """The circle is told from name to name, without those that only hang on it (case 70)."""
    with pytest.raises(ConfigError) as info:
        waves(needs)
    assert str(info.value).startswith(f"entities need each other in a circle: {circle}; ")
    assert "nullable" in info.value.hint


def test_a_nullable_need_is_honoured_where_it_closes_no_cycle() -> None:
    """May be NULL does not mean may be late (case 70)."""
    assert waves({"b": soft("a"), "a": hard()}) == (("a",), ("b",))


def test_a_nullable_need_is_cut_where_it_closes_a_cycle() -> None:
    """The entity whose need may be NULL goes first (case 70)."""
    assert waves({"people": hard("teams"), "teams": soft("people")}) == (("teams",), ("people",))


def test_of_two_that_may_both_go_first_the_first_written_does() -> None:
    """The result does not depend on chance."""
    assert waves({"b": soft("a"), "a": soft("b")}) == (("b",), ("a",))


def test_what_hangs_on_a_cycle_is_not_cut() -> None:
    """Only a need that lies on the cycle is cut, though another would come first (case 70)."""
    needs = {"visits": soft("people"), "people": soft("teams"), "teams": soft("people")}
    assert waves(needs) == (("people",), ("visits", "teams"))


NAMES = "abcdefg"


@st.composite
def graphs(draw: st.DrawFn, *, acyclic: bool) -> dict[str, list[Parent]]:
    """Entities in any order with any needs; ``acyclic`` allows only needs of a hidden rank."""
    names = draw(st.permutations(NAMES))
    rank = {name: at for at, name in enumerate(draw(st.permutations(NAMES)))}
    needs: dict[str, list[Parent]] = {}
    for name in names:
        others = [n for n in NAMES if not acyclic or rank[n] < rank[name]]
        chosen = draw(st.lists(st.sampled_from(others), max_size=3)) if others else []
        needs[name] = [Parent(n, ("c",), nullable=draw(st.booleans())) for n in chosen]
    return needs


def wave_of(placed: Sequence[Sequence[str]]) -> dict[str, int]:
    """The wave of each entity."""
    return {name: at for at, wave in enumerate(placed) for name in wave}


@pytest.mark.trust
@given(graphs(acyclic=True))
def test_without_cycles_every_need_is_met_and_nothing_waits_idly(
    needs: dict[str, list[Parent]],
) -> None:
    """Each entity stands in the wave right after the last of all that it needs (case 70)."""
    placed = wave_of(waves(needs))
    assert placed.keys() == needs.keys()
    for name, parents in needs.items():
        assert placed[name] == max((placed[p.entity] + 1 for p in parents), default=0)


def reached(needs: Mapping[str, Sequence[Parent]], start: str) -> set[str]:
    """All that ``start`` needs, directly or through others."""
    found: set[str] = set()
    ahead = [start]
    while ahead:
        for parent in needs[ahead.pop()]:
            if parent.entity not in found:
                found.add(parent.entity)
                ahead.append(parent.entity)
    return found


@pytest.mark.trust
@given(graphs(acyclic=False))
def test_only_nullable_needs_on_a_cycle_are_cut(needs: dict[str, list[Parent]]) -> None:
    """Every other need is met; without a way the circle told is one of hard needs (case 70)."""
    try:
        placed = wave_of(waves(needs))
    except ConfigError as error:
        circle = error.message.removeprefix("entities need each other in a circle: ").split(" -> ")
        assert circle[0] == circle[-1]
        for child, following in pairwise(circle):
            assert any(p.entity == following and not p.nullable for p in needs[child])
        return
    assert placed.keys() == needs.keys()
    for name, parents in needs.items():
        late = [p for p in parents if p.entity != name and placed[p.entity] >= placed[name]]
        for parent in late:
            assert parent.nullable
            assert name in reached(needs, parent.entity)
