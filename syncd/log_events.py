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
        "target_rewound": "The target is a promoted standby or a copy; it may lack commits.",
        "entity_ended": "An entity of a run ended, with its counts.",
        "run_ended": "A run ended, with its status.",
        "source_not_ready": "The source is being made anew; it is looked at again.",
        "event_not_sent": "Events rest, or are refused, for this reason; others go on.",
        "relay_stopped": "Events cannot be sent anywhere now; it is tried again by itself.",
        "secret_not_read": "A secret cannot be read again; the value that it had is used on.",
        "lease_not_released": "The lease could not be given back; it runs out by itself.",
        "session_ended": "A session that kept a lease that had run out from being taken was ended.",
        "serving": "The daemon has begun; units is the number of its pipelines.",
        "ready": "Every part of the daemon works, or has told why it cannot yet.",
        "draining": "The daemon was told to stop, and takes no more work.",
        "stopped": "The daemon has ended in good order.",
        "reloaded": "The configuration was read again and holds from the end of the present run.",
        "restart_needed": "Of what was read again, the fields in reason hold only after a restart.",
        "reload_refused": "The configuration is wrong; the one before it goes on.",
        "pipeline_broken": "A pipeline failed and rests for a while; the others go on.",
        "leadership_taken": "This instance leads the pipeline from now on.",
        "leadership_lost": "Another instance leads; what was under way here has ended.",
        "claim_taken": "Work on a claim begins; attempt is above 1 where it had begun before.",
        "claim_ended": "A claim has ended, with what became of it.",
        "schedule_due": "A pass is due by the schedule.",
        "schedule_overlaps": "A pass was due while the one before was under way, and was left out.",
        "dump_found": "The source has a new dump.",
        "source_not_seen": "The source could not be looked at for a new dump.",
        "failpoints_armed": "Faults are planted in this process. Never in production.",
        "failpoint_fired": "A planted fault struck.",
        "http_listening": "The HTTP listener has begun to listen, on this port.",
        "api_changed": "Somebody was allowed to change something; the audit says who and what.",
        "api_refused": "A request was refused before it was read; reason says why.",
        "api_failed": "A request could not be answered; who asked was told the correlation_id.",
        "keys_not_read": "The issuer's keys could not be read; those that are known still serve.",
        "library_message": "A library logged something; its words may hold values and stay out.",
        "log_lines_dropped": "Lines are missing here, because their reader did not keep up.",
        "event_without_a_code": "An event had a sentence in the place of its name; it stays out.",
    }
)
