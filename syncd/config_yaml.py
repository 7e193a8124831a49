"""Strict YAML: text to plain values, and the line on which each stands.

Only what a configuration needs is read: mappings with text keys, lists, and scalars as the core
schema of YAML 1.2 has them, so ``no`` and ``12:30`` are text and not False and 750. Everything is
bounded: bytes, nodes (an alias counts what it stands for) and depth. No message quotes the text.
"""

import re
from collections.abc import Mapping
from typing import Final, TypeAlias

import yaml
from msgspec import Struct

from syncd.visible import visible

MAX_BYTES: Final = 1024**2
MAX_NODES: Final = 100_000  # a thousand entities of a hundred fields
MAX_DEPTH: Final = 20  # the deepest legal path has six steps

Path: TypeAlias = tuple[str, ...]
Plain: TypeAlias = str | int | float | bool | list["Plain"] | dict[str, "Plain"] | None

_LOADER: Final = getattr(yaml, "CSafeLoader", yaml.SafeLoader)
_WORDS: Final[Mapping[str, bool | None]] = {
    **dict.fromkeys(("", "~", "null", "Null", "NULL")),
    **dict.fromkeys(("true", "True", "TRUE"), True),
    **dict.fromkeys(("false", "False", "FALSE"), False),
}
_NUMBERS: Final = (
    # A leading zero means eight to some readers and ten to others, so it stays text.
    (re.compile(r"[-+]?(?:0|[1-9][0-9]{0,30})"), int),
    (re.compile(r"[-+]?(?:[0-9]+\.[0-9]*|\.[0-9]+|[0-9]+(?=[eE]))(?:[eE][-+]?[0-9]+)?"), float),
)


class YamlError(Exception):
    """The text is not the YAML that is read here. ``line`` counts from 1, 0 when unknown."""

    def __init__(self, message: str, line: int = 0) -> None:
        super().__init__(message)
        self.line = line


class Document(Struct, frozen=True):
    """``data`` as plain values; ``lines`` tells where each path stands."""

    data: Plain
    lines: Mapping[Path, int]


def parse(text: str) -> Document:
    """Read one document.

    Raises YamlError for bad syntax, a duplicate key, a tag, a merge key and whatever is beyond
    the limits.
    """
    try:
        _check_events(text)
        root = yaml.compose(text, Loader=_LOADER)
    except yaml.MarkedYAMLError as error:
        mark = error.problem_mark or error.context_mark
        raise YamlError(_problem(error) + _tab(text, mark), mark.line + 1 if mark else 0) from None
    except yaml.YAMLError:
        raise YamlError("expected printable text, found a character that YAML forbids") from None
    if root is None:
        raise YamlError("expected a pipeline, found an empty file")
    reader = _Reader()
    data = reader.value(root, ())
    return Document(data=data, lines=reader.lines)


def _check_events(text: str) -> None:
    """Refuse what composing would choke on, before composing (it recurses)."""
    depth = 0
    for event in yaml.parse(text, Loader=_LOADER):
        line = event.start_mark.line + 1 if event.start_mark else 0
        if isinstance(event, yaml.CollectionStartEvent):
            depth += 1
        elif isinstance(event, yaml.CollectionEndEvent):
            depth -= 1
        if depth > MAX_DEPTH:
            raise YamlError(f"expected at most {MAX_DEPTH} levels, found more", line)
        if isinstance(event, yaml.ScalarEvent | yaml.CollectionStartEvent) and event.tag:
            raise YamlError("expected plain YAML, found a tag (!)", line)


def _problem(error: yaml.MarkedYAMLError) -> str:
    """The parser's complaint without what it quotes, which may be a piece of a secret."""
    said = f"{error.context or ''} {error.problem or ''}"
    said = re.sub(r"'([^']*)'", lambda m: m[0] if len(m[1]) == 1 else "...", said)
    advice = '; inside { } and [ ] quote a reference: "${NAME}"' if "flow" in said else ""
    return f"is not YAML: {visible(said.strip(), 300)}{advice}"


def _tab(text: str, mark: yaml.Mark | None) -> str:
    lines = text.splitlines()
    line = lines[mark.line] if mark and mark.line < len(lines) else ""
    return "; indent with blanks, not with tabs" if line.lstrip(" ").startswith("\t") else ""


class _Reader:
    """Nodes to values, counting every visit: an alias is visited once for each use."""

    def __init__(self) -> None:
        self.lines: dict[Path, int] = {}
        self._nodes = 0

    def value(self, node: yaml.Node, path: Path) -> Plain:
        line = node.start_mark.line + 1
        self._nodes += 1
        if self._nodes > MAX_NODES:
            raise YamlError(f"expected at most {MAX_NODES} values, found more", line)
        if len(path) > MAX_DEPTH:
            raise YamlError(f"expected at most {MAX_DEPTH} levels, found more", line)
        self.lines.setdefault(path, line)
        if isinstance(node, yaml.MappingNode):
            return self._mapping(node, path)
        if isinstance(node, yaml.SequenceNode):
            return [self.value(item, (*path, str(i))) for i, item in enumerate(node.value)]
        assert isinstance(node, yaml.ScalarNode)
        return _scalar(node)

    def _mapping(self, node: yaml.MappingNode, path: Path) -> dict[str, Plain]:
        found: dict[str, Plain] = {}
        for key_node, value_node in node.value:
            line = key_node.start_mark.line + 1
            if not isinstance(key_node, yaml.ScalarNode):
                raise YamlError("expected a name before the colon, found a list or an object", line)
            key = key_node.value
            where = ".".join((*path, key))
            if key == "<<" and not key_node.style:
                raise YamlError("expected plain fields, found a merge key (<<)", line)
            if key in found:
                first = self.lines[(*path, key)]
                raise YamlError(
                    f"{visible(where, 300)}: is given twice, first on line {first}", line
                )
            self.lines[(*path, key)] = line
            found[key] = self.value(value_node, (*path, key))
        return found


def _scalar(node: yaml.ScalarNode) -> Plain:
    text: str = node.value
    if node.style:  # quoted or a block: text, whatever it looks like
        return text
    if text in _WORDS:
        return _WORDS[text]
    for pattern, convert in _NUMBERS:
        if pattern.fullmatch(text):
            return convert(text)
    return text
