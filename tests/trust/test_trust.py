"""The runner of campaigns: nothing runs twice, nothing hides a failure, nothing is unbounded."""

import os
import re
import subprocess
import sys
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Final

import msgspec
import pytest
from msgspec import Struct
from msgspec.structs import replace

from tests.conftest import REPOSITORY
from tests.trust import __main__ as command
from tests.trust import page, runner
from tests.trust.campaign import Ask, Call, Campaign, Failure, Gained, Record, Said, broken_down
from tests.trust.catalogue import CAMPAIGNS
from tests.trust.kinds import Canaries, Cells, Fuzzed, Orders, Planted, Schedules, Suite
from tests.trust.report import Report, ResumeError, read
from tests.trust.runner import Runner

_NOTE: Final = "import sys; open(sys.argv[1], 'a').write(sys.argv[2] + '\\n'); sys.exit(%d)"


class Noted(Struct, frozen=True):
    """A process that notes what it was asked for; every unit of it counts, unless it fails."""

    path: Path
    code: int = 0

    def calls(self, ask: Ask) -> list[Call]:
        words = f"{ask.number} {ask.before} {ask.count}"
        return [Call(("-c", _NOTE % self.code, str(self.path), words))]

    def gained(self, call: Call, said: Said) -> Gained:
        return broken_down(call, said) if said.code else Gained({"units": int(call.words[-1][-1])})

    @property
    def noted(self) -> list[str]:
        return self.path.read_text().splitlines() if self.path.exists() else []


def campaign(kind: Noted, name: str = "one", *, size: int = 4) -> Campaign:
    return Campaign(name, "what", "units", 10, 1000, kind, size=size)


def campaigning(
    path: Path, campaigns: Sequence[Campaign], report: Report | None = None, **rest: float
) -> Report:
    report = report or Report.begin("ci", 7, 1)
    Runner(report, path, lambda _: None, **rest).run(campaigns)
    return report


def test_rounds_go_on_until_the_goal(tmp_path: Path) -> None:
    """Each begins where the one before ended, and the last asks for the rest only."""
    kind = Noted(tmp_path / "noted")
    record = campaigning(tmp_path / "r.json", [campaign(kind)]).campaigns["one"]
    assert kind.noted == ["0 0 4", "1 4 4", "2 8 2"]
    assert (record.reached, record.rounds, record.is_over, record.is_short) == (10, 3, True, False)
    assert read(tmp_path / "r.json").campaigns["one"] == record


def test_what_is_finished_is_not_run_again(tmp_path: Path) -> None:
    """A report that was broken off after a round goes on with the next."""
    kind, path = Noted(tmp_path / "noted"), tmp_path / "r.json"
    report = campaigning(path, [campaign(kind)])
    begun = replace(report.campaigns["one"], rounds=1, reached=4, asked=4, is_over=False)
    begun = replace(begun, counts={"units": 4})
    report.campaigns["two"] = begun
    report.write(path)
    other = Noted(tmp_path / "other")
    resumed = Report.resume(path, "ci", 7, 1)
    campaigning(path, [campaign(kind), campaign(other, "two")], resumed)
    assert len(kind.noted) == 3
    assert other.noted == ["1 4 4", "2 8 2"]
    assert resumed.campaigns["two"].reached == 10


@pytest.mark.parametrize("other", [{"commit": "of another"}, {"seed": 8}, {"column": "night"}])
def test_a_report_of_something_else_is_not_gone_on_with(
    tmp_path: Path, other: dict[str, str | int]
) -> None:
    """Counts of two commits, seeds or columns are never added up."""
    path = tmp_path / "r.json"
    replace(Report.begin("ci", 7, 1), **other).write(path)
    with pytest.raises(ResumeError, match="begin anew"):
        Report.resume(path, "ci", 7, 1)


def test_a_failure_ends_its_campaign_and_no_other(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """The exit code says it, and the words say how to repeat it."""
    broken, sound = Noted(tmp_path / "broken", code=5), Noted(tmp_path / "sound")
    both = {"one": campaign(broken), "two": campaign(sound, "two")}
    monkeypatch.setattr(command, "CAMPAIGNS", both)
    path = str(tmp_path / "r.json")
    assert command.main(["--report", path]) == command.BROKE
    assert (len(broken.noted), len(sound.noted)) == (1, 3)
    said = capsys.readouterr().out
    assert "one: FAILED" in said
    assert "again: python -c" in said
    assert "two: held, 10 of 10 units" in said
    assert command.main(["--report", path, "--resume"]) == command.BROKE
    assert len(broken.noted) == 1


def test_a_goal_that_is_missed_is_told(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, capsys: pytest.CaptureFixture[str]
) -> None:
    """Rounds that gain nothing end; a short campaign ends CI with a code of its own."""
    kind = Noted(tmp_path / "noted")
    monkeypatch.setattr(command, "CAMPAIGNS", {"one": campaign(kind, size=0)})
    assert command.main(["--report", str(tmp_path / "r.json")]) == command.SHORT
    assert kind.noted == ["0 0 0"]
    assert "short of the goal: one" in capsys.readouterr().out


def test_no_round_begins_when_the_time_is_over(tmp_path: Path) -> None:
    """Hours bound the whole; what is left is for the next call."""
    kind = Noted(tmp_path / "noted")
    report = campaigning(tmp_path / "r.json", [campaign(kind)], ends_s=time.monotonic())
    assert kind.noted == []
    assert not report.campaigns["one"].is_over


_WAITS: Final = "import os, signal; open(%r, 'a').write(f'{os.getpid()} '); signal.pause()"
_COMMAND: Final = """
from pathlib import Path
from tests.trust import __main__ as command
from tests.trust.campaign import Call, Campaign, Gained
class Waits:
    def calls(self, ask): return [Call(("-c", {waits!r}))]
    def gained(self, call, said): return Gained()
command.CAMPAIGNS.clear()
command.CAMPAIGNS["one"] = Campaign("one", "", "units", 1, 1, Waits())
command.signal.signal(command.signal.SIGTERM, command.signal.default_int_handler)
raise SystemExit(command.main(["--report", {report!r}]))
"""


def test_a_run_that_is_told_to_end_leaves_nothing_behind(tmp_path: Path) -> None:
    """What it had started ends with it, and its report can be gone on with."""
    begun, report = tmp_path / "begun", tmp_path / "r.json"
    os.mkfifo(begun)
    words = _COMMAND.format(waits=_WAITS % str(begun), report=str(report))
    with subprocess.Popen([sys.executable, "-c", words], cwd=REPOSITORY) as process:
        pid = int(begun.read_text())
        process.terminate()
        assert process.wait(60) == command.BROKEN_OFF
    with pytest.raises(ProcessLookupError):
        os.kill(pid, 0)
    assert read(report).campaigns == {}


def test_a_process_that_does_not_end_is_ended() -> None:
    """It is a failure that says so, whatever it was about to do."""
    call = Call(("-c", "import signal; print('here', flush=True); signal.pause()"))
    (said,) = runner.run([call], 1.0)
    assert said.code is None
    assert broken_down(call, said).failures[0].told.startswith("did not end in time")


def test_of_many_words_the_last_are_kept() -> None:
    """A process may say what it likes, memory and report stay small."""
    (said,) = runner.run([Call(("-c", "print('x' * 9_000_000 + 'end')"))], 60.0)
    assert (said.code, len(said.words)) == (0, runner.WORDS_BYTES_MAX)
    assert said.words.endswith("end\n")
    assert len(broken_down(Call(()), said).failures[0].told) <= 400


# -- the ways to run a round ---------------------------------------------------------------------


def asked(folder: Path, **rest: int) -> Ask:
    return replace(Ask(7, 2, 100, 50, 2, folder), **rest)


@pytest.mark.parametrize("name", CAMPAIGNS)
def test_a_campaign_can_be_asked_for(tmp_path: Path, name: str) -> None:
    """Its processes are at most as many as may run, and what repeats them names no folder."""
    one = CAMPAIGNS[name]
    calls = one.kind.calls(asked(tmp_path))
    assert 1 <= len(calls) <= 2
    assert one.night >= one.ci > 0
    for call in calls:
        if not isinstance(one.kind, Suite):
            assert str(tmp_path) not in call.repeat
    if isinstance(one.kind, Suite):
        files = [path.partition("::")[0] for path in (*one.kind.paths, *one.kind.but)]
        assert all((REPOSITORY / path).exists() for path in files)


def test_seeds_of_schedules_follow_each_other(tmp_path: Path) -> None:
    """Neither a worker nor a round plays what another has played."""
    calls = Schedules("full").calls(asked(tmp_path, count=5))
    assert [call.words[3:6] for call in calls] == [
        ("3", "--seed", "57"),
        ("2", "--seed", "60"),
    ]


def of(tmp_path: Path, found: object) -> Call:
    report = tmp_path / "report.json"
    report.write_bytes(msgspec.json.encode(found))
    return Call(("-m", "x"), report)


def test_a_schedule_that_breaks_is_a_failure(tmp_path: Path) -> None:
    """It does not count, and is told with its seed."""
    broken = {"told": "I2: lost", "seed": 41}
    call = of(tmp_path, {"series": [{"schedules": 10, "broken": [broken]}]})
    gained = Schedules("quick").gained(call, Said(1, ""))
    assert gained.counts == {"schedules": 9}
    assert gained.failures == [Failure("I2: lost", 'python -m tests.sim --again "quick 41"')]


def test_a_missed_canary_is_a_failure(tmp_path: Path) -> None:
    """A harness that misses one fails."""
    found = {"name": "seen", "schedules": 12}, {"name": "unseen", "schedules": 0}
    call = of(tmp_path, {"seed": 3, "canaries": found, "missed": ["unseen"]})
    gained = Canaries().gained(call, Said(1, ""))
    assert gained.counts == {"canaries": 1, "schedules": 12}
    assert [one.told for one in gained.failures] == ["unseen: missed"]


def test_a_failed_case_and_a_failed_cell_are_failures(tmp_path: Path) -> None:
    """Both are repeated by their own command."""
    case = {"decoder": "key", "error": "KeyError", "seed": 2, "case": 8}
    call = of(tmp_path, {"cases": 10, "decoders": [{"failures": [case]}]})
    gained = Fuzzed(configuration=False).gained(call, Said(1, ""))
    assert gained.counts == {"cases": 9, "decoders": 1}
    assert gained.failures[0].repeat.endswith("--decoder key --seed 2 --first 8 --cases 1")
    cells = [{"point": "tx.commit", "action": "kill", "wrong": "lost"}]
    call = of(tmp_path, {"seed": 1, "cells": 5, "kills": 1, "results": cells})
    gained = Cells().gained(call, Said(1, ""))
    assert gained.counts == {"cells": 4, "kills": 1}
    assert gained.failures[0].told == "tx.commit=kill: lost"


def test_an_order_that_breaks_is_told_with_what_plays_it_again(tmp_path: Path) -> None:
    """A plot counts where none of its orders broke; plots are shared out without a gap."""
    ask = Ask(1, 0, 30, 30, 2, tmp_path)
    words = [call.words[2:6] for call in Orders().calls(ask)]
    assert words == [
        ("--plots", "15", "--first-plot", "30"),
        ("--plots", "15", "--first-plot", "45"),
    ]
    broken = {"told": "I1: lost", "plot": {"fault": "kill"}, "order": [2, 0]}
    explored = {"plots": 2, "orders": 9, "steps": 99, "broken": [broken]}
    gained = Orders().gained(of(tmp_path, {"seed": 1, "explored": explored}), Said(1, ""))
    assert gained.counts == {"plots": 1, "orders": 9}
    assert "--again 'order {" in gained.failures[0].repeat


def test_a_campaign_that_cannot_even_be_asked_stops_no_other(tmp_path: Path) -> None:
    """What is wrong with one of them is its failure."""

    class Unfit(Struct, frozen=True):
        def calls(self, ask: Ask) -> list[Call]:
            raise ImportError(f"the catalogue of {ask.number} is broken")

        def gained(self, call: Call, said: Said) -> Gained:
            raise NotImplementedError

    kind, told = Noted(tmp_path / "noted"), list[str]()
    unfit = Campaign("unfit", "what", "units", 10, 1000, Unfit(), size=4)
    report = Report.begin("ci", 7, 1)
    Runner(report, tmp_path / "r.json", told.append).run([unfit, campaign(kind)])
    (failure,) = report.campaigns["unfit"].failures
    assert failure.told == "ImportError: the catalogue of 0 is broken"
    assert failure.repeat == "python -m tests.trust --only unfit --seed 7"
    assert report.campaigns["one"].reached == 10
    assert told[0].startswith("1 of 2, unfit: ")
    assert [line for line in told if line.startswith("2 of 2, one: ")]


def test_a_planted_fault_that_survives_is_a_failure() -> None:
    """The line that a module writes for each is taken apart."""
    words = "| fault | what is wrong | found by | seconds |\n|---|---|---|---|\n"
    words += "| a | x | flow/test_a.py::test_it_deletes_nothing | 1.0 |\n"
    words += "| b | y | **nothing** | 2.0 |\n"
    kind = CAMPAIGNS["faults"].kind
    assert isinstance(kind, Planted)
    gained = kind.gained(Call(()), Said(1, words))
    assert gained.counts == {"faults": 1}
    (failure,) = gained.failures
    assert failure.told.startswith("b: survived; ")
    assert failure.repeat == "python -m tests.faults b"
    assert kind.gained(Call(()), Said(2, "the tests fail without a fault")).failures


@pytest.mark.parametrize("kind", [Schedules("full"), Canaries(), Fuzzed(configuration=True)])
def test_a_process_without_a_report_is_a_failure(tmp_path: Path, kind: Schedules) -> None:
    """Whatever its exit code says."""
    assert kind.gained(Call(("-m", "x"), tmp_path / "none.json"), Said(0, "")).failures


_TESTS: Final = """
import pytest

def test_passes(record_property):
    record_property("kills", 26)
    record_property("kills", 4)

@pytest.mark.parametrize("seed", [9])
def test_fails(record_property, seed):
    record_property("kills", 100)
    assert seed == 8

def test_skips():
    pytest.skip("no disk here")
"""


def test_tests_are_counted_by_what_they_record(tmp_path: Path) -> None:
    """Only what passed counts; a failure has its name, a skip its reason."""
    (tmp_path / "test_kills.py").write_text(_TESTS)
    kind = Suite((str(tmp_path / "test_kills.py"),), is_seeded=False)
    (call,) = kind.calls(asked(tmp_path, workers=1))
    (said,) = runner.run([call], 60.0)
    gained = kind.gained(call, said)
    assert gained.counts == {"tests": 1, "kills": 30}
    (failure,) = gained.failures
    assert "test_kills.py::test_fails[9]" in failure.repeat
    assert "SYNCD_TRUST_SEED=9" in failure.repeat
    assert gained.notes == ["skipped: no disk here"]


# -- the page ------------------------------------------------------------------------------------

PAGE: Final = REPOSITORY / "docs" / "trust.md"


def test_the_page_has_a_line_for_each_campaign_with_its_goal() -> None:
    """It is made of a report; one that is older than the catalogue is made anew."""
    table = PAGE.read_text("utf-8").partition(page.BEGIN)[2].partition(page.END)[0]
    told = dict(re.findall(r"^\| `([\w-]+)` \| [^|]+ \| ([^|]+) \|", table, re.MULTILINE))
    assert told == {one.name: one.wanted or f"{one.ci:,}" for one in CAMPAIGNS.values()}


def test_the_table_is_put_between_its_marks(tmp_path: Path) -> None:
    """What people wrote stays; failures and skips are told below."""
    report = Report.begin("ci", 7, 1)
    failures = [Failure("I2:\nlost", "python -m x")]
    kills = Record("kill -9", "kills", 300)
    kills.add(0, Gained({"kills": 312}), 96.0, 40.0)
    report.campaigns["kill"] = kills
    leaks = Record("marks", "marks", 5)
    leaks.add(0, Gained({}, failures, ["skipped: x"]), 1.0, 1.0)
    report.campaigns["leaks"] = leaks
    path = tmp_path / "page.md"
    path.write_text(f"before\n{page.BEGIN}\nold\n{page.END}\nafter\n")
    page.put(path, report)
    text = path.read_text()
    assert "| `kill` | kill -9 | 300 | 312 kills | 3.2 | 96 (40) | held |" in text
    assert "- `leaks` broke: I2: lost; again: `python -m x`" in text
    assert "- `leaks`: skipped: x" in text
    assert text.startswith("before\n")
    assert text.endswith("\nafter\n")
    assert "old" not in text
    assert "**not run**" in text
    path.write_text("no marks")
    with pytest.raises(ValueError, match="expected"):
        page.put(path, report)
