"""Entities in waves: parents before children, deletes in the opposite order.

An edge marked ``nullable`` may be cut where it would close a cycle; every other cycle is an error
of the configuration, found before anything runs.
"""

from collections.abc import Mapping, Sequence

from syncd.errors import ConfigError
from syncd.flow.model import Parent


def waves(needs: Mapping[str, Sequence[Parent]]) -> tuple[tuple[str, ...], ...]:
    """Group entities so that each stands in a later wave than all that it needs.

    Within a wave the order is that of ``needs``. An entity that needs itself is fine: its rows
    are ordered by waiting. Nullable edges are honoured until they close a cycle.
    Raises ConfigError for an unknown entity and for a cycle, which is spelled out.
    """
    for name, parents in needs.items():
        for parent in parents:
            if parent.entity not in needs:
                raise ConfigError(
                    f"entities.{name}.needs: found {parent.entity!r}, expected one of "
                    f"{', '.join(sorted(needs))}"
                )
    hard = {n: {p.entity for p in ps if not p.nullable} - {n} for n, ps in needs.items()}
    soft = {n: {p.entity for p in ps if p.nullable} - {n} for n, ps in needs.items()}
    placed: list[tuple[str, ...]] = []
    done: set[str] = set()
    while len(done) < len(needs):
        ready = _ready(needs, hard, soft, done)
        if not ready:
            raise ConfigError(
                f"entities need each other in a circle: {' -> '.join(_cycle(hard, done))}",
                hint="declare one of these needs nullable: true with its columns, or remove it",
            )
        placed.append(ready)
        done.update(ready)
    return tuple(placed)


def _ready(
    needs: Mapping[str, Sequence[Parent]],
    hard: Mapping[str, set[str]],
    soft: Mapping[str, set[str]],
    done: set[str],
) -> tuple[str, ...]:
    """Entities whose parents are all placed; where none is, the first whose hard parents are."""
    ready = tuple(n for n in needs if n not in done and hard[n] | soft[n] <= done)
    if ready:
        return ready
    return tuple(n for n in needs if n not in done and hard[n] <= done)[:1]


def _cycle(hard: Mapping[str, set[str]], done: set[str]) -> list[str]:
    """One cycle among the entities that could not be placed, first name repeated at the end."""
    path = [next(n for n in hard if n not in done)]
    while True:
        following = min(hard[path[-1]] - done)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
