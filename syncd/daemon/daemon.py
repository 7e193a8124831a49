"""The daemon as a whole: starts its parts, reads the configuration again, stops.

SIGHUP reads all files again. They hold together or not at all: where one of them is wrong the old
ones stay, and that is told (log, health, metric). Then every pipeline is asked for a pass, once,
however many signals came (case 8).
"""

from collections.abc import Callable, Sequence
from functools import partial
from typing import Final

import anyio

from syncd.config_serve import Settings, restart_for
from syncd.daemon.parts import Heeding, Part
from syncd.daemon.pipeline import PipelineLoop
from syncd.errors import ConfigError
from syncd.logs import Log
from syncd.vitals import Vitals

_log = Log("syncd.daemon")
_BEAT_S: Final = 1.0
_RELOAD_S: Final = 1.0  # a storm of signals is heard once a second


class Daemon:
    """``load`` reads everything anew, or raises ConfigError."""

    def __init__(
        self,
        settings: Settings,
        pipelines: Sequence[PipelineLoop],
        parts: Sequence[Part],
        vitals: Vitals,
        load: Callable[[], Settings],
    ) -> None:
        self.settings = settings
        self._started_with = settings.service
        self._pipelines = pipelines
        self._parts = parts
        self._vitals = vitals
        self._load = load
        self._hung_up = anyio.Event()
        self._scope = anyio.CancelScope()

    def hang_up(self) -> None:
        """SIGHUP: read the configuration again and look at everything once more."""
        self._hung_up.set()

    def drain(self) -> None:
        """Take no more work, finish or roll back what is under way, let the leases go, end."""
        self._vitals.draining = True
        _log.info("draining")
        self._scope.cancel()

    async def run(self) -> None:
        """Until it is drained; what a part other than a pipeline raises ends it too."""
        for part in (*self._parts, *self._pipelines):
            self._vitals.expect(part.name)
        _log.info("serving", units=len(self._pipelines))
        async with anyio.create_task_group() as tasks:
            tasks.start_soon(self._beat)
            for part in self._parts:
                tasks.start_soon(part.run, partial(self._started, part.name))
            # They stop first: while they do, the listener still says so.
            with self._scope:
                async with anyio.create_task_group() as inner:
                    inner.start_soon(self._reloads)
                    for loop in self._pipelines:
                        inner.start_soon(loop.run, partial(self._started, loop.name))
            tasks.cancel_scope.cancel()
        _log.info("stopped")

    def _started(self, part: str) -> None:
        was_ready = self._vitals.is_ready()
        self._vitals.started(part)
        if self._vitals.is_ready() and not was_ready:
            _log.info("ready")

    async def _beat(self) -> None:
        while True:
            self._vitals.beat()
            await anyio.sleep(_BEAT_S)

    async def _reloads(self) -> None:
        while True:
            await self._hung_up.wait()
            self._hung_up = anyio.Event()
            self._reload()
            for loop in self._pipelines:
                loop.wish("signal", "SIGHUP")
            await anyio.sleep(_RELOAD_S)

    def _reload(self) -> None:
        """All of it or nothing."""
        try:
            found = self._load()
            self._assert_same_pipelines(found)
            heeding = [part for part in self._parts if isinstance(part, Heeding)]
            applies = [part.heed(found.service) for part in heeding]
        except ConfigError as error:
            self._vitals.reloaded(error.message)
            _log.error("reload_refused", exc_info=error)
            return
        self.settings = found
        for loop, config in zip(self._pipelines, found.pipelines, strict=True):
            loop.replace(config, found.service)
        for apply in applies:
            apply()
        self._vitals.reloaded()
        _log.info("reloaded")
        left = restart_for(self._started_with, found.service)
        if left:
            _log.warning("restart_needed", reason=", ".join(left))

    def _assert_same_pipelines(self, found: Settings) -> None:
        before = [config.pipeline for config in self.settings.pipelines]
        after = [config.pipeline for config in found.pipelines]
        if before != after:
            raise ConfigError(
                f"the pipelines were {', '.join(before)} and are {', '.join(after)}",
                hint="restart to add, remove or rename a pipeline; the old configuration stays",
            )
