"""References of schemas to versions of subjects: what they stand for, and everything that stands behind it.

Each version is followed once, however often it is named, so that references which multiply cost no more than their
number. A reference names a version that is there already, so there are no circles but those of an import, and these end
here too.
"""

from __future__ import annotations

from collections.abc import Iterable

from prism_schema import Resolved
from prism_schema.limits import MAX_REFERENCES, MAX_TEXT_BYTES
from prism_schema_registry.catalog import Catalog
from prism_schema_registry.errors import invalid_schema
from prism_schema_registry.model import LATEST, Reference, Version
from prism_schema_registry.subjects import Subject, parse


def pinned(catalog: Catalog, references: Iterable[Reference], context: str) -> tuple[Reference, ...]:
    """The same with version numbers where a client wrote -1. RegistryError 42201 for one that leads nowhere."""
    return tuple(reference._replace(version=_target(catalog, reference, context).number) for reference in references)


def resolve(catalog: Catalog, references: Iterable[Reference], context: str) -> tuple[Resolved, ...]:
    """The texts behind references, with those behind them. RegistryError 42201."""
    found: dict[str, str] = {}
    seen: set[tuple[Subject, int]] = set()
    waiting = [(reference, context) for reference in references]
    size = 0
    while waiting:
        reference, where = waiting.pop()
        target = _target(catalog, reference, where)
        if found.setdefault(reference.name, target.schema.text) != target.schema.text:
            raise invalid_schema(f"two references have the name {reference.name!r} and differ: name one version")
        if (target.subject, target.number) in seen:
            continue
        seen.add((target.subject, target.number))
        size += len(target.schema.text)
        if len(found) > MAX_REFERENCES or size > MAX_TEXT_BYTES:
            raise invalid_schema(
                f"its references lead to more than {MAX_REFERENCES} schemas, or {MAX_TEXT_BYTES} bytes")
        waiting += ((beyond, target.subject.context) for beyond in target.schema.references)
    return tuple(Resolved(name, text) for name, text in found.items())


def _target(catalog: Catalog, reference: Reference, context: str) -> Version:
    """A softly deleted version is still found by who refers to it."""
    subject = parse(reference.subject, within=context)
    if reference.version == LATEST:
        active = catalog.versions(subject)
        found = active[-1] if active else None
    else:
        found = catalog.version(subject, reference.version)
    if found is None:
        raise invalid_schema(f'No schema reference found for subject "{subject}" and version {reference.version}')
    return found
