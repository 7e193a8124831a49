"""Packed dumps that are hostile, damaged or cut off (case 90): refused, bounded, never a crash."""

import gzip
import io
import lzma
import os
import stat
import struct
import tarfile
import zipfile
from collections.abc import Callable
from contextlib import suppress
from pathlib import Path
from typing import Final

import pytest
import zstandard

from syncd.errors import SourceError, SyncdError, TransientError
from syncd.sources import archives
from tests.sources.dump_world import (
    COMPRESS,
    PAIRS,
    dump_at,
    look_at,
    tar_of,
    zip_of,
)

CSV: Final = b"id,a\n1,x\n"
ZEROS: Final = b"id,a\n1," + bytes(30_000_000)

CLIMBING: Final = [
    "../secret.csv",
    "../../secret.csv",
    "in/../../secret.csv",
    "./../secret.csv",
    "in/..",
    "/",
    "//",
    "/etc/passwd",
    "//etc/passwd",
    "in//things.csv",
    "in\\..\\..\\secret.csv",
    "C:\\secret.csv",
    "things\x1b[2J.csv",
]


def info_of(name: str, kind: bytes, link: str = "", size: int = 0) -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname, info.size = kind, link, size
    return info


@pytest.mark.parametrize(
    ("kind", "name"),
    [(kind, n) for kind in ("tar", "zip") for n in CLIMBING if kind == "tar" or n.strip("/")],
)
async def test_an_archive_with_a_hostile_member_is_refused_whole(
    tmp_path: Path, kind: str, name: str
) -> None:
    """Such an archive was made to do harm, so its honest-looking members are not read either."""
    members: dict[str, bytes] = {"things.csv": CSV, name: b"x"}
    path = tmp_path / f"dump.{kind}"
    path.write_bytes(tar_of(dict(members)) if kind == "tar" else zip_of(members))
    with pytest.raises(SourceError, match=r"^dump\.\w+: the name .* is refused"):
        await look_at(dump_at(path, "things.csv"), PAIRS)


@pytest.mark.parametrize(
    ("kind", "link"),
    [
        (tarfile.SYMTYPE, "/etc/passwd"),
        (tarfile.LNKTYPE, "real.csv"),
        (tarfile.CHRTYPE, ""),
        (tarfile.FIFOTYPE, ""),
        (tarfile.GNUTYPE_SPARSE, ""),
    ],
)
async def test_a_member_that_is_no_file_is_refused(tmp_path: Path, kind: bytes, link: str) -> None:
    """Links, devices and sparse files inside a tar are never followed or expanded."""
    path = tmp_path / "dump.tar"
    path.write_bytes(tar_of({"real.csv": CSV, "things.csv": info_of("things.csv", kind, link)}))
    with pytest.raises(SourceError):
        await look_at(dump_at(path, "things.csv"), PAIRS)


async def test_a_link_in_a_zip_is_refused(tmp_path: Path) -> None:
    """A zip stores a link as a file with a mode; its content is a path, not data."""
    path = tmp_path / "dump.zip"
    with zipfile.ZipFile(path, "w") as archive:
        info = zipfile.ZipInfo("things.csv")
        info.external_attr = (stat.S_IFLNK | 0o777) << 16
        archive.writestr(info, "/etc/passwd")
    with pytest.raises(SourceError, match="is a link or a device"):
        await look_at(dump_at(path, "things.csv"), PAIRS)


async def test_folders_in_archives_are_passed_over(tmp_path: Path) -> None:
    """Entries for folders, ``./`` too, are no files and no harm."""
    folder = info_of(".", tarfile.DIRTYPE)
    inner = info_of("in", tarfile.DIRTYPE)
    tar = tmp_path / "dump.tar"
    tar.write_bytes(tar_of({"./": folder, "in": inner, "in/things.csv": CSV}))
    packed = tmp_path / "dump.zip"
    packed.write_bytes(zip_of({"in/": b"", "in/things.csv": CSV}))
    for path in (tar, packed):
        assert (await look_at(dump_at(path, "in/things.csv"), PAIRS)).rows == 1
        with pytest.raises(SourceError, match="no 'in'"):
            await look_at(dump_at(path, "in"), PAIRS)


@pytest.mark.parametrize("kind", ["tar", "zip"])
async def test_a_name_that_an_archive_holds_twice_is_refused(tmp_path: Path, kind: str) -> None:
    """Which of the two is meant cannot be known, and readers disagree."""
    path = tmp_path / f"dump.{kind}"
    if kind == "tar":
        path.write_bytes(tar_of({"things.csv": CSV, "./things.csv": b"id,a\n"}))
    else:
        with zipfile.ZipFile(path, "w") as archive:
            archive.writestr("things.csv", CSV)
            with pytest.warns(UserWarning, match="Duplicate"):
                archive.writestr("things.csv", b"id,a\n")
    with pytest.raises(SourceError, match=r"holds 'things\.csv' twice"):
        await look_at(dump_at(path, "things.csv"), PAIRS)


async def test_an_archive_of_too_many_members_is_refused(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """At the limit it is read, one above it is not (I14)."""
    monkeypatch.setattr(archives, "_MEMBERS_MAX", 20)
    for kind, make in (("tar", tar_of), ("zip", zip_of)):
        path = tmp_path / f"dump.{kind}"
        for count in (20, 21):
            others = {f"n{n}": b"" for n in range(count - 1)}
            path.write_bytes(make({"things.csv": CSV, **others}))
            if count == 20:
                assert (await look_at(dump_at(path, "things.csv"), PAIRS)).rows == 1
            else:
                with pytest.raises(SourceError, match="more than 20 members"):
                    await look_at(dump_at(path, "things.csv"), PAIRS)


async def test_a_tar_with_a_huge_header_is_refused(tmp_path: Path) -> None:
    """Extended headers are read whole by every tar reader, so their size has a limit."""
    for kind in (tarfile.XHDTYPE, tarfile.GNUTYPE_LONGNAME, tarfile.XGLTYPE):
        path = tmp_path / "dump.tar"
        path.write_bytes(info_of("x", kind, size=2**40).tobuf(tarfile.GNU_FORMAT) + bytes(10240))
        with pytest.raises(SourceError, match="a header of"):
            await look_at(dump_at(path, "things.csv"), PAIRS)


async def test_a_zip_with_a_huge_directory_is_refused(tmp_path: Path) -> None:
    """The directory is read whole too; it may say that it is larger than any honest one."""
    path = tmp_path / "dump.zip"
    path.write_bytes(zip_of({f"{'n' * 200}{n}": b"" for n in range(12_000)}))
    with pytest.raises(SourceError, match="the directory of the archive is larger"):
        await look_at(dump_at(path, "things.csv"), PAIRS)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
async def test_a_bomb_is_stopped_by_its_ratio(tmp_path: Path, suffix: str) -> None:
    """What unfolds to more than ``max_ratio`` times its size is refused after the first MiB."""
    (tmp_path / f"things.csv{suffix}").write_bytes(COMPRESS[suffix](ZEROS))
    with pytest.raises(SourceError, match="unfolds to more than 50 times its size"):
        await look_at(dump_at(tmp_path, "things.csv", max_ratio=50), PAIRS)


@pytest.mark.parametrize(
    ("name", "make"),
    [
        ("dump.zip", lambda: zip_of({"things.csv": ZEROS})),
        ("dump.tar.gz", lambda: gzip.compress(tar_of({"things.csv": ZEROS}))),
        ("dump.tar.xz", lambda: lzma.compress(tar_of({"things.csv": ZEROS}))),
        ("dump.tar.zst", lambda: zstandard.compress(tar_of({"things.csv": ZEROS}))),
        ("dump.tar", lambda: tar_of({"things.csv.gz": gzip.compress(ZEROS)})),
        ("dump.zip", lambda: zip_of({"things.csv.gz": gzip.compress(ZEROS)})),
    ],
)
async def test_a_bomb_in_an_archive_is_stopped_by_its_ratio(
    tmp_path: Path, name: str, make: Callable[[], bytes]
) -> None:
    """The archive and what is in it are both held to the ratio."""
    (tmp_path / name).write_bytes(make())
    with pytest.raises(SourceError, match="unfolds to more than 200 times its size"):
        await look_at(dump_at(tmp_path / name, "things.csv"), PAIRS)


async def test_an_archive_of_many_versions_may_shrink_further_than_a_file(tmp_path: Path) -> None:
    """Only beyond ``max_file_bytes`` is the whole held to the ratio: real archives need that."""
    members = {f"old{n}.csv": bytes(900_000) for n in range(40)}
    path = tmp_path / "dump.tar.xz"
    path.write_bytes(lzma.compress(tar_of({**members, "things.csv": CSV})))
    assert (await look_at(dump_at(path, "things.csv"), PAIRS)).rows == 1
    with pytest.raises(SourceError, match=r"^dump\.tar\.xz: unfolds to more than 200 times"):
        await look_at(dump_at(path, "things.csv", max_file_bytes=1_000_000), PAIRS)


@pytest.mark.parametrize("suffix", [".gz", ".xz", ".zst"])
async def test_small_files_may_shrink_as_much_as_they_like(tmp_path: Path, suffix: str) -> None:
    """Below a MiB the ratio says nothing: a table of blanks is no bomb."""
    text = b"id,a\n" + b"".join(b"%d,\n" % n for n in range(5_000)) + b" " * 500_000 + b",\n"
    (tmp_path / f"things.csv{suffix}").write_bytes(COMPRESS[suffix](text))
    look = await look_at(dump_at(tmp_path, "things.csv", max_ratio=2, batch_rows=900), PAIRS)
    assert look.rows == 5_001


@pytest.mark.parametrize("suffix", ["", ".gz", ".xz", ".zst", ".tar", ".zip"])
async def test_a_file_above_the_size_limit_is_refused(tmp_path: Path, suffix: str) -> None:
    """At the limit it is read; one byte more, stored or unfolded, is refused (I14)."""
    text = CSV + b"".join(b"%d,%d\n" % (n, n * n) for n in range(2, 1000))
    if suffix in (".tar", ".zip"):
        path = tmp_path / f"dump{suffix}"
        path.write_bytes((tar_of if suffix == ".tar" else zip_of)({"things.csv": text}))
    else:
        path = tmp_path
        (path / f"things.csv{suffix}").write_bytes(COMPRESS[suffix](text))
    limit = max(len(text), path.stat().st_size if suffix == ".tar" else 0)
    look = await look_at(dump_at(path, "things.csv", max_file_bytes=limit), PAIRS)
    assert look.rows == 999
    below = dump_at(path, "things.csv", max_file_bytes=len(text) - 1)
    with pytest.raises(SourceError, match="max_file_bytes"):
        await look_at(below, PAIRS)


@pytest.mark.parametrize("method", [zipfile.ZIP_BZIP2, zipfile.ZIP_LZMA])
async def test_a_zip_in_a_method_without_bounds_is_refused(tmp_path: Path, method: int) -> None:
    """bzip2 and LZMA in zip files unfold any amount at once, so they are not read."""
    (tmp_path / "dump.zip").write_bytes(zip_of({"things.csv": CSV}, method))
    with pytest.raises(SourceError, match="encrypted or compressed in a way"):
        await look_at(dump_at(tmp_path / "dump.zip", "things.csv"), PAIRS)


async def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    """The flag is in the directory; no password is ever asked for."""
    data = bytearray(zip_of({"things.csv": CSV}, zipfile.ZIP_STORED))
    at = data.index(b"PK\x01\x02") + 8
    struct.pack_into("<H", data, at, 1)
    (tmp_path / "dump.zip").write_bytes(data)
    with pytest.raises(SourceError, match="encrypted"):
        await look_at(dump_at(tmp_path / "dump.zip", "things.csv"), PAIRS)


DAMAGED: Final = [
    *(("things.csv" + suffix, COMPRESS[suffix]) for suffix in (".gz", ".xz", ".zst")),
    ("dump.tar", lambda data: tar_of({"things.csv": data})),
    ("dump.tar.gz", lambda data: gzip.compress(tar_of({"things.csv": data}))),
    ("dump.tar.xz", lambda data: lzma.compress(tar_of({"things.csv": data}))),
    ("dump.tar.zst", lambda data: zstandard.compress(tar_of({"things.csv": data}))),
    ("dump.zip", lambda data: zip_of({"things.csv": data})),
]
BODY: Final = b"id,a\n" + b"".join(b"%d,%d\n" % (n, n * 7919 % 1009) for n in range(1000))


@pytest.mark.parametrize(("name", "pack"), DAMAGED, ids=[name for name, _ in DAMAGED])
async def test_a_packed_file_that_is_cut_off_is_refused(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    """Wherever it is cut, a truncated packed dump is an error, never fewer rows (case 39)."""
    whole = pack(BODY)
    path = tmp_path / name
    # The last blocks of a tar are padding: a tar without them is whole.
    last = len(BODY) + 512 if name == "dump.tar" else len(whole)
    for size in sorted({0, 1, 3, 10, last // 3, last // 2, last - 20, last - 1}):
        path.write_bytes(whole[:size])
        with pytest.raises(SourceError):
            await look_at(dump_at(path, "things.csv", batch_rows=5000), PAIRS)
    path.write_bytes(whole)
    assert (await look_at(dump_at(path, "things.csv", batch_rows=5000), PAIRS)).rows == 1000


@pytest.mark.parametrize(("name", "pack"), DAMAGED, ids=[name for name, _ in DAMAGED])
async def test_a_packed_file_with_a_changed_byte_never_crashes(
    tmp_path: Path, name: str, pack: Callable[[bytes], bytes]
) -> None:
    """Any byte may be wrong: the answer is an error of ours, or a look that adds up."""
    whole = bytearray(pack(BODY))
    path = tmp_path / name
    for step in range(0, len(whole), max(1, len(whole) // 40)):
        broken = bytearray(whole)
        broken[step] ^= 0x55
        path.write_bytes(broken)
        # A header that is changed is drift, which is an error of ours as well.
        with suppress(SyncdError):
            await look_at(dump_at(path, "things.csv", batch_rows=5000), PAIRS)


async def test_no_room_to_spool_is_transient(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A full disk passes when somebody makes room; nothing is left behind (case 11)."""
    (tmp_path / "things.csv.gz").write_bytes(gzip.compress(BODY))

    class Full(io.FileIO):
        def write(self, _: object) -> int:
            raise OSError(28, "No space left on device")

    def full(**_: object) -> io.FileIO:
        return Full(os.open(tmp_path, os.O_TMPFILE | os.O_RDWR), "r+")

    monkeypatch.setattr("syncd.sources.spool.tempfile.TemporaryFile", full)
    with pytest.raises(TransientError, match="the spool folder: No space left"):
        await look_at(dump_at(tmp_path, "things.csv"), PAIRS)
