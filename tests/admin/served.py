"""The real listener on loopback, in a thread with a loop of its own, and people who ask it."""

import http.client
import json
import threading
import time
import uuid
from collections.abc import Callable, Iterator, Mapping
from contextlib import contextmanager
from queue import Queue
from typing import Any, Final, Literal

import anyio
import jwt
from cryptography.hazmat.primitives.asymmetric import ec, ed25519, rsa
from msgspec import Struct
from prometheus_client import CollectorRegistry

from syncd.admin.build import build
from syncd.admin.listener import Listener
from syncd.admin.pages import Info
from syncd.admin.seam import Desk
from syncd.config import Config, Secret
from syncd.config_serve import Http, HttpJwt, HttpToken
from syncd.jobs.office import Office
from syncd.site import Site
from syncd.vitals import Vitals
from tests.patience import WAIT_S

ISSUER: Final = "https://issuer.example"
AUDIENCE: Final = "syncd"
TOKENS: Final = {name: f"{name}-{'0123456789abcdef' * 2}" for name in ("read", "operate", "admin")}
INFO: Final = Info("syncd", "1.2.3", "abc123")

# Made once: an RSA key takes a while.
RSA: Final = rsa.generate_private_key(public_exponent=65537, key_size=2048)
EC: Final = ec.generate_private_key(ec.SECP256R1())
ED: Final = ed25519.Ed25519PrivateKey.generate()
STRANGER: Final = ed25519.Ed25519PrivateKey.generate()


class Answer(Struct, frozen=True):
    """What came back."""

    status: int
    headers: Mapping[str, str]
    body: bytes

    @property
    def json(self) -> Any:
        return json.loads(self.body)


class Served:
    """A listener that listens. ``vitals`` may be changed by the test."""

    def __init__(self, listener: Listener, vitals: Vitals, registry: CollectorRegistry) -> None:
        self.listener = listener
        self.vitals = vitals
        self.registry = registry

    @property
    def port(self) -> int:
        return self.listener.port

    def ask(
        self,
        method: str,
        path: str,
        token: str | None = None,
        body: Any = None,
        **headers: str,
    ) -> Answer:
        """One request on a connection of its own. ``If_Match`` is ``If-Match``."""
        connection = http.client.HTTPConnection("127.0.0.1", self.port, timeout=WAIT_S)
        told = {name.replace("_", "-"): value for name, value in headers.items()}
        if token is not None:
            told.setdefault("Authorization", f"Bearer {token}")
        data = body if isinstance(body, bytes | None) else json.dumps(body).encode()
        if data is not None:
            told.setdefault("Content-Type", "application/json")
        try:
            connection.request(method, path, data, told)
            found = connection.getresponse()
            return Answer(found.status, dict(found.getheaders()), found.read())
        finally:
            connection.close()

    def get(self, path: str, token: str | None = TOKENS["admin"], **headers: str) -> Answer:
        return self.ask("GET", path, token, **headers)

    def post(
        self, path: str, body: Any = None, token: str | None = TOKENS["admin"], **headers: str
    ) -> Answer:
        return self.ask("POST", path, token, body, **headers)


def settings(**more: Any) -> Http:
    """Any free port, a static token for each role, and no limit on changes that a test meets."""
    roles: tuple[Literal["read", "operate", "admin"], ...] = ("read", "operate", "admin")
    tokens = tuple(HttpToken(name=role, role=role, token=Secret(TOKENS[role])) for role in roles)
    return Http(**{"port": 0, "tokens": tokens, "changes_per_minute": 100_000, **more})


def issuer(jwks: str, **more: Any) -> HttpJwt:
    """The configuration of the issuer of ``signed``."""
    return HttpJwt(jwks=jwks, issuer=ISSUER, audience=AUDIENCE, **more)


def jwks(*more: Mapping[str, Any]) -> bytes:
    """The keys of the issuer, as it publishes them."""
    algorithms = jwt.algorithms
    found = [
        ("rsa", algorithms.RSAAlgorithm.to_jwk(RSA.public_key(), as_dict=True), "RS256"),
        ("ec", algorithms.ECAlgorithm.to_jwk(EC.public_key(), as_dict=True), "ES256"),
        ("ed", algorithms.OKPAlgorithm.to_jwk(ED.public_key(), as_dict=True), "EdDSA"),
    ]
    keys = [{**key, "kid": kid, "alg": alg, "use": "sig"} for kid, key, alg in found]
    return json.dumps({"keys": [*keys, *more]}).encode()


def signed(
    key: Any = ED, algorithm: str = "EdDSA", kid: str = "ed", *, header: Any = None, **claims: Any
) -> str:
    """A token of the issuer; a claim that is None is left out."""
    now = int(time.time())
    told = {
        "sub": "somebody", "iss": ISSUER, "aud": AUDIENCE, "exp": now + 300, "iat": now,
        "roles": ["syncd.admin"], **claims,
    }  # fmt: skip
    payload = {name: value for name, value in told.items() if value is not None}
    return jwt.encode(
        payload, key, algorithm, headers={"kid": kid, "typ": "at+jwt", **(header or {})}
    )


@contextmanager
def serving(
    http_settings: Http,
    *configs: Config,
    desks: Mapping[str, Desk] | None = None,
    change: Callable[[Listener], None] = lambda _: None,
) -> Iterator[Served]:
    """A listener over these pipelines, or over ``desks``, that has started."""
    ready: Queue[Served | BaseException] = Queue()
    stop = threading.Event()

    async def main() -> None:
        sites = [Site(config) for config in configs]
        found = desks or {site.config.pipeline: Office(site) for site in sites}
        vitals, registry = Vitals(time.monotonic), CollectorRegistry()
        for config in configs:
            vitals.pipeline(config.pipeline, config.entities)
        listener = build(http_settings, vitals, registry, INFO, lambda: found)
        change(listener)
        async with anyio.create_task_group() as tasks:
            told = Served(listener, vitals, registry)
            tasks.start_soon(listener.run, lambda: ready.put(told))
            await anyio.to_thread.run_sync(stop.wait, abandon_on_cancel=True)
            tasks.cancel_scope.cancel()
        for site in sites:
            await site.close()

    def run() -> None:
        try:
            anyio.run(main)
        except BaseException as error:  # noqa: BLE001 - the test hears of it
            ready.put(error)

    thread = threading.Thread(target=run, name=f"served-{uuid.uuid4().hex[:6]}")
    thread.start()
    try:
        served = ready.get(timeout=WAIT_S)
        if isinstance(served, BaseException):
            raise served
        yield served
    finally:
        stop.set()
        thread.join(WAIT_S)
