"""A registry that speaks the protocol of Confluent's: ours, theirs, and others that took it over."""

from __future__ import annotations

import json
from typing import Any
from urllib.parse import quote

from prism_proxy.schema.errors import NOT_FOUND, REGISTRY_REFUSED, SchemaUnresolved
from prism_proxy.schema.fetcher import Fetcher
from prism_proxy.schema.found import Fetched
from prism_proxy.schema.reference import Place
from prism_schema import Resolved, SchemaKind
from prism_schema.limits import MAX_REFERENCES


async def fetch(place: Place, fetcher: Fetcher) -> Fetched:
    """A version of a subject, with everything that it refers to. SchemaUnresolved."""
    registry = _Registry(place, fetcher)
    version = _version(place)
    found = await registry.version(place.subject, version)
    references = await registry.references(found)
    number = found.get("version", 0)
    return Fetched(f"{place.url.rstrip('/')}/subjects/{quote(place.subject, safe='')}/versions/{number}", f"v{number}",
                   found["schema"].encode(), _kind(found, place), references, int(found.get("id", 0)))


def _version(place: Place) -> str:
    text = place.version.removeprefix("v")
    if text != "latest" and not (text.isascii() and text.isdigit()):
        raise SchemaUnresolved(NOT_FOUND, place.shown, f"version {place.version!r} is neither a number nor latest")
    return text


class _Registry:
    def __init__(self, place: Place, fetcher: Fetcher) -> None:
        self._place = place
        self._fetcher = fetcher
        self._auth = (place.username, place.password) if place.username else None

    async def version(self, subject: str, version: str) -> dict[str, Any]:
        url = f"{self._place.url.rstrip('/')}/subjects/{quote(subject, safe='')}/versions/{quote(version, safe='')}"
        body = await self._fetcher.get(url, private=self._place.private, auth=self._auth,
                                       headers={"Accept": "application/vnd.schemaregistry.v1+json, application/json"})
        try:
            found = json.loads(body)
        except (ValueError, RecursionError):
            found = None
        if not isinstance(found, dict) or not isinstance(found.get("schema"), str):
            raise SchemaUnresolved(REGISTRY_REFUSED, url, "the answer is not that of a schema registry")
        return found

    async def references(self, found: dict[str, Any]) -> tuple[Resolved, ...]:
        """All that a schema refers to, directly or not. Each version of a subject is asked for once."""
        made: dict[str, Resolved] = {}
        asked: dict[tuple[str, str], dict[str, Any]] = {}
        waiting = list(found.get("references") or ())
        while waiting:
            one = waiting.pop(0)
            try:
                name, key = str(one["name"]), (str(one["subject"]), str(one["version"]))
            except (TypeError, KeyError):
                raise SchemaUnresolved(REGISTRY_REFUSED, self._place.shown, "a reference lacks its name, subject or "
                                       "version") from None
            if name in made:
                continue
            if len(made) >= MAX_REFERENCES:
                raise SchemaUnresolved(REGISTRY_REFUSED, self._place.shown, f"more than {MAX_REFERENCES} references")
            if key not in asked:
                asked[key] = await self.version(*key)
            made[name] = Resolved(name, asked[key]["schema"])
            waiting += asked[key].get("references") or ()
        return tuple(made.values())


def _kind(found: dict[str, Any], place: Place) -> SchemaKind:
    try:
        return SchemaKind(found.get("schemaType") or "AVRO")
    except ValueError:
        raise SchemaUnresolved(REGISTRY_REFUSED, place.shown, f"schemaType {found.get('schemaType')!r} is not read"
                               ) from None
