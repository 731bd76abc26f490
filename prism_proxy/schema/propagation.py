"""Copies the schema of a namespace to a registry that other people's clients ask, such as that of a Kafka cluster.

Registering is idempotent: the same text under the same subject keeps its id. It writes nothing but the subjects that
the namespace names, and never deletes.
"""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import dataclass
from urllib.parse import quote

from prism_proxy.schema.errors import REGISTRY_REFUSED, SchemaUnresolved
from prism_proxy.schema.fetcher import Fetcher
from prism_proxy.schema.found import ResolvedSchema
from prism_proxy.schema.reference import Place
from prism_schema import SchemaKind

TOPIC_NAME, RECORD_NAME, TOPIC_RECORD_NAME = "TopicNameStrategy", "RecordNameStrategy", "TopicRecordNameStrategy"
STRATEGIES = (TOPIC_NAME, RECORD_NAME, TOPIC_RECORD_NAME)
_TYPE = "application/vnd.schemaregistry.v1+json"


@dataclass(frozen=True, slots=True)
class Target:
    """`place` is the registry. `compatibility` is set for the subjects, where it is not empty."""

    place: Place
    topics: Sequence[str]
    naming: str = TOPIC_NAME
    compatibility: str = ""

    def subjects(self, record: str) -> list[str]:
        """The names that stock serialisers look for, with their subject name strategy."""
        if self.naming == RECORD_NAME:
            return [record]
        ending = "value" if self.naming == TOPIC_NAME else record
        return [f"{topic}-{ending}" for topic in self.topics]


async def copy(resolved: ResolvedSchema, target: Target, fetcher: Fetcher) -> dict[str, int]:
    """The ids that the schema has there, by subject. SchemaUnresolved."""
    schema, url = resolved.schema, target.place.url.rstrip("/")
    if schema.references:
        raise SchemaUnresolved(REGISTRY_REFUSED, url, "schemas with references are not copied: register "
                               f"{schema.references[0].name} and the schema there, and leave schema.propagation out")
    record = resolved.type_name or next(iter(schema.types), "")
    if not record and target.naming != TOPIC_NAME:
        raise SchemaUnresolved(REGISTRY_REFUSED, url, f"{target.naming} needs a schema with a name: give it a title")
    body: dict[str, str] = {"schema": schema.text}
    if schema.kind is not SchemaKind.AVRO:  # which is what no type means, also to old registries
        body["schemaType"] = schema.kind.value
    ids = {}
    for subject in target.subjects(record):
        name = quote(subject, safe="")
        if target.compatibility:
            await _send("PUT", f"{url}/config/{name}", {"compatibility": target.compatibility.upper()}, target, fetcher)
        answer = await _send("POST", f"{url}/subjects/{name}/versions", body, target, fetcher)
        found = answer.get("id") if isinstance(answer, dict) else None
        if not isinstance(found, int):
            raise SchemaUnresolved(REGISTRY_REFUSED, url, "the answer is not that of a schema registry")
        ids[subject] = found
    return ids


async def _send(method: str, url: str, body: dict[str, str], target: Target, fetcher: Fetcher) -> object:
    place = target.place
    answer = await fetcher.send(method, url, json.dumps(body).encode(), _TYPE,
                                auth=(place.username, place.password) if place.username else None)
    try:
        found: object = json.loads(answer)
    except (ValueError, RecursionError):
        return None
    return found
