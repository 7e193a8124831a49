"""Whether a dump is another one than before: names, sizes and times, without reading any of it."""

import os
from collections.abc import Iterator
from hashlib import blake2b
from pathlib import Path
from typing import Final

FILES_MAX: Final = 10_000
_DEPTH_MAX: Final = 8


def dump_seen(path: str) -> str:
    """What stands at ``path`` now, as a short text; "" where there is nothing.

    Blocks for as long as the folder takes to list. Links below the root are not followed.
    """
    digest = blake2b(digest_size=16)
    found = False
    try:
        for name, status in _files(Path(path)):
            line = f"{name}\0{status.st_size}\0{status.st_mtime_ns}\n"
            digest.update(line.encode("utf-8", "replace"))
            found = True
    except OSError:
        return ""  # it went while it was looked at; the next look tells
    return digest.hexdigest() if found else ""


def _files(root: Path) -> Iterator[tuple[str, os.stat_result]]:
    if not root.is_dir():
        yield root.name, root.stat()
        return
    folders, seen = [(root, 0)], 0
    while folders:
        folder, depth = folders.pop()
        for entry in sorted(os.scandir(folder), key=lambda e: e.name):
            if entry.is_dir(follow_symlinks=False):
                if depth < _DEPTH_MAX:
                    folders.append((Path(entry.path), depth + 1))
            elif seen < FILES_MAX:
                seen += 1
                yield str(Path(entry.path).relative_to(root)), entry.stat(follow_symlinks=False)
