"""What callers see of a payload that does not follow its schema."""

from __future__ import annotations

from collections.abc import Sequence

from prism_proxy.errors import PrismError, StatusCode
from prism_schema import Violation

VIOLATION = "SCHEMA_VIOLATION"
SHOWN = 5


def violated(namespace: str, name: str, version: str, found: Sequence[Violation]) -> PrismError:
    """INVALID_ARGUMENT that names the field, and what was expected of it. Values are never quoted."""
    first = found[0]
    field = f"payload.{first.path}" if first.path else "payload"
    return PrismError(
        StatusCode.INVALID_ARGUMENT, VIOLATION,
        f"the payload does not follow schema {name} {version}: {described(found)}",
        {"namespace": namespace, "outcome": "not_executed", "schema_version": version},
        field_name=field, constraint=f"expected {first.expected}", invalid_value=f"got {first.actual}")


def described(found: Sequence[Violation]) -> str:
    """The first violations, and how many more there are."""
    more = f", and {len(found) - SHOWN} more" if len(found) > SHOWN else ""
    return "; ".join(map(str, found[:SHOWN])) + more


def unreadable(namespace: str, why: str) -> PrismError:
    """A payload that cannot be validated, where what is invalid is rejected."""
    return PrismError(
        StatusCode.FAILED_PRECONDITION, "SCHEMA_UNVALIDATED",
        f"namespace {namespace!r} rejects payloads that do not follow its schema, and this one {why}: publish it "
        "plain, or set validation.on_validation_failure to warn", {"namespace": namespace, "outcome": "not_executed"})


def not_there(namespace: str, why: str, retry_after: float) -> PrismError:
    """The schema is not fetched yet."""
    return PrismError(StatusCode.UNAVAILABLE, "SCHEMA_UNRESOLVED",
                      f"the schema of namespace {namespace!r} is not there yet: {why}",
                      {"namespace": namespace, "outcome": "not_executed"}, retry_after=retry_after)
