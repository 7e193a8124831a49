"""Transforms that the tests name in their configuration; pure, like those of a real site."""

from collections.abc import Mapping

from syncd.flow.model import Issue, Severity
from syncd.flow.transform import Drafted, Skip

Record = Mapping[str, object]


def visit(record: Record) -> Mapping[str, object] | Skip | Drafted:
    """One record of each kind, by what stands in ``kind``."""
    values = {"id": record["id"], "label": f"visit {record['id']}: {record['kind']}"}
    if record["kind"] == "test":
        return Skip("a test visit")
    if record["kind"] == "bad":
        return Drafted(values, (Issue(Severity.ERROR, "no_prisoner", "label"),))
    if record["kind"] == "odd":
        return Drafted(values, (Issue(Severity.WARNING, "long_ago", "label"),))
    if record["kind"] == "boom":
        raise ZeroDivisionError(f"secret {record['id']}")
    if record["kind"] == "unknown":
        return {**values, "no_such_column": 1}
    if record["kind"] == "rekeyed":
        return {**values, "id": -1}
    return values
