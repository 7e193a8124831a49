"""Who did what: every change and every refusal, under the id that whoever asked was told."""

import time
from collections.abc import Iterator
from typing import Final

import asyncpg
import pytest

from tests.admin.conftest import in_thread
from tests.admin.served import TOKENS, Served, serving, settings, signed
from tests.pipeline.world import World

API: Final = "/api/pipelines/orders"


@pytest.fixture
def alone(world: World) -> Iterator[Served]:
    """A listener whose refusals nobody else has counted; static tokens only."""
    with serving(settings(), world.config) as found:
        yield found


def lines_of(served: Served, correlation_id: str) -> list[tuple[str, str, str, str]]:
    """Actor, action, outcome and detail of a request, oldest first."""
    lines = served.get(f"{API}/audit?limit=1000").json["lines"]
    found = [line for line in reversed(lines) if line["correlation_id"] == correlation_id]
    return [(o["actor"], o["action"], o["outcome"], o["detail"]) for o in found]


def test_a_change_is_noted_with_who_and_what(alone: Served) -> None:
    """Actor, action, the reason that was given; the subject is the path."""
    answer = alone.post(f"{API}/entities/people/pause", {"reason": "repair"}, TOKENS["operate"])
    assert lines_of(alone, answer.headers["X-Correlation-Id"]) == [
        ("token:operate", "pause", "allowed", "repair")
    ]
    line = alone.get(f"{API}/audit?limit=1").json["lines"][0]
    assert line["subject"] == f"{API}/entities/people/pause"
    alone.post(f"{API}/entities/people/resume")


def test_a_change_that_failed_has_a_second_line(alone: Served) -> None:
    """Allowed, then failed."""
    body = {"plan": "0" * 16}
    answer = alone.post(f"{API}/deletes/cases/approve", body)
    assert answer.status == 409
    assert lines_of(alone, answer.json["correlation_id"]) == [
        ("token:admin", "approve", "allowed", "0" * 16),
        ("token:admin", "approve", "failed", "PermanentError"),
    ]


def test_keys_that_were_named_are_not_noted(alone: Served) -> None:
    """How many, not which."""
    answer = alone.post(f"{API}/entities/cases/resync", {"keys": [["1"], ["2"]]})
    [(_, _, _, detail)] = lines_of(alone, answer.headers["X-Correlation-Id"])
    assert detail == "2 keys"


def test_nothing_is_changed_where_the_audit_cannot_be_written(alone: Served, world: World) -> None:
    """Fail closed: no line, no pause; the answer says nothing of why."""

    async def rename(before: str, after: str) -> None:
        await world.staff(f"ALTER TABLE syncd.{before} RENAME TO {after}")

    in_thread(rename, "syncd_audit", "gone")
    try:
        answer = alone.post(f"{API}/entities/people/pause", {"reason": "x"})
    finally:
        in_thread(rename, "gone", "syncd_audit")
    assert answer.status >= 400
    assert b"gone" not in answer.body
    assert alone.get(f"{API}/pauses").json == {"pauses": []}


def test_the_audit_cannot_be_changed(alone: Served, world: World) -> None:
    """The trigger refuses updates and young deletes."""
    alone.post(f"{API}/entities/people/resume")
    for statement in ("UPDATE syncd.syncd_audit SET actor = 'x'", "DELETE FROM syncd.syncd_audit"):
        with pytest.raises(asyncpg.InsufficientPrivilegeError):
            in_thread(world.staff, statement)


def test_a_path_of_a_stranger_cannot_forge_a_line(alone: Served) -> None:
    """Case 95: control characters are escaped, and a long path is cut."""
    answer = alone.get("/api/pipelines/a%0Ab%1B" + "c" * 3000, None)
    assert answer.status == 401
    [line] = [
        line for line in alone.get(f"{API}/audit").json["lines"]
        if line["correlation_id"] == answer.json["correlation_id"]
    ]  # fmt: skip
    assert line["subject"].isprintable()
    assert len(line["subject"]) <= 300


def now() -> int:
    return int(time.time())


def test_a_refusal_stands_in_the_audit_under_its_correlation_id(alone: Served) -> None:
    """Who: nobody; what: the page; why: unknown. The same id is in the answer."""
    answer = alone.get("/api/pipelines/orders/runs", signed(exp=now() - 31))
    lines = alone.get("/api/pipelines/orders/audit").json["lines"]
    found = [line for line in lines if line["correlation_id"] == answer.json["correlation_id"]]
    assert [(line["actor"], line["outcome"], line["detail"]) for line in found] == [
        ("nobody", "denied", "unknown_token")
    ]
    assert answer.headers["X-Correlation-Id"] == answer.json["correlation_id"]


def test_a_flood_of_refusals_does_not_fill_the_audit(alone: Served) -> None:
    """Case 93: 60 lines in a minute, whoever knocks how often."""
    told = {alone.get(f"{API}/claims", "wrong").json["correlation_id"] for _ in range(80)}
    lines = alone.get(f"{API}/audit?limit=1000").json["lines"]
    assert len({line["correlation_id"] for line in lines} & told) == 60
