"""The driver manager and a driver, found when they are first needed.

``pyodbc`` brings no driver manager of its own, and no driver. Both are looked for here, so that a
pipeline without ODBC needs neither, and one that lacks them is told so before anything runs.
"""

import importlib.util
import platform
from functools import cache
from pathlib import Path
from typing import Any, Final

from msgspec import Struct

from syncd.errors import ConfigError

_WHEEL: Final = "mssql_python_odbc"  # Microsoft's driver as its operator installed it
_MACHINES: Final = {"x86_64": "x86_64", "amd64": "x86_64", "aarch64": "arm64", "arm64": "arm64"}
_DISTRIBUTIONS: Final = {
    **dict.fromkeys(("rhel", "fedora", "centos", "amzn"), "rhel"),
    **dict.fromkeys(("suse", "opensuse", "sles"), "suse"),
}
_REGISTERED: Final = {
    "msodbcsql": ("ODBC Driver 18 for SQL Server", "ODBC Driver 17 for SQL Server"),
    "freetds": ("FreeTDS",),
    "postgres": ("PostgreSQL Unicode", "PostgreSQL"),
    "sqlite": ("SQLite3",),
}
_FILES: Final = {
    "freetds": "libtdsodbc.so",
    "postgres": "psqlodbcw.so",
    "sqlite": "libsqlite3odbc.so",
}
_PACKAGES: Final = {
    "tsql": "the wheel mssql-python-odbc (Microsoft's) or the package tdsodbc (FreeTDS)",
    "postgres": "the package odbc-postgresql",
    "sqlite": "the package libsqliteodbc",
}
_FOLDERS: Final = ("/usr/lib/*/odbc", "/usr/lib/odbc", "/usr/lib64", "/usr/local/lib")
_ORDER: Final = {"tsql": ("msodbcsql", "freetds"), "postgres": ("postgres",), "sqlite": ("sqlite",)}


class Library(Struct, frozen=True):
    """The two modules, as they were imported."""

    pyodbc: Any
    aioodbc: Any


@cache
def library() -> Library:
    """``pyodbc`` and ``aioodbc``, set up once for the whole process.

    Raises ConfigError when one of them, or the system's driver manager, is not there.
    """
    try:
        import aioodbc  # noqa: PLC0415 - only where a pipeline needs it, and it may not be there
        import pyodbc  # noqa: PLC0415
    except ImportError as error:
        raise _lacking(error) from None
    # Our own pool decides what lives on; the driver manager's would hand out dead connections.
    pyodbc.pooling = False
    pyodbc.native_uuid = True
    return Library(pyodbc, aioodbc)


def _lacking(error: ImportError) -> ConfigError:
    if "libodbc" in str(error):
        return ConfigError(
            "source.kind sqlserver needs the driver manager libodbc.so.2, which is not there",
            hint="install libodbc2 (Debian, Ubuntu) or unixODBC (Red Hat)",
        )
    return ConfigError(
        "source.kind sqlserver needs the Python packages aioodbc and pyodbc, which are not there",
        hint="install syncd[sqlserver]",
    )


def find_driver(name: str, dialect: str) -> str:
    """The path or registered name of the driver ``name``; 'auto' takes the first that is there.

    Raises ConfigError when there is none. Any other name is passed on as it is.
    """
    wanted = _ORDER[dialect] if name == "auto" else (name,)
    if name not in ("auto", *_REGISTERED):
        return _checked(name)
    for one in wanted:
        found = _found(one)
        if found:
            return found
    raise ConfigError(
        f"source.driver: no ODBC driver {' or '.join(wanted)} is installed",
        hint=f"install {_PACKAGES[dialect]}, or name the path of a driver",
    )


def _checked(name: str) -> str:
    if "/" in name and not Path(name).is_file():
        raise ConfigError(
            "source.driver: there is no such file", hint="name the path of a driver's library"
        )
    return name


def _found(kind: str) -> str:
    """The driver of that kind: of the wheel, registered, or in a usual folder; '' for none."""
    wheel = _of_wheel() if kind == "msodbcsql" else ""
    if wheel:
        return wheel
    registered = library().pyodbc.drivers()
    for name in _REGISTERED[kind]:
        if name in registered:
            return str(name)
    file = _FILES.get(kind)
    folders = [path for folder in _FOLDERS for path in Path("/").glob(folder[1:])]
    paths = [folder / file for folder in folders if file and (folder / file).is_file()]
    return str(paths[0]) if paths else ""


def _of_wheel() -> str:
    """The driver inside Microsoft's wheel, which is never imported; '' where there is none."""
    spec = importlib.util.find_spec(_WHEEL)
    if spec is None or spec.origin is None:
        return ""
    machine = _MACHINES.get(platform.machine().lower(), "")
    libs = Path(spec.origin).parent / "libs/linux" / _distribution() / machine / "lib"
    found = sorted(libs.glob("libmsodbcsql-*.so*"))
    return str(found[-1]) if machine and found else ""


def _distribution() -> str:
    try:
        release = platform.freedesktop_os_release()
    except OSError:
        return "debian_ubuntu"
    names = [release.get("ID", ""), *release.get("ID_LIKE", "").split()]
    return next((_DISTRIBUTIONS[name] for name in names if name in _DISTRIBUTIONS), "debian_ubuntu")
