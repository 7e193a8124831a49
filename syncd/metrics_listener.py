"""``/metrics`` on a port of its own, answered by threads of its own.

A batch keeps the event loop busy for tens of milliseconds at a time, in a big night for longer. A
scrape that had to wait for it would take as long; a thread has its turn within a few milliseconds.
Only numbers are told here, so there is nothing to protect but the process: a few connections at a
time, each for a few seconds.
"""

import sys
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from socket import socket
from threading import BoundedSemaphore, Thread
from typing import Any, Final

import anyio

from syncd.errors import ConfigError
from syncd.metrics import CONTENT_TYPE, Metrics

CONNECTIONS_MAX: Final = 4  # Prometheus has one for each of its servers
REQUEST_S_MAX: Final = 5.0
_POLL_S: Final = 0.1  # how soon the end is noticed
# An answer has its turn half a dozen times, and Python's own 5 ms for each would be felt. It costs
# nothing while nobody asks.
_TURN_S: Final = 0.001


class MetricsListener:
    """A part of the daemon. Port 0 takes any that is free; ``port`` tells it once it listens."""

    name = "metrics"

    def __init__(self, metrics: Metrics, host: str, port: int) -> None:
        self.port = port
        self._metrics = metrics
        self._host = host

    async def run(self, started: Any) -> None:
        """Answer until it is cancelled; raises ConfigError where the address cannot be had."""
        server = self._listen()
        self.port = server.server_port
        sys.setswitchinterval(_TURN_S)
        thread = Thread(target=server.serve_forever, args=(_POLL_S,), name="metrics", daemon=True)
        thread.start()
        started()
        try:
            await anyio.sleep_forever()
        finally:
            server.shutdown()
            server.server_close()

    def _listen(self) -> "_Server":
        try:
            return _Server((self._host, self.port), _handler(self._metrics))
        except OSError as error:
            raise ConfigError(
                f"metrics: cannot listen on {self._host} port {self.port} ({error.strerror})",
                hint="choose another port, or end what listens there",
            ) from error


class _Server(ThreadingHTTPServer):
    """Refuses connections beyond its few, and does not wait for open ones at its end."""

    block_on_close = False
    daemon_threads = True

    def __init__(self, address: tuple[str, int], handler: type[BaseHTTPRequestHandler]) -> None:
        super().__init__(address, handler)
        self._free = BoundedSemaphore(CONNECTIONS_MAX)

    def process_request(self, request: Any, client_address: Any) -> None:
        """Give a connection its thread, or close it."""
        if self._free.acquire(blocking=False):
            super().process_request(request, client_address)
        else:
            self.shutdown_request(request)

    def process_request_thread(self, request: Any, client_address: Any) -> None:
        """Answer, and let the next one in."""
        try:
            super().process_request_thread(request, client_address)
        finally:
            self._free.release()

    def handle_error(self, request: socket | tuple[bytes, socket], client_address: Any) -> None:
        """Nothing: whoever asked has gone."""


def _handler(metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    class Page(BaseHTTPRequestHandler):
        timeout = REQUEST_S_MAX

        def do_GET(self) -> None:
            known = self.path.partition("?")[0] == "/metrics"
            text = metrics.text() if known else b""
            self.send_response(200 if known else 404)
            self.send_header("Content-Type", CONTENT_TYPE)
            self.send_header("Content-Length", str(len(text)))
            self.end_headers()
            self.wfile.write(text)

        def version_string(self) -> str:
            """The name without a version: a scan learns nothing (case 98)."""
            return "syncd"

        def log_message(self, *_: object) -> None:
            """Nothing: a scrape is no event."""

    return Page
