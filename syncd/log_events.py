"""The names of all events that syncd logs, and what each one tells.

Operators search and alert by these names, so one that was released keeps its meaning. The list is
closed: a test reads the code for events that are told and not listed, and ``docs/logs.md`` has a
line for each.
"""

from collections.abc import Mapping
from types import MappingProxyType
from typing import Final

EVENTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "run_started": "A run began; attempt is above 1 where an unfinished one is taken up again.",
        "entity_ended": "An entity of a run ended, with its counts.",
        "run_ended": "A run ended, with its status.",
        "source_not_ready": "The source is being made anew; it is looked at again.",
        "lease_not_released": "The lease could not be given back; it runs out by itself.",
        "failpoints_armed": "Faults are planted in this process. Never in production.",
        "failpoint_fired": "A planted fault struck.",
        "library_message": "A library logged something; its words may hold values and stay out.",
        "log_lines_dropped": "Lines are missing here, because their reader did not keep up.",
        "event_without_a_code": "An event had a sentence in the place of its name; it stays out.",
    }
)
