"""The Dockerfile's own steps, replayed in a clean root: there is no engine here to build it with.

Buildah runs them as an engine would, on a Debian that debootstrap makes in the place of the base,
whose digest cannot be fetched from here. `make trust` runs it; it takes a minute or two.
"""

import os
import re
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import REPOSITORY

pytestmark = [pytest.mark.long, pytest.mark.timeout(900)]

BASE: Final = "localhost/python:3.11"
PACKAGES: Final = "ca-certificates,python3,python3-venv,python3-pip"
TRUSTED: Final = "etc/ssl/certs/ca-certificates.crt"  # by this machine, when it asks a registry


class Builder:
    """Buildah with a storage of its own."""

    def __init__(self, folder: Path) -> None:
        self._options = ["--storage-driver", "overlay", "--root", str(folder / "images")]
        self._options += ["--runroot", str(folder / "run")]

    def __call__(self, *arguments: object) -> str:
        command = ["buildah", *self._options, *map(str, arguments)]
        done = subprocess.run(command, capture_output=True, text=True, check=False, cwd=REPOSITORY)
        assert done.returncode == 0, done.stderr[-2000:]
        return done.stdout.strip()


@pytest.fixture(scope="module")
def image(tmp_path_factory: pytest.TempPathFactory) -> tuple[Builder, str]:
    """The image, built; and a container of it."""
    if os.geteuid() != 0 or not all(map(shutil.which, ("buildah", "debootstrap"))):
        pytest.skip("needs root, and Debian's packages buildah and debootstrap")
    folder = tmp_path_factory.mktemp("image")
    build = Builder(folder)
    root = folder / "root"
    making = ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(root)]
    subprocess.run(making, check=True, capture_output=True)
    (root / "usr/local/bin/python").symlink_to("/usr/bin/python3")
    shutil.copy(Path("/") / TRUSTED, root / TRUSTED)
    empty = build("from", "scratch")
    build("add", empty, root, "/")
    build("config", "--env", "PATH=/usr/local/bin:/usr/bin:/bin:/usr/sbin:/sbin", empty)
    build("commit", "--format", "docker", empty, BASE)
    dockerfile = folder / "Dockerfile"
    text = (REPOSITORY / "Dockerfile").read_text("utf-8")
    dockerfile.write_text(re.sub(r"^FROM \S+", f"FROM {BASE}", text, flags=re.MULTILINE), "utf-8")
    build(
        "bud", "--isolation", "chroot", "--pull=never", "--format", "docker",
        "-f", dockerfile, "-t", "localhost/syncd", ".",
    )  # fmt: skip
    return build, build("from", "--pull=never", "localhost/syncd")


def test_the_program_starts_as_nobody_and_cannot_write(image: tuple[Builder, str]) -> None:
    """What the manifests promise holds in the image itself."""
    build, container = image
    look = "import os; print(os.getuid(), os.access('/opt/syncd', os.W_OK))"

    version = build(
        "run", "--isolation", "chroot", container, "--", "python", "-m", "syncd", "--version"
    )
    found = build("run", "--isolation", "chroot", container, "--", "python", "-c", look)

    assert version.startswith("syncd ")
    assert found == "65532 False"


def test_every_driver_that_the_image_names_loads(image: tuple[Builder, str]) -> None:
    """A wheel that lacks a library of the system fails only where it is imported."""
    build, container = image
    look = (
        "import aioodbc, asyncpg, aiohttp, ctypes, glob; "
        "from aiobotocore.session import get_session; get_session().get_service_model('sqs'); "
        "ctypes.CDLL(glob.glob('/usr/lib/*/odbc/libtdsodbc.so')[0]); print('all')"
    )

    assert build("run", "--isolation", "chroot", container, "--", "python", "-c", look) == "all"
