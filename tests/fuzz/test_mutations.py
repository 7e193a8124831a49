"""Damaged input of every kind gives a value, a finding or an error of ours, and nothing else."""

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Final

import pytest

from syncd.errors import SourceError
from syncd.flow.canonical import BadValue, decimal, integer, octets
from syncd.flow.decode import DecodeError, decode
from syncd.flow.keys import KeyIssue, encode_key
from syncd.flow.model import Kind
from syncd.secrets import passwords
from tests.conftest import REPOSITORY
from tests.fuzz.catalogue import decoders
from tests.fuzz.decoder import bounded_cpu
from tests.fuzz.dumps import look
from tests.fuzz.hunt import hunt, input_of, told
from tests.fuzz.planted import FAULTS
from tests.sources.dump_world import zip_of

DECODERS: Final = decoders()
SHARE: Final = 300  # cases of a decoder in one run of all tests, by their weight
SEED: Final = 20_261


@pytest.mark.parametrize("name", DECODERS)
def test_damage_is_a_finding_or_an_error_of_ours(name: str) -> None:
    """A share of the cases; ``python -m tests.fuzz`` tries as many as it is told."""
    cases = int(SHARE // DECODERS[name].weight ** 0.5)
    found = hunt(DECODERS[name], SEED, cases=cases)
    assert not found.failures, told(found.failures)
    assert found.cases == cases
    assert sum(found.outcomes.values()) == found.cases


def test_a_case_is_the_same_in_every_process() -> None:
    """Seed and number name a case, so what failed can be looked at again (``--first``)."""
    ask = (
        "from tests.fuzz.catalogue import decoders; from tests.fuzz.hunt import input_of; "
        "print(input_of(decoders()['field_json'], 5, 77)[0].hex())"
    )
    environment = {**os.environ, "PYTHONHASHSEED": "12345"}
    said = subprocess.run(
        [sys.executable, "-c", ask],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    assert said.stdout.strip() == input_of(DECODERS["field_json"], 5, 77)[0].hex()


def test_the_command_reports_what_it_did(tmp_path: Path) -> None:
    """Cases, rate and failures of each decoder stand in the report."""
    report = tmp_path / "report.json"
    said = subprocess.run(
        [
            *(sys.executable, "-m", "tests.fuzz", "--decoder", "key", "--decoder", "cut_rows"),
            *("--cases", "50", "--seed", "3", "--report", str(report)),
        ],
        cwd=REPOSITORY, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert said.returncode == 0, said.stdout + said.stderr
    found = json.loads(report.read_text())
    assert (found["seed"], found["cases"], found["failures"]) == (3, 100, 0)
    assert [one["decoder"] for one in found["decoders"]] == ["key", "cut_rows"]
    assert all(one["rate"] > 0 for one in found["decoders"])


def test_every_planted_fault_is_found() -> None:
    """A fuzzer that notices nothing would be green too."""
    environment = {k: v for k, v in os.environ.items() if not k.startswith(("COV_", "PYTEST_"))}
    said = subprocess.run(
        [sys.executable, "-m", "tests.fuzz.planted"],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    found = dict(line.split(": ", 1) for line in said.stdout.splitlines())
    missed = {name: by for name, by in found.items() if by.startswith("nothing")}
    assert (said.returncode, missed) == (0, {}), said.stderr
    assert set(found) == set(FAULTS)
    assert len(FAULTS) >= 8


# -- what the fuzzers found ------------------------------------------------------------------


@pytest.mark.parametrize("long", [b"0" * 200_000, b"1" * 200_000, b"1e" + b"0" * 200_000])
def test_what_is_no_number_is_found_out_in_linear_time(long: bytes) -> None:
    """These took the square of their length: 24 s for 40,000 digits and a letter."""
    with bounded_cpu(5.0):
        for parse in (integer, decimal):
            with pytest.raises(BadValue):
                parse(long + b"x")


def test_bytes_of_any_length_are_read_without_memory_for_each() -> None:
    """A digit cost 60 bytes of memory."""
    with bounded_cpu(5.0):
        assert octets(b"\\x" + b"aB" * 1_000_000) == b"\\x" + b"ab" * 1_000_000
    with pytest.raises(BadValue, match="not_bytes"):
        octets(b"\\xabc")


def test_a_number_beyond_all_exponents_is_a_bad_record_and_ends_nothing() -> None:
    """``Decimal`` raises an ArithmeticError there, which is no error of JSON."""
    text = b'{"id":1,"name":"a"}\n{"id":2,"name":1e9999999999999999999999}\n{"id":3,"name":"c"}\n'
    found = look(text, "t.ndjson", {"format": "ndjson"})
    assert [read.key[-1] for read in found.reads] == [1, 3]
    assert [issue.code for issue in found.told if issue.excludes] == ["json_syntax"]


@pytest.mark.parametrize(("at", "byte"), [(6, 0x63), (8, 0x40), (9, 0x08)])
def test_a_zip_header_that_makes_no_sense_is_damage(at: int, byte: int) -> None:
    """A version from the future, strong encryption, a name that is no UTF-8: ``zipfile`` gives up.

    It does so with exceptions that are no BadZipFile, and ended the run.
    """
    data = bytearray(
        zip_of({"t.csv": b"id\n1\n"}).replace(b"t.csv", b"\xff.csv" if at == 9 else b"t.csv")
    )
    entry = data.index(b"PK\x01\x02")
    data[entry + at] = byte
    with pytest.raises(SourceError, match="is damaged"):
        look(bytes(data), "dump.zip", {}, "t.csv")


@pytest.mark.parametrize(
    ("error", "code"),
    [
        (RecursionError(), "too_deep"),
        (UnicodeDecodeError("utf-8", b"", 0, 1, ""), "charset"),
        (ValueError(), "malformed"),
        (OverflowError(), "malformed"),
        (ZeroDivisionError(), "malformed"),
        (MemoryError(), "malformed"),
    ],
)
def test_whatever_data_can_cause_is_one_error(error: Exception, code: str) -> None:
    """A hook may raise what it likes; what it said is the cause and no part of the message."""

    def read(_data: bytes) -> None:
        raise error

    with pytest.raises(DecodeError) as raised:
        decode(read, b"")
    assert (raised.value.code, str(raised.value)) == (code, code)
    assert raised.value.__cause__ is error


def test_a_mistake_in_a_reader_is_not_taken_for_bad_data() -> None:
    """What data cannot cause goes through."""

    def read(_data: bytes) -> None:
        raise KeyError

    with pytest.raises(KeyError):
        decode(read, b"")


@pytest.mark.parametrize("part", [b"2026-02-30", b"2026-13-01", b"0000-01-01"])
def test_a_day_that_no_calendar_has_is_no_key(part: bytes) -> None:
    """It was one, so that a damaged date counted as a record and the true one as absent."""
    with pytest.raises(KeyIssue) as raised:
        encode_key((Kind.DATE,), (part,))
    assert raised.value.code == "key_value"


def test_a_header_of_very_many_names_is_checked_in_linear_time() -> None:
    """Counting each name among all took hours for a file of a wrong delimiter."""
    header = b",".join(b"c%d" % n for n in range(200_000))
    with (
        bounded_cpu(10.0),
        pytest.raises(SourceError, match="c7") as raised,
    ):
        look(header + b",c7\n1\n", "t.csv", {"max_record_bytes": 4 * 1024**2})
    assert len(str(raised.value)) < 1000


def test_a_hostile_connection_string_is_searched_in_linear_time() -> None:
    """Names are looked for near its beginning only."""
    with bounded_cpu(5.0):
        assert passwords("x@" + "://" * 300_000) == ()
