"""Case 92: whoever has a part of a pipeline sees and changes that part, and nothing beside it."""

from typing import Any, Final

import pytest

from tests.admin.served import Served, signed

API: Final = "/api/pipelines/orders"
PEOPLE: Final = ["orders/people"]


def token(scope: Any = PEOPLE) -> str:
    """An administrator of the people only."""
    return signed(syncd_scope=scope)


@pytest.mark.parametrize(
    ("method", "path", "body"),
    [
        ("GET", "entities/cases", None),
        ("GET", "entities/cases/explain?key=1", None),
        ("GET", "conflicts?entity=cases", None),
        ("GET", "deletes/cases", None),
        ("GET", "quarantine/cases", None),
        ("GET", "audit", None),
        ("POST", "pause", {"reason": "x"}),
        ("POST", "resume", None),
        ("POST", "resync", None),
        ("POST", "claims", {}),
        ("POST", "claims", {"entities": ["people", "cases"]}),
        ("POST", "entities/cases/pause", {"reason": "x"}),
        ("POST", "entities/cases/resync", {}),
        ("POST", "entities/nothing/resync", {}),
        ("POST", "deletes/cases/approve", {"plan": "0" * 16}),
        ("POST", "quarantine/cases/replay", {}),
    ],
)
def test_what_is_out_of_reach_is_refused(served: Served, method: str, path: str, body: Any) -> None:
    """An entity of another, or the pipeline as a whole; whether it is there is not told."""
    assert served.ask(method, f"{API}/{path}", token(), body).status == 403


@pytest.mark.parametrize("path", ["conflicts/1", "conflicts/999"])
def test_a_conflict_of_another_is_not_there(served: Served, path: str) -> None:
    """BOLA: an id that was guessed tells nothing, whether it exists or not."""
    assert served.get(f"{API}/{path}", token()).status == 404
    body = {"take": "target"}
    assert served.post(f"{API}/{path}/resolve", body, token()).status == 404


def test_lists_leave_out_what_is_out_of_reach(served: Served) -> None:
    """Status, conflicts, held deletes, quarantine, runs."""

    def get(path: str) -> Any:
        return served.get(f"{API}{path}", token()).json

    assert [e["name"] for e in get("")["entities"]] == ["people"]
    assert get("/conflicts?status=all")["conflicts"] == []
    assert get("/deletes")["held"] == []
    assert {g["entity"] for g in get("/quarantine")["groups"]} == {"people"}
    assert {e["name"] for e in get("/runs/1")["entities"]} == {"people"}


def test_another_pipeline_is_refused_and_its_name_not_confirmed(served: Served) -> None:
    """403 for one that is there and for one that is not."""
    for pipeline in ("orders", "nothing"):
        answer = served.get(f"/api/pipelines/{pipeline}", token(["visits"]))
        assert answer.status == 403
    assert served.get("/api/pipelines", token(["visits"])).json == {"pipelines": []}


@pytest.mark.parametrize("scope", [[], "", 7, {"orders": True}, [7], None])
def test_a_scope_that_names_nothing_reaches_nothing(served: Served, scope: Any) -> None:
    """Fail closed: only a token without the claim reaches everything."""
    told = {"syncd_scope": scope} if scope is not None else {"syncd_scope": ["x/y"]}
    assert served.get(API, signed(**told)).status == 403


def test_what_is_within_reach_works(served: Served) -> None:
    """The entity of their own, by the same routes."""
    assert served.get(f"{API}/entities/people/explain?key=1", token()).status == 200
    assert served.post(f"{API}/claims", {"entities": ["people"]}, token()).status == 202
    assert served.get(f"{API}/entities/people", token(["orders"])).status == 200
