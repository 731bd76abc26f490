"""`prism.schema.v1` over gRPC: versions that never change, levels, and what is told of a refusal."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any, NamedTuple

import grpc
import pytest
from google.rpc import error_details_pb2, status_pb2

from prism.schema.v1 import schema_registry_pb2 as pb
from prism.schema.v1 import schema_registry_pb2_grpc as rpc
from prism_schema_registry.app import App
from prism_schema_registry.options import RegistryOptions
from tests.services.schema_registry import Rest

Code = grpc.StatusCode
V1 = 'syntax = "proto3"; package shop; message Order { string order_id = 1; string user_id = 2; int32 total = 3; }'
V2 = V1.replace("total = 3;", "total = 3; optional double tax_amount = 4; optional string promo_code = 5;")
V3 = V2.replace("promo_code = 5;", "promo_code = 5; string payment_method = 6;")


class Served(NamedTuple):
    stub: Any
    rest: Rest

    async def register(self, text: str, version: str = "", **more: Any) -> Any:
        return await self.stub.RegisterSchema(pb.RegisterSchemaRequest(
            namespace="shop", topic="orders", version=version, format=pb.SCHEMA_FORMAT_PROTOBUF,
            schema_content=text.encode(), **more))

    async def check(self, text: str, mode: int = 0, version: str = "") -> Any:
        reply = await self.stub.CheckCompatibility(pb.CheckCompatibilityRequest(
            namespace="shop", topic="orders", format=pb.SCHEMA_FORMAT_PROTOBUF, schema_content=text.encode(),
            compatibility=mode, version=version))
        return reply.validation

    async def get(self, version: str = "latest") -> Any:
        return await self.stub.GetSchema(pb.GetSchemaRequest(namespace="shop", topic="orders", version=version))


@pytest.fixture
async def served() -> AsyncIterator[Served]:
    app = App(RegistryOptions(memory=True, port=0, grpc_listen="127.0.0.1:0", metrics_listen="off"))
    await app.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{app.grpc_port}") as channel, \
                Rest(f"http://127.0.0.1:{app.port}") as rest:
            yield Served(rpc.SchemaRegistryServiceStub(channel), rest)
    finally:
        await app.stop()


def details(error: grpc.aio.AioRpcError) -> tuple[str, list[str]]:
    """(reason, violations)."""
    packed = dict(error.trailing_metadata() or ())["grpc-status-details-bin"]
    reason, found = "", []
    for detail in status_pb2.Status.FromString(packed).details:  # type: ignore[arg-type]
        info, bad, failed = (error_details_pb2.ErrorInfo(), error_details_pb2.BadRequest(),
                             error_details_pb2.PreconditionFailure())
        if detail.Unpack(info):
            reason = info.reason
        elif detail.Unpack(bad):
            found += [violation.description for violation in bad.field_violations]
        elif detail.Unpack(failed):
            found += [violation.description for violation in failed.violations]
    return reason, found


async def test_registered_read_and_listed(served: Served) -> None:
    made = await served.register(V1, metadata=pb.SchemaMetadata(
        owner_team="checkout", description="an order", created_by="ada", pii_fields=["user_id"]))
    assert made.schema_id == "schema-1"
    assert made.validation.is_compatible
    async with served.rest.session.get(made.schema_url) as reply:
        assert await reply.text() == V1
    for version in ("v1", "latest", ""):
        found = await served.get(version)
        assert (found.schema_id, found.version, found.format) == ("schema-1", "v1", pb.SCHEMA_FORMAT_PROTOBUF)
        assert found.schema_content == V1.encode()
    metadata = found.metadata
    assert (metadata.owner_team, metadata.description, metadata.created_by) == ("checkout", "an order", "ada")
    assert list(metadata.pii_fields) == ["user_id"]
    assert metadata.compatibility == pb.COMPATIBILITY_MODE_BACKWARD
    assert metadata.created_at.seconds > 1_700_000_000
    await served.register(V2)
    listed = await served.stub.ListSchemas(pb.ListSchemasRequest(namespace="shop", page_size=1))
    assert [(one.topic, one.version, one.status) for one in listed.schemas] == [("orders", "v1", "deprecated")]
    rest = await served.stub.ListSchemas(pb.ListSchemasRequest(
        namespace="shop", topic="orders", page_token=listed.next_page_token))
    assert [(one.version, one.status, one.schema_id) for one in rest.schemas] == [("v2", "current", "schema-2")]
    assert not rest.next_page_token
    assert not (await served.stub.ListSchemas(pb.ListSchemasRequest(namespace="other"))).schemas


async def test_v2_again_with_other_content_fails_and_with_identical_content_has_the_same_id(served: Served) -> None:
    await served.register(V1, "v1")
    made = await served.register(V2, "v2")
    assert (await served.register(V2, "v2")).schema_id == made.schema_id
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.register(V1, "v2")
    assert refused.value.code() is Code.ALREADY_EXISTS
    assert details(refused.value)[0] == "VERSION_EXISTS"
    assert (await served.get("v2")).schema_content == V2.encode()


async def test_added_optional_fields_are_compatible_with_a_warning_each(served: Served) -> None:
    await served.register(V1)
    verdict = await served.check(V2)
    assert verdict.is_compatible
    assert list(verdict.warnings) == ["added optional tax_amount", "added optional promo_code"]
    assert list(verdict.compatible_versions) == ["v1"]
    made = await served.register(V2)
    assert len(made.validation.warnings) == 2


async def test_a_breaking_change_is_blocked_and_named(served: Served) -> None:
    await served.register(V1)
    await served.register(V2)
    verdict = await served.check(V3)
    assert not verdict.is_compatible
    assert any("payment_method" in change for change in verdict.breaking_changes)
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.register(V3)
    assert refused.value.code() is Code.FAILED_PRECONDITION
    reason, violations = details(refused.value)
    assert reason == "BREAKING_CHANGE"
    assert any("payment_method" in violation for violation in violations)
    assert (await served.get()).version == "v2"


async def test_removing_and_adding_required_fields_lists_both(served: Served) -> None:
    old = V1.replace("total = 3;", "total = 3; string currency = 4;")
    await served.register(old)
    new = V1.replace("total = 3;", "total = 3; string payment_method = 5;")
    changes = (await served.check(new)).breaking_changes
    assert any("currency" in change for change in changes)
    assert any("payment_method" in change for change in changes)


@pytest.mark.parametrize("mode", [pb.COMPATIBILITY_MODE_BACKWARD, pb.COMPATIBILITY_MODE_FORWARD,
                                  pb.COMPATIBILITY_MODE_FULL])
async def test_a_changed_type_breaks_every_checked_mode(served: Served, mode: int) -> None:
    await served.register(V1)
    verdict = await served.check(V1.replace("int32 total", "float total"), mode)
    assert not verdict.is_compatible
    assert any("total" in change and "type" in change.lower() for change in verdict.breaking_changes)


async def test_optional_fields_come_and_go_in_forward_and_full(served: Served) -> None:
    await served.register(V2)
    for mode in (pb.COMPATIBILITY_MODE_FORWARD, pb.COMPATIBILITY_MODE_FULL):
        assert (await served.check(V1, mode)).is_compatible
        assert (await served.check(V2.replace("promo_code = 5;", "promo_code = 5; optional string x = 6;"), mode)
                ).is_compatible


async def test_with_none_anything_is_registered_and_the_mode_is_kept(served: Served) -> None:
    await served.register(V1)
    await served.register('syntax = "proto3"; message Other { int32 a = 1; }', compatibility=pb.COMPATIBILITY_MODE_NONE)
    assert (await served.get()).metadata.compatibility == pb.COMPATIBILITY_MODE_NONE
    assert await served.rest.get("/config/:.shop:orders-value") == (200, {"compatibilityLevel": "NONE"})


async def test_both_interfaces_show_the_same(served: Served) -> None:
    await served.register(V1)
    found = (await served.rest.get("/subjects/:.shop:orders-value/versions/1"))[1]
    assert (found["id"], found["schema"], found["schemaType"]) == (1, V1, "PROTOBUF")
    await served.rest.register(":.shop:orders-value", V2, "PROTOBUF")
    assert (await served.get()).version == "v2"
    await served.stub.RegisterSchema(pb.RegisterSchemaRequest(
        topic="plain", format=pb.SCHEMA_FORMAT_AVRO, schema_content=b'"string"'))
    assert (await served.rest.get("/subjects/plain-value/versions/latest"))[1]["version"] == 1


async def test_deleted_softly_then_for_good(served: Served) -> None:
    await served.register(V1)
    request = pb.DeleteSchemaRequest(namespace="shop", topic="orders", version="v1")
    assert (await served.stub.DeleteSchema(request)).version == "v1"
    with pytest.raises(grpc.aio.AioRpcError) as missing:
        await served.get("v1")
    assert missing.value.code() is Code.NOT_FOUND
    request.permanent = True
    assert (await served.stub.DeleteSchema(request)).version == "v1"


@pytest.mark.parametrize(("change", "code"), [
    ({"schema_content": b"message {"}, Code.INVALID_ARGUMENT), ({"schema_content": b"\xff"}, Code.INVALID_ARGUMENT),
    ({"format": 0}, Code.INVALID_ARGUMENT), ({"topic": ""}, Code.INVALID_ARGUMENT),
    ({"version": "newest"}, Code.INVALID_ARGUMENT), ({"namespace": "a b"}, Code.INVALID_ARGUMENT)])
async def test_what_is_no_registration(served: Served, change: dict[str, Any], code: grpc.StatusCode) -> None:
    given = {"namespace": "shop", "topic": "orders", "format": pb.SCHEMA_FORMAT_PROTOBUF,
             "schema_content": V1.encode(), **change}
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.RegisterSchema(pb.RegisterSchemaRequest(**given))
    assert refused.value.code() is code
    assert details(refused.value)[1]


@pytest.mark.parametrize("token", ["none", "-1", "9" * 5000])
async def test_a_page_token_that_no_reply_had(served: Served, token: str) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as refused:
        await served.stub.ListSchemas(pb.ListSchemasRequest(namespace="shop", page_token=token))
    assert refused.value.code() is Code.INVALID_ARGUMENT
    assert "page_token" in str(refused.value.details())


async def test_what_no_database_keeps_is_refused(served: Served) -> None:
    for content, metadata in ((V1, pb.SchemaMetadata(owner_team="a\0b")), (f"// \0\n{V1}", pb.SchemaMetadata())):
        with pytest.raises(grpc.aio.AioRpcError) as refused:
            await served.register(content, metadata=metadata)
        assert refused.value.code() is Code.INVALID_ARGUMENT
        assert "NUL" in str(refused.value.details())


async def test_kept_replies_are_never_older_than_the_last_write(served: Served) -> None:
    await served.register(V1)
    for _ in range(3):
        assert (await served.get()).version == "v1"
    await served.register(V2)
    assert (await served.get()).version == "v2"
    await served.rest.put("/config/:.shop:orders-value", {"compatibility": "FULL"})
    assert (await served.get()).metadata.compatibility == pb.COMPATIBILITY_MODE_FULL
    await served.rest.delete("/subjects/:.shop:orders-value")
    with pytest.raises(grpc.aio.AioRpcError):
        await served.get()


async def test_kept_replies_need_the_token_too(tmp_path: Path) -> None:
    (tmp_path / "write").write_text("writer")
    (tmp_path / "read").write_text("reader")
    app = App(RegistryOptions(memory=True, port=0, grpc_listen="127.0.0.1:0", metrics_listen="off",
                              token_file=tmp_path / "write", read_token_file=tmp_path / "read"))
    await app.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{app.grpc_port}") as channel:
            stub = rpc.SchemaRegistryServiceStub(channel)  # type: ignore[no-untyped-call]
            request = pb.RegisterSchemaRequest(topic="a", format=pb.SCHEMA_FORMAT_AVRO, schema_content=b'"string"')
            wanted = pb.GetSchemaRequest(topic="a", version="v1")

            async def code(call: Any, message: Any, token: str) -> Any:
                metadata = (("authorization", f"Bearer {token}"),) if token else ()
                try:
                    await call(message, metadata=metadata)
                except grpc.aio.AioRpcError as error:
                    return error.code()
                return Code.OK

            assert await code(stub.RegisterSchema, request, "reader") is Code.PERMISSION_DENIED
            assert await code(stub.RegisterSchema, request, "writer") is Code.OK
            for _ in range(3):
                assert await code(stub.GetSchema, wanted, "reader") is Code.OK
                assert await code(stub.GetSchema, wanted, "writer") is Code.OK
                assert await code(stub.GetSchema, wanted, "thief") is Code.UNAUTHENTICATED
                assert await code(stub.GetSchema, wanted, "") is Code.UNAUTHENTICATED
    finally:
        await asyncio.wait_for(app.stop(), 10)
