"""From a file and the environment to a ``Config``, or to messages that say what to change.

    file ── config_yaml ──> plain values and their lines
         ── config_references ──> SYNCD_A__B put in, ${...} replaced
         ── config_shape ──> fitting values, Secret where one is expected
         ── msgspec ──> Config ── config_rules ──> Config with paths made absolute

A step that finds problems ends the loading, and all that it found is told at once, with file,
line, path, expected and found. Text from outside and secrets are never among it (case 96).
"""

import json
from collections.abc import Callable, Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path as FilePath
from typing import Any, Final, TypeVar

import msgspec
import yaml
from msgspec import Struct

from syncd import config_references, config_rules, config_shape, config_yaml
from syncd.config import Config, Entity, Event, FilesSource, Secret, Staging, Strict
from syncd.config_references import Problem
from syncd.config_serve import Service
from syncd.config_yaml import Path
from syncd.errors import ConfigError
from syncd.flow.decode import DecodeError, decode
from syncd.secrets import MASK, masked
from syncd.visible import visible

S = TypeVar("S", bound=Strict)
PROBLEMS_MAX: Final = 50  # more help nobody
_REFERENCE: Final = {
    "type": "string",
    "pattern": r"\$\{[^}]+\}",
    "description": "${NAME}, ${file:PATH} or ${secret:NAME#FIELD}",
}


def load(path: FilePath, environ: Mapping[str, str]) -> Config:
    """The configuration in ``path`` with references and overrides from ``environ``.

    ``source.path`` and queries (``from: NAME.sql``) come back absolute; relative ones are meant
    from the folder of ``path``. Raises ConfigError, one line for each problem.
    """
    config, teller = _loaded(path, environ, Config, "the field pipeline", Service)
    teller.tell(config_rules.problems(config))
    return _anchored(config, path.absolute().parent)


def load_service(path: FilePath | None, environ: Mapping[str, str]) -> Service:
    """The settings of the daemon in ``path``, or the defaults, with overrides from ``environ``.

    Raises ConfigError, one line for each problem.
    """
    return _loaded(path, environ, Service, "fields of the service", Config)[0]


def _loaded(
    path: FilePath | None,
    environ: Mapping[str, str],
    kind: type[S],
    expected: str,
    other: type[Strict],
) -> "tuple[S, _Teller]":
    """A file as a ``kind``; what the environment says of an ``other`` is not meant for it."""
    name = "the service" if path is None else visible(str(path), 300)
    document = _parsed(path, name)
    if not isinstance(document.data, dict):
        raise ConfigError(f"{name}: expected an object with {expected}, found another value")
    mine = config_shape.sections(kind)
    others = set(config_shape.sections(other)) - set(mine)
    overrides = config_references.override(document.data, environ, mine, others)
    teller = _Teller(name, document.lines, overrides.variables)
    teller.tell([], overrides.problems)
    folder = FilePath.cwd() if path is None else path.absolute().parent
    expanded, problems = config_references.expand(document.data, environ, folder)
    teller.tell(problems)
    teller.outside = config_references.origins(expanded)
    clean, problems = config_shape.shape(expanded, kind)
    teller.tell(problems)
    return _converted(clean, name, kind), teller


def _parsed(path: FilePath | None, name: str) -> config_yaml.Document:
    if path is None:
        return config_yaml.Document({}, {})
    try:
        return config_yaml.parse(_read(path, name))
    except config_yaml.YamlError as error:
        place = f"{name}:{error.line}" if error.line else name
        raise ConfigError(f"{place}: {error}") from None


def show(config: Config) -> str:
    """``config`` as YAML, defaults included, secrets as ``***``."""
    text = yaml.safe_dump(shown(config), sort_keys=False, allow_unicode=True, width=100)
    return "".join(f"{visible(line)}\n" for line in text.splitlines())


def shown(config: Config) -> dict[str, Any]:
    """``config`` as plain values, as ``show`` writes it."""
    plain: dict[str, Any] = _shown(config)
    return plain


def secret_values(config: Strict) -> list[str]:
    """Every secret of ``config`` in clear, for the redactor and for nobody else."""
    return [secret.value for secret in _secrets(config)]


def tell_secrets(config: Strict, told: Callable[[Sequence[str]], None]) -> None:
    """Have the redactor hear of every value that a secret of ``config`` turns into later."""
    for secret in _secrets(config):
        if secret.anew is not None:
            secret.anew.tell(told)


def schema() -> str:
    """The JSON Schema of the configuration file, for editors."""
    found = msgspec.json.schema(Config)
    found["$defs"]["Secret"] = {"type": "string", "description": "Never shown; use a reference."}
    found["$defs"]["Reference"] = _REFERENCE
    for definition in found["$defs"].values():
        properties = definition.get("properties", {})
        definition["properties"] = {k: _or_reference(v) for k, v in properties.items()}
        if not properties:
            del definition["properties"]
    whole = {"$schema": "https://json-schema.org/draft/2020-12/schema", "title": "syncd", **found}
    return json.dumps(whole, indent=2) + "\n"


def _or_reference(field: dict[str, Any]) -> dict[str, Any]:
    """A number or a truth value may also be written as ``${NAME}``."""
    if field.get("type") not in ("integer", "number", "boolean"):
        return field
    return {"anyOf": [field, {"$ref": "#/$defs/Reference"}]}


def _read(path: FilePath, name: str) -> str:
    try:
        data = config_references.read_bytes(path, config_yaml.MAX_BYTES)
    except config_references.RefusalError as refusal:
        raise ConfigError(
            f"configuration: {refusal}", hint="name the file with --config or SYNCD_CONFIG"
        ) from None
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        line = data.count(b"\n", 0, error.start) + 1
        raise ConfigError(f"{name}:{line}: expected UTF-8, found other bytes") from None


def _converted(clean: Any, name: str, kind: type[S]) -> S:
    try:
        found: S = decode(partial(msgspec.convert, type=kind), clean)
    except DecodeError:
        # Unreachable while config_shape knows every type; the message may quote a value.
        raise ConfigError(
            f"{name}: does not fit the schema that `syncd config schema` prints"
        ) from None
    return found


def _anchored(config: Config, folder: FilePath) -> Config:
    """Relative paths made absolute, without following links."""
    source = config.source
    if isinstance(source, FilesSource):
        source = msgspec.structs.replace(source, path=str(folder / source.path))
    entities = {name: _anchored_entity(e, source, folder) for name, e in config.entities.items()}
    staging = config.staging and _anchored_staging(config.staging, folder)
    return msgspec.structs.replace(config, source=source, entities=entities, staging=staging)


def _anchored_entity(entity: Entity, source: object, folder: FilePath) -> Entity:
    if entity.from_.endswith(".sql") and not isinstance(source, FilesSource):
        entity = msgspec.structs.replace(entity, from_=str(folder / entity.from_))
    event = entity.event
    if isinstance(event, Event) and event.details:
        event = msgspec.structs.replace(event, details=str(folder / event.details))
    return msgspec.structs.replace(entity, event=event)


def _anchored_staging(staging: Staging, folder: FilePath) -> Staging:
    tables = {
        name: msgspec.structs.replace(table, from_=str(folder / table.from_))
        for name, table in staging.tables.items()
    }
    return msgspec.structs.replace(staging, tables=tables)


def _secrets(value: object) -> Iterator[Secret]:
    if isinstance(value, Secret):
        yield value
    elif isinstance(value, Struct):
        for field in value.__struct_fields__:
            yield from _secrets(getattr(value, field))
    elif isinstance(value, dict):
        for inner in value.values():
            yield from _secrets(inner)


def _shown(value: Any) -> Any:
    if isinstance(value, Secret):
        return MASK
    if isinstance(value, Struct):
        kind = value.__struct_config__
        tag = {kind.tag_field: kind.tag} if kind.tag_field else {}
        names = zip(value.__struct_encode_fields__, value.__struct_fields__, strict=True)
        return tag | {shown: _shown(getattr(value, field)) for shown, field in names}
    if isinstance(value, dict):
        return {name: _shown(inner) for name, inner in value.items()}
    if isinstance(value, tuple):
        return [_shown(inner) for inner in value]
    return masked(str(value)) if isinstance(value, str) else value


class _Teller:
    """Turns problems into a ConfigError that says where each stands."""

    def __init__(self, file: str, lines: Mapping[Path, int], variables: Mapping[Path, str]) -> None:
        self._file = file
        self._lines = lines
        self._variables = variables
        self.outside: Mapping[Path, str] = {}  # where values came from, once that is known

    def tell(
        self, problems: Sequence[Problem], variables: Sequence[tuple[str, Problem]] = ()
    ) -> None:
        """Raise ConfigError if there is any problem."""
        told = [(0, self._sentence(visible(v, 200), p)) for v, p in variables]
        told += [(self._line(p.path), self._sentence(self._place(p.path), p)) for p in problems]
        if not told:
            return
        lines = [sentence for _, sentence in sorted(told, key=lambda pair: pair[0])]
        more = len(lines) - PROBLEMS_MAX
        if more > 0:
            lines = [*lines[:PROBLEMS_MAX], f"{self._file}: and {more} more problems"]
        raise ConfigError("\n".join(lines))

    def _sentence(self, place: str, problem: Problem) -> str:
        path = visible(".".join(problem.path), 300)
        return ": ".join(part for part in (place, path, self._message(problem)) if part)

    def _message(self, problem: Problem) -> str:
        if problem.value is None:
            return problem.message + problem.more
        for path, origin in self.outside.items():
            near = min(len(path), len(problem.path))
            if path[:near] == problem.path[:near]:
                return f"{problem.message} text from {origin}"
        return f"{problem.message} {visible(problem.value, 100)!r}{problem.more}"

    def _line(self, path: Path) -> int:
        """The line of the nearest part of ``path`` that the file has; 0 when it has none."""
        for length in range(len(path), -1, -1):
            if path[:length] in self._lines:
                return self._lines[path[:length]]
        return 0

    def _place(self, path: Path) -> str:
        for length in range(len(path), 0, -1):
            if path[:length] in self._variables:
                return self._variables[path[:length]]
            if path[:length] in self._lines:
                break
        line = self._line(path)
        return f"{self._file}:{line}" if line else self._file
