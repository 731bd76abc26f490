"""A subscriber's claim about the schema of what it reads: options `expected_version` and `on_mismatch`; calls that have
no options, as those of queues, send them as metadata.

    when it subscribes: the version that the namespace declares   -- error: refused
    with each message:  the version that the message was written with -- error: not delivered, settled as failed
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any, NamedTuple

from prism_proxy.envelope.attributes import SCHEMA_VERSION
from prism_proxy.errors import PrismError, StatusCode, invalid
from prism_proxy.slots.chain import Chain
from prism_runtime import log

KEYS = ("expected_version", "on_mismatch")
METADATA = {"x-prism-expected-version": "expected_version", "x-prism-on-mismatch": "on_mismatch"}
MISMATCH = "SCHEMA_VERSION_MISMATCH"
ERROR, WARN, IGNORE = "error", "warn", "ignore"


class SchemaAssertion(NamedTuple):
    """`expected` is a version such as v2."""

    expected: str
    on_mismatch: str

    def check_open(self, chain: Chain, namespace: str) -> None:
        """PrismError FAILED_PRECONDITION when the namespace has another version, or none, and that is an error."""
        schema = chain.schema
        found = schema.version if schema is not None else "none"
        if _same(found, self.expected) or self.on_mismatch == IGNORE:
            return
        _count(chain)
        if self.on_mismatch == ERROR:
            raise PrismError(
                StatusCode.FAILED_PRECONDITION, MISMATCH,
                f"the schema of namespace {namespace!r} has version {found}, and the subscriber expects "
                f"{self.expected}: read with the schema of that version, or subscribe with on_mismatch warn",
                {"namespace": namespace, "expected_version": self.expected, "actual_version": found},
                field_name="options")
        _warn(namespace, self.expected, found)

    def accepts(self, metadata: Mapping[str, str], chain: Chain, namespace: str) -> bool:
        """Whether a message is delivered. One that does not say its version has that of the namespace."""
        if self.on_mismatch == IGNORE:
            return True
        schema = chain.schema
        found = metadata.get(SCHEMA_VERSION) or (schema.version if schema is not None else "none")
        if _same(found, self.expected):
            return True
        _count(chain)
        if self.on_mismatch == WARN:
            _warn(namespace, self.expected, found)
        return self.on_mismatch == WARN


def parse(given: Mapping[str, str]) -> SchemaAssertion | None:
    """None where nothing is expected. PrismError INVALID_ARGUMENT."""
    expected, on_mismatch = given.get("expected_version", ""), given.get("on_mismatch", ERROR)
    if on_mismatch not in (ERROR, WARN, IGNORE):
        raise invalid("options", "option on_mismatch is error, warn or ignore", value=on_mismatch)
    return SchemaAssertion(expected, on_mismatch) if expected else None


def of_call(caller: Any) -> SchemaAssertion | None:
    """What the metadata of a call expect. PrismError INVALID_ARGUMENT."""
    if caller is None:
        return None
    given = {METADATA[key]: value for key, value in caller.invocation_metadata() or () if key in METADATA}
    return parse(given) if given else None


def _same(one: str, other: str) -> bool:
    return one.removeprefix("v") == other.removeprefix("v")


def _count(chain: Chain) -> None:
    asserted = getattr(chain.declaring, "asserted", None)
    if asserted is not None:
        asserted()


def _warn(namespace: str, expected: str, found: str) -> None:
    log.get("prism.schema").warning("a subscriber expects another version of the schema", namespace=namespace,
                                    expected=expected, actual=found)
