"""Configuration: YAML, references, overrides and files beside it.

Either a ``Config`` or a ``ConfigError`` of bounded length in printable lines, and in neither case
a secret in what is said. A configuration that was accepted can be shown, and shown again alike.
"""

import tempfile
from pathlib import Path
from random import Random
from typing import Final

from syncd import config_load, config_yaml, secrets
from syncd.config import Config
from syncd.errors import ConfigError
from tests.fuzz.decoder import Decoder, seeds
from tests.fuzz.mutators import mutated

MARK: Final = "kanarie"
_MESSAGE_CHARS_MAX: Final = 60_000  # fifty problems of bounded sentences
_POSTGRES: Final = """\
pipeline: airports
source: {kind: postgres, dsn: "${SOURCE}"}
target:
  kind: postgres
  dsn: "postgresql://app:${file:password}@db:5432/new"
ledger: {hash_key: "${KEY:-kanarie-default-0123456789}", schema: syncd}
limits: {batch_rows: 500, writers: 4, retry_budget_s: 1.5}
deletes: {policy: apply, hold_above: {rows: 5, percent: 2.5}}
entities:
  countries: &countries
    from: countries
    key: [id]
    into: public.countries
    columns: {id: integer, name: {type: text, null_values: ["N/A"]}, at: timestamptz}
  regions: {from: regions, key: [id, code], into: regions, needs: [countries]}
"""
_FILES: Final = """\
pipeline: files
source: {kind: files, path: ./dump, format: csv, delimiter: ";", header: false, encoding: cp1252}
target: {kind: postgres, dsn: postgresql://app:kanarie-inline@db/new}
entities:
  - not
  - an object
"""
YAMLS: Final = seeds(
    _POSTGRES,
    _FILES,
    _FILES.replace(
        "  - not\n  - an object", "  t: {from: t.csv, key: [id], into: t, columns: {id: integer}}"
    ),
    "a: &a [1, *a]\n",
    "a: &a [x, x]\nb: &b [*a, *a]\nc: &c [*b, *b]\nd: [*c, *c]\n",
    "pipeline: |\n  text\n  more\nsource: >-\n  folded\n",
)
VARIABLES: Final = seeds(
    "postgresql://app:kanarie-env@db/old?sslmode=require",
    "kanarie-env",
    "",
    "12",
    "${SOURCE}",
    "password",
)
NAMES: Final = (
    *(
        "SOURCE",
        "KEY",
        "SYNCD_TARGET__DSN",
        "SYNCD_LEDGER__HASH_KEY",
        "SYNCD_LEDGER__HASH_KEY_FILE",
    ),
    *("SYNCD_LIMITS__BATCH_ROWS", "SYNCD_ENTITIES__COUNTRIES__FROM", "SYNCD_A__", "SYNCD___B"),
)


def check_file(data: bytes, random: Random) -> str:
    """The whole way from a folder to a configuration."""
    with tempfile.TemporaryDirectory() as folder:
        path = Path(folder) / "pipeline.yaml"
        path.write_bytes(data)
        (Path(folder) / "password").write_bytes(_value(random))
        environ = {name: _text(_value(random)) for name in NAMES if random.random() < 0.4}
        environ.setdefault("SOURCE", _text(VARIABLES[0]))
        try:
            config = config_load.load(path, environ)
        except ConfigError as error:
            assert_told(error, inline=_inline(data))
            return "ConfigError"
    assert_shown(config)
    return "value"


def check_variables(_data: bytes, random: Random) -> str:
    """A sound file, and damage to what it takes from outside."""
    return check_file(YAMLS[0], random)


def check_yaml(data: bytes, _random: Random) -> str:
    """The reader of YAML alone: bounded values, or a complaint that quotes nothing long."""
    try:
        document = config_yaml.parse(data.decode("utf-8", "replace"))
    except config_yaml.YamlError as error:
        return short_complaint(error)
    assert len(document.lines) <= config_yaml.MAX_NODES
    return "value"


def short_complaint(error: config_yaml.YamlError) -> str:
    """The kind of an error whose sentence is bounded."""
    assert len(str(error)) < 1000
    return "YamlError"


def assert_told(error: ConfigError, *, inline: bool) -> None:
    """Bounded and printable, and no secret in it."""
    said = str(error)
    assert len(said) < _MESSAGE_CHARS_MAX, len(said)
    assert all(line.isprintable() for line in said.split("\n"))
    # What stands in the file itself is the operator's own text: names and words are shown from it.
    assert inline or MARK not in said, "a secret from outside was told"


def assert_shown(config: Config) -> None:
    """Shown without secrets, as it was the time before; the redactor takes what there is."""
    shown = config_load.show(config)
    assert shown == config_load.show(config)
    redactor = secrets.redactor(config_load.secret_values(config), {})
    for secret in config_load.secret_values(config):
        assert secret not in redactor.text(f"said: {secret}") or len(secret) < secrets.SHORTEST


def _inline(data: bytes) -> bool:
    """Whether the file itself holds a mark outside of where a secret belongs."""
    return MARK.encode() in data


def _value(random: Random) -> bytes:
    value = random.choice(VARIABLES)
    return mutated(value, VARIABLES, random)[:4096] if random.random() < 0.5 else value


def _text(value: bytes) -> str:
    """As the environment has it: no NUL, and bytes that are no text as lone surrogates."""
    return value.replace(b"\0", b"").decode("utf-8", "surrogateescape")


def configuration_decoders() -> list[Decoder]:
    """The file, what it takes from outside, and YAML alone."""
    return [
        Decoder("config_file", YAMLS, check_file, weight=40),
        Decoder("config_variables", VARIABLES, check_variables, weight=100),
        Decoder("config_yaml", YAMLS, check_yaml, weight=40),
    ]
