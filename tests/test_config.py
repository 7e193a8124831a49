"""Configurations that are right: what they mean, where values come from, how they are shown."""

import os
import re
from copy import deepcopy
from pathlib import Path
from typing import Any, Final

import msgspec
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st
from msgspec import inspect

from syncd import config_load, config_references, config_shape, config_yaml, schemas_path
from syncd.config import Config, FilesSource, PostgresSource, Secret
from syncd.errors import ConfigError
from syncd.flow.model import Ownership

DESIGN: Final = """\
pipeline: airports
source: {kind: files, path: "${AIRPORTS_DUMP}", format: csv}     # files | postgres
target: {kind: postgres, dsn: "${SYNCD_TARGET_DSN}"}
schedule: {cron: "0 4 * * *", timezone: Europe/London}
deletes: {policy: apply, hold_above: {rows: 50, percent: 0.5}}   # apply | soft | report
entities:
  countries: {from: countries.csv, key: [id], into: public.countries}
  regions:   {from: regions.csv,   key: [id], into: public.regions, needs: [countries]}
  runways:
    from: runways.csv
    key: [id]
    columns: {id: integer, length_ft: integer}
    into: public.runways
    transform: my_package.runways:transform
    ownership: {surface: merge, remarks: target}
"""
ENVIRON: Final = {
    "AIRPORTS_DUMP": "dumps/tonight",
    "SYNCD_TARGET_DSN": "postgresql://app:hunter22@db/new",
    "SYNCD_CONFIG": "elsewhere.yaml",
}


def load(folder: Path, text: str = DESIGN, **environ: str) -> Config:
    path = folder / "pipeline.yaml"
    path.write_text(text, encoding="utf-8")
    return config_load.load(path, ENVIRON | environ)


def files(config: Config) -> FilesSource:
    assert isinstance(config.source, FilesSource)
    return config.source


def test_the_example_of_the_design_is_read(tmp_path: Path) -> None:
    """The documented example is a valid pipeline, with the defaults where nothing is said."""
    config = load(tmp_path)

    assert config.pipeline == "airports"
    assert list(config.entities) == ["countries", "regions", "runways"]
    assert config.entities["runways"].ownership["remarks"] is Ownership.TARGET
    assert config.entities["regions"].needs == ("countries",)
    assert config.limits.batch_rows == 5000


def test_a_relative_path_is_meant_from_the_file(tmp_path: Path) -> None:
    """The dump's path is resolved against the folder of the configuration."""
    assert files(load(tmp_path)).path == str(tmp_path / "dumps/tonight")


def test_an_absolute_path_stays(tmp_path: Path) -> None:
    """An absolute path of the dump is taken as it is."""
    assert files(load(tmp_path, AIRPORTS_DUMP="/var/dumps")).path == "/var/dumps"


def test_a_query_is_meant_from_the_file_and_a_table_stays(tmp_path: Path) -> None:
    """Names that end in .sql are files beside the configuration; other names are not touched."""
    config = load(
        tmp_path,
        "pipeline: a\n"
        "source: {kind: postgres, dsn: 'postgresql://app@old/x'}\n"
        "target: {kind: postgres, dsn: 'postgresql://app@new/x'}\n"
        "entities:\n"
        "  one: {from: queries/one.sql, key: [id], into: one}\n"
        "  two: {from: public.two, key: [id], into: two}\n",
    )
    assert isinstance(config.source, PostgresSource)
    assert config.entities["one"].from_ == str(tmp_path / "queries/one.sql")
    assert config.entities["two"].from_ == "public.two"


@pytest.mark.parametrize(
    ("written", "path"),
    [
        ("${AIRPORTS_DUMP}", "dumps/tonight"),
        ("a/${AIRPORTS_DUMP}/b", "a/dumps/tonight/b"),
        ("${NOPE:-else where}", "else where"),
        ("${EMPTY:-filled}", "filled"),
        ("${NOPE:-}x", "x"),
        ("$${AIRPORTS_DUMP}", "${AIRPORTS_DUMP}"),
        ("$AIRPORTS_DUMP", "$AIRPORTS_DUMP"),
        ("${NESTED}", "${AIRPORTS_DUMP}"),
        ("${file:name.txt}", "from a file"),
    ],
)
def test_a_reference_is_replaced_once(tmp_path: Path, written: str, path: str) -> None:
    """References become their values, $${ a plain ${, and what comes in is not looked at again."""
    (tmp_path / "name.txt").write_text("from a file\n")
    text = DESIGN.replace("${AIRPORTS_DUMP}", written)
    config = load(tmp_path, text, EMPTY="", NESTED="${AIRPORTS_DUMP}")
    assert files(config).path == str(tmp_path / path)


def test_a_value_from_outside_becomes_the_number_that_is_expected(tmp_path: Path) -> None:
    """Text from a variable is read as a number, a truth value or a list where one is expected."""
    text = DESIGN + 'limits: {batch_rows: "${ROWS}", retry_budget_s: "${SECONDS}"}\n'
    config = load(
        tmp_path,
        text,
        ROWS="250",
        SECONDS="1.5",
        SYNCD_TARGET__PREPARED_STATEMENTS="False",
        SYNCD_ENTITIES__RUNWAYS__NEEDS="countries, regions",
        SYNCD_DELETES__HOLD_ABOVE__PERCENT="7",
    )
    assert (config.limits.batch_rows, config.limits.retry_budget_s) == (250, 1.5)
    assert config.entities["runways"].needs == ("countries", "regions")
    assert config.deletes.hold_above.percent == 7.0
    assert config.target.prepared_statements is False


def test_an_override_wins_over_the_file(tmp_path: Path) -> None:
    """SYNCD_SECTION__KEY replaces what the file says, reference and all."""
    text = DESIGN.replace("${SYNCD_TARGET_DSN}", "${UNSET_AND_UNUSED}")
    config = load(tmp_path, text, SYNCD_TARGET__DSN="postgres://app:${x}@db/new")
    assert config.target.dsn == Secret("postgres://app:${x}@db/new")


def test_an_override_reaches_an_entity_and_makes_a_section(tmp_path: Path) -> None:
    """Overrides go to any depth, add what is absent, and take - for _ in a name."""
    config = load(
        tmp_path,
        DESIGN.replace("runways:\n", "run-ways:\n"),
        SYNCD_ENTITIES__RUN_WAYS__INTO="public.strips",
        SYNCD_LEDGER__RETENTION__RUNS_DAYS="7",
    )
    assert config.entities["run-ways"].into == "public.strips"
    assert config.ledger.retention.runs_days == 7


def test_an_override_may_come_from_a_mounted_file(tmp_path: Path) -> None:
    """NAME_FILE gives a secret as the file that holds it, without its last line feed."""
    (tmp_path / "dsn").write_text("postgresql://app:from-a-file@db/new\r\n")
    config = load(tmp_path, SYNCD_TARGET__DSN_FILE=str(tmp_path / "dsn"))
    assert config.target.dsn == Secret("postgresql://app:from-a-file@db/new")


def test_every_secret_field_may_be_a_file() -> None:
    """The names that take _FILE are exactly the fields of type Secret."""
    found = set()

    def walk(kind: Any) -> None:
        for field in getattr(kind, "fields", ()):
            for inner in (field.type, *getattr(field.type, "types", ())):
                if isinstance(inner, inspect.StructType) and inner.cls is Secret:
                    found.add(field.encode_name)
                walk(inner)

    walk(inspect.type_info(Config))
    assert found == set(config_references.SECRET_FIELDS)


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"\xff", "expected UTF-8, found other bytes in the file"),
        (b"a\0b", "expected text, found a NUL byte in the file"),
        (b"x" * 65537, "expected at most 65536 bytes, found more in the file"),
    ],
)
def test_a_file_that_is_no_short_text_is_refused(tmp_path: Path, content: bytes, said: str) -> None:
    """A referenced file must be UTF-8 text of at most 64 KiB."""
    (tmp_path / "it").write_bytes(content)
    with pytest.raises(ConfigError, match=rf"target\.dsn: {said}"):
        load(tmp_path, DESIGN.replace("${SYNCD_TARGET_DSN}", "${file:it}"))


def test_a_pipe_is_refused_and_not_waited_for(tmp_path: Path) -> None:
    """A named pipe that nobody writes to does not stop the start."""
    os.mkfifo(tmp_path / "pipe")
    with pytest.raises(ConfigError, match=r"target\.dsn: expected a regular file, found something"):
        load(tmp_path, DESIGN.replace("${SYNCD_TARGET_DSN}", "${file:pipe}"))


def test_a_link_to_a_file_is_followed(tmp_path: Path) -> None:
    """Kubernetes mounts secrets as links, and they are read."""
    (tmp_path / "real").write_text("postgresql://app@db/linked")
    (tmp_path / "link").symlink_to(tmp_path / "real")
    config = load(tmp_path, DESIGN.replace("${SYNCD_TARGET_DSN}", "${file:link}"))
    assert config.target.dsn == Secret("postgresql://app@db/linked")


@pytest.mark.parametrize(
    ("written", "value"),
    [
        ("no", "no"), ("12:30", "12:30"), ("2020-01-01", "2020-01-01"), ("0x1f", "0x1f"),
        ("007", "007"), ("7", 7), ("-7", -7), ("1.5", 1.5), ("1e3", 1000.0), (".5", 0.5),
        ("true", True), ("FALSE", False), ("~", None), ("", None), ("'7'", "7"), ('"~"', "~"),
    ],
)  # fmt: skip
def test_a_scalar_is_what_it_looks_like(written: str, value: object) -> None:
    """Scalars follow the core schema of YAML 1.2: no country turns into False, no time into 750."""
    document = config_yaml.parse(f"a: {written}\n")
    assert document.data == {"a": value}


def test_an_alias_stands_for_its_anchor() -> None:
    """Aliases are read, and every use has its own line."""
    document = config_yaml.parse("a: &x {rows: 1}\nb: *x\n")
    assert document.data == {"a": {"rows": 1}, "b": {"rows": 1}}
    assert document.lines["b",] == 2


@pytest.mark.parametrize(
    "cron", ["0 4 * * *", "*/15 0-6,22 1,15 jan-MAR mon-fri", "5/10 * * * 7", "0 0 31 12 0"]
)
def test_a_good_schedule_is_taken(tmp_path: Path, cron: str) -> None:
    """Numbers, names, ranges, lists and steps are read."""
    config = load(tmp_path, DESIGN.replace("0 4 * * *", cron))
    assert config.schedule is not None
    assert config.schedule.cron == cron


def test_a_nullable_circle_is_taken(tmp_path: Path) -> None:
    """A cycle that can be cut at a nullable edge is no error, nor is an entity under itself."""
    text = DESIGN.replace(
        "into: public.countries",
        "into: public.countries, needs: {regions: {columns: [capital], nullable: true}}",
    ).replace("needs: [countries]", "needs: [countries, regions]")
    assert set(load(tmp_path, text).entities) == {"countries", "regions", "runways"}


def test_ownership_may_name_what_a_transform_makes(tmp_path: Path) -> None:
    """With a transform the target's columns are not known here, so their names are taken."""
    text = DESIGN.replace("columns: {id: integer, length_ft: integer}", "only: [id]")
    assert load(tmp_path, text).entities["runways"].only == ("id",)


def test_show_hides_every_secret_and_shows_the_rest(tmp_path: Path) -> None:
    """The configuration in effect is printed as YAML, with *** for secrets and no password."""
    text = DESIGN + 'ledger: {hash_key: "0123456789abcdef"}\n'
    config = load(tmp_path, text, AIRPORTS_DUMP="x?url=postgresql://a:hunter22@b/c")

    shown = yaml.safe_load(config_load.show(config))

    assert shown["target"]["dsn"] == "***"
    assert shown["ledger"]["hash_key"] == "***"
    assert shown["source"]["path"].endswith("x?url=postgresql:/a:***@b/c")
    assert shown["entities"]["runways"]["from"] == "runways.csv"
    assert shown["source"]["kind"] == "files"
    assert shown["limits"]["writers"] == 2


def test_what_is_shown_can_be_loaded_again(tmp_path: Path) -> None:
    """Apart from secrets, the shown configuration is the configuration."""
    config = load(tmp_path)
    again = load(tmp_path, config_load.show(config), SYNCD_TARGET__DSN=config.target.dsn.value)
    assert again == config


def test_the_schema_in_the_repository_is_current() -> None:
    """schemas/config.schema.json is what `syncd config schema` prints; write it anew with that."""
    assert schemas_path.schema_text("config.schema.json") == config_load.schema()


def test_the_schema_knows_every_field_and_no_inside_of_a_secret() -> None:
    """Editors are told all fields, secrets as text, and numbers also as references."""
    schema = msgspec.json.decode(config_load.schema())
    definitions = schema["$defs"]
    assert schema["$ref"] == "#/$defs/Config"
    assert definitions["Secret"]["type"] == "string"
    assert set(definitions["Entity"]["properties"]) >= {"from", "key", "into", "needs"}
    assert {"$ref": "#/$defs/Reference"} in definitions["Limits"]["properties"]["writers"]["anyOf"]
    assert re.search(definitions["Reference"]["pattern"], "${ROWS}")


# Values of every kind, near enough to right that some fit and most do not.
_LEAVES: Final = st.one_of(
    st.none(), st.booleans(), st.integers(-2, 200_000), st.floats(), st.text(max_size=5),
    st.sampled_from(["files", "postgres", "csv", "apply", "merge", "timestamps", "later", "x"]),
)  # fmt: skip
_NAMES: Final = st.sampled_from(
    ["pipeline", "kind", "path", "dsn", "key", "type", "rows", "policy", "id", "nullable", "zone"]
)
_VALUES: Final = st.recursive(
    _LEAVES,
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(_NAMES, inner, max_size=3),
    max_leaves=5,
)
_VALID: Final[dict[str, Any]] = {
    "pipeline": "a",
    "source": {"kind": "files", "path": "d", "max_ratio": 3},
    "target": {"kind": "postgres", "dsn": "postgresql://db", "connect_timeout_s": 1},
    "schedule": {"cron": "* * * * *"},
    "deletes": {"policy": "soft", "hold_above": {"rows": 1, "percent": 2}},
    "limits": {"writers": 2, "retry_budget_s": 1.5},
    "ledger": {"schema": "s", "hash_key": None, "retention": {"runs_days": 1}},
    "entities": {
        "e": {
            "from": "f", "key": ["id"], "into": "t", "only": ["id"], "groups": [["a", "b"]],
            "columns": {"id": "integer", "x": {"type": "text", "null_values": ["NA"]}},
            "needs": {"p": {"columns": ["q"], "nullable": True}}, "transform": None,
            "ownership": {"id": "merge"}, "merge": {"policy": "three_way"}, "deletes": None,
        }
    },
}  # fmt: skip


def paths(data: Any, path: tuple[str | int, ...] = ()) -> list[tuple[str | int, ...]]:
    inner = data.items() if isinstance(data, dict) else enumerate(data)
    return [
        found
        for name, value in inner
        for found in [(*path, name)]
        + (paths(value, (*path, name)) if isinstance(value, dict | list) else [])
    ]


def with_secrets(data: Any) -> Any:
    """As msgspec wants it: a secret is an object with its value."""
    if isinstance(data, list):
        return [with_secrets(value) for value in data]
    if not isinstance(data, dict):
        return data
    return {
        name: {"value": value}
        if name in config_references.SECRET_FIELDS and isinstance(value, str)
        else with_secrets(value)
        for name, value in data.items()
    }


def fits(data: Any) -> bool:
    try:
        msgspec.convert(data, Config)
    except msgspec.ValidationError:
        return False
    return True


@settings(max_examples=300)
@given(st.sampled_from(paths(_VALID)), _VALUES)
def test_what_passes_the_walk_passes_msgspec_and_nothing_else(
    path: tuple[str | int, ...], value: Any
) -> None:
    """The walk that names every problem agrees with msgspec on what is a configuration."""
    changed: Any = deepcopy(_VALID)
    place = changed
    for step in path[:-1]:
        place = place[step]
    place[path[-1]] = value

    clean, problems = config_shape.shape(changed)

    if problems:
        stricter = path == ("target", "kind") or "\0" in str(value) or "\n" in str(value)
        secret = isinstance(value, dict) and path[-1] in config_references.SECRET_FIELDS
        assert stricter or secret or not fits(with_secrets(changed))
    else:
        assert fits(clean)
