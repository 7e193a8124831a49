"""From the configuration and the two schemas to plans: everything the flow must know.

What an entity's columns are is agreed once, on ``init``, and pinned in the ledger. Later the
source is held against that: a pinned column that is gone or of another kind is drift, and stops
the entity; a new one is told and left alone. Nothing is guessed, nothing is deleted by it.
"""

import importlib
import inspect
from collections.abc import Mapping
from hashlib import blake2b
from pathlib import Path
from typing import Final

import msgspec
from msgspec import Struct
from msgspec.structs import replace

from syncd.config import (
    APPLIED,
    ColumnConfig,
    Config,
    Deletes,
    Entity,
    Event,
    FilesSource,
    Need,
)
from syncd.errors import ConfigError, DriftError
from syncd.flow.keys import KEY_KINDS
from syncd.flow.model import Column, ColumnType, Kind, Outcome, Ownership, Parent, Plan, Shape
from syncd.flow.normalise import parse_type
from syncd.flow.transform import Failed, Transform, foreign

_INT4_MASK: Final = 0x7FFFFFFF


class Mapped(Struct, frozen=True):
    """The columns of one entity, before the ledger gave it ids."""

    columns: tuple[Column, ...]
    drafted: tuple[Column, ...]
    key: tuple[int, ...]
    target_key: tuple[int, ...]


def type_text(type_: ColumnType) -> str:
    """A type as it is pinned: its kind, and the decimals it keeps."""
    return type_.kind.value if type_.scale is None else f"{type_.kind.value}({type_.scale})"


def describe_found(name: str, entity: Entity, found: Shape) -> dict[str, str]:
    """What ``init`` pins: the source's columns that are mapped, with their kinds.

    Raises DriftError when the configuration names a column that the source does not have.
    """
    named = {*entity.key, *entity.only, *(c for c in entity.columns)}
    lacking = sorted(named - set(found))
    if lacking:
        raise DriftError(
            f"entity {name}: the source has no column {', '.join(lacking)}; "
            f"found {', '.join(found)}",
            hint="correct the configuration, or the dump",
        )
    wanted = set(entity.only) | set(entity.key) if entity.only else set(found)
    return {column: type_text(f.type) for column, f in found.items() if column in wanted}


def drift(name: str, pinned: Mapping[str, str], entity: Entity, found: Shape) -> str:
    """Hold the source against what was pinned; a sentence about new columns, or ''.

    Raises DriftError when a pinned column is gone or its kind is another one (case 49).
    """
    gone = [column for column in pinned if column not in found]
    new = [column for column in found if column not in pinned and not entity.only]
    if gone:
        beside = f"; new are {', '.join(new)}" if new else ""
        raise DriftError(
            f"entity {name}: the source has lost the column {', '.join(gone)}{beside}; "
            "nothing was read, nothing is deleted",
            hint=f"if that is meant, run syncd init --accept-schema {name}",
        )
    other = [
        f"{column} was {kind} and is {type_text(found[column].type)}"
        for column, kind in pinned.items()
        if type_text(found[column].type) != kind
    ]
    if other:
        raise DriftError(
            f"entity {name}: the source has changed a type: {', '.join(other)}",
            hint=f"if that is meant, run syncd init --accept-schema {name}",
        )
    if new:
        return (
            f"new columns at the source are not mapped: {', '.join(new)} "
            f"(to take them: syncd init --accept-schema {name})"
        )
    return ""


def map_columns(config: Config, name: str, pinned: Mapping[str, str], target: Shape) -> Mapped:
    """Columns of both sides, sorted by name, with types and ownership."""
    entity = config.entities[name]
    columns = tuple(
        _column(config, entity, column, pinned[column], target) for column in sorted(pinned)
    )
    if entity.transform is None:
        drafted = tuple(sorted(columns, key=lambda column: column.into))
    else:
        drafted = tuple(
            Column(found.name, found.name, found.type, _ownership(entity, found.name, found.name))
            for found in sorted(target.values(), key=lambda found: found.name)
            if found.writable
        )
    key = tuple(
        _index(name, "the source", [c.name for c in columns], k, "the key") for k in entity.key
    )
    for at in key:
        _assert_key_kind(name, columns[at])
    into = [column.into for column in drafted]
    target_key = tuple(_index(name, "the target", into, columns[at].into, "the key") for at in key)
    return Mapped(columns, drafted, key, target_key)


def _column(config: Config, entity: Entity, name: str, pinned: str, target: Shape) -> Column:
    given = entity.columns.get(name)
    into = given.into if isinstance(given, ColumnConfig) and given.into else name
    said = given.type if isinstance(given, ColumnConfig) else given
    if said is not None:
        type_ = parse_type(said)
    else:
        type_ = _kind_of(pinned)
        # A dump has no types of its own; where the target has one, texts are read as that.
        if isinstance(config.source, FilesSource) and into in target and not entity.transform:
            type_ = target[into].type
    if isinstance(given, ColumnConfig):
        type_ = replace(
            type_,
            zone=given.zone,
            fold=given.fold,
            empty_as_null=given.empty_as_null,
            strip=given.strip,
            null_values=given.null_values,
        )
    if into in target and target[into].type.items and not entity.transform:
        type_ = target[into].type  # the rows of a part, whatever the source makes of them
    return Column(name, into, type_, _ownership(entity, name, into))


def _kind_of(pinned: str) -> ColumnType:
    kind, _, scale = pinned.partition("(")
    return ColumnType(Kind(kind), scale=int(scale[:-1]) if scale else None)


def _ownership(entity: Entity, name: str, into: str) -> Ownership:
    if entity.aggregate is not None and entity.aggregate.link.updated == into:
        return Ownership.COMPUTED  # carried into the link, never a reason to write
    return entity.ownership.get(name, entity.ownership.get(into, Ownership.MERGE))


def _index(entity: str, side: str, names: list[str], wanted: str, use: str) -> int:
    if wanted not in names:
        raise DriftError(
            f"entity {entity}: {side} has no mapped column {wanted} for {use}; "
            f"found {', '.join(names) or 'none'}"
        )
    return names.index(wanted)


def _assert_key_kind(entity: str, column: Column) -> None:
    if column.type.kind not in KEY_KINDS:
        raise ConfigError(
            f"entities.{entity}.key: column {column.name} is {column.type.kind.value}, expected "
            f"one of {', '.join(sorted(kind.value for kind in KEY_KINDS))}",
            hint="give the column another type, or make the key in a query",
        )


def complete(config: Config, name: str, mapped: Mapped, *, entity_id: int, shape: int) -> Plan:
    """The plan, with what the configuration says of merging, order, events and deletes."""
    entity = config.entities[name]
    deletes = deletes_of(config, entity)
    into = {column.into: at for at, column in enumerate(mapped.drafted)}
    by_name = {column.name: column.into for column in mapped.columns}

    def place(column: str, use: str) -> int:
        return _index(name, "the target", list(into), by_name.get(column, column), use)

    parents = parents_of(entity)
    for parent in parents:
        for column in parent.columns:
            _index(name, "the source", list(by_name), column, f"needs.{parent.entity}")
    merge, event = entity.merge, event_of(entity)
    stamps = None
    if merge.policy == "timestamps":
        assert merge.source_updated is not None
        assert merge.target_updated is not None
        stamps = (
            _index(name, "the source", list(by_name), merge.source_updated, "merge"),
            place(merge.target_updated, "merge"),
        )
    plan = Plan(
        name=name,
        entity_id=entity_id,
        columns=mapped.columns,
        key=mapped.key,
        drafted=mapped.drafted,
        target_key=mapped.target_key,
        shape=shape,
        groups=tuple(frozenset(place(c, "groups") for c in group) for group in entity.groups),
        on_conflict=merge.on_conflict,
        parents=parents,
        event=event.type if event else "",
        silent_on=frozenset(Outcome(o) for o in APPLIED if event and o not in event.on),
        soft_delete=deletes.column if deletes.policy == "soft" else "",
        timestamps=stamps,
    )
    return replace(plan, revision=_revision(entity, plan))


def event_of(entity: Entity) -> Event | None:
    """``event`` in its long form, None where no event is told."""
    return Event(type=entity.event) if isinstance(entity.event, str) else entity.event


def deletes_of(config: Config, entity: Entity) -> Deletes:
    """The entity's own rule for deletes, else the pipeline's."""
    return entity.deletes or config.deletes


def parents_of(entity: Entity) -> tuple[Parent, ...]:
    """``needs`` in its long form."""
    if isinstance(entity.needs, dict):
        return tuple(
            Parent(parent, need.columns, nullable=need.nullable)
            for parent, need in _needs(entity.needs)
        )
    return tuple(Parent(parent) for parent in entity.needs)


def _needs(needs: Mapping[str, Need]) -> list[tuple[str, Need]]:
    return list(needs.items())


def load_transform(name: str, entity: Entity) -> Transform | None:
    """The function that ``transform: module:function`` names; None for identity.

    Raises ConfigError when it cannot be imported or called.
    """
    if entity.transform is None:
        return None
    module_name, _, function_name = entity.transform.partition(":")
    module = foreign(lambda: importlib.import_module(module_name))
    if isinstance(module, Failed):
        raise ConfigError(
            f"entities.{name}.transform: module {module_name} cannot be imported ({module.kind})",
            hint="install it beside syncd, or name its folder in PYTHONPATH",
        )
    function = getattr(module, function_name, None)
    if not callable(function):
        raise ConfigError(
            f"entities.{name}.transform: module {module_name} has no function {function_name}"
        )
    return function  # type: ignore[no-any-return]


def _revision(entity: Entity, plan: Plan) -> int:
    """Changes with anything that may change what becomes of a row, and with no mere spelling."""
    said = msgspec.json.encode(
        [
            plan.columns,
            plan.drafted,
            sorted(sorted(group) for group in plan.groups),
            plan.on_conflict,
            plan.timestamps,
            sorted((p.entity, p.columns, p.nullable) for p in plan.parents),
            entity.transform,
            _code(entity),
        ]
    )
    return small_hash(said)


def _code(entity: Entity) -> str:
    """The text of the transform's module, and of all that lie beside it in its package.

    '' where there is none to read.
    """
    if entity.transform is None:
        return ""
    module = importlib.import_module(entity.transform.partition(":")[0])
    try:
        own = inspect.getsource(module)
        beside = Path(inspect.getfile(module)).parent.glob("*.py") if module.__package__ else ()
        return "\n".join([own, *(path.read_text("utf-8") for path in sorted(beside))])
    except (OSError, TypeError):  # compiled, or made at run time: its name must do
        return ""


def small_hash(data: bytes) -> int:
    """A positive 31-bit number that names ``data``: for epochs and revisions."""
    return int.from_bytes(blake2b(data, digest_size=4).digest(), "big") & _INT4_MASK
