"""Real dumps that nobody here wrote: their rows, their ragged lines, and their truth.

Every version in ``make trust``, and a share of them in ``make test``; there every one goes through
the command line (``tests/real``).
"""

import json
import lzma
import os
import random
import tarfile
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any, Final

import pytest
import zstandard

from syncd.errors import SyncdError
from tests.sources.dump_world import ENTITY, Look, dump_at, integer, look_at, plan_of, scan

DUMPS: Final = {
    "ourairports": "ourairports.tar.xz",
    "kev": "kev.tar.xz",
    "sp500": "sp500.tar.xz",
    "epraccur": "epraccur.tar.zst",
}
THOROUGH: Final = os.environ.get("SYNCD_HYPOTHESIS_PROFILE") == "trust"
CUTS: Final = 200 if THOROUGH else 50
# Of many versions, in `make test`, each eighth and the one after it: steps are checked by pairs.
PAIRS_OF: Final = 1 if THOROUGH else 8
TABLES: Final = ("countries", "regions", "navaids", "airport-frequencies", "runways")


@pytest.fixture(scope="module")
def dumps(shared_dir: Path) -> Path:
    return shared_dir / "data" / "dumps"


@pytest.fixture(scope="module")
def unpacked(dumps: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """All dumps as folders, unpacked by other means than ours."""
    root = tmp_path_factory.mktemp("dumps")
    for name, archive in DUMPS.items():
        unpack: Any = lzma.LZMAFile
        if archive.endswith(".zst"):
            unpack = zstandard.ZstdDecompressor().stream_reader
        with (
            (dumps / archive).open("rb") as stored,
            unpack(stored) as opened,
            tarfile.open(fileobj=opened, mode="r|") as tar,
        ):
            tar.extractall(root / name, filter="data")
    return root


def truth_of(dumps: Path, name: str) -> dict[str, Any]:
    return dict(json.loads((dumps / f"{name}.truth.json").read_text(encoding="utf-8")))


async def look_at_file(path: Path, file: str, key: list[str], columns: list[str]) -> Look:
    config = {"header": False} if columns else {}
    dump = dump_at(path, file, columns=columns, batch_rows=5000, **config)
    return await look_at(dump, plan_of(await dump.describe(ENTITY), key))


def versions(truth: Mapping[str, Any], name: str) -> Iterator[tuple[int, str, Mapping[str, Any]]]:
    """Number, file and facts of the versions of a dump with one table."""
    folder = "" if name == "epraccur" else f"{name}/"
    for version in truth["versions"]:
        if name != "epraccur" and version["n"] % PAIRS_OF > 1:
            continue
        yield version["n"], folder + version["file"], version


def changes(before: Look, after: Look) -> tuple[set[str], set[str], set[str]]:
    """Keys inserted, updated and deleted, by digests alone."""
    old = dict(zip(before.keys, before.digests, strict=True))
    new = dict(zip(after.keys, after.digests, strict=True))
    common = old.keys() & new.keys()
    return (
        {name_of(key) for key in new.keys() - old.keys()},
        {name_of(key) for key in common if old[key] != new[key]},
        {name_of(key) for key in old.keys() - new.keys()},
    )


def name_of(key: bytes) -> str:
    return key.removesuffix(b"\0").decode()


@pytest.mark.trust
@pytest.mark.parametrize("name", ["kev", "sp500", "epraccur"])
async def test_every_version_has_the_rows_of_the_truth(
    dumps: Path, unpacked: Path, name: str
) -> None:
    """Rows, ragged lines and duplicate keys agree with an independent script, version by version;
    each step finds all keys that were inserted, updated and deleted."""
    truth = truth_of(dumps, name)
    columns = truth.get("columns", [])
    steps = {step["to"]: step for step in truth["steps"]}
    before: tuple[int, Look] | None = None
    for number, file, facts in versions(truth, name):
        key = (
            [("Symbol" if "Symbol" in facts["columns"] else facts["columns"][0])]
            if (name == "sp500")
            else truth["key"]
        )
        look = await look_at_file(unpacked / name, file, key, columns)
        ragged = sum(n for code, n in look.codes.items() if code.startswith("ragged"))
        assert (look.rows, ragged) == (facts["rows"], facts["ragged"]), file
        assert len(look.keys) == facts["rows"] - facts["dup_keys"], file
        assert set(look.codes) <= {"ragged_short", "ragged_long", "no_final_newline"}, file
        assert all(issue.place.startswith(f"{file}:") for issue in look.told)
        assert look.own == []
        step = steps.get(number)
        if before is not None and step and step["from"] == before[0]:
            inserted, updated, deleted = changes(before[1], look)
            assert inserted == set(step["inserted"]), file
            assert deleted == set(step["deleted"]), file
            assert updated >= set(step["updated"]), file
        before = number, look


@pytest.mark.trust
async def test_every_table_of_every_night_has_the_rows_of_the_truth(
    dumps: Path, unpacked: Path
) -> None:
    """Sixty files of the airports, each with an integer key that the file is not ordered by."""
    truth = truth_of(dumps, "ourairports")
    for version in truth["versions"][:: 1 if THOROUGH else 4]:
        folder = unpacked / "ourairports" / "calm_2026" / f"version_{version['n']:04}"
        for table in TABLES:
            dump = dump_at(folder, f"{table}.csv", batch_rows=5000)
            shape = await dump.describe(ENTITY)
            assert len(shape) == version["tables"][table]["cols"]
            plan = plan_of(shape, ["id"], integer("id"))
            async with dump.open([plan]) as snapshot:
                look = await scan(snapshot, plan)
            assert (look.rows, look.told) == (version["tables"][table]["rows"], []), folder
            assert look.widths == {26}


@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("ourairports", "calm_2026/version_0012/regions.csv", ["id"]),
        ("kev", "kev/version_0076.csv", ["cveID"]),
        ("sp500", "sp500/version_0004.csv", ["Symbol"]),
        ("epraccur", "version_0009.csv", ["organisation_code"]),
    ],
)
async def test_an_archive_gives_what_its_files_give(
    dumps: Path, unpacked: Path, name: str, file: str, key: list[str]
) -> None:
    """Read straight from the archive, a member has the same rows, digests and findings."""
    columns = truth_of(dumps, name).get("columns", [])
    packed = await look_at_file(dumps / DUMPS[name], file, key, columns)
    plain = await look_at_file(unpacked / name, file, key, columns)
    assert packed.rows > 400
    assert (packed.reads, packed.codes, packed.identity) == (
        plain.reads,
        plain.codes,
        plain.identity,
    )


@pytest.mark.trust
@pytest.mark.parametrize(
    ("name", "file", "key"),
    [
        ("kev", "kev/version_0076.csv", ["cveID"]),
        ("sp500", "sp500/version_0004.csv", ["Symbol"]),
        ("ourairports", "calm_2026/version_0012/countries.csv", ["id"]),
    ],
)
async def test_a_real_dump_may_be_cut_off_anywhere(
    unpacked: Path, tmp_path: Path, name: str, file: str, key: list[str]
) -> None:
    """At many random places: an error of ours, or a finding, or fewer rows, never a crash, and
    never the rows of the whole file without a word (case 39)."""
    whole = (unpacked / name / file).read_bytes()
    (tmp_path / "t.csv").write_bytes(whole)
    rows = (await look_at_file(tmp_path, "t.csv", key, [])).rows
    plan = plan_of(await dump_at(tmp_path, "t.csv").describe(ENTITY), key)
    place = random.Random(39)  # noqa: S311 - places to cut at, not secrets.
    for cut in [*(place.randrange(len(whole)) for _ in range(CUTS)), len(whole) - 1, 0, 1]:
        (tmp_path / "t.csv").write_bytes(whole[:cut])
        try:
            look = await look_at(dump_at(tmp_path, "t.csv", batch_rows=5000), plan)
        except SyncdError:
            continue
        assert look.codes.get("no_final_newline") or look.rows < rows
