"""Why a schema cannot be had, with the place and what to change."""

from __future__ import annotations

from prism_proxy.errors import PrismError, StatusCode

RETRY_SECONDS = 1.0


class SchemaUnresolved(Exception):  # noqa: N818 - becomes a PrismError with its namespace
    """`reason` is one of those below. `temporary`: the place may answer another time."""

    def __init__(self, reason: str, place: str, why: str, *, temporary: bool = False) -> None:
        super().__init__(f"{place}: {why}")
        self.reason = reason
        self.place = place
        self.why = why
        self.temporary = temporary


SOURCE_NOT_ALLOWED, ADDRESS_NOT_ALLOWED = "SOURCE_NOT_ALLOWED", "ADDRESS_NOT_ALLOWED"
UNREACHABLE, NOT_FOUND, TOO_LARGE = "SCHEMA_UNREACHABLE", "SCHEMA_NOT_FOUND", "SCHEMA_TOO_LARGE"
HASH_MISMATCH, PARSE_ERROR, NAME_NOT_FOUND = "HASH_MISMATCH", "PARSE_ERROR", "SCHEMA_NAME_NOT_FOUND"
CHANGED, REGISTRY_REFUSED = "SCHEMA_CHANGED", "REGISTRY_REFUSED"


def unresolved(namespace: str, error: SchemaUnresolved) -> PrismError:
    """The namespace cannot be activated; what, where and why."""
    code = StatusCode.UNAVAILABLE if error.temporary else StatusCode.FAILED_PRECONDITION
    return PrismError(code, error.reason, f"the schema of namespace {namespace!r} at {error.place}: {error.why}",
                      {"namespace": namespace}, retry_after=RETRY_SECONDS if error.temporary else None)
