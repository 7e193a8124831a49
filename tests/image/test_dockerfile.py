"""The Dockerfile: what two linters know to be wrong, and the promises of its first lines."""

import json
import re
from typing import Final

from tests.conftest import REPOSITORY
from tests.image.conftest import Run

DOCKERFILE: Final = REPOSITORY / "Dockerfile"
TEXT: Final = DOCKERFILE.read_text("utf-8")


def test_hadolint_finds_nothing(checker: Run) -> None:
    done = checker("hadolint", [DOCKERFILE])

    assert (done.returncode, done.stdout) == (0, "")


def test_checkov_finds_nothing(checker: Run) -> None:
    done = checker(
        "checkov", ["--skip-download", "-o", "json", "--framework", "dockerfile", "-f", DOCKERFILE]
    )

    failed = json.loads(done.stdout)["results"]["failed_checks"]
    assert [check["check_name"] for check in failed] == []


def test_both_stages_stand_on_the_same_digest() -> None:
    bases = re.findall(r"^FROM (\S+)", TEXT, re.MULTILINE)

    assert len(bases) == 2
    assert len(set(bases)) == 1
    assert re.fullmatch(r"python:3\.11-slim-bookworm@sha256:[0-9a-f]{64}", bases[0])


def test_only_hashed_wheels_are_installed() -> None:
    installs = re.findall(r"pip install (.*?)(?: \\|; \\)?$", TEXT, re.MULTILINE)

    assert len(installs) == 2
    for options in installs:
        assert "--require-hashes" in options
        assert "--only-binary=:all:" in options


def test_the_drivers_that_may_not_be_passed_on_are_left_out_unless_asked_for() -> None:
    locked = (REPOSITORY / "requirements" / "run.lock").read_text("utf-8")

    assert "mssql-python-odbc" not in locked
    assert "ARG WITH_MSODBC=no" in TEXT


def test_the_process_is_nobody_and_starts_without_a_shell() -> None:
    assert re.findall(r"^USER (.+)$", TEXT, re.MULTILINE) == ["65532:65532"]
    for word in ("ENTRYPOINT", "CMD"):
        [command] = re.findall(rf"^{word} (.+)$", TEXT, re.MULTILINE)
        assert isinstance(json.loads(command), list)


def test_what_the_image_takes_is_let_through_to_the_builder() -> None:
    """A path that .dockerignore leaves out makes the build fail on another machine, not here."""
    let_through = set(
        re.findall(r"^!(\S+)$", (REPOSITORY / ".dockerignore").read_text(), re.MULTILINE)
    )
    taken = {
        path
        for paths in re.findall(r"^COPY (?!--from)(.+) \S+$", TEXT, re.MULTILINE)
        for path in paths.split()
    }

    assert taken == let_through
