"""How a program is started that refuses to run as root: as ``nobody`` when we are root.

Python's own ``user=`` does it, so nothing is added to the machine and no mode of a folder that
is not ours is changed. When we are not root, programs run as ourselves.
"""

import os
import pwd
import subprocess
from collections.abc import Sequence
from pathlib import Path
from typing import IO, Any, Final

from syncd.errors import ConfigError

RUN_S_MAX: Final = 60.0


def user() -> pwd.struct_passwd | None:
    """The user to become, or None when we are not root.

    :raises ConfigError: we are root and there is no user ``nobody``
    """
    if os.geteuid() != 0:
        return None
    try:
        return pwd.getpwnam("nobody")
    except KeyError:
        raise ConfigError(
            "PostgreSQL does not run as root, and there is no user named nobody",
            hint="run as another user, or give a DSN",
        ) from None


def spawn(
    command: Sequence[str | Path], *, stdin: int, output: int | IO[bytes]
) -> subprocess.Popen[bytes]:
    """Starts a program in a session of its own, so that our Ctrl-C is not its Ctrl-C."""
    return subprocess.Popen(  # noqa: S603 - our own arguments, no shell.
        command, stdin=stdin, stdout=output, stderr=output, start_new_session=True, **_identity()
    )


def run(command: Sequence[str | Path]) -> subprocess.CompletedProcess[str]:
    """Runs a program to its end; one that cannot be run at all has the code 126, as in a shell."""
    try:
        return subprocess.run(  # noqa: S603 - our own arguments, no shell.
            command, check=False, capture_output=True, text=True, timeout=RUN_S_MAX, **_identity()
        )
    except OSError as error:
        return subprocess.CompletedProcess([], 126, "", f"{command[0]}: {error.strerror}")
    except subprocess.TimeoutExpired:
        return subprocess.CompletedProcess([], 124, "", f"{command[0]} ran over {RUN_S_MAX:.0f} s")


def succeeds(command: Sequence[str | Path]) -> bool:
    """Whether the program ran and ended well."""
    return run(command).returncode == 0


def own(folder: Path) -> None:
    """Makes a private folder of the user who runs the programs; may be repeated."""
    folder.mkdir(mode=0o700, exist_ok=True)
    other = user()
    if other is not None:
        os.chown(folder, other.pw_uid, other.pw_gid)


def open_to_all(tree: Path) -> None:
    """Lets everybody read a tree of ours, and run what its owner may run."""
    for path in (tree, *tree.rglob("*")):
        if not path.is_symlink():
            mode = path.stat().st_mode
            path.chmod(mode | 0o444 | (0o111 if mode & 0o100 else 0))


def _identity() -> dict[str, Any]:
    # A minimal environment: PG* variables and locales of the caller must not reach the server.
    identity: dict[str, Any] = {
        "cwd": "/",
        "env": {"PATH": "/usr/bin:/bin", "LC_ALL": "C", "TZ": "UTC"},
    }
    other = user()
    if other is not None:
        identity |= {"user": other.pw_uid, "group": other.pw_gid, "extra_groups": []}
    return identity
