"""What is shipped: the schemas are found installed or not, and the locks name no host."""

import re
import subprocess
import sys
import tarfile
import tomllib
import zipfile
from pathlib import Path
from typing import Final

import pytest

from syncd import __version__, schemas_path
from syncd.errors import ConfigError

REPOSITORY: Final = Path(__file__).resolve().parent.parent
LOCKS: Final = sorted((REPOSITORY / "requirements").glob("*.lock"))
SHIPPED: Final = {"syncd", "schemas"}
SHIPPED_FILES: Final = {"README.md", "LICENSE", "CHANGELOG.md", "pyproject.toml", "PKG-INFO"}


@pytest.fixture(scope="module")
def dist(tmp_path_factory: pytest.TempPathFactory) -> Path:
    folder = tmp_path_factory.mktemp("dist")
    subprocess.run(
        [sys.executable, "-m", "hatchling", "build", "-d", str(folder)],
        check=True,
        cwd=REPOSITORY,
        capture_output=True,
    )
    return folder


def test_the_repository_s_own_schemas_are_read_when_nothing_is_installed() -> None:
    assert schemas_path.schema_root() == REPOSITORY / "schemas"


def test_a_folder_is_listed_in_order_and_each_name_can_be_read() -> None:
    names = schemas_path.schema_names("ledger", ".sql")
    assert names == sorted(names)
    assert names
    assert all(schemas_path.schema_text(name) for name in names)


def test_an_absent_folder_holds_no_files() -> None:
    assert schemas_path.schema_names("nowhere", ".sql") == []


@pytest.mark.parametrize("relative", ["nowhere.sql", "ledger"])
def test_an_absent_file_is_told(relative: str) -> None:
    with pytest.raises(ConfigError, match="is not part of this version"):
        schemas_path.schema_text(relative)


@pytest.mark.parametrize("relative", ["../pyproject.toml", "/etc/hostname"])
def test_a_path_out_of_the_schemas_is_refused(relative: str) -> None:
    with pytest.raises(ConfigError, match="leads out of the schemas"):
        schemas_path.schema_text(relative)


def test_a_wheel_carries_the_schemas_and_finds_them(dist: Path, tmp_path: Path) -> None:
    [wheel] = dist.glob("*.whl")
    with zipfile.ZipFile(wheel) as archive:
        archive.extractall(tmp_path)  # noqa: S202 - our own archive, made a moment ago.
    program = (
        f"import sys; sys.path.insert(0, {str(tmp_path)!r})\n"
        "from syncd import schemas_path\n"
        "print(schemas_path.schema_root())\n"
        "print(*schemas_path.schema_names('ledger', '.sql'))"
    )
    done = subprocess.run(
        [sys.executable, "-c", program], check=True, cwd=tmp_path, capture_output=True, text=True
    )
    root, names = done.stdout.splitlines()
    assert root == str(tmp_path / "syncd" / "_schemas")
    assert names.split() == schemas_path.schema_names("ledger", ".sql")


def test_an_sdist_holds_only_what_is_shipped(dist: Path) -> None:
    [sdist] = dist.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        inside = {tuple(name.split("/")[1:]) for name in archive.getnames()}
    tops = {parts[0] for parts in inside if parts}
    # hatchling adds .gitignore by itself; it decides what the folder would hold.
    assert tops - SHIPPED - SHIPPED_FILES - {".gitignore"} == set()
    assert tops >= SHIPPED | {"LICENSE", "pyproject.toml", "PKG-INFO"}


def test_the_version_is_that_of_the_package(dist: Path) -> None:
    [wheel] = dist.glob("*.whl")
    assert wheel.name.split("-")[1] == __version__


def test_all_locks_are_there() -> None:
    expected = ["cloud.lock", "dev.lock", "manifests.lock", "msodbc.lock", "run.lock"]
    assert [lock.name for lock in LOCKS] == expected


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_a_lock_names_no_host_and_no_place(lock: Path) -> None:
    telling = re.compile(r"://|file:|--(?!hash=sha256:)|^-|@|\.\.|(^|\s)/")
    lines = lock.read_text(encoding="utf-8").splitlines()
    assert [line for line in lines if telling.search(line)] == []


@pytest.mark.parametrize("lock", LOCKS, ids=lambda lock: lock.name)
def test_every_pin_of_a_lock_is_hashed(lock: Path) -> None:
    blocks = re.split(r"\n(?=[a-z0-9])", lock.read_text(encoding="utf-8"))
    pins = [block for block in blocks if re.match(r"[a-z0-9]", block)]
    assert pins
    assert [pin.split("\n")[0] for pin in pins if "--hash=sha256:" not in pin] == []


@pytest.mark.parametrize(
    ("lock", "extras"), [("run.lock", ["aws", "sqlserver"]), ("dev.lock", ["demo", "dev"])]
)
def test_a_lock_pins_every_direct_dependency(lock: str, extras: list[str]) -> None:
    project = tomllib.loads((REPOSITORY / "pyproject.toml").read_text(encoding="utf-8"))["project"]
    wanted = [*project["dependencies"]]
    for extra in extras:
        wanted += project["optional-dependencies"][extra]
    names = {re.split(r"[\[><=~ ]", want)[0].lower() for want in wanted} - {"syncd"}
    text = (REPOSITORY / "requirements" / lock).read_text(encoding="utf-8")
    pinned = set(re.findall(r"^([a-z0-9-]+)==", text, flags=re.MULTILINE))
    assert names - pinned == set()
