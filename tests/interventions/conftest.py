"""Both systems of the interventions migration, empty but for two teams."""

import pytest

from tests.interventions.world import Interventions, configured
from tests.pipeline.world import MakeDatabase


@pytest.fixture
def interventions(make_database: MakeDatabase) -> Interventions:
    """Made by ``begin``."""
    return Interventions(configured(make_database("im"), make_database("md")))
