"""What a handler gets of a request: its path parameters, its query and its body, checked as they are asked for."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from typing import Any
from urllib.parse import parse_qsl, unquote

from prism_schema import Level, SchemaKind
from prism_schema_registry.errors import (
    invalid_level,
    invalid_mode,
    invalid_schema,
    invalid_version,
    malformed,
    schema_not_found,
)
from prism_schema_registry.model import LATEST, MAX_ID, Draft, Mode, Reference
from prism_schema_registry.registry import Registry
from prism_schema_registry.storable import storable
from prism_schema_registry.subjects import GLOBAL, Subject, parse, scope


class Call:
    """One request to the registry. RegistryError from whatever does not find what it needs."""

    def __init__(self, registry: Registry, parameters: Sequence[str], query: bytes, body: bytes) -> None:
        self.registry = registry
        self.parameters = parameters
        self._pairs = parse_qsl(query.decode("utf-8", "replace"), keep_blank_values=True)
        self._query: Mapping[str, str] = dict(self._pairs)
        self._body = body

    def flag(self, name: str) -> bool:
        return self._query.get(name, "").lower() == "true"

    def only_deleted(self) -> bool:
        """Clients spell it in two ways."""
        return self.flag("deletedOnly") or self.flag("deleted_only")

    def text(self, name: str, default: str = "") -> str:
        return self._query.get(name, default)

    def number(self, name: str, default: int) -> int:
        """RegistryError 422 for what is no number."""
        found = self._query.get(name, "")
        if not found:
            return default
        try:
            return int(found)
        except ValueError:
            raise malformed(f"{name}={found[:40]!r} is no number") from None

    def pairs(self, key: str, value: str) -> dict[str, str]:
        """Values by keys, where both stand in the query as often as there are pairs."""
        keys = [unquote(text) for name, text in self._pairs if name == key]
        return dict(zip(keys, (unquote(text) for name, text in self._pairs if name == value), strict=False))

    def subject(self, index: int = 0) -> Subject:
        return parse(self.parameters[index])

    def scope(self) -> Subject:
        """A subject or a context; everything where the path names none."""
        return scope(self.parameters[0]) if self.parameters else GLOBAL

    def context(self) -> str:
        """Of the subject in the query, where ids are looked up."""
        return scope(self.text("subject") or ":.:").context

    def version(self, index: int = 1) -> int:
        """A number, or LATEST. RegistryError 42202."""
        text = self.parameters[index]
        if text in ("latest", "-1"):
            return LATEST
        if not text.isascii() or not text.isdecimal() or not 0 < int(text[:11]) <= MAX_ID:
            raise invalid_version(text[:40])
        return int(text)

    def id(self) -> int:
        text = self.parameters[0]
        if not text.isascii() or not text.isdecimal() or len(text) > 10:
            raise schema_not_found(text[:40])
        return int(text)

    def page(self, found: list[Any]) -> list[Any]:
        """The part that `offset` and `limit` ask for."""
        offset, limit = max(self.number("offset", 0), 0), self.number("limit", -1)
        return found[offset:] if limit < 0 else found[offset:offset + limit]

    def json(self) -> dict[str, Any]:
        """RegistryError 422 when the body is no JSON object."""
        try:
            found = json.loads(self._body or b"null")
        except (ValueError, RecursionError) as error:
            raise malformed(f"the body is not JSON: {error}") from None
        if not isinstance(found, dict):
            raise malformed("the body must be a JSON object")
        if not storable(found):
            raise malformed("the body holds a NUL, half of a surrogate pair, or a number that is not finite")
        return found

    def draft(self) -> Draft:
        """The schema in the body."""
        return draft_of(self.json(), normalize=self.flag("normalize"))

    def level(self) -> Level | None:
        """`compatibility` of the body; None where it is not given. RegistryError 42203."""
        found = self.json().get("compatibility")
        if found is None:
            return None
        try:
            return Level(str(found).upper())
        except ValueError:
            raise invalid_level() from None

    def mode(self) -> Mode:
        try:
            return Mode(str(self.json().get("mode")).upper())
        except ValueError:
            raise invalid_mode() from None


def draft_of(body: Mapping[str, Any], *, normalize: bool = False) -> Draft:
    """A schema as clients send it. RegistryError 422 for values of a wrong type, 42201 for no schema at all."""
    text = body.get("schema")
    if not isinstance(text, str):
        raise malformed("schema must be a string") if text is not None else invalid_schema("Empty schema")
    if not text.strip():
        raise invalid_schema("Empty schema")
    kind = body.get("schemaType") or SchemaKind.AVRO
    try:
        kind = SchemaKind(kind)
    except ValueError:
        raise invalid_schema(f"Invalid schema type {str(kind)[:40]!r}; use {', '.join(SchemaKind)}") from None
    extras = {name: body[name] for name in ("metadata", "ruleSet") if body.get(name)}
    if not all(isinstance(value, dict) for value in extras.values()):
        raise malformed("metadata and ruleSet must be objects")
    return Draft(kind, text, _references(body.get("references") or ()), extras, _positive(body, "id"),
                 _positive(body, "version"), normalize)


def _references(found: Any) -> tuple[Reference, ...]:
    if not isinstance(found, (list, tuple)):
        raise malformed("references must be a list")
    references = []
    for item in found:
        if not isinstance(item, dict):
            raise malformed("each reference must be an object with name, subject and version")
        name, subject, version = item.get("name"), item.get("subject"), item.get("version", LATEST)
        if not isinstance(name, str) or not isinstance(subject, str) or type(version) is not int or not name:
            raise malformed("a reference has a name and a subject, which are strings, and a version, a number")
        references.append(Reference(name, subject, version))
    return tuple(references)


def _positive(body: Mapping[str, Any], name: str) -> int:
    """0 where it is not given; clients write -1 for that too."""
    found = body.get(name)
    if found is None:
        return 0
    if type(found) is not int or found > MAX_ID:
        raise malformed(f"{name} must be a number up to {MAX_ID}")
    return max(found, 0)
