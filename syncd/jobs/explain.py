"""``explain``: all that is known of one record, and why it stands as it does."""

from collections.abc import Mapping, Sequence
from typing import Any

from syncd.errors import ConfigError
from syncd.flow.fingerprint import Hasher
from syncd.flow.keys import KeyIssue, display_key, encode_key
from syncd.flow.model import MISSING, Column, Entry, Ownership, Plan, Row, State, Value
from syncd.flow.normalise import Dialect, Normaliser
from syncd.reports import ColumnView, ExplainReport, HistoryLine
from syncd.site import Site

_HISTORY_MAX = 50


class Explainer:
    """Explains records of one site."""

    def __init__(self, site: Site) -> None:
        self._site = site

    async def explain(self, entity: str, key_parts: Sequence[str]) -> ExplainReport:
        """Both sides now, the ledger's memory, each column's verdict and the history."""
        site = self._site
        plan = await plan_of(site, entity)
        key = key_from(plan, key_parts)
        hasher = await site.hasher()
        draft = await self._draft(plan, hasher, key)
        async with site.ledger.look() as tx:
            entries = await site.ledger.lock(tx, plan, [key])
            targets = (await site.target.lock(tx, plan, [key])).rows
            target_id = await site.target.row_id(tx, plan, key)
        entry, target = entries.get(key), targets.get(key)
        history = await site.reviews.history(plan.entity_id, key, _HISTORY_MAX)
        _, first_run = await site.reviews.runs_of(plan.entity_id, key)
        known = entry or Entry(key=key, state=State.NONE, present=False)
        return ExplainReport(
            entity=entity,
            key=display_key(plan.key_types, key),
            known=entry is not None,
            state=known.state.value,
            present=known.present,
            incarnation=known.incarnation,
            position=known.position,
            outcome=known.outcome.value if known.outcome else "",
            reason=known.reason,
            run_id=known.run_id,
            in_source=draft is not None,
            in_target=target is not None,
            columns=tuple(
                column_view(column, at, known, hasher, draft, target)
                for at, column in enumerate(plan.drafted)
            ),
            history=(*(_line(line) for line in history), *_first(first_run, history)),
            target_id=target_id,
        )

    async def _draft(self, plan: Plan, hasher: Hasher, key: bytes) -> Row | None:
        """The record as the source has it now, in the target's shape."""
        source = self._site.source(hasher, sequence=0)
        try:
            async with source.open([plan]) as snapshot:
                reads = await snapshot.fetch(plan, [key])
        finally:
            await source.close()
        if not reads:
            return None
        row = self._site.drafter(plan).draft(reads[0].row).row
        return row or (MISSING,) * len(plan.drafted)


async def plan_of(site: Site, entity: str) -> Plan:
    """The plan of one entity; raises ConfigError when there is no such entity."""
    if entity not in site.config.entities:
        raise ConfigError(
            f"no entity {entity!r}; expected one of {', '.join(site.config.entities)}"
        )
    prepared = await site.prepared()
    if entity in prepared.errors:
        raise prepared.errors[entity]
    return prepared.plans[entity]


def key_from(plan: Plan, parts: Sequence[str]) -> bytes:
    """The key that an operator typed, in the types of the entity's key."""
    columns = [plan.columns[at] for at in plan.key]
    if len(parts) != len(columns):
        raise ConfigError(
            f"the key of {plan.name} has {len(columns)} parts "
            f"({', '.join(c.name for c in columns)}), found {len(parts)}"
        )
    normaliser = Normaliser([c.name for c in columns], [c.type for c in columns], Dialect.TEXT)
    values, issues = normaliser.row([part.encode() for part in parts])
    code = issues[0].code if issues else ""
    try:
        key = b"" if code else encode_key(plan.key_types, values)
    except KeyIssue as error:
        code = error.code
    if code:
        raise ConfigError(
            f"not a key of {plan.name} ({code}); expected "
            f"{', '.join(f'{c.name}: {c.type.kind.value}' for c in columns)}"
        )
    return key


def column_view(
    column: Column,
    at: int,
    entry: Entry,
    hasher: Hasher,
    draft: Row | None,
    target: Row | None,
) -> ColumnView:
    """One column with both live values and the line of the column rule that they fall under."""
    source_value = draft[at] if draft is not None else MISSING
    target_value = target[at] if target is not None else MISSING
    source_base = entry.source_base[at] if entry.source_base else b""
    target_base = entry.target_base[at] if entry.target_base else b""
    source_changed = source_value is not MISSING and hasher.column(source_value) != source_base
    target_changed = target_value is not MISSING and hasher.column(target_value) != target_base
    return ColumnView(
        column=column.into,
        ownership=column.ownership.value,
        source=_text(source_value),
        target=_text(target_value),
        source_changed=source_changed,
        target_changed=target_changed,
        verdict=_verdict(
            column, entry, source_value, target_value, (source_changed, target_changed)
        ),
    )


def _verdict(
    column: Column, entry: Entry, source: Value, target: Value, changed: tuple[bool, bool]
) -> str:
    """One line; ``changed`` are the source's and the target's side."""
    if source is MISSING or target is MISSING:
        return "on one side only"
    if source == target:
        return "in step"
    if column.ownership in _FIXED:
        return _FIXED[column.ownership]
    line = _VERDICTS[changed]
    return "conflict: kept, both had changed" if line == _KEPT and entry.open else line


_KEPT = "kept: edited in the target"
_FIXED = {
    Ownership.COMPUTED: "computed by the target",
    Ownership.TARGET: "the target's own",
    Ownership.SOURCE: "will be written",
}
_VERDICTS = {
    (True, True): "conflict: both changed",
    (False, True): _KEPT,
    (True, False): "will be written",
    (False, False): "as the target stores it",
}


def _text(value: Value) -> str | None:
    return value.decode("utf-8", "replace") if isinstance(value, bytes) else None


def _line(line: Mapping[str, Any]) -> HistoryLine:
    return HistoryLine(
        line["at"],
        line["run_id"],
        line["outcome"],
        line["reason"],
        tuple(line["columns"] or ()),
        tuple(line["conflicts"] or ()),
    )


def _first(run_id: int, history: Sequence[Mapping[str, Any]]) -> tuple[HistoryLine, ...]:
    """The first load writes no line per record; the entry knows its run."""
    if not run_id or any(line["run_id"] == run_id for line in history):
        return ()
    if len(history) >= _HISTORY_MAX:
        return ()
    return (HistoryLine("", run_id, "inserted", "first load", (), ()),)
