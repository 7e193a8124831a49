"""What a pipeline's own transform may do: change a value, leave a record out, and fail."""

from collections.abc import Mapping
from typing import Final

from syncd.flow.transform import Skip

BAD: Final = b"~bad"
SKIPPED: Final = b"~skipped"


class CarefulError(Exception):
    """Its message holds a value, and must go nowhere."""


def careful(record: Mapping[str, object]) -> Mapping[str, object] | Skip:
    """A child with a word where it had none."""
    if record["a"] == BAD.decode():
        raise CarefulError(record["a"])
    if record["a"] == SKIPPED.decode():
        return Skip("not wanted")
    return {**record, "b": "~none" if record["b"] is None else record["b"]}
