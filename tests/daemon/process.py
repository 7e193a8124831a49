"""A real ``python -m syncd serve``, from the side of a test: signals in, events out."""

import json
import os
import resource
import signal
import subprocess
import sys
import threading
import time
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, Final, Self, TypeAlias
from urllib.error import HTTPError
from urllib.request import urlopen

import asyncpg

from syncd import config_load
from syncd.app import connect
from tests.conftest import REPOSITORY
from tests.patience import WAIT_S

Event: TypeAlias = dict[str, Any]
# Nobody loses a lease who is merely slow; a test that waits for one to run out takes SHORT_TTL_S.
TTL_S: Final = 60.0
SHORT_TTL_S: Final = 3.0
_CONFIG: Final = """
pipeline: {name}
source: {{kind: files, path: "{dump}", format: csv}}
target: {{kind: postgres, dsn: "{dsn}", prepared_statements: {prepared}}}
ledger: {{lease_ttl_s: {ttl_s}, schema: {schema}}}
limits: {{batch_rows: 200}}
entities:
  offices: {{from: offices.csv, key: [id], into: public.{name}_offices}}
  staff: {{from: staff.csv, key: [id], into: public.{name}_staff}}
{more}
"""


class Place:
    """A dump, a target and the configuration of one pipeline between them."""

    def __init__(self, folder: Path, dsn: str, *, name: str = "one", ttl_s: float = TTL_S) -> None:
        self.dump = folder / f"{name}_dump"
        self.config = folder / f"{name}.yaml"
        self.dsn, self.name, self.ttl_s = dsn, name, ttl_s
        self.schema = f"syncd_{name}"
        self.dump.mkdir()
        self.deliver(20)
        self.write()

    def write(self, *, more: str = "", prepared: bool = True, dsn: str = "") -> None:
        """The configuration, with ``more`` of it; the target by another way than ours."""
        text = _CONFIG.format(
            name=self.name, dump=self.dump, dsn=dsn or self.dsn, ttl_s=self.ttl_s, more=more,
            prepared=str(prepared).lower(), schema=self.schema,
        )  # fmt: skip
        self.config.write_text(text, "utf-8")

    def live_for(self, ttl_s: float) -> None:
        """A lease that runs out after so long."""
        self.ttl_s = ttl_s
        self.write()

    def deliver(self, rows: int, word: str = "first") -> None:
        """A new dump."""
        for name in ("offices", "staff"):
            lines = [f"{number},{word} {name} {number}" for number in range(rows)]
            (self.dump / f"{name}.csv").write_text("\n".join(["id,name", *lines, ""]), "utf-8")

    async def init(self) -> None:
        """``syncd init``."""
        async with connect(config_load.load(self.config, {})) as app:
            await app.init()

    async def rows(self, query: str, *values: object) -> list[tuple[Any, ...]]:
        """What a query finds; ``$ledger`` in it is the ledger's schema."""
        connection = await asyncpg.connect(self.dsn)
        try:
            found = await connection.fetch(query.replace("$ledger", self.schema), *values)
            return [tuple(row) for row in found]
        finally:
            await connection.close()

    async def value(self, query: str, *values: object) -> Any:
        """The first value that a query finds."""
        found = await self.rows(query, *values)
        return found[0][0] if found else None

    async def everything(self) -> list[list[tuple[Any, ...]]]:
        """Both tables and all that a run notes, but for who holds the lease until when."""
        return [
            await self.rows(query)
            for query in (
                f"SELECT * FROM {self.name}_offices ORDER BY id",  # noqa: S608 - our own name
                f"SELECT * FROM {self.name}_staff ORDER BY id",  # noqa: S608
                "SELECT entity_id, key, run_id FROM $ledger.syncd_fingerprint ORDER BY 1, 2",
                "SELECT run_id, status, attempts, epoch FROM $ledger.syncd_run ORDER BY 1",
                "SELECT unit_id FROM $ledger.syncd_work_unit ORDER BY 1",
                "SELECT claim_id, status, run_id FROM $ledger.syncd_claim ORDER BY 1",
                "SELECT epoch, holder FROM $ledger.syncd_lease",
            )
        ]

    async def ask(self, scope: str = "") -> None:
        """A claim, as another process would note it."""
        await self.rows(
            "INSERT INTO $ledger.syncd_claim AS c (pipeline, scope, origin, requested_by) "
            "VALUES ($1, $2, 'api', 'test') ON CONFLICT (pipeline, scope) "
            "WHERE status = 'waiting' DO UPDATE SET requests = c.requests + 1",
            self.name, scope,
        )  # fmt: skip


class Served:
    """The process. Its events are read as they come."""

    def __init__(
        self,
        *places: Place,
        environ: Mapping[str, str] | None = None,
        arguments: Sequence[str] = (),
        code: Path = REPOSITORY,
        inside: Sequence[str] = (),
    ) -> None:
        """``code`` is the folder of another version; ``inside`` a command that starts ours."""
        self.events: list[Event] = []
        self.said: list[str] = []
        self._more = threading.Condition()
        self._process = subprocess.Popen(
            [
                *(*inside, sys.executable, "-m", "syncd", "serve", "--log-format", "json"),
                *("--log-level", "info", *arguments, *(str(place.config) for place in places)),
            ],
            cwd=code,
            # Any port that is free; several of them may live at once.
            env=os.environ | {"SYNCD_HTTP__PORT": "0"} | dict(environ or {}),
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
        )
        self._reader = threading.Thread(target=self._read, daemon=True)
        self._reader.start()

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self._process.kill()
        self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        for stream in (self._process.stdout, self._process.stderr):
            assert stream is not None
            stream.close()

    @property
    def pid(self) -> int:
        """Its number."""
        return self._process.pid

    def resident_kib(self) -> int:
        """Memory that it holds now."""
        status = Path(f"/proc/{self.pid}/status").read_text("ascii")
        return next(
            int(line.split()[1]) for line in status.splitlines() if line.startswith("VmRSS")
        )

    def heeds_no_hangup_yet(self) -> None:
        """Return when SIGHUP cannot end it any more: a moment after its start."""
        end_s = time.monotonic() + WAIT_S
        while time.monotonic() < end_s:
            status = Path(f"/proc/{self.pid}/status").read_text("ascii")
            ignored = next(line for line in status.splitlines() if line.startswith("SigIgn"))
            if int(ignored.split()[1], 16) >> (signal.SIGHUP - 1) & 1:
                return
            time.sleep(0.005)
        raise AssertionError("it never ignored SIGHUP")

    def get(self, path: str) -> tuple[int, Any]:
        """What its listener answers: status and JSON."""
        port = self.wait("http_listening")["port"]
        try:
            with urlopen(f"http://127.0.0.1:{port}{path}", timeout=WAIT_S) as answer:
                return answer.status, json.load(answer)
        except HTTPError as refusal:
            with refusal:
                return refusal.code, json.load(refusal)

    def virtual_bytes(self) -> int:
        """Address space that it has now."""
        pages = int(Path(f"/proc/{self.pid}/statm").read_text("ascii").split()[0])
        return pages * resource.getpagesize()

    def _read(self) -> None:
        assert self._process.stderr is not None
        for line in self._process.stderr:
            text = line.decode("utf-8", "replace")
            with self._more:
                self.said.append(text)
                if text.startswith("{"):
                    self.events.append(json.loads(text))
                self._more.notify_all()
        with self._more:
            self.said.append("(end)")
            self._more.notify_all()

    def found(self, name: str, **fields: object) -> list[Event]:
        """Events of that name with these fields, so far."""
        with self._more:
            return [e for e in self.events if e["event"] == name and fields.items() <= e.items()]

    def wait_for_any(self, *names: str) -> Event:
        """The first event of any of these names."""
        end_s = time.monotonic() + WAIT_S
        with self._more:
            while True:
                for event in self.events:
                    if event["event"] in names:
                        return event
                left_s = end_s - time.monotonic()
                assert left_s > 0, f"none of {names}: {''.join(self.said)}"
                self._more.wait(left_s)

    def wait(self, name: str, number: int = 1, **fields: object) -> Event:
        """The event of that name and these fields, the ``number``-th of them."""

        def there() -> list[Event]:
            return [e for e in self.events if e["event"] == name and fields.items() <= e.items()]

        end_s = time.monotonic() + WAIT_S
        with self._more:
            while len(there()) < number:
                left_s = end_s - time.monotonic()
                ended = bool(self.said) and self.said[-1] == "(end)"
                assert left_s > 0, f"no {number} {name} {fields} in time: {''.join(self.said)}"
                assert not ended, f"it ended before {name} {fields}: {''.join(self.said)}"
                self._more.wait(left_s)
            return there()[number - 1]

    def signal(self, number: signal.Signals, times: int = 1) -> None:
        """Send a signal."""
        for _ in range(times):
            self._process.send_signal(number)

    def ended(self) -> int:
        """Its exit code, once it has ended."""
        code = self._process.wait(WAIT_S)
        self._reader.join(WAIT_S)
        return code
