"""The HTTP listener of the daemon, and the desks behind it.

A desk has connections of its own, few of them, so that whoever asks never takes one from a run:
a flood of questions waits for its own turn (case 93).
"""

from collections.abc import Callable, Mapping, Sequence
from typing import Final

import anyio
import msgspec
from prometheus_client import CollectorRegistry

from syncd.admin.build import build
from syncd.admin.pages import Info
from syncd.config import Config
from syncd.config_serve import Http, Service
from syncd.jobs.office import Office
from syncd.site import Site
from syncd.vitals import Vitals

_WRITERS: Final = 1  # of a site that never writes rows: it keeps its pool small
_TIDY_S: Final = 1.0


class HttpPart:
    """A ``Part``: the listener, and the desks of the pipelines as they are configured now.

    ``configs`` are those of now; ``wake`` tells a pipeline of this process that there is a claim.
    """

    name = "http"

    def __init__(
        self,
        http: Http,
        vitals: Vitals,
        registry: CollectorRegistry,
        info: Info,
        configs: Callable[[], Sequence[Config]],
        wake: Callable[[str], None],
    ) -> None:
        self._configs = configs
        self._wake = wake
        self._open: dict[str, tuple[Config, Site, Office]] = {}
        self._retired: list[Site] = []
        self._listener = build(http, vitals, registry, info, self._desks)

    def heed(self, service: Service) -> Callable[[], None]:
        """What puts other settings of the listener in effect; raises ConfigError."""
        return self._listener.heed(service.http)

    async def run(self, started: Callable[[], None]) -> None:
        """Serve until cancelled; every connection is closed at the end."""
        try:
            async with anyio.create_task_group() as tasks:
                tasks.start_soon(self._listener.run, started)
                while True:
                    await anyio.sleep(_TIDY_S)
                    await self._close_retired()
        finally:
            with anyio.CancelScope(shield=True):
                self._retired += [site for _, site, _ in self._open.values()]
                await self._close_retired()

    def _desks(self) -> Mapping[str, Office]:
        """By pipeline; one whose configuration was replaced is opened anew."""
        for config in self._configs():
            name = config.pipeline
            if name in self._open and self._open[name][0] == config:
                continue
            if name in self._open:
                self._retired.append(self._open[name][1])
            limits = msgspec.structs.replace(config.limits, writers=_WRITERS)
            site = Site(msgspec.structs.replace(config, limits=limits))
            self._open[name] = (config, site, Office(site, self._waking(name)))
        return {name: office for name, (_, _, office) in self._open.items()}

    def _waking(self, name: str) -> Callable[[], None]:
        return lambda: self._wake(name)

    async def _close_retired(self) -> None:
        while self._retired:
            await self._retired.pop().close()
