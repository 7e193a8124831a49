"""``lookup load``: a file of fixed answers, taken whole or not at all."""

import csv
import io
from collections import Counter
from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import Final

from syncd.config import Lookup, Staging
from syncd.errors import ConfigError
from syncd.pg.transaction import transaction
from syncd.reports import LookupReport
from syncd.site import Site
from syncd.sources.staging_schema import StagingSchema
from syncd.visible import visible

_FILE_BYTES_MAX: Final = 256 * 1024**2  # some million lines; a lookup is a small thing
_FIELD_CHARS_MAX: Final = 10_000
_TOLD_MAX: Final = 20  # bad lines; more are counted


class Lookups:
    """The lookups of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def load(self, name: str, path: Path) -> LookupReport:
        """Put the rows of ``path`` in the place of all that the lookup holds.

        Raises ConfigError for an unknown lookup and for a file with any line that cannot be taken;
        then nothing was changed.
        """
        staging = self._site.config.staging
        if staging is None or name not in staging.lookups:
            known = ", ".join(staging.lookups) if staging else ""
            raise ConfigError(
                f"NAME: expected one of staging.lookups ({known or 'there are none'}), "
                f"found {visible(name)!r}"
            )
        rows = read_rows(path, staging.lookups[name])
        before = await self._replace(staging, name, rows)
        counts = Counter(row[0] for row in rows)
        several = sum(count > 1 for count in counts.values())
        return LookupReport(name, rows=len(rows), before=before, several=several)

    async def _replace(self, staging: Staging, name: str, rows: Sequence[Sequence[str]]) -> int:
        schema = StagingSchema(staging)
        async with transaction(self._site.connections) as tx:
            await schema.make(tx.connection)
            return await schema.refill_lookup(tx.connection, name, rows)


def read_rows(path: Path, lookup: Lookup) -> list[tuple[str, ...]]:
    """The rows of a file, in its order. Raises ConfigError that lists the bad lines."""
    name = visible(path.name)
    lines = csv.reader(io.StringIO(_text(path, name), newline=""), strict=True)
    problems: list[str] = []
    rows: list[tuple[str, ...]] = []
    try:
        header = next(lines, [])
        if tuple(header) != lookup.columns:
            raise ConfigError(
                f"{name}:1: expected the header {','.join(lookup.columns)}, found another one"
            )
        for row in lines:
            found = list(_problems(row, lookup))
            problems += [f"{name}:{lines.line_num}: {problem}" for problem in found]
            rows.append(tuple(row))
    except csv.Error:
        problems.append(f"{name}:{lines.line_num}: expected CSV, found a quote that does not fit")
    if problems:
        raise ConfigError(_told(problems), hint="nothing was loaded; correct the file")
    return rows


def _text(path: Path, name: str) -> str:
    try:
        if path.stat().st_size > _FILE_BYTES_MAX:
            raise ConfigError(f"{name}: expected at most {_FILE_BYTES_MAX} bytes, found more")
        return path.read_text("utf-8-sig")
    except UnicodeDecodeError as error:
        raise ConfigError(f"{name}: expected UTF-8, found other bytes at {error.start}") from None
    except OSError as error:
        raise ConfigError(f"{name}: cannot be read ({type(error).__name__})") from None


def _problems(row: Sequence[str], lookup: Lookup) -> Iterator[str]:
    if len(row) != len(lookup.columns):
        yield f"expected {len(lookup.columns)} fields, found {len(row)}"
        return
    for column, value in zip(lookup.columns, row, strict=True):
        if not value.strip():
            yield f"expected a value for {column}, found none"
        elif value != value.strip():
            yield f"expected no blanks around {column}, found some"
        elif "\0" in value or len(value) > _FIELD_CHARS_MAX:
            yield f"expected at most {_FIELD_CHARS_MAX} characters without NUL for {column}"


def _told(problems: Sequence[str]) -> str:
    more = len(problems) - _TOLD_MAX
    return "\n".join([*problems[:_TOLD_MAX], *([f"and {more} more"] if more > 0 else [])])
