"""The rules: what promtool says of them, and that every alert leads somewhere."""

import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest
import yaml

from observability import alerts
from syncd.metric_names import BY_NAME
from syncd.metrics import Metrics
from tests.conftest import REPOSITORY
from tests.observability.test_dashboards import PROCESS, metric_names
from tests.test_docs import VERBS, anchors

RULES: Final = REPOSITORY / "observability" / "prometheus"
RUNBOOK: Final = (REPOSITORY / "docs" / "runbook.md").read_text("utf-8")
OURS: Final = {alert.name: alert for alert in alerts.ALERTS}


@pytest.fixture(scope="session")
def promtool() -> str:
    found = shutil.which("promtool")
    if found is None:
        pytest.skip("no promtool: install Debian's package prometheus")
    return found


def says(promtool: str, *words: str | Path, told: bytes = b"") -> tuple[int, str]:
    ran = subprocess.run(
        [promtool, *words], input=told, cwd=RULES, capture_output=True, check=False, timeout=100
    )
    return ran.returncode, (ran.stdout + ran.stderr).decode()


def test_the_rules_are_sound(promtool: str) -> None:
    code, said = says(promtool, "check", "rules", "recording.yaml", "alerts.yaml")
    assert code == 0, said
    assert f"SUCCESS: {len(OURS)} rules found" in said


def test_each_alert_fires_when_it_must_and_not_otherwise(promtool: str) -> None:
    code, said = says(promtool, "test", "rules", "tests.yaml")
    assert code == 0, said


def test_an_alert_that_no_longer_fires_would_be_noticed(promtool: str, tmp_path: Path) -> None:
    """The unit tests can fail: a limit that is moved makes them."""
    (tmp_path / "recording.yaml").write_text('{"groups": []}', "utf-8")
    text = (RULES / "alerts.yaml").read_text("utf-8")
    (tmp_path / "alerts.yaml").write_text(text.replace("== 0", "== 7"), "utf-8")
    told = yaml.safe_load((RULES / "tests.yaml").read_text("utf-8"))
    told["tests"] = [t for t in told["tests"] if t["name"].startswith("SyncdNotInStep")]
    (tmp_path / "tests.yaml").write_text(yaml.safe_dump(told), "utf-8")
    code, said = says(promtool, "test", "rules", tmp_path / "tests.yaml")
    assert code != 0, said


def test_the_names_are_as_prometheus_wants_them(promtool: str) -> None:
    metrics = Metrics(lines_dropped=lambda: 0)
    metrics.pipeline("p", "files", ["e"])
    code, said = says(promtool, "check", "metrics", told=metrics.text())
    assert code == 0, said
    assert said == ""


@pytest.mark.parametrize("name", OURS)
def test_an_alert_has_its_tests_its_severity_and_its_page(name: str) -> None:
    alert = OURS[name]
    tests = yaml.safe_load((RULES / "tests.yaml").read_text("utf-8"))["tests"]
    proofs = [test for test in tests if test["name"].startswith(f"{name} ")]
    assert [len(proof["alert_rule_test"]) for proof in proofs] == [2, 1]
    assert alert.severity in {"critical", "warning", "info"}
    assert metric_names(alert.expr) <= {*BY_NAME, *PROCESS, *_recorded_bases()}
    page, _, anchor = alerts.runbook_url(alert).partition("#")
    assert page == "docs/runbook.md"
    assert anchor in anchors(RUNBOOK)


def _recorded_bases() -> set[str]:
    return {name.split(":")[1] for name in alerts.RECORDING}


def section(name: str) -> str:
    """What the runbook says of an alert."""
    return RUNBOOK.partition(f"\n## {name}\n")[2].partition("\n## ")[0]


def test_the_runbook_has_a_section_for_each_alert_and_no_other() -> None:
    assert re.findall(r"^## (Syncd\w+)$", RUNBOOK, re.MULTILINE) == [*OURS]


@pytest.mark.parametrize("name", OURS)
def test_a_section_says_what_it_means_where_to_look_what_to_do_and_whom_to_wake(name: str) -> None:
    text = section(name)
    assert re.findall(r"^\*\*(.+?)\*\*", text, re.MULTILINE) == ["Means.", "Look.", "Act.", "Wake."]
    assert f"`{OURS[name].severity}`" in text


@pytest.mark.parametrize("name", OURS)
def test_every_command_of_the_runbook_exists(name: str) -> None:
    """Each ``syncd ...`` in a section is a verb, with options that it takes."""
    known = set(VERBS)
    for command in re.findall(r"`(syncd [^`]+)`", section(name)):
        words = command.split()
        verb = " ".join(words[:3]) if " ".join(words[:3]) in known else " ".join(words[:2])
        assert verb in known, command
        options = {o for p in VERBS[verb].params for o in getattr(p, "opts", [])}
        shared = {"--select", "--config", "-c", "--output", "--log-level", "--log-format"}
        assert {w for w in words if w.startswith("-")} <= options | shared, command
