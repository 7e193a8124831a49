"""What a hostile dump may try (case 90): nothing outside the root is read, nothing is unbounded."""

import os
import socket
import stat
from pathlib import Path
from typing import Final

import pytest

from syncd.errors import SourceError
from syncd.sources import dump_root
from tests.sources.dump_world import (
    COMPRESS,
    ENTITY,
    PAIRS,
    dump_at,
    look_at,
    tar_of,
    zip_of,
)

CSV: Final = b"id,a\n1,x\n"

HOSTILE: Final = [
    "../secret.csv",
    "../../secret.csv",
    "in/../../secret.csv",
    "in/../../../secret.csv",
    "./../secret.csv",
    "././../secret.csv",
    "in/..",
    "in/../",
    "..",
    ".",
    "./",
    "",
    "/",
    "//",
    "/etc/passwd",
    "//etc/passwd",
    "/proc/self/environ",
    "/dev/stdin",
    "/dev/zero",
    "in//things.csv",
    "in/./things.csv",
    "in/",
    "in/things.csv/",
    "./in//../../secret.csv",
    "..\\secret.csv",
    "in\\..\\..\\secret.csv",
    "C:\\secret.csv",
    "C:/secret.csv",
    "c:secret.csv",
    "\\\\server\\share\\secret.csv",
    "things.csv\0.png",
    "things.csv\n",
    "things.csv\r",
    "\tthings.csv",
    "things\x1b[2J.csv",
    "things\u202evsc.csv",
    "things\u2028.csv",
    "\ud800.csv",
    "....//secret.csv",
    "..;/secret.csv",
    "%2e%2e/secret.csv",
    "~/secret.csv",
    "~root/secret.csv",
    "$HOME/secret.csv",
    "file:///etc/passwd",
    "http://localhost/things.csv",
    "in/things.csv/../../../secret.csv",
    ".../secret.csv",
    "*",
    "in/*.csv",
    "things.cs?",
    "a" * 256 + ".csv",
    "a/" * 3000 + "b.csv",
    "dump.tar",
    "dump.tar.gz",
    "in/dump.zip",
    "DUMP.TGZ",
    "link.csv",
    "outside.csv",
    "loop.csv",
    "dangling.csv",
    "linked/things.csv",
    "away/secret.csv",
    "pipe.csv",
    "socket.csv",
    "device.csv",
    "in",
    "things.csv/in",
]


@pytest.fixture
def root(tmp_path: Path) -> Path:
    """A folder that holds one honest file and every kind of bait."""
    (tmp_path / "secret.csv").write_bytes(CSV)
    folder = tmp_path / "root"
    inner = folder / "in"
    inner.mkdir(parents=True)
    for place in (folder, inner):
        (place / "things.csv").write_bytes(CSV)
    (folder / "link.csv").symlink_to("things.csv")
    (folder / "outside.csv").symlink_to("../secret.csv")
    (folder / "loop.csv").symlink_to("loop.csv")
    (folder / "dangling.csv").symlink_to("nowhere.csv")
    (folder / "linked").symlink_to("in")
    (folder / "away").symlink_to("..")
    for archive in (folder / "dump.tar", folder / "dump.tar.gz", folder / "DUMP.TGZ"):
        archive.write_bytes(tar_of({"things.csv": CSV}))
    (inner / "dump.zip").write_bytes(zip_of({"things.csv": CSV}))
    os.mkfifo(folder / "pipe.csv")
    with socket.socket(socket.AF_UNIX) as listener:
        before = Path.cwd()
        os.chdir(folder)  # The path of a socket must be short.
        try:
            listener.bind("socket.csv")
        finally:
            os.chdir(before)
    try:
        os.mknod(folder / "device.csv", stat.S_IFCHR | 0o600, os.makedev(1, 5))
    except PermissionError:
        (folder / "device.csv").symlink_to("/dev/zero")
    return folder


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:40])
async def test_no_name_leads_out_of_the_folder(root: Path, name: str) -> None:
    """Every such name is a SourceError of its entity, on one printable line."""
    with pytest.raises(SourceError) as caught:
        await look_at(dump_at(root, name), PAIRS)
    assert str(caught.value).isprintable()
    assert len(str(caught.value)) < 1000


@pytest.mark.parametrize("name", HOSTILE, ids=lambda name: ascii(name)[:40])
async def test_no_name_leads_out_of_an_archive(root: Path, name: str) -> None:
    """The same names, asked of an archive and of a single file."""
    for path in (root / "dump.tar", root / "in" / "dump.zip", root / "things.csv"):
        with pytest.raises(SourceError) as caught:
            await look_at(dump_at(path, name), PAIRS)
        assert str(caught.value).isprintable()


@pytest.mark.parametrize(
    ("name", "what"),
    [
        ("link.csv", "a symbolic link"),
        ("outside.csv", "a symbolic link"),
        ("loop.csv", "a symbolic link"),
        ("dangling.csv", "a symbolic link"),
        ("linked/things.csv", "a symbolic link"),
        ("away/secret.csv", "a symbolic link"),
        ("pipe.csv", "a pipe"),
        ("socket.csv", "a socket"),
        ("in", "a folder"),
        ("things.csv/in", "of an unknown kind"),
    ],
)
async def test_the_error_says_what_was_found_instead(root: Path, name: str, what: str) -> None:
    """An operator can see why the file is not read."""
    with pytest.raises(SourceError, match=what if "unknown" not in what else "expected a folder"):
        await dump_at(root, name).describe(ENTITY)


async def test_a_file_that_becomes_a_link_is_not_followed(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """What is opened is checked again: a swap between looking and opening gains nothing."""
    looked = dump_root._mode
    regular = (root / "things.csv").stat().st_mode

    def blind(name: str, within: int | None = None) -> int | None:
        mode = looked(name, within)
        return mode if within is None or mode is None else regular

    monkeypatch.setattr(dump_root, "_mode", blind)
    for name in ("outside.csv", "pipe.csv", "in"):
        with pytest.raises(SourceError):
            await dump_at(root, name).describe(ENTITY)


async def test_a_file_that_is_gone_when_it_is_opened_is_an_error_of_ours(
    root: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """A dump that is replaced at this moment is a SourceError, not a crash."""
    looked, regular = dump_root._mode, (root / "things.csv").stat().st_mode

    def stale(name: str, within: int | None = None) -> int | None:
        return looked(name) if within is None else regular

    monkeypatch.setattr(dump_root, "_mode", stale)
    with pytest.raises(SourceError, match="No such file"):
        await look_at(dump_at(root, "gone.csv"), PAIRS)


async def test_the_root_may_be_a_link(root: Path) -> None:
    """``source.path`` is the operator's own word: "the latest dump" is often a link."""
    latest = root.parent / "latest"
    latest.symlink_to(root)
    assert (await look_at(dump_at(latest, "in/things.csv"), PAIRS)).rows == 1
    single = root.parent / "latest.csv"
    single.symlink_to(root / "things.csv")
    assert (await look_at(dump_at(single, "latest.csv"), PAIRS)).rows == 1


@pytest.mark.parametrize("name", ["nowhere", "pipe.csv", "a\0b", "", "things.csv/x"])
async def test_a_root_that_cannot_be_read_is_an_error(root: Path, name: str) -> None:
    """There is nothing, or nothing that is a folder or a file."""
    path = f"{root}/{name}" if name else ""
    dump = dump_at(Path(path) if name else Path(f"{root}/none"), "things.csv")
    with pytest.raises(SourceError):
        async with dump.open([PAIRS]):
            pytest.fail("opened")


async def test_a_file_that_may_not_be_read_is_an_error(root: Path) -> None:
    """Missing permission is told with the file's name."""
    if os.geteuid() == 0:
        pytest.skip("root may read everything")
    (root / "things.csv").chmod(0)
    with pytest.raises(SourceError, match=r"things\.csv: cannot be opened or read: Permission"):
        await dump_at(root, "things.csv").describe(ENTITY)


async def test_a_missing_file_names_what_is_there(root: Path) -> None:
    """Only names, nearest first, and escaped where they would spoil a terminal (case 95)."""
    (root / "evil\x1b[2J.csv").write_bytes(CSV)
    with pytest.raises(SourceError) as caught:
        await dump_at(root, "thing.csv").describe(ENTITY)
    assert "entity things: there is no 'thing.csv'; found things.csv" in str(caught.value)
    assert str(caught.value).isprintable()


async def test_a_version_folder_is_never_guessed(tmp_path: Path) -> None:
    """Of several dumps in a folder none is chosen; their names are told."""
    for version in ("version_0001", "version_0002"):
        (tmp_path / version).mkdir()
        (tmp_path / version / "things.csv").write_bytes(CSV)
    with pytest.raises(SourceError, match="found version_0001, version_0002"):
        await dump_at(tmp_path, "things.csv").describe(ENTITY)
    with pytest.raises(SourceError, match=r"no 'version_3'; found version_\d+, version_\d+"):
        await dump_at(tmp_path, "version_3/things.csv").describe(ENTITY)


@pytest.mark.parametrize("container", ["folder", "tar"])
async def test_two_compressed_forms_of_a_file_are_not_guessed_at(
    tmp_path: Path, container: str
) -> None:
    """The plain file wins; between two packed ones the configuration must choose."""
    members = {f"things.csv{suffix}": COMPRESS[suffix](CSV) for suffix in (".gz", ".xz")}
    if container == "tar":
        path = tmp_path / "dump.tar"
        path.write_bytes(tar_of(members))
    else:
        path = tmp_path
        for name, content in members.items():
            (path / name).write_bytes(content)
    with pytest.raises(SourceError, match=r"is there as things\.csv\.gz, things\.csv\.xz"):
        await look_at(dump_at(path, "things.csv"), PAIRS)
    assert (await look_at(dump_at(path, "things.csv.xz"), PAIRS)).rows == 1
