"""The schema of one namespace: fetched before the namespace serves, followed where it may change, and held against what
is written.

    open: resolve -> govern (personal data, optional fields) -> compile
    then: latest -> resolve again in the background -> compatible with the one before -> compile, else the old one stays
"""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

from prism_proxy._native.schema.check import DeclaredSchema
from prism_proxy.envelope import attributes, wire
from prism_proxy.envelope.parts import Schema
from prism_proxy.envelope.writer import SCHEMA
from prism_proxy.errors import PrismError
from prism_proxy.schema.errors import SchemaUnresolved, unresolved
from prism_proxy.schema.found import ResolvedSchema
from prism_proxy.schema.propagation import copy
from prism_proxy.schema.resolver import Resolver
from prism_proxy.steps.resources import StepResources
from prism_proxy.steps.validate import errors, governance
from prism_proxy.steps.validate.options import SchemaOptions
from prism_proxy.steps.validate.payload import PayloadCheck
from prism_proxy.steps.validate.places import propagation, reference
from prism_proxy.steps.validate.validation import Counts, ValidatedValues, Validation
from prism_proxy.telemetry.metrics import Metric, Sample, histogram
from prism_runtime import log
from prism_schema import Level
from prism_schema import check as compatibility

NATIVE_CONTEXT = 1024  # bytes of an envelope that native code has room for
RETRY_SECONDS, RETRY_MAX_SECONDS = 1.0, 60.0


class SchemaStep:
    """`schema` is what envelopes and headers say; None until the schema is there."""

    def __init__(self, namespace: str, options: SchemaOptions, resources: StepResources, *, assigned: bool) -> None:
        self._namespace = namespace
        self._options = options
        self._settings = resources.schemas
        self._resolver: Resolver = resources.lasting("schema", "resolver", lambda: Resolver(resources.schemas))
        self._reference = reference(namespace, options, resources.schemas, assigned=assigned)
        self._target = propagation(namespace, options, resources.schemas, assigned=assigned)
        self._copied: ResolvedSchema | None = None
        self._counts: Counts = resources.lasting("schema", namespace, Counts)
        self._following: asyncio.Task[None] | None = None
        self._why = "it was not fetched"
        self.resolved: ResolvedSchema | None = None
        self.schema: Schema | None = None
        self.contains_pii = False
        self.deprecated = ""  # the fields, with date and reason, as a header can carry it
        validation = options.validation
        self._validation = Validation(namespace, validation, self._counts)
        self.native = DeclaredSchema()  # for native code that publishes; empty where it cannot
        needed = validation.publish_time or not validation.config_time
        self.checks = self if needed else None
        self.values = ValidatedValues(self._validation, self.require) if needed else None

    async def open(self) -> None:
        """PrismError: the schema cannot be had, or is not what the namespace demands."""
        try:
            await self._look()
            await self._copy()
        except SchemaUnresolved as error:
            if self._options.validation.config_time or not error.temporary:
                raise unresolved(self._namespace, error) from error
            self._why = f"{error.place}: {error.why}"
            log.get("prism.schema").warning("a namespace waits for its schema", namespace=self._namespace,
                                            place=error.place, error=error.why)
        if self.resolved is None or self._uncopied or any(place.latest for place in self._reference.places):
            self._following = asyncio.create_task(self._follow())

    async def close(self) -> None:
        """Stop following the schema."""
        if self._following is not None:
            self._following.cancel()
            await asyncio.gather(self._following, return_exceptions=True)
        self._counts.valid += self.native.validated
        self.native.validated = 0

    @property
    def _uncopied(self) -> bool:
        return self._target is not None and self._copied is not self.resolved

    def require(self) -> None:
        """PrismError while the schema is not there."""
        if self.resolved is None:
            raise errors.not_there(self._namespace, self._why, RETRY_SECONDS)

    # --- a step's side ------------------------------------------------------------------------------------------------

    def check(self, message: Any) -> None:
        """Hold a message against the schema before it is published. PrismError refuses it."""
        self.require()
        self._validation.message(message)

    def metrics(self) -> Iterable[Metric]:
        label = (("namespace", self._namespace),)
        yield Metric("prism_schema_validated_total", "counter", "Payloads by what validation made of them.", [
            Sample((*label, ("result", result)), float(count))
            for result, count in self._counts.results(self.native.validated).items()])
        yield Metric("prism_publish_schema_mismatch_total", "counter", "Violations, by what was wrong first.", [
            Sample((*label, ("error_type", kind)), float(count))
            for kind, count in self._counts.mismatches.items()])
        yield histogram("prism_publish_schema_validation_duration_seconds",
                        "Of validations that native publishing did not make.", (
                            ((*label, ("result", result)), found) for result, found in self._counts.durations.items()))
        yield Metric("prism_schema_resolutions_total", "counter", "Looks for the schema of a namespace, by outcome.", [
            Sample((*label, ("result", result)), float(count)) for result, count in self._counts.resolutions.items()])
        yield Metric("prism_schema_assertion_failures_total", "counter",
                     "Subscriptions and messages of another schema version than the subscriber expects.",
                     [Sample(label, float(self._counts.assertions))])
        yield Metric("prism_schema_ready", "gauge", "1 when the schema of a namespace is there.",
                     [Sample(label, float(self.resolved is not None))])

    def asserted(self) -> None:
        """A subscriber expected another version."""
        self._counts.assertions += 1

    # --- the schema ---------------------------------------------------------------------------------------------------

    async def _look(self) -> None:
        """Resolve and use. SchemaUnresolved or PrismError."""
        try:
            self._use(await self._resolver.resolve(self._reference))
        except (SchemaUnresolved, PrismError) as error:
            self._counts.resolved(error.reason)
            raise
        self._counts.resolved("found")

    async def _copy(self) -> None:
        """Register what is used where other clients look for it. SchemaUnresolved."""
        if self._target is None or self.resolved is None or self._copied is self.resolved:
            return
        copied = self.resolved
        ids = await copy(copied, self._target, self._resolver.fetcher)
        self._copied = copied
        log.get("prism.schema").info("a schema was copied", namespace=self._namespace, version=copied.version,
                                     registry=self._target.place.url, ids=ids)

    async def _copy_later(self) -> None:
        """Publishing goes on while the registry does not take the schema."""
        try:
            await self._copy()
        except SchemaUnresolved as error:
            log.get("prism.schema").warning("a schema is not copied", namespace=self._namespace, reason=error.reason,
                                            registry=error.place, error=error.why)

    def _use(self, resolved: ResolvedSchema) -> None:
        """Make a schema the one of the namespace. PrismError when it is not what the namespace demands."""
        options, before = self._options, self.resolved
        if before is not None and before.schema.fingerprint == resolved.schema.fingerprint \
                and before.version == resolved.version:
            return
        governance.check(self._namespace, options, resolved)
        if before is not None:
            found = compatibility(resolved.schema, [before.schema], Level(options.compatibility.upper()),
                          implicit_required=True)
            if found:
                raise governance.refused(self._namespace, resolved, found)
        check = None
        if options.validation.publish_time:
            check = PayloadCheck(resolved, implicit_required=options.validation.implicit_fields)
            self._validation.use(resolved, check)
        self.resolved = resolved
        self.contains_pii = resolved.schema.contains_pii
        self.deprecated = governance.deprecated_fields(resolved)
        self.schema = Schema(resolved.url, resolved.version, resolved.format, f"sha256:{resolved.sha256}",
                             resolved.type_name or next(iter(resolved.schema.types), ""),
                             options.compatibility.upper())
        native = check.native if check is not None else None
        if check is None or (native is not None and options.validation.sample_rate == 1):
            context = wire.tagged(SCHEMA, self.schema.encode())
            self.native.use(_entries(self._namespace, self.schema, contains_pii=self.contains_pii),
                            None if self.contains_pii or len(context) > NATIVE_CONTEXT else context, native)
        log.get("prism.schema").info("a namespace has its schema", namespace=self._namespace, url=resolved.url,
                                     version=resolved.version, sha256=resolved.sha256)

    async def _follow(self) -> None:
        """Look again when what was found is too old, and sooner while nothing was found."""
        delay = RETRY_SECONDS
        while True:
            files = all(place.is_file for place in self._reference.places)
            await asyncio.sleep(delay if self.resolved is None or self._uncopied else
                                self._settings.cache_ttl if files else self._settings.latest_ttl)
            delay = min(delay * 2, RETRY_MAX_SECONDS)
            try:
                await self._look()
                await self._copy_later()
            except SchemaUnresolved as error:
                self._why = f"{error.place}: {error.why}"
                self._report(error.reason, self._why)
            except PrismError as error:
                self._why = error.message
                self._report(error.reason, error.message)

    def _report(self, reason: str, why: str) -> None:
        log.get("prism.schema").warning("a new version of a schema is not used", namespace=self._namespace,
                                        reason=reason, error=why)


def _entries(namespace: str, schema: Schema, *, contains_pii: bool) -> bytes:
    """Metadata of every message of the namespace, as fields of a Message."""
    found = {attributes.SCHEMA_URL: schema.url, attributes.SCHEMA_VERSION: schema.version,
             attributes.SCHEMA_HASH: schema.hash, attributes.SCHEMA_NAMESPACE: namespace}
    if contains_pii:
        found[attributes.CONTAINS_PII] = "true"
    return b"".join(wire.tagged(3, wire.text(1, key) + wire.text(2, value)) for key, value in found.items())
