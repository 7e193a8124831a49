"""The settings of ``syncd serve``: what belongs to the process and to none of its pipelines.

They stand in a file of their own (``--service``), read by the same strict machinery.
"""

from typing import Annotated, Literal

from msgspec import Meta

from syncd.config import Config, Name, Seconds, Secret, Strict

Place = Annotated[str, Meta(pattern=r"^[a-z][a-z0-9_-]{0,62}(/[a-z][a-z0-9_-]{0,62})?$")]


class HttpToken(Strict, frozen=True):
    """Somebody with a token of their own, for small sites."""

    name: Name
    role: Literal["read", "operate", "admin"]
    token: Secret
    scope: tuple[Place, ...] = ()  # PIPELINE or PIPELINE/ENTITY; all where empty


class HttpJwt(Strict, frozen=True):
    """An issuer of signed tokens. ``jwks`` is a file or an https URL; no token names another."""

    jwks: str
    issuer: str
    audience: str
    roles_claim: str = "roles"
    scope_claim: str = "syncd_scope"
    certificates: str | None = None  # of who signs the URL's own, beside those of the system
    refresh_s: Seconds = 300.0  # a withdrawn key serves for so long


class HttpTls(Strict, frozen=True):
    """Files in PEM. With ``client_ca`` only those with a certificate of it are heard."""

    certificate: str
    key: str
    client_ca: str | None = None


class Http(Strict, frozen=True):
    """The listener. ``host``, ``port`` and ``tls`` hold as long as the process does."""

    host: str = "127.0.0.1"  # whoever opens it to others does so on purpose
    port: Annotated[int, Meta(ge=0, le=65535)] = 8080  # 0: any that is free
    tls: HttpTls | None = None
    tokens: Annotated[tuple[HttpToken, ...], Meta(max_length=100)] = ()
    jwt: HttpJwt | None = None
    changes_per_minute: Annotated[int, Meta(ge=1, le=100_000)] = 10  # of one subject
    connections: Annotated[int, Meta(ge=1, le=10_000)] = 16


class MetricsPort(Strict, frozen=True):
    """Where ``/metrics`` is served by threads of its own, whatever the rest is busy with."""

    port: Annotated[int, Meta(ge=1, le=65535)]
    host: str = "127.0.0.1"


class Service(Strict, frozen=True):
    """The process. All of it has a default, so the file may be left out."""

    # Less than the 30 s that Kubernetes gives by default, and enough for the longest statement.
    grace_s: Annotated[float, Meta(ge=0.5, le=3600)] = 25.0
    poll_s: Annotated[float, Meta(ge=0.05, le=60)] = 1.0  # between two looks for work
    backoff_s_max: Annotated[float, Meta(ge=0.1, le=3600)] = 60.0  # before a broken one tries again
    http: Http = Http()
    metrics: MetricsPort | None = None


def restart_for(started: Service, now: Service) -> tuple[str, ...]:
    """The fields in which ``now`` differs and that only a restart puts in effect: the sockets.

    A certificate that is new under its old name needs none.
    """
    before, after = started.http, now.http
    found = {
        "http.host": before.host != after.host,
        "http.port": before.port != after.port,
        "http.tls": before.tls != after.tls,
        "metrics": started.metrics != now.metrics,
    }
    return tuple(name for name, differs in found.items() if differs)


class Settings(Strict, frozen=True):
    """All that a daemon was given: its own settings and its pipelines, read together."""

    service: Service
    pipelines: tuple[Config, ...]
