"""The routes that look. Each is a question to the desk; what is out of reach is not told."""

from http import HTTPStatus
from typing import Any, Final

from syncd.admin.problems import RefusalError
from syncd.admin.roles import Role
from syncd.admin.route import Call, Route
from syncd.admin.shapes import (
    AuditPage,
    Claims,
    ConflictQuery,
    Conflicts,
    Groups,
    Held,
    KeyQuery,
    Newest,
    NewestFirst,
    ParkedQuery,
    ParkedRecords,
    Pauses,
    Runs,
)
from syncd.reports import (
    ClaimView,
    ConflictView,
    EntityStatus,
    ExplainReport,
    HeldView,
    RunView,
    StatusReport,
)

_PIPELINE: Final = "/api/pipelines/{pipeline}"
_ENTITY: Final = f"{_PIPELINE}/entities/{{entity}}"


async def _status(call: Call) -> StatusReport:
    report = await call.desk.status()
    return StatusReport(
        report.pipeline, report.lease_holder, report.lease_epoch, report.last_run,
        report.last_run_status, tuple(e for e in report.entities if call.reaches(e.name)),
    )  # fmt: skip


async def _entity(call: Call) -> EntityStatus | None:
    report = await call.desk.status()
    return next((entity for entity in report.entities if entity.name == call.entity), None)


async def _runs(call: Call) -> Runs:
    limit = call.query.limit
    found = await call.desk.runs(before=call.query.before, most=limit)
    return Runs(tuple(found), found[-1].run_id if len(found) == limit else 0)


async def _run(call: Call) -> RunView | None:
    found = await call.desk.run(call.places["run_id"])
    if found is None:
        return None
    return RunView(
        found.run_id, found.status, found.started_at, found.finished_at, found.attempts,
        found.selected, tuple(e for e in found.entities if call.reaches(e.name)),
        tuple(f for f in found.findings if call.reaches(f.entity)),
    )  # fmt: skip


async def _claims(call: Call) -> Claims:
    found = await call.desk.claims(most=call.query.limit)
    return Claims(tuple(claim for claim in found if _theirs(call, claim)))


async def _claim(call: Call) -> ClaimView | None:
    found = await call.desk.claim(call.places["claim_id"])
    return found if found is not None and _theirs(call, found) else None


def _theirs(call: Call, claim: ClaimView) -> bool:
    """A claim for everything is for theirs, too."""
    return not claim.entities or any(call.reaches(name) for name in claim.entities)


async def _pauses(call: Call) -> Pauses:
    found = await call.desk.pauses()
    return Pauses(tuple(p for p in found if not p.entity or call.reaches(p.entity)))


async def _conflicts(call: Call) -> Conflicts:
    query = call.query
    select = within(call, query.entity)
    found = await call.desk.conflicts(
        select, status=query.status, after=query.after, most=query.limit
    )
    return Conflicts(tuple(found), found[-1].conflict_id if len(found) == query.limit else 0)


def within(call: Call, entity: str | None) -> frozenset[str] | None:
    """The entities that are asked about and may be seen; None for all of the pipeline."""
    if entity is not None:
        if not call.reaches(entity):
            raise RefusalError(HTTPStatus.FORBIDDEN, "this entity is not yours")
        return frozenset({entity})
    if call.reaches(""):
        return None
    return frozenset(name for name in call.desk.entities if call.reaches(name))


async def reached_conflict(call: Call) -> bool:
    """Whether the conflict in the path is there, and theirs."""
    entity = await call.desk.entity_of_conflict(call.places["conflict_id"])
    return entity is not None and call.reaches(entity)


async def _conflict(call: Call) -> ConflictView | None:
    if not await reached_conflict(call):
        return None
    return await call.desk.conflict(call.places["conflict_id"])


async def _held(call: Call) -> Held:
    return Held(tuple(await call.desk.held(within(call, None))))


async def _held_one(call: Call) -> HeldView | None:
    return next(iter(await call.desk.held(frozenset({call.entity}))), None)


async def _groups(call: Call) -> Groups:
    found = await call.desk.parked_groups()
    return Groups(tuple(group for group in found if call.reaches(group.entity)))


async def _parked(call: Call) -> ParkedRecords:
    query = call.query
    page = await call.desk.parked(
        call.entity, query.outcome, query.reason, after=query.after, most=query.limit
    )
    return ParkedRecords(page.records, page.after)


async def _explain(call: Call) -> ExplainReport:
    return await call.desk.explain(call.entity, call.query.key)


async def _audit(call: Call) -> AuditPage:
    limit = call.query.limit
    found = await call.desk.audit(before=call.query.before, most=limit)
    return AuditPage(tuple(found), found[-1].audit_id if len(found) == limit else 0)


def _look(path: str, handle: Any, answers: Any, summary: str, **more: Any) -> Route:
    return Route("GET", path, more.pop("role", Role.READ), handle, answers, summary, **more)


ROUTES: Final = (
    _look(_PIPELINE, _status, StatusReport, "One pipeline, with its entities"),
    _look(_ENTITY, _entity, EntityStatus, "One entity"),
    _look(f"{_PIPELINE}/runs", _runs, Runs, "Its runs, newest first", query=NewestFirst),
    _look(f"{_PIPELINE}/runs/{{run_id}}", _run, RunView, "One run, with its entities"),
    _look(f"{_PIPELINE}/claims", _claims, Claims, "What was asked for", query=Newest),
    _look(f"{_PIPELINE}/claims/{{claim_id}}", _claim, ClaimView, "What became of a claim"),
    _look(f"{_PIPELINE}/pauses", _pauses, Pauses, "What rests"),
    _look(f"{_PIPELINE}/conflicts", _conflicts, Conflicts, "Conflicts", query=ConflictQuery),
    _look(
        f"{_PIPELINE}/conflicts/{{conflict_id}}", _conflict, ConflictView,
        "One conflict, with the values of both sides", role=Role.OPERATE,
    ),
    _look(f"{_PIPELINE}/deletes", _held, Held, "Deletes that are held"),
    _look(
        f"{_PIPELINE}/deletes/{{entity}}", _held_one, HeldView,
        "The deletes that one entity holds, with the hash of their plan", plan=True,
    ),
    _look(f"{_PIPELINE}/quarantine", _groups, Groups, "What is not in step, by reason"),
    _look(
        f"{_PIPELINE}/quarantine/{{entity}}", _parked, ParkedRecords,
        "Records of one entity that are not in step", query=ParkedQuery,
    ),
    _look(
        f"{_ENTITY}/explain", _explain, ExplainReport,
        "All about one record, with the values of both sides", role=Role.OPERATE, query=KeyQuery,
    ),
    _look(
        f"{_PIPELINE}/audit", _audit, AuditPage, "Who did what", role=Role.ADMIN,
        query=NewestFirst, whole=True,
    ),
)  # fmt: skip
