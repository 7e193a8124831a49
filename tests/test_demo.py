"""``make demo`` is a promise to newcomers, so it is a test: run once, as they would run it."""

import io
import os
import re
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest
from rich.console import Console

from demo import __main__ as demo
from demo import stage
from demo.interventions import story
from syncd.embedded import Server
from tests.conftest import REPOSITORY

DEMO_S_MAX = 300


README_NIGHT = re.findall(
    r"<!-- test: night -->\n```text\n(.*?)```",
    (REPOSITORY / "README.md").read_text("utf-8"),
    re.DOTALL,
)[0]


def timeless(text: str) -> str:
    """Without times and durations, and without the blanks that depend on them."""
    return re.sub(r" +\d+\.\d( s, started \S+)?$", "", text, flags=re.MULTILINE)


@pytest.fixture
def temporary_root() -> Iterator[Path]:
    """A temporary folder that everybody may enter: as root the server runs as another user."""
    root = Path(tempfile.mkdtemp(prefix="sd-"))
    root.chmod(0o711)
    try:
        yield root
    finally:
        shutil.rmtree(root, ignore_errors=True)


def processes_below(root: Path) -> list[str]:
    """Command lines that name something below ``root``."""
    found = []
    for path in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            line = path.read_bytes().replace(b"\0", b" ").decode(errors="replace")
        except OSError:
            continue
        if str(root) in line:
            found.append(line)
    return found


def play(story: list[str], temporary_root: Path) -> str:
    """Play a story to its end, which must be good and leave nothing; what it told."""
    done = subprocess.run(
        [sys.executable, "-m", "demo", *story],
        cwd=REPOSITORY,
        env=os.environ | {"TMPDIR": str(temporary_root), "COLUMNS": "200", "PGHOST": "nowhere"},
        capture_output=True,
        text=True,
        timeout=DEMO_S_MAX,
        check=False,
    )
    assert done.returncode == 0, done.stdout + done.stderr
    assert "All of it was true" in done.stdout
    assert list(temporary_root.iterdir()) == []
    assert processes_below(temporary_root) == []
    return done.stdout


@pytest.mark.timeout(DEMO_S_MAX + 30)
def test_the_story_that_make_demo_plays_is_true_and_leaves_nothing(temporary_root: Path) -> None:
    """The interventions system as it ships, two nights, an older dump, and the daemon."""
    told = play([], temporary_root)
    for line in (
        "$ syncd lookup load iaps_licreqnos licreqnos.csv",
        "ambiguous_licreqno",
        "missing_reporting_location",
        "checked each imported referral has its place, its status, its cohort",
        "checked what hydration and staff wrote is all there",
        "checked and IM's changes came through all the same",
        "checked SIGHUP had it look at everything once more",
        "checked SIGTERM ended it cleanly",
    ):
        assert line in told


@pytest.mark.timeout(DEMO_S_MAX + 30)
def test_the_story_of_the_casework_is_true_and_leaves_nothing(temporary_root: Path) -> None:
    """It ends well within its time, tells what happened, and cleans up after itself."""
    told = play(["casework"], temporary_root)
    for line in (
        "$ syncd init",
        "$ syncd plan --samples 3",
        "referrals  completed   5025        25      149        3       4844         3",
        "300 of 14967 records are missing, more than 50 and more than 0.5 %",
        "exit code 5: done, and deletes are held for a decision",
        "last outcome conflict (conflict:status) in run 2",
        "last outcome failed (23514:session_minutes) in run 2",
        "$ syncd conflicts resolve 1 --take source",
        "checked 299 sessions are deleted, and the one that was edited is kept",
        "checked no row of Casework was written",
    ):
        assert line in told
    assert timeless(README_NIGHT) in timeless(told)


def test_a_demo_whose_story_is_not_true_fails(monkeypatch: pytest.MonkeyPatch) -> None:
    """A fact that is found otherwise ends the demo with 1, and says what was expected."""

    @contextmanager
    def small_stage(console: Console, scene: stage.Scene) -> Iterator[stage.Stage]:
        small = stage.Stage(console, Path(), None, scene)  # type: ignore[arg-type]
        monkeypatch.setattr(small, "rows", lambda *_: [(41,)])
        yield small

    told = io.StringIO()
    monkeypatch.setattr(sys, "argv", ["demo"])
    monkeypatch.setattr(demo, "Console", lambda **_: Console(file=told, width=200))
    monkeypatch.setattr(demo, "open_stage", small_stage)
    monkeypatch.setattr(story, "tell", lambda small: small.expect("all are there", "", (42,)))
    assert demo.main() == 1
    assert (
        "the story is not true: all are there: expected [(42,)], found [(41,)]" in told.getvalue()
    )


def test_a_kept_demo_says_how_to_join_and_waits(monkeypatch: pytest.MonkeyPatch) -> None:
    """With ``--keep`` both DSNs and the configuration are told before it waits for Ctrl-C."""
    server = Server("127.0.0.1", 5999, None, Path("data"), Path("bin"), "18.0")
    told, waited = io.StringIO(), []

    @contextmanager
    def small_stage(console: Console, scene: stage.Scene) -> Iterator[stage.Stage]:
        yield stage.Stage(console, Path("folder"), server, scene)

    def pause() -> None:
        waited.append(told.getvalue())
        raise KeyboardInterrupt

    monkeypatch.setattr(sys, "argv", ["demo", "--keep"])
    monkeypatch.setattr(demo, "Console", lambda **_: Console(file=told, width=200))
    monkeypatch.setattr(demo, "open_stage", small_stage)
    monkeypatch.setattr(story, "tell", lambda _: None)
    monkeypatch.setattr(signal, "pause", pause)
    assert demo.main() == 0
    (before_the_wait,) = waited
    for line in (
        "configuration: folder/pipeline.yaml",
        "postgresql://postgres@127.0.0.1:5999/interventions_manager",
        "postgresql://postgres@127.0.0.1:5999/manage_and_deliver",
    ):
        assert line in before_the_wait
