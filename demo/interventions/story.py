"""Two nights of the interventions system, and what staff and hydration did on the day between.

The configuration is the one that ships (``config/interventions``). Only its source is another: the
real one reads SQL Server, the stand-in is a PostgreSQL with the same tables and the same dirt.
"""

import asyncio
import csv
import json
import signal
import socket
import subprocess
import sys
import time
import urllib.error
import urllib.request
from pathlib import Path
from typing import Any, Final

from rich.table import Table

from config.interventions.sample.__main__ import load, pass_night
from config.interventions.sample.legacy import Legacy
from demo.stage import Scene, Stage, StoryError

IM: Final = "interventions_manager"
MD: Final = "manage_and_deliver"
REFERRALS: Final = 2000
_HERE: Final = Path(__file__).resolve().parent
_REPOSITORY: Final = _HERE.parent.parent
SCENE: Final = Scene(
    old=IM,
    new=MD,
    variables=("IM_DSN", "MD_DSN"),
    pipeline=_REPOSITORY / "config" / "interventions",
    scripts=_HERE,
)
_SCHEMAS: Final = _REPOSITORY / "schemas" / "interventions"
_SOURCE: Final = 'kind: sqlserver\n  odbc: "${IM_ODBC}"'
_STAND_IN: Final = 'kind: postgres\n  dsn: "${IM_DSN}"'
_READY_S_MAX: Final = 20.0
_DAY: Final = (
    ("person name, sex, birthday, place", "hydration, from nDelius", "hydration's value stands"),
    ("the setting of a referral", "staff", "staff's value stands"),
    ("a status was added", "staff", "it stays; IM's later status is no news any more"),
    ("a weekly time of a group", "staff", "all times of that group are staff's"),
    ("a session was deleted", "staff", "it is not made again"),
)


def tell(stage: Stage) -> None:
    """Play everything. Raises StoryError as soon as a claim is not true."""
    legacy = Legacy(REFERRALS)
    _set_up(stage, legacy)
    _before(stage)
    _night_1(stage)
    _day(stage)
    _night_2(stage, legacy)
    _same_dump(stage)
    _daemon(stage)


def _set_up(stage: Stage, legacy: Legacy) -> None:
    asyncio.run(load(legacy, stage.dsn(IM)))
    for name in ("manage_and_deliver.sql", "data_import_record.sql"):
        stage.do(MD, (_SCHEMAS / name).read_text(encoding="utf-8"))
    path = stage.folder / "pipeline.yaml"
    shipped = path.read_text(encoding="utf-8")
    if _SOURCE not in shipped:
        raise StoryError("the shipped configuration has another source than the story knows")
    path.write_text(shipped.replace(_SOURCE, _STAND_IN), encoding="utf-8")
    with (stage.folder / "licreqnos.csv").open("w", encoding="utf-8", newline="") as file:
        writer = csv.writer(file, lineterminator="\n")
        writer.writerow(("source_referral_id", "licreqno"))
        writer.writerows(legacy.numbers())


def _before(stage: Stage) -> None:
    stage.title("Before: Interventions Manager, Manage and Deliver, and a file")
    stage.say(
        "A probation service moves from Interventions Manager (IM) to Manage and Deliver (M&D).",
        "Every morning a full dump of IM is restored; all that changed must reach M&D, and nothing",
        "that staff or nDelius wrote there may be lost. A referral lies in five tables of M&D, and",
        "is written as one. Of the file that says all this, the part about groups:",
    )
    text = (stage.folder / "pipeline.yaml").read_text(encoding="utf-8").splitlines()
    begins = next(at for at, line in enumerate(text) if line == "  group:")
    ends = next(at for at, line in enumerate(text) if line == "  membership:")
    stage.show("pipeline.yaml", "yaml", slice(begins, ends - 1))


def _night_1(stage: Stage) -> None:
    stage.title("Night 1: everything is new, and not all of it is clean")
    stage.say(
        "init makes the ledger beside M&D's tables. The requirement numbers that IM lacks come",
        "from another system, once, as a file.",
    )
    stage.syncd("init", "--quiet")
    stage.syncd("lookup", "load", "iaps_licreqnos", "licreqnos.csv")
    stage.say("run copies what is needed of the dump beside M&D, compares, and writes.")
    stage.syncd("run", "--quiet", code=4)
    stage.say("The morning report says what was imported, and what was not, and why:")
    stage.syncd("report")
    stage.expect(
        "each imported referral has its place, its status, its cohort and its line in the log",
        "SELECT count(*) > 1000, bool_and(l.id IS NOT NULL), bool_and(h.n > 0), bool_and(c.n = 1),"
        " bool_and(d.id IS NOT NULL) FROM referral r"
        " LEFT JOIN referral_reporting_location l ON l.referral_id = r.id"
        " LEFT JOIN data_import_record d ON d.target_id = r.id AND d.entity_type = 'REFERRAL'"
        " CROSS JOIN LATERAL (SELECT count(*) AS n FROM referral_status_history"
        "   WHERE referral_id = r.id) h"
        " CROSS JOIN LATERAL (SELECT count(*) AS n FROM referral_cohort_history"
        "   WHERE referral_id = r.id) c",
        (True, True, True, True, True),
    )
    stage.expect(
        "for each of them one event waits, which will start its hydration",
        "SELECT (SELECT count(*) FROM syncd.syncd_outbox) = (SELECT count(*) FROM referral)",
        (True,),
    )


def _day(stage: Stage) -> None:
    stage.title("The next day: hydration and staff at M&D")
    stage.play(MD, "day.sql")
    table = Table(box=None, pad_edge=False, header_style="bold", padding=(0, 2, 0, 0))
    for name in ("what", "written by", "so tonight"):
        table.add_column(name)
    for row in _DAY:
        table.add_row(*row)
    stage.console.print()
    stage.console.print(table)
    stage.say(
        "Hydration also bumps updated_at of every referral. A rule that asks that time would take",
        "all of them for edited, and never update one again.",
    )


def _night_2(stage: Stage, legacy: Legacy) -> None:
    stage.title("Night 2: a new dump")
    asyncio.run(pass_night(legacy, stage.dsn(IM)))
    stage.say("What would happen? plan writes nothing. Then run does it.")
    stage.syncd("plan")
    stage.syncd("run", code=4)
    stage.expect(
        "what hydration and staff wrote is all there",
        "SELECT count(*) FILTER (WHERE person_name LIKE 'Hydrated %') = (SELECT n FROM demo_kept),"
        " count(*) FILTER (WHERE setting = 'CUSTODY'), (SELECT count(*) FROM"
        " referral_status_history WHERE created_by = 'a.person'), (SELECT count(*) FROM"
        " programme_group_session_slot WHERE start_time = '07:30'), (SELECT count(*) FROM session"
        " WHERE id = (SELECT session_id FROM demo_kept)) FROM referral",
        (True, 1, 1, 1, 0),
    )
    stage.expect(
        "and IM's changes came through all the same",
        "SELECT count(*) > 5 FROM syncd.syncd_import_record i JOIN syncd.syncd_entity e"
        " USING (entity_id) WHERE e.name = 'referral' AND i.outcome = 'updated'",
        (True,),
    )
    stage.say("Where does one referral stand, and why? explain shows both sides and its history.")
    [(key,)] = stage.rows(
        MD,
        "SELECT d.source_id FROM referral r JOIN data_import_record d ON d.target_id = r.id"
        " WHERE r.setting = 'CUSTODY'",
    )
    stage.syncd("explain", "referral", key)


def _same_dump(stage: Stage) -> None:
    stage.title("Night 3: the same dump again, and then an older one")
    stage.say("The restore job ran twice. Nothing is copied, nothing is compared:")
    stage.syncd("run", code=4)
    stage.say("And an older dump, restored by mistake, is refused until somebody says it is meant:")
    stage.do(MD, "SELECT 1")
    stage.do("", f"COMMENT ON DATABASE {IM} IS '2026-01-01T05:00:00Z'")
    stage.syncd("run", "--select", "group", code=1)
    stage.do("", f"COMMENT ON DATABASE {IM} IS '2030-01-01T05:00:00Z'")


def _daemon(stage: Stage) -> None:
    stage.title("For months: the daemon")
    stage.say(
        "serve does all this by itself: by the schedule, when a new dump stands there, and when it",
        "is asked, by a signal or over HTTP. Two of them may run; one leads, the other stands by.",
        "It also sends the events; here is no topic to send them to, so they wait, and it says so.",
    )
    port = _free_port()
    (stage.folder / "service.yaml").write_text(f"http: {{port: {port}}}\n", encoding="utf-8")
    command = [sys.executable, "-m", "syncd", "serve", "--service", "service.yaml"]
    stage.console.print("\n$ syncd serve --service service.yaml &", style="bold green")
    with subprocess.Popen(  # noqa: S603 - our own program, no shell.
        command, cwd=stage.folder, env=stage.environ(), stdin=subprocess.DEVNULL
    ) as daemon:
        try:
            _ask(stage, daemon, f"http://127.0.0.1:{port}/health")
        finally:
            daemon.send_signal(signal.SIGTERM)
            code = daemon.wait(timeout=30)
    if code != 0:
        raise StoryError(f"the daemon ended with {code} after SIGTERM, expected 0")
    stage.checked += 1
    stage.confirm("SIGTERM ended it cleanly")


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port: int = probe.getsockname()[1]
        return port


def _ask(stage: Stage, daemon: "subprocess.Popen[bytes]", health: str) -> None:
    """Hang up, and wait until the pass that this asks for is done."""
    _get(f"{health}/liveness")
    daemon.send_signal(signal.SIGHUP)
    stage.console.print("$ kill -HUP $!", style="bold green")
    until_s = time.monotonic() + _READY_S_MAX
    query = "SELECT status FROM syncd.syncd_claim WHERE origin = 'signal'"
    while stage.rows(MD, query) != [("done",)]:
        if time.monotonic() > until_s:
            raise StoryError("the pass that SIGHUP asked for was not done in time")
        time.sleep(0.1)
    stage.checked += 1
    stage.confirm("SIGHUP had it look at everything once more")
    found = _get(health)
    stage.console.print(f"$ curl -s {health}\n{json.dumps(found)[:600]}")


def _get(url: str) -> Any:
    """What a page of the daemon says, as soon as it listens."""
    until_s = time.monotonic() + _READY_S_MAX
    while True:
        try:
            with urllib.request.urlopen(url, timeout=5) as answer:  # noqa: S310 - our own.
                return json.load(answer)
        except urllib.error.HTTPError as error:
            return json.load(error)
        except OSError:
            if time.monotonic() > until_s:
                raise StoryError("the daemon does not answer") from None
            time.sleep(0.1)
