"""The OpenAPI 3.1 document: made of the routes alone, so it cannot tell another story.

``schemas/openapi.json`` is the same text; a test holds them equal.
"""

from collections.abc import Sequence
from http import HTTPStatus
from typing import Any, Final

import msgspec

from syncd.admin.problems import CONTENT_TYPE, CORRELATION, Problem
from syncd.admin.roles import Role
from syncd.admin.route import PLACES, Route

_REF: Final = "#/components/schemas/{name}"
_ROLES: Final = {Role.READ: "syncd.read", Role.OPERATE: "syncd.operate", Role.ADMIN: "syncd.admin"}
_ALWAYS: Final = (
    HTTPStatus.BAD_REQUEST,
    HTTPStatus.UNAUTHORIZED,
    HTTPStatus.FORBIDDEN,
    HTTPStatus.NOT_FOUND,
    HTTPStatus.CONFLICT,
    HTTPStatus.SERVICE_UNAVAILABLE,
)
_WITH_BODY: Final = (
    HTTPStatus.REQUEST_TIMEOUT,
    HTTPStatus.REQUEST_ENTITY_TOO_LARGE,
    HTTPStatus.UNSUPPORTED_MEDIA_TYPE,
    HTTPStatus.TOO_MANY_REQUESTS,
)
_WITH_PLAN: Final = (HTTPStatus.PRECONDITION_FAILED, HTTPStatus.PRECONDITION_REQUIRED)


def document(routes: Sequence[Route], version: str) -> dict[str, Any]:
    """The document of these routes."""
    types = {route.answers for route in routes} | {r.takes for r in routes if r.takes} | {Problem}
    ordered = sorted((t for t in types if isinstance(t, type)), key=lambda t: t.__name__)
    _, schemas = msgspec.json.schema_components(ordered, ref_template=_REF)
    paths: dict[str, Any] = {}
    for route in routes:
        paths.setdefault(route.path, {})[route.method.lower()] = _operation(route)
    return {
        "openapi": "3.1.0",
        "info": {
            "title": "syncd",
            "version": version,
            "description": "Look at pipelines, ask for work, and decide what waits for a person.",
        },
        "security": [{"bearer": []}],
        "paths": dict(sorted(paths.items())),
        "components": {
            "securitySchemes": {"bearer": {"type": "http", "scheme": "bearer"}},
            "schemas": dict(sorted(schemas.items())),
            "responses": {"Problem": _problem()},
        },
    }


def _operation(route: Route) -> dict[str, Any]:
    operation: dict[str, Any] = {
        "operationId": _operation_id(route),
        "summary": route.summary,
        "description": f"Needs the role {_ROLES[route.role]}.",
        "parameters": [*_places(route), *_parameters(route), *_precondition(route)],
        "responses": _responses(route),
    }
    if route.takes is not None:
        operation["requestBody"] = {
            "required": _must_say(route.takes),
            "content": {"application/json": {"schema": {"$ref": _ref(route.takes)}}},
        }
    return operation


def _operation_id(route: Route) -> str:
    words = [word for word in route.path.replace("{", "").replace("}", "").split("/") if word]
    return "_".join([route.method.lower(), *words[1:]]).replace(".", "_")


def _places(route: Route) -> list[dict[str, Any]]:
    return [
        {"name": name, "in": "path", "required": True, "schema": msgspec.json.schema(PLACES[name])}
        for name in route.names
    ]


def _parameters(route: Route) -> list[dict[str, Any]]:
    return [
        {
            "name": field.encode_name,
            "in": "query",
            "required": field.required,
            "schema": _with_default(msgspec.json.schema(field.type), field),
        }
        for field in msgspec.structs.fields(route.query)
    ]


def _with_default(schema: dict[str, Any], field: msgspec.structs.FieldInfo) -> dict[str, Any]:
    """A parameter is left out rather than null, so null is no value of it."""
    told = [choice for choice in schema.get("anyOf", ()) if choice != {"type": "null"}]
    if len(told) == 1:
        schema = told[0]
    if field.required or field.default is None:
        return schema
    return {**schema, "default": field.default}


def _precondition(route: Route) -> list[dict[str, Any]]:
    if not route.plan or not route.action:
        return []
    schema = {"type": "string", "pattern": '^"[0-9a-f]{16}"$'}
    return [{"name": "If-Match", "in": "header", "required": False, "schema": schema}]


def _must_say(takes: type[msgspec.Struct]) -> bool:
    return any(field.required for field in msgspec.structs.fields(takes))


def _responses(route: Route) -> dict[str, Any]:
    refused = [*_ALWAYS, *(_WITH_BODY if route.action else ())]
    refused += _WITH_PLAN if route.plan and route.action else ()
    answer: dict[str, Any] = {
        "description": route.status.phrase,
        "headers": {CORRELATION: {"schema": {"type": "string"}}},
        "content": {"application/json": {"schema": _schema(route.answers)}},
    }
    if route.plan and not route.action:
        answer["headers"]["ETag"] = {"schema": {"type": "string"}}
    problems = {str(int(s)): {"$ref": "#/components/responses/Problem"} for s in sorted(refused)}
    return {str(int(route.status)): answer, **problems}


def _schema(answers: Any) -> dict[str, Any]:
    return {"$ref": _ref(answers)} if isinstance(answers, type) else {"type": "object"}


def _ref(of: type) -> str:
    return _REF.format(name=of.__name__)


def _problem() -> dict[str, Any]:
    return {
        "description": "Refused, and why; ask about it by its correlation id.",
        "headers": {CORRELATION: {"schema": {"type": "string"}}},
        "content": {CONTENT_TYPE: {"schema": {"$ref": _ref(Problem)}}},
    }
