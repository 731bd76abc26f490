"""What a schema's fields and tags say to those who govern it: personal data without a tag, fields without `optional`,
tags that contradict each other."""

from __future__ import annotations

from collections.abc import Sequence
from fnmatch import fnmatchcase

from prism_schema.model import Finding, ParsedSchema

PII_NAMES = ("email", "e_mail", "phone", "mobile", "ssn", "social_security", "full_name", "first_name", "last_name",
             "address", "street", "credit_card", "card_number", "ip_address", "date_of_birth")
_SENSITIVE = ("high", "critical")


def untagged_pii(schema: ParsedSchema, names: Sequence[str] = PII_NAMES) -> list[Finding]:
    """Fields whose name contains one of `names`, in any spelling, and that no tag calls personal data. The tag `pii`
    with the value none says that a field is not."""
    wanted = [_plain(one) for one in names]
    return [Finding("PII_UNTAGGED", one.path, f"the field {one.name!r} looks like personal data and has no pii tag")
            for one in schema.fields if not one.pii and any(name in _plain(one.name) for name in wanted)]


def without_optional(schema: ParsedSchema, exceptions: Sequence[str] = ()) -> list[Finding]:
    """Fields that a writer may not leave out, save those whose name matches an exception."""
    required = [one for one in schema.fields
                if not one.optional and not any(fnmatchcase(one.name, glob) for glob in exceptions)]
    return [Finding("FIELD_NOT_OPTIONAL", one.path, f"the field {one.name!r} is not optional: no later version could "
                    "drop it. Make it optional, or add an exception") for one in required]


def contradictions(schema: ParsedSchema) -> list[Finding]:
    """Tags of the schema that demand others: high sensitivity demands an owner, and encryption of personal data."""
    if schema.options.get("sensitivity", "").lower() not in _SENSITIVE:
        return []
    found = [] if schema.options.get("owner_team") else [
        Finding("OWNER_TEAM_MISSING", "", "a schema of high sensitivity needs the tag owner_team")]
    return found + [Finding("PII_NOT_ENCRYPTED", one.path, f"the field {one.name!r} is personal data of high "
                            "sensitivity: add the tag encrypt") for one in schema.fields
                    if one.pii not in ("", "none") and not one.encrypt]


def deprecations(schema: ParsedSchema) -> list[Finding]:
    """Fields that are tagged as deprecated."""
    return [Finding("FIELD_DEPRECATED", one.path, f"the field {one.name!r} is deprecated"
                    f"{'' if one.deprecated == 'true' else f' since {one.deprecated}'}"
                    f"{f': {one.deprecated_reason}' if one.deprecated_reason else ''}")
            for one in schema.fields if one.deprecated]


def _plain(name: str) -> str:
    return name.lower().replace("_", "").replace("-", "")
