"""The form of a settings class, read from its fields: what the binder, the schema, the flags and the pages derive from.

A class is a frozen dataclass; its fields have the types bool, int, float, str, Path, another settings class, a class
with a `parse(text)` class method, a tuple of these, a dict by name of these, or one of these and None. A class with a
`variants()` class method stands for several: the setting `type` says which one is written.
"""

from __future__ import annotations

import dataclasses
import functools
import types
import typing
from collections.abc import Hashable, Iterator, Mapping
from dataclasses import dataclass
from enum import Enum
from pathlib import Path
from typing import Any, Literal

from prism_runtime.settings import Setting, setting_of


class Kind(Enum):
    """How one value is written; PARSED is the text form of a class."""

    BOOLEAN = "true or false"
    WHOLE = "a whole number"
    NUMBER = "a number"
    TEXT = "text"
    PATH = "a path"
    PARSED = "an address"


@dataclass(frozen=True, slots=True)
class Leaf:
    """One value; `type` makes it from text where `kind` is PATH or PARSED."""

    kind: Kind
    type: Any
    choices: tuple[str, ...] = ()


@dataclass(frozen=True, slots=True)
class Group:
    """A settings class. Its `SHORTHANDS`, where it has any, are words that stand for some of its settings."""

    type: type[Any]

    @property
    def shorthands(self) -> Mapping[str, Mapping[str, Any]]:
        found: Mapping[str, Mapping[str, Any]] = getattr(self.type, "SHORTHANDS", {})
        return found


@dataclass(frozen=True, slots=True)
class Variant:
    """One of several settings classes; `type.variants()` has them by what the setting `type` may be."""

    type: type[Any]

    def variants(self) -> dict[str, Any]:
        found: dict[str, Any] = self.type.variants()
        return found


@dataclass(frozen=True, slots=True)
class Many:
    """A sequence."""

    item: Shape


@dataclass(frozen=True, slots=True)
class ByName:
    """A mapping with names of the user's choice."""

    item: Shape


Shape = Leaf | Group | Variant | Many | ByName


@dataclass(frozen=True, slots=True)
class Field:
    """`default` is dataclasses.MISSING for what must be given; `optional` values may be None."""

    name: str
    shape: Shape
    optional: bool
    declared: Setting
    default: Any


def fields_of(cls: type[Any], *, skip: frozenset[str] = frozenset()) -> tuple[Field, ...]:
    """The settings of a class, in the order of their declaration. TypeError for a type that cannot be configured."""
    return _known(typing.cast(Hashable, cls), skip)


@functools.cache  # a file may have a thousand namespaces, all of the same few classes
def _known(cls: Any, skip: frozenset[str]) -> tuple[Field, ...]:
    return tuple(_fields(cls, skip))


def _fields(cls: type[Any], skip: frozenset[str]) -> Iterator[Field]:
    hints = typing.get_type_hints(cls)
    for field in dataclasses.fields(cls):
        if not field.init or field.name in skip:
            continue
        hint, optional = _without_none(hints[field.name])
        default = field.default
        if field.default_factory is not dataclasses.MISSING:
            default = field.default_factory()
        shape = _shape(hint, f"{cls.__name__}.{field.name}")
        yield Field(field.name, shape, optional, setting_of(field) or Setting(summary(shape)), default)


def summary(shape: Shape) -> str:
    """The first sentence of a settings class, which documents a group that has no text of its own."""
    text = (shape.type.__doc__ or "") if isinstance(shape, Group) else ""
    return " ".join(text.split("\n\n")[0].split())


def _without_none(hint: Any) -> tuple[Any, bool]:
    if typing.get_origin(hint) in (typing.Union, types.UnionType):
        rest = [part for part in typing.get_args(hint) if part is not types.NoneType]
        if len(rest) == 1:
            return rest[0], True
    return hint, False


_KINDS = {bool: Kind.BOOLEAN, int: Kind.WHOLE, float: Kind.NUMBER, str: Kind.TEXT, Path: Kind.PATH}


def _shape(hint: Any, where: str) -> Shape:
    origin, arguments = typing.get_origin(hint), typing.get_args(hint)
    if hint in _KINDS:
        return Leaf(_KINDS[hint], hint)
    if origin is Literal:
        return Leaf(Kind.TEXT, str, tuple(map(str, arguments)))
    if origin in (tuple, frozenset) and (len(arguments) == 1 or arguments[1:] == (...,)):
        return Many(_shape(arguments[0], where))
    if origin is not None and arguments and issubclass(origin, typing.Mapping) and arguments[0] is str:
        return ByName(_shape(arguments[1], where))
    if isinstance(hint, type) and callable(getattr(hint, "parse", None)):
        return Leaf(Kind.PARSED, hint)
    if isinstance(hint, type) and callable(getattr(hint, "variants", None)):
        return Variant(hint)
    if isinstance(hint, type) and dataclasses.is_dataclass(hint):
        return Group(hint)
    raise TypeError(f"{where} has a type that cannot be configured: {hint}")
