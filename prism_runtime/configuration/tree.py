"""What was written, and where: the common form of flags, environment variables and the configuration file.

Values are still text here; `binder` gives them their types.
"""

from __future__ import annotations

from dataclasses import dataclass
from enum import Enum


class Source(Enum):
    """Where a value comes from; a later one wins over an earlier one."""

    DEFAULT = "default"
    FILE = "file"
    ENVIRONMENT = "environment"
    FLAG = "flag"


@dataclass(frozen=True, slots=True)
class Origin:
    """`name` is the flag, the variable or the path of the file; lines and columns count from 1."""

    source: Source
    name: str
    line: int = 0
    column: int = 0

    def __str__(self) -> str:
        if self.source is Source.FILE:
            return f"{self.name}:{self.line}:{self.column}"
        return self.name or self.source.value


@dataclass(frozen=True, slots=True)
class Scalar:
    """`plain` text of a file has the type it looks like, quoted text is text, and what is `loose` (a flag, a variable,
    a reference to the environment) has the type that is wanted. `written` is the text before references were resolved.
    """

    text: str
    origin: Origin
    plain: bool = False
    loose: bool = False
    written: str | None = None


@dataclass(frozen=True, slots=True)
class Listing:
    """A sequence."""

    items: tuple[Node, ...]
    origin: Origin


@dataclass(frozen=True, slots=True)
class Table:
    """A mapping; `keys` says where each key stands."""

    entries: dict[str, Node]
    keys: dict[str, Origin]
    origin: Origin


Node = Scalar | Listing | Table


def table(entries: dict[str, Node], origin: Origin) -> Table:
    """A table whose keys stand where their values do."""
    return Table(entries, {key: node.origin for key, node in entries.items()}, origin)


def overlay(below: Table, above: Table) -> Table:
    """Both tables in one; where both say something, `above` wins, setting by setting."""
    entries, keys = dict(below.entries), dict(below.keys)
    for name, node in above.entries.items():
        under = entries.get(name)
        entries[name] = overlay(under, node) if isinstance(under, Table) and isinstance(node, Table) else node
        keys[name] = above.keys[name]
    return Table(entries, keys, below.origin)
