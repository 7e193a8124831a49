"""Wrong configurations and exactly what is said of them: place, path, expected, found."""

import re
from itertools import pairwise
from pathlib import Path
from typing import Any, Final

import pytest
import yaml

from syncd import config_load, config_yaml
from syncd.errors import ConfigError

BASE: Final = """\
pipeline: airports
source: {kind: files, path: dumps}
target: {kind: postgres, dsn: "postgresql://app@db/new"}
entities:
  countries: {from: countries.csv, key: [id], into: countries}
  regions: {from: regions.csv, key: [id], into: regions}
""".splitlines()

CASES: Final = yaml.safe_load(
    Path(__file__).with_name("config_errors.yaml").read_text(encoding="utf-8")
)


@pytest.fixture
def refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> "Refused":
    monkeypatch.chdir(tmp_path)
    for name in ("AWS_REGION", "AWS_DEFAULT_REGION", "AWS_PROFILE"):
        monkeypatch.delenv(name, raising=False)
    monkeypatch.setenv("AWS_CONFIG_FILE", "none")
    return Refused()


class Refused:
    """Loads BASE with one line replaced and gives the lines of the error."""

    def lines(self, number: int, text: str, environ: dict[str, str] | None = None) -> list[str]:
        changed = [*BASE]
        changed[number - 1] = text
        return self.text("\n".join(changed) + "\n", environ)

    def text(self, text: str, environ: dict[str, str] | None = None) -> list[str]:
        Path("pipeline.yaml").write_text(text, encoding="utf-8")
        with pytest.raises(ConfigError) as caught:
            config_load.load(Path("pipeline.yaml"), environ or {"PASSWORD": "hunter22"})
        assert "hunter22" not in str(caught.value)
        return caught.value.message.splitlines()


def test_the_table_is_large_enough() -> None:
    """More than forty wrong configurations are told exactly."""
    assert len(CASES) > 40


@pytest.mark.parametrize("case", CASES, ids=str)
def test_what_is_wrong_is_told_exactly(refused: "Refused", case: dict[str, Any]) -> None:
    """Each problem is one line: place, path, what is expected, what was found."""
    if "line" in case:
        place = f"pipeline.yaml:{case['line']}: "
        found = refused.lines(case["line"], case["text"])
        assert found[0].startswith(place)
        # What a broken line brings about elsewhere has lines of its own.
        assert [re.sub(r"^pipeline\.yaml:\d+: ", "", line) for line in found] == case["said"]
    else:
        text = case.get("file", "\n".join(BASE))
        assert refused.text(text, case.get("environ")) == case["said"]


def test_all_problems_are_told_at_once(refused: Refused) -> None:
    """Several problems come as several lines, in the order of the file."""
    changed = [*BASE]
    changed[0] = "pipeline: A"
    changed[1] = "source: {kind: files, path: d, format: x}"
    changed[4] = "  countries: {from: countries.csv, key: [id], into: countries, colour: red}"

    lines = refused.text("\n".join(changed))

    assert [line.split(":")[1] for line in lines] == ["1", "2", "5"]


def test_a_flood_of_problems_is_cut(refused: Refused) -> None:
    """Beyond fifty problems only the number of the others is told."""
    lines = refused.text("".join(f"f{n}: 1\n" for n in range(60)))
    assert len(lines) == 51
    assert lines[-1] == "pipeline.yaml: and 14 more problems"


def test_a_thousand_aliases_of_aliases_are_refused(refused: Refused) -> None:
    """A small file that stands for a billion values is refused at a hundred thousand."""
    levels = "abcdefgh"
    bomb = "a0: &a [1,1,1,1,1,1,1,1,1]\n" + "".join(
        f"{name}0: &{name} [{','.join([f'*{before}'] * 9)}]\n" for before, name in pairwise(levels)
    )
    [line] = refused.text(bomb)
    assert line.endswith("expected at most 100000 values, found more")


def test_a_file_beyond_a_mebibyte_is_not_read(refused: Refused) -> None:
    """A configuration of more than 1 MiB is refused."""
    [line] = refused.text("#" * (config_yaml.MAX_BYTES + 1))
    assert line.startswith("configuration: expected at most 1048576 bytes, found more in")


def test_other_bytes_than_utf_8_are_told_with_their_line(tmp_path: Path) -> None:
    """A file in another encoding is refused with the line of the first bad byte."""
    path = tmp_path / "pipeline.yaml"
    path.write_bytes(b"pipeline: a\nsource: \xff\n")
    with pytest.raises(ConfigError, match=r":2: expected UTF-8, found other bytes$"):
        config_load.load(path, {})


def test_a_missing_file_is_told_with_the_way_to_name_it(tmp_path: Path) -> None:
    """A file that is not there is told with its name, and how to give another."""
    with pytest.raises(ConfigError) as caught:
        config_load.load(tmp_path / "nope.yaml", {})
    assert caught.value.message.endswith("nope.yaml: No such file or directory")
    assert caught.value.hint == "name the file with --config or SYNCD_CONFIG"


def test_a_folder_is_no_configuration(tmp_path: Path) -> None:
    """A folder in the place of the file is refused, not waited for."""
    with pytest.raises(ConfigError, match="expected a"):
        config_load.load(tmp_path, {})
