"""Names of archives and of what is in them.

A member's name is only compared with the name that is looked for, so it can lead nowhere; still,
an archive that holds a name such as ``../x`` was made to do harm, and is refused whole (case 90).
"""

from typing import Final

from syncd.errors import SourceError
from syncd.visible import visible

# By suffix: how the archive itself is compressed.
ARCHIVES: Final = {
    ".tar": "",
    ".tar.gz": ".gz",
    ".tgz": ".gz",
    ".tar.xz": ".xz",
    ".txz": ".xz",
    ".tar.zst": ".zst",
    ".tzst": ".zst",
    ".zip": "",
}
NAME_BYTES_SHOWN: Final = 200


def archive_suffix(name: str) -> str:
    """The suffix of ``name`` that makes it an archive, such as ``.tar.gz``; empty for none."""
    return next((suffix for suffix in ARCHIVES if name.lower().endswith(suffix)), "")


def checked_name(name: str, whose: str) -> str:
    """``name`` without a leading ``./``, proved to stay below where it is looked for.

    Raises SourceError for an absolute name, one with ``..`` or an empty part, or one with a
    character that no file name needs (a control character, a backslash). ``whose`` begins the
    message.
    """
    plain = name.removeprefix("./")
    parts = plain.split("/")
    harmless = plain.isprintable() and "\\" not in plain and plain[1:2] != ":"
    if harmless and not {"", ".", ".."} & set(parts):
        return plain
    raise SourceError(
        f"{whose}: the name {visible(name, NAME_BYTES_SHOWN)!r} is refused",
        hint="name a file below source.path by its plain relative path",
    )
