"""Finding the files of a dump below its root, and nothing else.

What stands at ``source.path`` is not trusted: a name is walked part by part from an open folder,
no link is followed, only regular files count, and an archive is never unpacked (case 90). The
root itself is the operator's own word and may be a link.
"""

import io
import os
import stat
from collections.abc import Callable, Generator, Iterator, Mapping
from difflib import get_close_matches
from itertools import islice
from pathlib import Path
from typing import TYPE_CHECKING, Final, TypeAlias

from syncd.config import FilesSource
from syncd.errors import SourceError, SyncdError
from syncd.sources.archive_names import ARCHIVES, archive_suffix, checked_name
from syncd.sources.decompression import (
    SUFFIXES,
    Counted,
    bounded_ratio,
    compression,
    decompressed,
)
from syncd.sources.dump_files import (
    DumpFile,
    Opener,
    check_size,
    pieces,
    ready,
    spool,
    undamaged,
)
from syncd.sources.spool import translated
from syncd.visible import visible

if TYPE_CHECKING:
    from syncd.sources.archives import Member

# A pause is None; what was opened comes with the name of its entity.
Opening: TypeAlias = Generator[tuple[str, DumpFile | SyncdError] | None, None, None]
_OpeningOne: TypeAlias = Generator[None, None, DumpFile]

_PATH_FLAGS: Final = os.O_RDONLY | os.O_CLOEXEC
# Without O_NONBLOCK, opening a pipe would wait for ever.
_FILE_FLAGS: Final = _PATH_FLAGS | os.O_NOFOLLOW | os.O_NONBLOCK
_FOLDER_FLAGS: Final = _PATH_FLAGS | os.O_NOFOLLOW | os.O_DIRECTORY

_NAMES_SHOWN: Final = 8
_NAMES_LISTED_MAX: Final = 2000
_NAME_BYTES_SHOWN: Final = 200
_KINDS: Final = {
    stat.S_IFLNK: "a symbolic link",
    stat.S_IFDIR: "a folder",
    stat.S_IFIFO: "a pipe",
    stat.S_IFSOCK: "a socket",
    stat.S_IFCHR: "a device",
    stat.S_IFBLK: "a device",
}


def opening(opener: Opener, wanted: Mapping[str, str]) -> Opening:
    """Open the file of every entity; ``wanted`` is its path below the root, by entity.

    Gives each entity's DumpFile, which the caller closes, or the error that keeps it shut: one
    missing file stops one entity. Raises SourceError when the root itself cannot be read.
    """
    root = opener.config.path
    mode = None if "\0" in root else _mode(root)
    if mode is None:
        raise SourceError(
            f"source.path: there is nothing at {visible(root)}",
            hint="name a folder, a file or an archive",
        )
    if stat.S_ISDIR(mode):
        return _opening_in_folder(opener, wanted)
    if not stat.S_ISREG(mode):
        raise SourceError(
            f"source.path: {visible(root)} is {_kind(mode)}",
            hint="name a folder, a file or an archive",
        )
    if archive_suffix(root):
        return _opening_in_archive(opener, wanted)
    return _opening_single(opener, wanted)


def _opening_in_folder(opener: Opener, wanted: Mapping[str, str]) -> Opening:
    with translated(visible(opener.config.path)):
        folder = os.open(opener.config.path, _PATH_FLAGS | os.O_DIRECTORY)
    try:
        for entity, path in wanted.items():
            yield from _or_error(entity, _from_folder(opener, folder, entity, path))
    finally:
        os.close(folder)


def _opening_single(opener: Opener, wanted: Mapping[str, str]) -> Opening:
    for entity, path in wanted.items():
        yield from _or_error(entity, _from_single(opener, entity, path))


def _or_error(entity: str, one: _OpeningOne) -> Opening:
    try:
        yield entity, (yield from one)
    except SyncdError as error:
        yield entity, error


def _from_folder(opener: Opener, folder: int, entity: str, path: str) -> _OpeningOne:
    plain = _checked_path(entity, path)
    *parents, last = plain.split("/")
    within = os.dup(folder)
    try:
        for parent in parents:
            deeper = _open_folder(parent, within, entity)
            os.close(within)
            within = deeper

        def is_there(name: str) -> bool:
            return _mode(name, within) is not None

        name = _stored_name(last, is_there, lambda: _names_in(within), entity)
        file = _open_file(name, within)
    finally:
        os.close(within)
    return (yield from ready(opener, file, "/".join((*parents, name))))


def _from_single(opener: Opener, entity: str, path: str) -> _OpeningOne:
    found = Path(opener.config.path).name
    name = _stored_name(_checked_path(entity, path), found.__eq__, lambda: [found], entity)
    return (yield from ready(opener, _open_root(opener.config.path), name))


def _opening_in_archive(opener: Opener, wanted: Mapping[str, str]) -> Opening:
    """One pass over the archive spools every member that is wanted."""
    paths: dict[str, str] = {}
    for entity, path in wanted.items():
        try:
            paths[entity] = _checked_path(entity, path)
        except SourceError as error:
            yield entity, error
    opened: dict[str, DumpFile | SyncdError] = {}
    given: set[str] = set()
    try:
        names = yield from _spool_members(opener, frozenset(paths.values()), opened)
        for entity, path in paths.items():
            try:
                name = _stored_name(path, names.__contains__, lambda: names, entity)
                found = opened[name]
            except SourceError as error:
                found = error
            else:
                given.add(name)
            yield entity, found
    finally:
        for name, file in opened.items():
            if name not in given and isinstance(file, DumpFile):
                file.close()


def _spool_members(
    opener: Opener, paths: frozenset[str], opened: dict[str, DumpFile | SyncdError]
) -> Generator[None, None, list[str]]:
    """Fill ``opened`` with the members that are wanted; the names of all members."""
    archive = visible(Path(opener.config.path).name)
    try:
        with undamaged(archive):
            return (yield from _spool_each(opener, paths, opened, archive))
    except SourceError as error:
        # A stream that broke inside a member cannot go on after it; the first reason is the one.
        first = next((e for e in opened.values() if isinstance(e, SourceError)), None)
        if first is None:
            raise
        raise first from error


def _spool_each(
    opener: Opener,
    paths: frozenset[str],
    opened: dict[str, DumpFile | SyncdError],
    archive: str,
) -> Generator[None, None, list[str]]:
    config, names = opener.config, set[str]()
    with _open_root(config.path) as file:
        check_size(archive, os.fstat(file.fileno()).st_size, config.max_file_bytes)
        for name, content in _members(config, file, archive):
            if name in names:
                raise SourceError(
                    f"{archive}: holds {name!r} twice", hint="have the archive made again"
                )
            names.add(name)
            if _is_wanted(name, paths):
                opened[name] = yield from _spool_member(opener, f"{archive}/{name}", name, content)
            if opener.head_bytes is not None and paths <= opened.keys():
                break
            yield
    return sorted(names)


def _spool_member(
    opener: Opener, shown: str, name: str, content: Iterator[bytes] | None
) -> Generator[None, None, DumpFile | SyncdError]:
    if content is None:
        return SourceError(
            f"{shown}: is a link or a device in its archive, expected a regular file",
            hint="store the file itself",
        )
    try:
        return (yield from spool(opener, content, shown, compression(name)))
    except SourceError as error:
        return error


def _members(config: FilesSource, file: io.FileIO, archive: str) -> "Iterator[Member]":
    # Most dumps are plain files, and never need what unpacks.
    from syncd.sources.archives import tar_members, zip_members  # noqa: PLC0415

    suffix = archive_suffix(config.path)
    if suffix == ".zip":
        yield from zip_members(file, archive, config.max_ratio)
        return
    stored = Counted(pieces(file))
    # Versions of one file shrink together, a real archive of 76 to a fivehundredth. So the whole
    # may unfold further than a member, of which nothing is stored but what is wanted.
    stream = bounded_ratio(
        decompressed(stored, ARCHIVES[suffix], archive),
        lambda: stored.bytes,
        archive,
        config.max_ratio,
        config.max_file_bytes,
    )
    for name, content in tar_members(stream, archive):
        shown = f"{archive}/{name}"
        yield (
            name,
            content and bounded_ratio(content, lambda: stored.bytes, shown, config.max_ratio),
        )


def _is_wanted(name: str, paths: frozenset[str]) -> bool:
    suffix = compression(name)
    return name in paths or (bool(suffix) and name[: -len(suffix)] in paths)


def _checked_path(entity: str, path: str) -> str:
    """``path`` proved to stay below the root and to be no archive of its own."""
    plain = checked_name(path, f"entity {entity}")
    if archive_suffix(plain):
        raise SourceError(
            f"entity {entity}: {plain!r} is an archive below source.path",
            hint="make the archive itself source.path and name its member in 'from'",
        )
    return plain


def _stored_name(
    name: str, is_there: Callable[[str], bool], names: Callable[[], list[str]], entity: str
) -> str:
    """``name``, or the one compressed form of it that is there.

    Raises SourceError with what else is there (``names``) when none or several are.
    """
    if is_there(name):
        return name
    found = [name + suffix for suffix in SUFFIXES if is_there(name + suffix)]
    if len(found) == 1:
        return found[0]
    if found:
        raise SourceError(
            f"entity {entity}: {name!r} is there as {', '.join(found)}; which one is meant "
            "cannot be known",
            hint="name one of them in 'from'",
        )
    nearby = names()
    shown = get_close_matches(name, nearby, _NAMES_SHOWN, cutoff=0.5)
    shown += [other for other in sorted(nearby) if other not in shown][: _NAMES_SHOWN - len(shown)]
    listed = ", ".join(visible(other, _NAME_BYTES_SHOWN) for other in shown) or "nothing"
    raise SourceError(
        f"entity {entity}: there is no {name!r}; found {listed}",
        hint="check source.path and the entity's 'from'",
    )


def _open_root(path: str) -> io.FileIO:
    """The file at ``source.path`` itself, links followed."""
    with translated(visible(path)):
        return _regular(os.open(path, _PATH_FLAGS | os.O_NONBLOCK), visible(path))


def _open_folder(name: str, within: int, entity: str) -> int:
    mode = _mode(name, within)
    if mode is None:
        _stored_name(name, lambda _: False, lambda: _names_in(within), entity)
    elif not stat.S_ISDIR(mode):
        raise SourceError(
            f"entity {entity}: {name!r} is {_kind(mode)}, expected a folder",
            hint="links are never followed below source.path",
        )
    with translated(name):
        return os.open(name, _FOLDER_FLAGS, dir_fd=within)


def _open_file(name: str, within: int) -> io.FileIO:
    # Looked at before it is opened, since opening a device may do something.
    mode = _mode(name, within)
    if mode is not None and not stat.S_ISREG(mode):
        raise _not_regular(name, mode)
    with translated(name):
        return _regular(os.open(name, _FILE_FLAGS, dir_fd=within), name)


def _regular(handle: int, name: str) -> io.FileIO:
    mode = os.fstat(handle).st_mode
    if not stat.S_ISREG(mode):
        os.close(handle)
        raise _not_regular(name, mode)
    return io.FileIO(handle)


def _not_regular(name: str, mode: int) -> SourceError:
    return SourceError(
        f"{name}: is {_kind(mode)}, expected a regular file",
        hint="links are never followed and devices never read below source.path",
    )


def _mode(name: str, within: int | None = None) -> int | None:
    """Kind and permissions of what is there; links are followed for the root only."""
    with translated(visible(name)):
        try:
            return os.stat(name, dir_fd=within, follow_symlinks=within is None).st_mode
        except FileNotFoundError:
            return None


def _kind(mode: int) -> str:
    return _KINDS.get(stat.S_IFMT(mode), "of an unknown kind")


def _names_in(folder: int) -> list[str]:
    with os.scandir(folder) as entries:
        return [entry.name for entry in islice(entries, _NAMES_LISTED_MAX)]
