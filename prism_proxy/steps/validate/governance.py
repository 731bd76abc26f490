"""What a namespace demands of a schema beside its format: tags on personal data, fields that may be left out."""

from __future__ import annotations

from collections.abc import Sequence

from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.schema.found import ResolvedSchema
from prism_proxy.steps.validate.options import ENFORCE, OFF, WARN, SchemaOptions
from prism_runtime import log
from prism_schema import Finding
from prism_schema.governance import contradictions, deprecations, untagged_pii, without_optional

SHOWN = 10
MAX_NOTICE = 2048  # characters of what subscribers hear


def check(namespace: str, options: SchemaOptions, resolved: ResolvedSchema) -> None:
    """PrismError for what is enforced; the rest is logged once."""
    warnings = deprecations(resolved.schema)
    if options.pii_validation != OFF:
        found = untagged_pii(resolved.schema) + contradictions(resolved.schema)
        if found and options.pii_validation == ENFORCE:
            raise refused(namespace, resolved, found)
        warnings += found
    level = options.validation.enforce_optional_fields
    exceptions = () if level == "strict" else options.validation.optional_field_exceptions
    required = without_optional(resolved.schema, exceptions)
    if required and level != WARN:
        raise refused(namespace, resolved, required)
    warnings += required
    if warnings:
        log.get("prism.schema").warning("the schema of a namespace has fields to look at", namespace=namespace,
                                        url=resolved.url, findings=_listed(warnings))


def deprecated_fields(resolved: ResolvedSchema) -> str:
    """What readers hear of deprecated fields, in printable ASCII; empty where there are none."""
    return _listed(deprecations(resolved.schema)).encode("unicode_escape").decode("ascii")[:MAX_NOTICE]


def refused(namespace: str, resolved: ResolvedSchema, found: Sequence[Finding]) -> PrismError:
    """The schema is a schema, and not one for this namespace."""
    return PrismError(StatusCode.FAILED_PRECONDITION, found[0].rule,
                      f"the schema of namespace {namespace!r} at {resolved.url} ({resolved.version}) is refused: "
                      f"{_listed(found)}", {"namespace": namespace})


def _listed(found: Sequence[Finding]) -> str:
    more = f" and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(one.message for one in found[:SHOWN]) + more
