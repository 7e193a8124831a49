"""How a command starts: quickly, since a quiet run is little else, and no differently for it."""

import json
import subprocess
import sys
from pathlib import Path
from typing import Any, Final

import pytest
from typer.testing import CliRunner

from syncd.cli import options
from syncd.cli.main import app
from syncd.cli.shell import Shell
from tests.cli.fake_app import Syncd

# Each takes 2 to 60 ms, and a run that prints JSON about plain files needs none of them.
HEAVY: Final = (
    *("prometheus_client", "pydantic", "pygments", "rich"),
    *("tarfile", "zipfile", "zstandard"),
    *("syncd.cli.bars", "syncd.sources.archives", "syncd.sources.json_records"),
)
# The target cannot be reached, so the run ends when everything is imported and nothing is done.
STARTED: Final = """
import gc, json, sys
from syncd.__main__ import main
sys.argv = ["syncd", *sys.argv[1:]]
try:
    main()
except SystemExit as end:
    import syncd.sources.files
    facts = [sorted(sys.modules), end.code, gc.isenabled(), gc.get_freeze_count()]
    print(json.dumps(facts))
"""
NOWHERE: Final = """
pipeline: airports
source: {kind: files, path: ., format: csv}
target: {kind: postgres, dsn: "postgresql://nobody@127.0.0.1:1/new"}
entities: {countries: {from: countries.csv, key: [id], into: public.countries}}
"""


def started(folder: Path, *words: str) -> tuple[set[str], int, bool, int]:
    (folder / "pipeline.yaml").write_text(NOWHERE)
    program = [sys.executable, "-c", STARTED, *words]
    ran = subprocess.run(program, cwd=folder, check=True, capture_output=True, text=True)
    modules, code, is_enabled, frozen = json.loads(ran.stdout)
    return set(modules), code, is_enabled, frozen


def test_a_run_imports_nothing_heavy_that_it_does_not_use(tmp_path: Path) -> None:
    """The driver is there, and no drawing, metrics, models of options or unpacking."""
    modules, code, is_enabled, frozen = started(tmp_path, "run", "--output", "json")
    assert code == 1
    assert {"asyncpg", "syncd.app", "syncd.sources.files"} <= modules
    assert sorted(modules & set(HEAVY)) == []
    assert is_enabled, "a run makes garbage, and somebody must collect it"
    assert frozen > 0


def test_every_heavy_module_exists() -> None:
    """A name that is misspelt would never be found imported."""
    found = "import importlib.util, sys; sys.exit(not importlib.util.find_spec(sys.argv[1]))"
    for name in HEAVY:
        subprocess.run([sys.executable, "-c", found, name], check=True)


@pytest.mark.parametrize(
    "words",
    [
        ["run"],
        ["--output", "json", "run"],
        ["run", "-c", "pipeline.yaml", "--output", "json", "--log-level", "debug"],
        ["-c", "airports/pipeline.yaml", "run", "-q", "--select", "countries,airports"],
        ["run", "--select", "countries", "--exclude", "x", "--log-format", "json", "-v"],
        ["run", "--output", "xml"],
        ["run", "--output", "JSON"],
        ["run", "-c", "missing.yaml"],
        ["run", "-c", ""],
        ["run", "--no-color", "--accept-rewind"],
        ["plan", "--samples", "3"],
        ["plan", "--samples", "-1"],
        ["plan", "--samples", "x"],
        ["deletes", "approve", "countries", "--plan", "4f"],
        ["deletes", "approve"],
        ["conflicts", "resolve", "3", "4", "--take", "target"],
        ["conflicts", "resolve", "x", "--take", "target"],
        ["conflicts", "resolve", "3", "--take", "both"],
        ["conflicts", "resolve", "3"],
        ["resync", "countries", "--key", "1", "--key", "2"],
        ["resync"],
        ["init", "--accept-schema", "countries"],
        ["explain", "countries", "17"],
        ["--version"],
        ["run", "--help"],
        ["--help"],
    ],
    ids=" ".join,
)
def test_a_quick_option_means_what_it_means_to_typer(
    words: list[str], syncd: Syncd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Options, output, messages and code are those that Typer's own conversion gives."""
    del syncd  # its fixture has prepared the folder
    quick = outcome(words)
    monkeypatch.setattr(options, "_quick", lambda params: params)
    assert quick == outcome(words)


def outcome(words: list[str]) -> tuple[Any, ...]:
    """What a command line came to: the shell is asked for its options and opens nothing."""
    seen: list[Any] = []

    def connect(_: Any) -> Any:
        seen.append(shell.options)
        raise RuntimeError

    shell = Shell(connect, {})
    ran = CliRunner().invoke(app, words, obj=shell)
    told = ran.stderr.split(" at ")[0]  # the place in our own code is no part of it
    return ran.exit_code, ran.stdout, told, seen, shell.options
