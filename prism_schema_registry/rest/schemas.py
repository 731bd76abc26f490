"""`/schemas`: by id, by GUID, and all of them."""

from __future__ import annotations

from typing import Any

from prism_schema_registry.errors import schema_not_found
from prism_schema_registry.model import Schema
from prism_schema_registry.parsing import kinds
from prism_schema_registry.rest import shapes
from prism_schema_registry.rest.call import Call
from prism_schema_registry.rest.forms import text_of
from prism_schema_registry.rest.http import Reply
from prism_schema_registry.rest.subjects import matching


async def by_id(call: Call) -> dict[str, Any]:
    found = _schema(call)
    shown = shapes.schema(found, await text_of(call, found))
    if call.flag("fetchMaxId"):
        shown["maxId"] = call.registry.catalog.last_id
    return shown


async def text_by_id(call: Call) -> Reply:
    return Reply(200, (await text_of(call, _schema(call))).encode())


async def by_guid(call: Call) -> dict[str, Any]:
    found = call.registry.catalog.by_guid(call.parameters[0])
    if found is None:
        raise schema_not_found(call.parameters[0][:40])
    return {**shapes.schema(found, await text_of(call, found)), "guid": found.guid}


async def subjects(call: Call) -> list[str]:
    found = {str(version.subject) for version in call.registry.uses(_schema(call), deleted=call.flag("deleted"))}
    return call.page(sorted(found))


async def versions(call: Call) -> list[dict[str, Any]]:
    return call.page([{"subject": str(version.subject), "version": version.number}
                      for version in call.registry.uses(_schema(call), deleted=call.flag("deleted"))])


async def all_schemas(call: Call) -> list[dict[str, Any]]:
    """Every version of every subject, or the last of each."""
    found = []
    for subject in matching(call):
        listed = call.registry.catalog.versions(subject, deleted=call.flag("deleted"))
        found += listed[-1:] if call.flag("latestOnly") else listed
    return [shapes.version(version) for version in call.page(found)]


async def types(call: Call) -> list[str]:
    return list(kinds())


def _schema(call: Call) -> Schema:
    return call.registry.schema(call.id(), call.context())
