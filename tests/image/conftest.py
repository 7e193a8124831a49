"""The programs that check a Dockerfile and manifests; each test says when one is missing."""

import shutil
import subprocess
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, Final, TypeAlias

import pytest
import yaml

from tests.conftest import REPOSITORY

CHECKERS: Final = REPOSITORY / ".venv-manifests" / "bin"
OVERLAYS: Final = ("dev", "prod")

Documents: TypeAlias = list[dict[str, Any]]
Run: TypeAlias = Callable[[str, Sequence[object]], "subprocess.CompletedProcess[str]"]


@pytest.fixture(scope="session")
def checker() -> Run:
    """Runs a program of the environment of checkers and hands its end over."""

    def run(name: str, arguments: Sequence[object]) -> "subprocess.CompletedProcess[str]":
        program = CHECKERS / name
        if not program.exists():
            pytest.skip("no checkers: `make test` installs them from requirements/manifests.lock")
        command = [str(program), *map(str, arguments)]
        return subprocess.run(command, capture_output=True, text=True, check=False)

    return run


@pytest.fixture(scope="session")
def built() -> dict[str, Documents]:
    """What each overlay comes to, as Kustomize builds it."""
    kubectl = shutil.which("kubectl")
    if kubectl is None:
        pytest.skip("no kubectl: the Debian package kubernetes-client brings it")
    return {name: _build(kubectl, REPOSITORY / "k8s" / "overlays" / name) for name in OVERLAYS}


def _build(kubectl: str, overlay: Path) -> Documents:
    done = subprocess.run(
        [kubectl, "kustomize", str(overlay)], capture_output=True, text=True, check=True
    )
    return [document for document in yaml.safe_load_all(done.stdout) if document]
