"""What a story is played on: a PostgreSQL of its own, two databases, and the command line.

Everything lies in one temporary folder and ends with ``open_stage``. The verbs run as a user
would type them, each in a process of its own on this terminal; what they claim is checked by
reading the databases themselves.
"""

import asyncio
import os
import shutil
import signal
import subprocess
import sys
import tempfile
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from pathlib import Path
from typing import Any, Final

import asyncpg
from msgspec import Struct
from rich.console import Console
from rich.padding import Padding
from rich.syntax import Syntax
from rich.text import Text

from syncd import embedded

_VERB_S_MAX: Final = 60.0
_EXIT_CODES: Final = {
    0: "done",
    4: "done, and some rows are parked",
    5: "done, and deletes are held for a decision",
}


class StoryError(Exception):
    """What the story tells is not what happened."""


class Scene(Struct, frozen=True):
    """Where a story is played: the two databases, by the variables that hold their DSNs.

    ``pipeline`` is the folder that is copied for it, ``scripts`` the folder of its SQL.
    """

    old: str
    new: str
    variables: tuple[str, str]
    pipeline: Path
    scripts: Path


class Stage:
    """One server with both databases, and the folder of the pipeline."""

    def __init__(
        self, console: Console, folder: Path, server: embedded.Server, scene: Scene
    ) -> None:
        self.console = console
        self.folder = folder
        self.server = server
        self.scene = scene
        self.checked = 0

    def dsn(self, database: str) -> str:
        """The URL of one of the databases."""
        return self.server.dsn(database)

    def environ(self) -> dict[str, str]:
        """What a shell in which syncd runs needs; nothing of the caller's own settings leaks in."""
        scene = self.scene
        ours = dict(zip(scene.variables, map(self.dsn, (scene.old, scene.new)), strict=True))
        kept = {k: v for k, v in os.environ.items() if not k.startswith(("SYNCD_", "PG"))}
        return kept | ours

    # -- telling -----------------------------------------------------------------------------

    def title(self, words: str) -> None:
        """Begin a new act."""
        self.console.print()
        self.console.rule(Text(words, style="bold"), align="left")

    def say(self, *sentences: str) -> None:
        """A caption."""
        self.console.print()
        self.console.print(Text(" ".join(sentences), style="cyan"))

    def show(self, name: str, language: str, lines: slice = slice(None)) -> None:
        """A file of the pipeline, or some of its lines."""
        text = (self.folder / name).read_text(encoding="utf-8")
        text = "\n".join(text.splitlines()[lines])
        code = Syntax(text, language, theme="ansi_dark", background_color="default")
        self.console.print(Padding(code, (1, 0, 0, 2)))

    # -- acting ------------------------------------------------------------------------------

    def play(self, database: str, script: str) -> None:
        """Run a file of SQL."""
        self.do(database, (self.scene.scripts / script).read_text(encoding="utf-8"))

    def do(self, database: str, statements: str) -> None:
        """Run some SQL."""
        asyncio.run(_execute(self.dsn(database), statements))

    def syncd(self, *arguments: str, code: int = 0) -> None:
        """Run a verb on this terminal; it must end with ``code``."""
        self.console.print()
        self.console.print(Text(f"$ syncd {' '.join(arguments)}", style="bold green"))
        sys.stdout.flush()
        done = subprocess.run(  # noqa: S603 - our own program, no shell.
            [sys.executable, "-m", "syncd", *arguments],
            cwd=self.folder,
            env=self.environ(),
            stdin=subprocess.DEVNULL,
            timeout=_VERB_S_MAX,
            check=False,
        )
        found = done.returncode
        meaning = _EXIT_CODES.get(found, "failed")
        self.console.print(Text(f"exit code {found}: {meaning}", style="dim"))
        self._check(f"syncd {' '.join(arguments)} ends with {code}", [(found,)], [(code,)])

    # -- checking ----------------------------------------------------------------------------

    def rows(self, database: str, query: str) -> list[tuple[Any, ...]]:
        """Rows read straight from a database."""
        return asyncio.run(_fetch(self.dsn(database), query))

    def expect(self, fact: str, query: str, *expected: tuple[Any, ...]) -> None:
        """Check a fact in the new system's own tables.

        Raises StoryError when it is not so.
        """
        self._check(fact, self.rows(self.scene.new, query), list(expected))
        self.confirm(fact)

    def confirm(self, fact: str) -> None:
        """Say that a fact was checked."""
        self.console.print(Text.assemble(("  checked ", "green"), fact))

    def _check(self, fact: str, found: Sequence[object], expected: Sequence[object]) -> None:
        if list(found) != list(expected):
            raise StoryError(f"{fact}: expected {list(expected)}, found {list(found)}")
        self.checked += 1


@contextmanager
def open_stage(console: Console, scene: Scene) -> Iterator[Stage]:
    """A stage with two databases, both empty, and a copy of the pipeline's folder.

    The server and the folder are gone at the end, whatever ended it.
    """
    with _cleanly_terminated(), tempfile.TemporaryDirectory(prefix="syncd-demo-") as name:
        folder = Path(name)
        shutil.copytree(
            scene.pipeline, folder / "pipeline", ignore=shutil.ignore_patterns("sample", "__*__")
        )
        with embedded.serve(folder / "postgres") as server:
            stage = Stage(console, folder / "pipeline", server, scene)
            for database in (scene.old, scene.new):
                stage.do("", f"CREATE DATABASE {database}")
            yield stage


@contextmanager
def _cleanly_terminated() -> Iterator[None]:
    """SIGTERM ends the story by an exception, so that it is cleaned up after."""

    def leave(number: int, _: object) -> None:
        raise SystemExit(128 + number)

    before = signal.signal(signal.SIGTERM, leave)
    try:
        yield
    finally:
        signal.signal(signal.SIGTERM, before)


async def _execute(dsn: str, script: str) -> None:
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        await connection.execute(script)
    finally:
        await connection.close()


async def _fetch(dsn: str, query: str) -> list[tuple[Any, ...]]:
    connection = await asyncpg.connect(dsn, ssl=False)
    try:
        return [tuple(row) for row in await connection.fetch(query)]
    finally:
        await connection.close()
