"""Case 91: who comes in. The table is made of the router, so no route can be forgotten."""

import json
import time
from collections.abc import Callable
from typing import Any, Final

import jwt
import pytest
from cryptography.hazmat.primitives.serialization import Encoding, PublicFormat

from syncd.admin.roles import Role
from syncd.admin.route import Route
from syncd.admin.routes import routes
from syncd.vitals import Vitals
from tests.admin.served import EC, ED, RSA, STRANGER, TOKENS, Served, signed

ROUTES: Final = routes(Vitals(time.monotonic), "1")
CLAIMED: Final = {Role.READ: "syncd.read", Role.OPERATE: "syncd.operate", Role.ADMIN: "syncd.admin"}
PLACES: Final = {
    "pipeline": "orders", "entity": "cases", "run_id": "1", "claim_id": "1", "conflict_id": "1",
}  # fmt: skip
BELOW: Final = {Role.READ: [], Role.OPERATE: ["syncd.read"], Role.ADMIN: ["syncd.operate"]}


def path_of(route: Route) -> str:
    return route.path.format(**PLACES)


def now() -> int:
    return int(time.time())


# What a token is like, and what every route answers; None: anything but 401 and 403.
KINDS: Final[dict[str, tuple[Callable[[Route], str | None], int | None]]] = {
    "none": (lambda _: None, 401),
    "bad signature": (lambda _: signed(STRANGER), 401),
    "expired": (lambda _: signed(exp=now() - 31), 401),
    "wrong audience": (lambda _: signed(aud="another"), 401),
    "wrong role": (lambda route: signed(roles=BELOW[route.role]), 403),
    "right role": (lambda route: signed(roles=[CLAIMED[route.role]]), None),
}


@pytest.mark.parametrize("kind", KINDS)
def test_every_route_lets_in_the_right_role_and_nobody_else(served: Served, kind: str) -> None:
    """Case 91: each route of the router with each kind of token."""
    make, expected = KINDS[kind]
    statuses = {
        (route.method, route.path): served.ask(route.method, path_of(route), make(route)).status
        for route in ROUTES
    }
    if expected is None:
        assert not {401, 403} & set(statuses.values()), statuses
    else:
        assert set(statuses.values()) == {expected}, statuses


def test_the_table_has_every_route_and_each_names_a_role() -> None:
    """Case 91: default deny; there is no route without a role."""
    assert len(ROUTES) >= 28
    assert {type(route.role) for route in ROUTES} == {Role}


PAGE: Final = "/api/pipelines"
PEM: Final = RSA.public_key().public_bytes(Encoding.PEM, PublicFormat.SubjectPublicKeyInfo)


def forged(**header: Any) -> str:
    """A token with any header, signed by HMAC with the issuer's public key."""
    payload = {"sub": "x", "iss": "https://issuer.example", "aud": "syncd", "exp": now() + 300}
    whole = {"alg": "HS256", "typ": "JWT", "kid": "rsa", **header}
    parts = [
        jwt.utils.base64url_encode(part).decode()
        for part in (
            json.dumps(whole).encode(),
            json.dumps({**payload, "roles": ["syncd.admin"]}).encode(),
        )
    ]
    mac = jwt.algorithms.HMACAlgorithm(jwt.algorithms.HMACAlgorithm.SHA256)
    signature = mac.sign(".".join(parts).encode(), PEM)
    return ".".join([*parts, jwt.utils.base64url_encode(signature).decode()])


REFUSED: Final[dict[str, Callable[[], str]]] = {
    "no algorithm": lambda: forged(alg="none"),
    "no algorithm and no signature": lambda: forged(alg="none").rpartition(".")[0] + ".",
    "the public key as a shared secret": forged,
    "a key that says another algorithm": lambda: signed(RSA, "RS512", "rsa"),
    "a key of another algorithm": lambda: signed(EC, "ES256", "rsa"),
    "no key id": lambda: forged(alg="EdDSA", kid=None),
    "an unknown key id": lambda: signed(kid="new"),
    "a key of its own": lambda: signed(
        STRANGER,
        header={"jwk": jwt.algorithms.OKPAlgorithm.to_jwk(STRANGER.public_key(), as_dict=True)},
    ),
    "a key from its own place": lambda: signed(STRANGER, header={"jku": "https://evil.example/"}),
    "no type": lambda: signed(header={"typ": None}),
    "another type": lambda: signed(header={"typ": "logout+jwt"}),
    "something critical": lambda: signed(header={"crit": ["b64"], "b64": True}),
    "no end": lambda: signed(exp=None),
    "an end that is no number": lambda: signed(exp="tomorrow"),
    "not yet valid": lambda: signed(nbf=now() + 60),
    "issued in the future": lambda: signed(iat=now() + 60),
    "another issuer": lambda: signed(iss="https://issuer.example/"),
    "no issuer": lambda: signed(iss=None),
    "no audience": lambda: signed(aud=None),
    "no subject": lambda: signed(sub=None),
    "an empty subject": lambda: signed(sub=""),
    "a subject that forges a line": lambda: signed(sub="a\nb"),
    "a static token that is wrong": lambda: TOKENS["admin"][:-1] + "0",
    "a static token that is cut": lambda: TOKENS["admin"][:-1],
    "no token at all": lambda: "....",
    "deep nesting": lambda: "e30." + "W1tb" * 3000 + ".x",
}


@pytest.mark.parametrize("token", REFUSED)
def test_a_token_that_proves_nothing_is_refused(served: Served, token: str) -> None:
    """Case 91: and the answer says nothing of why."""
    answer = served.get(PAGE, REFUSED[token]())
    assert answer.status == 401
    assert answer.json["detail"] == "show a valid token"


@pytest.mark.parametrize(
    "header", ["", "Basic YTpi", "Bearer", "Bearer ", "bearer\u00e4 x", "x y z"]
)
def test_only_a_bearer_token_is_looked_at(served: Served, header: str) -> None:
    """Another scheme, none, and what is no token at all."""
    assert served.get(PAGE, None, Authorization=header).status == 401


@pytest.mark.parametrize(
    ("key", "algorithm", "kid"), [(RSA, "RS256", "rsa"), (EC, "ES256", "ec"), (ED, "EdDSA", "ed")]
)
def test_three_algorithms_are_known(served: Served, key: Any, algorithm: str, kid: str) -> None:
    """RS256, ES256 and EdDSA; ``typ`` may be JWT or at+jwt, in any case."""
    assert served.get(PAGE, signed(key, algorithm, kid, header={"typ": "JWT"})).status == 200


def test_clocks_may_differ_by_thirty_seconds(served: Served) -> None:
    """Expired 25 s ago, or valid in 25 s: let in."""
    assert served.get(PAGE, signed(exp=now() - 25)).status == 200
    assert served.get(PAGE, signed(nbf=now() + 25, iat=now() + 25)).status == 200


@pytest.mark.parametrize("roles", [None, [], ["syncd"], "syncd.reader", {"syncd.admin": True}, 7])
def test_a_token_without_a_role_of_ours_may_do_nothing(served: Served, roles: Any) -> None:
    """Known, and not allowed: 403."""
    assert served.get(PAGE, signed(roles=roles)).status == 403


def test_roles_may_be_one_text_with_blanks(served: Served) -> None:
    """As OAuth writes scopes."""
    assert served.get(PAGE, signed(roles="openid syncd.read")).status == 200
