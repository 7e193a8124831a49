"""``/metrics`` on a port of its own, answered by threads of its own.

A batch keeps the event loop busy for tens of milliseconds at a time, in a big night for longer. A
scrape that had to wait for it would take as long; a thread has its turn within a few milliseconds.
It asks for its turn after each call of the system, so there are few of those: the threads stand
ready in ``accept``, a request is one ``recv`` and an answer one ``send``. Only numbers are told
here, so there is nothing to protect but the process: a few connections at a time, and who says
nothing for a few seconds is given up.
"""

import socket
import struct
import sys
from http.server import BaseHTTPRequestHandler, HTTPServer
from threading import Thread
from typing import Any, Final

import anyio

from syncd.errors import ConfigError
from syncd.metrics import CONTENT_TYPE, Metrics

CONNECTIONS_MAX: Final = 4  # Prometheus has one for each of its servers
REQUEST_S_MAX: Final = 5.0
_REQUEST_TIME: Final = struct.pack("ll", int(REQUEST_S_MAX), 0)  # a timeval
# An answer has its turn a few times, and Python's own 5 ms for each would be felt. It costs
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
        for _ in range(CONNECTIONS_MAX):
            Thread(target=server.answer, name="metrics", daemon=True).start()
        started()
        try:
            await anyio.sleep_forever()
        finally:
            server.end()

    def _listen(self) -> "_Server":
        try:
            return _Server((self._host, self.port), _handler(self._metrics))
        except OSError as error:
            raise ConfigError(
                f"metrics: cannot listen on {self._host} port {self.port} ({error.strerror})",
                hint="choose another port, or end what listens there",
            ) from error


class _Server(HTTPServer):
    """Answered by a few threads at once; further connections wait until one of them is free."""

    def answer(self) -> None:
        """Take connections one after the other until the end."""
        while True:
            try:
                connection, address = self.get_request()
            except OSError:
                return
            # The kernel's own limits: Python's would be one more call before each other one.
            for limit in (socket.SO_RCVTIMEO, socket.SO_SNDTIMEO):
                connection.setsockopt(socket.SOL_SOCKET, limit, _REQUEST_TIME)
            try:
                self.process_request(connection, address)
            except OSError:  # whoever asked has gone
                self.shutdown_request(connection)

    def end(self) -> None:
        """Take no more connections."""
        self.socket.shutdown(socket.SHUT_RDWR)
        self.server_close()


def _handler(metrics: Metrics) -> type[BaseHTTPRequestHandler]:
    class Page(BaseHTTPRequestHandler):
        wbufsize = -1  # all of an answer at once

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
