"""Rules about aggregates: what their parts, links, twins and references may say."""

import re
from typing import Final

from syncd.config import Aggregate, Config, Entity, Part
from syncd.config_references import Found, Problem
from syncd.config_shape import did_you_mean
from syncd.config_yaml import Path

_TERM: Final = re.compile(r"date\([^()]+\)|[^()]+")
_ROWS: Final = {"one": "columns", "many": "key and fields", "append": "key and fields"}


def aggregates(config: Config) -> Found:
    """Every rule about aggregates that ``config`` breaks."""
    holders: dict[tuple[str, str], str] = {}
    for name, entity in config.entities.items():
        if entity.aggregate is None:
            continue
        path: Path = ("entities", name, "aggregate")
        if len(entity.key) != 1:
            yield Problem(
                ("entities", name, "key"),
                "expected one column: the link of an aggregate holds one source id, found "
                f"{len(entity.key)}; make one of them in a query",
            )
        yield from _link(entity, entity.aggregate, path)
        yield from _twins(entity.aggregate, path)
        yield from _refers(config, entity, entity.aggregate, path)
        for part_name, part in entity.aggregate.parts.items():
            yield from _part(part, (*path, "parts", part_name))
        yield from _document(entity.aggregate, path)
        link = entity.aggregate.link
        holder = holders.setdefault((link.table, link.type), name)
        if holder != name:
            yield Problem(
                (*path, "link", "type"),
                f"expected a type that entities.{holder} does not use, found",
                link.type,
            )


def _link(entity: Entity, aggregate: Aggregate, path: Path) -> Found:
    updated = aggregate.link.updated
    if updated is not None and updated in (*entity.key, *entity.ownership):
        yield Problem(
            (*path, "link", "updated"),
            "expected a column that is neither the key nor owned by anybody, found",
            updated,
        )


def _twins(aggregate: Aggregate, path: Path) -> Found:
    for number, rule in enumerate(aggregate.twins):
        for term in rule:
            if not _TERM.fullmatch(term):
                yield Problem(
                    (*path, "twins", str(number)), "expected column or date(column), found", term
                )


def _refers(config: Config, entity: Entity, aggregate: Aggregate, path: Path) -> Found:
    for column, other in aggregate.refers.items():
        where = (*path, "refers", column)
        known = [name for name, e in config.entities.items() if e.aggregate is not None]
        if other not in known:
            more = did_you_mean(other, known)
            yield Problem(where, "expected an entity with an aggregate, found", other, more)
        elif other not in entity.needs:
            yield Problem(where, "expected an entity that stands in needs too, found", other)


def _part(part: Part, path: Path) -> Found:
    has_list, has_columns = bool(part.key and part.fields), bool(part.columns)
    sound = (has_columns and not part.key and not part.fields) if part.rows == "one" else has_list
    if not sound or (part.rows != "one" and has_columns):
        yield Problem(path, f"expected {_ROWS[part.rows]} where rows is {part.rows}, found other")
        return
    for column in part.key:
        if column not in part.fields:
            yield Problem((*path, "key"), "expected one of the fields, found", column)
    if part.ignore and part.rows != "append":
        yield Problem((*path, "ignore"), f"expected nothing where rows is {part.rows}, found some")


def _document(aggregate: Aggregate, path: Path) -> Found:
    """Names of the document that two parts make."""
    holders: dict[str, str] = {}
    for name, part in aggregate.parts.items():
        made = part.columns.values() if part.rows == "one" else [name]
        for column in made:
            holder = holders.setdefault(column, name)
            if holder != name or list(made).count(column) > 1:
                yield Problem(
                    (*path, "parts", name),
                    f"expected a column of the document that parts.{holder} does not make, found",
                    column,
                )
