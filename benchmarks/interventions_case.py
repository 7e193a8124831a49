"""The nights of the interventions system: the first, a quiet one, and one with a hundredth changed.

The whole configuration that ships runs against the stand-in for the dump through psqlODBC. The
yardstick is the bare read: the same stage queries through the same driver, execute and
``fetchmany``, nothing looked at. What is beyond it is the price of staging, of the survey, and of
aggregates that are written with their links, histories, entries and events.

    python -m benchmarks.interventions_case bare DSN
"""

import csv
import sys
from pathlib import Path
from typing import Final

from benchmarks.measure import Ran
from benchmarks.odbc_case import FETCH_ROWS, connection_string, has_driver, source_of
from benchmarks.results import Case, Limit
from benchmarks.stage import Stage
from config.interventions.sample.legacy import Legacy
from syncd.sources.odbc_driver import find_driver, library
from syncd.sources.odbc_strings import target_of

REFERRALS: Final = 100_000
_REPOSITORY: Final = Path(__file__).resolve().parent.parent
_CONFIG: Final = _REPOSITORY / "config" / "interventions"
_IM: Final = "bench_im"
_MD: Final = "bench_md"
_BARE_TITLE: Final = "pyodbc, the stage queries"
# Of the issue, for 100,000 referrals and 20,000 groups on two cores.
_SECONDS_MAX: Final = {"im_first": 60.0, "im_quiet": 5.0, "im_night": 8.0}


class Interventions:
    """The three nights, in their order; ``cases`` may be called once."""

    def __init__(self, stage: Stage, referrals: int = REFERRALS) -> None:
        self._stage = stage
        self._referrals = referrals
        self._bare = [sys.executable, "-m", "benchmarks.interventions_case", "bare", stage.dsn(_IM)]

    def cases(self) -> list[Case]:
        """First night, quiet night (another dump, nothing changed in it), and a busy one."""
        if not has_driver():
            return []
        self._prepare()
        first = self._night("im_first", "first night")
        self._sample("night", "--number", "1")
        night = self._night("im_night", "1 % changed")
        # Another dump with the same content: it must be read, and nothing must come of it.
        self._stage.sql("postgres", f"COMMENT ON DATABASE {_IM} IS '2030-01-01T05:00:00Z'")
        quiet = self._night("im_quiet", "nothing changed in a new dump")
        return [first, quiet, night]

    def _prepare(self) -> None:
        stage = self._stage
        stage.make_database(_IM)
        self._sample("load")
        schemas = _REPOSITORY / "schemas" / "interventions"
        names = ("manage_and_deliver.sql", "data_import_record.sql")
        stage.make_database(_MD, *((schemas / name).read_text("utf-8") for name in names))
        self._syncd("init")
        numbers = stage.work_dir / "licreqnos.csv"
        with numbers.open("w", encoding="utf-8", newline="") as file:
            writer = csv.writer(file, lineterminator="\n")
            writer.writerow(("source_referral_id", "licreqno"))
            writer.writerows(Legacy(self._referrals).numbers())
        self._syncd("lookup", "load", "iaps_licreqnos", str(numbers))
        stage.settle(_IM, _MD)

    def _night(self, name: str, title: str) -> Case:
        base = self._stage.measured(self._bare).sample
        job = self._syncd("run", "--quiet").sample
        case = Case(name, title, self._referrals, _BARE_TITLE, [base], [job])
        what = f"{title}: seconds for {self._referrals:,} referrals"
        if self._referrals >= REFERRALS:
            case.limits.append(Limit(what, job.wall_s, most=_SECONDS_MAX[name]))
        return case

    def _sample(self, what: str, *options: str) -> None:
        command = [sys.executable, "-m", "config.interventions.sample", what]
        sized = ("--referrals", str(self._referrals), "--dsn", self._stage.dsn(_IM))
        self._stage.measured([*command, *sized, *options])

    def _syncd(self, *words: str) -> Ran:
        environ = {
            "IM_ODBC": connection_string(self._stage.dsn(_IM)),
            "MD_DSN": self._stage.dsn(_MD),
            "SYNCD_SOURCE__DIALECT": "postgres",
        }
        command = [sys.executable, "-m", "syncd", *words, "-c", str(_CONFIG / "pipeline.yaml")]
        return self._stage.measured(command, codes=(0, 4, 5), environ=environ)


def bare(dsn: str) -> int:
    """Fetch the rows of all stage queries, and look at none; their number."""
    target = target_of(source_of(dsn), find_driver("auto", "postgres"))
    connection, count = library().pyodbc.connect(target.text), 0
    for query in sorted((_CONFIG / "stage").glob("*.sql")):
        cursor = connection.cursor()
        cursor.execute(query.read_text("utf-8"))
        while rows := cursor.fetchmany(FETCH_ROWS):
            count += len(rows)
        cursor.close()
    connection.close()
    return count


if __name__ == "__main__":
    print(bare(sys.argv[2]))
