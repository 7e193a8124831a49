"""A secret that is being changed: each of its values in turn, until one is taken (case 82)."""

from collections.abc import Awaitable, Callable, Sequence
from functools import partial
from typing import Protocol, TypeVar

import anyio

from syncd.errors import TransientError

_T = TypeVar("_T")


class Hidden(Protocol):
    """A secret that does not print itself (``syncd.config.Secret``)."""

    @property
    def value(self) -> str:
        """The plain text, as it was when the configuration was read."""

    @property
    def changes(self) -> bool:
        """Whether it may be another one by now."""

    @property
    def ever_worked(self) -> bool:
        """Whether something took it, as it is or was."""

    def values(self, *, refused: bool) -> Sequence[str]:
        """Values that may be right now, the likeliest first; waits, so it is called in a thread."""

    def works(self, value: str) -> None:
        """``value`` was taken."""


async def taken(
    secret: Hidden,
    attempt: Callable[[str], Awaitable[_T]],
    doing: str,
    refusals: type[Exception],
    is_refusal: Callable[[Exception], bool] = lambda _: True,
) -> _T:
    """What ``attempt`` gives for the first value that is not refused.

    One that is refused raises one of ``refusals`` for which ``is_refusal`` holds. Raises what
    it raises for the last one; TransientError where the secret has worked before, since it is then
    in the middle of a change, which will end.
    """
    if not secret.changes:
        return await attempt(secret.value)
    tried: list[str] = []
    refusal: Exception | None = None
    for refused in (False, True):
        values = await anyio.to_thread.run_sync(partial(secret.values, refused=refused))
        for plain in values:
            if plain in tried:
                continue
            tried.append(plain)
            try:
                found = await attempt(plain)
            except refusals as error:
                if not is_refusal(error):
                    raise
                refusal = error
            else:
                secret.works(plain)
                return found
    assert refusal is not None
    if secret.ever_worked:
        raise TransientError(
            f"{doing}: the login is refused, which worked before",
            hint="its secret is read again; if it is not being changed, look at it",
        ) from None
    raise refusal
