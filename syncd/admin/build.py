"""The listener and all that stands behind it, from its settings."""

from collections.abc import Callable
from typing import Final

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
from syncd.errors import ConfigError
from syncd.vitals import Vitals

TOKEN_CHARS_MIN: Final = 16  # of hexadecimal digits that is 64 bits, beyond any guessing online


def assert_safe(config: Http) -> None:
    """Raise ConfigError for a token that can be guessed, and for keys that anybody may forge."""
    for token in config.tokens:
        if len(token.token.value) < TOKEN_CHARS_MIN:
            raise ConfigError(
                f"http.tokens: the token of {token.name} is too short, expected at least "
                f"{TOKEN_CHARS_MIN} characters",
                hint="make one with: openssl rand -hex 32",
            )
    values = [token.token.value for token in config.tokens]
    if len(set(values)) < len(values):
        raise ConfigError("http.tokens: two of them are the same, expected one for each name")
    if config.jwt is not None and "://" in config.jwt.jwks.removeprefix("https://"):
        raise ConfigError("http.jwt.jwks: expected an https URL or a file, found another URL")


def build(
    config: Http,
    vitals: Vitals,
    registry: CollectorRegistry,
    info: Info,
    desks: Callable[[], Desks],
) -> Listener:
    """A listener that is not listening yet. ``desks`` are asked for anew by every request.

    Raises ConfigError where the settings would let in more than was meant.
    """
    assert_safe(config)
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
