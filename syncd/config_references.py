"""What a configuration takes from outside: ``${...}`` in its values, ``SYNCD_A__B`` beside it.

A value from outside is a ``Given``: it may be turned into a number where one is expected, and no
message ever shows it, since it may be a secret.
"""

import os
import re
import stat
from collections.abc import Callable, Iterable, Iterator, Mapping
from contextlib import suppress
from pathlib import Path as FilePath
from typing import TYPE_CHECKING, Final, TypeAlias

from msgspec import Struct

from syncd.config_anew import Anew
from syncd.config_yaml import Path, Plain
from syncd.errors import SyncdError, TransientError
from syncd.visible import visible

if TYPE_CHECKING:
    from syncd.cloud.vault import Stage, Vault

MAX_FILE_BYTES: Final = 64 * 1024
PREFIX: Final = "SYNCD_"
# Fields of type Secret; each may also be given as the name of a mounted file (NAME_FILE).
SECRET_FIELDS: Final = ("dsn", "hash_key", "odbc", "password", "webhook")

_REFERENCE: Final = re.compile(r"\$\$\{|\$\{([^}]*)(\}?)")
_VARIABLE: Final = re.compile(r"(?P<name>[A-Za-z_][A-Za-z0-9_]*)(?P<default>:-.*)?", re.DOTALL)
_FORMS: Final = (
    "${NAME}, ${NAME:-default}, ${file:PATH}, ${secret:NAME#FIELD} or $${ for a literal ${"
)
_BESIDE: Final[tuple["Stage", ...]] = ("AWSPREVIOUS", "AWSPENDING")


class Problem(Struct, frozen=True):
    """One thing that is wrong, and where.

    ``message`` never holds a value. ``value``, where there is one, ends the sentence when it
    stands in the file, together with ``more`` (a guess what was meant); one from outside does not.
    """

    path: Path
    message: str
    value: str | None = None
    more: str = ""


Found: TypeAlias = Iterator[Problem]


class Given(str):
    """Text from outside. ``origin`` names the variable or the file, for messages.

    ``anew`` reads it again, where that may bring something else.
    """

    __slots__ = ("anew", "origin")
    origin: str
    anew: "Anew | None"

    @classmethod
    def of(cls, text: str, origin: str) -> "Given":
        """``text``, which came from ``origin``."""
        given = cls(text)
        given.origin = origin
        given.anew = None
        return given


class RefusalError(Exception):
    """A reference that leads nowhere; says why in one clause."""


def expand(
    data: Plain, environ: Mapping[str, str], folder: FilePath
) -> tuple[Plain, list[Problem]]:
    """``data`` with the references of all its texts replaced, and those that lead nowhere.

    What a reference brings in is not looked at again.
    """
    problems: list[Problem] = []
    outside = Outside(environ, folder)

    def replaced(text: str, path: Path) -> Plain:
        try:
            return _given(text, outside)
        except RefusalError as refusal:
            problems.append(Problem(path, str(refusal)))
            return None

    return _mapped(data, (), replaced), problems


def origins(data: Plain) -> dict[Path, str]:
    """Where each value from outside stands in ``data``, and where it came from."""
    found: dict[Path, str] = {}

    def noted(text: str, path: Path) -> Plain:
        if isinstance(text, Given):
            found[path] = text.origin
        return text

    _mapped(data, (), noted)
    return found


def _mapped(value: Plain, path: Path, change: Callable[[str, Path], Plain]) -> Plain:
    if isinstance(value, dict):
        return {name: _mapped(v, (*path, name), change) for name, v in value.items()}
    if isinstance(value, list):
        return [_mapped(v, (*path, str(i)), change) for i, v in enumerate(value)]
    return change(value, path) if isinstance(value, str) else value


def _given(text: str, outside: "Outside") -> str:
    """``text`` with its references replaced; where they may change, it knows how to look again."""
    if isinstance(text, Given) or "${" not in text:
        return text
    given = _expanded(text, outside)
    if isinstance(given, Given) and re.search(r"\$\{(?:file|secret):", text):
        given.anew = Anew(Template(text, outside), str(given))
    return given


class Outside:
    """Environment, files and secrets, as the references of one configuration find them."""

    def __init__(self, environ: Mapping[str, str], folder: FilePath) -> None:
        self.environ = environ
        self.folder = folder
        self._vault: Vault | None = None

    def secret(self, body: str, stage: "Stage") -> str:
        """What ``NAME#FIELD`` says.

        Raises RefusalError, or _NoStageError where there is no such version of it.
        """
        from syncd.cloud.vault import Vault  # noqa: PLC0415 - it brings the AWS library

        self._vault = self._vault or Vault()
        name, _, field = body.partition("#")
        try:
            found = self._vault.read(name, field, stage)
        except SyncdError as error:
            raise RefusalError(
                f"expected the secret {visible(name, 200)} of AWS Secrets Manager, found none "
                f"({error.message})"
            ) from None
        if found is None:
            raise _NoStageError
        if "\0" in found:
            raise RefusalError(
                f"expected text, found a NUL byte in the secret {visible(name, 200)}"
            )
        return found


class Template:
    """A text with references, as the place of a secret (``config_anew.Place``)."""

    def __init__(self, text: str, outside: Outside) -> None:
        self._text = text
        self._outside = outside

    def now(self) -> str:
        """What it comes to now."""
        return self._at("AWSCURRENT")

    def beside(self) -> Iterator[str]:
        """What it came to before, and what it is about to come to."""
        if "${secret:" not in self._text:
            return
        for stage in _BESIDE:
            with suppress(_NoStageError):
                yield self._at(stage)

    def _at(self, stage: "Stage") -> str:
        try:
            return str(_expanded(self._text, self._outside, stage))
        except RefusalError as refusal:
            raise TransientError(str(refusal)) from None


class _NoStageError(Exception):
    """A secret has no such version."""


def _expanded(text: str, outside: Outside, stage: "Stage" = "AWSCURRENT") -> str:
    sources: list[str] = []

    def replacement(match: re.Match[str]) -> str:
        if match[0] == "$${":
            return "${"
        if not match[2]:
            raise RefusalError(f"expected {_FORMS}, found ${{ without a closing brace")
        origin, found = _looked_up(match[1], outside, stage)
        sources.append(origin)
        return found

    expanded = _REFERENCE.sub(replacement, text)
    return Given.of(expanded, " and ".join(dict.fromkeys(sources))) if sources else expanded


def _looked_up(body: str, outside: Outside, stage: "Stage") -> tuple[str, str]:
    if body.startswith("file:"):
        name = body.removeprefix("file:")
        return f"the file {visible(name, 200)}", read_file(outside.folder / name)
    if body.startswith("secret:"):
        name = body.removeprefix("secret:")
        shown = visible(name.partition("#")[0], 200)
        return f"the secret {shown}", outside.secret(name, stage)
    match = _VARIABLE.fullmatch(body)
    if match is None:
        raise RefusalError(f"expected {_FORMS}, found another form of reference")
    name, default = match["name"], match["default"]
    found = outside.environ.get(name)
    if default is not None and not found:
        return f"the default of {name}", default.removeprefix(":-")
    if found is None:
        raise RefusalError(f"expected the environment variable {name}, found it unset")
    return f"the variable {name}", found


class MountedFile:
    """A file that a variable names, as the place of a secret (``config_anew.Place``)."""

    def __init__(self, path: FilePath) -> None:
        self._path = path

    def now(self) -> str:
        """What stands in it."""
        try:
            return read_file(self._path, "the file that it names")
        except RefusalError as refusal:
            raise TransientError(str(refusal)) from None

    def beside(self) -> tuple[str, ...]:
        """A file knows nothing of what stood in it."""
        return ()


def read_file(path: FilePath, shown: str = "") -> str:
    """Text of a small file without its last line feed.

    ``shown`` stands for the path in messages. Raises RefusalError when it is not a regular file,
    too large or no text.
    """
    data = read_bytes(path, MAX_FILE_BYTES, shown)
    name = shown or f"the file {visible(str(path), 300)}"
    try:
        text = data.decode()
    except UnicodeDecodeError:
        raise RefusalError(f"expected UTF-8, found other bytes in {name}") from None
    if "\0" in text:
        raise RefusalError(f"expected text, found a NUL byte in {name}")
    return text.removesuffix("\n").removesuffix("\r")


def read_bytes(path: FilePath, max_bytes: int, shown: str = "") -> bytes:
    """All of a regular file of at most ``max_bytes``; never waits. Raises RefusalError."""
    name = shown or visible(str(path), 300)
    try:
        # Opening a pipe that nobody writes to would wait for ever.
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC)
        with os.fdopen(descriptor, "rb") as file:
            regular = stat.S_ISREG(os.fstat(descriptor).st_mode)
            data = file.read(max_bytes + 1) if regular else b""
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or "not a file name"
        raise RefusalError(f"expected a file that can be read, found {name}: {reason}") from None
    if not regular:
        raise RefusalError(f"expected a regular file, found something else: {name}")
    if len(data) > max_bytes:
        place = shown or f"the file {name}"
        raise RefusalError(f"expected at most {max_bytes} bytes, found more in {place}")
    return data


class Overrides(Struct, frozen=True):
    """Which variable gave the value at which path, and the variables that fit nowhere."""

    variables: dict[Path, str]
    problems: list[tuple[str, Problem]]


def override(
    data: dict[str, Plain],
    environ: Mapping[str, str],
    sections: Iterable[str],
    others: Iterable[str] = (),
) -> Overrides:
    """Put ``SYNCD_SECTION__KEY`` variables into ``data``, in place.

    Only names with ``__`` are overrides. Names are matched without regard to case, and ``_``
    stands for ``-``; a value is taken as it is, without references. Sections of ``others`` are
    meant for another file.
    """
    done = Overrides({}, [])
    known, elsewhere = sorted(sections), set(others)
    for variable, text in sorted(_overriding(environ)):
        steps = variable.removeprefix(PREFIX).split("__")
        if steps[0].lower() in elsewhere:
            continue
        try:
            _check_section(steps[0], known)
            steps, given = _value(variable, steps, text, environ)
            done.variables[_put(data, steps, given)] = variable
        except RefusalError as refusal:
            path = tuple(step.lower() for step in steps)
            done.problems.append((variable, Problem(path, str(refusal))))
    return done


def _check_section(step: str, known: Iterable[str]) -> None:
    if step.lower() not in known:
        raise RefusalError(f"expected one of the sections {', '.join(known)}, found none of them")


def _overriding(environ: Mapping[str, str]) -> Iterator[tuple[str, str]]:
    for name, text in environ.items():
        if name.startswith(PREFIX) and "__" in name.removeprefix(PREFIX):
            yield name, text


def _value(
    variable: str, steps: list[str], text: str, environ: Mapping[str, str]
) -> tuple[list[str], Given]:
    """The path and the value, read from the file that a ``..._FILE`` variable names."""
    plain = steps[-1].removesuffix("_FILE")
    if plain == steps[-1] or plain.lower() not in SECRET_FIELDS:
        return steps, Given.of(text, f"the variable {variable}")
    if variable.removesuffix("_FILE") in environ:
        raise RefusalError(
            f"expected one of {variable.removesuffix('_FILE')} and {variable}, found both"
        )
    # Whoever takes this for the variable of the secret itself must not see it in a message.
    given = Given.of(
        read_file(FilePath(text), "the file that it names"), f"the variable {variable}"
    )
    given.anew = Anew(MountedFile(FilePath(text)), str(given))
    return [*steps[:-1], plain], given


def _put(data: dict[str, Plain], steps: list[str], given: Given) -> Path:
    """Set ``given`` below ``data``, making objects on the way; its path as spelled there."""
    place, path = data, []
    for step in steps[:-1]:
        name = _spelled(place, step)
        path.append(name)
        inner = place.get(name)
        if inner is None:
            inner = place[name] = {}
        if not isinstance(inner, dict):
            raise RefusalError(f"expected an object at {'.'.join(path)}, found a single value")
        place = inner
    name = _spelled(place, steps[-1])
    place[name] = given
    return (*path, name)


def _spelled(place: Mapping[str, Plain], step: str) -> str:
    """The name in ``place`` that ``step`` means, or ``step`` in lower case."""
    if not step:
        raise RefusalError("expected a name between double underscores, found none")
    wanted = step.lower()
    meant = [name for name in place if name.lower().replace("-", "_") == wanted]
    if len(meant) > 1:
        raise RefusalError(
            f"expected one field, found {', '.join(meant)}: the name fits each of them"
        )
    return meant[0] if meant else wanted
