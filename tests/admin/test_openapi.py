"""The document of the API: made of the routes, kept beside them, and true."""

import json
import time
from typing import Any, Final

import pytest

from syncd.admin.openapi import document
from syncd.admin.routes import routes
from syncd.vitals import Vitals
from tests.admin.served import Served
from tests.conftest import REPOSITORY

ROUTES: Final = routes(Vitals(time.monotonic), "1")
KEPT: Final = REPOSITORY / "schemas" / "openapi.json"


def made() -> dict[str, Any]:
    found: dict[str, Any] = json.loads(json.dumps(document(ROUTES, "1")))
    return found


def test_the_document_in_the_repository_is_that_of_the_routes() -> None:
    """``schemas/openapi.json``; whoever changes a route sees what changes for others."""
    kept = json.loads(KEPT.read_text("utf-8"))
    assert kept == made(), "write it anew: python -m tests.admin.write_openapi"


def test_the_document_is_served(served: Served) -> None:
    """The same, with the version that runs."""
    found = served.get("/api/openapi.json").json
    assert found["info"].pop("version") == "1.2.3"
    expected = made()
    del expected["info"]["version"]
    assert found == expected


def test_every_route_stands_in_the_document_and_in_the_page() -> None:
    """Nothing is served that is not told (API9)."""
    page = (REPOSITORY / "docs" / "api.md").read_text("utf-8")
    names = {"{pipeline}": "PIPELINE", "{entity}": "ENTITY"}
    for route in ROUTES:
        assert route.method.lower() in made()["paths"][route.path]
        told = route.path.removeprefix("/api/pipelines/{pipeline}")
        for place, name in names.items():
            told = told.replace(place, name)
        for place in ("{run_id}", "{claim_id}", "{conflict_id}"):
            told = told.replace(place, "ID")
        last = f"/{told.rpartition('/')[2]}" if told else "/"
        assert told in page or (last in page and told.rpartition("/")[0] in page), route.path


@pytest.mark.parametrize("path", sorted(made()["paths"]))
def test_every_operation_can_be_refused_and_says_how(path: str) -> None:
    """401 and 403 everywhere, each a problem."""
    for operation in made()["paths"][path].values():
        assert {"401", "403", "404"} <= operation["responses"].keys()
