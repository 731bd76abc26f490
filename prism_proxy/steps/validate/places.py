"""From a namespace's options to the places that its schema is looked for in, and whether it may name them."""

from __future__ import annotations

from fnmatch import fnmatchcase

from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.schema.options import REGISTRIES, RegistryOptions, SchemasOptions
from prism_proxy.schema.propagation import Target
from prism_proxy.schema.reference import Place, Reference
from prism_proxy.steps.validate.options import MemberOptions, SchemaOptions


def reference(namespace: str, options: SchemaOptions, schemas: SchemasOptions, *, assigned: bool) -> Reference:
    """PrismError for a registry that is not there, or that a namespace assigned by an admin may not use."""
    finder = _Finder(namespace, options, schemas, assigned=assigned)
    members = sorted(options.registries, key=lambda one: one.priority)
    places = tuple(map(finder.member, members)) if options.registry_type == "federated" else (finder.single(),)
    trust = options.trust
    return Reference(places, options.format, trust.schema_name, trust.sha256_hash, trust.allowed_sources)


def propagation(namespace: str, options: SchemaOptions, schemas: SchemasOptions, *, assigned: bool) -> Target | None:
    """Where the schema is copied to; None where nothing is. PrismError as `reference`."""
    wanted = options.propagation
    if not wanted.enabled:
        return None
    finder = _Finder(namespace, options, schemas, assigned=assigned)
    kind = schemas.registries[wanted.registry].type if wanted.registry in schemas.registries else "confluent"
    if kind not in REGISTRIES:
        raise finder.refused(f"registry {wanted.registry!r} is of type {kind}, which takes no schemas")
    place = finder.named(kind, wanted.registry, "") if wanted.registry else finder.written(kind, wanted.registry_url)
    return Target(place, wanted.topics, wanted.subject_naming, wanted.compatibility)


class _Finder:
    def __init__(self, namespace: str, options: SchemaOptions, schemas: SchemasOptions, *, assigned: bool) -> None:
        self._namespace = namespace
        self._options = options
        self._schemas = schemas
        self._assigned = assigned

    def single(self) -> Place:
        options = self._options
        url = options.registry_url or options.url
        if options.registry_type == "github" and not url:
            url = f"github.com/{options.repository}/blob/{options.branch}/{options.path}"
            if options.registry:
                return self.named("github", options.registry, f"{options.repository}/{options.branch}/{options.path}")
        if options.registry:
            return self.named(options.registry_type, options.registry, url)
        return self.written(options.registry_type, url)

    def member(self, member: MemberOptions) -> Place:
        if member.registry:
            return self.named(member.type, member.registry, self._options.url)
        return self.written(member.type, member.url)

    def written(self, kind: str, url: str) -> Place:
        if self._assigned:
            raise self.refused(f"it names the address {url}, which a namespace that an admin assigns may not: name a "
                                "registry of proxy.schemas.registries in schema.registry")
        return Place(kind, url, self._options.subject, self._version(kind), private=kind in ("prism", "confluent"))

    def named(self, kind: str, name: str, path: str) -> Place:
        found = self._schemas.registries.get(name)
        if found is None:
            known = ", ".join(sorted(self._schemas.registries)) or "none"
            raise self.refused(f"registry {name!r} is not there; proxy.schemas.registries has {known}")
        if self._assigned and not any(fnmatchcase(self._namespace, glob) for glob in found.allow):
            raise self.refused(f"registry {name!r} does not allow it: add the namespace to its `allow` in the proxy's "
                                "own file")
        if found.type != kind:
            raise self.refused(f"registry {name!r} is of type {found.type}, not {kind}")
        url = found.url if found.type in ("prism", "confluent") else f"{found.url.rstrip('/')}/{_inside(path)}"
        kind = "https" if found.type == "github" else found.type  # its address has the bytes of files
        return self._place(found, kind, url)

    def _place(self, found: RegistryOptions, kind: str, url: str) -> Place:
        return Place(kind, url, self._options.subject, self._version(kind), found.username, found.password,
                     private=True)

    def _version(self, kind: str) -> str:
        return self._options.branch if kind == "github" and self._options.version == "latest" else self._options.version

    def refused(self, why: str) -> PrismError:
        return PrismError(StatusCode.FAILED_PRECONDITION, "SCHEMA_REFUSED",
                          f"the schema of namespace {self._namespace!r}: {why}", {"namespace": self._namespace})


def _inside(path: str) -> str:
    """A path below an address, which no part of it can leave."""
    return "/".join(part for part in path.split("/") if part not in ("", ".", ".."))
