"""The listener and all that stands behind it, from its settings."""

from collections.abc import Callable

from prometheus_client import CollectorRegistry

from syncd.admin.door import REFUSALS_NOTED, Door
from syncd.admin.gate import Bounds
from syncd.admin.jwks import Keys, fetching
from syncd.admin.listener import Listener, new_id
from syncd.admin.pages import Info, Pages
from syncd.admin.rate import Rate
from syncd.admin.route import Table
from syncd.admin.routes import routes
from syncd.admin.seam import Desks
from syncd.admin.tokens import Authenticator
from syncd.config_serve import Http
from syncd.vitals import Vitals


def build(
    config: Http,
    vitals: Vitals,
    registry: CollectorRegistry,
    info: Info,
    desks: Callable[[], Desks],
) -> Listener:
    """A listener that is not listening yet. ``desks`` are asked for anew by every request."""
    clock, issuer = vitals.clock, config.jwt
    keys = None
    if issuer is not None:
        fetch = fetching(issuer.jwks, issuer.certificates)
        keys = Keys(fetch, clock, refresh_s=issuer.refresh_s)
    door = Door(
        Table(routes(vitals, info.version)),
        Pages(vitals, registry, info).by_path,
        Authenticator(config.tokens, issuer, keys),
        desks,
        Rate(config.changes_per_minute, clock),
        Rate(REFUSALS_NOTED, clock),
        new_id,
    )
    bounds = Bounds(connections=config.connections)
    return Listener(config.host, config.port, config.tls, door, bounds)
