"""Transforms of aggregates: with one, every column of the target's document is known."""

from collections.abc import Mapping


def whole(record: Mapping[str, object]) -> Mapping[str, object]:
    """The document as the source has it."""
    return record
