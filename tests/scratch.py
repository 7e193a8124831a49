"""Where tests put their files: in memory, where there is room, since they make and remove so many.

A database is 300 files. A file system on a disk may take ten times as long to find a place for
each of them, and the tests make a thousand databases.
"""

import os
import shutil
import tempfile
from pathlib import Path
from typing import Final

MEMORY: Final = Path("/dev/shm")  # noqa: S108 - what is made in it has a random name, by tempfile
BYTES_MIN: Final = 4 << 30  # two servers and the real dumps, unpacked, take a quarter of it


def prefer_memory() -> None:
    """Let ``TMPDIR`` be the file system in memory, unless it is set, or that one will not do.

    Programs must be allowed to run there: a server's may have to be copied.
    """
    if "TMPDIR" in os.environ or not os.access(MEMORY, os.W_OK | os.X_OK):
        return
    may_execute = not os.statvfs(MEMORY).f_flag & os.ST_NOEXEC
    if may_execute and shutil.disk_usage(MEMORY).free >= BYTES_MIN:
        os.environ["TMPDIR"] = str(MEMORY)
        tempfile.tempdir = None  # asked for already, perhaps
