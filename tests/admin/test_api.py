"""Each endpoint over a pipeline that has run: where it works, and where it does not."""

from typing import Any, Final

import pytest

from tests.admin.served import TOKENS, Served

API: Final = "/api/pipelines/orders"


def test_the_pipelines_of_this_process_are_listed(served: Served) -> None:
    """With what the process is to each."""
    [line] = served.get("/api/pipelines").json["pipelines"]
    assert (line["name"], line["role"], line["run"]) == ("orders", "starting", None)


def test_a_pipeline_is_told_with_its_entities(served: Served) -> None:
    """What ``syncd status`` tells."""
    found = served.get(API).json
    assert (found["last_run"], found["last_run_status"]) == (2, "held")
    cases = next(e for e in found["entities"] if e["name"] == "cases")
    assert (cases["open_conflicts"], cases["held_deletes"]) == (1, 2)
    assert served.get(f"{API}/entities/cases").json == cases


def test_runs_come_newest_first_and_in_pages(served: Served) -> None:
    """``before`` of a full page begins the next one; 0 ends it."""
    first = served.get(f"{API}/runs?limit=1").json
    assert ([r["run_id"] for r in first["runs"]], first["before"]) == ([2], 2)
    second = served.get(f"{API}/runs?limit=1&before=2").json
    assert [r["run_id"] for r in second["runs"]] == [1]
    assert served.get(f"{API}/runs?before=1").json == {"runs": [], "before": 0}


def test_a_run_is_told_with_its_counts(served: Served) -> None:
    """Per entity, and they add up."""
    run = served.get(f"{API}/runs/1").json
    counts = {e["name"]: e["counts"] for e in run["entities"]}
    assert (counts["cases"]["inserted"], counts["people"]["failed"]) == (8, 1)
    assert counts["people"]["seen"] == 3


def test_conflicts_are_listed_without_values_and_shown_with_them(served: Served) -> None:
    """Values are for those who operate."""
    [listed] = served.get(f"{API}/conflicts", TOKENS["read"]).json["conflicts"]
    assert (listed["column"], listed["source"], listed["target"]) == ("status", None, None)
    path = f"{API}/conflicts/{listed['conflict_id']}"
    shown = served.get(path, TOKENS["operate"]).json
    assert (shown["source"], shown["target"]) == ("B", "X")
    assert served.get(path, TOKENS["read"]).status == 403


def test_held_deletes_are_told_with_the_hash_of_their_plan(served: Served) -> None:
    """As text and as ETag."""
    [held] = served.get(f"{API}/deletes").json["held"]
    assert (held["entity"], held["rows"], held["keys"]) == ("cases", 2, [["7"], ["8"]])
    answer = served.get(f"{API}/deletes/cases")
    assert answer.headers["ETag"] == f'"{held["plan"]}"'
    assert served.get(f"{API}/deletes/people").status == 404


def test_quarantine_is_counted_by_reason_and_listed_in_pages(served: Served) -> None:
    """A constraint's name, never the row."""
    groups = served.get(f"{API}/quarantine").json["groups"]
    told = {(g["entity"], g["outcome"], g["reason"], g["records"]) for g in groups}
    assert ("people", "failed", "23514:good", 1) in told
    page = served.get(f"{API}/quarantine/people?outcome=failed&limit=1").json
    assert [r["key"] for r in page["records"]] == [["2"]]
    rest = served.get(f"{API}/quarantine/people?after={page['after']}").json
    assert rest == {"records": [], "after": ""}
    assert served.get(f"{API}/quarantine/people?reason=other").json["records"] == []


def test_a_record_is_explained(served: Served) -> None:
    """Both sides and each column's verdict."""
    found = served.get(f"{API}/entities/cases/explain?key=1").json
    verdicts = {c["column"]: c["verdict"] for c in found["columns"]}
    assert verdicts["status"].startswith("conflict")
    assert found["key"] == ["1"]


@pytest.mark.parametrize(
    ("path", "status"),
    [
        ("/api/nothing", 404),
        ("/api/pipelines/nothing", 404),
        (f"{API}/entities/nothing", 404),
        (f"{API}/runs/999", 404),
        (f"{API}/runs/x", 404),
        (f"{API}/runs/0", 404),
        (f"{API}/runs/99999999999999999999", 404),
        (f"{API}/claims/999", 404),
        (f"{API}/conflicts/999", 404),
        (f"{API}/runs?limit=0", 400),
        (f"{API}/runs?limit=1001", 400),
        (f"{API}/runs?limit=1&limit=2", 400),
        (f"{API}/runs?other=1", 400),
        (f"{API}/conflicts?status=wrong", 400),
        (f"{API}/conflicts?entity=DROP%20TABLE", 400),
        (f"{API}/quarantine/people?after=xyz", 400),
        (f"{API}/quarantine/people?reason=%00", 400),
        (f"{API}/quarantine/people?reason=%27%3B%20DROP%20TABLE%20x", 200),
        (f"{API}/entities/cases/explain", 400),
        (f"{API}/entities/cases/explain?key=1&key=2", 409),
        (f"{API}/entities/cases/explain?key=x", 409),
        (f"{API}/entities/cases/explain?key=999", 200),
    ],
)
def test_what_is_not_there_or_does_not_fit_is_refused(
    served: Served, path: str, status: int
) -> None:
    """404 for what is not there, 400 for what does not fit, 409 for a key that is none."""
    answer = served.get(path)
    assert answer.status == status
    if status != 200:
        assert answer.headers["Content-Type"] == "application/problem+json"
        assert answer.json["status"] == status


def test_work_that_is_asked_for_twice_is_one_claim(served: Served) -> None:
    """202; the second is told that it was coalesced; another scope is another claim."""
    first = served.post(f"{API}/claims", {"entities": ["people", "cases"]})
    again = served.post(f"{API}/claims", {"entities": ["cases", "people"]})
    other = served.post(f"{API}/claims", {})
    assert (first.status, first.json["coalesced"]) == (202, False)
    assert again.json == {**first.json, "coalesced": True}
    assert other.json["claim_id"] != first.json["claim_id"]
    claim = served.get(f"{API}/claims/{first.json['claim_id']}").json
    told = (claim["entities"], claim["origin"], claim["requested_by"], claim["requests"])
    assert told == (["cases", "people"], "api", "token:admin", 2)
    assert claim in served.get(f"{API}/claims").json["claims"]


@pytest.mark.parametrize("entity", ["", "people"])
def test_what_rests_is_listed_until_it_goes_on(served: Served, entity: str) -> None:
    """With its reason, and who said so; both may be repeated."""
    place = f"{API}/entities/{entity}" if entity else API
    for _ in range(2):
        answer = served.post(f"{place}/pause", {"reason": "repair"}, TOKENS["operate"])
        assert answer.json == {"entity": entity, "paused": True}
    [pause] = served.get(f"{API}/pauses").json["pauses"]
    told = (pause["entity"], pause["reason"], pause["paused_by"])
    assert told == (entity, "repair", "token:operate")
    for _ in range(2):
        assert served.post(f"{place}/resume").json == {"entity": entity, "paused": False}
    assert served.get(f"{API}/pauses").json == {"pauses": []}


@pytest.mark.parametrize(
    ("body", "records"), [(None, 8), ({"keys": [["1"], ["2"], ["999"]]}, 2), ({"keys": []}, 8)]
)
def test_a_resync_marks_records_and_leaves_a_claim(served: Served, body: Any, records: int) -> None:
    """All of the entity, or the keys that are known."""
    answer = served.post(f"{API}/entities/cases/resync", body)
    assert (answer.status, answer.json["records"]) == (202, records)
    assert served.get(f"{API}/claims/{answer.json['claim_id']}").json["entities"] == ["cases"]


def test_what_is_parked_is_replayed_with_a_claim(served: Served) -> None:
    """By outcome and reason; what does not fit them is left alone."""
    path = f"{API}/quarantine/people/replay"
    assert served.post(path, {"outcome": "failed"}).json["records"] == 1
    assert served.post(path, {"reason": "other"}).json["records"] == 0


@pytest.mark.parametrize(
    ("body", "if_match", "status"),
    [
        ({}, None, 428),
        ({"plan": "0" * 16}, None, 409),
        ({"plan": "short"}, None, 400),
        ({}, '"0000000000000000"', 412),
        ({"plan": "0" * 16}, "HELD", 409),
    ],
)
@pytest.mark.parametrize("verb", ["approve", "reject"])
def test_a_decision_about_deletes_must_name_what_is_held(
    served: Served, verb: str, body: Any, if_match: str | None, status: int
) -> None:
    """Nothing was decided by any of these."""
    plan = served.get(f"{API}/deletes/cases").headers["ETag"]
    headers = {"If_Match": plan if if_match == "HELD" else if_match} if if_match else {}
    assert served.post(f"{API}/deletes/cases/{verb}", body, **headers).status == status
    assert served.get(f"{API}/deletes/cases").json["decision"] == ""


def test_nobody_but_an_administrator_decides_about_deletes(served: Served) -> None:
    """Operators may look."""
    plan = served.get(f"{API}/deletes/cases", TOKENS["operate"]).json["plan"]
    answer = served.post(f"{API}/deletes/cases/approve", {"plan": plan}, TOKENS["operate"])
    assert answer.status == 403
