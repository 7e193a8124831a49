"""The points themselves: what arms them, what they do, and that each stands where it says."""

import ast
import asyncio
from collections import Counter
from pathlib import Path
from typing import Final

import anyio
import pytest

from syncd import failpoints
from syncd.errors import ConfigError, PermanentError, RowError, SyncdError, TransientError
from syncd.failpoints import POINTS, Action, armed, failpoint, parse
from tests.conftest import REPOSITORY
from tests.failpoints.awaits import Cancelling

ANY: Final = "tx.commit"
_LOOPS: Final = (ast.For, ast.ListComp, ast.SetComp, ast.DictComp, ast.GeneratorExp)
# A round of these is a batch, a migration, a statement or a look at the lease, never a row.
ROUNDS: Final = {
    "syncd.tenure": {"lease.wait"},
    "syncd.flow.pipeline": {"entity.look_again"},
    "syncd.flow.entity_pass": {"look.fetched"},
    "syncd.ledger.runs": {"run.abandon", "retention.step"},
    "syncd.ledger.migrations": {"migrate.applied", "migrate.noted"},
}


def placed() -> list[tuple[str, str, bool]]:
    """Name, module, and whether a ``for`` is round it, of each ``await failpoint(...)``."""
    found = []
    for path in sorted((REPOSITORY / "syncd").rglob("*.py")):
        module = ".".join(path.relative_to(REPOSITORY).with_suffix("").parts)
        tree = ast.parse(path.read_text("utf-8"))
        looped = {
            id(n) for loop in ast.walk(tree) if isinstance(loop, _LOOPS) for n in ast.walk(loop)
        }
        found += [
            (ast.literal_eval(node.args[0]), module, id(node) in looped)
            for node in ast.walk(tree)
            if isinstance(node, ast.Call)
            and isinstance(node.func, ast.Name)
            and node.func.id == "failpoint"
        ]
    return found


def test_every_point_stands_once_in_the_module_that_it_names() -> None:
    """No name is unknown, unused, or used twice."""
    places = [(name, module) for name, module, _ in placed()]
    assert Counter(places) == Counter((p.name, p.module) for p in POINTS.values())


def test_no_point_stands_in_a_loop_over_rows() -> None:
    """Where one stands in a loop at all, it is known of what."""
    looped = {(module, name) for name, module, is_looped in placed() if is_looped}
    assert looped <= {(module, name) for module, names in ROUNDS.items() for name in names}


def test_every_point_is_described() -> None:
    """A line for each, and no two alike."""
    abouts = [point.about for point in POINTS.values()]
    assert all(abouts)
    assert len(set(abouts)) == len(abouts)


async def test_a_point_that_is_not_armed_does_not_even_wait() -> None:
    """It is no place where a cancellation could arrive."""
    work = Cancelling(failpoint(ANY), 1)
    await work
    assert work.suspensions == 0


async def test_a_point_beside_an_armed_one_does_nothing() -> None:
    with armed(f"{ANY}=raise"):
        await failpoint("tx.begun")


@pytest.mark.parametrize(
    ("action", "kind"),
    [
        ("raise-transient", TransientError),
        ("raise-unknown", TransientError),
        ("raise-row", RowError),
        ("raise-permanent", PermanentError),
    ],
)
async def test_an_error_is_of_the_kind_that_was_asked_for(
    action: str, kind: type[SyncdError]
) -> None:
    with armed(f"{ANY}={action}"), pytest.raises(kind) as caught:
        await failpoint(ANY)
    assert type(caught.value) is kind
    assert getattr(caught.value, "outcome_unknown", False) == (action == "raise-unknown")


@pytest.mark.parametrize("name", list(POINTS))
async def test_raise_is_the_kind_of_error_that_there_can_be(name: str) -> None:
    """Behind a COMMIT nobody says that it failed: the outcome is unknown."""
    with armed(f"{name}=raise"), pytest.raises(SyncdError) as caught:
        await failpoint(name)
    is_unknown = POINTS[name].error is Action.UNKNOWN
    assert getattr(caught.value, "outcome_unknown", False) == is_unknown


async def test_it_fires_once_and_only_at_the_nth_passing() -> None:
    fired: list[str] = []
    with armed(f"{ANY}=raise:3", told=lambda one: fired.append(one.point.name)):
        await failpoint(ANY)
        await failpoint(ANY)
        with pytest.raises(TransientError):
            await failpoint(ANY)
        await failpoint(ANY)
    assert fired == [ANY]


async def test_a_hang_is_ended_by_a_cancellation() -> None:
    with armed(f"{ANY}=hang"), anyio.move_on_after(0.05) as scope:
        await failpoint(ANY)
    assert scope.cancelled_caught


async def test_a_hang_that_nobody_ends_ends_by_itself(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "HANG_S_MAX", 0.01)
    with armed(f"{ANY}=hang"), pytest.raises(TransientError, match="nobody ended it"):
        await failpoint(ANY)


async def test_slow_goes_on_afterwards(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(failpoints, "SLOW_S", 0.01)
    with armed(f"{ANY}=slow"):
        await failpoint(ANY)


async def test_cancel_cancels_what_it_was_given() -> None:
    with anyio.CancelScope() as scope, armed(f"{ANY}=cancel", cancel=scope.cancel):
        await failpoint(ANY)
    assert scope.cancelled_caught


async def test_cancel_goes_on_where_a_cancellation_is_shielded_off(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(failpoints, "_HEARD_S_MAX", 0.01)
    done = asyncio.Event()
    with anyio.CancelScope() as scope, armed(f"{ANY}=cancel", cancel=scope.cancel):
        with anyio.CancelScope(shield=True):
            await failpoint(ANY)
            done.set()
        await anyio.lowlevel.checkpoint()
    assert done.is_set()
    assert scope.cancelled_caught


async def test_nothing_is_armed_once_the_block_has_ended() -> None:
    with armed(f"{ANY}=raise"):
        pass
    await failpoint(ANY)


@pytest.mark.parametrize(
    ("text", "complaint"),
    [
        ("tx.comit=raise", "no point 'tx.comit'"),
        ("=raise", "no point ''"),
        (ANY, "no action ''"),
        (f"{ANY}=explode", "no action 'explode'"),
        (f"{ANY}=raise:0", "found '0'"),
        (f"{ANY}=raise:-1", "found '-1'"),
        (f"{ANY}=raise:x", "found 'x'"),
        (f"{ANY}=raise:²", "found '²'"),
        (f"{ANY}=raise:1000001", "found '1000001'"),
        (f"{ANY}=raise,tx.comit=kill", "no point 'tx.comit'"),
    ],
)
def test_what_cannot_be_armed_is_refused(text: str, complaint: str) -> None:
    """A name that nobody knows would be a test that tests nothing."""
    with pytest.raises(ConfigError, match="SYNCD_FAILPOINTS") as caught:
        parse(text)
    assert complaint in str(caught.value)


def test_several_points_are_armed_at_once() -> None:
    found = parse(f" {ANY}=kill:2 , tx.begun=slow,")
    assert [str(one) for one in found] == ["tx.commit=kill:2", "tx.begun=slow:1"]


def test_the_command_line_refuses_an_unknown_point(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Exit code 2, before anything is opened."""
    code, said = _status(monkeypatch, tmp_path, capsys, "tx.comit=kill")
    assert code == 2
    assert "no point 'tx.comit'" in said


def test_the_command_line_tells_what_is_armed_at_every_log_level(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    """Nobody runs with an armed point without being told."""
    _, said = _status(monkeypatch, tmp_path, capsys, "tx.commit=kill")
    assert "failpoints_armed" in said
    assert "tx.commit=kill:1" in said


def _status(
    monkeypatch: pytest.MonkeyPatch, folder: Path, capsys: pytest.CaptureFixture[str], text: str
) -> tuple[int, str]:
    """``syncd status`` against a server that is not there."""
    from syncd.cli.main import app  # noqa: PLC0415 - it brings the command line

    path = folder / "syncd.yaml"
    path.write_text(
        "pipeline: p\n"
        'source: {kind: postgres, dsn: "postgresql://u@127.0.0.1:1/x"}\n'
        'target: {kind: postgres, dsn: "postgresql://u@127.0.0.1:1/x"}\n'
        "entities:\n  a: {from: a, key: [id], into: public.a}\n",
        "utf-8",
    )
    monkeypatch.setenv(failpoints.VARIABLE, text)
    with pytest.raises(SystemExit) as ended:
        app(["status", "--config", str(path), "--log-level", "error"])
    said = capsys.readouterr()
    return int(ended.value.code or 0), said.out + said.err
