"""What a new schema has to say of personal data: where its subject demands it, fields that look like it need a tag."""

from __future__ import annotations

from prism_runtime import log
from prism_schema import ParsedSchema
from prism_schema.governance import contradictions, deprecations, untagged_pii
from prism_schema_registry.errors import untagged
from prism_schema_registry.subjects import Subject

OFF, WARN, ENFORCE = "off", "warn", "enforce"
VALIDATIONS = (OFF, WARN, ENFORCE)


def check(subject: Subject, schema: ParsedSchema, validation: str | None) -> None:
    """RegistryError 42210 where tags are missing or contradict each other, and that is enforced."""
    if validation in (None, OFF):
        return
    found = untagged_pii(schema) + contradictions(schema)
    if found and validation == ENFORCE:
        raise untagged([finding.message for finding in found])
    if findings := [finding.message for finding in found + deprecations(schema)]:
        log.get("prism.schema_registry").warning("a new schema has fields to look at", subject=str(subject),
                                                 findings="; ".join(findings))
