"""How tags are spelled in JSON: as properties of an Avro field and as keywords of a JSON Schema property, plain or with
`prism_` or `x-prism-` before the name."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

PREFIXES = ("", "prism_", "x-prism-")
SCHEMA_TAGS = ("sensitivity", "compliance", "retention_days", "owner_team", "consumer_approval", "audit_log",
               "data_classification")
ENCRYPTING = ("encrypt", "encrypt_at_rest")


def tag(holder: Mapping[str, Any], *names: str) -> str:
    """The text of the first of these tags that is set: "" when none is, "true" for a bare true that no other spelling
    says more of: `deprecated` is true or false in JSON Schema 2020-12, and `x-prism-deprecated` has the date."""
    bare = ""
    for name in names:
        for prefix in PREFIXES:
            value = holder.get(prefix + name)
            if value is True:
                bare = "true"
                continue
            if isinstance(value, list):
                return ",".join(map(str, value))
            if value not in (None, False, ""):
                return str(value)
    return bare


def field_tags(holder: Mapping[str, Any]) -> dict[str, Any]:
    """The keyword arguments of a `Field` that tags fill."""
    return {"pii": tag(holder, "pii"), "encrypt": bool(tag(holder, *ENCRYPTING)),
            "deprecated": tag(holder, "deprecated"), "deprecated_reason": tag(holder, "deprecated_reason")}


def schema_tags(holder: Mapping[str, Any]) -> dict[str, str]:
    """The tags of the schema itself."""
    return {name: text for name in SCHEMA_TAGS if (text := tag(holder, name))}
