"""Resolves references for a whole process, and keeps what was found.

    cache (within its time: no request) -> places in their order -> trust -> parse -> cache
                                             |-- none answers: what was found before goes on being used, with a warning,
                                                 also by a process before this one (`cache_dir`)
"""

from __future__ import annotations

import asyncio
import hashlib
import time
from collections import OrderedDict
from collections.abc import Callable
from dataclasses import dataclass

from prism_proxy.schema.addresses import Addresses
from prism_proxy.schema.errors import CHANGED, HASH_MISMATCH, NAME_NOT_FOUND, PARSE_ERROR, SchemaUnresolved
from prism_proxy.schema.fetcher import Fetcher
from prism_proxy.schema.found import FORMATS, Fetched, ResolvedSchema
from prism_proxy.schema.options import SchemasOptions
from prism_proxy.schema.reference import Place, Reference
from prism_proxy.schema.sources import files, registry
from prism_proxy.schema.store import SchemaFiles
from prism_runtime import log
from prism_schema import SchemaError, SchemaKind, parse

MAX_KEPT = 1000


@dataclass(slots=True)
class _Kept:
    fetched: Fetched
    until: float


class Resolver:
    """One per process. `fetched`, `served`, `stale` and `failed` count for metrics."""

    def __init__(self, options: SchemasOptions, *, now: Callable[[], float] = time.monotonic) -> None:
        self._options = options
        self._now = now
        self.fetcher = Fetcher(Addresses(options.allow_networks), options.timeout)
        self._files = SchemaFiles(options.cache_dir)
        self._kept: OrderedDict[tuple[Place, tuple[str, ...]], _Kept] = OrderedDict()
        self._numbered: OrderedDict[tuple[str, str], bytes] = OrderedDict()  # digests of versions that never change
        self._one = asyncio.Lock()
        self.fetched = self.served = self.stale = self.failed = 0

    async def resolve(self, reference: Reference) -> ResolvedSchema:
        """SchemaUnresolved says which place refused it and why; of several places the last one."""
        async with self._one:  # namespaces that name the same schema fetch it once
            failure: SchemaUnresolved | None = None
            for place in reference.places:
                try:
                    found = await self._at(place, reference.sources)
                except SchemaUnresolved as error:
                    self.failed += 1
                    if len(reference.places) > 1:
                        log.get("prism.schema").warning("a registry has no schema, the next one is asked",
                                                        place=error.place, reason=error.reason, error=error.why)
                    if failure is None or failure.temporary:
                        failure = error
                    continue
                return _trusted(found, reference)
        if failure is None:
            raise SchemaUnresolved(NAME_NOT_FOUND, "nowhere", "no place is configured")
        raise failure

    async def _at(self, place: Place, sources: tuple[str, ...]) -> Fetched:
        key = place, sources if place.is_file else ()  # what one namespace may fetch, another one may not
        kept = self._kept.get(key)
        if kept is not None and kept.until > self._now():
            self.served += 1
            self._kept.move_to_end(key)
            return kept.fetched
        try:
            if place.is_file:
                found = await files.fetch(place, sources, self.fetcher, self._options)
            else:
                found = await registry.fetch(place, self.fetcher)
            self._check_unchanged(place, found)
        except SchemaUnresolved as error:
            before = kept.fetched if kept is not None else await asyncio.to_thread(self._files.read, place)
            if before is None or not error.temporary:
                raise
            self.stale += 1
            self._keep(key, before, min(self._options.latest_ttl, self._options.cache_ttl))
            log.get("prism.schema").warning("a schema cannot be fetched again, the one that is known stays",
                                            place=error.place, error=error.why)
            return before
        self.fetched += 1
        self._keep(key, found, self._lifetime(place))
        await asyncio.to_thread(self._files.write, place, found)
        return found

    def _keep(self, key: tuple[Place, tuple[str, ...]], found: Fetched, seconds: float) -> None:
        self._kept[key] = _Kept(found, self._now() + seconds)
        while len(self._kept) > MAX_KEPT:
            self._kept.popitem(last=False)

    def _lifetime(self, place: Place) -> float:
        if place.is_file:
            return self._options.cache_ttl
        return self._options.latest_ttl if place.latest else float("inf")

    def _check_unchanged(self, place: Place, found: Fetched) -> None:
        """A numbered version of a registry never changes."""
        if place.is_file:
            return
        key, digest = (found.url, found.version), hashlib.sha256(found.content).digest()
        if self._numbered.setdefault(key, digest) != digest:
            raise SchemaUnresolved(CHANGED, found.url, "the registry has another text for this version than before")
        while len(self._numbered) > 10 * MAX_KEPT:
            self._numbered.popitem(last=False)


def _trusted(found: Fetched, reference: Reference) -> ResolvedSchema:
    """What was fetched, held against what the namespace demands of it, and parsed."""
    digest = hashlib.sha256(found.content).hexdigest()
    wanted = reference.sha256.lower().removeprefix("sha256:")
    if wanted and digest != wanted:
        raise SchemaUnresolved(HASH_MISMATCH, found.url, f"trust.sha256_hash is {wanted}, and the schema's is {digest}")
    kind = FORMATS[reference.format] if reference.format else found.kind
    if kind is None:
        raise SchemaUnresolved(PARSE_ERROR, found.url, "its name does not end in .proto, .avsc or .json: set format")
    try:
        schema = parse(kind, found.content.decode(), found.references)
    except UnicodeDecodeError:
        raise SchemaUnresolved(PARSE_ERROR, found.url, "it is not UTF-8") from None
    except SchemaError as error:
        raise SchemaUnresolved(PARSE_ERROR, found.url, str(error)) from None
    except ModuleNotFoundError as error:
        raise SchemaUnresolved(PARSE_ERROR, found.url, f"{kind} needs {error.name}: pip install 'prism-proxy[schema]'"
                               ) from None
    name = reference.schema_name
    if name and name not in schema.types:
        raise SchemaUnresolved(NAME_NOT_FOUND, found.url, f"it does not define trust.schema_name {name!r}; it has "
                               f"{', '.join(schema.types[:20]) or 'no names'}")
    if kind is not SchemaKind.JSON and not (name or schema.types or kind is SchemaKind.AVRO):
        raise SchemaUnresolved(NAME_NOT_FOUND, found.url, "it defines no type")
    return ResolvedSchema(found, schema, name if kind is not SchemaKind.JSON else "")
