"""What went wrong, told to whoever asked: RFC 9457, a sentence, and an id to ask us about.

A body says no more than the route's own rules. What happened inside stands in the log under the
same correlation id (ASVS 16.5).
"""

from collections.abc import Mapping
from http import HTTPStatus
from typing import Final

import msgspec
from msgspec import Struct

from syncd.errors import (
    ConfigError,
    FencedError,
    PermanentError,
    SyncdError,
    TransientError,
)

CONTENT_TYPE: Final = "application/problem+json"
CORRELATION: Final = "X-Correlation-Id"
RETRY_S: Final = 5


class Problem(Struct, frozen=True):
    """The body of every answer that is none. ``correlation_id`` stands in the log and the audit."""

    title: str
    status: int
    detail: str
    correlation_id: str
    type: str = "about:blank"


class RefusalError(Exception):
    """A request that is answered with a problem. ``headers`` go with it."""

    def __init__(
        self, status: HTTPStatus, detail: str, headers: Mapping[str, str] | None = None
    ) -> None:
        super().__init__(detail)
        self.status = status
        self.detail = detail
        self.headers = headers or {}


def encoded(status: HTTPStatus, detail: str, correlation_id: str) -> bytes:
    """The body of a problem."""
    return msgspec.json.encode(Problem(status.phrase, int(status), detail, correlation_id))


def not_found(what: str) -> RefusalError:
    """What is asked for is not there, or not theirs to know."""
    return RefusalError(HTTPStatus.NOT_FOUND, f"there is no such {what}")


def from_error(error: SyncdError) -> RefusalError:
    """How an error of ours is told.

    A rule that stands against the request is told as it is; what the world did is not.
    """
    if isinstance(error, TransientError):
        return RefusalError(
            HTTPStatus.SERVICE_UNAVAILABLE,
            "something that this needs is busy or gone; ask again",
            {"Retry-After": str(RETRY_S)},
        )
    if type(error) in (ConfigError, PermanentError):
        return RefusalError(HTTPStatus.CONFLICT, str(error))
    if isinstance(error, FencedError | PermanentError):
        return RefusalError(HTTPStatus.CONFLICT, "as things stand this cannot be done")
    return RefusalError(HTTPStatus.INTERNAL_SERVER_ERROR, "this failed inside; look at the log")
