"""The suite can fail: faults that are planted in the code are found by it."""

import importlib.util
import os
from pathlib import Path
from typing import Final

import pytest

from tests.faults.hunt import FAILED, hunt
from tests.faults.plant import faulty
from tests.faults.planted import FAULTS, Fault

THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
QUICK: Final = ("no_position_guard", "empty_source_deletes", "null_is_empty")


def hunted() -> list[str]:
    """All in `make trust`; three that need no server in `make test`."""
    return list(FAULTS) if THOROUGH else list(QUICK)


@pytest.mark.trust
@pytest.mark.timeout(300)
@pytest.mark.parametrize("name", hunted())
def test_a_planted_fault_is_found(name: str) -> None:
    """A fault in the code makes one of the tests fail that are named beside it."""
    found = hunt(FAULTS[name])
    assert found.by, found.said


def test_tests_that_break_down_are_no_verdict(monkeypatch: pytest.MonkeyPatch) -> None:
    """They are tried once more; only where all pass has the fault survived."""
    ends = iter([(3, "INTERNALERROR"), (FAILED, "FAILED tests/flow/test_guard.py::test_it - no")])
    monkeypatch.setattr("tests.faults.hunt.run", lambda *_: next(ends))
    found = hunt(FAULTS[QUICK[0]])
    assert (found.by, found.code) == ("tests/flow/test_guard.py::test_it", FAILED)


@pytest.mark.parametrize("fault", FAULTS.values(), ids=list(FAULTS))
def test_a_fault_fits_the_code(fault: Fault) -> None:
    """Every fault is a change of the code as it stands, and the result can be compiled."""
    spec = importlib.util.find_spec(fault.module)
    assert spec is not None
    source = Path(spec.origin or "").read_text("utf-8")
    changed = faulty(fault, source)
    assert changed != source
    compile(changed, fault.module, "exec")
