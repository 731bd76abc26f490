"""What a new schema has to say of personal data: `--pii-validation` refuses fields that look like it without a tag."""

from __future__ import annotations

from prism_runtime import log
from prism_schema import ParsedSchema
from prism_schema.governance import contradictions, deprecations, untagged_pii
from prism_schema_registry.errors import untagged
from prism_schema_registry.subjects import Subject

OFF, WARN, ENFORCE = "off", "warn", "enforce"


class Tags:
    """`validation` is off, warn or enforce."""

    def __init__(self, validation: str = OFF) -> None:
        self._validation = validation

    def check(self, subject: Subject, schema: ParsedSchema) -> None:
        """RegistryError 42210 where tags are missing or contradict each other, and that is enforced."""
        if self._validation == OFF:
            return
        found = untagged_pii(schema) + contradictions(schema)
        if found and self._validation == ENFORCE:
            raise untagged([finding.message for finding in found])
        if findings := [finding.message for finding in found + deprecations(schema)]:
            log.get("prism.schema_registry").warning("a new schema has fields to look at", subject=str(subject),
                                              findings="; ".join(findings))
