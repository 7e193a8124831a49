"""The events that syncd logs: a closed list that operators may rely on."""

import ast
import re
from collections.abc import Iterator
from typing import Final

import pytest

from syncd.log_events import EVENTS
from tests.conftest import REPOSITORY

PAGE: Final = (REPOSITORY / "docs" / "logs.md").read_text("utf-8")
TELLING: Final = {"debug", "info", "warning", "error", "exception"}
# Told by the last step itself, not through a ``Log``.
BY_THE_LOGS: Final = {"library_message", "log_lines_dropped", "event_without_a_code"}


def told(text: str) -> Iterator[str]:
    """The events that a module tells: the first argument of a call such as ``_log.info``."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in TELLING
            and isinstance(node.func.value, ast.Name | ast.Attribute)
            and ast.unparse(node.func.value).endswith("_log")
        ):
            first = node.args[0]
            yield str(first.value) if isinstance(first, ast.Constant) else ast.unparse(first)


def test_every_event_that_is_told_is_on_the_list_and_the_list_has_no_other() -> None:
    """Add a new event to syncd/log_events.py and to docs/logs.md, with what it tells."""
    found = {
        event
        for path in (REPOSITORY / "syncd").rglob("*.py")
        for event in told(path.read_text("utf-8"))
    }
    assert found | BY_THE_LOGS == set(EVENTS)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("_log.info('run_paused', run_id=1)", "run_paused"),
        ("self._log.error(name)", "name"),
        ("_log.exception(f'{x}')", "f'{x}'"),
    ],
)
def test_a_planted_event_is_seen(text: str, event: str) -> None:
    assert list(told(text)) == [event]


def test_every_event_is_documented_as_it_is() -> None:
    """Each line of the table is one of the list, in its order."""
    assert re.findall(r"^\| `(\w+)` \| (.+) \|$", PAGE, re.MULTILINE) == [*EVENTS.items()]
