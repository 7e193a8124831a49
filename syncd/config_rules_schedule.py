"""Rules for when a pipeline runs, and for the zones of times; see ``config_rules``."""

import re
from collections.abc import Callable, Sequence
from datetime import UTC, datetime
from typing import Final
from zoneinfo import ZoneInfo

from cronsim import CronSim, CronSimError

from syncd.config import Config
from syncd.config_references import Found, Problem
from syncd.config_yaml import Path

_CRON_PART: Final = re.compile(r"(?:\*|[0-9a-z]+(?:-[0-9a-z]+)?)(?:/[0-9]+)?", re.IGNORECASE)
_CRON_FIELDS: Final = (
    ("a minute", 0, 59, ()),
    ("an hour", 0, 23, ()),
    ("a day of the month", 1, 31, ()),
    (
        "a month",
        1,
        12,
        ("jan", "feb", "mar", "apr", "may", "jun", "jul", "aug", "sep", "oct", "nov", "dec"),
    ),
    ("a day of the week", 0, 7, ("sun", "mon", "tue", "wed", "thu", "fri", "sat")),
)


def _schedule(config: Config) -> Found:
    if config.schedule is None:
        return
    yield from known_zone(("schedule", "timezone"), config.schedule.timezone)
    cron = config.schedule.cron
    if cron is None:
        if config.schedule.watch_s is None:
            yield Problem(("schedule",), "expected cron, watch_s or both, found neither")
        return
    parts = cron.split()
    if len(parts) != len(_CRON_FIELDS):
        yield Problem(
            ("schedule", "cron"),
            f"expected five fields (minute hour day month weekday), found {len(parts)}",
        )
        return
    for part, (what, least, most, names) in zip(parts, _CRON_FIELDS, strict=True):
        if not all(_cron_part(piece, least, most, names) for piece in part.split(",")):
            yield Problem(
                ("schedule", "cron"),
                f"expected {what} from {least} to {most}, *, a range or a step, found",
                part,
            )
            return
    try:
        next(CronSim(cron, datetime(2000, 1, 1, tzinfo=UTC)), None)
    except CronSimError:
        yield Problem(("schedule", "cron"), "expected a day that comes, found", cron)


def _cron_part(piece: str, least: int, most: int, names: Sequence[str]) -> bool:
    if not _CRON_PART.fullmatch(piece):
        return False
    span, _, step = piece.partition("/")
    if step and int(step) == 0:
        return False
    numbers = {name: str(number) for number, name in enumerate(names, least)}
    ends = [numbers.get(end.lower(), end) for end in span.split("-")]
    if ends == ["*"]:
        return True
    if not all(end.isdecimal() and least <= int(end) <= most for end in ends):
        return False
    return int(ends[0]) <= int(ends[-1])


def known_zone(path: Path, zone: str) -> Found:
    """A problem where no zone database knows ``zone``."""
    if zone == "UTC":
        return  # the one zone that is known without a zone database
    try:
        ZoneInfo(zone)
    except (KeyError, OSError, ValueError):
        # Not found, a folder of the zone database, or not a name.
        yield Problem(path, "expected an IANA zone such as Europe/London, found", zone)


RULES: Final[tuple[Callable[[Config], Found], ...]] = (_schedule,)
