"""A route says all about itself: who may, what it takes, what it answers. The rest follows.

The door enforces it, the OpenAPI document is made of it, and the tests walk the same list. A route
without a role is open, and must say so; there is no other way in.
"""

import re
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from http import HTTPStatus
from typing import Annotated, Any, Final

import msgspec
from msgspec import Meta, Struct

from syncd.admin.problems import RefusalError, not_found
from syncd.admin.roles import Identity, Role
from syncd.admin.seam import Desk
from syncd.config import Name

Id = Annotated[int, Meta(ge=1, le=2**63 - 1)]

# What may stand in a path, by its name there.
PLACES: Final[Mapping[str, Any]] = {
    "pipeline": Name,
    "entity": Name,
    "run_id": Id,
    "claim_id": Id,
    "conflict_id": Id,
}
_PLACE: Final = re.compile(r"\{(\w+)\}")


class Nothing(Struct, frozen=True, forbid_unknown_fields=True):
    """No parameters: one that is given is refused."""


class Call(Struct, frozen=True):
    """One request that was let in."""

    identity: Identity
    office: Desk | None  # of the pipeline in the path; None where there is none in it
    pipeline: str
    places: Mapping[str, Any]
    query: Any
    body: Any
    if_match: str

    @property
    def desk(self) -> Desk:
        """Of the pipeline in the path."""
        assert self.office is not None
        return self.office

    @property
    def entity(self) -> str:
        """The entity in the path; empty where there is none."""
        return str(self.places.get("entity", ""))

    def reaches(self, entity: str) -> bool:
        """Whether the entity is theirs."""
        return self.identity.reaches(self.pipeline, entity)


Handle = Callable[[Call], Awaitable[Any]]


class Route(Struct, frozen=True):
    """``handle`` answers with ``answers``, or with None where there is no such thing.

    ``action`` is what the audit calls it: a route with one changes something. ``whole`` needs the
    pipeline as a whole, not an entity of it.
    """

    method: str
    path: str
    role: Role
    handle: Handle
    answers: Any
    summary: str
    query: type[Struct] = Nothing
    takes: type[Struct] | None = None
    action: str = ""
    status: HTTPStatus = HTTPStatus.OK
    whole: bool = False
    plan: bool = False  # answers with an ETag, or is asked with If-Match: the hash of a plan

    @property
    def names(self) -> Sequence[str]:
        """The places in its path."""
        return _PLACE.findall(self.path)


class Table:
    """Finds the route of a request."""

    def __init__(self, routes: Iterable[Route]) -> None:
        self.routes = tuple(routes)
        self._by_shape: dict[str, list[tuple[re.Pattern[str], Route]]] = {}
        for route in self.routes:
            pattern = re.compile(_PLACE.sub(r"(?P<\1>[^/]+)", route.path))
            self._by_shape.setdefault(route.method, []).append((pattern, route))

    def find(self, method: str, path: str) -> tuple[Route, Mapping[str, Any]]:
        """The route and what stands in its path. Raises RefusalError: 404, 405."""
        found = self._match(method, path)
        if found is not None:
            return found
        others = sorted(other for other in self._by_shape if self._match(other, path))
        if others:
            raise RefusalError(
                HTTPStatus.METHOD_NOT_ALLOWED,
                f"expected {' or '.join(others)}",
                {"Allow": ", ".join(others)},
            )
        raise not_found("page")

    def _match(self, method: str, path: str) -> tuple[Route, Mapping[str, Any]] | None:
        for pattern, route in self._by_shape.get(method, ()):
            found = pattern.fullmatch(path)
            if found is not None:
                return route, found.groupdict()
        return None


def places_of(texts: Mapping[str, str]) -> Mapping[str, Any]:
    """What stands in a path, in its own types. Raises RefusalError: no such thing is there."""
    try:
        return {
            name: msgspec.convert(text, PLACES[name], strict=False) for name, text in texts.items()
        }
    except msgspec.ValidationError:
        raise not_found("page") from None
