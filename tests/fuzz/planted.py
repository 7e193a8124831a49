"""Faults that the fuzzers must find, each planted in memory when its module is imported.

``python -m tests.fuzz.planted [NAME ...]`` plants each in a process of its own, forked from one
that has the libraries loaded already, and hunts with the named decoders until one fails.
"""

# ruff: noqa: ISC004, Q000 - an edit is read as text, the old above the new.

import contextlib
import importlib
import io
import os
import sys
from collections.abc import Sequence
from typing import Final

from tests.faults.plant import Finder
from tests.faults.planted import Fault

SEED: Final = 7
CASES: Final = 6000
_CPU_S_MAX: Final = 1.0  # what hangs is to be found soon
# What every decoder imports and no fault is planted in; loading it once saves most of the time.
_LIBRARIES: Final = ("anyio", "asyncpg", "msgspec", "prometheus_client", "yaml",
                     "zstandard", "tenacity", "hypothesis", "typer", "rich.console")  # fmt: skip

_CANONICAL: Final = "syncd.flow.canonical"
_DECODE: Final = "syncd.flow.decode"
_NORMALISE: Final = "syncd.flow.normalise"
_DECOMPRESSION: Final = "syncd.sources.decompression"
_RECORDS: Final = "syncd.sources.postgres_records"

# A fault's ``tests`` are here the decoders that must find it.
FAULTS: Final[dict[str, Fault]] = {
    fault.name: fault
    for fault in (
        Fault(
            "recursion_escapes",
            "nesting without end is no error of ours",
            _DECODE,
            (("    except RecursionError as error:\n"
              "        raise DecodeError(TOO_DEEP) from error\n", ""),),
            ("field_json", "record_json"),
        ),
        Fault(
            "charset_escapes",
            "bytes that are no text are no error of ours",
            _DECODE,
            (("    except UnicodeError as error:\n        raise DecodeError(CHARSET) from error\n",
              ""),
             ("(msgspec.MsgspecError, ValueError, ArithmeticError, MemoryError)",
              "(msgspec.MsgspecError, ArithmeticError)")),
            ("record_json", "field_json"),
        ),
        Fault(
            "arithmetic_escapes",
            "a number beyond all exponents ends the run",
            _DECODE,
            (("ArithmeticError, ", ""),),
            ("record_json",),
        ),
        Fault(
            "nul_passes",
            "NUL is a character like any other",
            _CANONICAL,
            (('    if b"\\0" in value:\n', '    if b"\\0\\0\\0\\0" in value:\n'),),
            ("field_text",),
        ),
        Fault(
            "surrogates_pass",
            "half a character is one",
            _CANONICAL,
            (('        encoded = value.encode()\n    except UnicodeEncodeError',
              '        encoded = value.encode(errors="surrogatepass")\n'
              '    except UnicodeEncodeError'),),
            ("object_text",),
        ),
        Fault(
            "backtracks",
            "a number that is none costs the square of its length",
            _CANONICAL,
            (('rb"([+-]?)(?=\\.?\\d)(\\d*+)\\.?(\\d*+)', 'rb"([+-]?)(?=\\.?\\d)(\\d*)\\.?(\\d*)'),),
            ("field_decimal",),
        ),
        Fault(
            "depth_unbounded",
            "JSON of any depth is taken",
            _CANONICAL,
            (("    if depth == DEPTH_MAX:\n", "    if depth == 10 * DEPTH_MAX:\n"),
             ("DEPTH_MAX or len(trimmed)", "10 * DEPTH_MAX or len(trimmed)")),
            ("field_json",),
        ),
        Fault(
            "zeros_kept",
            "zeros at the end of a decimal stay",
            _CANONICAL,
            (('value.rstrip(b"0").rstrip(b".")', "value"),),
            ("field_decimal",),
        ),
        Fault(
            "gzip_end_unchecked",
            "a gzip stream that is cut off is whole",
            _DECOMPRESSION,
            (('                data = inflater.unused_data.lstrip(b"\\0")\n    if not ended:\n',
              '                data = inflater.unused_data.lstrip(b"\\0")\n    if False:\n'),),
            ("stored_gz",),
        ),
        Fault(
            "zst_end_unchecked",
            "a zstandard stream that is cut off is whole",
            _DECOMPRESSION,
            (("                    frame, started = decoder.decompressobj(), False\n"
              "    if started:\n",
              "                    frame, started = decoder.decompressobj(), False\n"
              "    if False:\n"),),
            ("stored_zst",),
        ),
        Fault(
            "damage_escapes",
            "what a decoder of an archive says about damage ends the run",
            "syncd.sources.dump_files",
            (("    except _damage() as error:\n", "    except KeyError as error:\n"),),
            ("stored_zip", "stored_xz"),
        ),
        Fault(
            "cut_line_complete",
            "a cut last line of COPY is complete",
            _RECORDS,
            (("        if self._rest:\n            raise cut_off()\n", ""),),
            ("cut_rows",),
        ),
        Fault(
            "trailer_unchecked",
            "COPY of keys may end anywhere",
            _RECORDS,
            (("        if bytes(self._pending) != _TRAILER:\n            raise cut_off()\n", ""),),
            ("cut_keys_even", "cut_keys_uneven"),
        ),
        Fault(
            "neighbours_lost",
            "a bad value takes the rest of its row along",
            _NORMALISE,
            (("            row.append(result)\n        return tuple(row), tuple(issues)",
              "            row.append(MISSING if issues else result)\n"
              "        return tuple(row), tuple(issues)"),),
            ("field_integer",),
        ),
        Fault(
            "calendar_unchecked",
            "any digits with hyphens are a date in a key",
            "syncd.flow.keys",
            (('        date.fromisoformat(part.decode("ascii"))\n',
              '        date.fromisoformat("2026-01-01")\n'),),
            ("key", "key_part"),
        ),
        Fault(
            "variable_shown",
            "what a variable names is shown when it cannot be read",
            "syncd.config_references",
            (('read_file(FilePath(text), "the file that it names")', "read_file(FilePath(text))"),),
            ("config_file", "config_variables"),
        ),
    )
}  # fmt: skip


def plant(name: str) -> None:
    """Have the fault in its module from now on; nothing of ours may be imported yet."""
    fault = FAULTS[name]
    assert fault.module not in sys.modules, "too late: it is imported already"
    sys.meta_path.insert(0, Finder(fault))


def found_by(name: str) -> str:
    """The decoder that finds the fault, '' for none; to be asked in a process of its own."""
    plant(name)
    catalogue = importlib.import_module("tests.fuzz.catalogue")
    hunt = importlib.import_module("tests.fuzz.hunt")
    try:
        every = catalogue.decoders()
    except AssertionError:
        return "the seeds"  # what is sound is held to the same promises
    for one in FAULTS[name].tests:
        if hunt.hunt(every[one], SEED, cases=CASES, cpu_s=_CPU_S_MAX, most=1).failures:
            return one
    return ""


def main(names: Sequence[str]) -> int:
    """Plant each and say what found it; 1 if one survives."""
    for library in _LIBRARIES:
        importlib.import_module(library)
    survived = [name for name in names or FAULTS if not _in_a_child(name)]
    return 1 if survived else 0


def _in_a_child(name: str) -> bool:
    """Plant in a fork, which ends there: what it found goes to standard output."""
    child = os.fork()
    if not child:
        said = io.StringIO()
        try:
            with contextlib.redirect_stdout(said):
                by = found_by(name)
        except BaseException as error:  # noqa: BLE001 - a fork must not return into its parent.
            by = ""
            said.write(f"{type(error).__name__}: {error}")
        told = by or f"nothing {said.getvalue()}"
        os.write(1, f"{name}: {told}\n".encode())
        os._exit(not by)
    _, status = os.waitpid(child, 0)
    return os.waitstatus_to_exitcode(status) == 0


if __name__ == "__main__":
    raise SystemExit(main(sys.argv[1:]))
