"""A registry that demands tags on personal data, of each format."""

from __future__ import annotations

import json
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from typing import Any

import pytest

from prism_schema_registry.app import App
from prism_schema_registry.options import RegistryOptions
from tests.services.schema_registry import Rest

FORMATS = {
    "AVRO": (json.dumps({"type": "record", "name": "M", "fields": [{"name": "userEmail", "type": "string"}]}),
             json.dumps({"type": "record", "name": "M", "fields": [
                 {"name": "userEmail", "type": "string", "pii": "email"}]})),
    "JSON": (json.dumps({"type": "object", "properties": {"userEmail": {"type": "string"}}}),
             json.dumps({"type": "object", "properties": {"userEmail": {"type": "string", "pii": "none"}}})),
    "PROTOBUF": ('syntax = "proto3"; message M { string userEmail = 1; }',
                 'syntax = "proto3"; import "prism/options.proto"; message M { '
                 'string userEmail = 1 [(prism.pii) = "email"]; }'),
}


@asynccontextmanager
async def serving(validation: str) -> AsyncIterator[Rest]:
    app = App(RegistryOptions(memory=True, port=0, grpc_listen="off", metrics_listen="off", pii_validation=validation))
    await app.start()
    try:
        async with Rest(f"http://127.0.0.1:{app.port}") as client:
            yield client
    finally:
        await app.stop()


async def post(rest: Rest, subject: str, text: str, kind: str) -> tuple[int, Any]:
    return await rest.post(f"/subjects/{subject}/versions", {"schema": text, "schemaType": kind})


@pytest.mark.parametrize("kind", FORMATS)
async def test_untagged_personal_data_is_refused_by_name_and_stored_nowhere(kind: str) -> None:
    untagged, tagged = FORMATS[kind]
    async with serving("enforce") as rest:
        status, body = await post(rest, "users-value", untagged, kind)
        assert (status, body["error_code"]) == (422, 42210)
        assert "'userEmail' looks like personal data and has no pii tag" in body["message"]
        assert (await rest.get("/subjects"))[1] == []
        assert (await post(rest, "users-value", tagged, kind))[0] == 200
        await rest.put("/mode/old-value", {"mode": "IMPORT"})
        status, body = await rest.post("/subjects/old-value/versions", {
            "schema": untagged, "schemaType": kind, "id": 77, "version": 1})
        assert status == 200, f"what another registry has can be imported: {body}"


@pytest.mark.parametrize(("validation", "lines"), [("warn", 1), ("off", 0)])
async def test_where_it_is_not_enforced_it_is_registered(
    validation: str, lines: int, caplog: pytest.LogCaptureFixture
) -> None:
    async with serving(validation) as rest:
        assert (await post(rest, "users-value", FORMATS["AVRO"][0], "AVRO"))[0] == 200
    assert sum("fields to look at" in record.getMessage() for record in caplog.records) == lines


async def test_a_subject_or_a_namespace_demands_more_or_less_than_the_registry() -> None:
    """The nearest setting holds: of the subject, its context, everything, the registry's own."""
    untagged = FORMATS["AVRO"][0]
    async with serving("enforce") as rest:
        assert (await rest.put("/config/lax-value", {"piiValidation": "off"}))[0] == 200
        assert (await post(rest, "lax-value", untagged, "AVRO"))[0] == 200
        assert (await post(rest, "other-value", untagged, "AVRO"))[1]["error_code"] == 42210
        status, body = await rest.put("/config/lax-value", {"piiValidation": "maybe"})
        assert (status, body["message"]) == (422, "piiValidation must be off, warn or enforce")
    async with serving("off") as rest:
        await rest.put("/config/:.shop:", {"piiValidation": "enforce"})
        assert (await rest.get("/config/:.shop:?defaultToGlobal=true"))[1] == {
            "compatibilityLevel": "BACKWARD", "piiValidation": "enforce"}
        assert (await post(rest, ":.shop:users-value", untagged, "AVRO"))[1]["error_code"] == 42210
        assert (await post(rest, "users-value", untagged, "AVRO"))[0] == 200
        await rest.put("/config/:.shop:users-value", {"compatibility": "NONE"})  # the tags are still the context's
        assert (await post(rest, ":.shop:users-value", untagged, "AVRO"))[1]["error_code"] == 42210
