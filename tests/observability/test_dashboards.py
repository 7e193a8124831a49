"""The dashboards as files: complete, made by the code beside them, and about metrics there are."""

import json
import re
from pathlib import Path
from typing import Any, Final

import pytest

from observability import __main__ as make
from syncd.metric_names import BY_NAME
from tests.conftest import REPOSITORY

BOARDS: Final = {
    path.stem: json.loads(path.read_text("utf-8"))
    for path in sorted((REPOSITORY / "observability" / "grafana").glob("*.json"))
}
PANELS: Final = [(name, panel) for name, board in BOARDS.items() for panel in board["panels"]]
PROCESS: Final = {"process_resident_memory_bytes", "process_cpu_seconds_total"}


def metric_names(expr: str) -> set[str]:
    """The metrics that an expression reads."""
    found = re.findall(r"\b((?:syncd|process)_[a-z0-9_]+)", re.sub(r'"[^"]*"', "", expr))
    return {re.sub(r"_(bucket|sum|count)$", "", name) for name in found}


@pytest.mark.parametrize("path", make.files(), ids=lambda path: path.name)
def test_every_file_is_as_the_code_makes_it(path: Path) -> None:
    """Run ``python -m observability`` and commit what it writes."""
    assert path.read_text("utf-8") == make.files()[path]


def test_there_are_three_dashboards_with_their_variables() -> None:
    chosen = {
        name: [v["name"] for v in board["templating"]["list"][1:]] for name, board in BOARDS.items()
    }
    assert chosen == {
        "overview": ["pipeline"], "entity": ["pipeline", "entity"], "run": ["pipeline", "run"]
    }  # fmt: skip


def test_addresses_are_unique_and_stay() -> None:
    assert sorted(board["uid"] for board in BOARDS.values()) == [
        "syncd-entity", "syncd-overview", "syncd-run"
    ]  # fmt: skip


@pytest.mark.parametrize("name", BOARDS)
def test_panels_have_numbers_of_their_own_and_do_not_overlap(name: str) -> None:
    panels = BOARDS[name]["panels"]
    assert [panel["id"] for panel in panels] == [*range(1, len(panels) + 1)]
    taken: set[tuple[int, int]] = set()
    for panel in panels:
        at = panel["gridPos"]
        cells = {
            (x, y)
            for x in range(at["x"], at["x"] + at["w"])
            for y in range(at["y"], at["y"] + at["h"])
        }
        assert not cells & taken
        assert at["x"] + at["w"] <= 24
        taken |= cells


@pytest.mark.parametrize(("board", "panel"), PANELS, ids=lambda part: str(part)[:20])
def test_a_panel_says_what_it_shows_in_which_unit_and_of_what(
    board: str, panel: dict[str, Any]
) -> None:
    del board
    assert len(panel["title"]) > 2
    assert panel["description"].endswith(".")
    assert panel["fieldConfig"]["defaults"]["unit"]
    assert panel["targets"]
    for target in panel["targets"]:
        assert target["legendFormat"]
        names = metric_names(target["expr"])
        assert names
        assert names <= {*BY_NAME, *PROCESS}


@pytest.mark.parametrize("name", BOARDS)
def test_titles_are_unique_in_a_dashboard(name: str) -> None:
    titles = [panel["title"] for panel in BOARDS[name]["panels"]]
    assert len(set(titles)) == len(titles)


@pytest.mark.parametrize("name", BOARDS)
def test_an_expression_is_cut_by_every_variable_or_by_the_process(name: str) -> None:
    """A panel that ignored a choice at the top would show other pipelines' rows."""
    chosen = {v["name"] for v in BOARDS[name]["templating"]["list"][1:]}
    for panel in BOARDS[name]["panels"]:
        for target in panel["targets"]:
            used = set(re.findall(r"\$(pipeline|entity|run)\b", target["expr"]))
            of_process = "pipeline" not in target["expr"] and "instance" in target["expr"]
            assert used == chosen or of_process, panel["title"]
