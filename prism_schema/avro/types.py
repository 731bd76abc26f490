"""What an Avro schema consists of once its names are resolved."""

from __future__ import annotations

from dataclasses import dataclass, field
from typing import Any

PRIMITIVES = ("null", "boolean", "int", "long", "float", "double", "bytes", "string")
MISSING: Any = object()  # the default of a field that has none; None is the default null


@dataclass(slots=True, eq=False)
class AvroType:
    """`kind` is the name of a primitive, or record, enum, fixed, array, map, union.

    Named types refer to each other, also in circles.
    """

    kind: str
    name: str = ""
    aliases: tuple[str, ...] = ()
    logical: str = ""
    precision: int = 0
    scale: int = 0
    fields: list[AvroField] = field(default_factory=list)
    symbols: tuple[str, ...] = ()
    default: Any = MISSING  # of an enum
    size: int = 0
    items: AvroType | None = None  # of an array or a map
    branches: list[AvroType] = field(default_factory=list)

    @property
    def label(self) -> str:
        """How a union tells it from its other branches."""
        return self.name or self.kind

    @property
    def element(self) -> AvroType:
        """The items of an array or a map."""
        assert self.items is not None
        return self.items


@dataclass(slots=True, eq=False)
class AvroField:
    """A field of a record."""

    name: str
    type: AvroType
    default: Any = MISSING
    aliases: tuple[str, ...] = ()


def short(name: str) -> str:
    """A full name without its namespace."""
    return name.rpartition(".")[2]
