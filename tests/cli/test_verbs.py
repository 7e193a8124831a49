"""Each verb asks the application one thing, and prints what it is told."""

import json
import os
import re
import shlex
import signal
import subprocess
import sys
from typing import Any, Final

import anyio
import anyio.lowlevel
import pytest
import typer.main

from syncd import __version__, config_load, errors
from syncd.cli import main
from syncd.flow.model import Counts, Outcome
from syncd.reports import Check, EntityReport, RunReport
from tests.cli.fake_app import Syncd

# The verbs of the contract that this version has.
VERBS: Final = {
    "init", "validate", "plan", "diff", "run", "serve", "status", "report", "relay", "resync",
    "verify", "explain",
    "conflicts list", "conflicts show", "conflicts resolve",
    "lookup load", "dlq list", "dlq show", "dlq replay",
    "deletes list", "deletes approve", "deletes reject", "config show",
    "config schema",
}  # fmt: skip
DAEMON: Final = {"serve"}  # ends by a signal and answers nothing; tests/daemon has its tests
GLOBALS: Final = (
    "--config", "-c", "--select", "--exclude", "--output", "--log-format", "--log-level",
    "--no-color", "--quiet", "-q", "--verbose", "-v",
)  # fmt: skip


def commands(group: Any, prefix: str = "") -> dict[str, Any]:
    """Every leaf command by its full name."""
    found: dict[str, Any] = {}
    for name, command in group.commands.items():
        full = f"{prefix} {name}".strip()
        found |= commands(command, full) if hasattr(command, "commands") else {full: command}
    return found


COMMANDS: Final = commands(typer.main.get_command(main.app))


def test_the_verbs_are_those_of_the_contract() -> None:
    """No verb is missing and none is undocumented."""
    assert set(COMMANDS) == VERBS


@pytest.mark.parametrize("verb", sorted(VERBS))
def test_every_verb_is_explained(syncd: Syncd, verb: str) -> None:
    """The help of each verb has a sentence, an example of it, and the options of every verb."""
    shown = syncd(*verb.split(), "--help")
    assert shown.exit_code == 0
    assert COMMANDS[verb].help.strip().endswith(".")
    assert f"Example: syncd {verb}" in " ".join(shown.stdout.split())
    assert all(option in shown.stdout for option in GLOBALS)


@pytest.mark.parametrize("verb", sorted(VERBS - DAEMON))
def test_every_example_can_be_typed(syncd: Syncd, verb: str) -> None:
    """The example in the help of each verb is accepted as it stands."""
    example = COMMANDS[verb].epilog.removeprefix("Example: syncd ").split(">")[0]
    result = syncd(*shlex.split(example))
    assert result.exit_code == 0, result.output
    assert result.stdout


def test_the_help_lists_every_verb_and_exit_code(syncd: Syncd) -> None:
    """The first page names the verbs and all exit codes."""
    shown = syncd("--help").stdout
    tops = {verb.split()[0] for verb in VERBS} - {"diff"}
    assert all(re.search(rf"^  {verb} ", shown, re.MULTILINE) for verb in tops)
    assert set(re.findall(r"\d+", shown)) == {"0", "1", "2", "3", "4", "5", "6", "130", "143"}


@pytest.mark.parametrize(
    ("line", "asked"),
    [
        ("init --accept-schema countries,regions", ("init", ("countries", "regions"))),
        ("validate", ("validate",)),
        ("plan", ("plan", None, 0)),
        ("diff --samples 3 --select regions", ("plan", {"regions"}, 3)),
        ("run", ("run", None, False)),
        ("run --accept-rewind --exclude regions", ("run", {"countries"}, True)),
        ("--select countries run --select regions", ("run", {"countries", "regions"}, False)),
        ("run --select countries,regions --exclude regions", ("run", {"countries"}, False)),
        ("status", ("status",)),
        ("dlq list --select regions", ("parked_groups", {"regions"})),
        ("dlq show countries --outcome failed", ("parked", "countries", "failed", "")),
        ("dlq replay", ("replay", None, "", "")),
        ("dlq replay regions --reason x", ("replay", {"regions"}, "", "x")),
        ("report", ("report", None)),
        ("report --run 7 --markdown", ("report", 7)),
        ("relay --once", ("relay",)),
        ("resync", ("resync", None, [])),
        ("resync countries", ("resync", {"countries"}, [])),
        ("resync countries --key a,b", ("resync", {"countries"}, [["a,b"]])),
        (
            "resync regions --key NL,7 --key BE,8",
            ("resync", {"regions"}, [["NL", "7"], ["BE", "8"]]),
        ),
        ("verify --select regions", ("verify", {"regions"})),
        ("explain regions NL 7", ("explain", "regions", ("NL", "7"))),
        ("explain countries -- -5", ("explain", "countries", ("-5",))),
        ("conflicts list --status all", ("conflicts", None, "all")),
        ("conflicts list", ("conflicts", None, "open")),
        ("conflicts show 3", ("conflict", 3)),
        ("conflicts resolve 3 4 --take source", ("resolve", [3, 4], "source")),
        ("deletes list", ("held", None)),
        ("deletes approve countries", ("approve", "countries", None)),
        ("deletes approve countries --plan 4f", ("approve", "countries", "4f")),
        ("deletes reject countries --plan 4f", ("reject", "countries", "4f")),
    ],
)
def test_a_verb_asks_the_application(syncd: Syncd, line: str, asked: tuple[object, ...]) -> None:
    """Arguments and options reach the application as one question, and it is closed after."""
    result = syncd(*line.split())
    assert result.exit_code == 0, result.output
    assert syncd.app.asked == [asked]
    assert syncd.app.closed


@pytest.mark.parametrize("verb", ["run", "plan"])
def test_the_json_of_a_run_is_the_contract(syncd: Syncd, verb: str) -> None:
    """One object on standard output, with the names and the order of the contract."""
    counts = Counts(**{o.value: n for n, o in enumerate(Outcome, 1)}, seen=91)
    one = EntityReport("countries", "completed", counts, 0.5)
    syncd.app.run_report = RunReport(7, "airports", "held", "2026-01-02T03:04:05Z", 1.25, (one,))

    result = syncd(verb, "--output", "json")

    assert list(json.loads(result.stdout).items()) == [
        ("run_id", 7),
        ("pipeline", "airports"),
        ("status", "held"),
        ("started_at", "2026-01-02T03:04:05Z"),
        ("seconds", 1.25),
        ("entities", {"countries": counts.as_dict()}),
    ]
    assert list(json.loads(result.stdout)["entities"]["countries"]) == [
        "seen", "inserted", "updated", "deleted", "unchanged", "linked", "stale", "skipped",
        "conflict", "invalid", "unsupported", "held", "waiting", "failed",
    ]  # fmt: skip
    assert result.stdout.count("\n") == 1


def test_every_answer_can_be_json(syncd: Syncd) -> None:
    """Each verb prints exactly one JSON object when asked to."""
    for verb, command in COMMANDS.items():
        if verb in DAEMON:
            continue
        example = command.epilog.removeprefix("Example: syncd ").split(">")[0]
        result = syncd(*shlex.split(example), "--output", "json")
        assert isinstance(json.loads(result.stdout), dict), verb
        assert result.stdout.count("\n") == 1, verb


@pytest.mark.parametrize(
    ("line", "code"),
    [
        ("run", 5),
        ("deletes approve countries", 5),
        ("plan", 0),
        ("plan --exit-code", 3),
        ("verify", 0),
        ("verify --exit-code", 3),
        ("validate", 1),
    ],
)
def test_an_answer_decides_the_exit_code(syncd: Syncd, line: str, code: int) -> None:
    """The report is printed and its code is the program's."""
    one = EntityReport("countries", "completed", Counts(seen=2, held=1, invalid=1), 0.5)
    syncd.app.run_report = RunReport(7, "airports", "held", "", 1.0, (one,))
    syncd.app.differences = {"countries": {"missing": 1}}
    syncd.app.checks = [Check("error", "target", "no rights")]
    result = syncd(*line.split())
    assert result.exit_code == code
    assert result.stdout


@pytest.mark.parametrize(
    ("error", "code", "said"),
    [
        (
            errors.ConfigError("it is wrong", hint="mend it"),
            2,
            "error: it is wrong\nhint: mend it\n",
        ),
        (errors.ConfigError("one\ntwo"), 2, "error: one\nerror: two\n"),
        (errors.TransientError("the target is gone"), 1, "error: the target is gone\n"),
        (errors.FencedError("epoch 4 is newer"), 6, "error: epoch 4 is newer\n"),
        (errors.RowError("a\nb\x1b[31m"), 1, "error: a b\\x1b[31m\n"),
        (
            ExceptionGroup("g", [errors.FencedError("f"), errors.FencedError("f")]),
            6,
            "error: f\n",
        ),
    ],
)
def test_an_error_is_a_line_and_a_code(
    syncd: Syncd, error: Exception, code: int, said: str
) -> None:
    """Errors of ours go to standard error, one line each and no traceback; nothing is printed."""

    async def fail() -> None:
        raise error

    syncd.app.act = fail
    result = syncd("run", "--output", "json")
    assert (result.exit_code, result.stderr, result.stdout) == (code, said, "")
    assert syncd.app.closed


def test_an_error_that_is_not_ours_tells_no_value(syncd: Syncd) -> None:
    """Of a foreign exception only its class and place are told: its text may be a row's."""

    async def fail() -> None:
        int("Lovelace")

    syncd.app.act = fail
    result = syncd("run")
    assert result.exit_code == 1
    assert re.fullmatch(
        r"error: internal: ValueError at test_verbs\.py:\d+\n"
        r"hint: set SYNCD_DEBUG=1 to see where from\n",
        result.stderr,
    )


def test_debugging_shows_the_traceback(syncd: Syncd) -> None:
    """With SYNCD_DEBUG=1 the traceback follows the error."""

    async def fail() -> None:
        raise errors.TransientError("gone")

    syncd.app.act = fail
    result = syncd("run", SYNCD_DEBUG="1")
    assert result.stderr.startswith("error: gone\nTraceback (most recent call last):\n")


@pytest.mark.parametrize(
    ("line", "said"),
    [
        ("run -c nope.yaml", "found nope.yaml: No such file or directory"),
        ("run --select contries", "found 'contries'; did you mean 'countries'?"),
        ("run --exclude x", "--exclude: expected one of countries, regions, found 'x'"),
        ("run --exclude countries,regions", "expected to leave an entity, found that it takes all"),
        ("init --accept-schema x", "--accept-schema: expected one of countries, regions"),
        ("resync x", "ENTITY: expected one of countries, regions, found 'x'"),
        ("resync --key 1", "--key: expected one ENTITY beside it, found 0"),
        ("resync regions --key 1", "--key: expected 2 parts (country, code), found 1"),
        ("explain regions 1", "KEY: expected 2 parts (country, code), found 1"),
        ("explain x 1", "ENTITY: expected one of countries, regions, found 'x'"),
        ("deletes approve x", "ENTITY: expected one of countries, regions, found 'x'"),
        ("deletes reject x", "ENTITY: expected one of countries, regions, found 'x'"),
    ],
)
def test_a_wrong_argument_is_told_before_anything_runs(syncd: Syncd, line: str, said: str) -> None:
    """A name or number that cannot be is an error of usage, and the application is not asked."""
    result = syncd(*line.split())
    assert result.exit_code == 2
    assert result.stderr.startswith("error: ")
    assert said in result.stderr
    assert syncd.app.asked == []


@pytest.mark.parametrize(
    "line",
    ["frob", "run --outpt json", "run --output yaml", "plan --samples -1", "explain countries",
     "conflicts show x", "conflicts resolve 3", "conflicts resolve 3 --take mine"],
)  # fmt: skip
def test_what_cannot_be_parsed_is_usage(syncd: Syncd, line: str) -> None:
    """Unknown verbs and options and missing arguments give 2 and the way to the help."""
    result = syncd(*line.split())
    assert result.exit_code == 2
    assert "--help" in result.stderr
    assert syncd.app.asked == []


def test_the_configuration_may_come_from_the_environment(syncd: Syncd) -> None:
    """SYNCD_CONFIG names the file, and -c wins over it, before or after the verb."""
    assert syncd("run", SYNCD_CONFIG="nope.yaml").exit_code == 2
    assert syncd("run", "-c", "pipeline.yaml", SYNCD_CONFIG="nope.yaml").exit_code == 0
    assert syncd("-c", "airports/pipeline.yaml", "run", SYNCD_CONFIG="nope.yaml").exit_code == 0


@pytest.mark.parametrize(("number", "code"), [(signal.SIGINT, 130), (signal.SIGTERM, 143)])
def test_a_signal_cancels_and_lets_the_application_clean_up(
    syncd: Syncd, number: int, code: int
) -> None:
    """A signal ends the work with its own code, after the application has closed."""

    async def interrupted() -> None:
        os.kill(os.getpid(), number)
        await anyio.sleep_forever()

    syncd.app.act = interrupted
    result = syncd("run", "--output", "json")
    assert result.exit_code == code
    assert result.stderr == f"error: stopped by {signal.Signals(number).name}\n"
    assert result.stdout == ""
    assert syncd.app.closed


def test_an_error_on_the_way_out_is_told_and_the_signal_decides(syncd: Syncd) -> None:
    """What fails while a signal is heeded is told, and the code stays that of the signal."""

    async def interrupted() -> None:
        os.kill(os.getpid(), signal.SIGTERM)
        with anyio.CancelScope(shield=True):
            await anyio.sleep(0.01)
        raise errors.TransientError("the target is gone")

    syncd.app.act = interrupted
    result = syncd("run")
    assert result.exit_code == 143
    assert result.stderr == "error: the target is gone\nerror: stopped by SIGTERM\n"


def test_a_keyboard_interrupt_before_anything_waits_is_a_signal(
    syncd: Syncd, monkeypatch: pytest.MonkeyPatch
) -> None:
    """Ctrl-C while the configuration is read gives 130, too."""

    def interrupted(*_: object) -> None:
        raise KeyboardInterrupt

    monkeypatch.setattr(config_load, "load", interrupted)
    result = syncd("run")
    assert (result.exit_code, result.stderr) == (130, "error: stopped by SIGINT\n")


def test_work_that_was_done_when_the_signal_came_is_told(syncd: Syncd) -> None:
    """A signal that comes too late to stop anything does not hide the report."""

    async def interrupted() -> None:
        with anyio.CancelScope(shield=True):
            os.kill(os.getpid(), signal.SIGTERM)
            await anyio.lowlevel.checkpoint()

    syncd.app.act = interrupted
    result = syncd("run", "--output", "json")
    assert result.exit_code == 0
    assert json.loads(result.stdout)["run_id"] == 12


def test_the_version_is_told(syncd: Syncd) -> None:
    """--version prints the version of the package."""
    assert syncd("--version").stdout == f"syncd {__version__}\n"


def test_the_module_is_the_program() -> None:
    """`python -m syncd` runs the command line, without the driver where no verb needs it."""
    program = (
        "import sys, syncd.cli.main\n"
        "heavy = {'asyncpg', 'syncd.app', 'ijson', 'prometheus_client'} & set(sys.modules)\n"
        "sys.exit(f'imported: {heavy}' if heavy else 0)"
    )
    subprocess.run([sys.executable, "-c", program], check=True)
    shown = subprocess.run(
        [sys.executable, "-m", "syncd", "--version"], check=True, capture_output=True, text=True
    )
    assert shown.stdout == f"syncd {__version__}\n"


def test_a_daemon_keeps_all_entities_in_step(syncd: Syncd) -> None:
    """A selection would be forgotten by whoever reads the command a year later."""
    result = syncd("serve", "--select", "countries")
    assert result.exit_code == 2
    assert "a daemon keeps all entities in step" in result.stderr
