"""The issuer's keys: cached, rotated, bounded, and never from anywhere else."""

import json
import ssl
import threading
from collections.abc import Callable, Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from pathlib import Path
from typing import Any, Final

import anyio
import jwt
import pytest
from cryptography.hazmat.primitives.asymmetric import ec, rsa

from syncd.admin.jwks import KEYS_MAX, Keys, fetching, keys_of
from syncd.errors import ConfigError, TransientError
from tests.admin.served import EC, ED, RSA, jwks

OKP: Final = jwt.algorithms.OKPAlgorithm
KEY: Final = OKP.to_jwk(ED.public_key(), as_dict=True)


class Issuer:
    """Publishes keys; counts how often it is asked."""

    def __init__(self) -> None:
        self.document = jwks()
        self.asked = 0
        self.error: Exception | None = None

    async def fetch(self) -> bytes:
        self.asked += 1
        await anyio.lowlevel.checkpoint()
        if self.error is not None:
            raise self.error
        return self.document


class Clock:
    now_s = 1000.0

    def __call__(self) -> float:
        return self.now_s


def keys(issuer: Issuer, clock: Clock) -> Keys:
    return Keys(issuer.fetch, clock, refresh_s=300.0)


async def test_keys_are_read_once_and_kept() -> None:
    """Until they are older than ``refresh_s``."""
    issuer, clock = Issuer(), Clock()
    found = keys(issuer, clock)
    for _ in range(5):
        assert await found.find("ed") is not None
    assert issuer.asked == 1
    clock.now_s += 301
    await found.find("ed")
    assert issuer.asked == 2


async def test_a_new_key_is_found_at_once_and_a_withdrawn_one_is_refused() -> None:
    """Rotation: a token names a key that is not known yet; the old one ends with the next read."""
    issuer, clock = Issuer(), Clock()
    found = keys(issuer, clock)
    await found.find("ed")
    issuer.document = json.dumps({"keys": [{**KEY, "kid": "next"}]}).encode()
    clock.now_s += 11
    assert await found.find("next") is not None
    assert await found.find("ed") is None


async def test_forged_key_ids_do_not_make_us_ask_the_issuer() -> None:
    """At most once in ten seconds, however many tokens name keys that nobody has."""
    issuer, clock = Issuer(), Clock()
    found = keys(issuer, clock)
    for number in range(1000):
        assert await found.find(f"forged{number}") is None
    assert issuer.asked == 1


async def test_many_at_once_ask_the_issuer_once() -> None:
    """Single flight."""
    issuer, clock = Issuer(), Clock()
    found = keys(issuer, clock)
    async with anyio.create_task_group() as tasks:
        for _ in range(50):
            tasks.start_soon(found.find, "ed")
    assert issuer.asked == 1


async def test_while_the_issuer_is_gone_known_keys_serve_for_an_hour() -> None:
    """Then nobody is let in: fail closed."""
    issuer, clock = Issuer(), Clock()
    found = keys(issuer, clock)
    await found.find("ed")
    issuer.error = TransientError("gone")
    clock.now_s += 3000
    assert await found.find("ed") is not None
    clock.now_s += 1000
    with pytest.raises(TransientError):
        await found.find("ed")


async def test_without_any_key_nobody_is_let_in() -> None:
    """An issuer that was never reached."""
    issuer = Issuer()
    issuer.error = ConfigError("no file")
    with pytest.raises(TransientError):
        await keys(issuer, Clock()).find("ed")


def described(**fields: Any) -> bytes:
    return json.dumps({"keys": [{**KEY, "kid": "k", **fields}]}).encode()


def of(algorithm: Any, key: Any, **fields: Any) -> bytes:
    return json.dumps(
        {"keys": [{**algorithm.to_jwk(key, as_dict=True), "kid": "k", **fields}]}
    ).encode()


WEAK: Final = rsa.generate_private_key(public_exponent=65537, key_size=1024)  # noqa: S505 - the test's point
WIDE: Final = ec.generate_private_key(ec.SECP384R1())
USELESS: Final[dict[str, Callable[[], bytes]]] = {
    "a shared secret": lambda: b'{"keys": [{"kty": "oct", "k": "AA", "kid": "k"}]}',
    "another use": lambda: described(use="enc"),
    "another algorithm": lambda: described(alg="RS256"),
    "no id": lambda: described(kid=""),
    "an id that is no text": lambda: described(kid=7),
    "damaged": lambda: described(x="!!!"),
    "too short": lambda: of(jwt.algorithms.RSAAlgorithm, WEAK.public_key()),
    "another curve": lambda: of(jwt.algorithms.ECAlgorithm, WIDE.public_key()),
    "a private one": lambda: of(OKP, ED),
    "a private one of RSA": lambda: of(jwt.algorithms.RSAAlgorithm, RSA),
    "a private one of EC": lambda: of(jwt.algorithms.ECAlgorithm, EC),
}  # fmt: skip


@pytest.mark.parametrize("kind", USELESS)
def test_a_key_that_cannot_be_relied_on_is_left_out(kind: str) -> None:
    """Whatever it says of itself."""
    assert keys_of(USELESS[kind]()) == {}


def test_the_kinds_that_are_known_are_taken() -> None:
    """Each with the one algorithm of its kind; unknown fields are nobody's business."""
    found = keys_of(jwks({"kty": "EC", "kid": "broken"}))
    algorithms = {kid: key.algorithm for kid, key in found.items()}
    assert algorithms == {"rsa": "RS256", "ec": "ES256", "ed": "EdDSA"}


def test_a_set_is_bounded() -> None:
    """The first hundred."""
    many = [{**KEY, "kid": f"k{number}"} for number in range(KEYS_MAX + 50)]
    assert len(keys_of(json.dumps({"keys": many}).encode())) == KEYS_MAX


@pytest.mark.parametrize("document", [b"", b"[]", b"{}", b"\xff", b"[" * 50_000, b'{"keys": 1}'])
def test_what_is_no_set_of_keys_is_an_error(document: bytes) -> None:
    """Case 94: and only ours."""
    with pytest.raises(ConfigError):
        keys_of(document)


async def test_keys_come_from_a_file(tmp_path: Path) -> None:
    """Read anew each time; bounded; missing ones are told without their path."""
    path = tmp_path / "jwks.json"
    path.write_bytes(jwks())
    assert await fetching(str(path), None)() == jwks()
    path.write_bytes(b" " * (64 * 1024 + 1))
    with pytest.raises(ConfigError, match="65536"):
        await fetching(str(path), None)()
    with pytest.raises(ConfigError, match="FileNotFoundError"):
        await fetching(str(tmp_path / "none"), None)()


class Publisher(BaseHTTPRequestHandler):
    """An issuer behind TLS."""

    def do_GET(self) -> None:
        body = jwks() if self.path == "/jwks" else b" " * (70 * 1024)
        self.send_response(302 if self.path == "/moved" else 500 if self.path == "/500" else 200)
        self.send_header("Location", "/jwks")
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, format: str, *args: Any) -> None:  # noqa: A002 - its name there
        """Nothing."""


@pytest.fixture(scope="module")
def publisher(certificate: tuple[Path, Path]) -> Iterator[str]:
    """Its URL."""
    server = ThreadingHTTPServer(("127.0.0.1", 0), Publisher)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(*certificate)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    try:
        yield f"https://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()
        thread.join()


async def fetched(url: str, certificates: str | None) -> bytes:
    """What is there. TLS says goodbye over the network, and nobody tells when it has."""
    try:
        return await fetching(url, certificates)()
    finally:
        await anyio.sleep(0.1)


async def test_keys_come_over_https(publisher: str, certificate: tuple[Path, Path]) -> None:
    """From one that is trusted."""
    assert await fetched(f"{publisher}/jwks", str(certificate[0])) == jwks()


Error = type[TransientError] | type[ConfigError]


@pytest.mark.parametrize(
    ("path", "trusted", "error"),
    [
        ("/jwks", False, TransientError),
        ("/moved", True, TransientError),
        ("/500", True, TransientError),
        ("/big", True, ConfigError),
    ],
)
async def test_nothing_else_is_believed(
    publisher: str, certificate: tuple[Path, Path], path: str, error: Error, *, trusted: bool
) -> None:
    """No stranger, no redirect (case 89), no other status, no document without an end."""
    with pytest.raises(error):
        await fetched(publisher + path, str(certificate[0]) if trusted else None)
