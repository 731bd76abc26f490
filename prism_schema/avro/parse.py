"""Reads the text of an Avro schema: names, aliases, unions, defaults and logical types."""

from __future__ import annotations

import re
from typing import Any

from prism_schema import json_text
from prism_schema.avro import logical
from prism_schema.avro.defaults import fits
from prism_schema.avro.expansion import check_expansion
from prism_schema.avro.types import MISSING, PRIMITIVES, AvroField, AvroType
from prism_schema.limits import Counter
from prism_schema.model import Field, ParsedSchema, Resolved, SchemaError, SchemaKind
from prism_schema.tagging import field_tags, schema_tags

_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*")
_FULL_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]*(\.[A-Za-z_][A-Za-z0-9_]*)*")
_ORDERS = ("ascending", "descending", "ignore")


def parse(text: str, references: tuple[Resolved, ...]) -> ParsedSchema:
    """A schema with all names resolved. References are read first, in the order that their own names demand."""
    reader = _Reader()
    _read_references(reader, references)
    known = len(reader.names)
    value = _load(text)
    root, canonical = reader.read(value, "", "", 0)
    reader.check_defaults()
    check_expansion(root)
    types = list(reader.names)[known:]
    main = [root.name] if root.name else []
    tagged = value if isinstance(value, dict) else {}
    return ParsedSchema(SchemaKind.AVRO, text, json_text.dump(canonical), references,
                        tuple(dict.fromkeys(main + types)), tuple(reader.fields), schema_tags(tagged), root)


def _load(text: str) -> Any:
    stripped = text.strip()
    if stripped in PRIMITIVES:  # the bare name, which registries accept beside the JSON string
        return stripped
    return json_text.load(text)


def _read_references(reader: _Reader, references: tuple[Resolved, ...]) -> None:
    """A reference may use names of another one, so that the given order is only a hint."""
    waiting = list(references)
    while waiting:
        failed: list[tuple[Resolved, _UnknownNameError]] = []
        for reference in waiting:
            before = dict(reader.names)
            try:
                reader.read(_load(reference.text), "", "", 0)
            except _UnknownNameError as error:
                reader.names = before
                failed.append((reference, error))
            except SchemaError as error:
                raise SchemaError(f"reference {reference.name!r}: {error}") from None
        if len(failed) == len(waiting):
            raise SchemaError(f"reference {failed[0][0].name!r}: {failed[0][1]}")
        waiting = [one for one, _ in failed]
    reader.fields.clear()


class _UnknownNameError(SchemaError):
    pass


class _Reader:
    """`names` are the named types read so far by their full name."""

    def __init__(self) -> None:
        self.names: dict[str, AvroType] = {}
        self.fields: list[Field] = []
        self._defaults: list[tuple[AvroType, Any, str]] = []
        self._counter = Counter()

    def check_defaults(self) -> None:
        """SchemaError for a default that its type does not have; possible only when all types are whole."""
        for kind, value, path in self._defaults:
            if not fits(kind, value):
                raise SchemaError(f"the default {json_text.dump(value)[:80]} does not fit the type {kind.label}",
                                  path=path)

    def read(self, value: Any, namespace: str, path: str, depth: int) -> tuple[AvroType, Any]:
        """(type, canonical JSON) of a schema."""
        if isinstance(value, str):
            return self._named(value, namespace, path)
        self._counter.one_more(depth, path)
        if isinstance(value, list):
            return self._union(value, namespace, path, depth)
        if not isinstance(value, dict):
            raise SchemaError(f"a type is a name, an object or an array, not {json_text.dump(value)[:40]}", path=path)
        kind = value.get("type")
        if kind in ("record", "error"):
            return self._record(value, namespace, path, depth)
        if kind == "enum":
            return self._enum(value, namespace, path)
        if kind == "fixed":
            return self._fixed(value, namespace, path)
        if kind in ("array", "map"):
            return self._container(value, kind, namespace, path, depth)
        if isinstance(kind, str):
            found, name = self._named(kind, namespace, path)
            if found.name:
                return found, name
            made = AvroType(kind)
            rest = logical.annotate(made, value, path)
            return made, {"type": kind, **rest} if rest else kind
        if isinstance(kind, dict | list):  # {"type": {"type": ...}}, which Avro accepts
            return self.read(kind, namespace, path, depth + 1)
        raise SchemaError("the key `type` is missing", path=path)

    def _named(self, name: str, namespace: str, path: str) -> tuple[AvroType, Any]:
        if name in PRIMITIVES:
            return AvroType(name), name
        for full in ((f"{namespace}.{name}", name) if namespace and "." not in name else (name,)):
            if full in self.names:
                return self.names[full], full
        raise _UnknownNameError(f"the type {name!r} is not defined, neither here nor in a reference", path=path)

    def _union(self, value: list[Any], namespace: str, path: str, depth: int) -> tuple[AvroType, Any]:
        made = AvroType("union")
        texts = []
        labels: set[str] = set()
        for index, branch in enumerate(value):
            kind, text = self.read(branch, namespace, path, depth + 1)
            if kind.kind == "union":
                raise SchemaError("a union stands directly in a union", path=path)
            if kind.label in labels:
                raise SchemaError(f"the union has two branches {kind.label}", path=path)
            if len(made.branches) != index:
                raise SchemaError("a union repeats a branch", path=path)
            labels.add(kind.label)
            made.branches.append(kind)
            texts.append(text)
        return made, texts

    def _record(self, value: dict[str, Any], namespace: str, path: str, depth: int) -> tuple[AvroType, Any]:
        made, inner, text = self._define(value, "record", namespace, path)
        fields = value.get("fields")
        if not isinstance(fields, list):
            raise SchemaError("a record needs `fields`, an array", path=path or made.name)
        text["fields"] = []
        taken: set[str] = set()
        for one in fields:
            if not isinstance(one, dict):
                raise SchemaError("a field is an object", path=path or made.name)
            text["fields"].append(self._field(made, one, inner, path, depth, taken))
        return made, text

    def _field(self, record: AvroType, value: dict[str, Any], namespace: str, path: str, depth: int,
               taken: set[str]) -> Any:
        name = value.get("name")
        if not isinstance(name, str) or not _NAME.fullmatch(name):
            raise SchemaError(f"{name!r} is no name of a field", path=path or record.name)
        where = f"{path}.{name}" if path else name
        if "type" not in value:
            raise SchemaError("the field has no type", path=where)
        aliases = _texts(value, "aliases", where)
        for one in (name, *aliases):
            if one in taken:
                raise SchemaError(f"the record has two fields or aliases {one!r}", path=where)
            taken.add(one)
        if value.get("order", "ascending") not in _ORDERS:
            raise SchemaError(f"order is one of {', '.join(_ORDERS)}", path=where)
        slot = len(self.fields)
        kind, text = self.read(value["type"], namespace, where, depth + 1)
        default = value.get("default", MISSING)
        if default is not MISSING:
            self._defaults.append((kind, default, where))
        record.fields.append(AvroField(name, kind, default, aliases))
        nullable = kind.kind == "null" or any(branch.kind == "null" for branch in kind.branches)
        self.fields.insert(slot, Field(where, name, nullable, **field_tags(value)))
        rest = {key: value[key] for key in sorted(value) if key not in ("name", "type")}
        return {"name": name, "type": text, **rest}

    def _enum(self, value: dict[str, Any], namespace: str, path: str) -> tuple[AvroType, Any]:
        made, _, text = self._define(value, "enum", namespace, path)
        made.symbols = symbols = _texts(value, "symbols", path or made.name)
        if "symbols" not in value:
            raise SchemaError("an enum needs `symbols`, an array", path=path or made.name)
        for symbol in symbols:
            if not _NAME.fullmatch(symbol):
                raise SchemaError(f"{symbol!r} is no symbol of an enum", path=path or made.name)
        if len(set(symbols)) != len(symbols):
            raise SchemaError("the enum has a symbol twice", path=path or made.name)
        made.default = value.get("default", MISSING)
        if made.default is not MISSING and made.default not in symbols:
            raise SchemaError(f"the enum's default {made.default!r} is not among its symbols", path=path or made.name)
        return made, text

    def _fixed(self, value: dict[str, Any], namespace: str, path: str) -> tuple[AvroType, Any]:
        made, _, text = self._define(value, "fixed", namespace, path)
        size = value.get("size")
        if not isinstance(size, int) or isinstance(size, bool) or not 0 <= size <= 2**31 - 1:
            raise SchemaError("a fixed needs `size`, a number of bytes", path=path or made.name)
        made.size = size
        logical.annotate(made, value, path or made.name)
        return made, text

    def _container(self, value: dict[str, Any], kind: str, namespace: str, path: str,
                   depth: int) -> tuple[AvroType, Any]:
        key = "items" if kind == "array" else "values"
        if key not in value:
            raise SchemaError(f"the {kind} needs `{key}`", path=path)
        items, text = self.read(value[key], namespace, f"{path}[]" if path else "[]", depth + 1)
        rest = {name: value[name] for name in sorted(value) if name not in ("type", key)}
        return AvroType(kind, items=items), {"type": kind, key: text, **rest}

    def _define(self, value: dict[str, Any], kind: str, namespace: str,
                path: str) -> tuple[AvroType, str, dict[str, Any]]:
        """(the type, the namespace inside it, its canonical JSON so far). Known from here on: it may hold itself."""
        name = value.get("name")
        if not isinstance(name, str) or not _FULL_NAME.fullmatch(name):
            raise SchemaError(f"{name!r} is no name of a type", path=path)
        space = value.get("namespace", namespace)
        if not isinstance(space, str) or (space and not _FULL_NAME.fullmatch(space)):
            raise SchemaError(f"{space!r} is no namespace", path=path)
        full = name if "." in name or not space else f"{space}.{name}"
        inner = full.rpartition(".")[0]
        if name in PRIMITIVES or full in PRIMITIVES:
            raise SchemaError(f"{name!r} is the name of a primitive type", path=path)
        if full in self.names:
            raise SchemaError(f"the type {full!r} is defined twice", path=path)
        aliases = tuple(one if "." in one or not inner else f"{inner}.{one}"
                        for one in _texts(value, "aliases", path or full))
        made = self.names[full] = AvroType(kind, full, aliases)
        skipped = ("name", "namespace", "type", "fields", "aliases")
        rest = {key: value[key] for key in sorted(value) if key not in skipped}
        text = {"type": kind, "name": full, **({"aliases": list(aliases)} if aliases else {}), **rest}
        return made, inner, text


def _texts(value: dict[str, Any], key: str, path: str) -> tuple[str, ...]:
    found = value.get(key, [])
    if not isinstance(found, list) or not all(isinstance(one, str) for one in found):
        raise SchemaError(f"`{key}` is an array of strings", path=path)
    return tuple(found)
