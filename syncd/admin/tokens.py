"""Who asks: a bearer token to an identity, or a refusal whose reason only the log hears.

Small sites name static tokens; others name an issuer whose keys sign them. What is not proved is
refused: no algorithm but three, no key that was not configured, no token without an end (case 91).
"""

import hmac
from collections.abc import Mapping, Sequence
from hashlib import sha256
from typing import Any, Final

import jwt
from msgspec import Struct

from syncd.admin.jwks import Keys
from syncd.admin.roles import CLAIMED, NAMES, Identity, Role
from syncd.config_serve import HttpJwt, HttpToken

ALGORITHMS: Final = ("RS256", "ES256", "EdDSA")
TYPES: Final = frozenset({"jwt", "at+jwt", "application/at+jwt"})
LEEWAY_S: Final = 30
SUBJECT_CHARS_MAX: Final = 200
SCOPE_MAX: Final = 1000
_REQUIRED: Final = ("exp", "iss", "aud", "sub")


class UnknownError(Exception):
    """Nobody that is known asks. ``reason`` is a word of ours, for the log and the audit."""

    def __init__(self, reason: str) -> None:
        super().__init__(reason)
        self.reason = reason


class _Claims(Struct, frozen=True):
    """What is read of a token that was proved."""

    subject: str
    roles: frozenset[str]
    scope: frozenset[str] | None


class Authenticator:
    """Knows people by their ``Authorization`` header. ``keys`` is None where no issuer is."""

    def __init__(
        self, tokens: Sequence[HttpToken], issuer: HttpJwt | None, keys: Keys | None
    ) -> None:
        self._tokens = tokens
        self._issuer = issuer
        self._keys = keys

    async def identify(self, header: str | None) -> Identity:
        """Who sent this header. Raises UnknownError; TransientError where keys cannot be read."""
        scheme, _, token = (header or "").partition(" ")
        if not header:
            raise UnknownError("no_token")
        if scheme.lower() != "bearer" or not token or not token.isascii():
            raise UnknownError("no_bearer_token")
        return self._static(token) or await self._signed(token)

    def _static(self, token: str) -> Identity | None:
        """Every token is compared, in constant time, so that nothing is learnt from how long."""
        given, found = sha256(token.encode()).digest(), None
        for known in self._tokens:
            if hmac.compare_digest(sha256(known.token.value.encode()).digest(), given):
                scope = frozenset(known.scope) or None
                found = Identity(f"token:{known.name}", NAMES[known.role], scope)
        return found

    async def _signed(self, token: str) -> Identity:
        if self._keys is None or self._issuer is None:
            raise UnknownError("unknown_token")
        claims = _claims(await self._proved(token, self._keys, self._issuer), self._issuer)
        roles = [CLAIMED[name] for name in claims.roles if name in CLAIMED]
        role: Role | None = max(roles, default=None)
        return Identity(claims.subject, role, claims.scope)

    async def _proved(self, token: str, keys: Keys, issuer: HttpJwt) -> Mapping[str, Any]:
        """The claims of a token whose signature, times, issuer and audience hold."""
        header = _header(token)
        key = await keys.find(header["kid"])
        if key is None:
            raise UnknownError("unknown_key")
        try:
            return jwt.decode(
                token,
                key.key,
                algorithms=[key.algorithm],
                audience=issuer.audience,
                issuer=issuer.issuer,
                leeway=LEEWAY_S,
                options={"require": list(_REQUIRED)},
            )
        except jwt.PyJWTError as error:
            raise UnknownError(_reason(error)) from None
        except (ValueError, TypeError, RecursionError, OverflowError):
            raise UnknownError("malformed") from None


def _header(token: str) -> Mapping[str, Any]:
    try:
        header = jwt.get_unverified_header(token)
    except jwt.PyJWTError:
        raise UnknownError("malformed") from None
    except (ValueError, TypeError, RecursionError):
        raise UnknownError("malformed") from None
    if header.get("alg") not in ALGORITHMS:
        raise UnknownError("algorithm")
    if not isinstance(header.get("typ"), str) or header["typ"].lower() not in TYPES:
        raise UnknownError("type")
    if not isinstance(header.get("kid"), str) or "crit" in header:
        raise UnknownError("header")
    return header


_REASONS: Final[Sequence[tuple[type[jwt.PyJWTError], str]]] = (
    (jwt.ExpiredSignatureError, "expired"),
    (jwt.ImmatureSignatureError, "not_yet_valid"),
    (jwt.InvalidIssuedAtError, "not_yet_valid"),
    (jwt.InvalidAudienceError, "audience"),
    (jwt.InvalidIssuerError, "issuer"),
    (jwt.MissingRequiredClaimError, "missing_claim"),
    (jwt.InvalidAlgorithmError, "algorithm"),
    (jwt.InvalidSignatureError, "signature"),
)


def _reason(error: jwt.PyJWTError) -> str:
    return next((word for kind, word in _REASONS if isinstance(error, kind)), "malformed")


def _claims(plain: Mapping[str, Any], issuer: HttpJwt) -> _Claims:
    subject = plain["sub"]
    if not isinstance(subject, str) or not 0 < len(subject) <= SUBJECT_CHARS_MAX:
        raise UnknownError("subject")
    if not subject.isprintable():
        raise UnknownError("subject")
    roles = _words(plain.get(issuer.roles_claim))
    scope = _words(plain[issuer.scope_claim]) if issuer.scope_claim in plain else None
    return _Claims(subject, roles, scope)


def _words(claim: object) -> frozenset[str]:
    """A list of texts, or one text with blanks between; anything else grants nothing."""
    if isinstance(claim, str):
        return frozenset(claim.split()[:SCOPE_MAX])
    if isinstance(claim, list):
        return frozenset(word for word in claim[:SCOPE_MAX] if isinstance(word, str))
    return frozenset()
