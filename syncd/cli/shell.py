"""Between a verb and the world: loads, opens the application, heeds signals, tells the answer.

A verb is one question to the application and one ``Answer``. What goes wrong on the way ends at
``Shell.edge``: one line for each error on standard error, a hint below, and an exit code.
"""

import io
import json
import os
import select
import signal
import sys
import traceback
from collections.abc import Awaitable, Callable, Iterable, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import Any, Final, NoReturn, TextIO, TypeAlias

import anyio
import msgspec
import typer
from msgspec import Struct

from syncd import config_load, failpoints, logs, secrets
from syncd.cli import exit_codes, options, progress, signals
from syncd.cli.options import Options
from syncd.cli.seam import App, Build, Connect, Select
from syncd.config import Config
from syncd.config_serve import Settings
from syncd.errors import ConfigError, SyncdError
from syncd.progress import Progress
from syncd.visible import visible

_log = logs.Log("syncd.cli")
DEBUG: Final = "SYNCD_DEBUG"
# Wide enough for any table. A terminal that is narrower wraps the line and loses nothing; a table
# that is squeezed into it loses digits.
_COLUMNS: Final = 10_000


class Call(Struct, frozen=True):
    """What a verb may use besides the application."""

    config: Config
    select: Select
    options: Options
    progress: Progress


class Answer(Struct, frozen=True):
    """``drawn``: what rich prints for people; ``plain``: what is encoded for programs."""

    drawn: Iterable[Any]
    plain: Any
    code: int = 0


Ask: TypeAlias = Callable[[App, Call], Awaitable[Answer]]


class _StoppedError(Exception):
    """A signal ended the work before there was an answer; ``errors`` arose on the way out."""

    def __init__(self, number: int, errors: Sequence[BaseException] = ()) -> None:
        super().__init__(number)
        self.number = number
        self.errors = errors


class Shell:
    """One invocation of the command line. ``connect`` is the seam to the application."""

    def __init__(self, connect: Connect, environ: Mapping[str, str] | None = None) -> None:
        self._connect = connect
        self._environ = os.environ if environ is None else environ
        self._redactor = secrets.redactor([], self._environ)
        self._known: list[str] | None = None
        self.options = Options()

    def edge(self, found: Options, run: Callable[[], object]) -> NoReturn:
        """Run a verb; leave with its exit code, or with that of what went wrong."""
        self.options = found
        try:
            run()
        except (typer.Exit, typer.Abort, typer.BadParameter):
            raise
        except _StoppedError as stop:
            raise typer.Exit(self._tell_stop(stop.number, stop.errors)) from None
        except KeyboardInterrupt:
            raise typer.Exit(self._tell_stop(signal.SIGINT, ())) from None
        except Exception as error:  # noqa: BLE001 - the edge: an operator never meets a traceback.
            raise typer.Exit(self._tell_errors(_leaves(error))) from None
        finally:
            logs.flush()
        raise typer.Exit(exit_codes.Exit.DONE)

    def load(self) -> Config:
        """The configuration; from here on its secrets are known to the redactor."""
        config = config_load.load(self.options.config, self._environ)
        self._redactor = secrets.redactor(config_load.secret_values(config), self._environ)
        config_load.tell_secrets(config, self._learn)
        return config

    def _learn(self, values: Iterable[str]) -> None:
        self._redactor.learn(values)

    def answer(self, ask: Ask, named: Sequence[str] = ()) -> NoReturn:
        """Put a question to the application, print the answer and leave with its code.

        ``named`` are entities given as arguments; they select like ``--select``.
        """
        config = self.load()
        select = options.chosen(config, self.options, tuple(named))
        found = self.options
        self._configure_logs()
        with (
            failpoints.armed(self._environ.get(failpoints.VARIABLE, ""), told=_fired) as armed,
            progress.watched(
                sys.stderr,
                quiet=found.quiet,
                verbose=found.verbose,
                colour=self._coloured(sys.stderr),
            ) as told,
        ):
            if armed:
                # An error, so that no log level hides it.
                _log.error("failpoints_armed", where=", ".join(map(str, armed)))
            call = Call(config, select, found, told)
            answer = anyio.run(_asked, self._connect, call, ask, backend="asyncio")
        self.print(answer)
        raise typer.Exit(answer.code)

    def serve(self, build: Build, files: Sequence[Path], service: Path | None) -> NoReturn:
        """Be the daemon of these pipelines until a signal ends it; leave with 0 then."""
        if self.options.select or self.options.exclude:
            raise ConfigError(
                "--select and --exclude: a daemon keeps all entities in step",
                hint="let entities rest through the API, or take them out of the configuration",
            )
        paths = tuple(files) or (self.options.config,)
        settings = self._settings(paths, service)
        with failpoints.armed(self._environ.get(failpoints.VARIABLE, ""), told=_fired) as armed:
            if armed:
                _log.error("failpoints_armed", where=", ".join(map(str, armed)))
            again = partial(self._settings, paths, service)
            anyio.run(_served, build, settings, again, backend="asyncio")
        raise typer.Exit(exit_codes.Exit.DONE)

    def _settings(self, paths: Sequence[Path], service: Path | None) -> Settings:
        """All files of a daemon, or ConfigError; from here on their secrets are known."""
        found = Settings(
            service=config_load.load_service(service, self._environ),
            pipelines=tuple(config_load.load(path, self._environ) for path in paths),
        )
        names = [config.pipeline for config in found.pipelines]
        if len(set(names)) < len(names):
            raise ConfigError(f"expected pipelines of different names, found {', '.join(names)}")
        parts = (found.service, *found.pipelines)
        for part in parts:
            config_load.tell_secrets(part, self._learn)
        known = [s for part in parts for s in config_load.secret_values(part)]
        if known != self._known:
            # What was a secret before may still be on its way to a line.
            self._redactor = secrets.redactor([*known, *(self._known or ())], self._environ)
            self._known = known
            self._configure_logs()
        return found

    def _configure_logs(self) -> None:
        asked = self.options
        logs.configure(asked.log_format, asked.log_level, self._redactor)  # type: ignore[arg-type]

    def print(self, answer: Answer) -> None:
        """The answer on standard output, in the form that was asked for."""
        if self.options.output == "json":
            plain = _each_text(msgspec.to_builtins(answer.plain), self._redactor.text)
            self._out(json.dumps(plain) + "\n")
        elif not self.options.quiet:
            self._out(self._rendered(answer.drawn))

    def _rendered(self, drawn: Iterable[Any]) -> str:
        # Programs ask for JSON and never need it.
        from rich.console import Console  # noqa: PLC0415
        from rich.text import Text  # noqa: PLC0415

        coloured = self._coloured(sys.stdout)
        console = Console(
            file=io.StringIO(),
            width=_COLUMNS,
            force_terminal=coloured,
            color_system="standard" if coloured else None,
            markup=False,
            emoji=False,
            highlight=False,
        )
        with console.capture() as captured:
            for part in drawn:
                console.print(part, soft_wrap=isinstance(part, Text))
        return "".join(f"{line.rstrip()}\n" for line in captured.get().splitlines())

    def _coloured(self, stream: Any) -> bool:
        return stream.isatty() and not self.options.no_color and not self._environ.get("NO_COLOR")

    def _out(self, text: str) -> None:
        try:
            sys.stdout.write(self._redactor.rendered(text))
            sys.stdout.flush()
        except BrokenPipeError:
            # The reader left (`| head`). The work is done and its exit code still counts.
            os.dup2(os.open(os.devnull, os.O_WRONLY), sys.stdout.fileno())

    def _say(self, line: str) -> None:
        logs.flush()  # first what happened, then what it means
        if not _takes_a_line(sys.stderr):
            return
        sys.stderr.write(self._redactor.text(visible(line)) + "\n")
        sys.stderr.flush()

    def _tell_stop(self, number: int, errors: Sequence[BaseException]) -> int:
        self._tell_errors(errors)
        self._say(f"error: stopped by {signal.Signals(number).name}")
        return exit_codes.of_signal(number)

    def _tell_errors(self, errors: Sequence[BaseException]) -> int:
        for error in errors:
            for line, hint in _lines(error):
                self._say(f"error: {line}")
                if hint:
                    self._say(f"hint: {hint}")
            if self._environ.get(DEBUG) == "1":
                for line in "".join(traceback.format_exception(error)).splitlines():
                    self._say(line)
        return exit_codes.of_errors(errors) if errors else exit_codes.Exit.DONE


def _each_text(plain: Any, change: Callable[[str], str]) -> Any:
    if isinstance(plain, dict):
        return {name: _each_text(inner, change) for name, inner in plain.items()}
    if isinstance(plain, list):
        return [_each_text(inner, change) for inner in plain]
    return change(plain) if isinstance(plain, str) else plain


def _leaves(error: BaseException) -> list[BaseException]:
    """The errors inside groups, each message once."""
    if not isinstance(error, BaseExceptionGroup):
        return [error]
    found = [leaf for inner in error.exceptions for leaf in _leaves(inner)]
    return list({(type(leaf), str(leaf)): leaf for leaf in found}.values())


def _lines(error: BaseException) -> list[tuple[str, str]]:
    """What to say of an error; of one that is not ours only the class, its text may be data."""
    if not isinstance(error, SyncdError):
        frames = traceback.extract_tb(error.__traceback__)
        place = f" at {Path(frames[-1].filename).name}:{frames[-1].lineno}" if frames else ""
        return [(f"internal: {type(error).__name__}{place}", f"set {DEBUG}=1 to see where from")]
    first, *rest = error.message.splitlines() or [type(error).__name__]
    if rest and not isinstance(error, ConfigError):
        first, rest = " ".join([first, *rest]), []
    lines = [first, *rest]
    return [(line, error.hint if line is lines[-1] else "") for line in lines]


def _takes_a_line(stream: TextIO) -> bool:
    """Whether a line can be written at once; an end does not wait for a reader that is stopped."""
    try:
        return bool(select.select([], [stream.fileno()], [], logs.FLUSH_S)[1])
    except io.UnsupportedOperation:  # a test's stand-in
        return True


def _fired(point: failpoints.Armed) -> None:
    _log.error("failpoint_fired", where=str(point))
    logs.flush()  # it may be the process's last line


async def _asked(connect: Connect, call: Call, ask: Ask) -> Answer:
    """The answer of the application. A signal cancels the question, and it may clean up."""
    answers: list[Answer] = []
    heard: list[int] = []
    try:
        async with anyio.create_task_group() as tasks:
            await tasks.start(signals.heed, tasks.cancel_scope.cancel, heard)
            async with connect(call.config) as app:
                answers.append(await ask(app, call))
            tasks.cancel_scope.cancel()
    except BaseExceptionGroup as errors:
        if not heard:
            raise
        raise _StoppedError(heard[0], _leaves(errors)) from errors
    if not answers:
        raise _StoppedError(heard[0])
    return answers[0]


async def _served(build: Build, settings: Settings, load: Callable[[], Settings]) -> None:
    """The daemon's life. Where it cannot end within its grace, the kernel ends it (SIGALRM)."""
    served, heard = build(settings, load), list[int]()

    def stop() -> None:
        signal.setitimer(signal.ITIMER_REAL, served.settings.service.grace_s)
        served.drain()

    async with anyio.create_task_group() as tasks:
        await tasks.start(signals.hear_hangups, served.hang_up)
        await tasks.start(signals.heed, stop, heard)
        await served.run()
        tasks.cancel_scope.cancel()
    signal.setitimer(signal.ITIMER_REAL, 0)
