"""The settings of the listener: TLS, and what would let in more than was meant."""

import ssl
from http.client import HTTPSConnection
from pathlib import Path

import pytest

from syncd.admin.build import assert_safe
from syncd.config import Secret
from syncd.config_serve import Http, HttpTls, HttpToken
from syncd.errors import ConfigError
from tests.admin.served import issuer, serving, settings
from tests.patience import WAIT_S


def get(port: int, trusted: Path, shown: tuple[Path, Path] | None = None) -> int:
    """The status of /ping over TLS."""
    context = ssl.create_default_context(cafile=trusted)
    if shown is not None:
        context.load_cert_chain(*shown)
    connection = HTTPSConnection("127.0.0.1", port, timeout=WAIT_S, context=context)
    try:
        connection.request("GET", "/ping")
        return connection.getresponse().status
    finally:
        connection.close()


def test_pages_are_served_over_tls(certificate: tuple[Path, Path]) -> None:
    """Whoever trusts the certificate is answered; plain HTTP is not."""
    tls = HttpTls(certificate=str(certificate[0]), key=str(certificate[1]))
    with serving(settings(tls=tls), desks={}) as served:
        assert get(served.port, certificate[0]) == 200
        with pytest.raises(ConnectionError):
            served.get("/ping")


def test_with_an_authority_only_those_with_its_certificate_are_heard(
    certificate: tuple[Path, Path],
) -> None:
    """mTLS."""
    cert, key = certificate
    tls = HttpTls(certificate=str(cert), key=str(key), client_ca=str(cert))
    with serving(settings(tls=tls), desks={}) as served:
        assert get(served.port, cert, certificate) == 200
        with pytest.raises((ssl.SSLError, ConnectionError)):
            get(served.port, cert)


@pytest.mark.parametrize("missing", ["certificate", "key"])
def test_a_certificate_that_is_not_there_is_told(
    certificate: tuple[Path, Path], missing: str
) -> None:
    """Before anything is served."""
    files = {"certificate": str(certificate[0]), "key": str(certificate[1]), missing: "/nowhere"}
    with pytest.raises(ExceptionGroup) as raised, serving(settings(tls=HttpTls(**files)), desks={}):
        pass
    assert isinstance(raised.value.exceptions[0], ConfigError)


def test_a_port_that_is_taken_is_told() -> None:
    """By its number, with what to do."""
    with (
        serving(settings(), desks={}) as first,
        pytest.raises(ExceptionGroup) as raised,
        serving(settings(port=first.port), desks={}),
    ):
        pass
    assert str(first.port) in str(raised.value.exceptions[0])


def token(name: str, value: str) -> HttpToken:
    return HttpToken(name=name, role="read", token=Secret(value))


@pytest.mark.parametrize(
    ("http", "found"),
    [
        (Http(tokens=(token("ops", "short-and-known"),)), "token of ops is too short"),
        (Http(tokens=(token("a", "x" * 16), token("b", "x" * 16))), "two of them are the same"),
        (Http(jwt=issuer("http://issuer.example/jwks")), "expected an https URL"),
        (Http(jwt=issuer("ftp://issuer.example/jwks")), "expected an https URL"),
    ],
)
def test_settings_that_let_in_too_much_are_refused(http: Http, found: str) -> None:
    """Told without the token."""
    with pytest.raises(ConfigError, match=found) as raised:
        assert_safe(http)
    assert "short-and-known" not in str(raised.value)


@pytest.mark.parametrize("place", ["/etc/jwks.json", "jwks.json", "https://issuer.example/jwks"])
def test_settings_that_are_safe_are_taken(place: str) -> None:
    """A file or an https URL; tokens of sixteen characters."""
    assert_safe(Http(tokens=(token("ops", "x" * 16),), jwt=issuer(place)))


def test_without_tokens_and_issuer_nobody_is_let_in() -> None:
    """The open pages are served all the same."""
    with serving(Http(port=0), desks={}) as served:
        assert served.get("/api/pipelines").status == 401
        assert served.get("/ping").status == 200
