"""Three nights and what happened on the days between; every claim is checked before it is made."""

from pathlib import Path
from typing import Final

from rich.table import Table

from demo.stage import Scene, Stage
from syncd.flow.guard import plan_hash

LEGACY: Final = "legacy"
CASEWORK: Final = "casework"
_HERE: Final = Path(__file__).resolve().parent
SCENE: Final = Scene(
    old=LEGACY,
    new=CASEWORK,
    variables=("LEGACY_DSN", "CASEWORK_DSN"),
    pipeline=_HERE / "pipeline",
    scripts=_HERE,
)

# What both sides did to single records on the day between night 1 and night 2.
_DAY_2: Final = (
    ("referral 1001", "sets status", "staff set risk", "both stand"),
    ("referral 1002", "status accepted", "status withdrawn", "staff's stands, told as a conflict"),
    ("referral 1003", "status accepted", "status accepted", "nothing to write"),
    ("referral 1004", "deleted", "staff moved the due date", "kept, told as a conflict"),
    ("referral 1005", "sets status", "staff deleted it", "stays deleted, told as a conflict"),
    ("referral 1006", "sets status", "saved without a change", "the status is written"),
    ("referrals 1007-9", "deleted", "-", "deleted"),
    ("referral 1010", "due on 31/02/2027", "-", "invalid; the row stays as it was"),
    ("session 91001", "900 minutes", "a CHECK allows 480", "refused, alone; the others go in"),
    ("session 91002", "of a referral to come", "a FOREIGN KEY", "waits for its parent"),
    ("300 sessions", "gone, all at once", "one of them edited", "held for a decision"),
)


def tell(stage: Stage) -> None:
    """Play everything. Raises StoryError as soon as a claim is not true."""
    for database in (LEGACY, CASEWORK):
        stage.play(database, f"{database}.sql")
    for act in (_before, _night_1, _day_2, _night_2, _morning, _night_3, _decision, _end):
        act(stage)


def _before(stage: Stage) -> None:
    stage.title("Before: an old system, a new one, and a file")
    stage.say(
        "Casebook is the old case management system of a probation service. Casework is the new",
        "one, and empty. Offices move over one by one, so for months both are in use: each night",
        "Casework must learn what changed in Casebook, and must not lose what its own staff typed.",
        "This is all that syncd is told:",
    )
    stage.show("pipeline.yaml", "yaml")


def _night_1(stage: Stage) -> None:
    stage.title("Night 1: everything is new")
    stage.say(
        "init makes the ledger, syncd's own memory in a schema beside the new tables, and pins",
        "the columns of the old system. It is done once.",
    )
    stage.syncd("init")
    stage.say(
        "run does one night. Parents go first: regions, offices, referrals, then sessions.",
        "Each row is written together with its memory, in one transaction.",
    )
    stage.syncd("run")
    stage.expect(
        "Casework holds all 6 regions, 24 offices, 5,000 referrals and 14,967 sessions",
        "SELECT (SELECT count(*) FROM region), (SELECT count(*) FROM office),"
        " (SELECT count(*) FROM referral), (SELECT count(*) FROM session)",
        (6, 24, 5000, 14967),
    )


def _day_2(stage: Stage) -> None:
    stage.title("The next day: work goes on in both systems")
    stage.play(LEGACY, "day_2_legacy.sql")
    stage.play(CASEWORK, "day_2_staff.sql")
    stage.say(
        "In Casebook 147 referrals are completed, 25 arrive and 40 people are seen. Beside that,",
        "these records are touched, some of them on both sides:",
    )
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("record", "Casebook (old)", "Casework (new)", "so tonight"):
        table.add_column(name)
    for row in _DAY_2:
        table.add_row(*row)
    stage.console.print()
    stage.console.print(table)


def _night_2(stage: Stage) -> None:
    stage.title("Night 2: what a night is about")
    stage.say(
        "plan tells what a run would do, with a few samples, and writes nothing. What only the",
        "target can know, that it will refuse 900 minutes, a plan cannot see.",
    )
    before = _touched(stage)
    stage.syncd("plan", "--samples", "3")
    _expect_untouched(stage, before, "the plan has written no row")
    stage.say(
        "run does it. No timestamp is asked: the rows are compared with what the ledger",
        "remembers of both sides, so a batch job that sets no time, or a form that is saved",
        "without a change, misleads nobody. Every record seen has exactly one outcome.",
    )
    stage.syncd("run", code=5)
    _check_night_2(stage)
    stage.say(
        "Exit code 5 tells the scheduler that deletes are held. Why does record 1002 stand as it",
        "does? explain shows both sides as they are now, and its history.",
    )
    stage.syncd("explain", "referrals", "1002")
    stage.say(
        "And session 91001? SQLSTATE 23514 is a CHECK, and the constraint is named. The row is",
        "tried again every night until either side changes; no other row had to wait for it.",
    )
    stage.syncd("explain", "sessions", "91001")


def _check_night_2(stage: Stage) -> None:
    stage.expect(
        "1001 has staff's risk and the old system's status; 1002 keeps staff's status",
        "SELECT ref_no, risk, status FROM referral WHERE ref_no IN (1001, 1002) ORDER BY 1",
        (1001, "low", "accepted"),
        (1002, "medium", "withdrawn"),
    )
    stage.expect(
        "1003 and 1006 are accepted; 1004 is still there, with the date that staff set",
        "SELECT ref_no, status, due_on::text FROM referral WHERE ref_no IN (1003, 1004, 1006)"
        " ORDER BY 1",
        (1003, "accepted", "2026-05-04"),
        (1004, "received", "2027-01-29"),
        (1006, "accepted", "2026-06-06"),
    )
    stage.expect(
        "1005 was not made again, and 1007, 1008 and 1009 are deleted",
        "SELECT count(*) FROM referral WHERE ref_no IN (1005, 1007, 1008, 1009)",
        (0,),
    )
    stage.expect(
        "1010 has the due date of yesterday, and the notes on 1011 are staff's",
        "SELECT due_on::text, (SELECT case_notes FROM referral WHERE ref_no = 1011)"
        " FROM referral WHERE ref_no = 1010",
        ("2026-07-20", "Prefers mornings"),
    )
    stage.expect(
        "25 referrals and 40 sessions are new; the refused and the waiting one are not there",
        "SELECT (SELECT count(*) FROM referral WHERE ref_no > 6000),"
        " (SELECT count(*) FROM session WHERE session_no > 90000)",
        (25, 40),
    )
    stage.expect(
        "the 300 sessions are all still there",
        "SELECT count(*) FROM session WHERE session_no <= 20300",
        (300,),
    )


def _morning(stage: Stage) -> None:
    stage.title("The morning after: what people decide")
    stage.say(
        "Three conflicts are open. Each was told once, and staff's side stands until somebody",
        "decides otherwise. The office says that on 1002 the old system is right.",
    )
    stage.syncd("conflicts", "list")
    [(number,)] = stage.rows(
        CASEWORK,
        "SELECT conflict_id FROM syncd.syncd_conflict"
        " WHERE kind = 'both_changed' AND column_name = 'status' AND status = 'open'",
    )
    stage.syncd("conflicts", "resolve", str(number), "--take", "source")
    stage.expect(
        "1002 is accepted",
        "SELECT status FROM referral WHERE ref_no = 1002",
        ("accepted",),
    )
    stage.say(
        "And 300 sessions are gone from the old system. A delete needs evidence: that many at",
        "once look just like a broken export, so they are held, while everything else went on.",
    )
    stage.syncd("deletes", "list")


def _night_3(stage: Stage) -> None:
    stage.title("Night 3: the parent arrives")
    stage.play(LEGACY, "day_3_legacy.sql")
    stage.say(
        "In Casebook referral 6099 was entered, for which a session waits, and both mistakes",
        "were corrected. The deletes stay held: nobody has decided yet.",
    )
    stage.syncd("run", code=5)
    stage.expect(
        "referral 6099 has arrived, and its session with it",
        "SELECT r.surname, s.session_no FROM referral r JOIN session s USING (ref_no)"
        " WHERE ref_no = 6099",
        ("Sato", 91002),
    )
    stage.expect(
        "the corrected session and the corrected date are in",
        "SELECT minutes, (SELECT due_on::text FROM referral WHERE ref_no = 1010)"
        " FROM session WHERE session_no = 91001",
        (90, "2027-02-28"),
    )


def _decision(stage: Stage) -> None:
    stage.title("The decision: the archive job was meant")
    stage.say(
        "The approval names the plan that was looked at; if anything else were held by now, it",
        "would be refused. It is a ceiling: the comparison is made anew, a row that came back",
        "stays, and so does one that staff have edited. That is one more conflict: exit code 4.",
    )
    held = stage.rows(CASEWORK, "SELECT key FROM syncd.syncd_held_delete")
    looked_at = plan_hash("sessions", [key for (key,) in held])
    stage.syncd("deletes", "approve", "sessions", "--plan", looked_at, code=4)
    stage.expect(
        "299 sessions are deleted, and the one that was edited is kept",
        "SELECT session_no, minutes FROM session WHERE session_no <= 20300",
        (20007, 75),
    )


def _end(stage: Stage) -> None:
    stage.title("The end: are they in step?")
    stage.say(
        "verify trusts nothing that is remembered. It reads both sides in full and holds them",
        "against each other. With --exit-code it would end with 3 if anything were missing, extra",
        "or different; what staff own is told as kept.",
    )
    stage.syncd("verify", "--exit-code")
    before = _touched(stage)
    stage.say("And a night on which nothing happened touches nothing:")
    stage.syncd("run")
    _expect_untouched(stage, before, "no row of Casework was written")


_TOUCHED: Final = (
    "SELECT max(xmin::text::bigint), count(*) FROM"
    " (SELECT xmin FROM referral UNION ALL SELECT xmin FROM session) AS rows"
)


def _touched(stage: Stage) -> tuple[object, ...]:
    """The newest transaction that wrote a referral or a session, and how many there are."""
    return stage.rows(CASEWORK, _TOUCHED)[0]


def _expect_untouched(stage: Stage, before: tuple[object, ...], fact: str) -> None:
    stage.expect(fact, _TOUCHED, before)
