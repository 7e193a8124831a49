"""The open pages: is it alive, is it ready, is it well, and what it counts.

They tell names that are in the configuration, and states; never a host, a database, a query or a
message (case 98). None of them asks a database: the daemon looks, and remembers.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest

from syncd.reports import Component, ComponentStatus
from syncd.vitals import Vitals

JSON: Final = "application/json"
# The gravest first. What rests on purpose, and what nobody can judge, is not ill.
_GRAVITY: Final[tuple[ComponentStatus, ...]] = ("DOWN", "OUT_OF_SERVICE", "UP")


class Reply(Struct, frozen=True):
    """An answer before it is one of the library's."""

    body: bytes
    status: HTTPStatus = HTTPStatus.OK
    content_type: str = JSON


class Health(Struct, frozen=True):
    """``/health``."""

    status: ComponentStatus
    components: dict[str, Component] = {}


class Info(Struct, frozen=True):
    """``/info``."""

    name: str
    version: str
    commit: str


class Pages:
    """The open pages of one process."""

    def __init__(self, vitals: Vitals, registry: CollectorRegistry, info: Info) -> None:
        self._vitals = vitals
        self._registry = registry
        self._info = info

    @property
    def by_path(self) -> Mapping[str, Callable[[], Reply]]:
        """Each page by its path."""
        return {
            "/health": self.health,
            "/health/liveness": self.liveness,
            "/health/readiness": self.readiness,
            "/healthz": self.liveness,
            "/readyz": self.readiness,
            "/ping": self.ping,
            "/info": self.info,
            "/metrics": self.metrics,
        }

    def health(self) -> Reply:
        """Every component; 503 when one is down, such as one that was not synced in time."""
        components = self._vitals.components()
        found = {component.status for component in components.values()}
        status: ComponentStatus = next((s for s in _GRAVITY if s in found), "UNKNOWN")
        return _told(Health(status, components), well=status != "DOWN")

    def liveness(self) -> Reply:
        """Whether the process works at all; no database can make it fail."""
        return _up(well=self._vitals.is_live())

    def readiness(self) -> Reply:
        """Whether it has started and is not being stopped; true on a standby."""
        return _up(well=self._vitals.is_ready())

    def ping(self) -> Reply:
        """It answers."""
        return Reply(b"pong", content_type="text/plain")

    def info(self) -> Reply:
        """Name and version."""
        return Reply(msgspec.json.encode(self._info))

    def metrics(self) -> Reply:
        """The registry as text."""
        return Reply(generate_latest(self._registry), content_type=CONTENT_TYPE_PLAIN_0_0_4)


def _up(*, well: bool) -> Reply:
    return _told(Health("UP" if well else "DOWN"), well=well)


def _told(health: Health, *, well: bool) -> Reply:
    status = HTTPStatus.OK if well else HTTPStatus.SERVICE_UNAVAILABLE
    return Reply(msgspec.json.encode(health), status)
