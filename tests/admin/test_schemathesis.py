"""The API against its own document, by generated requests: every check that schemathesis knows.

Statuses, content types, headers and bodies are those of the document; what does not fit is refused,
what fits is not; a route without a token is refused; nothing answers 500.
"""

import os
from typing import Any, Final

import hypothesis
import pytest
import schemathesis

from tests.admin.served import TOKENS, Served
from tests.conftest import REPOSITORY

SCHEMA: Final = schemathesis.openapi.from_path(REPOSITORY / "schemas" / "openapi.json")
OPERATIONS: Final = 28
CASES: Final = 3  # generated ones of each operation, in ``make test``, beside those by rule
CASES_LONG: Final = 110  # more than 3,000


def checked(case: Any, served: Served) -> None:
    """Sent with an administrator's token, and held against the document."""
    case.call_and_validate(
        base_url=f"http://127.0.0.1:{served.port}",
        headers={"Authorization": f"Bearer {TOKENS['admin']}"},
        timeout=20,
    )


@SCHEMA.parametrize()
@hypothesis.settings(max_examples=CASES, derandomize=True)
def test_a_generated_request_is_answered_as_the_document_says(case: Any, served: Served) -> None:
    checked(case, served)


@pytest.mark.long
@pytest.mark.timeout(900)
@SCHEMA.parametrize()
@hypothesis.settings(max_examples=int(os.environ.get("SYNCD_API_CASES", CASES_LONG)))
def test_many_generated_requests_are_answered_so(case: Any, served: Served) -> None:
    checked(case, served)
