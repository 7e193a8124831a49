"""SIGHUP and the listener: who may come in changes at once, where it listens does not."""

import json
import signal
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.error import HTTPError
from urllib.request import Request, urlopen

import pytest

from tests.admin.served import jwks, signed
from tests.daemon.process import Place, Served

FIRST, SECOND = "first-0123456789abcdef", "second-0123456789abcdef"


class Settings:
    """The service's file."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "service.yaml"
        (folder / "jwks.json").write_bytes(jwks())
        self._jwt = {
            "jwks": str(folder / "jwks.json"),
            "issuer": "https://issuer.example",
            "audience": "syncd",
        }

    def write(
        self, *tokens: Mapping[str, str], signed_too: bool = False, more: str = "{}", **http: Any
    ) -> None:
        """Who may come in; ``more`` is for the service itself."""
        found = {"tokens": list(tokens), "port": 0, **http}
        if signed_too:
            found["jwt"] = self._jwt
        self.path.write_text(json.dumps({"http": found, **json.loads(more)}))


def token(value: str, role: str = "admin") -> dict[str, str]:
    return {"name": "ann", "role": role, "token": value}


def status(daemon: Served, given: str, path: str = "/api/pipelines", body: Any = None) -> int:
    """What a request with a token is answered with."""
    port = daemon.wait("http_listening")["port"]
    data = None if body is None else json.dumps(body).encode()
    headers = {"Authorization": f"Bearer {given}", "Content-Type": "application/json"}
    asked = Request(f"http://127.0.0.1:{port}{path}", data, headers)
    try:
        with urlopen(asked, timeout=20) as answer:  # noqa: S310 - our own
            found: int = answer.status
            return found
    except HTTPError as refusal:
        with refusal:
            return refusal.code


@pytest.fixture
def settings(tmp_path: Path) -> Settings:
    return Settings(tmp_path)


def again(daemon: Served, number: int, event: str = "reloaded") -> None:
    daemon.signal(signal.SIGHUP)
    daemon.wait(event, number=number)


async def test_tokens_roles_and_issuers_hold_from_the_reload_on(
    place: Place, settings: Settings
) -> None:
    """A withdrawn token is refused, a new one and an issuer's are taken, a role is another one."""
    settings.write(token(FIRST))
    with Served(place, arguments=["--service", str(settings.path)]) as daemon:
        daemon.wait("ready")
        assert [status(daemon, one) for one in (FIRST, SECOND, signed())] == [200, 401, 401]
        settings.write(token(SECOND), signed_too=True)
        again(daemon, 1)
        assert [status(daemon, one) for one in (FIRST, SECOND, signed())] == [401, 200, 200]
        pause = "/api/pipelines/one/pause"
        settings.write(token(SECOND, "read"))
        again(daemon, 2)
        assert status(daemon, SECOND) == 200
        assert status(daemon, SECOND, pause, {"reason": "test"}) == 403
        assert status(daemon, signed()) == 401
        assert daemon.found("restart_needed") == []


async def test_a_limit_holds_at_once_and_turns_that_were_taken_count(
    place: Place, settings: Settings
) -> None:
    """Of ten changes a minute one was made; of one, none is left."""
    pause = "/api/pipelines/one/pause"
    settings.write(token(FIRST))
    with Served(place, arguments=["--service", str(settings.path)]) as daemon:
        daemon.wait("ready")
        assert status(daemon, FIRST, pause, {"reason": "test"}) < 300
        settings.write(token(FIRST), changes_per_minute=1)
        again(daemon, 1)
        assert status(daemon, FIRST, pause, {"reason": "test"}) == 429


async def test_what_lets_in_too_much_is_refused_whole(place: Place, settings: Settings) -> None:
    """A token that can be guessed: the old ones stay."""
    settings.write(token(FIRST))
    with Served(place, arguments=["--service", str(settings.path)]) as daemon:
        daemon.wait("ready")
        settings.write(token(SECOND), {"name": "bob", "role": "read", "token": "short"})
        again(daemon, 1, "reload_refused")
        assert [status(daemon, one) for one in (FIRST, SECOND)] == [200, 401]


async def test_another_address_is_said_to_need_a_restart(place: Place, settings: Settings) -> None:
    """Each field of it is named, and what needs none holds all the same."""
    settings.write(token(FIRST))
    with Served(place, arguments=["--service", str(settings.path)]) as daemon:
        daemon.wait("ready")
        settings.write(token(SECOND), host="127.0.0.2", more='{"metrics": {"port": 9}}')
        again(daemon, 1)
        assert daemon.wait("restart_needed")["reason"] == "http.host, metrics"
        assert status(daemon, SECOND) == 200
