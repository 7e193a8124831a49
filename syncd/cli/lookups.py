"""The verb for lookups: tables of fixed answers beside the staging tables."""

from pathlib import Path
from typing import Annotated

import typer

from syncd.cli import draw
from syncd.cli.options import Verb
from syncd.cli.seam import App
from syncd.cli.shell import Answer, Call

app = typer.Typer(
    no_args_is_help=True,
    rich_markup_mode=None,
    help="Tables of fixed answers beside the staging tables: load.",
)


@app.callback()
def lookups() -> None:
    """Keep ``load`` a verb of its own, though it is the only one."""


@app.command("load", cls=Verb, epilog="Example: syncd lookup load iaps_licreqnos numbers.csv")
def lookup_load(
    ctx: typer.Context,
    name: Annotated[str, typer.Argument(metavar="NAME", help="A name of staging.lookups.")],
    file: Annotated[Path, typer.Argument(metavar="FILE", help="A CSV file with a header.")],
) -> None:
    """Put the rows of a file in the place of what a lookup holds."""

    async def ask(app: App, _call: Call) -> Answer:
        report = await app.load_lookup(name, file)
        sentence = (
            f"{report.name}: {report.rows} rows in the place of {report.before}; "
            f"{report.several} keys have more than one"
        )
        return Answer(draw.told(sentence), report)

    ctx.obj.answer(ask)
