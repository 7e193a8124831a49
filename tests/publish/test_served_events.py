"""The daemon sends by itself what its runs told."""

import json
from pathlib import Path
from typing import Any

import anyio
import asyncpg

from tests.daemon.process import Place, Served
from tests.patience import WAIT_S

EVENTS = "events: {to: {kind: notify}, rate_per_s: 1000, poll_s: 0.1}\n"


async def test_a_run_of_the_daemon_is_heard_by_who_listens(tmp_path: Path, pg_dsn: str) -> None:
    place = Place(tmp_path, pg_dsn)
    place.write(more=EVENTS)
    told = place.config.read_text("utf-8").replace("_offices}", "_offices, event: office.changed}")
    place.config.write_text(told, "utf-8")
    await place.init()
    heard: list[dict[str, Any]] = []
    all_heard = anyio.Event()

    def hear(*said: object) -> None:
        heard.append(json.loads(str(said[-1])))
        if len(heard) == 20:
            all_heard.set()

    listener = await asyncpg.connect(pg_dsn)
    await listener.add_listener("syncd_events", hear)
    with Served(place):
        await place.ask()
        with anyio.fail_after(WAIT_S):
            await all_heard.wait()
    await listener.close()
    assert {one["event"]["eventType"] for one in heard} == {"office.changed"}
    assert len({one["eventId"] for one in heard}) == 20
