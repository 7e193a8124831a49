"""The options that every verb takes, before its name or after it.

They are declared once, on the root command. ``Verb`` lets each command parse them too: a value
given after the verb wins over one given before it, and selections add up.
"""

import os
from collections.abc import Sequence
from enum import StrEnum
from functools import partial
from pathlib import Path
from typing import Any, Final

import msgspec
import typer
from msgspec import Struct
from typer.core import TyperCommand, TyperGroup

from syncd.config import Config
from syncd.config_shape import did_you_mean
from syncd.errors import ConfigError
from syncd.visible import visible

DEFAULT_CONFIG: Final = "pipeline.yaml"


class Options(Struct, frozen=True):
    """What the operator asked of all verbs alike; the field names are those of the root."""

    config: Path = Path(DEFAULT_CONFIG)
    select: tuple[str, ...] = ()
    exclude: tuple[str, ...] = ()
    output: str = "text"
    log_format: str = "console"
    log_level: str = "warning"
    no_color: bool = False
    quiet: bool = False
    verbose: bool = False

    @property
    def command(self) -> str:
        """``syncd`` as it must be typed again for the same pipeline."""
        if str(self.config) == DEFAULT_CONFIG:
            return "syncd"
        return f"syncd -c {visible(str(self.config))}"


class Verb(TyperCommand):
    """A command that parses the options of the root as well as its own."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its own parameters first, for the help."""
        own = _quick(super().get_params(ctx))
        return [*own, *(p for p in ctx.find_root().command.params if _is_shared(p.name))]

    def invoke(self, ctx: Any) -> Any:
        """Settle the options, then run the verb; see ``cli.shell`` for what may go wrong."""
        here = {name: ctx.params.pop(name) for name in list(ctx.params) if _is_shared(name)}
        return ctx.obj.edge(
            _settled(ctx.obj.options, ctx, here), lambda: super(Verb, self).invoke(ctx)
        )


class Root(TyperGroup):
    """The root command."""

    def get_params(self, ctx: Any) -> list[Any]:
        """Its options."""
        return _quick(super().get_params(ctx))


def _quick(params: list[Any]) -> list[Any]:
    """``params``, which ask Typer to convert a value only where there is something to convert.

    It makes a model of pydantic for each parameter of a command, also for one that was not given.
    Importing pydantic and making them takes 60 ms, as long as all else before a run begins.
    """
    for param in params:
        if not isinstance(param.process_value, partial):
            param.process_value = partial(_converted, param, param.process_value)
    return params


def _converted(param: Any, by_typer: Any, ctx: Any, value: Any) -> Any:
    """What ``by_typer`` would return, which is asked where that is not plain; it tells errors."""
    kind = type(param.default)
    if getattr(param, "is_flag", False):  # such as --help, which has no default of its own
        return by_typer(ctx, False if value is None else value)
    if value is None and not param.required and not param.callback:
        return () if param.multiple or param.nargs == -1 else None
    if isinstance(value, str) and not isinstance(value, StrEnum):
        if issubclass(kind, Path) and os.access(value, os.R_OK):
            return kind(value)
        if issubclass(kind, StrEnum) and value in kind.__members__.values():
            return kind(value)
    elif value is param.default and isinstance(value, Path | StrEnum):
        return value
    return by_typer(ctx, value)


def _is_shared(name: str | None) -> bool:
    return name in Options.__struct_fields__


def _settled(above: Options, ctx: typer.Context, here: dict[str, Any]) -> Options:
    """The options before the verb with those after it on top."""
    typed = {name: value for name, value in here.items() if _was_typed(ctx, name)}
    for name in ("select", "exclude"):
        typed[name] = (*getattr(above, name), *split(here[name] or ()))
    if "config" in typed:
        typed["config"] = Path(typed["config"])
    return msgspec.structs.replace(above, **typed)


def _was_typed(ctx: typer.Context, name: str) -> bool:
    source = ctx.get_parameter_source(name)
    return source is not None and source.name == "COMMANDLINE"


def split(values: Sequence[str]) -> tuple[str, ...]:
    """Repeated and comma-separated values as one list."""
    parts = (part.strip() for value in values for part in value.split(","))
    return tuple(dict.fromkeys(part for part in parts if part))


def chosen(config: Config, options: Options, named: tuple[str, ...] = ()) -> frozenset[str] | None:
    """Entities to work on: those selected or named, or all, without those excluded; None for all.

    Raises ConfigError for an unknown name and when nothing is left.
    """
    known = list(config.entities)
    for option, names in (
        ("--select", options.select),
        ("--exclude", options.exclude),
        ("ENTITY", named),
    ):
        for name in names:
            check_entity(name, known, option)
    wanted = [*options.select, *named]
    if not wanted and not options.exclude:
        return None
    left = frozenset(wanted or known) - frozenset(options.exclude)
    if not left:
        raise ConfigError("--exclude: expected to leave an entity, found that it takes all of them")
    return left


def check_entity(name: str, known: list[str], option: str) -> None:
    """Raise ConfigError unless ``name`` is an entity of the pipeline."""
    if name not in known:
        raise ConfigError(
            f"{option}: expected one of {', '.join(known)}, "
            f"found {visible(name, 100)!r}{did_you_mean(name, known)}"
        )
