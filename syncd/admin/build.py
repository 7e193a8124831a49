"""The listener and all that stands behind it, from its settings."""

from collections.abc import Callable
from typing import Final

from prometheus_client import CollectorRegistry

from syncd.admin.door import REFUSALS_NOTED, Door
from syncd.admin.jwks import Keys, fetching
from syncd.admin.listener import Listener, new_id
from syncd.admin.pages import Info, Pages
from syncd.admin.rate import Rate
from syncd.admin.route import Table
from syncd.admin.routes import routes
from syncd.admin.seam import Desks
from syncd.admin.tokens import Authenticator
from syncd.config_serve import Http, HttpJwt
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
    return Listener(config, _Doors(vitals, registry, info, desks).door)


class _Doors:
    """Makes a door of each settings; what is known of turns and keys goes from one to the next."""

    def __init__(
        self, vitals: Vitals, registry: CollectorRegistry, info: Info, desks: Callable[[], Desks]
    ) -> None:
        self._clock = vitals.clock
        self._table = Table(routes(vitals, info.version))
        self._pages = Pages(vitals, registry, info).by_path
        self._desks = desks
        self._changes = Rate(1, vitals.clock)
        self._refusals = Rate(REFUSALS_NOTED, vitals.clock)
        self._keys: dict[HttpJwt, Keys] = {}

    def door(self, config: Http) -> Door:
        """The door; raises ConfigError."""
        assert_safe(config)
        return Door(
            self._table,
            self._pages,
            Authenticator(config.tokens, config.jwt, self._keys_of(config.jwt)),
            self._desks,
            self._changes.at_most(config.changes_per_minute),
            self._refusals,
            new_id,
        )

    def _keys_of(self, issuer: HttpJwt | None) -> Keys | None:
        """Those that are known already, where the issuer is still the same."""
        known = self._keys.get(issuer) if issuer is not None else None
        if issuer is None or known is not None:
            return known
        fetch = fetching(issuer.jwks, issuer.certificates)
        found = Keys(fetch, self._clock, refresh_s=issuer.refresh_s)
        self._keys = {issuer: found}
        return found
