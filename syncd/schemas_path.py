"""Where the SQL and the contracts of ``schemas/`` are, installed or not.

They live at the root of the repository, where people look for them. A wheel carries the same
tree as ``syncd/_schemas``; an editable install has no copy beside the code, so the root is used
and an edit is seen at once.
"""

from pathlib import Path
from typing import Final

from syncd.errors import ConfigError

_PACKAGE: Final = Path(__file__).resolve().parent


def schema_root() -> Path:
    """The folder of the schemas: the packaged one, else the repository's.

    :raises ConfigError: neither is there; the installation is broken
    """
    for candidate in (_PACKAGE / "_schemas", _PACKAGE.parent / "schemas"):
        if candidate.is_dir():
            return candidate
    raise ConfigError(
        f"no schemas beside {_PACKAGE.name} and none in it", hint="install syncd again"
    )


def schema_text(relative: str) -> str:
    """The text of one file, for example ``ledger/0001_pre_start.sql``.

    :raises ConfigError: there is no such file, or the path leads out of the schemas
    """
    root = schema_root()
    path = (root / relative).resolve()
    if not path.is_relative_to(root.resolve()):
        raise ConfigError(f"schema {relative!r} leads out of the schemas")
    try:
        return path.read_text(encoding="utf-8")
    except (FileNotFoundError, IsADirectoryError):
        raise ConfigError(f"schema {relative!r} is not part of this version of syncd") from None


def schema_names(folder: str, suffix: str) -> list[str]:
    """The files directly in ``folder`` that end in ``suffix``, in the order of their names.

    What is returned can be given to ``schema_text``; an absent folder holds no files.
    """
    root = schema_root()
    return sorted(
        path.relative_to(root).as_posix()
        for path in (root / folder).glob(f"*{suffix}")
        if path.is_file()
    )
