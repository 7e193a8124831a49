"""The house rules that a reader relies on, read from the code itself.

Who may import whom::

    cli -> app -> daemon, admin, jobs -> sources | targets | ledger | inbox | publish | systems
        -> flow -> errors

Each top-level name of ``syncd`` stands once in ``MAY_IMPORT``; a new one must be given its place
there. Every rule is also shown to fail on a planted module, so that silence means something.
"""

import ast
import sys
from collections.abc import Callable, Iterator
from functools import lru_cache
from pathlib import Path
from typing import Final

import pytest
from msgspec import Struct

PACKAGE: Final = Path(__file__).resolve().parent.parent / "syncd"

FILE_LINES_MAX: Final = 500
FUNCTION_LINES_MAX: Final = 70
BROAD_EXCEPTS_MAX: Final = 2

# What any module above flow may use: it knows of no system and no driver.
SUPPORT: Final = {
    *("errors", "failpoints", "flow", "logs", "meter", "metrics", "progress", "retry"),
    *("rotation", "schemas_path", "secrets", "visible"),
}
SHORES: Final = {"sources", "targets", "ledger", "inbox", "publish"}
BELOW_APP: Final = (
    SUPPORT
    | SHORES
    | {"systems", "reports", "pg", "planning", "site", "tenure", "thrift", "vitals"}
)
BELOW_CLI: Final = BELOW_APP | {
    "daemon",
    "admin",
    "jobs",
    "config",
    "config_load",
    "config_serve",
    "metrics_listener",
}

MAY_IMPORT: Final[dict[str, set[str]]] = {
    "": set(),
    "__main__": {"cli"},
    "cli": BELOW_CLI | {"", "app", "app_serve", "embedded"},
    "app": BELOW_CLI | {""},
    "app_serve": BELOW_CLI | {"", "app_http"},
    "app_http": BELOW_CLI,
    "daemon": BELOW_APP | {"", "config", "config_serve"},
    "jobs": BELOW_APP | {"", "config"},
    "admin": BELOW_APP | {"", "config", "config_serve"},
    "sources": SUPPORT | {"config", "pg"},
    "targets": SUPPORT | {"config", "pg"},
    "ledger": SUPPORT | {"config", "pg", "reports"},
    "inbox": SUPPORT,
    "publish": SUPPORT | {"cloud", "config", "pg"},
    "systems": {"errors", "flow"},
    "cloud": {"errors"},
    "pg": {"errors", "failpoints", "flow", "rotation"},
    # Configuration and schemas to plans; a site is all of one pipeline's objects, for the jobs.
    "planning": {"config", "errors", "flow"},
    "site": SUPPORT | SHORES | {"config", "pg", "planning"},
    "config": {"errors", "flow"},
    "config_serve": {"config"},
    "config_load": {
        "cloud",
        "logs",
        "config",
        "config_serve",
        "errors",
        "flow",
        "schemas_path",
        "secrets",
        "visible",
    },
    "reports": {"errors", "flow", "visible"},
    "retry": {"errors", "flow", "logs", "metrics"},
    "logs": {"", "errors", "flow", "log_writer", "secrets", "visible"},
    "log_events": set(),
    "log_writer": set(),
    "meter": {"flow", "progress"},
    "metric_names": {"flow", "meter"},
    "metrics": {"", "errors", "flow", "meter", "metric_names", "vital_samples", "vitals"},
    "metrics_listener": {"errors", "metrics"},
    "vital_samples": {"meter", "vitals"},
    "progress": set(),
    "vitals": {"reports"},
    "tenure": {"errors", "failpoints", "flow", "ledger", "logs", "meter"},
    "secrets": {"config", "errors", "visible"},
    "rotation": {"errors"},
    "thrift": set(),
    "visible": set(),
    "schemas_path": {"errors"},
    "embedded": {"errors", "unprivileged"},
    "unprivileged": {"errors"},
    "flow": {"errors", "failpoints", "progress"},
    "failpoints": {"errors"},
    "errors": set(),
}

# The files of flow that wait on streams; all others, and systems, compute only.
WAITING_FILES: Final = {"syncd.flow.entity_pass", "syncd.flow.pipeline", "syncd.flow.survey"}
PURE_PARTS: Final = {"flow", "systems"}
PURE_THIRD_PARTY: Final = {"cryptography", "msgspec"}  # neither waits, reads or writes
WAITING_THIRD_PARTY: Final = {"msgspec", "anyio"}
IMPURE_STANDARD: Final = {
    *("asyncio", "concurrent", "glob", "http", "logging", "multiprocessing", "os", "pathlib"),
    *("random", "secrets", "selectors", "shutil", "signal", "socket", "sqlite3", "ssl"),
    *("subprocess", "tempfile", "threading", "urllib"),
}
# Time, ids and files are arguments of a pure function.
IMPURE_CALLS: Final = {
    *("open", "print", "input", "time.sleep", "time.time", "time.monotonic", "time.perf_counter"),
    *("datetime.now", "datetime.utcnow", "datetime.datetime.now", "datetime.date.today"),
    *("date.today", "uuid.uuid1", "uuid.uuid4", "uuid4"),
}

DRIVERS: Final = {
    *("aiobotocore", "aiohttp", "aioodbc", "asyncpg", "boto3", "botocore", "ijson", "pyodbc"),
    "zstandard",
}
MAY_USE_DRIVERS: Final = SHORES | {"admin", "cloud", "pg"}
PG_THIRD_PARTY: Final = {"anyio", "asyncpg"}

# The composition root and its verbs may hold the whole configuration; others name what they need.
HOLD_CONFIGURATION: Final = {"app", "cli", "config_load"}


class Module(Struct, frozen=True):
    """One file: its dotted name, its text and what the text means."""

    name: str
    text: str
    tree: ast.Module

    @property
    def part(self) -> str:
        """The first name below ``syncd``; empty for the package itself."""
        return part_of(self.name)

    @property
    def pure(self) -> bool:
        return self.part in PURE_PARTS and self.name not in WAITING_FILES


def module(name: str, text: str) -> Module:
    return Module(name, text, ast.parse(text, filename=name))


@lru_cache(maxsize=1)
def package() -> list[Module]:
    found = []
    for path in sorted(PACKAGE.rglob("*.py")):
        parts = path.relative_to(PACKAGE.parent).with_suffix("").parts
        name = ".".join(parts[:-1] if parts[-1] == "__init__" else parts)
        found.append(module(name, path.read_text(encoding="utf-8")))
    return found


def part_of(name: str) -> str:
    part = name.split(".")[1] if "." in name else ""
    # Reading the configuration takes several files, and they are one part; its structs are not.
    reads = part.startswith("config_") and part != "config_serve"
    return "config_load" if reads else part


def imports(module: Module) -> Iterator[str]:
    """Every imported name in full: ``from syncd import config`` is ``syncd.config``."""
    for node in ast.walk(module.tree):
        if isinstance(node, ast.Import):
            yield from (alias.name for alias in node.names)
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            assert node.module is not None
            # A constant of the package itself is no module of it.
            yield from (
                f"{node.module}.{alias.name}"
                if node.module != "syncd" or not alias.name.startswith("__")
                else "syncd"
                for alias in node.names
            )


def own_parts(module: Module) -> set[str]:
    return {part_of(name) for name in imports(module) if name.split(".")[0] == "syncd"}


def outside(module: Module) -> set[str]:
    return {name.split(".")[0] for name in imports(module)} - {"syncd"}


def dotted(node: ast.expr) -> str:
    return ast.unparse(node) if isinstance(node, ast.Name | ast.Attribute) else ""


def is_standard(name: str) -> bool:
    return name in sys.stdlib_module_names


# One rule each: the complaints about one module, empty when it keeps the rule.


def has_a_place(module: Module) -> list[str]:
    return [] if module.part in MAY_IMPORT else [f"{module.part!r} has no place in MAY_IMPORT"]


def imports_downwards(module: Module) -> list[str]:
    allowed = MAY_IMPORT.get(module.part, set()) | {module.part}
    if module.name in WAITING_FILES:
        allowed = allowed | {"logs", "metrics"}
    return [f"imports syncd.{part}" for part in sorted(own_parts(module) - allowed)]


def imports_by_path(module: Module) -> list[str]:
    return [
        f"line {node.lineno}: relative import"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ImportFrom) and node.level > 0
    ]


def keeps_drivers_at_the_shore(module: Module) -> list[str]:
    if module.part in MAY_USE_DRIVERS:
        return []
    return [f"imports the driver {name}" for name in sorted(outside(module) & DRIVERS)]


def keeps_the_dialect_small(module: Module) -> list[str]:
    if module.part != "pg":
        return []
    strangers = {name for name in outside(module) if not is_standard(name)} - PG_THIRD_PARTY
    return [f"imports {name}" for name in sorted(strangers)]


def keeps_flow_pure(module: Module) -> list[str]:
    if not module.pure:
        return []
    used = outside(module)
    strangers = {name for name in used if not is_standard(name)} - PURE_THIRD_PARTY
    impure = [f"imports {name}" for name in sorted(strangers | (used & IMPURE_STANDARD))]
    taken = [f"imports {name}" for name in imports(module) if name in IMPURE_CALLS]
    called = [
        f"line {node.lineno}: calls {dotted(node.func)}"
        for node in ast.walk(module.tree)
        if isinstance(node, ast.Call) and dotted(node.func) in IMPURE_CALLS
    ]
    return impure + taken + called


def waits_with_anyio_only(module: Module) -> list[str]:
    if module.name not in WAITING_FILES:
        return []
    strangers = {name for name in outside(module) if not is_standard(name)} - WAITING_THIRD_PARTY
    return [f"imports {name}" for name in sorted(strangers | (outside(module) & {"asyncio"}))]


def names_what_it_needs_of_the_configuration(module: Module) -> list[str]:
    if module.part in HOLD_CONFIGURATION:
        return []
    return [
        f"imports {name} as a whole"
        for name in imports(module)
        if name in {"syncd.config", "syncd.config.*"}
    ]


def fits_a_file(module: Module) -> list[str]:
    lines = len(module.text.splitlines())
    return [] if lines <= FILE_LINES_MAX else [f"{lines} lines, at most {FILE_LINES_MAX}"]


def fits_a_screen(module: Module) -> list[str]:
    functions = (
        node
        for node in ast.walk(module.tree)
        if isinstance(node, ast.FunctionDef | ast.AsyncFunctionDef)
    )
    return [
        f"{function.name} has {function_lines(function)} lines, at most {FUNCTION_LINES_MAX}"
        for function in functions
        if function_lines(function) > FUNCTION_LINES_MAX
    ]


def starts_no_stray_task(module: Module) -> list[str]:
    stray = {f"asyncio.{name}" for name in ("create_task", "ensure_future")}
    called = {dotted(node) for node in ast.walk(module.tree) if isinstance(node, ast.Attribute)}
    return [f"uses {name}" for name in sorted(stray & (called | set(imports(module))))]


def function_lines(function: ast.FunctionDef | ast.AsyncFunctionDef) -> int:
    """The lines of a function without its docstring."""
    assert function.end_lineno is not None
    lines = function.end_lineno - function.lineno + 1
    if ast.get_docstring(function, clean=False) is not None:
        docstring = function.body[0]
        assert docstring.end_lineno is not None
        lines -= docstring.end_lineno - docstring.lineno + 1
    return lines


def broad_excepts(modules: list[Module]) -> list[str]:
    """Where everything is caught: ``except:``, ``except Exception``, alone or in a tuple.

    A handler that only tidies up and raises again counts too: that is what exit stacks are for.
    """
    return [
        f"{module.name} line {node.lineno}"
        for module in modules
        for node in ast.walk(module.tree)
        if isinstance(node, ast.ExceptHandler) and is_broad(node.type)
    ]


def is_broad(caught: ast.expr | None) -> bool:
    if caught is None:
        return True
    kinds = caught.elts if isinstance(caught, ast.Tuple) else [caught]
    return any(dotted(kind) in {"Exception", "BaseException"} for kind in kinds)


Rule = Callable[[Module], list[str]]
RULES: Final[list[Rule]] = [
    has_a_place,
    imports_downwards,
    imports_by_path,
    keeps_drivers_at_the_shore,
    keeps_the_dialect_small,
    keeps_flow_pure,
    waits_with_anyio_only,
    names_what_it_needs_of_the_configuration,
    fits_a_file,
    fits_a_screen,
    starts_no_stray_task,
]

LONG_FUNCTION: Final = "def long():\n" + "    a = 1\n" * FUNCTION_LINES_MAX
DOCUMENTED: Final = 'def short():\n    """Long.\n' + "\n" * 100 + '    """\n' + "    a = 1\n" * 69

BROKEN: Final[list[tuple[Rule, str, str]]] = [
    (imports_downwards, "syncd.config_yaml", "from syncd.sources import files"),
    (has_a_place, "syncd.utils", ""),
    (imports_downwards, "syncd.flow.model", "from syncd.metrics import ROWS"),
    (imports_downwards, "syncd.flow.pipeline", "from syncd.ledger.postgres import Ledger"),
    (imports_downwards, "syncd.sources.postgres", "from syncd.targets import postgres"),
    (imports_downwards, "syncd.inbox.sqs", "import syncd.publish.outbox"),
    (imports_downwards, "syncd.targets.http", "from syncd.ledger.sqlite import open_ledger"),
    (imports_downwards, "syncd.inbox.sqs", "from syncd.config import SqsInbox"),
    (imports_downwards, "syncd.daemon", "from syncd import app"),
    (imports_downwards, "syncd.jobs.verify", "def late():\n    from syncd.cli import main"),
    (imports_downwards, "syncd.systems.visits", "from syncd.pg.dialect import ident"),
    (imports_downwards, "syncd.admin.http", "from syncd.daemon import Daemon"),
    (imports_by_path, "syncd.flow.diff", "from . import model"),
    (imports_by_path, "syncd.flow.diff", "from .model import Row"),
    (keeps_drivers_at_the_shore, "syncd.jobs.export", "import zstandard"),
    (keeps_drivers_at_the_shore, "syncd.app", "def late():\n    import asyncpg"),
    (keeps_drivers_at_the_shore, "syncd.embedded", "from aiohttp.web import Application"),
    (keeps_the_dialect_small, "syncd.pg.connect", "import httpx"),
    (keeps_flow_pure, "syncd.flow.diff", "import asyncio"),
    (keeps_flow_pure, "syncd.flow.diff", "import os.path"),
    (keeps_flow_pure, "syncd.flow.diff", "from anyio import sleep"),
    (keeps_flow_pure, "syncd.flow.ports", "import tenacity"),
    (keeps_flow_pure, "syncd.flow.diff", "import time\ntime.sleep(1)"),
    (keeps_flow_pure, "syncd.flow.diff", "from time import sleep"),
    (keeps_flow_pure, "syncd.flow.guard", "from datetime import datetime\ndatetime.now()"),
    (keeps_flow_pure, "syncd.systems.visits.keys", "open('x')"),
    (waits_with_anyio_only, "syncd.flow.pipeline", "import asyncio"),
    (waits_with_anyio_only, "syncd.flow.survey", "import tenacity"),
    (names_what_it_needs_of_the_configuration, "syncd.daemon", "from syncd import config"),
    (names_what_it_needs_of_the_configuration, "syncd.sources.x", "import syncd.config"),
    (names_what_it_needs_of_the_configuration, "syncd.jobs.x", "from syncd.config import *"),
    (fits_a_file, "syncd.flow.diff", "a = 1\n" * (FILE_LINES_MAX + 1)),
    (fits_a_screen, "syncd.flow.diff", LONG_FUNCTION),
    (fits_a_screen, "syncd.flow.diff", f"async {LONG_FUNCTION}"),
    (starts_no_stray_task, "syncd.daemon", "import asyncio\nasyncio.create_task(f())"),
    (starts_no_stray_task, "syncd.daemon", "from asyncio import ensure_future"),
]

SOUND: Final[list[tuple[str, str]]] = [
    ("syncd.flow.pipeline", "import anyio\nfrom syncd import logs, metrics"),
    ("syncd.flow.normalise", "import datetime\nimport re\nimport msgspec\nimport time\n"),
    ("syncd.pg.connect", "import ssl\nimport asyncpg\nfrom syncd.errors import ConfigError"),
    ("syncd.sources.files", "import ijson\nfrom syncd.config import FilesSource"),
    ("syncd.cli.main", "from syncd import __version__, config\nfrom syncd.app import build"),
    ("syncd.daemon", "async def run(group):\n    group.create_task(f())"),
    ("syncd.flow.diff", DOCUMENTED),
    ("syncd.flow.diff", "a = 1\n" * FILE_LINES_MAX),
]


@pytest.mark.parametrize("rule", RULES, ids=lambda rule: rule.__name__)
def test_every_module_keeps_the_rule(rule: Rule) -> None:
    broken = [f"{module.name}: {complaint}" for module in package() for complaint in rule(module)]
    assert broken == []


def test_everything_is_caught_in_two_places_at_most() -> None:
    places = broad_excepts(package())
    assert len(places) <= BROAD_EXCEPTS_MAX, places


@pytest.mark.parametrize(("rule", "name", "text"), BROKEN)
def test_a_planted_breach_is_caught(rule: Rule, name: str, text: str) -> None:
    assert rule(module(name, text)) != []


def test_every_rule_has_a_planted_breach() -> None:
    assert {rule for rule, _, _ in BROKEN} == set(RULES)


@pytest.mark.parametrize(("name", "text"), SOUND)
def test_a_sound_module_is_left_alone(name: str, text: str) -> None:
    assert [complaint for rule in RULES for complaint in rule(module(name, text))] == []


@pytest.mark.parametrize(
    "handler",
    ["except:", "except Exception:", "except BaseException as e:", "except (OSError, Exception):"],
)
def test_a_planted_broad_except_is_counted(handler: str) -> None:
    planted = module("syncd.jobs.x", f"try:\n    f()\n{handler}\n    g()\n    raise\n")
    assert broad_excepts([planted]) == ["syncd.jobs.x line 3"]


def test_a_narrow_except_is_not_counted() -> None:
    planted = module("syncd.jobs.x", "try:\n    f()\nexcept (OSError, KeyError):\n    pass\n")
    assert broad_excepts([planted]) == []


def test_the_map_of_imports_has_no_cycle() -> None:
    seen: set[str] = set()
    waiting = dict(MAY_IMPORT)
    while ready := [part for part, needs in waiting.items() if needs - {part} <= seen]:
        seen.update(ready)
        for part in ready:
            del waiting[part]
    assert waiting == {}
