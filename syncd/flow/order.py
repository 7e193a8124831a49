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
        open_needs = {n: (hard[n] | soft[n]) - done for n in needs if n not in done}
        ready = tuple(n for n, parents in open_needs.items() if not parents)
        if not ready:
            tied = _tied(open_needs)
            ready = tuple(n for n in tied if hard[n] <= done)[:1]
        if not ready:
            raise ConfigError(
                f"entities need each other in a circle: {' -> '.join(_cycle(hard, tied, done))}",
                hint="declare one of these needs nullable: true with its columns, or remove it",
            )
        placed.append(ready)
        done.update(ready)
    return tuple(placed)


def _tied(needs: Mapping[str, set[str]]) -> list[str]:
    """Entities that all they need needs in turn; only among these does a cut end a cycle."""
    reached = {name: _reached(needs, name) for name in needs}
    return [name for name in needs if all(name in reached[other] for other in reached[name])]


def _reached(needs: Mapping[str, set[str]], name: str) -> set[str]:
    """All that ``name`` needs, directly or through others; itself where it stands in a cycle."""
    found: set[str] = set()
    ahead = list(needs[name])
    while ahead:
        following = ahead.pop()
        if following not in found:
            found.add(following)
            ahead.extend(needs[following])
    return found


def _cycle(hard: Mapping[str, set[str]], tied: Sequence[str], done: set[str]) -> list[str]:
    """One cycle of hard needs among ``tied``, the first name repeated at the end."""
    path = [tied[0]]
    while True:
        following = min(hard[path[-1]] - done)
        if following in path:
            return [*path[path.index(following) :], following]
        path.append(following)
