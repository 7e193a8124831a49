"""The pages for operators, held against what they speak of."""

import re
from typing import Final

from syncd.flow.model import OnConflict
from syncd.meter import Health
from syncd.metric_names import (
    ENTITY_SERIES,
    METRICS,
    MISMATCHES,
    OPERATIONS,
    OTHER,
    PIPELINE_SERIES,
    REJECTIONS,
    RUN_STATUSES,
    SERIES_MAX,
    SKIPS,
    SOURCES,
)
from tests.conftest import REPOSITORY

METRICS_PAGE: Final = (REPOSITORY / "docs" / "metrics.md").read_text("utf-8")


def rows(page: str, header: str) -> list[list[str]]:
    """The cells of the table with this header."""
    table = page.partition(f"{header}\n")[2].partition("\n\n")[0].splitlines()[1:]
    return [[cell.strip() for cell in line.strip("|").split(" | ")] for line in table]


def words(cell: str) -> set[str]:
    return set(re.findall(r"`(\w+)`", cell))


def test_every_metric_is_documented_as_it_is() -> None:
    told = [
        (name.strip("`"), kind, words(labels), text)
        for name, kind, labels, text in rows(METRICS_PAGE, "| name | type | labels | meaning |")
    ]
    assert told == [(m.name, m.kind, set(m.labels), m.text) for m in METRICS]


def test_every_value_of_a_label_is_documented() -> None:
    told = {label: words(values) for label, values in rows(METRICS_PAGE, "| label | values |")}
    assert told == {
        "`source`": {*SOURCES, OTHER},
        "`op`": {*OPERATIONS.values()},
        "`reason`": {o.value for o in SKIPS},
        "`severity` and `code`": {*REJECTIONS.values(), *(o.value for o in REJECTIONS)},
        "`resolution`": {r.value for r in OnConflict},
        "`status` of an entity": {h.value for h in Health},
        "`status` of a run": {*RUN_STATUSES, OTHER},
        "`kind`": {*MISMATCHES},
    }


def test_the_limits_of_series_are_documented() -> None:
    said = f"at most {SERIES_MAX} series: an entity\ntakes {ENTITY_SERIES} and a pipeline"
    assert f"{said} {PIPELINE_SERIES}" in METRICS_PAGE
