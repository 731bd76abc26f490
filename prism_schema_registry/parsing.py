"""Schemas as the formats understand them, remembered while they are used.

Large texts are parsed in a thread, so that one which takes long to refuse delays nobody else.
"""

from __future__ import annotations

import asyncio
import hashlib
import json
from collections import OrderedDict
from collections.abc import Callable, Mapping, Sequence
from typing import Any, TypeVar

import prism_schema
from prism_schema import ParsedSchema, Resolved, SchemaError, SchemaKind
from prism_schema_registry.catalog import Catalog
from prism_schema_registry.errors import invalid_schema
from prism_schema_registry.model import Draft, Schema
from prism_schema_registry.references import resolve

INLINE_BYTES = 4096
KEPT_BYTES = 1024 * 1024  # of text; what is parsed takes ten times as much
ResultT = TypeVar("ResultT")


class Parser:
    """Parses drafts and stored schemas against one catalog."""

    def __init__(self, catalog: Catalog) -> None:
        self._catalog = catalog
        self._kept: OrderedDict[tuple[SchemaKind, str, tuple[Resolved, ...]], ParsedSchema] = OrderedDict()
        self._size = 0

    async def draft(self, draft: Draft, context: str) -> ParsedSchema:
        """RegistryError 42201 when it is no schema, or refers to what is not there."""
        if "\0" in draft.text:  # such as in a comment; PostgreSQL keeps none
            raise invalid_schema("it holds a NUL character")
        return await self._parse(draft.kind, draft.text, resolve(self._catalog, draft.references, context))

    async def schema(self, schema: Schema) -> ParsedSchema:
        """One that is registered."""
        return await self._parse(
            schema.kind, schema.text, resolve(self._catalog, schema.references, schema.context))

    async def _parse(self, kind: SchemaKind, text: str, references: tuple[Resolved, ...]) -> ParsedSchema:
        key = kind, text, references
        found = self._kept.get(key)
        if found is not None:
            self._kept.move_to_end(key)
            return found
        size = len(text) + sum(len(reference.text) for reference in references)
        try:
            found = await aside(size, prism_schema.parse, kind, text, references)
        except SchemaError as error:
            raise invalid_schema(str(error)) from error
        if key not in self._kept:
            self._kept[key] = found
            self._size += size
        while self._size > KEPT_BYTES:
            (_, old, beside), _ = self._kept.popitem(last=False)
            self._size -= len(old) + sum(len(reference.text) for reference in beside)
        return found


async def aside(size: int, work: Callable[..., ResultT], *arguments: Any) -> ResultT:
    """Do what takes time by the size of its texts: in a thread, unless they are small."""
    if size <= INLINE_BYTES:
        return work(*arguments)
    return await asyncio.to_thread(work, *arguments)


def fingerprint(parsed: ParsedSchema, extras: Mapping[str, Any]) -> str:
    """Of a schema with its metadata and rules, in hexadecimal."""
    if not extras:
        return parsed.fingerprint.hex()
    text = json.dumps(extras, sort_keys=True, separators=(",", ":"))
    return hashlib.sha256(parsed.fingerprint + text.encode()).hexdigest()


def kinds() -> Sequence[str]:
    """As `/schemas/types` lists them."""
    return [SchemaKind.JSON.value, SchemaKind.PROTOBUF.value, SchemaKind.AVRO.value]
