"""Every campaign, with the goals of both columns: in a pull request, and over nights.

The figures are the goals of this project for what exists so far; ``LATER`` names the rest. Where
the goal of a night is larger than a night, the next one goes on with ``--resume``.
"""

from typing import Final

from tests.faults.planted import FAULTS
from tests.trust.campaign import Campaign
from tests.trust.kinds import Canaries, Cells, Fuzzed, Orders, Planted, Schedules, Suite

_CRASH: Final = "tests/crash/test_"
_FUZZ: Final = "tests/fuzz/test_"
_POINTS: Final = "tests/failpoints/test_"
_DAEMON: Final = "tests/daemon/test_"
_STORM: Final = "test_a_storm_of_hangups_is_one_run_and_one_that_waits"
# The campaigns that have their own line; the rest of what is marked is `properties`.
_APART: Final = (
    *("tests/crash", "tests/failpoints", "tests/faults", "tests/fuzz", "tests/sim", "tests/trust"),
    "tests/pipeline/test_staff_writers.py",
)
_OF_FAULTS: Final = r"^\| (\w+) \| .* \| ([^|]+) \| [\d.]+ \|$"
_OF_FUZZ: Final = r"^(\w+): (.*)$"

_EVERY: Final = (
    Campaign(
        "sim-quick", "model schedules, judged before and after a reconcile",
        "schedules", 200_000, 50_000_000, Schedules("quick"), size=100_000, share=12,
    ),
    Campaign(
        "sim-full", "runs of the production code on the deterministic loop",
        "schedules", 2_000, 500_000, Schedules("full"), size=2_000, share=20,
    ),
    Campaign(
        "sim-orders", "one record, 2 changes of the source, 1 of staff, 2 workers, 1 fault: "
        "all interleavings of each such plot",
        "plots", 30, 600, Orders(), size=30, share=4,
    ),
    Campaign(
        "sim-canaries", "planted faults found by the simulation, each within 20,000 schedules",
        "canaries", 25, 40, Canaries(), wanted="25",
    ),
    Campaign(
        "sim-kept", "schedules that once failed; one seed, one trace; the loop",
        "tests", 1, 1, Suite(("tests/sim",), marked="not trust"), wanted="all",
    ),
    Campaign(
        "cancel", "cancelled at every await of every way to apply, in memory and on PostgreSQL",
        "cancellations", 1, 1,
        Suite((f"{_POINTS}cancel_everywhere.py", f"{_POINTS}cancel_postgres.py")),
        wanted="all, once",
    ),
    Campaign(
        "failpoints", "named points x raise, kill -9, hang, cancel, slow, on PostgreSQL",
        "cells", 300, 18_000, Cells(), share=10, seconds_max=3600,
    ),
    Campaign(
        "invariants", "I2, I4, I5, I8, I9 broken on purpose: stopped at run time",
        "tests", 1, 1, Suite((f"{_POINTS}invariants.py",)), wanted="all",
    ),
    Campaign(
        "kill", "kill -9 of a run on PostgreSQL",
        "kills", 300, 100_000, Suite((f"{_CRASH}kill.py",)), size=300, share=12,
    ),
    Campaign(
        "pg-crash", "PostgreSQL killed or stopped at once in a run",
        "crashes", 40, 20_000, Suite((f"{_CRASH}server_crash.py",)), size=40, share=6,
    ),
    Campaign(
        "network", "connections that fail in 7 ways, through a proxy",
        "strikes", 350, 140_000,
        Suite((f"{_CRASH}network.py", f"{_CRASH}lost_answers.py")),
        size=350, share=10, seconds_max=1800,
    ),
    Campaign(
        "zombie", "paused, taken over, let go on: writes nothing",
        "takeovers", 10, 2_000, Suite((f"{_CRASH}zombie.py",)), size=10, share=3,
    ),
    Campaign(
        "sigterm", "SIGTERM at some moment of a run: ends cleanly within 10 s",
        "signals", 50, 5_000, Suite((f"{_CRASH}sigterm.py",)), size=50, share=3,
    ),
    Campaign(
        "hangups", "1,000 SIGHUPs while a run of the daemon is held up: one more run",
        "tests", 1, 1, Suite((f"{_DAEMON}serve.py::{_STORM}",)), wanted="1,000 in 1 s",
    ),
    Campaign(
        "daemon-sigterm", "SIGTERM at some moment of a daemon's work: 0 in good time, nothing lost",
        "signals", 1, 1, Suite((f"{_DAEMON}moments.py",), marked="long"), wanted="all",
    ),
    Campaign(
        "two-daemons", "a leader that is paused or killed, and a standby that takes over",
        "tests", 1, 1, Suite((f"{_DAEMON}two_daemons.py",)), wanted="all",
    ),
    Campaign(
        "api", "generated requests of all operations, held against the API's own document",
        "tests", 1, 1, Suite(("tests/admin/test_schemathesis.py",), marked="long"),
        wanted="3,000 cases",
    ),
    Campaign(
        "exhausted", "a full disk of 1 MiB, and memory that runs out",
        "tests", 2, 2, Suite((f"{_CRASH}exhausted.py",), marked="trust"),
    ),
    Campaign(
        "staff", "edits of 8 people who race syncd for the same rows",
        "edits", 100_000, 100_000_000,
        Suite(("tests/pipeline/test_staff_writers.py",), marked="trust"), size=10_000, share=6,
    ),
    Campaign(
        "fuzz-rows", "malformed fields, keys, records, dumps, archives and streams",
        "cases", 1_000_000, 200_000_000, Fuzzed(configuration=False), size=250_000, share=12,
    ),
    Campaign(
        "fuzz-config", "malformed configurations",
        "cases", 10_000, 2_000_000, Fuzzed(configuration=True), size=10_000, share=3,
    ),
    Campaign(
        "fuzz-planted", "faults planted in decoders, found by fuzzing",
        "faults", 8, 8, Planted("tests.fuzz.planted", _OF_FUZZ), wanted="all",
    ),
    Campaign(
        "truncations", "dumps cut off at any byte, generated and real: nothing is deleted",
        "cuts", 1_000, 100_000, Suite((f"{_FUZZ}truncations.py",), marked="trust"),
        size=2_000, share=3,
    ),
    Campaign(
        "round-trips", "values that are themselves on every way, 22 types and more",
        "values", 2_200_000, 100_000_000, Suite((f"{_FUZZ}round_trips.py",), marked="trust"),
        size=2_200_000, share=6,
    ),
    Campaign(
        "leaks", "marked secrets and row values that are shown nowhere",
        "marks", 1_050, 1_050, Suite((f"{_FUZZ}leaks.py",), marked="trust"),
    ),
    Campaign(
        "faults", "faults planted in the code, found by the tests beside them",
        "faults", 25, 25, Planted("tests.faults", _OF_FAULTS, tuple(FAULTS)),
        seconds_max=1800,
    ),
    Campaign(
        "properties", "property suites and random nights, 2,000 examples each",
        "tests", 1, 1, Suite(("tests",), marked="trust", but=_APART), wanted="all",
        seconds_max=1800, share=3,
    ),
)  # fmt: skip

CAMPAIGNS: Final = {campaign.name: campaign for campaign in _EVERY}

# Goals of the same columns whose subject is not built yet: said, so that nobody misses them.
LATER: Final = (
    ("SQS messages: duplicated, shuffled, redriven", "100,000"),
    ("events dropped on purpose, found by the reconcile", "10,000 keys"),
    ("malformed messages", "5,000,000"),
    ("malformed HTTP replies", "100,000"),
    ("throttled and failing creates at an HTTP target", "100,000"),
    ("PostgreSQL promoted to a new primary", "1"),
    ("soak at 2,000 events a second", "3 min"),
    ("upgrade and downgrade with work in flight", "1 each way"),
)
