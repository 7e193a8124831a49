"""The pages in docs/ and the README, held against the code that they speak of."""

import ast
import asyncio
import itertools
import re
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import asyncpg
import msgspec
import pytest
import typer
from typer.core import TyperGroup, TyperOption

from syncd import config_load
from syncd.app import connect
from syncd.cli.exit_codes import SIGNAL_BASE, Exit
from syncd.cli.main import app
from syncd.config import Config, Secret
from syncd.config_serve import Service
from syncd.flow.merge_tables import COLUMN_RULE, ROW_RULE, Line, RowLine, Step, Verdict
from syncd.flow.model import Counts, Ownership, State
from syncd.jobs.verify import KINDS
from syncd.log_events import EVENTS
from syncd.progress import Silent
from tests.conftest import REPOSITORY

PAGES: Final = (
    REPOSITORY / "README.md",
    REPOSITORY / "CONTRIBUTING.md",
    *sorted((REPOSITORY / "docs").glob("*.md")),
)


def page(name: str) -> str:
    return (REPOSITORY / name).read_text("utf-8")


CONFIGURATION: Final = page("docs/configuration.md")
COMMANDS: Final = page("docs/cli.md")


# -- links -------------------------------------------------------------------------------------


def anchors(text: str) -> set[str]:
    """The anchors of a page's headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.+)$", text, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", h).strip().lower().replace(" ", "-") for h in headings}


@pytest.mark.parametrize("path", PAGES, ids=lambda path: path.name)
def test_every_link_leads_somewhere(path: Path) -> None:
    """A relative link names a file of the repository, and an anchor a heading in it."""
    dead = []
    for link in re.findall(r"\]\(([^)\s]+)\)", path.read_text("utf-8")):
        if link.startswith(("http://", "https://")):
            continue
        name, _, anchor = link.partition("#")
        found = (path.parent / name) if name else path
        if not found.exists() or (anchor and anchor not in anchors(found.read_text("utf-8"))):
            dead.append(link)
    assert dead == []


# -- configuration -----------------------------------------------------------------------------


def structs(kind: type[msgspec.Struct]) -> dict[str, type[msgspec.Struct]]:
    """Every struct that a configuration is made of, but for values of their own."""
    found: dict[str, type[msgspec.Struct]] = {}

    def walk(part: Any) -> None:
        if isinstance(part, msgspec.inspect.StructType) and part.cls is not Secret:
            found[part.cls.__name__] = part.cls
            for field in part.fields:
                walk(field.type)
        for inner in ("types", "item_types"):
            for one in getattr(part, inner, ()):
                walk(one)
        for inner in ("type", "key_type", "value_type", "item_type"):
            one = getattr(part, inner, None)
            if isinstance(one, msgspec.inspect.Type):
                walk(one)

    walk(msgspec.inspect.type_info(kind))
    return found


def told_default(field: msgspec.structs.FieldInfo) -> str:
    """How the page must tell a field's default."""
    if field.required:
        return "required"
    made = field.default_factory is not msgspec.NODEFAULT
    value = field.default_factory() if made else field.default
    if isinstance(value, msgspec.Struct):
        return "as below"
    if value is None or value == "":
        return "none" if value is None else "empty"
    if isinstance(value, float):
        return f"`{value:g}`"
    return f"`{value}`" if isinstance(value, str) else f"`{msgspec.json.encode(value).decode()}`"


def told_fields(struct: str) -> dict[str, str]:
    """Fields and defaults in the page's table of a struct."""
    _, _, after = CONFIGURATION.partition(f"<!-- struct: {struct} -->\n")
    table = after.partition("\n\n")[0]
    rows = re.findall(r"^\| `([^`]+)` \| (.+) \| ([^|]+) \|$", table, re.MULTILINE)
    assert all(len(meaning) > 6 for _, meaning, _ in rows)
    return {name: default for name, _, default in rows}


STRUCTS: Final = structs(Config) | structs(Service)


def test_the_walk_over_the_configuration_finds_all_of_it() -> None:
    """The structs that the next test relies on are those of the module, none is forgotten."""
    from syncd import config, config_serve  # noqa: PLC0415 - looked at as data.

    bases = {"Strict", "Secret", "Settings"}
    known = {
        name
        for module in (config, config_serve)
        for name, kind in vars(module).items()
        if isinstance(kind, type) and kind.__module__ == module.__name__
    }
    assert set(STRUCTS) == known - bases


@pytest.mark.parametrize("struct", sorted(STRUCTS))
def test_every_field_of_the_configuration_is_documented(struct: str) -> None:
    """Each field stands in its struct's table with its present default, and no other does."""
    kind = STRUCTS[struct]
    expected = {f.encode_name: told_default(f) for f in msgspec.structs.fields(kind)}
    if kind.__struct_config__.tag_field:
        expected["kind"] = "required"
    assert told_fields(struct) == expected


def test_every_ownership_is_documented() -> None:
    """The table of ownership has a line for each value."""
    table = CONFIGURATION.partition("### entities.NAME.ownership.COLUMN")[2].partition("###")[0]
    assert set(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == {*map(str, Ownership)}


def test_the_example_of_the_configuration_loads(tmp_path: Path) -> None:
    """The YAML at the top of the page is a configuration."""
    example = re.search(r"```yaml\n(.*?)```", CONFIGURATION, re.DOTALL)
    assert example is not None
    (tmp_path / "pipeline.yaml").write_text(example[1], "utf-8")
    (tmp_path / "hash_key.txt").write_text("0123456789abcdef", "utf-8")
    environ = {"LEGACY_DSN": "postgresql://a@b/c", "CASEWORK_DSN": "postgresql://a@b/d"}
    config = config_load.load(tmp_path / "pipeline.yaml", environ)
    assert config.entities["referrals"].groups == (("starts_on", "ends_on"),)


def test_the_transform_of_the_configuration_runs() -> None:
    """The Python on the page is a transform as it is described."""
    example = re.search(r"```python\n(.*?)```", CONFIGURATION, re.DOTALL)
    assert example is not None
    made: dict[str, Any] = {}
    exec(example[1], made)  # noqa: S102 - our own page.
    assert made["transform"]({"kind": "test"}).reason == "test record"
    assert made["transform"]({"kind": "x", "id": 1, "name": "ada"}) == {"id": 1, "name": "Ada"}


# -- command line ------------------------------------------------------------------------------


def verbs(command: Any, path: str = "syncd") -> Iterator[tuple[str, Any]]:
    """Every verb that is shown in the help, with its name in full."""
    if isinstance(command, TyperGroup):
        for name, inner in command.commands.items():
            if not inner.hidden:
                yield from verbs(inner, f"{path} {name}")
    else:
        yield path, command


ROOT: Final[Any] = typer.main.get_command(app)
VERBS: Final = dict(verbs(ROOT))


def section(name: str) -> str:
    """The section of one verb."""
    return COMMANDS.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_every_verb_is_documented() -> None:
    """The headings of the page are the verbs, no more and no fewer."""
    assert set(re.findall(r"^## (syncd .+)$", COMMANDS, re.MULTILINE)) == set(VERBS)


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_option_of_a_verb_is_documented(verb: str) -> None:
    """Each option of its own stands in the verb's section, and no other does."""
    own = {
        option
        for parameter in VERBS[verb].params
        if isinstance(parameter, TyperOption)
        for option in parameter.opts
    }
    found = set(re.findall(r"^\| `(--[\w-]+)", section(verb), re.MULTILINE))
    assert found == own
    assert len(section(verb)) > 40


def test_every_shared_option_is_documented() -> None:
    """The options of the root stand in the first table."""
    table = section("Options that every verb takes")
    told = set(re.findall(r"`(-{1,2}[\w-]+)", table))
    known = {o for p in ROOT.params if isinstance(p, TyperOption) for o in p.opts}
    assert told == known | {"--help"}


def test_every_exit_code_is_documented() -> None:
    """The table of exit codes is that of the code, with both signals."""
    found = {int(n) for n in re.findall(r"^\| (\d+) \|", section("Exit codes"), re.MULTILINE)}
    assert found == {*map(int, Exit), SIGNAL_BASE + 2, SIGNAL_BASE + 15}


def test_every_outcome_is_documented() -> None:
    """Every number of a run's JSON is in the example and explained."""
    example = re.search(r"```json\n(.*?)```", section("syncd run"), re.DOTALL)
    assert example is not None
    shown = msgspec.json.decode(example[1])["entities"]["offices"]
    assert tuple(shown) == Counts.__struct_fields__
    table = section("syncd run").partition("| outcome |")[2]
    told = {
        name
        for row in re.findall(r"^\| (`.+?`) \|", table, re.MULTILINE)
        for name in re.findall(r"\w+", row)
    }
    assert told == {*Counts.__struct_fields__} - {"seen"}


def test_every_kind_of_verify_is_documented() -> None:
    """The table of verify has a line for each kind that it counts."""
    table = section("syncd verify").partition("| kind |")[2]
    assert tuple(re.findall(r"^\| `(\w+)` \|", table, re.MULTILINE)) == KINDS


# -- the merge rule ----------------------------------------------------------------------------

MERGE: Final = page("docs/merge.md")


def table_rows(text: str, header: str) -> list[list[str]]:
    """The cells of a table, below its header and the line under it."""
    lines = text.partition(f"{header}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]


def test_the_column_rule_on_the_page_is_that_of_the_code() -> None:
    """All eight lines, with what is written, both bases and the report."""
    rows = table_rows(MERGE, "| tc | sc | s = t | write s | bt | bs | report |")
    told = {
        (tc == "1", sc == "1", same == "1"): Line(Verdict(report), write == "yes", bt, bs)  # type: ignore[arg-type]
        for tc, sc, same, write, bt, bs, report in rows
    }
    assert len(rows) == 8
    assert told == COLUMN_RULE


def test_the_row_rule_on_the_page_is_that_of_the_code() -> None:
    """Every state, with every combination of both sides, and no line beside them."""
    meant = {"present": (True,), "absent": (False,), "yes": (True,), "no": (False,)}
    told = {}
    for state, *sides, step, following in table_rows(
        MERGE, "| state | source | target | edited | action | next state |"
    ):
        for key in itertools.product(*(meant.get(side, (False, True)) for side in sides)):
            assert (State(state), *key) not in told
            told[State(state), *key] = RowLine(Step(step), State(following))
    assert told == ROW_RULE


def test_every_action_of_the_row_rule_is_explained() -> None:
    """The table of actions has a line for each."""
    assert {row[0] for row in table_rows(MERGE, "| action | means |")} == {*map(str, Step)}


def test_every_test_that_a_page_names_exists() -> None:
    """A named test is a function of the named file."""
    named = re.findall(r"`(tests/[\w/]+\.py)::(\w+)`", "".join(p.read_text() for p in PAGES))
    named += [
        ("tests/flow/test_merge_examples.py", name)
        for name in re.findall(r"`(test_example_\w+)`", MERGE)
    ]
    assert len(named) > 20
    lacking = [(f, n) for f, n in named if f"def {n}(" not in page(f)]
    assert lacking == []


def test_every_worked_example_is_on_the_page() -> None:
    """Each test of a worked example is named, so none is forgotten."""
    known = re.findall(r"def (test_example_\w+)", page("tests/flow/test_merge_examples.py"))
    assert sorted(known) == sorted(re.findall(r"`(test_example_\w+)`", MERGE))


# -- the ledger --------------------------------------------------------------------------------

LEDGER: Final = page("docs/ledger.md")
MIGRATIONS: Final = "\n".join(
    path.read_text("utf-8") for path in sorted((REPOSITORY / "schemas/ledger").glob("*.sql"))
)


def test_every_table_of_the_ledger_is_documented() -> None:
    """The first column of the table of tables names what the migrations make."""
    made = set(re.findall(r"CREATE TABLE (\w+)", MIGRATIONS)) | {"syncd_migration"}
    assert {row[0].strip("`") for row in table_rows(LEDGER, "| table | holds | kept |")} == made


def test_the_queries_of_the_ledger_run(pg_dsn: str, tmp_path: Path) -> None:
    """Each query on the page is valid on a ledger that has worked."""
    (tmp_path / "a.csv").write_text("id,name\n1,x\n", "utf-8")
    (tmp_path / "pipeline.yaml").write_text(
        "pipeline: casework\n"
        "source: {kind: files, path: .}\n"
        'target: {kind: postgres, dsn: "${DSN}"}\n'
        "entities: {referrals: {from: a.csv, key: [id], into: a, columns: {id: integer}}}\n",
        "utf-8",
    )
    config = config_load.load(tmp_path / "pipeline.yaml", {"DSN": pg_dsn})
    queries = re.findall(r"```sql\n(.*?)```", LEDGER, re.DOTALL)
    assert len(queries) >= 6

    async def work() -> None:
        async with connect(config) as app:
            await app.init()
            await app.run(None, accept_rewind=False, progress=Silent())
        connection = await asyncpg.connect(pg_dsn)
        try:
            for query in queries:
                await connection.execute(query)
        finally:
            await connection.close()

    asyncio.run(work())


# -- events of the log -------------------------------------------------------------------------

_TELLING: Final = {"debug", "info", "warning", "error", "exception"}
# Told by the last step itself, not through a ``Log``.
_BY_THE_LOGS: Final = {"library_message", "log_lines_dropped", "event_without_a_code"}


def told_events(text: str) -> Iterator[str]:
    """The events that a module tells: the first argument of a call such as ``_log.info``."""
    for node in ast.walk(ast.parse(text)):
        if (
            isinstance(node, ast.Call)
            and isinstance(node.func, ast.Attribute)
            and node.func.attr in _TELLING
            and isinstance(node.func.value, ast.Name | ast.Attribute)
            and ast.unparse(node.func.value).endswith("_log")
        ):
            first = node.args[0]
            yield str(first.value) if isinstance(first, ast.Constant) else ast.unparse(first)


def test_every_event_that_is_told_is_on_the_list_and_the_list_has_no_other() -> None:
    """Add a new event to syncd/log_events.py and to docs/logs.md, with what it tells."""
    found = {
        event
        for path in (REPOSITORY / "syncd").rglob("*.py")
        for event in told_events(path.read_text("utf-8"))
    }
    assert sorted(found | _BY_THE_LOGS) == sorted(EVENTS)


@pytest.mark.parametrize(
    ("text", "event"),
    [
        ("_log.info('run_paused', run_id=1)", "run_paused"),
        ("self._log.error(name)", "name"),
        ("_log.exception(f'{x}')", "f'{x}'"),
    ],
)
def test_a_planted_event_is_seen(text: str, event: str) -> None:
    """Whatever stands where a name should is told, so that a composed one fails the test above."""
    assert list(told_events(text)) == [event]


def test_every_event_is_documented_as_it_is() -> None:
    """Each line of the table is one of the list, in its order."""
    lines = re.findall(r"^\| `(\w+)` \| (.+) \|$", page("docs/logs.md"), re.MULTILINE)
    assert lines == [*EVENTS.items()]
