"""The records of JSON files: one object a line, or one array of objects.

Neither is ever parsed whole. Lines are split at line ends. The objects of an array are found with
one expression that knows strings and brackets and nothing else, so that each stands at an offset,
is read again from there, and is parsed strictly by itself. Numbers with a point stay decimals.

A member that occurs twice in an object counts with its last value.
"""

import re
from collections.abc import Iterator, Sequence
from decimal import Decimal
from typing import Final

import msgspec

from syncd.config import FilesSource
from syncd.errors import SourceError
from syncd.flow.model import MISSING, Severity
from syncd.flow.normalise import Dialect
from syncd.sources.decompression import is_utf8
from syncd.sources.dump_files import DumpFile
from syncd.sources.records import (
    READ_BYTES,
    BadRecord,
    Flaw,
    Gathering,
    LineRecords,
    Pick,
    Stretch,
    inseparable,
    too_long,
)

SAMPLE_RECORDS: Final = 1000
_DEPTH_MAX: Final = 64  # As of every document that syncd takes in.
_REPLACED: Final = "\ufffd"


class _Members:
    """What the records of both layouts have in common."""

    dialect = Dialect.PYTHON

    def __init__(self, file: DumpFile) -> None:
        self._decode = msgspec.json.Decoder(float_hook=Decimal).decode
        self._encoding = "" if is_utf8(file.encoding) else file.encoding

    def picker(self, names: Sequence[str]) -> Pick:
        """The members ``names``, MISSING where a record has none."""

        def pick(record: bytes) -> Sequence[object]:
            members = self._members(record)
            return [members.get(name, MISSING) for name in names]

        return pick

    def find_flaw(self, record: bytes) -> Flaw | None:
        """The flaw of a record that is not too long."""
        try:
            self._members(record)
        except UnicodeDecodeError:
            return Flaw(Severity.ERROR, "charset", self._undamaged(record))
        except BadRecord:
            return Flaw(Severity.ERROR, "json_kind", {})
        except (ValueError, RecursionError):
            return Flaw(Severity.ERROR, "json_syntax", {})
        return None

    def _members(self, record: bytes) -> dict[str, object]:
        """Raises ValueError or RecursionError for what is no JSON, BadRecord for no object."""
        members = self._decode(record.decode(self._encoding) if self._encoding else record)
        if type(members) is not dict:
            raise BadRecord
        return members

    def _undamaged(self, record: bytes) -> dict[str, object]:
        """The members of a record that is not all text, as far as they are."""
        try:
            members = self._members(record.decode(self._encoding or "utf-8", "replace").encode())
        except (ValueError, RecursionError):
            return {}
        return {
            name: value
            for name, value in members.items()
            if isinstance(value, str | int) and _REPLACED not in f"{name}{value}"
        }


def sampled_names(stretches: Iterator[Stretch], pick: Pick) -> tuple[str, ...]:
    ...
