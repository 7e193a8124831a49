"""Many cells, one after the other, on worlds that are begun anew when they are worn or broken."""

import time
from collections.abc import Awaitable, Callable, Iterable
from pathlib import Path
from typing import Final

from msgspec import Struct

from tests.crash.zygote import Zygote
from tests.failpoints.scenarios import Cell
from tests.failpoints.strike import UnreachedError, struck
from tests.failpoints.world import Cells

_TRIES: Final = 4  # to reach a point


class Result(Struct, frozen=True):
    """What became of a cell: ``wrong`` is empty where it passed."""

    point: str
    action: str
    seconds: float
    wrong: str = ""
    reached: bool = True


class Sweep:
    """Strikes cells. ``told`` gets each result as it comes."""

    def __init__(
        self,
        make_database: Callable[[str], str | Awaitable[str]],
        zygote: Zygote,
        folder: Path,
        told: Callable[[Result], None],
        *,
        seed: int = 1,
    ) -> None:
        self._make_database = make_database
        self._zygote = zygote
        self._folder = folder
        self._told = told
        self._seed = seed

    async def run(self, cells: Iterable[Cell]) -> list[Result]:
        """All of them; the world after one that failed is a new one.

        Some points are only passed while something else lasts, which a loaded machine may miss.
        """
        left, results, tries = list(cells), list[Result](), 1
        while left:
            legacy, target = await self._made("legacy"), await self._made("target")
            async with Cells.open(legacy, target, self._folder, self._seed) as world:
                is_sound = True
                while left and is_sound and not world.is_worn:
                    result = await self._struck(world, left[0])
                    is_sound = not result.wrong
                    if not result.reached and tries < _TRIES:
                        tries += 1
                        continue
                    tries = 1
                    left.pop(0)
                    results.append(result)
                    self._told(result)
        return results

    async def _made(self, suffix: str) -> str:
        made = self._make_database(suffix)
        return made if isinstance(made, str) else await made

    async def _struck(self, world: Cells, cell: Cell) -> Result:
        begun_s, wrong, reached = time.monotonic(), "", True
        try:
            await struck(world, self._zygote, cell)
        except UnreachedError as error:
            wrong, reached = f"never reached: {error}", False
        except Exception as error:  # noqa: BLE001 - the result tells it, whatever it is
            wrong = f"{type(error).__name__}: {error}"
        seconds = round(time.monotonic() - begun_s, 3)
        return Result(cell.point, cell.action, seconds, wrong, reached)
