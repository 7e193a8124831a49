"""Plain values against the structs of ``config.py``: all that does not fit, with its full path.

msgspec converts, but it stops at the first error and writes ``$.entities[...].needs`` for
``entities.regions.needs``. This walk knows every name, collects all problems, and turns text from
outside into the number or list that is expected. Whatever passes here, msgspec accepts; a test
holds the two together.
"""

import difflib
import operator
import re
from collections.abc import Callable, Iterable, Mapping, Sequence
from functools import cache
from typing import Any, Final, TypeAlias

from msgspec import inspect

from syncd.config import Config, Secret, Strict
from syncd.config_references import Given, Problem
from syncd.config_yaml import Path, Plain
from syncd.errors import InvariantError

ABSENT: Final = object()

Clean: TypeAlias = Any  # what msgspec.convert takes: builtins, and Secret where one is expected

_TRUTH: Final = {
    "true": True, "yes": True, "on": True, "1": True,
    "false": False, "no": False, "off": False, "0": False,
}  # fmt: skip
_PLAIN_WORD: Final = re.compile(r"[\w.,+-]{1,40}", re.ASCII)


def shape(data: Plain, kind: type[Strict] = Config) -> tuple[Clean, list[Problem]]:
    """``data`` ready for conversion, and everything in it that is not a ``kind``."""
    walk = _Walk()
    return walk.value(data, _type_of(kind), ()), walk.problems


def sections(kind: type[Strict] = Config) -> tuple[str, ...]:
    """Names of the top-level fields that hold objects."""
    plain = (inspect.StrType, inspect.IntType, inspect.FloatType, inspect.BoolType)
    fields = _type_of(kind).fields
    return tuple(f.encode_name for f in fields if not isinstance(_bare(f.type)[0], plain))


@cache
def _type_of(kind: type[Strict]) -> inspect.StructType:
    found = inspect.type_info(kind)
    assert isinstance(found, inspect.StructType)
    return found


def did_you_mean(word: str, known: Iterable[str]) -> str:
    """``; did you mean 'x'?`` for the nearest of ``known``, or nothing."""
    near = difflib.get_close_matches(word, list(known), n=1, cutoff=0.6)
    return f"; did you mean {near[0]!r}?" if near else ""


def describe(value: Plain) -> str:
    """What was found, in words; text is shown only where it is one plain word of the file."""
    if isinstance(value, Given):
        return f"text from {value.origin}"
    if value is None:
        return "nothing"
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, str):
        return f"text {value!r}" if _PLAIN_WORD.fullmatch(value) else "other text"
    if isinstance(value, int | float):
        return f"{value:.40g}" if isinstance(value, float) else str(value)
    return "a list" if isinstance(value, list) else "an object"


class _Walk:
    """One pass over the values; ``problems`` fills up on the way."""

    def __init__(self) -> None:
        self.problems: list[Problem] = []
        self._by_type: Mapping[type, Callable[[Plain, Any, Path], Clean]] = {
            inspect.StructType: self._struct,
            inspect.DictType: self._dict,
            inspect.VarTupleType: self._list,
            inspect.UnionType: self._union,
            inspect.StrType: self._text,
            inspect.IntType: self._number,
            inspect.FloatType: self._number,
            inspect.BoolType: self._truth,
            inspect.EnumType: self._word,
            inspect.LiteralType: self._word,
        }

    def value(self, value: Plain, expected: inspect.Type, path: Path) -> Clean:
        bare, _ = _bare(expected)
        if type(bare) not in self._by_type:
            raise InvariantError(f"config.py uses {type(bare).__name__}, which is not read here")
        if type(bare) is inspect.StrType:
            return self._text(value, expected, path)
        return self._by_type[type(bare)](value, bare, path)

    def _refuse(self, path: Path, expected: str, value: Plain, more: str = "") -> None:
        message = f"expected {expected}, found {describe(value)}"
        self.problems.append(Problem(path, message, more=more))

    def _struct(self, value: Plain, expected: inspect.StructType, path: Path) -> Clean:
        if expected.cls is Secret:
            return self._secret(value, path)
        if not isinstance(value, dict):
            return self._refuse(path, "an object", value)
        fields = {f.encode_name: f for f in expected.fields}
        tag = expected.tag_field
        known = [*([tag] if tag else []), *fields]
        for name in value:
            if name not in known:
                self._unknown((*path, name), name, known)
        clean: dict[str, Clean] = {}
        if tag:
            clean[tag] = self._tag(value, [expected], path)
        for name, field in fields.items():
            if name in value:
                clean[name] = self.value(value[name], field.type, (*path, name))
            elif field.required:
                self._refuse((*path, name), _words_of(field.type), None)
        return clean

    def _unknown(self, path: Path, name: str, known: Sequence[str]) -> None:
        more = did_you_mean(name, known)
        message = f"unknown field, expected one of {', '.join(known)}"
        self.problems.append(Problem(path, message, more=more))

    def _secret(self, value: Plain, path: Path) -> Secret | None:
        if isinstance(value, str) and _encodable(value):
            return Secret(str(value), value.anew if isinstance(value, Given) else None)
        # Not even the kind of text is told: a secret is never described.
        found = "broken text" if isinstance(value, str) else describe(value)
        if isinstance(value, bool | int | float):
            found = "a bare number or word; put it in quotes"
        self.problems.append(Problem(path, f"expected text (a secret), found {found}"))
        return None

    def _tag(
        self, value: dict[str, Plain], choices: Sequence[inspect.StructType], path: Path
    ) -> str:
        field = choices[0].tag_field
        assert field is not None
        tags = [str(choice.tag) for choice in choices]
        found = value.get(field)
        if not isinstance(found, str) or found not in tags:
            more = did_you_mean(found, tags) if isinstance(found, str) else ""
            self._refuse((*path, field), _one_of(tags), found, more)
            return ""
        return str(found)

    def _dict(self, value: Plain, expected: inspect.DictType, path: Path) -> Clean:
        if not isinstance(value, dict):
            return self._refuse(path, "an object", value)
        self._check_length(value, expected, path)
        for name in value:
            self.value(name, expected.key_type, (*path, name))
        return {k: self.value(v, expected.value_type, (*path, k)) for k, v in value.items()}

    def _list(self, value: Plain, expected: inspect.VarTupleType, path: Path) -> Clean:
        if isinstance(value, Given):
            items: list[Plain] = [
                Given.of(part.strip(), value.origin) for part in value.split(",") if part.strip()
            ]
        elif isinstance(value, list):
            items = value
        else:
            return self._refuse(path, _words_of(expected), value)
        self._check_length(items, expected, path)
        return [self.value(v, expected.item_type, (*path, str(i))) for i, v in enumerate(items)]

    def _check_length(self, value: Any, expected: Any, path: Path) -> None:
        least, most = expected.min_length, expected.max_length
        if least is not None and len(value) < least:
            self._bad(path, f"at least {least} entries", len(value))
        if most is not None and len(value) > most:
            self._bad(path, f"at most {most} entries", len(value))

    def _bad(self, path: Path, expected: str, found: int) -> None:
        self.problems.append(Problem(path, f"expected {expected}, found {found}"))

    def _union(self, value: Plain, expected: inspect.UnionType, path: Path) -> Clean:
        if value is None and any(isinstance(t, inspect.NoneType) for t in expected.types):
            return None
        tagged = [t for t in expected.types if isinstance(t, inspect.StructType) and t.tag_field]
        if len(tagged) > 1 and isinstance(value, dict):
            tag = self._tag(value, tagged, path)
            chosen: inspect.Type | None = next((t for t in tagged if t.tag == tag), None)
            return None if chosen is None else self.value(value, chosen, path)
        for choice in expected.types:
            if _fits(value, _bare(choice)[0]):
                return self.value(value, choice, path)
        return self._refuse(path, _words_of(expected), value)

    def _text(self, value: Plain, expected: inspect.Type, path: Path) -> Clean:
        bare, description = _bare(expected)
        assert isinstance(bare, inspect.StrType)
        if not isinstance(value, str):
            more = "" if value is None or isinstance(value, list | dict) else "; put it in quotes"
            return self._refuse(path, "text", value, more)
        if not _encodable(value):
            return self._refuse(path, "text in UTF-8 without NUL", Given.of("", "broken bytes"))
        if bare.pattern is not None and not re.fullmatch(bare.pattern, value):
            more = f" ({description})" if description else ""
            return self._refuse(path, f"text matching {bare.pattern}{more}", value)
        least, most = bare.min_length, bare.max_length
        if (least is not None and len(value) < least) or (most is not None and len(value) > most):
            count = f"exactly {most}" if least == most else f"{least or 0} to {most}"
            return self._bad(path, f"{count} in length", len(value))
        return str(value)

    def _number(self, value: Plain, expected: Any, path: Path) -> Clean:
        number = _to_number(value, whole=isinstance(expected, inspect.IntType))
        within = number is not None and all(
            bound is None or holds(number, bound)
            for bound, holds in (
                (expected.ge, operator.ge),
                (expected.gt, operator.gt),
                (expected.le, operator.le),
                (expected.lt, operator.lt),
            )
        )
        return number if within else self._refuse(path, _words_of(expected), value)

    def _truth(self, value: Plain, expected: inspect.BoolType, path: Path) -> Clean:
        if isinstance(value, bool):
            return value
        if isinstance(value, Given) and value.lower() in _TRUTH:
            return _TRUTH[value.lower()]
        return self._refuse(path, _words_of(expected), value)

    def _word(self, value: Plain, expected: inspect.Type, path: Path) -> Clean:
        words = _choices(expected)
        if isinstance(value, str) and value in words:
            return str(value)
        shown = isinstance(value, str) and not isinstance(value, Given)
        more = did_you_mean(str(value), words) if shown else ""
        return self._refuse(path, _one_of(words), value, more)


def _bare(expected: inspect.Type) -> tuple[inspect.Type, str]:
    """The type without its annotations, and the description among them."""
    description = ""
    while isinstance(expected, inspect.Metadata):
        description = (expected.extra_json_schema or {}).get("description", "") or description
        expected = expected.type
    return expected, description


def _is_text(bare: inspect.Type) -> bool:
    return isinstance(bare, inspect.StrType)


def _encodable(text: str) -> bool:
    return "\0" not in text and not re.search("[\ud800-\udfff]", text)


def _fits(value: Plain, bare: inspect.Type) -> bool:
    """Whether ``value`` is of the general kind of ``bare``: which member of a union is meant."""
    if isinstance(bare, inspect.StructType) and bare.cls is Secret:
        return isinstance(value, str)
    if isinstance(bare, inspect.StructType | inspect.DictType):
        return isinstance(value, dict)
    if isinstance(bare, inspect.VarTupleType):
        return isinstance(value, list | Given)
    if isinstance(bare, inspect.IntType | inspect.FloatType):
        return isinstance(value, int | float | Given) and not isinstance(value, bool)
    return _is_text(bare) and isinstance(value, str)


def _to_number(value: Plain, *, whole: bool) -> int | float | None:
    if isinstance(value, Given):
        form = r"[-+]?[0-9]{1,30}" if whole else r"[-+]?(?:[0-9]+\.?[0-9]*|\.[0-9]+)"
        if not re.fullmatch(form, value):
            return None
        return int(value) if whole else float(value)
    if isinstance(value, bool) or not isinstance(value, int | float):
        return None
    return None if whole and isinstance(value, float) else value


def _choices(expected: inspect.Type) -> list[str]:
    if isinstance(expected, inspect.EnumType):
        return [str(member.value) for member in expected.cls]
    assert isinstance(expected, inspect.LiteralType)
    return [str(v) for v in expected.values]


def _one_of(words: Sequence[str]) -> str:
    return words[0] if len(words) == 1 else f"one of {', '.join(words)}"


def _words_of(expected: inspect.Type) -> str:
    """The type, as an operator would say it."""
    bare, _ = _bare(expected)
    if isinstance(bare, inspect.IntType | inspect.FloatType):
        return ("a whole number" if isinstance(bare, inspect.IntType) else "a number") + _bounds(
            bare
        )
    if isinstance(bare, inspect.UnionType):
        return " or ".join(dict.fromkeys(_words_of(t) for t in bare.types if not _is_none(t)))
    if isinstance(bare, inspect.StructType):
        return "text (a secret)" if bare.cls is Secret else "an object"
    if isinstance(bare, inspect.EnumType | inspect.LiteralType):
        return _one_of(_choices(bare))
    names = {
        inspect.StrType: "text",
        inspect.BoolType: "true or false",
        inspect.VarTupleType: "a list",
        inspect.DictType: "an object",
    }
    return names[type(bare)]


def _is_none(expected: inspect.Type) -> bool:
    return isinstance(expected, inspect.NoneType)


def _bounds(bare: inspect.IntType | inspect.FloatType) -> str:
    words = (("at least", bare.ge), ("above", bare.gt), ("at most", bare.le), ("below", bare.lt))
    said = " and ".join(f"{word} {bound}" for word, bound in words if bound is not None)
    return f" {said}" if said else ""
