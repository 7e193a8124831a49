"""A dump that was cut off at any byte deletes nothing, and invents nothing (cases 37 to 41).

One thing cannot be seen from a file: in CSV the last value of a last line without its end may be
the beginning of a longer one. Such a record is read, its file is told as ``no_final_newline`` and
all deletes are held; how often that is so stands in the tally. Nor does a cut at a line end leave
a trace: there the bounds of the guard decide.
"""

# ruff: noqa: S311, ASYNC240 - dice are for tests; small local files.

import gzip
import json
import shutil
from collections.abc import Callable, Mapping, Sequence
from pathlib import Path
from random import Random
from typing import Final

import pytest

from tests.fuzz.dumps import as_array, as_csv, csv_lines, json_lines, table
from tests.fuzz.nights import Kept, Tally, first_night, judged, second_night
from tests.real.replay import KEV, OURAIRPORTS, SP500, Series, epraccur, read_truth, unpack
from tests.sources.dump_world import COMPRESS, tar_of, zip_of

SHARE: Final = 60
MANY: Final = 1000
SEED: Final = 39


def generated(rows: int) -> dict[str, tuple[bytes, Mapping[str, object]]]:
    """Dumps by file name, in each format and each way of storing one."""
    some = table(rows)
    for at, row in enumerate(some):
        row["id"] = at * 13 % 10_007
    objects = json_lines({**row, "doc": json.loads(str(row["doc"]))} for row in some)
    text = as_csv(csv_lines(some))
    return {
        "t.csv": (text, {}),
        "quoted.csv": (as_csv(csv_lines(some, quoting=1)), {}),
        "t.ndjson": (as_csv(objects), {"format": "ndjson"}),
        "t.json": (as_array(objects), {"format": "json"}),
        "t.csv.gz": (gzip.compress(text), {}),
        "t.csv.xz": (COMPRESS[".xz"](text), {}),
        "t.csv.zst": (COMPRESS[".zst"](text), {}),
        "a.tar:t.csv": (tar_of({"t.csv": text}), {}),
        "a.tar.gz:t.csv": (gzip.compress(tar_of({"t.csv": text})), {}),
        "a.zip:t.csv": (zip_of({"t.csv": text}), {}),
    }


async def cut_often(kept: Kept, whole: bytes, folder: Path, cuts: int, random: Random) -> Tally:
    """Cut anywhere, look, and judge, again and again."""
    stored, tally = kept.file.partition(":")[0], Tally()
    folder.mkdir(exist_ok=True)
    path = folder / stored
    path.parent.mkdir(parents=True, exist_ok=True)
    for _ in range(cuts):
        left = whole[: random.randrange(len(whole))]
        path.write_bytes(left)
        tally.add(judged(kept, await second_night(kept, folder), left))
        path.unlink()
    return tally


async def cut_generated(tmp_path: Path, cuts: int, rows: int) -> dict[str, Tally]:
    tallies = {}
    dumps = generated(rows)
    for at, (file, (whole, config)) in enumerate(dumps.items()):
        (tmp_path / file.partition(":")[0]).write_bytes(whole)
        kept = await first_night(tmp_path, file, config, ["id"])
        assert len(kept.rows) == rows
        share = cuts // len(dumps) + (at < cuts % len(dumps))
        tallies[file] = await cut_often(kept, whole, tmp_path / "cut", share, Random(SEED + at))
    return tallies


def assert_told(tallies: Mapping[str, Tally], cuts: int) -> None:
    total = Tally()
    for file, tally in tallies.items():
        total.add(tally)
        if file.endswith((".gz", ".xz", ".zst", ".zip:t.csv", ".gz:t.csv")):
            assert tally.refused == tally.cuts, f"{file}: {tally}"
    assert total.cuts == cuts
    assert total.refused
    assert total.refused + total.held + total.quiet + total.at_line_end == cuts


async def test_a_generated_dump_that_is_cut_off_deletes_nothing(tmp_path: Path) -> None:
    """A share of the cuts, over every format."""
    assert_told(await cut_generated(tmp_path, SHARE, 60), SHARE)


@pytest.mark.trust
@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_thousand_cuts_of_generated_dumps_delete_nothing(
    tmp_path: Path, record_property: Callable[[str, object], None]
) -> None:
    """All of them, of larger dumps."""
    assert_told(await cut_generated(tmp_path, MANY, 2000), MANY)
    record_property("cuts", MANY)


def real_series(shared: Path, names: Sequence[str]) -> list[Series]:
    known = {"kev": KEV, "sp500": SP500, "ourairports": OURAIRPORTS}
    missing = [n for n in names if not list((shared / "data/dumps").glob(f"{n}.tar.*"))]
    if missing:
        pytest.skip(f"no archive of {', '.join(missing)} in {shared.name}/data/dumps")
    return [
        epraccur(read_truth(shared, name)) if name == "epraccur" else known[name] for name in names
    ]


async def cut_real(folder: Path, shared: Path, names: Sequence[str], cuts: int) -> Tally:
    """Cut files of real series, at one version each."""
    total, files = Tally(), list[tuple[Series, str, str]]()
    for series in real_series(shared, names):
        unpack(shared, series, folder)
        version = 9 if series.name == "epraccur" else 5
        files += [(series, e, path.format(n=version)) for e, path in series.files.items()]
    for at, (series, entity, file) in enumerate(files):
        config: dict[str, object] = {"header": not series.columns}
        kept = await first_night(folder, file, config, [series.keys[entity]], series.columns)
        share = cuts // len(files) + (at < cuts % len(files))
        whole = (folder / file).read_bytes()
        total.add(await cut_often(kept, whole, folder / "cut", share, Random(SEED + at)))
        shutil.rmtree(folder / "cut")
    assert total.cuts == cuts
    assert total.refused + total.held + total.quiet + total.at_line_end == cuts
    return total


async def test_a_real_dump_that_is_cut_off_deletes_nothing(
    tmp_path: Path, shared_dir: Path
) -> None:
    """A share of the cuts, of one small series."""
    total = await cut_real(tmp_path, shared_dir, ["sp500"], 20)
    assert total.held


@pytest.mark.trust
@pytest.mark.long
@pytest.mark.timeout(1800)
async def test_a_thousand_cuts_of_real_dumps_delete_nothing(
    tmp_path: Path, shared_dir: Path, record_property: Callable[[str, object], None]
) -> None:
    """All of them, over eight files of four series."""
    names = ["sp500", "kev", "epraccur", "ourairports"]
    total = await cut_real(tmp_path, shared_dir, names, MANY)
    assert total.held > MANY // 4
    record_property("cuts", total.cuts)
    record_property("held", total.held)
