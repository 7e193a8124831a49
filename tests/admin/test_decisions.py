"""A decision stands in the ledger until a run has carried it out, whoever's run that is."""

import sys
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Final

import anyio
import pytest

from syncd import failpoints
from syncd.errors import PermanentError, TransientError
from syncd.flow.ports import Lease
from syncd.jobs.desk import Side
from syncd.jobs.office import Office
from syncd.progress import Silent
from syncd.reports import Left
from syncd.site import Site
from tests.admin.conftest import prepare
from tests.admin.served import TOKENS, Answer
from tests.conftest import REPOSITORY
from tests.daemon.process import Place, Served
from tests.pipeline.world import World

STATUS: Final = "SELECT status FROM cases WHERE id = 1"
DECISION: Final = "SELECT status, decision FROM syncd.syncd_conflict"


@pytest.fixture
async def world(make_database: Callable[[str], str]) -> World:
    """A conflict about the status of case 1 (B at the source, X here), and two held deletes."""
    return await prepare(make_database)


@asynccontextmanager
async def office(world: World) -> AsyncIterator[Office]:
    """The desk of an instance that never runs anything."""
    site = Site(world.config)
    try:
        yield Office(site)
    finally:
        await site.close()


async def plan_of(desk: Office) -> str:
    return (await desk.held(None))[0].plan


async def test_an_approval_is_carried_out_by_the_next_run_of_anybody(world: World) -> None:
    """Noted here without the lease, done by another instance's night; and a claim waits."""
    async with office(world) as desk:
        left = await desk.approve("cases", await plan_of(desk), "somebody")
        assert left.records == 2
        [claim] = await desk.claims(most=10)
    assert (claim.entities, claim.requested_by, claim.status) == (("cases",), "somebody", "waiting")
    await world.night()
    assert await world.value("SELECT count(*) FROM cases") == 6


async def test_an_approval_is_a_ceiling(world: World) -> None:
    """Case 39: what came back stays, and what is missing since is held anew."""
    async with office(world) as desk:
        await desk.approve("cases", await plan_of(desk), "somebody")
    await world.legacy("INSERT INTO cases VALUES (7, 'A', 'n')", "DELETE FROM cases WHERE id = 6")
    await world.night()
    ids = [row[0] for row in await world.rows("SELECT id FROM cases ORDER BY id")]
    assert ids == [1, 2, 3, 4, 5, 6, 7]


async def test_only_what_was_looked_at_is_approved(world: World) -> None:
    """A record that began to be held between the look and the decision is not among it."""
    async with office(world) as desk:
        plan = await plan_of(desk)
        await world.legacy("DELETE FROM cases WHERE id = 6")
        await world.night()
        with pytest.raises(PermanentError, match="holds plan"):
            await desk.approve("cases", plan, "somebody")
    site = Site(world.config)
    try:
        entity_id = (await site.runs.pinned())["cases"].entity_id
        keys = [row["key"] for row in await site.reviews.held(entity_id)]
        assert await site.reviews.decide_held(entity_id, "approved", keys[:2]) == 2
        decided = [row["decision"] for row in await site.reviews.held(entity_id)]
    finally:
        await site.close()
    assert decided == ["approved", "approved", ""]


async def test_rejected_deletes_stay(world: World) -> None:
    """And are not asked about again."""
    async with office(world) as desk:
        assert await desk.reject("cases", await plan_of(desk)) == 2
    assert (await world.night()).status != "held"
    assert await world.value("SELECT count(*) FROM cases") == 8


async def decide(world: World, take: Side = "source") -> Left:
    async with office(world) as desk:
        return await desk.resolve(1, take, "somebody")


async def test_a_conflict_decided_for_the_source_is_written_by_the_next_run(world: World) -> None:
    """B is written, the conflict is resolved, and nothing is left to carry out."""
    left = await decide(world)
    assert left.claim_id > 0
    assert await world.rows(DECISION) == [("open", "source")]
    await world.night()
    assert await world.value(STATUS) == "B"
    assert await world.rows(DECISION) == [("resolved_source", "")]


async def test_a_decision_is_about_the_value_that_was_seen(world: World) -> None:
    """I2: staff typed Y before the run came: Y stays, and the conflict is open and undecided."""
    await decide(world)
    await world.staff("UPDATE cases SET status = 'Y' WHERE id = 1")
    await world.night()
    assert await world.value(STATUS) == "Y"
    assert await world.rows(DECISION) == [("open", "")]


async def test_a_run_over_other_entities_leaves_a_decision_to_the_next(world: World) -> None:
    """It is not forgotten, and not carried out."""
    await decide(world)
    await world.night("people")
    assert await world.rows(DECISION) == [("open", "source")]


async def test_a_decision_outlives_a_run_that_died_before_it_was_noted(world: World) -> None:
    """The value was written; the next run notes why."""
    await decide(world)
    with failpoints.armed("resolve.ran=raise"), pytest.raises(TransientError):
        await world.night()
    assert await world.value(STATUS) == "B"
    assert await world.rows(DECISION) == [("closed", "source")]
    await world.night()
    assert await world.rows(DECISION) == [("resolved_source", "")]


async def test_a_conflict_decided_for_the_target_needs_no_run(world: World) -> None:
    """It is over at once, and there is no claim."""
    left = await decide(world, "target")
    assert left.claim_id == 0
    assert await world.rows(DECISION) == [("resolved_target", "")]
    with pytest.raises(PermanentError, match="already"):
        await decide(world)


@asynccontextmanager
async def led_by_another(world: World) -> AsyncIterator[Lease]:
    """Another instance holds the lease."""
    site = Site(world.config)
    try:
        lease = await site.runs.acquire("pod-7", 60.0)
        assert lease is not None
        yield lease
        await site.runs.release(lease)
    finally:
        await site.close()


async def test_beside_a_leader_the_verbs_leave_decisions_to_it(world: World) -> None:
    """``deletes approve``, ``conflicts resolve`` and ``resync``: noted, and a claim waits."""
    async with led_by_another(world), world.app() as app:
        approved = await app.approve("cases", plan_hash=None, progress=Silent())
        resolved = await app.resolve([1], take="source", progress=Silent())
        again = await app.resync(frozenset({"people"}), keys=())
    assert isinstance(approved, Left)
    assert isinstance(resolved, Left)
    assert isinstance(again, Left)
    assert (approved.holder, approved.coalesced, approved.records) == ("pod-7", False, 2)
    assert (resolved.claim_id, resolved.coalesced) == (approved.claim_id, True)
    assert again.claim_id != approved.claim_id
    await world.night()
    assert await world.value(STATUS) == "B"
    assert await world.value("SELECT count(*) FROM cases") == 6


SERVICE: Final = """
http:
  port: 0
  tokens: [{{name: admin, role: admin, token: "${{file:{token}}}"}}]
"""


def asked(daemon: Served, method: str, path: str, body: object = None) -> Answer:
    """A question to the daemon's own listener."""
    from tests.admin import served  # noqa: PLC0415 - its name is taken here

    class Listening:
        port = daemon.wait("http_listening")["port"]

    found = served.Served(Listening, None, None)  # type: ignore[arg-type]
    return found.ask(method, f"/api/pipelines/one{path}", TOKENS["admin"], body)


async def test_the_daemon_carries_out_what_its_api_was_told(place: Place, tmp_path: Path) -> None:
    """A real process: claim, a dump that lacks five rows, the plan, the approval; they are gone."""
    (tmp_path / "token").write_text(TOKENS["admin"], "utf-8")
    service = tmp_path / "service.yaml"
    service.write_text(SERVICE.format(token=tmp_path / "token"), "utf-8")
    place.write(more="deletes: {hold_above: {rows: 0, percent: 0}}")
    with Served(place, arguments=("--service", str(service))) as daemon:
        assert asked(daemon, "POST", "/claims", {}).status == 202
        daemon.wait("claim_ended")
        place.deliver(15)
        asked(daemon, "POST", "/claims", {})
        daemon.wait("claim_ended", number=2)
        plan = asked(daemon, "GET", "/deletes/offices").json["plan"]
        answer = asked(daemon, "POST", "/deletes/offices/approve", {"plan": plan})
        assert (answer.status, answer.json["records"]) == (202, 5)
        beside = await anyio.run_process(
            [sys.executable, "-m", "syncd", "resync", "staff", "-c", str(place.config)],
            cwd=REPOSITORY, check=False,
        )  # fmt: skip
        assert (beside.returncode, b"carries it out" in beside.stdout) == (0, True)
        daemon.wait("claim_ended", number=4)
        assert await place.value("SELECT count(*) FROM one_offices") == 15
        assert await place.value("SELECT count(*) FROM one_staff") == 20


@pytest.fixture
async def place(tmp_path: Path, pg_dsn: str) -> Place:
    """As the daemon's own tests have it."""
    made = Place(tmp_path, pg_dsn)
    await made.init()
    return made
