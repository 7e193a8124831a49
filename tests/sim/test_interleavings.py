"""All orders of a few things at one record: a plot of each kind, and that none is left out."""

from typing import Final

import msgspec
import pytest

from tests.sim import __main__ as command
from tests.sim import interleavings
from tests.sim.canaries import CANARIES
from tests.sim.interleavings import FAULTS, Broken, Plot, PlotWorld, explore, plots
from tests.sim.planter import planted
from tests.sim.schedule import Staff
from tests.sim.setup import Setup

PLAIN: Final = Setup(hold_rows=9, needs="none", batch_rows=1)
TYPED: Final = Staff("type", "parents", 1, 0, b"~X")
CHANGE: Final = (b"~B", b"~A")


def plot(*changes: tuple[bytes, bytes] | None, fault: str = "", staff: Staff = TYPED) -> Plot:
    return Plot(PLAIN, changes, staff, fault)


@pytest.mark.parametrize("fault", ["kill", "lost"])
def test_no_order_of_one_change_and_one_edit_breaks_anything(fault: str) -> None:
    """Two workers and one fault; `make trust` has two changes, and faults of every kind."""
    explored = explore([plot(CHANGE, fault=fault)])
    assert [one.line for one in explored.broken] == []
    assert explored.orders > 50


@pytest.mark.long
def test_what_is_left_out_comes_to_the_same(monkeypatch: pytest.MonkeyPatch) -> None:
    """Without leaving out anything there are many more orders, and no other outcome."""
    outcomes, orders = _outcomes(plot(None), monkeypatch)
    monkeypatch.setattr(PlotWorld, "may_swap", lambda *_: False)
    all_outcomes, all_orders = _outcomes(plot(None), monkeypatch)
    assert outcomes == all_outcomes
    assert all_orders > 20 * orders


@pytest.mark.parametrize(
    ("canary", "changes", "fault"),
    [
        ("edit_is_overwritten", (CHANGE,), ""),
        ("source_wins", (CHANGE,), ""),
        ("position_is_ignored", (CHANGE,), ""),
        ("delete_ignores_edits", (None,), ""),
        ("written_apart", (CHANGE,), "kill"),
        ("no_lookup", (CHANGE,), "lost"),
    ],
)
def test_a_planted_fault_is_found_and_its_order_plays_again(
    canary: str, changes: tuple[tuple[bytes, bytes] | None, ...], fault: str
) -> None:
    """Faults of the merge rule, of the position, of what must stand together, of a lost answer."""
    with planted(CANARIES[canary]):
        (broken, *_) = explore([plot(*changes, fault=fault)], broken_max=1).broken
        assert command.main(["--again", broken.line]) == 1
    assert command.main(["--again", broken.line]) == 0


def test_every_plot_is_one_of_its_own() -> None:
    """The first are of a worker that is killed, with each change and each edit."""
    every = plots()
    assert len({msgspec.json.encode(one) for one in every}) == len(every) == 600
    first = every[:20]
    assert {one.fault for one in first} == {"kill"}
    assert {one.fault for one in every} == set(FAULTS)
    assert len({(one.source, one.staff) for one in first}) == 20


def test_a_broken_order_is_one_line() -> None:
    """It is what the command takes."""
    one = Broken("I1: lost", plot(CHANGE), [0, 1])
    assert msgspec.json.decode(one.line.removeprefix("order "), type=Broken) == one


def _outcomes(of: Plot, monkeypatch: pytest.MonkeyPatch) -> tuple[set[str], int]:
    found: set[str] = set()
    judged = interleavings._judged

    def noting(world: PlotWorld) -> str:
        told, state = judged(world), world.store.state
        entries = [(e.state, e.outcome, e.open) for e in state.entries[1].values()]
        found.add(f"{told} {state.tables} {entries} {len(state.imports)}")
        return told

    with monkeypatch.context() as patched:
        patched.setattr(interleavings, "_judged", noting)
        explored = explore([of])
    return found, explored.orders
