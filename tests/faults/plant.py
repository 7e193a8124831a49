"""A pytest plugin (``-p tests.faults.plant``) that plants the fault named by ``SYNCD_FAULT``.

It is loaded before any of the tests, so the module is changed wherever it is imported.
"""

import importlib.abc
import importlib.machinery
import os
import sys
from collections.abc import Sequence
from importlib.machinery import ModuleSpec, PathFinder
from types import ModuleType

from tests.faults.planted import FAULTS, Fault


class MisfitError(Exception):
    """The fault's text is not in the code as often as it must be."""


class _Loader(importlib.machinery.SourceFileLoader):
    """Loads one module with the fault in it; nothing is written, the byte code neither."""

    fault: Fault

    def get_code(self, fullname: str) -> object:  # type: ignore[override]
        path = self.get_filename(fullname)
        return compile(faulty(self.fault, self.get_data(path).decode()), path, "exec")


class Finder(importlib.abc.MetaPathFinder):
    """Finds the one module of a fault; leaves all others to the usual finders."""

    def __init__(self, fault: Fault) -> None:
        self._fault = fault

    def find_spec(
        self, name: str, path: Sequence[str] | None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """The spec with a loader that plants the fault."""
        if name != self._fault.module:
            return None
        spec = PathFinder.find_spec(name, path, target)
        assert spec is not None
        assert spec.origin is not None
        loader = _Loader(name, spec.origin)
        loader.fault = self._fault
        spec.loader = loader
        return spec


def faulty(fault: Fault, source: str) -> str:
    """The module's source with the fault in it. Raises MisfitError where it does not fit."""
    for old, new in fault.edits:
        if source.count(old) != 1:
            raise MisfitError(f"{fault.name}: {source.count(old)} places fit in {fault.module}")
        source = source.replace(old, new)
    return source


def _plant(name: str) -> None:
    fault = FAULTS[name]
    assert fault.module not in sys.modules, "too late: it is imported already"
    sys.meta_path.insert(0, Finder(fault))


if "SYNCD_FAULT" in os.environ:
    _plant(os.environ["SYNCD_FAULT"])
