"""The verbs for what is parked: records that could not simply flow, by reason; look again at them.

Elsewhere such a list is called a dead-letter queue, and so is the group of verbs. Nothing is lost
here that must be put back: each run tries again what may succeed. ``replay`` is for what a repair
has made possible, and looks at those records as if for the first time.
"""

from typing import Annotated

import typer

from syncd.cli import answers, draw
from syncd.cli.options import Verb, check_entity
from syncd.cli.seam import App
from syncd.cli.shell import Answer, Call
from syncd.reports import Left

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Records that are parked, by reason: list, show, replay.",
)

OutcomeOption = Annotated[
    str, typer.Option("--outcome", metavar="WORD", help="Only of this outcome, as listed.")
]
ReasonOption = Annotated[
    str, typer.Option("--reason", metavar="TEXT", help="Only with exactly this reason.")
]


@app.command("list", cls=Verb, epilog="Example: syncd dlq list")
def dlq_list(ctx: typer.Context) -> None:
    """List what is not in step, counted by entity, outcome and reason."""

    async def ask(app: App, call: Call) -> Answer:
        found = await app.parked_groups(call.select)
        return Answer(draw.parked_groups(found, call.options.command), {"parked": found})

    ctx.obj.answer(ask)


@app.command("show", cls=Verb, epilog="Example: syncd dlq show countries --outcome failed")
def dlq_show(
    ctx: typer.Context,
    entity: Annotated[str, typer.Argument(metavar="ENTITY", help="An entity's name.")],
    *,
    outcome: OutcomeOption = "",
    reason: ReasonOption = "",
) -> None:
    """Show the first records of an entity that are not in step, with their keys."""

    async def ask(app: App, call: Call) -> Answer:
        check_entity(entity, list(call.config.entities), "ENTITY")
        found = await app.parked(entity, outcome, reason)
        return Answer(draw.parked(found, call.options.command), {"records": found})

    ctx.obj.answer(ask)


@app.command("replay", cls=Verb, epilog="Example: syncd dlq replay countries --outcome failed")
def dlq_replay(
    ctx: typer.Context,
    entities: Annotated[
        list[str] | None, typer.Argument(metavar="[ENTITY]...", help="Entities; all where none.")
    ] = None,
    *,
    outcome: OutcomeOption = "",
    reason: ReasonOption = "",
) -> None:
    """Have the next run look at parked records as if for the first time."""
    named = tuple(entities or ())

    async def ask(app: App, call: Call) -> Answer:
        marked = await app.replay(call.select, outcome, reason)
        if isinstance(marked, Left):
            return answers.left(marked)
        sentence = f"{marked} records will be looked at again; now: {call.options.command} run"
        return Answer(draw.told(sentence), {"records": marked})

    ctx.obj.answer(ask, named)
