"""A table cut into spans of its key, so that several connections can read it side by side.

The cuts lie evenly between the first and the last key that is remembered. Where keys are not even,
one connection has more to read than another, and nothing else is different.
"""

from collections.abc import Sequence
from typing import Final

from syncd.flow.keys import decode_key
from syncd.flow.model import Kind
from syncd.flow.ports import WHOLE, Span
from syncd.sources.postgres_sql import PART_BYTES, Statements

# Below this the second connection costs more than it brings.
SPLIT_ROWS_MIN: Final = 100_000


def split(kind: Kind, extent: tuple[bytes, bytes], number: int) -> Sequence[Span]:
    """At most ``number`` spans, ascending, without a gap; ``kind`` is that of the first part."""
    size = PART_BYTES[kind]
    first, last = (int.from_bytes(key[:size], "big") for key in extent)
    width = last - first + 1
    cuts = sorted({first + width * at // number for at in range(1, number)} - {first})
    ends = [cut.to_bytes(size, "big") for cut in cuts]
    return [Span(one, end) for one, end in zip([b"", *ends], [*ends, b""], strict=True)]


def scan_of(statements: Statements, kind: Kind, span: Span) -> tuple[str, list[str]]:
    """The statement that scans ``span``, and its arguments."""
    bounds = [decode_key((kind,), end)[0].decode() for end in (span.first, span.end) if end]
    if span == WHOLE:
        return statements.scan, bounds
    if not span.end:
        return statements.scan_from, bounds
    return (statements.scan_between if span.first else statements.scan_before), bounds
