"""The verbs. Each asks the application one thing and hands its answer on; there is no logic here.

The application, which brings the driver, is imported when a verb needs it, so ``--help`` and
``config`` stay quick.
"""

import gc
import json
from collections.abc import Callable
from contextlib import AbstractAsyncContextManager
from enum import StrEnum
from pathlib import Path
from typing import Annotated, Any, Final

import typer

from syncd import __version__, config_load
from syncd.cli import answers, draw, exit_codes, lookups, markdown, parked, relaying
from syncd.cli.options import DEFAULT_CONFIG, Options, Root, Verb, check_entity, split
from syncd.cli.seam import App, Served
from syncd.cli.shell import Answer, Call, Shell
from syncd.config import Config
from syncd.config_serve import Settings
from syncd.reports import Left

EXIT_CODES: Final = (
    "Exit codes: 0 done, 1 failed, 2 usage or configuration, 3 differences (--exit-code), "
    "4 rows parked, 5 deletes held, 6 another instance holds the lease, 130 and 143 signals."
)


class Output(StrEnum):
    """How an answer is printed."""

    TEXT = "text"
    JSON = "json"


class LogFormat(StrEnum):
    """How log lines are written."""

    CONSOLE = "console"
    JSON = "json"


class LogLevel(StrEnum):
    """The least grave event that is logged."""

    DEBUG = "debug"
    INFO = "info"
    WARNING = "warning"
    ERROR = "error"


class Status(StrEnum):
    """Which conflicts are listed."""

    OPEN = "open"
    CLOSED = "closed"
    RESOLVED_SOURCE = "resolved_source"
    RESOLVED_TARGET = "resolved_target"
    ALL = "all"


class Take(StrEnum):
    """Whose value stays."""

    SOURCE = "source"
    TARGET = "target"


def _group(**options: Any) -> typer.Typer:
    return typer.Typer(no_args_is_help=True, rich_markup_mode=None, **options)


app = _group(
    name="syncd",
    cls=Root,
    help="Keeps a new database in step with a legacy one until the old one is switched off.",
    epilog=EXIT_CODES,
    add_completion=False,
)
conflicts_app = _group(help="Fields that both sides changed: list, show, resolve.")
deletes_app = _group(help="Deletes that are held for a decision: list, approve, reject.")
config_app = _group(help="The configuration: show, schema.")
app.add_typer(conflicts_app, name="conflicts")
app.add_typer(deletes_app, name="deletes")
app.add_typer(parked.app, name="dlq")
app.add_typer(lookups.app, name="lookup")
app.add_typer(config_app, name="config")

CompareOption = Annotated[
    bool, typer.Option("--exit-code", help="End with 3 when there are differences.")
]
PlanHashOption = Annotated[
    str | None,
    typer.Option("--plan", metavar="HASH", help="Only if this is still what is held (`list`)."),
]
EntityArgument = Annotated[str, typer.Argument(metavar="ENTITY", help="An entity's name.")]


def _connect(config: Config) -> AbstractAsyncContextManager[App]:
    from syncd.app import connect  # noqa: PLC0415 - it brings the driver.

    _collect_garbage()
    return connect(config)


def _build(settings: Settings, load: Callable[[], Settings]) -> Served:
    from syncd.app_serve import build  # noqa: PLC0415 - it brings the driver.

    _collect_garbage()
    return build(settings, load)


def _collect_garbage() -> None:
    if not gc.isenabled():  # as ``syncd.__main__`` left it; what is there now, stays
        gc.freeze()
        gc.enable()


def _version(wanted: bool) -> None:  # noqa: FBT001 - the signature is Typer's.
    if wanted:
        typer.echo(f"syncd {__version__}")
        raise typer.Exit


@app.callback()
def root(  # noqa: PLR0913 - what every verb takes is declared once, here.
    ctx: typer.Context,
    *,
    config: Annotated[
        Path, typer.Option("--config", "-c", envvar="SYNCD_CONFIG", help="The pipeline's file.")
    ] = Path(DEFAULT_CONFIG),
    select: Annotated[
        list[str] | None,
        typer.Option(metavar="ENTITY", help="Only these; repeat it or use commas."),
    ] = None,
    exclude: Annotated[
        list[str] | None,
        typer.Option(metavar="ENTITY", help="All but these; repeat it or use commas."),
    ] = None,
    output: Annotated[Output, typer.Option(help="For people or for programs.")] = Output.TEXT,
    log_format: Annotated[
        LogFormat, typer.Option(help="Logs go to standard error.")
    ] = LogFormat.CONSOLE,
    log_level: Annotated[LogLevel, typer.Option(help="From here upwards.")] = LogLevel.WARNING,
    no_color: Annotated[bool, typer.Option("--no-color", help="Plain text.")] = False,
    quiet: Annotated[bool, typer.Option("--quiet", "-q", help="No report, no progress.")] = False,
    verbose: Annotated[
        bool, typer.Option("--verbose", "-v", help="Progress without a terminal, too.")
    ] = False,
    version: Annotated[
        bool, typer.Option("--version", callback=_version, is_eager=True, help="Tell it and end.")
    ] = False,
) -> None:
    """Options that every verb takes, also after its name."""
    del version  # its callback has ended the program
    if ctx.obj is None:
        ctx.obj = Shell(_connect)
    ctx.obj.options = Options(
        config=config,
        select=split(select or ()),
        exclude=split(exclude or ()),
        output=output,
        log_format=log_format,
        log_level=log_level,
        no_color=no_color,
        quiet=quiet,
        verbose=verbose,
    )


@app.command(cls=Verb, epilog="Example: syncd init --accept-schema countries")
def init(
    ctx: typer.Context,
    *,
    accept_schema: Annotated[
        list[str] | None,
        typer.Option(metavar="ENTITY", help="Take its present columns as right; repeat it."),
    ] = None,
) -> None:
    """Make the ledger and missing tables, and pin the columns of both sides."""
    accepted = split(accept_schema or ())

    async def ask(app: App, call: Call) -> Answer:
        for entity in accepted:
            check_entity(entity, list(call.config.entities), "--accept-schema")
        report = await app.init(accept_schema=accepted)
        return Answer(draw.init(report), report)

    ctx.obj.answer(ask)


@app.command(cls=Verb, epilog="Example: syncd validate -c airports/pipeline.yaml")
def validate(ctx: typer.Context) -> None:
    """Check the configuration, both connections, columns and types. Writes nothing."""

    async def ask(app: App, _: Call) -> Answer:
        found = await app.validate()
        return Answer(draw.checks(found), {"checks": found}, exit_codes.of_checks(found))

    ctx.obj.answer(ask)


@app.command(cls=Verb, epilog="Example: syncd plan --samples 5 --select countries")
@app.command("diff", cls=Verb, hidden=True, epilog="Example: syncd diff --exit-code")
def plan(
    ctx: typer.Context,
    *,
    exit_code: CompareOption = False,
    samples: Annotated[
        int, typer.Option(min=0, max=1000, help="Changes to show of each entity.")
    ] = 0,
) -> None:
    """Tell what a run would do, and do nothing. `diff` is another name for it."""

    async def ask(app: App, call: Call) -> Answer:
        report = await app.plan(call.select, samples=samples)
        return answers.of_run(report, call, exit_codes.of_plan(report, compare=exit_code))

    ctx.obj.answer(ask)


@app.command(cls=Verb, epilog="Example: syncd run --output json")
def run(
    ctx: typer.Context,
    *,
    accept_rewind: Annotated[
        bool, typer.Option("--accept-rewind", help="The source went back in time on purpose.")
    ] = False,
) -> None:
    """Do one pass over all entities, or the selected ones, and end."""

    async def ask(app: App, call: Call) -> Answer:
        report = await app.run(call.select, accept_rewind=accept_rewind, progress=call.progress)
        return answers.of_run(report, call, exit_codes.of_run(report))

    ctx.obj.answer(ask)


@app.command(cls=Verb, epilog="Example: syncd serve airports.yaml offices.yaml")
def serve(
    ctx: typer.Context,
    files: Annotated[
        list[Path] | None,
        typer.Argument(metavar="[FILE]...", help="Pipelines; that of --config where none."),
    ] = None,
    *,
    service: Annotated[
        Path | None,
        typer.Option(metavar="FILE", envvar="SYNCD_SERVICE", help="Settings of the process."),
    ] = None,
) -> None:
    """Keep pipelines in step until a signal ends it. SIGHUP: read all files again and run."""
    ctx.obj.serve(_build, files or (), service)


@app.command(cls=Verb, epilog="Example: syncd status --output json")
def status(ctx: typer.Context) -> None:
    """Tell what the ledger knows: lease, last run, and each entity."""

    async def ask(app: App, _: Call) -> Answer:
        report = await app.status()
        return Answer(draw.status(report), report)

    ctx.obj.answer(ask)


@app.command(cls=Verb, epilog="Example: syncd report --markdown")
def report(
    ctx: typer.Context,
    *,
    run: Annotated[
        int | None, typer.Option(metavar="ID", min=1, help="Another run than the last one.")
    ] = None,
    as_markdown: Annotated[
        bool, typer.Option("--markdown", help="A message for a chat instead of a table.")
    ] = False,
    post: Annotated[
        bool, typer.Option("--post", help="Send the message to report.webhook, too.")
    ] = False,
) -> None:
    """Tell what became of the last run: imported, skipped, held and failed, and why."""

    async def ask(app: App, call: Call) -> Answer:
        found = await app.report(run)
        if post:
            await app.post(markdown.morning(found))
        drawn = draw.morning(found, call.options.command)
        if as_markdown:
            drawn = draw.document(markdown.morning(found))
        return Answer(drawn, found)

    ctx.obj.answer(ask)


app.command(cls=Verb, epilog="Example: syncd relay --once")(relaying.relay)


@app.command(cls=Verb, epilog="Example: syncd resync countries --key 17 --key 18")
def resync(
    ctx: typer.Context,
    entities: Annotated[
        list[str] | None, typer.Argument(metavar="[ENTITY]...", help="Entities; all where none.")
    ] = None,
    *,
    key: Annotated[
        list[str] | None,
        typer.Option(metavar="K", help="One record of one entity; commas between its parts."),
    ] = None,
) -> None:
    """Have the next run look again at records, also where the source says unchanged."""
    named = tuple(entities or ())

    async def ask(app: App, call: Call) -> Answer:
        keys = answers.keys(call.config, named, key or ())
        rows = await app.resync(call.select, keys=keys)
        if isinstance(rows, Left):
            return answers.left(rows)
        sentence = f"{rows} records will be looked at again; now: {call.options.command} run"
        return Answer(draw.told(sentence), {"records": rows})

    ctx.obj.answer(ask, named)


@app.command(cls=Verb, epilog="Example: syncd verify --exit-code")
def verify(ctx: typer.Context, *, exit_code: CompareOption = False) -> None:
    """Read both sides in full and compare them. Writes nothing."""

    async def ask(app: App, call: Call) -> Answer:
        report = await app.verify(call.select)
        code = exit_codes.of_verify(report, compare=exit_code)
        return Answer(draw.verify(report), report, code)

    ctx.obj.answer(ask)


@app.command(cls=Verb, epilog="Example: syncd explain countries 17")
def explain(
    ctx: typer.Context,
    entity: EntityArgument,
    key: Annotated[list[str], typer.Argument(metavar="KEY...", help="The parts of its key.")],
) -> None:
    """Tell all about one record: where it stands, both sides' values, and why."""

    async def ask(app: App, call: Call) -> Answer:
        answers.check_key(call.config, entity, key, "KEY")
        report = await app.explain(entity, key)
        return Answer(draw.explain(report), report)

    ctx.obj.answer(ask)


@conflicts_app.command("list", cls=Verb, epilog="Example: syncd conflicts list --status all")
def conflicts_list(
    ctx: typer.Context,
    *,
    status: Annotated[Status, typer.Option(help="Which ones.")] = Status.OPEN,
) -> None:
    """List conflicts."""

    async def ask(app: App, call: Call) -> Answer:
        found = await app.conflicts(call.select, status=status.value)
        return Answer(draw.conflicts(found, call.options.command), {"conflicts": found})

    ctx.obj.answer(ask)


@conflicts_app.command("show", cls=Verb, epilog="Example: syncd conflicts show 3")
def conflicts_show(
    ctx: typer.Context,
    conflict_id: Annotated[int, typer.Argument(metavar="ID", help="From `conflicts list`.")],
) -> None:
    """Show one conflict with what both sides hold now."""

    async def ask(app: App, call: Call) -> Answer:
        view = await app.conflict(conflict_id)
        return Answer(draw.conflict(view, call.options.command), view)

    ctx.obj.answer(ask)


@conflicts_app.command(
    "resolve", cls=Verb, epilog="Example: syncd conflicts resolve 3 4 --take target"
)
def conflicts_resolve(
    ctx: typer.Context,
    conflict_ids: Annotated[list[int], typer.Argument(metavar="ID...", help="One or more.")],
    *,
    take: Annotated[Take, typer.Option(help="Whose value stays.")],
) -> None:
    """Decide conflicts for one side. `source` writes to the target at once."""

    async def ask(app: App, call: Call) -> Answer:
        side: Any = take.value
        found = await app.resolve(conflict_ids, take=side, progress=call.progress)
        if isinstance(found, Left):
            return answers.left(found)
        return Answer(draw.conflicts(found, call.options.command), {"conflicts": found})

    ctx.obj.answer(ask)


@deletes_app.command("list", cls=Verb, epilog="Example: syncd deletes list")
def deletes_list(ctx: typer.Context) -> None:
    """List what is held, why, and the hash that an approval may name."""

    async def ask(app: App, call: Call) -> Answer:
        found = await app.held(call.select)
        return Answer(draw.held(found, call.options.command), {"held": found})

    ctx.obj.answer(ask)


@deletes_app.command(
    "approve", cls=Verb, epilog="Example: syncd deletes approve countries --plan 4f2a90"
)
def deletes_approve(
    ctx: typer.Context, entity: EntityArgument, *, plan: PlanHashOption = None
) -> None:
    """Carry out the held deletes of an entity; never more than were held."""

    async def ask(app: App, call: Call) -> Answer:
        check_entity(entity, list(call.config.entities), "ENTITY")
        report = await app.approve(entity, plan_hash=plan, progress=call.progress)
        if isinstance(report, Left):
            return answers.left(report)
        return answers.of_run(report, call, exit_codes.of_run(report))

    ctx.obj.answer(ask)


@deletes_app.command("reject", cls=Verb, epilog="Example: syncd deletes reject countries")
def deletes_reject(
    ctx: typer.Context, entity: EntityArgument, *, plan: PlanHashOption = None
) -> None:
    """Keep the rows of an entity whose deletes are held."""

    async def ask(app: App, call: Call) -> Answer:
        check_entity(entity, list(call.config.entities), "ENTITY")
        rows = await app.reject(entity, plan_hash=plan)
        return Answer(draw.told(f"{entity}: {rows} rows stay"), {"rejected": rows})

    ctx.obj.answer(ask)


@config_app.command("show", cls=Verb, epilog="Example: syncd config show -c airports/pipeline.yaml")
def config_show(ctx: typer.Context) -> None:
    """Print the configuration in effect as YAML, secrets as ***."""
    config = ctx.obj.load()
    ctx.obj.print(answers.document(config_load.show(config), config_load.shown(config)))


@config_app.command("schema", cls=Verb, epilog="Example: syncd config schema > config.schema.json")
def config_schema(ctx: typer.Context) -> None:
    """Print the JSON Schema of the configuration, for editors."""
    schema = config_load.schema()
    ctx.obj.print(answers.document(schema, json.loads(schema)))


def main() -> None:
    """The program ``syncd``."""
    app(prog_name="syncd")
