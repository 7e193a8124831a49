"""A real process whose log nobody reads."""

import fcntl
import os
import signal
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Final

import pytest

from tests.conftest import REPOSITORY

PAGE_BYTES: Final = 4096


@pytest.fixture
def stopped_reader() -> Iterator[int]:
    """The writing end of a pipe that is full to the last byte, its reader stopped."""
    reading, writing = os.pipe()
    fcntl.fcntl(writing, fcntl.F_SETPIPE_SZ, PAGE_BYTES)
    os.set_blocking(writing, False)
    with subprocess.Popen(["cat"], stdin=reading, stdout=subprocess.DEVNULL) as reader:  # noqa: S607
        os.close(reading)
        reader.send_signal(signal.SIGSTOP)
        os.waitpid(reader.pid, os.WUNTRACED)
        os.write(writing, b"x" * PAGE_BYTES)
        with pytest.raises(BlockingIOError):
            os.write(writing, b"x")
        os.set_blocking(writing, True)
        try:
            yield writing
        finally:
            os.close(writing)
            reader.kill()
            reader.send_signal(signal.SIGCONT)


def test_a_run_whose_log_is_not_read_does_its_work_and_ends(
    stopped_reader: int, tmp_path: Path, pg_dsn: str
) -> None:
    """The reader of standard error is stopped; the run neither waits nor fails (case 12)."""
    (tmp_path / "a.csv").write_text("id,name\n1,Ada\n2,Bob\n", "utf-8")
    config = tmp_path / "pipeline.yaml"
    config.write_text(
        "pipeline: unread\n"
        f"source: {{kind: files, path: {tmp_path}}}\n"
        f'target: {{kind: postgres, dsn: "{pg_dsn}"}}\n'
        "entities: {a: {from: a.csv, key: [id], into: public.a}}\n",
        "utf-8",
    )

    def syncd(verb: str, *words: str, err: int) -> subprocess.CompletedProcess[str]:
        line = [sys.executable, "-m", "syncd", verb, "-c", str(config), *words]
        return subprocess.run(
            line, cwd=REPOSITORY, stdout=subprocess.PIPE, stderr=err, text=True, timeout=60,
            check=False,
        )  # fmt: skip

    assert syncd("init", err=subprocess.DEVNULL).returncode == 0
    told = ("--log-format", "json", "--log-level", "debug", "--output", "json")
    ran = syncd("run", *told, err=stopped_reader)
    assert ran.returncode == 0
    assert '"inserted": 2' in ran.stdout
