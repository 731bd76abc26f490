"""Reads the text of a JSON Schema of draft 7 or 2020-12.

Patterns run in an engine that needs time in proportion to the text alone; one that it cannot compile is refused here.
Nothing is fetched: what a `$ref` names stands in the schema or in its references.
"""

from __future__ import annotations

from typing import Any

import jsonschema_rs

from prism_schema import json_text
from prism_schema.json.bounds import check_bounds
from prism_schema.json.documents import Documents
from prism_schema.json.fields import fields_of
from prism_schema.model import ParsedSchema, Resolved, SchemaError, SchemaKind
from prism_schema.tagging import schema_tags

_DRAFTS = {"http://json-schema.org/draft-07/schema": 7, "https://json-schema.org/draft-07/schema": 7,
           "https://json-schema.org/draft/2020-12/schema": 2020, "http://json-schema.org/draft/2020-12/schema": 2020}
PATTERN_BYTES = 256 * 1024  # of one compiled pattern


class JsonSchema:
    """What the other modules of this format need of a parsed schema."""

    def __init__(self, root: Any, draft: int, documents: Documents) -> None:
        self.root = root
        self.draft = draft
        self.documents = documents
        self.compiled = _compile(self)


def parse(text: str, references: tuple[Resolved, ...]) -> ParsedSchema:
    """A schema with all references found and all patterns compiled."""
    root = json_text.load(text)
    if not isinstance(root, dict | bool):
        raise SchemaError("a JSON Schema is an object, true or false")
    draft = _draft(root)
    documents = Documents(root, references)
    for _, value in documents.resources:
        if isinstance(value, dict) and "$schema" in value and _draft(value) != draft:
            raise SchemaError("a reference is of another draft than the schema")
    check_bounds(root, documents)
    schema = JsonSchema(root, draft, documents)
    tagged = root if isinstance(root, dict) else {}
    return ParsedSchema(SchemaKind.JSON, text, json_text.dump(root, sort=True), references, _types(tagged),
                        fields_of(schema.root, documents), schema_tags(tagged), schema)


def _draft(root: dict[str, Any] | bool) -> int:
    named = root.get("$schema") if isinstance(root, dict) else None
    if named is None:
        return 2020
    draft = _DRAFTS.get(named.rstrip("#")) if isinstance(named, str) else None
    if draft is None:
        raise SchemaError(f"$schema {named!r} is not read: write draft-07 or 2020-12", path="$schema")
    return draft


def _types(root: dict[str, Any]) -> tuple[str, ...]:
    names = [root.get("title"), root.get("$id")]
    for keyword in ("$defs", "definitions"):
        found = root.get(keyword)
        names += list(found) if isinstance(found, dict) else []
    return tuple(dict.fromkeys(one for one in names if isinstance(one, str) and one))


def _compile(schema: JsonSchema) -> Any:
    draft = jsonschema_rs.Draft7 if schema.draft == 7 else jsonschema_rs.Draft202012
    maker = jsonschema_rs.Draft7Validator if schema.draft == 7 else jsonschema_rs.Draft202012Validator
    resources = schema.documents.resources
    try:
        registry = jsonschema_rs.Registry(resources, draft=draft, retriever=_refuse) if resources else None
        return maker(schema.root, registry=registry, base_uri=schema.documents.root, retriever=_refuse,
                     validate_formats=False, pattern_options=jsonschema_rs.RegexOptions(size_limit=PATTERN_BYTES))
    except jsonschema_rs.ValidationError as error:
        path = ".".join(map(str, error.instance_path))
        raise SchemaError(error.message[:300], path=path or None) from None
    except (jsonschema_rs.ReferencingError, ValueError) as error:
        raise SchemaError(str(error)[:300]) from None


def _refuse(address: str) -> Any:
    raise ValueError(f"{address} is neither in the schema nor among its references, and nothing is fetched")
