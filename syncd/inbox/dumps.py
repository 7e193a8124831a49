"""New dumps: the source is looked at every now and then, and claimed when it is another one.

A look must be cheap and may answer "", where there is nothing to see. A dump that is being written
looks different each time, so only what was seen twice in a row counts as new. A night without a
dump claims nothing; only the age of the data grows.
"""

from collections.abc import Awaitable, Callable
from typing import TypeAlias

import anyio

from syncd.errors import SyncdError
from syncd.logs import Log

_log = Log("syncd.dumps")
Look: TypeAlias = Callable[[], Awaitable[str]]


# Claims what was seen, once for all instances; false when it was claimed before.
ClaimDump: TypeAlias = Callable[[str], Awaitable[bool]]


class DumpInbox:
    """Claims a pass when there is a new dump. Runs on the leader only, until cancelled."""

    def __init__(
        self, look: Look, every_s: float, claim: ClaimDump, claimed: Callable[[], None]
    ) -> None:
        self._look = look
        self._every_s = every_s
        self._claim = claim
        self._claimed = claimed

    async def run(self) -> None:
        """Look, wait, and look again; a source that is gone is looked for as patiently."""
        before, seen = "", ""
        while True:
            try:
                seen = await self._look()
            except SyncdError as error:
                _log.warning("source_not_seen", reason=type(error).__name__)
                seen = ""
            if seen and seen == before and await self._claim(seen):
                _log.info("dump_found")
                self._claimed()
            before = seen
            await anyio.sleep(self._every_s)
