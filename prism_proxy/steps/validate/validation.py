"""Holds payloads against the schema as a namespace wants it: all or some of them, with what follows."""

from __future__ import annotations

import random
import time
from collections.abc import Callable
from typing import TYPE_CHECKING

from prism_proxy._native.grpc.metrics import Histogram
from prism_proxy.contracts.steps import Offloaded
from prism_proxy.steps.validate import errors
from prism_proxy.steps.validate.options import DEAD_LETTER, REJECT, ValidationOptions
from prism_runtime import log

if TYPE_CHECKING:
    from prism_proxy.contracts.steps import PassingMessage
    from prism_proxy.schema.found import ResolvedSchema
    from prism_proxy.steps.validate.payload import PayloadCheck
    from prism_schema import Violation

NOTHING = "nothing"  # what validators say of a field that is not there


class Counts:
    """What outlives a configuration change."""

    def __init__(self) -> None:
        self.valid = self.violated = self.unvalidated = self.skipped = self.assertions = 0
        self.resolutions: dict[str, int] = {}
        self.mismatches: dict[str, int] = {}
        self.durations = {"valid": Histogram(), "violated": Histogram()}

    def resolved(self, result: str) -> None:
        """The schema was looked for: `found`, or the reason why not."""
        self.resolutions[result] = self.resolutions.get(result, 0) + 1

    def mismatched(self, found: list[Violation]) -> None:
        """By what is wrong first: a field that is `missing`, or a value of another `type`."""
        kind = "missing" if found[0].actual == NOTHING else "type"
        self.mismatches[kind] = self.mismatches.get(kind, 0) + 1

    def results(self, native: int = 0) -> dict[str, int]:
        """`native` are those that native code found valid."""
        return {"valid": self.valid + native, "violated": self.violated, "unvalidated": self.unvalidated,
                "not_sampled": self.skipped}


class Validation:
    """Of one namespace and configuration. Validates nothing until a schema is there."""

    def __init__(self, namespace: str, options: ValidationOptions, counts: Counts) -> None:
        self._namespace = namespace
        self._on_failure = options.on_validation_failure
        self._rate = options.sample_rate
        self._counts = counts
        self._resolved: ResolvedSchema | None = None
        self._check: PayloadCheck | None = None

    def use(self, resolved: ResolvedSchema, check: PayloadCheck) -> None:
        """Validate by this schema from now on."""
        self._resolved, self._check = resolved, check

    def message(self, message: PassingMessage) -> None:
        """PrismError refuses the publish; a message may leave for its dead letters instead."""
        if isinstance(message.payload, Offloaded):
            self._unreadable("is streamed")
            return
        if message.encryption is not None or message.content_encoding not in ("", "none"):
            self._unreadable("is encrypted" if message.encryption is not None else
                             f"is encoded as {message.content_encoding}")
            return
        found = self._violations(message.payload)
        if found and self._on_failure == DEAD_LETTER:
            message.dead_letter = f"{errors.VIOLATION}: {errors.described(found)}"
        elif found:
            self._failed(message.topic, found)

    def value(self, value: bytes) -> None:
        """PrismError refuses the write; there are no dead letters of values."""
        found = self._violations(value)
        if found:
            self._failed("", found)

    def _violations(self, payload: bytes) -> list[Violation]:
        check = self._check
        if check is None:
            return []
        if self._rate < 1 and random.random() >= self._rate:
            self._counts.skipped += 1
            return []
        began = time.perf_counter_ns()
        found = check(payload)
        self._counts.durations["violated" if found else "valid"].observe_ns(time.perf_counter_ns() - began)
        if found:
            self._counts.violated += 1
            self._counts.mismatched(found)
        else:
            self._counts.valid += 1
        return found

    def _failed(self, topic: str, found: list[Violation]) -> None:
        assert self._resolved is not None
        if self._on_failure != "warn":
            raise errors.violated(self._namespace, self._resolved.type_name or self._resolved.url,
                                  self._resolved.version, found)
        log.get("prism.schema").warning("schema_validation_failed", namespace=self._namespace, topic=topic,
                                        version=self._resolved.version, violations=errors.described(found))

    def _unreadable(self, why: str) -> None:
        if self._check is None:
            return
        self._counts.unvalidated += 1
        if self._on_failure == REJECT:
            raise errors.unreadable(self._namespace, why)


class ValidatedValues:
    """The values of a KeyValue namespace. What is stored stays as it is."""

    def __init__(self, validation: Validation, require: Callable[[], None]) -> None:
        self._validation = validation
        self._require = require

    def seal(self, key: bytes, value: bytes) -> bytes:
        """The value itself. PrismError refuses the write."""
        self._require()
        self._validation.value(value)
        return value

    def open(self, key: bytes, stored: bytes) -> bytes:
        """What was stored before there was a schema is served too."""
        return stored
