"""The verb ``relay``."""

from typing import Annotated

import typer

from syncd.cli import draw, exit_codes
from syncd.cli.seam import App
from syncd.cli.shell import Answer, Call
from syncd.errors import ConfigError


def relay(
    ctx: typer.Context,
    *,
    once: Annotated[bool, typer.Option("--once", help="Send what is due and end.")] = False,
) -> None:
    """Send the events that are due; for sites that start syncd from cron."""
    if not once:
        raise ConfigError("relay: expected --once", hint="syncd serve sends events for good")

    async def ask(app: App, _: Call) -> Answer:
        report = await app.relay()
        return Answer(draw.relay(report), report, exit_codes.of_relay(report))

    ctx.obj.answer(ask)
