"""Other tools at the same job: the same tables, the same night, nothing but the key to go by.

Each lives in a virtual environment of its own, made on demand and kept. The times are one half;
the other is what a tool did not see, and what it did to the work of staff. A peer that cannot be
installed, or that fails, is left out with the reason.
"""

import subprocess
import sys
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Final

from msgspec import Struct

from benchmarks import table
from benchmarks.measure import Sample
from benchmarks.results import Case, Results
from benchmarks.stage import SOURCE, BenchError, Stage
from benchmarks.tables_cases import COPY_TITLE, Tables, live_night, what_it_saw

_HERE: Final = Path(__file__).resolve().parent
_INSTALL_S_MAX: Final = 600.0
_RUN_S_MAX: Final = 900.0


class Peer(Struct, frozen=True):
    """A tool. ``item`` is its table in the target; ``creates`` says that it makes it itself."""

    title: str
    packages: tuple[str, ...]
    item: str
    creates: bool
    environ: Mapping[str, str] = {}


_PEERS: Final = {
    "dlt": Peer(
        title="dlt 1.31 (connectorx, merge by upsert)",
        packages=(
            "dlt[postgres,sql_database]==1.31.0",
            "sqlalchemy<2.1",  # 1.31 does not work with 2.1
            "connectorx==0.4.6",
            "pyarrow",
        ),
        item="peer.item",
        creates=True,
        environ={"RUNTIME__DLTHUB_TELEMETRY": "false", "RUNTIME__LOG_LEVEL": "ERROR"},
    ),
    "sling": Peer(
        title="sling 1.2.24 (incremental, key only)",
        # The last one that brings its program along; newer wheels fetch it when they are used.
        packages=("sling==1.2.24", "sling-linux-amd64==1.2.24"),
        item="public.item",
        creates=False,
        environ={"SLING_DISABLE_TELEMETRY": "TRUE", "NO_COLOR": "1"},
    ),
}
NAMES: Final = tuple(_PEERS)


def measured(
    name: str, stage: Stage, tables: Tables, rows: int, peers_dir: Path, results: Results
) -> list[Case]:
    """The peer's first load and its night; what it saw, or why it did not run, in ``results``."""
    peer, database = _PEERS[name], f"bench_peer_{name}"
    try:
        bin_dir = _installed(peers_dir / name, peer)
        command = _command(name, bin_dir, stage, database)
        stage.make_database(database, *([] if peer.creates else [table.CREATE]))
        first_base = stage.copy_out()
        first = _run(stage, command, peer)
        night = tables.next_night()
        edits = table.edit_by_staff(night).replace("item", peer.item)
        stage.sql(database, edits)
        changed = live_night(stage, night, rows)
        stage.settle(SOURCE, database)
        base = stage.copy_out()
        rerun = _run(stage, command, peer)
        results.sees.append(what_it_saw(stage, name, database, peer.item, night, rows, changed))
    except (BenchError, OSError, subprocess.SubprocessError) as error:
        results.skipped.append(f"{peer.title}: {error}")
        return []
    finally:
        stage.drop_database(database)
    return [
        Case(f"first_{name}", f"{peer.title}: first load", rows, COPY_TITLE, [first_base], [first]),
        Case(f"night_{name}", f"{peer.title}: the same night", rows, COPY_TITLE, [base], [rerun]),
    ]


def _command(name: str, bin_dir: Path, stage: Stage, database: str) -> list[str | Path]:
    # Both want a password in the URL; the server asks for none.
    source, target = (
        stage.dsn(of).replace("postgres@", "postgres:none@") for of in (SOURCE, database)
    )
    if name == "dlt":
        state_dir = stage.work_dir / "dlt"
        return [bin_dir / "python", _HERE / "peer_dlt.py", source, target, state_dir]
    return [
        bin_dir / "sling",
        *("run", "--mode", "incremental", "--primary-key", "id"),
        *("--src-conn", f"{source}?sslmode=disable", "--src-stream", "public.item"),
        *("--tgt-conn", f"{target}?sslmode=disable", "--tgt-object", "public.item"),
    ]


def _run(stage: Stage, command: Sequence[str | Path], peer: Peer) -> Sample:
    environ = {**peer.environ, "SLING_HOME_DIR": str(stage.work_dir / "sling")}
    return stage.measured(command, environ=environ, seconds_max=_RUN_S_MAX).sample


def _installed(folder: Path, peer: Peer) -> Path:
    """The programs of the peer, installed now unless they were before with the same pins."""
    mark, wanted = folder / ".installed", "\n".join(peer.packages)
    if not (mark.is_file() and mark.read_text(encoding="utf-8") == wanted):
        folder.parent.mkdir(parents=True, exist_ok=True)
        _install([sys.executable, "-m", "venv", "--clear", folder])
        _install([folder / "bin" / "python", "-m", "pip", "install", "-qq", *peer.packages])
        mark.write_text(wanted, encoding="utf-8")
    return folder / "bin"


def _install(command: Sequence[str | Path]) -> None:
    done = subprocess.run(  # noqa: S603 - our own pins
        command, check=False, capture_output=True, text=True, timeout=_INSTALL_S_MAX
    )
    if done.returncode != 0:
        errors = [line for line in done.stderr.splitlines() if line.startswith("ERROR")]
        raise BenchError(f"cannot be installed: {(errors or ['unknown'])[-1]}")
