"""Every version of four real series, by dump files and by a PostgreSQL source.

All of them in ``make trust``, a few nights of each in ``make test``.
"""

from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
from _pytest.mark.structures import ParameterSet

from tests.real.replay import (
    KEV,
    OURAIRPORTS,
    SP500,
    Replay,
    Series,
    epraccur,
    read_truth,
    unpack,
)

MakeDatabase = Callable[[str], str]
MakeReplay = Callable[..., Replay]
Versions = range
ALL: Final = range(1, 1000)


def sources(*by_postgres: Versions, by_files: Versions) -> list[ParameterSet]:
    """Some versions by either source, and all of them where there is time."""
    some = [("files", by_files), *(("postgres", versions) for versions in by_postgres)]
    when_long = [pytest.mark.trust, pytest.mark.long]
    return [
        *(pytest.param(*one) for one in some),
        *(pytest.param(source, ALL, marks=when_long) for source in ("files", "postgres")),
    ]


def chosen(truth: Mapping[str, Any], versions: Versions) -> list[int]:
    """The numbers of those versions that there are."""
    return [version["n"] for version in truth["versions"] if version["n"] in versions]


@pytest.fixture
def make_replay(tmp_path: Path, shared_dir: Path, make_database: MakeDatabase) -> MakeReplay:
    """A pipeline for a series, with its dumps unpacked."""

    def make(series: Series, source: str) -> Replay:
        unpack(shared_dir, series, tmp_path)
        source_dsn = make_database("legacy") if source == "postgres" else ""
        return Replay(series, tmp_path, make_database("target"), source_dsn)

    return make


def keys_of(step: Mapping[str, Any]) -> dict[str, set[str]]:
    return {name: set(step[name]) for name in ("inserted", "updated", "deleted")}


def assert_nothing_to_do(replay: Replay) -> None:
    code, report = replay.run("run")
    counts = report["entities"].values()
    assert code == 0
    assert all(c["seen"] == c["unchanged"] for c in counts), report


@pytest.mark.parametrize(("source", "versions"), sources(range(1, 4), by_files=range(4, 9)))
def test_ourairports_changes_are_found_exactly(
    make_replay: MakeReplay, shared_dir: Path, source: str, versions: Versions
) -> None:
    """Nights of five linked tables: the keys changed are those of the truth, each night."""
    replay = make_replay(OURAIRPORTS, source)
    known = read_truth(shared_dir, "ourairports")
    steps = {s["to"]: s["tables"] for s in known["steps"]}
    tables = {name.replace("-", "_"): name for name in steps[2]}
    first, *_, last = nights = chosen(known, versions)
    for version in nights:
        replay.dump(version)
        if version == first:
            assert replay.run("init")[0] == 0
        assert replay.run("run")[0] == 0
        found = replay.changes()
        if version > first:
            truth = {entity: keys_of(steps[version][tables[entity]]) for entity in tables}
            assert found == truth
    assert_nothing_to_do(replay)
    for entity in ("countries", "regions"):
        stored = sorted(replay.stored(entity), key=lambda row: int(row["id"] or 0))
        dumped = sorted(replay.dumped(entity, last), key=lambda row: int(row["id"] or 0))
        assert stored == dumped


@pytest.mark.parametrize(("source", "versions"), sources(range(50, 58), by_files=range(1, 41)))
def test_kev_changes_are_found_exactly(
    make_replay: MakeReplay, shared_dir: Path, source: str, versions: Versions
) -> None:
    """Of seventy-six versions of long free text, among them one delete; each tenth run is idle."""
    truth = read_truth(shared_dir, "kev")
    steps = {s["to"]: s for s in truth["steps"]}
    replay = make_replay(KEV, source)
    first, *_, last = nights = chosen(truth, versions)
    for version in nights:
        replay.dump(version)
        if version == first:
            assert replay.run("init")[0] == 0
        assert replay.run("run")[0] == 0
        found = replay.changes()["kev"]
        if version > first:
            assert found == keys_of(steps[version])
        if version % 10 == 0:
            assert_nothing_to_do(replay)
    by_key = {row["cveID"]: row for row in replay.dumped("kev", last)}
    assert {row["cveID"]: row for row in replay.stored("kev")} == by_key


@pytest.mark.parametrize(
    ("source", "versions"),
    sources(range(22, 26), range(62, 66), range(149, 154), by_files=range(140, 156)),
)
def test_sp500_changes_and_drift_are_found_exactly(
    make_replay: MakeReplay, shared_dir: Path, source: str, versions: Versions
) -> None:
    """Of 189 versions: ragged rows, held deletes, and three changes of the header.

    A header that changed is told and stops the entity: nothing is guessed and nothing deleted
    until the new one is accepted.
    """
    truth = read_truth(shared_dir, "sp500")
    steps = {s["to"]: s for s in truth["steps"]}
    replay = make_replay(SP500, source)
    refused, held = [], []
    first, *_ = nights = chosen(truth, versions)
    for version in nights:
        replay.dump(version)
        if version == first:
            assert replay.run("init")[0] == 0
        code, report = replay.run("run")
        if code == 1:
            refused.append(version)
            assert replay.changes()["sp500"] == {
                "inserted": set(),
                "updated": set(),
                "deleted": set(),
            }
            assert replay.run("init", "--accept-schema", "sp500")[0] == 0
            code, report = replay.run("run")
        if code == 5:
            held.append(version)
            assert report["entities"]["sp500"]["held"] == steps[version]["n_deleted"]
            assert replay.run("deletes", "approve", "sp500")[0] == 0
        elif version > first:
            assert code == 0, report
        found = replay.changes()["sp500"]
        if version > first:
            assert_step(found, steps[version])
    assert refused == [version for version in (64, 151, 152) if version in versions]
    assert held == [version for version in (24,) if version in versions]
    assert_nothing_to_do(replay)


def assert_step(found: dict[str, set[str]], step: Mapping[str, Any]) -> None:
    """Inserted and deleted exactly; updated too, or what a new column changed."""
    assert found["inserted"] == set(step["inserted"])
    assert found["deleted"] == set(step["deleted"])
    if step["updated_incl_schema"] is None:
        assert found["updated"] == set(step["updated"])
    else:
        # A column that came back (version 152) holds what it held: then nothing is updated.
        assert found["updated"] in (set(step["updated_incl_schema"]), set())
        assert set(step["updated"]) <= found["updated"]


@pytest.mark.parametrize("source", ["files", "postgres"])
def test_epraccur_changes_are_found_exactly(
    make_replay: MakeReplay, shared_dir: Path, source: str
) -> None:
    """16,685 rows of 27 columns without a header: 151 inserted, 801 updated, by key."""
    truth = read_truth(shared_dir, "epraccur")
    replay = make_replay(epraccur(truth), source)
    for version in (8, 9):
        replay.dump(version)
        if version == 8:
            assert replay.run("init")[0] == 0
        assert replay.run("run")[0] == 0
        found = replay.changes()["practices"]
    assert found == keys_of(truth["steps"][0])
    assert_nothing_to_do(replay)
