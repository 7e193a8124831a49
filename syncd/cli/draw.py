"""Reports as an operator reads them: one table, then what needs a look, then what to type next.

Functions give what rich prints: text and tables. Everything that came from data or from outside
passes ``visible`` on its way into a cell or a line. They are generators, and ``rich`` is imported
where the first line is made: programs that ask for JSON do not wait for it.
"""

from collections import Counter
from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Final, TypeAlias

from syncd.flow.model import Issue, Outcome
from syncd.reports import (
    Check,
    ConflictView,
    EntityReport,
    EntityStatus,
    ExplainReport,
    HeldView,
    InitReport,
    MorningEntity,
    MorningReport,
    ParkedGroup,
    ParkedView,
    RelayReport,
    RunReport,
    Sample,
    StatusReport,
    VerifyReport,
)
from syncd.visible import visible

if TYPE_CHECKING:
    from rich.table import Table
    from rich.text import Text

Drawn: TypeAlias = "Iterator[Text | Table]"

FINDINGS_SHOWN: Final = 5
_CELL_BYTES_MAX: Final = 200
_MISMATCHES_SHOWN: Final = 20  # of an entity; people want a few to look at
_PARKED: Final = (Outcome.INVALID, Outcome.UNSUPPORTED, Outcome.WAITING, Outcome.FAILED)
_STYLES: Final = {
    "completed": "green",
    "ok": "green",
    "parked": "yellow",
    "held": "yellow",
    "warning": "yellow",
    "failed": "red",
    "refused": "red",
    "stopped": "red",
    "error": "red",
}


def init(report: InitReport) -> Drawn:
    """One line for each thing that was made."""
    yield from (_line(done) for done in report.done)
    if not report.done:
        yield _line("nothing to do: everything is there")


def checks(found: Sequence[Check]) -> Drawn:
    """One row for each check."""
    table = _table("level", "subject", "message")
    for check in found:
        table.add_row(_status(check.level), *_cells(check.subject, check.message))
    yield table


def run(report: RunReport, command: str) -> Drawn:
    """The counts that are not zero, then each entity's notes, and the commands that help."""
    number = f"run {report.run_id}" if report.run_id else "plan"
    again = " (resumed)" if report.resumed else ""
    head = _line(f"{report.pipeline} {number}: ")
    head.append_text(_status(report.status))
    yield head.append(f" in {report.seconds:.1f} s{again}, started {visible(report.started_at)}")
    yield _counts(report.entities)
    for entity in report.entities:
        yield from _details(entity)
        yield from _commands(entity, command, written=report.run_id > 0)


def _counts(entities: Sequence[EntityReport | MorningEntity]) -> "Table":
    used = [o.value for o in Outcome if any(getattr(e.counts, o.value) for e in entities)]
    table = _table("entity", "status", "seen", *used, "seconds", numbers_from=2)
    for entity in entities:
        numbers = [f"{getattr(entity.counts, name)}" for name in ("seen", *used)]
        table.add_row(
            visible(entity.name), _status(entity.status), *numbers, f"{entity.seconds:.1f}"
        )
    return table


def morning(report: MorningReport, command: str) -> Drawn:
    """The counts of a run, then why each record that did not flow did not."""
    if not report.run_id:
        yield _line(f"{report.pipeline}: nothing has run yet; now: {command} run")
        return
    head = _line(f"{report.pipeline} run {report.run_id}: ").append_text(_status(report.status))
    yield head.append(f" in {report.seconds:.1f} s, started {visible(report.started_at)}")
    if not report.entities:
        return
    yield _counts(report.entities)
    why = _table("entity", "outcome", "records", "reason")
    for entity in report.entities:
        for reason in entity.reasons:
            told = (entity.name, reason.outcome, f"{reason.records}", reason.reason)
            why.add_row(*_cells(*told))
    if why.rows:
        yield why
    for entity in report.entities:
        yield from _of_morning(entity)


def _of_morning(entity: MorningEntity) -> Drawn:
    """What else there is to know of an entity."""
    name = visible(entity.name)
    if entity.held_deletes:
        yield _line(f"{name}: {entity.held_deletes} deletes wait for a decision")
    if entity.open_conflicts:
        yield _line(f"{name}: {entity.open_conflicts} conflicts are open")
    for found in entity.findings[:FINDINGS_SHOWN]:
        yield _line(f"{name}: {found.records} rows with {found.reason} ({found.outcome})")
    yield from (_line(f"{name}: {note}") for note in entity.notes)


def _details(entity: EntityReport) -> Drawn:
    name = visible(entity.name)
    for note in entity.notes:
        yield _line(f"{name}: {note}")
    for issue in entity.findings[:FINDINGS_SHOWN]:
        yield _line(f"{name}: {_finding(issue)}")
    more = entity.findings_total - len(entity.findings[:FINDINGS_SHOWN])
    if more > 0:
        yield _line(f"{name}: {more} more findings")
    for sample in entity.samples:
        yield _line(f"{name}: {_sample(sample)}")


def _commands(entity: EntityReport, command: str, *, written: bool) -> Drawn:
    """What to look at and what to do, as it can be typed."""
    name, counts = visible(entity.name), entity.counts
    parked = sum(getattr(counts, outcome.value) for outcome in _PARKED)
    if parked and written:
        yield _line(
            f"{name}: {parked} rows parked; look: {command} verify --select {name}, "
            f"then {command} explain {name} KEY; each run tries them again"
        )
    conflicts = max(entity.open_conflicts, counts.conflict)
    if conflicts:
        yield _line(
            f"{name}: {conflicts} open conflicts; look: {command} conflicts list --select {name}; "
            f"act: {command} conflicts resolve ID --take source|target"
        )
    if counts.held:
        yield _line(
            f"{name}: {counts.held} deletes held; look: {command} deletes list --select {name}; "
            f"act: {command} deletes approve {name}, or {command} deletes reject {name}"
        )


def _finding(issue: Issue) -> str:
    where = f"{issue.place} " if issue.place else ""
    field = f" {issue.field}" if issue.field else ""
    return f"{where}{issue.code}{field} ({issue.severity})"


def _sample(sample: Sample) -> str:
    columns = f": {', '.join(sample.columns)}" if sample.columns else ""
    reason = f" ({sample.reason})" if sample.reason else ""
    return f"{sample.outcome} {_key(sample.key)}{columns}{reason}"


def status(report: StatusReport) -> Drawn:
    """Who holds the lease, the last run, and each entity."""
    holder = report.lease_holder or "nobody"
    last = f"{report.last_run} {report.last_run_status}" if report.last_run else "never"
    yield _line(f"{report.pipeline}: lease {holder} (epoch {report.lease_epoch}), last run {last}")
    table = _table(
        "entity", "records", "parked", "conflicts", "held", "last success", "last status"
    )
    for entity in report.entities:
        table.add_row(*_cells(*_status_cells(entity)))
    yield table
    for entity in report.entities:
        if entity.drift:
            yield _line(f"{entity.name}: schema drift: {entity.drift}")


def _status_cells(entity: EntityStatus) -> tuple[str, ...]:
    parked = " ".join(f"{outcome} {rows}" for outcome, rows in entity.parked.items() if rows)
    return (
        entity.name,
        str(entity.records),
        parked or "-",
        str(entity.open_conflicts),
        str(entity.held_deletes),
        entity.last_success or "never",
        entity.last_status or "-",
    )


def verify(report: VerifyReport) -> Drawn:
    """Rows by kind, then the first mismatches."""
    kinds = list(dict.fromkeys(kind for counts in report.counts.values() for kind in counts))
    table = _table("entity", *kinds, numbers_from=1)
    for name, counts in report.counts.items():
        table.add_row(visible(name), *(str(counts.get(kind, 0)) for kind in kinds))
    yield table
    shown: Counter[str] = Counter()
    for mismatch in report.mismatches:
        shown[mismatch.entity] += 1
        if shown[mismatch.entity] > _MISMATCHES_SHOWN:
            continue
        columns = f": {', '.join(mismatch.columns)}" if mismatch.columns else ""
        yield _line(f"{mismatch.entity}: {mismatch.kind} {_key(mismatch.key)}{columns}")
    for entity, found in shown.items():
        if found > _MISMATCHES_SHOWN:
            yield _line(f"{entity}: and {found - _MISMATCHES_SHOWN} more (--output json has them)")


def relay(report: RelayReport) -> Drawn:
    """What was sent, what still waits, and why."""
    left = report.left
    waits = f"{left.depth} wait, the oldest for {left.age_s:.0f} s" if left.depth else "none waits"
    yield _line(f"{report.pipeline}: {report.sent} events sent, {waits}")
    if report.reasons:
        table = _table("entity", "events", "reason")
        for why in report.reasons:
            table.add_row(*_cells(why.entity, f"{why.events}", why.reason))
        yield table


def explain(report: ExplainReport) -> Drawn:
    """Where the record stands, its columns on all sides, and its history."""
    yield _line(f"{report.entity} {_key(report.key)}")
    sides = f"in source: {_yes(report.in_source)}, in target: {_yes(report.in_target)}"
    if not report.known:
        yield _line(f"not in the ledger; {sides}")
    else:
        reason = f" ({report.reason})" if report.reason else ""
        yield _line(f"state {report.state}, incarnation {report.incarnation}; {sides}")
        yield _line(f"last outcome {report.outcome or 'none'}{reason} in run {report.run_id}")
    if report.target_id:
        yield _line(f"id in the target {report.target_id}")
    if report.columns:
        yield _columns(report)
    for line in report.history:
        columns = f" columns {', '.join(line.columns)}" if line.columns else ""
        clash = f" conflicts {', '.join(line.conflicts)}" if line.conflicts else ""
        reason = f" ({line.reason})" if line.reason else ""
        yield _line(f"{line.at} run {line.run_id} {line.outcome}{reason}{columns}{clash}")


def _columns(report: ExplainReport) -> "Table":
    table = _table("column", "ownership", "source", "target", "changed", "verdict")
    for column in report.columns:
        sides = (("source", column.source_changed), ("target", column.target_changed))
        changed = " and ".join(side for side, did in sides if did)
        table.add_row(
            *_cells(column.column, column.ownership, _value(column.source), _value(column.target)),
            *_cells(changed or "neither", column.verdict),
        )
    return table


def conflicts(found: Sequence[ConflictView], command: str) -> Drawn:
    """One row for each conflict."""
    if not found:
        yield _line("no conflicts")
        return
    table = _table("id", "entity", "key", "column", "kind", "status", "opened", "run")
    for view in found:
        table.add_row(
            *_cells(str(view.conflict_id), view.entity, _key(view.key), view.column, view.kind),
            *_cells(view.status, view.opened_at, str(view.run_id)),
        )
    yield table
    if any(view.status == "open" for view in found):
        yield _line(
            f"look: {command} conflicts show ID; "
            f"act: {command} conflicts resolve ID --take source|target"
        )


def conflict(view: ConflictView, command: str) -> Drawn:
    """One conflict with what both sides hold now."""
    yield from conflicts([view], command)
    yield _line(f"source: {_value(view.source)}")
    yield _line(f"target: {_value(view.target)}")


def held(found: Sequence[HeldView], command: str) -> Drawn:
    """One row for each entity that holds deletes, its first keys, and what to type."""
    if not found:
        yield _line("no deletes are held")
        return
    table = _table("entity", "rows", "of", "since", "plan", "decision", "reason")
    for view in found:
        table.add_row(
            *_cells(view.entity, str(view.rows), str(view.entity_rows), view.since, view.plan),
            *_cells(view.decision or "none", view.reason),
        )
    yield table
    for view in found:
        more = view.rows - len(view.keys)
        rest = f" and {more} more" if more > 0 else ""
        yield _line(f"{view.entity}: {', '.join(_key(key) for key in view.keys)}{rest}")
        yield _line(
            f"{view.entity}: act: {command} deletes approve {view.entity} --plan {view.plan}, "
            f"or {command} deletes reject {view.entity} --plan {view.plan}"
        )


def parked_groups(found: Sequence[ParkedGroup], command: str) -> Drawn:
    """One row for each reason."""
    if not found:
        yield _line("nothing is parked")
        return
    table = _table("entity", "outcome", "records", "since", "reason")
    for group in found:
        cells = (group.entity, group.outcome, str(group.records), group.since, group.reason)
        table.add_row(*_cells(*cells))
    yield table
    yield _line(f"look: {command} dlq show ENTITY; again: {command} dlq replay ENTITY")


def parked(found: Sequence[ParkedView], command: str) -> Drawn:
    """One row for each record."""
    if not found:
        yield _line("nothing is parked")
        return
    table = _table("key", "outcome", "run", "since", "reason")
    for view in found:
        cells = (_key(view.key), view.outcome, str(view.run_id), view.since, view.reason)
        table.add_row(*_cells(*cells))
    yield table
    yield _line(f"why: {command} explain {visible(found[0].entity)} KEY")


def told(sentence: str) -> Drawn:
    """One sentence."""
    yield _line(sentence)


def document(text: str) -> Drawn:
    """A text as it is, without its last line end."""
    yield _text(text.rstrip("\n"))


def _line(text: str) -> "Text":
    return _text(visible(text))


def _status(word: str) -> "Text":
    return _text(visible(word), _STYLES.get(word, ""))


def _cells(*texts: str) -> "Iterator[Text]":
    return (_text(visible(text, _CELL_BYTES_MAX)) for text in texts)


def _text(text: str, style: str = "") -> "Text":
    from rich.text import Text  # noqa: PLC0415 - as the module says

    return Text(text, style=style)


def _table(*names: str, numbers_from: int | None = None) -> "Table":
    from rich.table import Table  # noqa: PLC0415 - as the module says

    table = Table(box=None, pad_edge=False, header_style="bold")
    for place, name in enumerate(names):
        number = numbers_from is not None and place >= numbers_from
        table.add_column(_line(name), justify="right" if number else "left")
    return table


def _key(parts: Sequence[str]) -> str:
    return "/".join(visible(part, _CELL_BYTES_MAX) for part in parts)


def _value(value: str | None) -> str:
    """A live value, told apart from NULL."""
    return "NULL" if value is None else f'"{value}"'


def _yes(fact: bool) -> str:  # noqa: FBT001 - the fact is all there is to say.
    return "yes" if fact else "no"
