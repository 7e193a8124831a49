"""Every route of the API, and what belongs to no pipeline."""

from typing import Any

from syncd.admin import deciding, looking, openapi
from syncd.admin.roles import Role
from syncd.admin.route import Call, Route
from syncd.admin.shapes import PipelineLine, Pipelines
from syncd.vitals import PipelineVital, Vitals


def routes(vitals: Vitals, version: str) -> tuple[Route, ...]:
    """All of them; ``vitals`` are those of this process."""

    async def pipelines(call: Call) -> Pipelines:
        found = vitals.views()
        return Pipelines(
            tuple(_line(view) for name, view in found.items() if call.identity.sees(name))
        )

    async def document(call: Call) -> dict[str, Any]:  # noqa: ARG001 - the same for everybody
        return openapi.document(everything, version)

    everything = (
        Route("GET", "/api/pipelines", Role.READ, pipelines, Pipelines, "The pipelines"),
        Route("GET", "/api/openapi.json", Role.READ, document, dict[str, Any], "This document"),
        *looking.ROUTES,
        *deciding.ROUTES,
    )
    return everything


def _line(view: PipelineVital) -> PipelineLine:
    return PipelineLine(
        view.name, view.role.value, view.reason, view.paused, view.fresh, view.age_s,
        view.last_run_status, view.run,
    )  # fmt: skip
