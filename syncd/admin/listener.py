"""The listener: a socket of its own, the gate before HTTP, and the door behind it.

What the HTTP library itself has to refuse (a request that is none) and what fails inside us take
the same form as every other refusal, and quote nothing of what was sent.
"""

import ssl
import uuid
from collections.abc import Callable
from http import HTTPStatus
from typing import Any, Final

import anyio
from aiohttp import web
from msgspec.structs import replace

from syncd import logs
from syncd.admin import problems
from syncd.admin.door import Door, response
from syncd.admin.gate import Bounds, Gate
from syncd.admin.pages import Reply
from syncd.admin.reading import BODY_BYTES_MAX
from syncd.config_serve import Http, HttpTls
from syncd.errors import ConfigError

_log = logs.Log("syncd.admin")

_DRAIN_S: Final = 2.0  # for requests that are under way when it ends
_BACKLOG: Final = 64


def new_id() -> str:
    """A correlation id."""
    return uuid.uuid4().hex


class Listener:
    """A long-lived part: serves until it is cancelled."""

    name = "http"

    def __init__(self, config: Http, make_door: Callable[[Http], Door]) -> None:
        self._config = config
        self._make_door = make_door
        self._door = make_door(config)
        self._context: ssl.SSLContext | None = None
        self._server = _Server(self._answer, request_factory=_request, **_LIBRARY)
        self.gate = Gate(Bounds(connections=config.connections), self._server, _refused)
        self.port = 0  # that it listens on, once it has started

    async def _answer(self, request: web.BaseRequest) -> web.StreamResponse:
        return await self._door(request)

    def heed(self, config: Http) -> Callable[[], None]:
        """What puts other settings in effect, but for where and how it listens.

        Raises ConfigError, and then nothing has changed. A certificate is read again from where it
        was; requests that are under way end as they would have.
        """
        door, tls, context = self._make_door(config), self._config.tls, self._context
        if tls is not None:
            _tls(tls)

        def apply() -> None:
            self._door = door
            self.gate.bounds = replace(self.gate.bounds, connections=config.connections)
            if context is not None and tls is not None:
                context.load_cert_chain(tls.certificate, tls.key)

        return apply

    async def run(self, started: Callable[[], None]) -> None:
        """Listen, say so, and serve. Raises ConfigError when the address cannot be taken."""
        import asyncio  # noqa: PLC0415 - the one place that needs the loop itself

        tls = self._config.tls
        self._context = None if tls is None else _tls(tls)
        try:
            server = await asyncio.get_running_loop().create_server(
                self.gate.admit,
                self._config.host,
                self._config.port,
                ssl=self._context,
                ssl_handshake_timeout=None if tls is None else self.gate.bounds.header_s,
                backlog=_BACKLOG,
            )
        except OSError as error:
            raise ConfigError(
                f"http: port {self._config.port} cannot be listened on ({type(error).__name__})",
                hint="choose another host or port in the service's settings",
            ) from error
        self.port = server.sockets[0].getsockname()[1]
        _log.info("http_listening", port=self.port)
        started()
        try:
            await anyio.sleep_forever()
        finally:
            server.close()
            with anyio.CancelScope(shield=True), anyio.move_on_after(_DRAIN_S + 1):
                await self._server.shutdown(_DRAIN_S)


def _tls(config: HttpTls) -> ssl.SSLContext:
    """TLS 1.2 or newer; with ``client_ca`` nobody is heard without a certificate of it."""
    context = ssl.create_default_context(ssl.Purpose.CLIENT_AUTH, cafile=config.client_ca)
    context.minimum_version = ssl.TLSVersion.TLSv1_2
    if config.client_ca is not None:
        context.verify_mode = ssl.CERT_REQUIRED
    try:
        context.load_cert_chain(config.certificate, config.key)
    except (OSError, ssl.SSLError) as error:
        raise ConfigError(
            f"http.tls: certificate or key cannot be read ({type(error).__name__})"
        ) from error
    return context


_LIBRARY: Final[dict[str, Any]] = {
    # The gate has counted the header; no line of it may be refused before.
    "max_line_size": 16 * 1024,
    "max_field_size": 16 * 1024,
    "lingering_time": 1.0,
    "auto_decompress": False,
    "access_log": None,
}


class _Protocol(web.RequestHandler):
    """The library's own, but for how it tells that something failed."""

    def handle_error(
        self,
        request: web.BaseRequest,
        status: int = 500,
        exc: BaseException | None = None,
        message: str | None = None,
    ) -> web.StreamResponse:
        """A problem that tells nothing but its id."""
        del request, message  # it may quote what was sent
        correlation_id = new_id()
        ours = status >= HTTPStatus.INTERNAL_SERVER_ERROR
        if ours:
            with logs.scope(correlation_id=correlation_id):
                _log.error("api_failed", exc_info=exc)
        found = HTTPStatus(status)
        detail = "this failed inside; look at the log" if ours else "this is no request"
        body = problems.encoded(found, detail, correlation_id)
        reply = Reply(body, found, problems.CONTENT_TYPE)
        return response(reply, {problems.CORRELATION: correlation_id})


class _Server(web.Server):
    """Makes our protocols."""

    def __call__(self) -> web.RequestHandler:
        """A protocol for one connection."""
        return _Protocol(self, loop=self._loop, **self._kwargs)


def _request(message: Any, payload: Any, protocol: Any, writer: Any, task: Any) -> web.BaseRequest:
    loop, most = task.get_loop(), BODY_BYTES_MAX
    return web.BaseRequest(message, payload, protocol, writer, task, loop, client_max_size=most)


def _refused(status: HTTPStatus) -> bytes:
    """What the gate says before the library has heard of a connection."""
    correlation_id = new_id()
    _log.warning("api_refused", code=status.name.lower())
    body = problems.encoded(status, "", correlation_id)
    head = (
        f"HTTP/1.1 {status.value} {status.phrase}\r\nContent-Type: {problems.CONTENT_TYPE}\r\n"
        f"Content-Length: {len(body)}\r\n{problems.CORRELATION}: {correlation_id}\r\n"
        "Retry-After: 1\r\nConnection: close\r\n\r\n"
    )
    return head.encode() + body
