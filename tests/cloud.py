"""A cloud on loopback: ministack speaks the protocols of SNS, SQS and Secrets Manager.

So does moto, which was written by other people; what sends events is tested against both. They
live in an environment of their own (``.venv-cloud``), because they pin the very libraries that
syncd calls them with. A worker starts one, and each test finds it empty.
"""

import os
import socket
import subprocess
import time
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final
from urllib.error import URLError
from urllib.request import Request, urlopen

from msgspec import Struct

from tests.conftest import REPOSITORY
from tests.patience import WAIT_S

PROGRAMS: Final = REPOSITORY / ".venv-cloud" / "bin"
REGION: Final = "eu-west-2"
# It asks for no credentials, but clients must sign with some.
CREDENTIALS: Final = {
    "AWS_ACCESS_KEY_ID": "test",
    "AWS_SECRET_ACCESS_KEY": "test",
    "AWS_DEFAULT_REGION": REGION,
    "AWS_EC2_METADATA_DISABLED": "true",
}
_START_S_MAX: Final = WAIT_S
_ANSWER_S_MAX: Final = WAIT_S
_LOOK_S: Final = 0.05


class Kind(Struct, frozen=True):
    """A server's program and its own pages; ``{port}`` is filled in."""

    program: str
    arguments: tuple[str, ...]
    health: str
    reset: str

    @property
    def path(self) -> Path:
        """Where it is, once it is installed."""
        return PROGRAMS / self.program


MINISTACK: Final = Kind("ministack", (), "/_ministack/health", "/_ministack/reset")
MOTO: Final = Kind(
    "moto_server", ("-H", "127.0.0.1", "-p", "{port}"), "/moto-api/", "/moto-api/reset"
)


class Cloud(Struct, frozen=True):
    """A server that runs. ``url`` is the endpoint of every service."""

    url: str
    kind: "Kind"

    def reset(self) -> None:
        """Forget every topic, queue and secret."""
        _ask(f"{self.url}{self.kind.reset}", "POST")

    def client(self, service: str) -> Any:
        """An ``async with`` client of ``service`` for a test's own use."""
        from aiobotocore.session import get_session  # noqa: PLC0415 - as late as in production

        return get_session().create_client(
            service,
            endpoint_url=self.url,
            region_name=REGION,
            aws_access_key_id=CREDENTIALS["AWS_ACCESS_KEY_ID"],
            aws_secret_access_key=CREDENTIALS["AWS_SECRET_ACCESS_KEY"],
        )


@contextmanager
def running(log: Path, kind: Kind = MINISTACK) -> Iterator[Cloud]:
    """A server of our own on a free port of loopback; what it says goes to ``log``."""
    port = _free_port()
    # By itself it listens on every interface.
    environ = {**os.environ, "BIND_HOST": "127.0.0.1", "GATEWAY_PORT": str(port)}
    command = [str(kind.path), *(one.format(port=port) for one in kind.arguments)]
    with log.open("wb") as told:
        process = subprocess.Popen(command, env=environ, stdout=told, stderr=told)
        try:
            cloud = Cloud(f"http://127.0.0.1:{port}", kind)
            _await_health(cloud, process, log)
            yield cloud
        finally:
            process.kill()  # it keeps nothing, so there is nothing to save
            process.wait()


def _await_health(cloud: Cloud, process: "subprocess.Popen[bytes]", log: Path) -> None:
    end_s = time.monotonic() + _START_S_MAX
    while process.poll() is None and time.monotonic() < end_s:
        try:
            _ask(f"{cloud.url}{cloud.kind.health}", "GET")
        except (URLError, OSError):
            time.sleep(_LOOK_S)  # a process tells nobody when it begins to listen
        else:
            return
    raise RuntimeError(
        f"{cloud.kind.program} did not start: {log.read_text(errors='replace')[-1000:]}"
    )


def _ask(url: str, method: str) -> None:
    with urlopen(Request(url, method=method), timeout=_ANSWER_S_MAX) as answer:  # noqa: S310 - ours
        answer.read()


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
