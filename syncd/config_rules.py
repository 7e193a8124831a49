"""What the types of ``config.py`` cannot say: rules between fields, all of them checked at once.

Each rule is a generator of problems over the converted configuration. A column is named as the
source names it or as the target does (``into``); where a transform makes the target's columns,
nothing is known of them here and only ``init`` can tell.
"""

import re
from collections import Counter
from collections.abc import Callable, Mapping, Sequence
from typing import Final

from syncd import config_rules_ends, config_rules_schedule, config_rules_staging
from syncd.config import (
    AnySource,
    Collation,
    ColumnConfig,
    Config,
    Deletes,
    Entity,
    FilesSource,
    Need,
    PostgresSource,
    SqlServerSource,
)
from syncd.config_references import Found, Problem
from syncd.config_rules_aggregates import aggregates
from syncd.config_rules_schedule import known_zone
from syncd.config_shape import did_you_mean
from syncd.config_yaml import Path
from syncd.errors import ConfigError
from syncd.flow.keys import KEY_KINDS
from syncd.flow.model import Kind, OnConflict, Ownership, Parent
from syncd.flow.normalise import parse_type
from syncd.flow.order import waves

# PostgreSQL keeps 63 bytes of a name; names that need quoting are refused for tables.
_NAME: Final = r"[A-Za-z_][A-Za-z0-9_$]{0,62}"
_TABLE: Final = re.compile(rf"(?:{_NAME}\.)?{_NAME}")
_NAME_BYTES_MAX: Final = 63
_TRANSFORM: Final = re.compile(r"[A-Za-z_]\w*(?:\.[A-Za-z_]\w*)*:[A-Za-z_]\w*", re.ASCII)
_KINDS: Final = tuple(kind.value for kind in Kind)


def problems(config: Config) -> list[Problem]:
    """Every rule that ``config`` breaks."""
    return [problem for rule in _RULES for problem in rule(config)]


def parents(needs: Sequence[str] | Mapping[str, Need]) -> tuple[Parent, ...]:
    """Both spellings of ``needs`` as edges."""
    if isinstance(needs, Mapping):
        return tuple(
            Parent(entity=name, columns=need.columns, nullable=need.nullable)
            for name, need in needs.items()
        )
    return tuple(Parent(entity=name) for name in needs)


def known_columns(source: AnySource, entity: Entity) -> frozenset[str] | None:
    """Names at the source where the configuration says all of them, else None."""
    # The key is always mapped, also where ``only`` does not name it.
    return frozenset((*entity.only, *entity.key)) if entity.only else _listed(source, entity)


def _listed(source: AnySource, entity: Entity) -> frozenset[str] | None:
    """All columns of a file without a header, where they are given."""
    headless = isinstance(source, FilesSource) and not source.header
    return frozenset(entity.columns) or None if headless else None


def _into(entity: Entity, column: str) -> str:
    found = entity.columns.get(column)
    if isinstance(found, ColumnConfig) and found.into is not None:
        return found.into
    return column


def _twice(names: Sequence[str]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _folded_keys(config: Config) -> Found:
    """Two spellings of one key cannot be told apart where the server does the comparing."""
    source = config.source
    if not isinstance(source, SqlServerSource) or source.digests == "client":
        return
    for name, entity in config.entities.items():
        if (entity.collation or source.collation) != Collation():
            yield Problem(
                ("entities", name, "collation"),
                "expected none beside digests: pushdown, which cannot tell spellings of a key "
                "apart, found one",
            )


def _tables(config: Config) -> Found:
    holders: dict[str, str] = {}
    for name, entity in config.entities.items():
        path = ("entities", name, "into")
        if not _TABLE.fullmatch(entity.into):
            yield Problem(
                path,
                "expected table or schema.table in plain names (letters, digits, _ and $, at "
                "most 63), found",
                entity.into,
            )
            continue
        schema, _, table = entity.into.rpartition(".")
        whole = f"{schema or 'public'}.{table}"
        if whole in holders:
            yield Problem(
                path,
                f"expected a table that entities.{holders[whole]} does not write, found",
                entity.into,
            )
        holders.setdefault(whole, name)
        if schema == config.ledger.schema:
            yield Problem(path, "expected a table of the target, found the schema of the ledger")


def _sources(config: Config) -> Found:
    for name, entity in config.entities.items():
        path = ("entities", name, "from")
        if not entity.from_.strip():
            yield Problem(path, "expected a file, a table or a query, found empty text")
        if isinstance(config.source, FilesSource):
            if entity.from_.endswith(".sql"):
                yield Problem(path, "expected a file, found a query: source.kind is files")
        elif not isinstance(config.source, PostgresSource):
            continue
        elif config.source.dsn == config.target.dsn and entity.from_ == entity.into:
            yield Problem(path, "expected another table than into, found the same one, same dsn")


def _keys(config: Config) -> Found:
    for name, entity in config.entities.items():
        path = ("entities", name, "key")
        for column in _twice(entity.key):
            yield Problem(path, "expected each column once, found twice", column)
        for column in dict.fromkeys(entity.key):
            yield from _column_known(config, name, column, path)
            owner = entity.ownership.get(column, entity.ownership.get(_into(entity, column)))
            if owner in (Ownership.TARGET, Ownership.COMPUTED):
                yield Problem(
                    ("entities", name, "ownership", column),
                    f"expected source, merge or initial for a column of the key, found {owner}",
                )


def _column_known(config: Config, name: str, column: str, path: Path) -> Found:
    known = known_columns(config.source, config.entities[name])
    if known is not None and column not in known:
        more = did_you_mean(column, known)
        yield Problem(path, "expected one of the columns, found", column, more)


def _columns(config: Config) -> Found:
    for name, entity in config.entities.items():
        for column, given in entity.columns.items():
            path = ("entities", name, "columns", column)
            long = given if isinstance(given, ColumnConfig) else None
            where = (*path, "type") if long else path
            text = long.type if long else str(given)
            if text is not None:
                yield from _column_type(where, text, in_key=column in entity.key)
            if long:
                yield from known_zone((*path, "zone"), long.zone)
            if not 0 < len(_into(entity, column).encode()) <= _NAME_BYTES_MAX:
                yield Problem(path, "expected a name of 1 to 63 bytes, found another length")
        yield from _chosen(config, name)


def _chosen(config: Config, name: str) -> Found:
    """What ``columns`` and ``only`` say together."""
    entity = config.entities[name]
    targets = [_into(entity, c) for c in dict.fromkeys([*entity.columns, *entity.only])]
    for column in _twice(targets):
        yield Problem(
            ("entities", name, "columns"),
            "expected one column for each into, found several for",
            column,
        )
    listed = _listed(config.source, entity)
    for column in dict.fromkeys(entity.only):
        if listed is not None and column not in listed:
            more = did_you_mean(column, listed)
            yield Problem(
                ("entities", name, "only"), "expected one of the columns, found", column, more
            )
    for column in _twice(entity.only):
        yield Problem(
            ("entities", name, "only"),
            "expected each column once, found twice",
            column,
        )


def _column_type(path: Path, text: str, *, in_key: bool) -> Found:
    try:
        kind = parse_type(text).kind
    except ConfigError:  # composed anew: this text may have come from outside
        words = f"{', '.join(_KINDS)} or an SQL name of one"
        yield Problem(path, f"expected {words}, found", text, did_you_mean(text, _KINDS))
        return
    if in_key and kind not in KEY_KINDS:
        words = ", ".join(sorted(KEY_KINDS))
        yield Problem(path, f"expected one of {words} for a column of the key, found", text)


def _mapped(config: Config) -> Found:
    """Ownership and groups name columns that exist, as far as that can be known."""
    for name, entity in config.entities.items():
        sourced = known_columns(config.source, entity)
        known = None if sourced is None or entity.transform else _both_names(entity, sourced)
        named = [(("ownership", column), column) for column in entity.ownership]
        named += [(("groups", str(i)), column) for i, g in enumerate(entity.groups) for column in g]
        for place, column in named:
            if known is not None and column not in known:
                more = did_you_mean(column, known)
                yield Problem(
                    ("entities", name, *place),
                    "expected one of the columns, found",
                    column,
                    more,
                )


def _both_names(entity: Entity, columns: frozenset[str]) -> frozenset[str]:
    return columns | {_into(entity, column) for column in columns}


def _groups(config: Config) -> Found:
    for name, entity in config.entities.items():
        path = ("entities", name, "groups")
        for number, group in enumerate(entity.groups):
            if len(set(group)) <= 1:
                yield Problem((*path, str(number)), "expected two or more columns, found fewer")
        for column in _twice([c for group in entity.groups for c in dict.fromkeys(group)]):
            yield Problem(path, "expected each column in one group, found in two", column)


def _merging(config: Config) -> Found:
    for name, entity in config.entities.items():
        merge, path = entity.merge, ("entities", name, "merge")
        if merge.on_conflict is OnConflict.SOURCE_WINS and not merge.i_accept_overwrite:
            yield Problem(
                (*path, "i_accept_overwrite"),
                "expected true beside on_conflict: source_wins, found false: what staff typed "
                "would be overwritten",
            )
        if merge.policy != "timestamps":
            continue
        for field in ("source_updated", "target_updated"):
            if not getattr(merge, field):
                yield Problem(
                    (*path, field), "expected a column (policy is timestamps), found nothing"
                )
        if merge.source_updated:
            yield from _column_known(config, name, merge.source_updated, (*path, "source_updated"))


def _transforms(config: Config) -> Found:
    for name, entity in config.entities.items():
        if entity.transform is not None and not _TRANSFORM.fullmatch(entity.transform):
            yield Problem(
                ("entities", name, "transform"),
                "expected package.module:function, found",
                entity.transform,
            )


def _soft_deletes(config: Config) -> Found:
    places: dict[Path, Deletes | None] = {("deletes",): config.deletes}
    places |= {("entities", name, "deletes"): e.deletes for name, e in config.entities.items()}
    for path, deletes in places.items():
        if deletes and deletes.policy == "soft" and not re.fullmatch(_NAME, deletes.column):
            yield Problem((*path, "column"), "expected a plain name, found", deletes.column)


def _needs(config: Config) -> Found:
    before = list(_edges(config))
    yield from before
    if before:
        return  # an unknown parent makes the order meaningless
    try:
        waves({name: parents(entity.needs) for name, entity in config.entities.items()})
    except ConfigError as error:
        yield Problem(("entities",), str(error))


def _edges(config: Config) -> Found:
    for name, entity in config.entities.items():
        for parent in parents(entity.needs):
            path = ("entities", name, "needs", parent.entity)
            if parent.entity not in config.entities:
                more = did_you_mean(parent.entity, config.entities)
                yield Problem(
                    ("entities", name, "needs"),
                    "expected names of entities, found",
                    parent.entity,
                    more,
                )
                continue
            length = len(config.entities[parent.entity].key)
            if parent.columns and len(parent.columns) != length:
                yield Problem(
                    (*path, "columns"),
                    f"expected {length} columns, as many as the key of {parent.entity} has, "
                    f"found {len(parent.columns)}",
                )
            if parent.nullable and not parent.columns:
                yield Problem(
                    (*path, "columns"), "expected the columns that may be NULL, found none"
                )
            for column in parent.columns:
                yield from _column_known(config, name, column, (*path, "columns"))


_RULES: Final[tuple[Callable[[Config], Found], ...]] = (
    *config_rules_ends.RULES,
    *config_rules_schedule.RULES,
    *config_rules_staging.RULES,
    _folded_keys,
    _tables,
    _sources,
    _keys,
    _columns,
    _mapped,
    _groups,
    _merging,
    _transforms,
    _soft_deletes,
    _needs,
    aggregates,
)
