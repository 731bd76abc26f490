"""`/subjects`: registering, reading and deleting versions."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from prism_schema_registry.errors import schema_not_found
from prism_schema_registry.model import Version
from prism_schema_registry.rest import shapes
from prism_schema_registry.rest.call import Call
from prism_schema_registry.rest.forms import text_of
from prism_schema_registry.rest.http import Reply
from prism_schema_registry.subjects import ANY_CONTEXT, DEFAULT, Subject


async def names(call: Call) -> list[str]:
    """Subjects with versions, also deleted ones where the query says so."""
    deleted, only_deleted = call.flag("deleted"), call.only_deleted()
    found = []
    for subject in matching(call):
        versions = call.registry.catalog.versions(subject, deleted=deleted or only_deleted)
        active = any(not version.deleted for version in versions)
        if versions and not (only_deleted and active):
            found.append(str(subject))
    return call.page(found)


def matching(call: Call) -> Iterator[Subject]:
    """Subjects whose name begins with `subjectPrefix`. `:.team:a` looks in the context .team, and no prefix in all."""
    prefix = call.text("subjectPrefix", ANY_CONTEXT)
    if prefix.startswith(ANY_CONTEXT):
        context, name = "", prefix.removeprefix(ANY_CONTEXT)
    elif prefix.startswith(":."):
        context, _, name = prefix[1:].partition(":")
    else:
        context, name = DEFAULT, prefix
    for subject in call.registry.catalog.subjects():
        if (not context or subject.context == context) and subject.name.startswith(name):
            yield subject


async def register(call: Call) -> dict[str, Any]:
    version = await call.registry.register(call.subject(), call.draft())
    return {"id": version.schema.id, "version": version.number, "guid": version.schema.guid}


async def lookup(call: Call) -> dict[str, Any]:
    draft = call.draft()
    return shapes.version(await call.registry.lookup(call.subject(), draft, deleted=call.flag("deleted")), draft.text)


async def numbers(call: Call) -> list[int]:
    found = call.registry.versions(
        call.subject(), deleted=call.flag("deleted"), only_deleted=call.only_deleted())
    return call.page([version.number for version in found])


async def version(call: Call) -> dict[str, Any]:
    found = _version(call)
    return shapes.version(found, await text_of(call, found.schema))


async def version_text(call: Call) -> Reply:
    found = _version(call)
    return Reply(200, (await text_of(call, found.schema)).encode())


async def referenced_by(call: Call) -> list[int]:
    found = _version(call)
    return call.page(call.registry.catalog.referrers(found.subject, found.number))


async def delete_subject(call: Call) -> list[int]:
    return await call.registry.deletion.subject(call.subject(), permanent=call.flag("permanent"))


async def delete_version(call: Call) -> int:
    return await call.registry.deletion.version(call.subject(), call.version(), permanent=call.flag("permanent"))


async def with_metadata(call: Call) -> dict[str, Any]:
    """The last version whose metadata have all the properties that the query names, as key=… and value=… in pairs."""
    wanted = call.pairs("key", "value")
    found = [version for version in call.registry.versions(call.subject(), deleted=call.flag("deleted"))
             if wanted.items() <= _properties(version).items()]
    if not found:
        raise schema_not_found()
    return shapes.version(found[-1], await text_of(call, found[-1].schema))


async def contexts(call: Call) -> list[str]:
    return call.page(call.registry.catalog.contexts())


def _version(call: Call) -> Version:
    return call.registry.version(call.subject(), call.version(), deleted=call.flag("deleted"))


def _properties(version: Version) -> dict[str, str]:
    found = version.schema.extras.get("metadata", {}).get("properties")
    return found if isinstance(found, dict) else {}
