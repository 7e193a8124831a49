"""Who asks, and what that allows. Pure; nothing is allowed that is not said here."""

from enum import IntEnum
from typing import Final

from msgspec import Struct


class Role(IntEnum):
    """Each role may do what those below it may.

    READ looks at numbers and lists. OPERATE asks for work, pauses, decides conflicts, and sees the
    live values of a record. ADMIN decides about held deletes and reads the audit.
    """

    READ = 1
    OPERATE = 2
    ADMIN = 3


NAMES: Final = {"read": Role.READ, "operate": Role.OPERATE, "admin": Role.ADMIN}
CLAIMED: Final = {f"syncd.{name}": role for name, role in NAMES.items()}


class Identity(Struct, frozen=True):
    """Somebody who has proved who they are.

    ``scope`` are pipelines (``orders``) and entities (``orders/customers``) that they may see and
    change; None for all of them. ``role`` None may do nothing.
    """

    subject: str
    role: Role | None
    scope: frozenset[str] | None = None

    def may(self, role: Role) -> bool:
        """Whether the role is theirs."""
        return self.role is not None and self.role >= role

    def reaches(self, pipeline: str, entity: str) -> bool:
        """Whether an entity is theirs; ``""`` is the pipeline as a whole."""
        if self.scope is None or pipeline in self.scope:
            return True
        return bool(entity) and f"{pipeline}/{entity}" in self.scope

    def sees(self, pipeline: str) -> bool:
        """Whether anything of the pipeline is theirs."""
        if self.scope is None or pipeline in self.scope:
            return True
        return any(place.startswith(f"{pipeline}/") for place in self.scope)
