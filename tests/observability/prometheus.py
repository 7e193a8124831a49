"""A real Prometheus on loopback, for as long as a test needs it."""

import json
import shutil
import socket
import subprocess
import time
import urllib.error
import urllib.parse
import urllib.request
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import pytest

from tests.conftest import REPOSITORY
from tests.patience import WAIT_S

RULES: Final = REPOSITORY / "observability" / "prometheus"
_CONFIG: Final = """
global: {{scrape_interval: 250ms, scrape_timeout: 250ms, evaluation_interval: 500ms}}
rule_files: [{rules}/recording.yaml, {rules}/alerts.yaml]
scrape_configs:
  - job_name: syncd
    sample_limit: 2000
    static_configs: [{{targets: ["{target}"]}}]
"""


class Prometheus:
    """Its API."""

    def __init__(self, port: int) -> None:
        self._base = f"http://127.0.0.1:{port}"

    def ask(self, path: str, **words: str) -> Any:
        """The ``data`` of an answer."""
        url = f"{self._base}/api/v1/{path}?{urllib.parse.urlencode(words)}"
        with urllib.request.urlopen(url, timeout=WAIT_S) as answer:  # noqa: S310 - our own, on loopback.
            return json.load(answer)["data"]

    def value_of(self, expr: str, at_s: float | None = None) -> list[Any]:
        """The series that an expression has now, or had then."""
        time_s = str(time.time() if at_s is None else at_s)
        found: list[Any] = self.ask("query", query=expr, time=time_s)["result"]
        return found

    def is_up(self) -> bool:
        """Whether the target was scraped."""
        targets = self.ask("targets")["activeTargets"]
        return [target["health"] for target in targets] == ["up"]

    def until(self, holds: Callable[[], bool], what: str) -> None:
        """Ask again and again; the only way to know that it has scraped or computed."""
        ends_s = time.monotonic() + WAIT_S
        while time.monotonic() < ends_s:
            try:
                if holds():
                    return
            except (urllib.error.URLError, ConnectionError):
                pass
            time.sleep(0.05)
        pytest.fail(f"not in {WAIT_S:g} s: {what}")


@contextmanager
def watching(target: str, folder: Path) -> Iterator[Prometheus]:
    """A Prometheus that scrapes ``target`` four times a second, under our rules."""
    program = shutil.which("prometheus")
    if program is None:
        pytest.skip("no prometheus: install Debian's package prometheus")
    config = folder / "prometheus.yml"
    config.write_text(_CONFIG.format(rules=RULES, target=target), "utf-8")
    port = free_port()
    line = [
        program,
        f"--config.file={config}",
        f"--storage.tsdb.path={folder / 'tsdb'}",
        f"--web.listen-address=127.0.0.1:{port}",
        "--log.level=error",
    ]
    with subprocess.Popen(line, stderr=subprocess.DEVNULL) as process:
        try:
            prometheus = Prometheus(port)
            prometheus.until(prometheus.is_up, "the target is up")
            yield prometheus
        finally:
            process.kill()


def free_port() -> int:
    """A port that nobody uses at this moment."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port
