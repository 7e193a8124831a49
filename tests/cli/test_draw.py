"""What an operator reads: whole lines, only numbers that matter, and the command to type next."""

import io
import json
import sys
from typing import Final

import pytest

from syncd.cli import draw
from syncd.cli.options import Options
from syncd.cli.shell import Answer, Shell
from syncd.flow.model import Counts, Issue, Severity
from syncd.reports import Check, EntityReport, HeldView
from tests.cli import fake_app
from tests.cli.fake_app import Syncd, entity, report

RESOLVE: Final = "syncd conflicts resolve ID --take source|target"
APPROVE: Final = "syncd deletes approve countries --plan 4f2a90"
REJECT: Final = "syncd deletes reject countries --plan 4f2a90"


def lines(text: str) -> list[str]:
    """Lines with runs of blanks made one."""
    return [" ".join(line.split()) for line in text.splitlines()]


def test_a_run_shows_what_is_not_zero_and_what_to_do(syncd: Syncd) -> None:
    """The table leaves empty columns out; notes, findings and commands follow."""
    refused = entity("regions", status="refused", seen=1, failed=1)
    syncd.app.run_report = report(fake_app.FULL, refused, status="failed")

    result = syncd("run")

    assert lines(result.stdout) == [
        "airports run 12: failed in 1.2 s, started 2026-01-02T03:04:05Z",
        "entity status seen inserted updated unchanged conflict invalid held failed seconds",
        "countries completed 9 1 2 3 1 1 1 0 0.5",
        "regions refused 1 0 0 0 0 0 0 1 0.5",
        "countries: new columns at the source are not mapped: x",
        "countries: runways.csv:17 bad_integer length_ft (error)",
        "countries: 3 more findings",
        "countries: updated NL: name (changed)",
        (
            "countries: 1 rows parked; look: syncd verify --select countries, "
            "then syncd explain countries KEY; each run tries them again"
        ),
        (
            "countries: 3 open conflicts; look: syncd conflicts list --select countries; "
            "act: syncd conflicts resolve ID --take source|target"
        ),
        (
            "countries: 1 deletes held; look: syncd deletes list --select countries; "
            "act: syncd deletes approve countries, or syncd deletes reject countries"
        ),
        (
            "regions: 1 rows parked; look: syncd verify --select regions, "
            "then syncd explain regions KEY; each run tries them again"
        ),
    ]


def test_a_command_to_type_names_the_same_pipeline(syncd: Syncd) -> None:
    """With another file than the default the commands carry -c."""
    syncd.app.run_report = report(entity(seen=1, held=1))
    shown = syncd("run", "-c", "airports/pipeline.yaml").stdout
    assert "act: syncd -c airports/pipeline.yaml deletes approve countries, or" in shown


def test_a_clean_run_is_short(syncd: Syncd) -> None:
    """Nothing is told where nothing is to be done."""
    assert lines(syncd("run").stdout) == [
        "airports run 12: completed in 1.2 s, started 2026-01-02T03:04:05Z",
        "entity status seen unchanged seconds",
        "countries completed 2 2 0.5",
        "regions completed 0 0 0.5",
    ]


def test_a_plan_and_a_resumed_run_are_called_so(syncd: Syncd) -> None:
    """A report without a run id is a plan; one that went on says so."""
    fresh = report(entity(seen=1, invalid=1), run_id=0)
    syncd.app.run_report = fresh
    assert lines(syncd("plan").stdout)[0].startswith("airports plan: completed")
    assert len(lines(syncd("plan").stdout)) == 3
    syncd.app.run_report = type(fresh)(
        9, "airports", "completed", "x", 1.0, fresh.entities, resumed=True
    )
    assert syncd("run").stdout.startswith("airports run 9: completed in 1.0 s (resumed)")


def test_only_the_first_findings_are_shown(syncd: Syncd) -> None:
    """Five findings are shown, the rest is counted."""
    issue = Issue(Severity.WARNING, "odd")
    one = EntityReport(
        "countries", "completed", Counts(), 0.0, findings=(issue,) * 7, findings_total=40
    )
    syncd.app.run_report = report(one)
    shown = lines(syncd("run").stdout)
    assert shown.count("countries: odd (warning)") == 5
    assert shown[-1] == "countries: 35 more findings"


@pytest.mark.parametrize(
    ("line", "shown"),
    [
        ("init", ["made the ledger", "made countries"]),
        ("validate", ["level subject message", "ok target connected"]),
        (
            "status",
            [
                "airports: lease host-1 (epoch 4), last run 12 parked",
                "entity records parked conflicts held last success last status",
                "countries 5 invalid 2 3 0 2026-01-01 completed",
                "regions 0 - 0 0 never -",
                "countries: schema drift: lost x",
            ],
        ),
        (
            "verify",
            ["entity equal kept", "countries 5 1", "countries: different NL: name"],
        ),
        (
            "explain countries NL",
            [
                "countries NL",
                "state live, incarnation 1; in source: yes, in target: no",
                "last outcome conflict (both changed) in run 12",
                "column ownership source target changed verdict",
                'name merge "A" NULL source target wins',
                "2026-01-01 run 11 inserted columns name",
            ],
        ),
        (
            "conflicts show 3",
            [
                "id entity key column kind status opened run",
                "3 countries NL name both_changed open 2026-01-02 12",
                f"look: syncd conflicts show ID; act: {RESOLVE}",
                'source: "A"',
                "target: NULL",
            ],
        ),
        ("conflicts resolve 3 --take source", ["no conflicts"]),
        (
            "deletes list",
            [
                "entity rows of since plan decision reason",
                "countries 120 240 2026-01-02 4f2a90 none above 50 rows and 0.5 %",
                "countries: NL, BE and 118 more",
                f"countries: act: {APPROVE}, or {REJECT}",
            ],
        ),
        ("deletes reject countries", ["countries: 120 rows stay"]),
        ("resync countries", ["2 records will be looked at again; now: syncd run"]),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_each_answer_is_drawn(syncd: Syncd, line: str, shown: list[str]) -> None:
    """Every verb's text says what its report says."""
    assert lines(syncd(*line.split()).stdout) == shown


def test_a_pipe_gets_whole_plain_lines(syncd: Syncd) -> None:
    """Without a terminal there are no colours, no wrapped cells and no blanks at the end."""
    long = "x" * 150
    syncd.app.run_report = report(entity(long, seen=1), entity("regions"))
    shown = syncd("run").stdout
    assert long in shown
    assert "\x1b" not in shown
    assert all(line == line.rstrip() for line in shown.splitlines())


def test_data_cannot_drive_the_terminal(syncd: Syncd) -> None:
    """Escapes, line ends, bidi marks and markup in data are shown, not obeyed (case 95)."""
    hostile = "a\x1b[2J\r\nb\u202e[red]:smile:"
    view = HeldView("countries", 1, 1, hostile, "4f", hostile, ((hostile,),))
    syncd.app.held_views = [view]

    shown = syncd("deletes", "list").stdout

    assert shown.count("a\\x1b[2J\\r\\nb\\u202e[red]:smile:") == 3
    assert all(line.isprintable() for line in shown.splitlines())


def test_a_report_hides_the_secrets_of_the_configuration(syncd: Syncd) -> None:
    """A password or DSN that reached a report is *** in text and in JSON (case 96)."""
    note = f"cannot reach {fake_app.DSN} with kanarie-0001"
    one = EntityReport("countries", "failed", Counts(), 0.0, notes=(note,))
    syncd.app.run_report = report(one)
    syncd.app.checks = [Check("error", "target", note)]

    text, plain = syncd("run").stdout, syncd("validate", "--output", "json").stdout

    assert "kanarie" not in text + plain
    assert "countries: cannot reach *** with ***" in text
    assert json.loads(plain)["checks"][0]["message"] == "cannot reach *** with ***"


def test_quiet_prints_no_report(syncd: Syncd) -> None:
    """-q leaves the exit code; JSON that was asked for is still printed."""
    assert syncd("run", "-q").output == ""
    assert json.loads(syncd("run", "-q", "--output", "json").stdout)["run_id"] == 12


class Terminal(io.StringIO):
    """A stream that says it is a terminal."""

    def isatty(self) -> bool:
        return True


@pytest.mark.parametrize(
    ("no_color", "environ", "coloured"),
    [(False, {}, True), (True, {}, False), (False, {"NO_COLOR": "1"}, False)],
)
def test_a_terminal_gets_colours_unless_told_not_to(
    monkeypatch: pytest.MonkeyPatch, *, no_color: bool, environ: dict[str, str], coloured: bool
) -> None:
    """Colours are for terminals; --no-color and NO_COLOR turn them off."""
    written = Terminal()
    monkeypatch.setattr(sys, "stdout", written)
    shell = Shell(Syncd().connect, environ)
    shell.options = Options(no_color=no_color)

    shell.print(Answer(draw.run(report(entity(seen=1)), "syncd"), None))

    assert "countries" in written.getvalue()
    assert ("\x1b[" in written.getvalue()) is coloured
