"""Answers that several verbs give, and keys as they are typed."""

from collections.abc import Iterable, Sequence
from typing import Any

from syncd.cli import draw
from syncd.cli.options import check_entity
from syncd.cli.shell import Answer, Call
from syncd.config import Config
from syncd.errors import ConfigError
from syncd.reports import Left, RunReport


def document(text: str, plain: Any) -> Answer:
    """A text that is an answer by itself."""
    return Answer(draw.document(text), plain)


def left(found: Left) -> Answer:
    """Another instance leads: it was told, and does it."""
    sentence = (
        f"noted; {found.holder or 'the instance that leads'} carries it out with claim "
        f"{found.claim_id}"
    )
    return Answer(draw.told(sentence), found)


def of_run(report: RunReport, call: Call, code: int) -> Answer:
    """A run or a plan; the JSON is a contract (DESIGN section 5)."""
    plain = {
        "run_id": report.run_id,
        "pipeline": report.pipeline,
        "status": report.status,
        "started_at": report.started_at,
        "seconds": report.seconds,
        "entities": {entity.name: entity.counts.as_dict() for entity in report.entities},
    }
    return Answer(draw.run(report, call.options.command), plain, code)


def keys(config: Config, named: Sequence[str], given: Iterable[str]) -> list[list[str]]:
    """Each ``--key`` as its parts; a key of one part is taken as it is."""
    texts = list(given)
    if texts and len(named) != 1:
        raise ConfigError(f"--key: expected one ENTITY beside it, found {len(named)}")
    parts = []
    for text in texts:
        several = len(config.entities[named[0]].key) > 1
        parts.append(text.split(",") if several else [text])
        check_key(config, named[0], parts[-1], "--key")
    return parts


def check_key(config: Config, entity: str, parts: Sequence[str], option: str) -> None:
    """Raise ConfigError where these are not the parts of a key of the entity."""
    check_entity(entity, list(config.entities), "ENTITY")
    columns = config.entities[entity].key
    if len(parts) != len(columns):
        raise ConfigError(
            f"{option}: expected {len(columns)} parts ({', '.join(columns)}), found {len(parts)}"
        )
