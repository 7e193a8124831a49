"""Rules for staging tables and lookups; see ``config_rules``."""

import re
from collections import Counter
from collections.abc import Callable
from datetime import date
from typing import Final

from syncd.config import Config, FilesSource, Staging
from syncd.config_references import Found, Problem
from syncd.config_yaml import Path

_NAME: Final = r"[A-Za-z_][A-Za-z0-9_]{0,62}"
_TABLE: Final = r"[a-z][a-z0-9_]{0,53}"  # what is made beside it is called NAME_next_key
_OURS: Final = ("staged_table", "lookup_needed")


def _place(config: Config) -> Found:
    if config.staging is None:
        return
    if isinstance(config.source, FilesSource):
        yield Problem(("staging",), "expected nothing: source.kind is files, found an object")
    if config.staging.schema == config.ledger.schema:
        yield Problem(
            ("staging", "schema"), "expected another schema than the ledger's, found the same"
        )
    for name, entity in config.entities.items():
        if entity.into.rpartition(".")[0] == config.staging.schema:
            yield Problem(
                ("entities", name, "into"),
                "expected a table of the target, found the schema of the staging tables",
            )


def _tables(config: Config) -> Found:
    staging = config.staging or _NONE
    for name, table in staging.tables.items():
        path = ("staging", "tables", name)
        if not table.from_.endswith(".sql"):
            yield Problem((*path, "from"), "expected a query (*.sql), found", table.from_)
        yield from _named(path, name)
        for column in _twice(table.key):
            yield Problem((*path, "key"), "expected each column once, found twice", column)


def _lookups(config: Config) -> Found:
    staging = config.staging or _NONE
    for name, lookup in staging.lookups.items():
        path = ("staging", "lookups", name)
        yield from _named(path, name)
        if name in staging.tables:
            yield Problem(path, "expected another name than that of a staging table, found it")
        for column in lookup.columns:
            if not re.fullmatch(_NAME, column) or column == "id":
                yield Problem((*path, "columns"), "expected plain names but id, found", column)
        for column in _twice(lookup.columns):
            yield Problem((*path, "columns"), "expected each column once, found twice", column)
        ends = {"from": lookup.needed.from_, "before": lookup.needed.before}
        for field, text in ends.items():
            if text is not None and not _is_date(text):
                yield Problem((*path, "needed", field), "expected a date, found", text)


def _named(path: Path, name: str) -> Found:
    if not re.fullmatch(_TABLE, name) or name in _OURS:
        yield Problem(
            path,
            f"expected a table's name of lower-case letters, digits and _, at most 54, and not "
            f"{' or '.join(_OURS)}, found",
            name,
        )


def _twice(names: tuple[str, ...]) -> list[str]:
    return [name for name, count in Counter(names).items() if count > 1]


def _is_date(text: str) -> bool:
    try:
        date.fromisoformat(text)
    except ValueError:
        return False
    return True


_NONE: Final = Staging(tables={})

RULES: Final[tuple[Callable[[Config], Found], ...]] = (_place, _tables, _lookups)
