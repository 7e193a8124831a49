"""The routes that change something. What must be run is left to whoever leads, as a claim (202)."""

from http import HTTPStatus
from typing import Any, Final

from syncd.admin.looking import reached_conflict
from syncd.admin.problems import RefusalError, not_found
from syncd.admin.roles import Role
from syncd.admin.route import Call, Route
from syncd.admin.shapes import (
    Ask,
    Asked,
    Decision,
    Kept,
    Keys,
    Marked,
    Plan,
    Resting,
    Taken,
    Which,
    Why,
)
from syncd.reports import Left

_PIPELINE: Final = "/api/pipelines/{pipeline}"
_ENTITY: Final = f"{_PIPELINE}/entities/{{entity}}"


class Empty(Taken, frozen=True):
    """Nothing need be said."""


async def _ask(call: Call) -> Asked:
    names = frozenset(call.body.entities)
    if not all(call.reaches(name) for name in names or {""}):
        raise RefusalError(HTTPStatus.FORBIDDEN, "not all of these entities are yours")
    if not names <= call.desk.entities:
        raise not_found("entity")
    claimed = await call.desk.ask(names or None, call.identity.subject)
    return Asked(claimed.claim_id, claimed.coalesced, claimed.status)


async def _pause(call: Call) -> Resting:
    await call.desk.pause(call.entity, call.body.reason, call.identity.subject)
    return Resting(call.entity, paused=True)


async def _resume(call: Call) -> Resting:
    await call.desk.resume(call.entity)
    return Resting(call.entity, paused=False)


async def _resync_all(call: Call) -> Marked:
    return _marked(await call.desk.resync(None, (), call.identity.subject))


async def _resync(call: Call) -> Marked:
    entity = frozenset({call.entity})
    return _marked(await call.desk.resync(entity, call.body.keys, call.identity.subject))


async def _resolve(call: Call) -> Marked | None:
    if not await reached_conflict(call):
        return None
    number, by = call.places["conflict_id"], call.identity.subject
    return _marked(await call.desk.resolve(number, call.body.take, by))


async def _approve(call: Call) -> Marked:
    plan = await _agreed_plan(call)
    return _marked(await call.desk.approve(call.entity, plan, call.identity.subject))


async def _reject(call: Call) -> Kept:
    return Kept(await call.desk.reject(call.entity, await _agreed_plan(call)))


async def _agreed_plan(call: Call) -> str:
    """The plan that is named, in the body or by If-Match. Raises RefusalError: 412, 428.

    The desk checks it once more as it decides; looking first gives If-Match its own answer.
    """
    named = {plan for plan in (call.body.plan, call.if_match) if plan}
    if not named:
        raise RefusalError(
            HTTPStatus.PRECONDITION_REQUIRED, "name the plan that is meant, as the list shows it"
        )
    held = [view.plan for view in await call.desk.held(frozenset({call.entity}))]
    if call.if_match and [call.if_match] != held:
        raise RefusalError(
            HTTPStatus.PRECONDITION_FAILED, "another plan is held now, or none; nothing was decided"
        )
    if len(named) > 1:
        raise RefusalError(HTTPStatus.CONFLICT, "the body and If-Match name different plans")
    return named.pop()


async def _replay(call: Call) -> Marked:
    body, by = call.body, call.identity.subject
    return _marked(await call.desk.replay(call.entity, body.outcome, body.reason, by))


def _marked(left: Left) -> Marked:
    return Marked(left.records, left.claim_id, left.coalesced)


def _change(path: str, action: str, handle: Any, takes: Any, answers: Any, **more: Any) -> Route:
    role = more.pop("role", Role.OPERATE)
    return Route("POST", path, role, handle, answers, takes=takes, action=action, **more)


_LATER: Final = HTTPStatus.ACCEPTED

ROUTES: Final = (
    _change(
        f"{_PIPELINE}/claims", "claim", _ask, Ask, Asked,
        summary="Have entities synced, or all of them", status=_LATER,
    ),
    _change(
        f"{_PIPELINE}/pause", "pause", _pause, Why, Resting,
        summary="Let the pipeline rest after the run that is under way", whole=True,
    ),
    _change(
        f"{_PIPELINE}/resume", "resume", _resume, Empty, Resting,
        summary="Let the pipeline go on", whole=True,
    ),
    _change(
        f"{_PIPELINE}/resync", "resync", _resync_all, Empty, Marked,
        summary="Look again at every record", whole=True, status=_LATER,
    ),
    _change(f"{_ENTITY}/pause", "pause", _pause, Why, Resting, summary="Let an entity rest"),
    _change(f"{_ENTITY}/resume", "resume", _resume, Empty, Resting, summary="Let it go on"),
    _change(
        f"{_ENTITY}/resync", "resync", _resync, Keys, Marked,
        summary="Look again at records of an entity, or at all of them", status=_LATER,
    ),
    _change(
        f"{_PIPELINE}/conflicts/{{conflict_id}}/resolve", "resolve", _resolve, Decision, Marked,
        summary="Decide a conflict for one side", status=_LATER,
    ),
    _change(
        f"{_PIPELINE}/deletes/{{entity}}/approve", "approve", _approve, Plan, Marked,
        summary="Carry out the held deletes of this plan; never more", role=Role.ADMIN,
        status=_LATER, plan=True,
    ),
    _change(
        f"{_PIPELINE}/deletes/{{entity}}/reject", "reject", _reject, Plan, Kept,
        summary="Keep the rows of this plan", role=Role.ADMIN, plan=True,
    ),
    _change(
        f"{_PIPELINE}/quarantine/{{entity}}/replay", "replay", _replay, Which, Marked,
        summary="Look again at what is parked", status=_LATER,
    ),
)  # fmt: skip
