"""The door: who comes in, with what, and what is noted of it. Every request goes this one way.

    page -> who -> role -> reach -> turn -> what is said -> audit -> the desk -> audit if it failed

Default deny: a request that is not proved at one of these steps gets no further. Nothing of a
request is read before its sender is known, and nothing is changed before the audit has it; where
the audit cannot be written, nothing is done.
"""

from collections.abc import Callable, Mapping
from http import HTTPStatus
from typing import Any, Final

import anyio
import msgspec
from aiohttp import web

from syncd import logs
from syncd.admin import problems
from syncd.admin.pages import Reply
from syncd.admin.problems import RefusalError, from_error, not_found
from syncd.admin.rate import Rate
from syncd.admin.reading import body_of, query_of
from syncd.admin.roles import Identity
from syncd.admin.route import Call, Route, Table, places_of
from syncd.admin.seam import Desk, Desks
from syncd.admin.tokens import Authenticator, UnknownError
from syncd.errors import SyncdError
from syncd.ledger.audit import AuditLine
from syncd.visible import visible

_log = logs.Log("syncd.admin")

REQUEST_S: Final = 25.0  # less than the connection may live, so that there is time to say so
INSIDE_MAX: Final = 12  # the other seats are left for the open pages, whatever the desk does
REFUSALS_NOTED: Final = 60  # a minute: a flood of strangers does not fill the ledger
SUBJECT_CHARS_MAX: Final = 300
_NOBODY: Final = "nobody"


class Door:
    """Answers every request. ``desks`` are the pipelines of now; ``ids`` makes correlation ids."""

    def __init__(
        self,
        table: Table,
        pages: Mapping[str, Callable[[], Reply]],
        authenticator: Authenticator,
        desks: Callable[[], Desks],
        changes: Rate,
        refusals: Rate,
        ids: Callable[[], str],
    ) -> None:
        self._table = table
        self._pages = pages
        self._authenticator = authenticator
        self._desks = desks
        self._changes = changes
        self._refusals = refusals
        self._ids = ids
        self._inside = 0
        self._unnoted = 0

    async def __call__(self, request: web.BaseRequest) -> web.StreamResponse:
        """The answer, whatever happens but a fault of ours (see ``listener``)."""
        correlation_id = self._ids()
        with logs.scope(correlation_id=correlation_id):
            try:
                reply, headers = await self._in_time(request, correlation_id)
            except RefusalError as refusal:
                reply, headers = _problem(refusal, correlation_id), refusal.headers
        return response(reply, {**headers, problems.CORRELATION: correlation_id})

    async def _in_time(
        self, request: web.BaseRequest, correlation_id: str
    ) -> tuple[Reply, Mapping[str, str]]:
        """The answer, or RefusalError."""
        try:
            with anyio.fail_after(REQUEST_S):
                return await self._answer(request, correlation_id)
        except SyncdError as error:
            _log.warning("api_failed", exc_info=error)
            raise from_error(error) from None
        except TimeoutError:
            detail = "it took too long; ask again"
            raise RefusalError(HTTPStatus.SERVICE_UNAVAILABLE, detail) from None

    async def _answer(
        self, request: web.BaseRequest, correlation_id: str
    ) -> tuple[Reply, Mapping[str, str]]:
        page = self._pages.get(request.path)
        if page is not None:
            if request.method != "GET":
                raise RefusalError(HTTPStatus.METHOD_NOT_ALLOWED, "expected GET", {"Allow": "GET"})
            return page(), {}
        if self._inside >= INSIDE_MAX:
            raise RefusalError(
                HTTPStatus.SERVICE_UNAVAILABLE, "all seats are taken", {"Retry-After": "1"}
            )
        self._inside += 1
        try:
            return await self._api(request, correlation_id)
        finally:
            self._inside -= 1

    async def _api(
        self, request: web.BaseRequest, correlation_id: str
    ) -> tuple[Reply, Mapping[str, str]]:
        route, texts = self._table.find(request.method, request.path)
        visit = _Visit(route, request.path, correlation_id, self._desks(), texts.get("pipeline"))
        call = await self._admit(request, visit, texts)
        call = msgspec.structs.replace(
            call,
            query=query_of(request, route.query),
            body=None if route.takes is None else await body_of(request, route.takes),
            if_match=_if_match(request),
        )
        answer = await (self._changed(call, visit) if route.action else route.handle(call))
        if answer is None:
            raise not_found("thing")
        headers = {"ETag": f'"{answer.plan}"'} if route.plan and not route.action else {}
        return Reply(msgspec.json.encode(answer), route.status), headers

    # -- who may -----------------------------------------------------------------------------

    async def _admit(
        self, request: web.BaseRequest, visit: "_Visit", texts: Mapping[str, str]
    ) -> Call:
        """The call of somebody who may make it. Raises RefusalError: 401, 403, 404, 429."""
        try:
            identity = await self._authenticator.identify(request.headers.get("Authorization"))
        except UnknownError as error:
            await self._note_refusal(visit, _NOBODY, error.reason)
            raise RefusalError(
                HTTPStatus.UNAUTHORIZED, "show a valid token", {"WWW-Authenticate": "Bearer"}
            ) from None
        if not identity.may(visit.route.role):
            await self._note_refusal(visit, identity.subject, "role")
            raise RefusalError(HTTPStatus.FORBIDDEN, "your role does not allow this")
        places = places_of(texts)
        pipeline, entity = places.get("pipeline", ""), places.get("entity", "")
        if pipeline and not _reaches(identity, visit.route, pipeline, entity):
            await self._note_refusal(visit, identity.subject, "scope")
            raise RefusalError(HTTPStatus.FORBIDDEN, "this is not yours")
        desk = visit.desk
        if pipeline and (desk is None or (entity and entity not in desk.entities)):
            raise not_found("entity" if desk is not None else "pipeline")
        if visit.route.action:
            self._take_turn(identity)
        return Call(identity, desk, pipeline, places, None, None, "")

    def _take_turn(self, identity: Identity) -> None:
        wait_s = self._changes.take(identity.subject)
        if wait_s > 0:
            raise RefusalError(
                HTTPStatus.TOO_MANY_REQUESTS,
                "too many changes in a minute",
                {"Retry-After": str(int(wait_s) + 1)},
            )

    # -- what is noted -----------------------------------------------------------------------

    async def _changed(self, call: Call, visit: "_Visit") -> Any:
        """Note, then do; a second line where it could not be done."""
        line = visit.line(call.identity.subject, "allowed", call.body.told())
        await call.desk.note(line)
        _log.info("api_changed", code=visit.route.action, pipeline=call.pipeline)
        try:
            return await visit.route.handle(call)
        except (SyncdError, RefusalError) as error:
            failed = msgspec.structs.replace(line, outcome="failed", detail=type(error).__name__)
            await call.desk.note(failed)
            raise

    async def _note_refusal(self, visit: "_Visit", subject: str, reason: str) -> None:
        """Refusals go to the log, and to the audit while they are not a flood."""
        _log.warning("api_refused", reason=reason, path=visit.route.path)
        if visit.noting is None or self._refusals.take("") > 0:
            self._unnoted += 1
            return
        more = f"; {self._unnoted} more before it" if self._unnoted else ""
        self._unnoted = 0
        try:
            await visit.noting.note(visit.line(subject, "denied", f"{reason}{more}"))
        except SyncdError as error:  # refused it is, also while no audit can be written
            _log.warning("api_failed", exc_info=error)


class _Visit:
    """What is known of a request before its sender is."""

    def __init__(
        self, route: Route, path: str, correlation_id: str, desks: Desks, pipeline: str | None
    ) -> None:
        self.route = route
        self._path = visible(path, SUBJECT_CHARS_MAX)
        self._correlation_id = correlation_id
        self.desk: Desk | None = desks.get(pipeline or "")
        # A refusal that names no pipeline of ours is noted in the first one.
        self.noting = self.desk or (desks[min(desks)] if desks else None)

    def line(self, subject: str, outcome: Any, detail: str) -> AuditLine:
        """A line of the audit about it."""
        action = self.route.action or "look"
        return AuditLine(subject, action, self._path, outcome, self._correlation_id, detail)


def _reaches(identity: Identity, route: Route, pipeline: str, entity: str) -> bool:
    if entity or route.whole:
        return identity.reaches(pipeline, entity)
    return identity.sees(pipeline)


def _if_match(request: web.BaseRequest) -> str:
    return request.headers.get("If-Match", "").removeprefix("W/").strip('"')


def _problem(refusal: RefusalError, correlation_id: str) -> Reply:
    body = problems.encoded(refusal.status, refusal.detail, correlation_id)
    return Reply(body, refusal.status, problems.CONTENT_TYPE)


def response(reply: Reply, headers: Mapping[str, str]) -> web.Response:
    """An answer as the library's; the connection ends with it."""
    answer = web.Response(
        body=reply.body,
        status=reply.status,
        headers={
            "Content-Type": reply.content_type,
            "Cache-Control": "no-store",
            "Server": "syncd",  # or else the library tells its version, and Python's
            "X-Content-Type-Options": "nosniff",
            **headers,
        },
    )
    answer.force_close()
    return answer
