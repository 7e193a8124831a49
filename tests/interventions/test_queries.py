"""The queries that run at IM: T-SQL as a parser of it reads them, and all of them configured."""

import re
from pathlib import Path
from typing import Final

import pytest
import sqlglot
from msgspec.structs import replace

from config.interventions.sample.tables import TABLES
from syncd.config import Deletes
from tests.conftest import REPOSITORY
from tests.interventions.world import configured

FOLDER: Final = REPOSITORY / "config" / "interventions"
STAGE: Final = sorted((FOLDER / "stage").glob("*.sql"))
# What only one of the two servers understands.
ONE_SIDED: Final = re.compile(
    r"\[|::|\|\||\bTOP\b|\bISNULL\b|\bLIMIT\b|\bILIKE\b|\+", re.IGNORECASE
)
COLUMNS: Final = {
    "referral": {
        *("source_referral_id", "crn", "first_name", "last_name", "created_at", "sourced_from"),
        *("sourced_from_id", "sex", "date_of_birth"),
    },
    "reporting_location": {
        *("source_referral_id", "region_name", "pdu_name", "reporting_team_name"),
    },
}
MATRIX: Final = {
    "person_name": "initial",
    "sex": "initial",
    "date_of_birth": "initial",
    "event_number": "initial",
    "region_name": "initial",
    "pdu_name": "initial",
    "reporting_team_name": "initial",
    "cohort_history": "initial",
    "sentence_end_date": "target",
    "created_at": "initial",
    "created_by": "target",
    "intervention_type": "initial",
    "intervention_name": "initial",
    "setting": "initial",
}


def statement(path: Path) -> sqlglot.exp.Select:
    """The one SELECT of a file, parsed as T-SQL. Raises where any of it is not understood."""
    found = sqlglot.parse(
        path.read_text("utf-8"), dialect="tsql", error_level=sqlglot.ErrorLevel.RAISE
    )
    assert len(found) == 1
    assert isinstance(found[0], sqlglot.exp.Select)
    return found[0]


@pytest.mark.parametrize("path", STAGE, ids=lambda path: path.stem)
def test_a_stage_query_is_tsql_in_the_part_that_postgresql_shares(path: Path) -> None:
    """Every table and every column is one of IM's, and nothing is of one server alone."""
    query = statement(path)
    text = re.sub(r"--.*", "", path.read_text("utf-8"))
    assert ONE_SIDED.findall(text) == []
    assert not list(query.find_all(sqlglot.exp.Command))
    tables = {t.alias: TABLES[t.name] for t in query.find_all(sqlglot.exp.Table)}
    known = {alias: {c.name for c in table.columns} for alias, table in tables.items()}
    for column in query.find_all(sqlglot.exp.Column):
        assert column.name in known[column.table], f"{path.name}: {column.sql()}"


@pytest.mark.parametrize("path", STAGE, ids=lambda path: path.stem)
def test_a_stage_query_takes_few_columns_by_names(path: Path) -> None:
    """At most fifteen out of 120, each named once; those of the contract are among them."""
    names = statement(path).named_selects
    assert 3 < len(names) <= 15
    assert len(set(names)) == len(names)
    assert COLUMNS.get(path.stem, set()) <= set(names)


def test_every_stage_query_fills_a_table() -> None:
    """No file is forgotten in the configuration."""
    staging = configured("postgresql://im", "postgresql://md").staging
    assert staging is not None
    assert {Path(table.from_) for table in staging.tables.values()} == set(STAGE)


def test_the_ownership_of_a_referral_is_that_of_the_page() -> None:
    """What hydration owns is IM's at first only; what is not named is merged."""
    entity = configured("postgresql://im", "postgresql://md").entities["referral"]
    assert {column: str(owner) for column, owner in entity.ownership.items()} == MATRIX
    assert entity.groups == (("event_id", "sourced_from"),)


def test_nothing_is_deleted_unless_somebody_says_so() -> None:
    """What is gone in IM is reported."""
    config = configured("postgresql://im", "postgresql://md")
    assert config.deletes == replace(Deletes(), policy="report")
    assert not any(entity.deletes for entity in config.entities.values())
