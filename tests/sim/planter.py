"""Plants a fault in the running code and takes it out again; nothing in syncd/ is edited.

What is to be replaced must be there: a fault that no longer fits is an error, never a fault found.
"""

import importlib
from collections.abc import Callable, Iterator, MutableMapping
from contextlib import contextmanager
from typing import Any, Final

from msgspec import Struct

_NOTHING: Final[Any] = object()


class MisfitError(Exception):
    """A fault names something that is not in the code any more."""


class Planter:
    """Replaces things, and remembers what they were."""

    def __init__(self) -> None:
        self._undo: list[Callable[[], None]] = []

    def set(self, path: str, value: object) -> None:
        """Replace what ``path`` names: "module:name" or "module:Class.name"."""
        owner, name, old = _found(path)
        own = vars(owner).get(name, _NOTHING)
        setattr(owner, name, value)
        self._undo.append(
            lambda: delattr(owner, name) if own is _NOTHING else setattr(owner, name, own)
        )
        del old

    def wrap(self, path: str, around: Callable[[Any], object]) -> None:
        """Replace what ``path`` names by what ``around`` makes of it."""
        self.set(path, around(_found(path)[2]))

    def item(self, table: MutableMapping[Any, Any], key: object, value: object) -> None:
        """Replace an entry of a table."""
        if key not in table:
            raise MisfitError(f"the table has no line {key}")
        old = table[key]
        table[key] = value
        self._undo.append(lambda: table.__setitem__(key, old))

    def uproot(self) -> None:
        """Put everything back."""
        while self._undo:
            self._undo.pop()()


class Canary(Struct, frozen=True):
    """A planted fault: what is wrong, and how to do it. ``quick``: the quick driver finds it."""

    name: str
    what: str
    plant: Callable[[Planter], None]
    quick: bool = False


@contextmanager
def planted(canary: Canary) -> Iterator[None]:
    """The code with the fault in it. Raises MisfitError where it does not fit."""
    planter = Planter()
    try:
        canary.plant(planter)
        yield
    finally:
        planter.uproot()


def _found(path: str) -> tuple[Any, str, Any]:
    """Where ``path`` leads to: the owner, the name in it, and what is there."""
    module, _, names = path.partition(":")
    *owners, name = names.split(".")
    try:
        owner: Any = importlib.import_module(module)
        for part in owners:
            owner = getattr(owner, part)
        return owner, name, getattr(owner, name)
    except (ImportError, AttributeError) as error:
        raise MisfitError(f"{path} is not there any more: {error}") from error
