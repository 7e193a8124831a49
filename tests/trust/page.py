"""The table of docs/trust.md, made of a report: goal beside reached, figure by figure."""

from collections.abc import Iterator
from pathlib import Path
from typing import Final

from tests.trust.campaign import Campaign, Record
from tests.trust.catalogue import CAMPAIGNS, LATER
from tests.trust.report import NIGHT, Report

BEGIN: Final = "<!-- trust: begin -->"
END: Final = "<!-- trust: end -->"
HEADER: Final = "| campaign | what | goal | reached | a second | seconds (of processor) | |"
# Counts that say more than the goal asks for, and how they are said.
_BESIDE: Final = {
    ("sim-canaries", "schedules"): "schedules altogether",
    ("failpoints", "kills"): "of them kill -9",
    ("fuzz-rows", "decoders"): "",
    ("fuzz-config", "decoders"): "",
}
_HIDDEN: Final = ("tests",)


def put(page: Path, report: Report) -> None:
    """Put the table between the two marks of the page; the rest stays. Raises without marks."""
    text = page.read_text("utf-8")
    before, begin, rest = text.partition(BEGIN)
    _, end, after = rest.partition(END)
    if not begin or not end:
        raise ValueError(f"{page.name}: expected {BEGIN} and {END}")
    page.write_text(f"{before}{BEGIN}\n{table(report)}\n{END}{after}", "utf-8")


def table(report: Report) -> str:
    """Where and when, then a line for each campaign, then what is not there yet."""
    column = "a night" if report.column == NIGHT else "CI"
    done = report.campaigns
    lines = [
        f"Column: {column}. Begun {report.started_at}, commit `{report.commit}`,",
        f"seed {report.seed}, {report.workers} at a time; {report.seconds:,.0f} s in all.",
        f"Machine: {_machine(report)}.",
        "",
        HEADER,
        "|---|---|---|---|---|---|---|",
        *(_row(one, done.get(one.name)) for one in CAMPAIGNS.values()),
        "",
        "Goals of the same column whose subject is not built yet:",
        "",
        "| goal | figure |",
        "|---|---|",
        *(f"| {what} | {figure} |" for what, figure in LATER),
    ]
    notes = list(_notes(report))
    if notes:
        lines += ["", *notes]
    return "\n".join(lines)


def _row(campaign: Campaign, record: Record | None) -> str:
    name = campaign.name
    if record is None or not record.rounds:
        goal = campaign.wanted or f"{campaign.ci:,}"
        return f"| `{name}` | {campaign.what} | {goal} | | | | **not run** |"
    goal = record.wanted or f"{record.goal:,}"
    state = "**broke**" if record.failures else "**short**" if record.is_short else "held"
    beside = [
        f"{count:,} {_BESIDE.get((name, unit), unit)}"
        for unit, count in record.counts.items()
        if unit not in (record.unit, *_HIDDEN) and _BESIDE.get((name, unit), unit)
    ]
    reached = f"{record.reached:,} {record.unit}" + "".join(f", {one}" for one in beside)
    seconds = f"{record.seconds:,.0f} ({record.processor_s:,.0f})"
    cells = (f"`{name}`", record.what, goal, reached, _rate(record), seconds)
    return f"| {' | '.join(cells)} | {state} |"


def _rate(record: Record) -> str:
    return f"{record.rate:,.0f}" if record.rate >= 10 else f"{record.rate:.2g}"


def _machine(report: Report) -> str:
    m = report.machine
    return (
        f"{m['cpu']}, {m['cores']} cores, {m['memory_gib']} GiB, {m['kernel']}, "
        f"Python {m['python']}, load before {m['load_before']}"
    )


def _notes(report: Report) -> Iterator[str]:
    for name, record in report.campaigns.items():
        for note in record.notes:
            yield f"- `{name}`: {note}"
        for failure in record.failures:
            yield f"- `{name}` broke: {_flat(failure.told)}; again: `{failure.repeat}`"


def _flat(text: str) -> str:
    return " ".join(text.split())
