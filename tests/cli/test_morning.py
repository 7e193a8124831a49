"""The morning report, as a table for a terminal and as Markdown for a chat."""

from msgspec.structs import replace

from syncd.cli import markdown
from syncd.flow.model import Outcome
from syncd.reports import MorningReport, Reason
from tests.cli.fake_app import MORNING, Syncd
from tests.cli.test_draw import lines


def test_the_table_tells_counts_and_then_why(syncd: Syncd) -> None:
    """Each reason has its own line, with the number of its records."""
    shown = lines(syncd("report").stdout)

    assert shown == [
        "airports run 12: parked in 1.2 s, started 2026-01-02T03:04:05Z",
        "entity status seen inserted unchanged skipped invalid seconds",
        "countries completed 9 1 4 3 1 0.5",
        "entity outcome records reason",
        "countries skipped 2 missing_licreqno",
        "countries skipped 1 *ambiguous* | @all",
        "countries invalid 1 without a usable key",
        "countries: 60 deletes wait for a decision",
        "countries: 2 conflicts are open",
        "countries: 1 rows with null_key:id (error)",
        "countries: one note",
    ]


def test_the_markdown_is_one_message(syncd: Syncd) -> None:
    """Title, table and a list; what a reason holds of Markdown draws nothing and calls nobody."""
    assert syncd("report", "--markdown").stdout.splitlines() == [
        "**airports run 12: done, and some rows are parked**",
        "2026-01-02T03:04:05Z, 1 s",
        "",
        "| entity | status | seen | inserted | unchanged | skipped | invalid |",
        "|---|---|--:|--:|--:|--:|--:|",
        "| countries | completed | 9 | 1 | 4 | 3 | 1 |",
        "",
        "- countries: 2 skipped: missing\\_licreqno",
        "- countries: 1 skipped: \\*ambiguous\\* \\| \\@all",
        "- countries: 1 invalid: without a usable key",
        "- countries: 60 deletes wait for a decision",
        "- countries: 2 conflicts are open",
        "- countries: one note",
    ]


def test_a_message_has_a_bound() -> None:
    """Of many reasons the first are shown, and how many more there are."""
    many = tuple(Reason("skipped", f"reason_{at}", 1) for at in range(30))
    entity = replace(MORNING.entities[0], reasons=many)

    told = markdown.morning(replace(MORNING, entities=(entity,)))

    assert "and 20 more reasons" in told
    assert len(told.splitlines()) < 30


def test_before_the_first_run_there_is_nothing_to_tell() -> None:
    """No empty table."""
    never = MorningReport("airports", 0, "never", "", 0.0)

    assert markdown.morning(never) == "**airports: nothing has run yet**\n"


def test_every_outcome_has_its_column() -> None:
    """None of them can be forgotten in the table, or the numbers would not add up."""
    counts = MORNING.entities[0].counts
    full = replace(counts, **{outcome.value: 1 for outcome in Outcome})
    report = replace(MORNING, entities=(replace(MORNING.entities[0], counts=full),))

    head = markdown.morning(report).splitlines()[3]

    assert all(f" {outcome.value} " in head for outcome in Outcome)


def test_the_message_is_sent_when_that_is_asked_for(syncd: Syncd) -> None:
    """And the terminal shows the table all the same."""
    result = syncd("report", "--post")

    assert result.stdout.startswith("airports run 12: parked")
    assert syncd.app.asked == [
        ("report", None),
        ("post", "**airports run 12: done, and some rows are parked**"),
    ]
