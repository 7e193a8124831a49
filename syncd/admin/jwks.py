"""The keys that signed tokens are checked with: from one configured place, and from nowhere else.

What a token says about where its key is (``jku``, ``x5u``, ``jwk``) is never looked at. A key says
by its own kind which one algorithm it serves, so a token cannot choose (case 91). A key set is
read again when it is old, and when a token names a key that it lacks, though never by two at once
and never more often than ``REFETCH_S``: keys rotate, and tokens are forged faster than that.
"""

from collections.abc import Awaitable, Callable, Mapping
from pathlib import Path
from typing import Any, Final

import anyio
import jwt
import msgspec
from msgspec import Struct

from syncd.errors import ConfigError, SyncdError, TransientError
from syncd.flow.decode import DecodeError, decode
from syncd.logs import Log

_log = Log("syncd.admin")

DOCUMENT_BYTES_MAX: Final = 64 * 1024
KEYS_MAX: Final = 100
REFETCH_S: Final = 10.0
STALE_S_MAX: Final = 3600.0  # an issuer may be gone for an hour, and its keys still serve
FETCH_S: Final = 5.0
_RSA_BITS_MIN: Final = 2048

Fetch = Callable[[], Awaitable[bytes]]


class KeySet(Struct):
    """A document of keys; what else stands in it is not looked at."""

    keys: list[dict[str, Any]]


class Key(Struct, frozen=True):
    """A key and the one algorithm that it serves."""

    algorithm: str
    key: Any


_read_set = msgspec.json.Decoder(KeySet).decode


def keys_of(document: bytes) -> Mapping[str, Key]:
    """The usable keys of a set, by their ids; the first of an id stands.

    Raises ConfigError when the document is none. Keys without an id, of another kind or use, or
    too short to be safe are left out.
    """
    try:
        found = decode(_read_set, document).keys
    except DecodeError as error:
        raise ConfigError(
            f"the key set for tokens cannot be read ({error.code}), expected JSON with keys"
        ) from error
    keys: dict[str, Key] = {}
    for described in found[:KEYS_MAX]:
        kid, key = described.get("kid"), _key(described)
        if key is not None and isinstance(kid, str) and kid:
            keys.setdefault(kid, key)
    return keys


def _key(described: Mapping[str, Any]) -> Key | None:
    algorithm = _algorithm(described)
    if algorithm is None or described.get("use", "sig") != "sig":
        return None
    if described.get("alg", algorithm) != algorithm:
        return None
    try:
        key = jwt.PyJWK({**described, "alg": algorithm}, algorithm).key
    except (jwt.PyJWTError, ValueError, TypeError, KeyError):
        return None
    if algorithm == "RS256" and key.key_size < _RSA_BITS_MIN:
        return None
    # A private key in a published set is known to everybody.
    return None if hasattr(key, "sign") else Key(algorithm, key)


def _algorithm(described: Mapping[str, Any]) -> str | None:
    kind, curve = described.get("kty"), described.get("crv")
    if kind == "RSA":
        return "RS256"
    if kind == "EC" and curve == "P-256":
        return "ES256"
    return "EdDSA" if kind == "OKP" and curve == "Ed25519" else None


class Keys:
    """The key set as it was last read. ``clock`` is monotonic seconds."""

    def __init__(self, fetch: Fetch, clock: Callable[[], float], *, refresh_s: float) -> None:
        self._fetch = fetch
        self._clock = clock
        self._refresh_s = refresh_s
        self._keys: Mapping[str, Key] = {}
        self._read_s: float | None = None  # when it was last read well
        self._tried_s: float | None = None
        self._one_at_a_time = anyio.Lock()

    async def find(self, kid: str) -> Key | None:
        """The key of that id; None when the issuer has none such.

        Raises TransientError when the set cannot be read and what is known of it is too old.
        """
        if self._wants(kid):
            async with self._one_at_a_time:
                if self._wants(kid):
                    await self._read()
        now_s = self._clock()
        if self._read_s is None or now_s - self._read_s > self._refresh_s + STALE_S_MAX:
            raise TransientError("the key set for tokens cannot be read")
        return self._keys.get(kid)

    def _wants(self, kid: str) -> bool:
        now_s = self._clock()
        if self._tried_s is not None and now_s - self._tried_s < REFETCH_S:
            return False
        old = self._read_s is None or now_s - self._read_s > self._refresh_s
        return old or kid not in self._keys

    async def _read(self) -> None:
        try:
            self._keys = keys_of(await self._fetch())
            self._read_s = self._clock()
        except SyncdError as error:  # the keys that are known go on, for a while
            _log.warning("keys_not_read", reason=type(error).__name__)
        finally:
            self._tried_s = self._clock()


def fetching(place: str, certificates: str | None) -> Fetch:
    """How to read the document: a file, or an ``https`` URL without redirects and proxies.

    ``certificates`` are those to trust beside the system's, by their file.
    """
    if place.startswith("https://"):
        return lambda: _over_https(place, certificates)
    return lambda: _from_file(Path(place))


async def _from_file(path: Path) -> bytes:
    try:
        async with await anyio.open_file(path, "rb") as file:
            return _bounded(await file.read(DOCUMENT_BYTES_MAX + 1))
    except OSError as error:
        raise ConfigError(
            f"the key set for tokens cannot be read ({type(error).__name__})"
        ) from error


async def _over_https(url: str, certificates: str | None) -> bytes:
    import ssl  # noqa: PLC0415 - only where keys are fetched

    import aiohttp  # noqa: PLC0415

    try:
        trust = ssl.create_default_context(cafile=certificates)
        async with (
            aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(total=FETCH_S)) as session,
            session.get(url, allow_redirects=False, ssl=trust) as answer,
        ):
            if answer.status != 200:  # noqa: PLR2004 - the one status that brings it
                raise TransientError(f"the key set for tokens: status {answer.status}")
            document = b""
            async for piece in answer.content.iter_any():
                document = _bounded(document + piece)
            return document
    except (aiohttp.ClientError, OSError, TimeoutError) as error:
        raise TransientError(f"the key set for tokens: {type(error).__name__}") from error


def _bounded(document: bytes) -> bytes:
    if len(document) > DOCUMENT_BYTES_MAX:
        raise ConfigError(f"the key set for tokens is over {DOCUMENT_BYTES_MAX} bytes")
    return document
