"""Binds a tree to settings classes, and collects every mistake on the way.

It knows no setting: classes say by their fields what there is, and by `__post_init__` what does not go together. Such a
ValueError is placed at the setting its message begins with, or at the whole group.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable, Iterable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, TypeVar

from prism_runtime.configuration.problems import Problems
from prism_runtime.configuration.shapes import ByName, Field, Group, Kind, Leaf, Many, Shape, Variant, fields_of
from prism_runtime.configuration.tree import Listing, Node, Origin, Scalar, Source, Table
from prism_runtime.configuration.values import UnfitError, read, resolved
from prism_runtime.settings import MASK, Setting, shown_value, violation

ClassT = TypeVar("ClassT")
DEFAULT_ORIGIN = Origin(Source.DEFAULT, "")


@dataclass(frozen=True, slots=True)
class Bound:
    """One effective value: its dotted key, the value in the form for people, and where it comes from."""

    key: str
    value: Any
    origin: Origin


@dataclass
class Binder:
    """`bound` lists the effective values, in the order of their declaration; secrets in it are masked."""

    problems: Problems
    environment: Mapping[str, str]
    bound: list[Bound] = field(default_factory=list)

    def group(self, cls: type[ClassT], node: Table, key: str) -> ClassT | None:
        """An instance of a settings class; None when the problems say why not."""
        before = len(self.problems.found)
        fields = fields_of(cls)
        self.refuse_unknown(node, key, (item.name for item in fields))
        values = {item.name: self._field(item, node, key) for item in fields}
        if len(self.problems.found) > before:
            return None
        secrets = [values[item.name] for item in fields if item.declared.secret]
        return self.make(cls, values, node, key, secrets)

    def refuse_unknown(self, node: Table, key: str, names: Iterable[str]) -> None:
        allowed = list(names)
        for name in node.entries.keys() - set(allowed):
            self.problems.unknown(node.keys[name], _dotted(key, name), name, allowed)

    def make(
        self, cls: Callable[..., ClassT], values: Mapping[str, Any], node: Table, key: str, secrets: Sequence[Any] = ()
    ) -> ClassT | None:
        """Call a class with bound values. What its `__post_init__` refuses is a problem at the setting it names."""
        try:
            return cls(**values)
        except ValueError as error:
            message = str(error)
            for secret in filter(None, secrets):
                message = message.replace(str(secret), MASK)
            name, _, rest = message.partition(" ")
            if name in values:
                place = node.entries.get(name)
                self.problems.add(place.origin if place is not None else node.origin, _dotted(key, name), rest)
            else:
                self.problems.add(node.origin, key, f"cannot be used: {message}")
            return None

    def text(self, node: Scalar, key: str) -> Scalar | None:
        """The text with its references resolved, or a problem."""
        try:
            return resolved(node, self.environment)
        except UnfitError as error:
            self.problems.add(node.origin, key, str(error))
            return None

    def table(self, node: Node | None, key: str) -> Table | None:
        """The node as a mapping, or a problem."""
        if isinstance(node, Table) or node is None:
            return node
        if isinstance(node, Scalar) and node.plain and not node.text:
            self.problems.add(node.origin, key, "is empty: write its settings below it, or remove the key")
        else:
            self.problems.add(node.origin, key, "must be a mapping of settings")
        return None

    def _field(self, item: Field, parent: Table, key: str) -> Any:
        node, dotted = parent.entries.get(item.name), _dotted(key, item.name)
        if node is not None:
            return self._value(item.shape, item.declared, node, dotted, optional=item.optional)
        if item.default is dataclasses.MISSING:
            allowed = f": {item.declared.doc}" if item.declared.doc else ""
            self.problems.add(parent.origin, dotted, f"is missing{allowed}")
        else:
            self._note_default(item.shape, item.default, item.declared, dotted)
        return item.default

    def _value(self, shape: Shape, declared: Setting, node: Node, key: str, *, optional: bool) -> Any:
        if isinstance(shape, Leaf):
            return self._leaf(shape, declared, node, key, optional=optional)
        if isinstance(shape, Many):
            return self._many(shape, declared, node, key)
        if optional and isinstance(node, Scalar) and node.plain and node.text in ("null", "~"):
            self.bound.append(Bound(key, None, node.origin))
            return None
        if isinstance(shape, Group) and isinstance(node, Scalar) and shape.shorthands and node.text:
            return self._shorthand(shape, node, key)
        table = self.table(node, key)
        if table is None:
            return None
        if isinstance(shape, ByName):
            return {name: self._value(shape.item, declared, entry, _dotted(key, name), optional=False)
                    for name, entry in table.entries.items()}
        return self._variant(shape, table, key) if isinstance(shape, Variant) else self.group(shape.type, table, key)

    def _shorthand(self, shape: Group, node: Scalar, key: str) -> Any:
        if node.text not in shape.shorthands:
            self.problems.add(node.origin, key, f"is {node.text!r}: it must be one of "
                              f"{', '.join(shape.shorthands)}, or a mapping of settings")
            return None
        self.bound.append(Bound(key, node.text, node.origin))
        return shape.type(**shape.shorthands[node.text])

    def _variant(self, shape: Variant, table: Table, key: str) -> Any:
        known, node = shape.variants(), table.entries.get("type")
        if not isinstance(node, Scalar) or node.text not in known:
            said = f"is {node.text!r}: it" if isinstance(node, Scalar) else "is missing or no text: it"
            self.problems.add(node.origin if node is not None else table.origin, _dotted(key, "type"),
                              f"{said} must be one of {', '.join(sorted(known))}")
            return None
        return self.group(known[node.text], table, key)

    def _many(self, shape: Many, declared: Setting, node: Node, key: str) -> tuple[Any, ...] | None:
        if not isinstance(node, Listing):
            if not isinstance(shape.item, Leaf) or isinstance(node, Table):
                self.problems.add(node.origin, key, "must be a sequence")
                return None
            assert isinstance(node, Scalar)
            texts = node.text.split(",") if node.loose else [node.text]  # a variable, or a text from an admin
            node = Listing(tuple(dataclasses.replace(node, text=text.strip()) for text in texts), node.origin)
        return tuple(self._value(shape.item, declared, item, key if len(node.items) == 1 else f"{key}[{index}]",
                                 optional=False) for index, item in enumerate(node.items))

    def _leaf(self, leaf: Leaf, declared: Setting, node: Node, key: str, *, optional: bool) -> Any:
        if not isinstance(node, Scalar):
            self.problems.add(node.origin, key, f"must be {leaf.kind.value}, not a mapping or a sequence")
            return None
        scalar, choices = node, declared.choices or leaf.choices
        if leaf.kind is Kind.TEXT and node.text in choices:
            scalar = dataclasses.replace(node, plain=False)  # a choice such as true, whatever YAML takes it for
        try:
            if node.origin.source is Source.FILE:
                scalar = resolved(scalar, self.environment)
            value = read(scalar, leaf, optional=optional, unit=declared.unit)
        except UnfitError as error:
            message = str(error)
            hidden = declared.secret and scalar.text and scalar.text in message
            self.problems.add(node.origin, key, "cannot be used (its value is a secret)" if hidden else message)
            return None
        problem = violation(dataclasses.replace(declared, choices=choices), value)
        if problem:
            self.problems.add(node.origin, key, problem)
        shown = scalar.written if scalar.written is not None else shown_value(declared, value)
        self.bound.append(Bound(key, shown, node.origin))
        return value

    def _note_default(self, shape: Shape, default: Any, declared: Setting, key: str) -> None:
        if isinstance(shape, Group) and default is not None:
            for item in fields_of(shape.type):
                self._note_default(item.shape, getattr(default, item.name), item.declared, _dotted(key, item.name))
        else:
            self.bound.append(Bound(key, shown_value(declared, default), DEFAULT_ORIGIN))


def _dotted(key: str, name: str) -> str:
    return f"{key}.{name}" if key else name
