"""The morning report as Markdown, for the chat where the team meets.

Names and reasons are codes of ours and of the configuration; what they hold of Markdown's own
characters is escaped, so that a reason cannot draw a table or mention everybody.
"""

import re
from collections.abc import Iterator
from typing import Final

from syncd.flow.model import Outcome
from syncd.reports import MorningEntity, MorningReport, Reason
from syncd.visible import visible

REASONS_SHOWN: Final = 10  # of one entity; the report in JSON has all
_SPECIAL: Final = re.compile(r"([\\`*_{}\[\]<>#|~@!])")
_WORDS: Final = {
    "completed": "done",
    "parked": "done, and some rows are parked",
    "held": "done, and deletes wait for a decision",
    "failed": "FAILED",
    "stopped": "stopped before its end",
    "running": "still running",
    "never": "nothing has run yet",
}


def morning(report: MorningReport) -> str:
    """The whole message."""
    return "\n".join(_lines(report)) + "\n"


def _lines(report: MorningReport) -> Iterator[str]:
    words = _WORDS.get(report.status, report.status)
    number = f" run {report.run_id}" if report.run_id else ""
    yield f"**{_plain(report.pipeline)}{number}: {words}**"
    if report.run_id:
        yield f"{_plain(report.started_at)}, {report.seconds:.0f} s"
    if report.entities:
        yield ""
        yield from _table(report)
    notable = [line for entity in report.entities for line in _notable(entity)]
    if notable:
        yield ""
        yield from notable


def _table(report: MorningReport) -> Iterator[str]:
    used = [o.value for o in Outcome if any(getattr(e.counts, o.value) for e in report.entities)]
    heads = ("entity", "status", "seen", *used)
    yield f"| {' | '.join(heads)} |"
    yield f"|---|---|{'--:|' * (1 + len(used))}"
    for entity in report.entities:
        numbers = (f"{getattr(entity.counts, name):,}" for name in ("seen", *used))
        yield f"| {' | '.join((_plain(entity.name), entity.status, *numbers))} |"


def _notable(entity: MorningEntity) -> Iterator[str]:
    name = _plain(entity.name)
    for reason in entity.reasons[:REASONS_SHOWN]:
        yield f"- {name}: {_told(reason)}"
    more = len(entity.reasons) - REASONS_SHOWN
    if more > 0:
        yield f"- {name}: and {more} more reasons"
    if entity.held_deletes:
        yield f"- {name}: {entity.held_deletes:,} deletes wait for a decision"
    if entity.open_conflicts:
        yield f"- {name}: {entity.open_conflicts:,} conflicts are open"
    yield from (f"- {name}: {_plain(note)}" for note in entity.notes)


def _told(reason: Reason) -> str:
    return f"{reason.records:,} {reason.outcome}: {_plain(reason.reason)}"


def _plain(text: str) -> str:
    return _SPECIAL.sub(r"\\\1", visible(text, 300))
