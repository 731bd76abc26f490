"""Schemas on the way, by stock grpcio clients, on every backend: what is declared, validated, and refused."""

from __future__ import annotations

import asyncio
import hashlib
import io
import json
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import fastavro
import grpc
import pytest
from google.protobuf import message_factory
from google.rpc import error_details_pb2
from grpc_status import rpc_status

from prism.common import errors_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as keyvalue
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as keyvalue_rpc
from prism.interfaces.pubsub import pubsub_basic_pb2 as pubsub
from prism.interfaces.queue import queue_basic_pb2 as queue
from prism.interfaces.queue import queue_basic_pb2_grpc as queue_rpc
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.nats.config import NatsConfig
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.sqlite.config import SqliteConfig
from prism_proxy.envelope.parts import Encryption, Security
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.errors import PrismError
from prism_proxy.models.messaging_options import EnvelopeOptions
from prism_proxy.models.queue.options import QueueOptions
from prism_proxy.schema.options import RegistryOptions, SchemasOptions
from prism_proxy.steps.resources import StepResources
from prism_proxy.steps.validate.options import SchemaOptions, TrustOptions, ValidationOptions
from prism_schema import SchemaKind, parse
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.redis import RedisServer, binary, running
from tests.services.schemas import SchemaServer, schema_server
from tests.support.encrypted import NAME, Served, config_of, received, serving

V1 = 'syntax = "proto3"; package shop; message Order { string order_id = 1; string user_id = 2; double total = 3; }'
JSON = json.dumps({"title": "Order", "type": "object", "required": ["order_id", "user_id", "total"], "properties": {
    "order_id": {"type": "string"}, "user_id": {"type": "string"}, "total": {"type": "number"}}})
AVRO = json.dumps({"type": "record", "name": "shop.Order", "fields": [
    {"name": "order_id", "type": "string"}, {"name": "user_id", "type": "string"},
    {"name": "total", "type": "double"}]})
TEXTS = {"PROTOBUF": V1, "JSON": JSON, "AVRO": AVRO}
STORES = ("memstore", "sqlite", "redis", "nats", "nats-headers", "redis-raw")
TELLING = pytest.mark.parametrize("store", STORES[:-1], indirect=True)  # keep more than the payload
GOOD = b'{"order_id": "7", "user_id": "u", "total": 1.5}'
BAD = b'{"order_id": "7", "user_id": "u"}'


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


@pytest.fixture(scope="module")
def nats() -> Iterator[NatsServer]:
    if nats_binary() is None:
        pytest.skip("there is no nats-server: run `make tools`")
    with running(NatsServer(jetstream=True)) as server:
        yield server


@pytest.fixture(params=STORES)
def store(request: pytest.FixtureRequest, tmp_path: Path) -> tuple[tuple[str, Any], dict[str, Any]]:
    """Driver and settings, and the groups of options that go with them."""
    if request.param == "memstore":
        return ("memstore", MemstoreConfig()), {}
    if request.param == "sqlite":
        return ("sqlite", SqliteConfig(path=str(tmp_path / "messages.db"))), {}
    if request.param.startswith("nats"):
        broker = request.getfixturevalue("nats")
        mode = {"envelope": EnvelopeOptions("headers")} if request.param == "nats-headers" else {}
        return ("nats", NatsConfig(broker.url, jetstream=True, prefix=f"{time.time_ns()}.")), mode
    server = request.getfixturevalue("redis")
    mode = {"envelope": EnvelopeOptions("raw")} if request.param == "redis-raw" else {}
    return ("redis", RedisConfig(url=server.url, prefix=f"{time.time_ns()}:")), mode


MEMORY: tuple[tuple[str, Any], dict[str, Any]] = (("memstore", MemstoreConfig()), {})


@pytest.fixture
async def schemas() -> AsyncIterator[SchemaServer]:
    async with schema_server() as made:
        for kind, text in TEXTS.items():
            made.register(f"orders-{kind.lower()}", kind, text)
        yield made


def options(server: SchemaServer, kind: str = "JSON", **validation: Any) -> SchemaOptions:
    return SchemaOptions("prism", registry_url=server.url, subject=f"orders-{kind.lower()}",
                         validation=ValidationOptions(**{"publish_time": True, **validation}))


def used(**settings: Any) -> StepResources:
    return StepResources(None, {}, SchemasOptions(**{"latest_ttl": 0.1, "cache_ttl": 0.1, **settings}))


def declared(store: tuple[tuple[str, Any], dict[str, Any]], schema: SchemaOptions, **settings: Any) -> Any:
    return serving(store[0], None, used=used(**settings), schema=schema, **store[1])


async def refusal(call: Any) -> tuple[grpc.StatusCode, str, str]:
    """(status, reason, the field that is named)."""
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await call
    status: Any = rpc_status.from_call(caught.value)
    info, error = error_details_pb2.ErrorInfo(), errors_pb2.Error()
    status.details[0].Unpack(info)
    status.details[-1].Unpack(error)
    field = error.details[0].field_violation.field if error.details else ""
    return caught.value.code(), str(info.reason), field


def results(served: Served) -> dict[str, int]:
    [metric] = [each for each in served.route.chain.metrics() if each.name == "prism_schema_validated_total"]
    return {dict(sample.labels)["result"]: int(sample.value) for sample in metric.samples}


def payloads(kind: str) -> tuple[bytes, bytes, bytes]:
    """An order, one without `total`, and one whose `total` is of another type."""
    if kind == "JSON":
        return GOOD, BAD, b'{"order_id": "7", "user_id": "u", "total": "1"}'
    if kind == "AVRO":
        out = io.BytesIO()
        fastavro.schemaless_writer(out, json.loads(AVRO), {"order_id": "7", "user_id": "u", "total": 1.5})
        return out.getvalue(), out.getvalue()[:-8], out.getvalue()[:-8] + b"\x02x"
    order = message_factory.GetMessageClass(
        parse(SchemaKind.PROTOBUF, V1).parsed.pool.FindMessageTypeByName("shop.Order"))
    head = order(order_id="7", user_id="u").SerializeToString()
    return order(order_id="7", user_id="u", total=1.5).SerializeToString(), head, head + b"\x1a\x01x"


@pytest.mark.parametrize("kind", TEXTS)
async def test_SCH_1_reject(store: Any, schemas: SchemaServer, kind: str) -> None:
    good, without, wrong = payloads(kind)
    async with declared(store, options(schemas, kind)) as served:
        client = served.client
        await client.put("q", good)
        await client.append("s", good)
        subscription = await client.subscribe("t")
        for bad in (without, wrong):
            for call in (client.put("q", bad), client.append("s", bad), client.publish("t", bad)):
                assert await refusal(call) == (grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_VIOLATION", "payload.total")
        await client.publish("t", good)
        assert (await received(subscription)).payload == good
        assert [found.payload for found in await client.take("q", 10)] == [good]
        assert [found.value for found in await client.read("s")] == [good]
        assert results(served) == {"valid": 3, "violated": 6, "unvalidated": 0, "not_sampled": 0}
        subscription.cancel()


async def test_SCH_1_warn_publishes_and_logs_a_line_for_each(
    store: Any, schemas: SchemaServer, caplog: pytest.LogCaptureFixture
) -> None:
    async with declared(store, options(schemas, on_validation_failure="warn")) as served:
        for _ in range(3):
            await served.client.put("q", BAD)
        await served.client.put("q", GOOD)
        assert [found.payload for found in await served.client.take("q", 10)] == [BAD] * 3 + [GOOD]
        assert results(served)["violated"] == 3
        assert [record.message for record in caplog.records].count("schema_validation_failed") == 3


async def test_SCH_1_off_delivers_what_violates_byte_for_byte(store: Any, schemas: SchemaServer) -> None:
    async with declared(store, options(schemas, publish_time=False)) as served:
        await served.client.put("q", BAD)
        [found] = await served.client.take("q")
        assert found.payload == BAD
        assert served.route.chain.checks == ()


@TELLING
async def test_SCH_2_headers_on_every_message(store: Any, schemas: SchemaServer) -> None:
    async with declared(store, options(schemas, publish_time=False)) as served:
        subscription = await served.client.subscribe("t")
        assert dict(await subscription.initial_metadata())["x-prism-message-schema"].startswith("json-schema:")
        await served.client.publish("t", GOOD, kind="a")
        await served.client.put("q", GOOD)
        await served.client.append("s", GOOD)
        message = await received(subscription)
        [queued], [record] = await served.client.take("q"), await served.client.read("s")
        for metadata in (message.metadata, queued.metadata, record.headers):
            assert metadata["X-Prism-Schema-URL"] == f"{schemas.url}/subjects/orders-json/versions/1"
            assert metadata["X-Prism-Schema-Version"] == "v1"
            assert metadata["X-Prism-Schema-Hash"] == "sha256:" + hashlib.sha256(JSON.encode()).hexdigest()
            assert metadata["X-Prism-Namespace"] == NAME
            assert metadata["X-Prism-Published-At"] == metadata["prism-published-at"]
        assert message.metadata["kind"] == "a"
        subscription.cancel()


@TELLING
async def test_violations_go_to_the_dead_letters(store: Any, schemas: SchemaServer) -> None:
    async with declared(store, options(schemas, on_validation_failure="dead_letter")) as served:
        client = served.client
        dead = await client.subscribe("t.dlq")
        alive = await client.subscribe("t")
        await client.publish("t", BAD, kind="a")
        await client.publish("t", GOOD)
        message = await received(dead)
        assert message.payload == BAD
        assert message.metadata["x-dlq-source"] == "t"
        assert "total: expected a value, got nothing" in message.metadata["x-error"]
        assert message.metadata["kind"] == "a"
        assert (await received(alive)).payload == GOOD
        await client.put("q", BAD)
        await client.put("q", GOOD)
        assert [found.payload for found in await client.take("q", 10)] == [GOOD]
        assert [found.payload for found in await client.take("q.dlq", 10)] == [BAD]
        await client.append("s", BAD, GOOD)
        assert [found.value for found in await client.read("s")] == [GOOD]
        assert [found.value for found in await client.read("s.dlq")] == [BAD]
        for call in (dead, alive):
            call.cancel()


@pytest.mark.parametrize("store", ["memstore", "sqlite", "redis"], indirect=True)
async def test_values_are_validated(store: Any, schemas: SchemaServer) -> None:
    async with declared(store, options(schemas)) as served:
        metadata = (("x-namespace", NAME),)
        stub = keyvalue_rpc.KeyValueBasicInterfaceStub(served.client.channel)
        await stub.Set(keyvalue.SetRequest(key="k", value=GOOD), metadata=metadata)
        assert await refusal(stub.Set(keyvalue.SetRequest(key="k", value=BAD), metadata=metadata)) == (
            grpc.StatusCode.INVALID_ARGUMENT, "SCHEMA_VIOLATION", "payload.total")
        assert (await stub.Get(keyvalue.GetRequest(key="k"), metadata=metadata)).value == GOOD


async def test_a_hundredth_is_sampled(schemas: SchemaServer) -> None:
    async with declared(MEMORY, options(schemas, sample_rate=0.01)) as served:
        chain, refused = served.route.chain, 0
        from prism_proxy.contracts.steps import PassingMessage

        for _ in range(100_000):
            try:
                chain.checks[0].check(PassingMessage("t", "i", BAD))
            except PrismError:
                refused += 1
        assert 800 <= refused <= 1200


async def test_messages_of_stock_serialisers_are_recognised(schemas: SchemaServer) -> None:
    for kind, framing in (("JSON", b""), ("AVRO", b""), ("PROTOBUF", b"\0")):
        good, without, _ = payloads(kind)
        head = b"\0" + (100).to_bytes(4, "big") + framing
        async with declared(MEMORY, options(schemas, kind)) as served:
            await served.client.put("q", head + good)
            assert [found.payload for found in await served.client.take("q")] == [head + good]
            assert (await refusal(served.client.put("q", head + without)))[1:] == ("SCHEMA_VIOLATION", "payload.total")


async def test_what_clients_encrypted_is_not_validated(schemas: SchemaServer) -> None:
    data = EnvelopeWriter(NAME, "q").write(b"secret", message_id="0190b5b0-0000-7000-8000-000000000000", published_ms=1,
                                           security=Security(encryption=Encryption("k", 1, "aes-256-gcm")))
    async with declared(MEMORY, options(schemas)) as served:
        call = served.client.put("q", data, prism_envelope="true")
        assert await refusal(call) == (grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_UNVALIDATED", "")
        assert results(served)["unvalidated"] == 1
        plain = EnvelopeWriter(NAME, "q").write(BAD, message_id="0190b5b0-0000-7000-8000-000000000001", published_ms=1)
        assert (await refusal(served.client.put("q", plain, prism_envelope="true")))[1] == "SCHEMA_VIOLATION"
    async with declared(MEMORY, options(schemas, on_validation_failure="warn")) as served:
        await served.client.put("q", data, prism_envelope="true")
        assert results(served)["unvalidated"] == 1


@pytest.mark.parametrize("store", ["memstore", "redis"], indirect=True)
@pytest.mark.parametrize("publish_time", [False, True])
async def test_native_code_publishes_what_it_finds_valid(store: Any, schemas: SchemaServer, publish_time: bool) -> None:
    good, without, _ = payloads("PROTOBUF")
    async with declared(store, options(schemas, "PROTOBUF", publish_time=publish_time)) as served:
        step = served.route.chain.steps["schema"]
        assert served.route.implementation("pubsub_basic").native
        subscription = await served.client.subscribe("t")
        for _ in range(3):
            await served.client.publish("t", good, kind="a")
        message = await received(subscription)
        assert message.payload == good
        assert message.metadata["kind"] == "a"
        assert message.metadata["X-Prism-Schema-Version"] == "v1"
        assert message.metadata["X-Prism-Namespace"] == NAME
        assert message.metadata["X-Prism-Published-At"] == message.metadata["prism-published-at"]
        if publish_time:
            assert (await refusal(served.client.publish("t", without)))[1:] == ("SCHEMA_VIOLATION", "payload.total")
            assert step.native.validated == results(served)["valid"] == 3
            assert results(served)["violated"] == 1
        assert step._counts.valid == 0  # none of them passed Python
        subscription.cancel()


# --- what a namespace needs to be served ------------------------------------------------------------------------------


async def failing(schema: SchemaOptions, **settings: Any) -> PrismError:
    with pytest.raises(PrismError) as caught:
        async with declared(MEMORY, schema, **settings):
            pass
    return caught.value


async def test_a_namespace_without_its_schema_is_never_ready(schemas: SchemaServer) -> None:
    for schema, reason in (
        (SchemaOptions("prism", registry_url="http://127.0.0.1:1", subject="s"), "SCHEMA_UNREACHABLE"),
        (SchemaOptions("confluent", registry_url=schemas.url, subject="nothing"), "SCHEMA_NOT_FOUND"),
        (SchemaOptions("https", url=f"{schemas.url}/x.proto", trust=TrustOptions("shop.Order")), "ADDRESS_NOT_ALLOWED"),
        (SchemaOptions("prism", registry_url=schemas.url, subject="orders-json", trust=TrustOptions(sha256_hash="00")),
         "HASH_MISMATCH"),
    ):
        error = await failing(schema)
        assert error.reason == reason
        assert repr(NAME) in error.message
        assert (schema.registry_url or schema.url) in error.message


async def test_personal_data_needs_a_tag(schemas: SchemaServer) -> None:
    schemas.register("people", "JSON", json.dumps({"properties": {"email": {"type": "string"}}}))
    enforced = SchemaOptions("prism", registry_url=schemas.url, subject="people", pii_validation="enforce")
    error = await failing(enforced)
    assert error.reason == "PII_UNTAGGED"
    assert "'email'" in error.message
    schemas.register("people", "JSON", json.dumps({"properties": {"email": {"type": "string", "pii": "email"}}}))
    async with declared(MEMORY, enforced) as served:
        await served.client.put("q", b"{}")
        [found] = await served.client.take("q")
        assert found.metadata["prism-contains-pii"] == "true"


async def test_fields_that_are_not_optional(schemas: SchemaServer) -> None:
    for level, exceptions, named in (
            ("true", (), "order_id"), ("true", ("*_id",), "total"), ("strict", ("*",), "user_id")):
        error = await failing(options(schemas, "PROTOBUF", enforce_optional_fields=level,
                                      optional_field_exceptions=exceptions))
        assert error.reason == "FIELD_NOT_OPTIONAL"
        assert repr(named) in error.message
        assert ("order_id" in error.message) is (exceptions != ("*_id",))


async def test_an_assigned_namespace_names_a_registry_of_the_file(schemas: SchemaServer) -> None:
    from dataclasses import replace

    from prism_proxy import standard
    from prism_proxy.namespaces.activator import Activator
    from prism_proxy.namespaces.snapshot import Namespaces

    registry = RegistryOptions("prism", schemas.url, allow=("custom*",))
    named = SchemaOptions("prism", registry="main", subject="orders-json")
    for registries, schema, problem in (
        ({}, options(schemas), "may not: name a registry"),
        ({}, named, "registry 'main' is not there"),
        ({"main": RegistryOptions("prism", schemas.url)}, named, "does not allow it"),
        ({"main": registry}, named, ""),
    ):
        activator = Activator(Namespaces(), standard.make_driver, resources=used(registries=registries))
        config = replace(config_of(MEMORY[0], None, schema=schema), assigned=True)
        if problem:
            with pytest.raises(PrismError, match=problem):
                await activator.apply([config])
        else:
            await activator.apply([config])
            await activator.apply([])
        await activator.close()


async def test_publishing_waits_for_a_schema_that_may_come_later(schemas: SchemaServer) -> None:
    schemas.status = 503
    schema = options(schemas, config_time=False)
    async with declared(MEMORY, schema) as served:
        assert (await refusal(served.client.put("q", GOOD)))[:2] == (grpc.StatusCode.UNAVAILABLE, "SCHEMA_UNRESOLVED")
        schemas.status = 200
        async with asyncio.timeout(10):
            while served.route.chain.schema is None:
                await asyncio.sleep(0.05)
        await served.client.put("q", GOOD)
        assert (await refusal(served.client.put("q", BAD)))[1] == "SCHEMA_VIOLATION"


async def test_the_latest_version_is_followed_while_it_is_compatible(schemas: SchemaServer) -> None:
    async with declared(MEMORY, options(schemas, "PROTOBUF")) as served:
        schemas.register("orders-protobuf", "PROTOBUF", V1.replace("}", "optional string note = 4; }"))
        async with asyncio.timeout(10):
            while served.route.chain.schema.version != "v2":
                await asyncio.sleep(0.05)
        await served.client.put("q", payloads("PROTOBUF")[0])
        [found] = await served.client.take("q")
        assert found.metadata["X-Prism-Schema-Version"] == "v2"
        asked = len(schemas.requests)
        schemas.register("orders-protobuf", "PROTOBUF", V1.replace("double total", "string total"))
        async with asyncio.timeout(10):
            while len(schemas.requests) < asked + 3:
                await asyncio.sleep(0.05)
        assert served.route.chain.schema.version == "v2"


# --- what subscribers assert ------------------------------------------------------------------------------------------


async def subscribed(served: Served, topic: str, **given: str) -> Any:
    call = served.client.subscribing(pubsub.SubscribeRequest(topic=topic, options=given))
    async with asyncio.timeout(10):
        await call.initial_metadata()
    return call


async def test_an_expected_version_is_asserted(schemas: SchemaServer) -> None:
    async with declared(MEMORY, options(schemas, publish_time=False)) as served:
        call = served.client.subscribing(pubsub.SubscribeRequest(topic="t", options={"expected_version": "v2"}))
        assert (await refusal(call.read()))[:2] == (grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_VERSION_MISMATCH")
        call = served.client.subscribing(pubsub.SubscribeRequest(topic="t", options={"on_mismatch": "x"}))
        assert (await refusal(call.read()))[0] == grpc.StatusCode.INVALID_ARGUMENT
        strict = await subscribed(served, "t", expected_version="v1")
        warned = await subscribed(served, "t", expected_version="v2", on_mismatch="warn")
        await served.client.publish("t", b"1")
        assert (await received(strict)).payload == (await received(warned)).payload == b"1"
        schemas.register("orders-json", "JSON", JSON.replace('"title"', '"description": "more", "title"'))
        async with asyncio.timeout(10):
            while served.route.chain.schema.version != "v2":
                await asyncio.sleep(0.05)
        await served.client.publish("t", b"2")
        assert (await received(warned)).payload == b"2"
        with pytest.raises(TimeoutError):
            async with asyncio.timeout(0.2):
                await strict.read()
        for call in (strict, warned):
            call.cancel()


async def test_a_queues_consumer_expects_a_version(schemas: SchemaServer) -> None:
    """By metadata of its calls. What has another version comes again until it is a dead letter."""
    store = MEMORY[0], {"queue": QueueOptions(max_receives=1)}
    async with declared(store, options(schemas, publish_time=False)) as served:
        await served.client.put("q", b"1")
        for wrong in ({"expected": "v2"}, {"expected": "v2", "mismatch": "error"}):
            assert (await refusal(expecting(served, **wrong)))[:2] == (
                grpc.StatusCode.FAILED_PRECONDITION, "SCHEMA_VERSION_MISMATCH")
        assert (await refusal(expecting(served, expected="v1", mismatch="x")))[0] == grpc.StatusCode.INVALID_ARGUMENT
        schemas.register("orders-json", "JSON", JSON.replace('"title"', '"description": "more", "title"'))
        async with asyncio.timeout(10):
            while served.route.chain.schema.version != "v2":
                await asyncio.sleep(0.05)
        await served.client.put("q", b"2")
        [message] = (await expecting(served, expected="v2", mismatch="error")).messages
        assert message.payload == b"2"  # the first was written with v1
        [dead] = await served.client.take("q.dlq", wait_ms=3000)
        assert dead.payload == b"1"
        await served.client.put("q", b"3")
        assert [each.payload for each in (await expecting(served, expected="v1", mismatch="ignore")).messages] == [b"3"]


def expecting(served: Served, expected: str, mismatch: str = "error") -> Any:
    stub = queue_rpc.QueueBasicInterfaceStub(served.client.channel)  # type: ignore[no-untyped-call]
    return stub.Dequeue(queue.DequeueRequest(queue="q", max_messages=10, wait_ms=2000), metadata=(
        ("x-namespace", NAME), ("x-prism-expected-version", expected), ("x-prism-on-mismatch", mismatch)))


async def test_a_subscription_hears_once_of_deprecated_fields(
    schemas: SchemaServer, caplog: pytest.LogCaptureFixture
) -> None:
    schemas.register("old-json", "JSON", json.dumps({"title": "Order", "type": "object", "properties": {
        "status": {"type": "string", "deprecated": True, "x-prism-deprecated": "2025-12-31",
                   "deprecated_reason": "read \u00bbstate\u00ab"},
        "state": {"type": "string"}}}))
    async with declared(MEMORY, SchemaOptions("prism", registry_url=schemas.url, subject="old-json")) as served:
        caplog.clear()
        call = await subscribed(served, "t")
        await served.client.publish("t", b'{"status": "new"}')
        await served.client.publish("t", b'{"state": "new"}')
        assert [(await received(call)).payload for _ in range(2)] == [b'{"status": "new"}', b'{"state": "new"}']
        [said] = [value for key, value in await call.initial_metadata() if key == "x-prism-schema-deprecated"]
        assert said == "the field 'status' is deprecated since 2025-12-31: read \\xbbstate\\xab"
        lines = [record.getMessage() for record in caplog.records if "deprecated fields" in record.getMessage()]
        assert len(lines) == 1
        call.cancel()
    async with declared(MEMORY, options(schemas)) as served:
        call = await subscribed(served, "t")
        assert "x-prism-schema-deprecated" not in dict(await call.initial_metadata())
        call.cancel()


@pytest.mark.parametrize("kind", ["JSON", "PROTOBUF"])
async def test_mismatches_and_durations_are_metrics(schemas: SchemaServer, kind: str) -> None:
    good, without, wrong = payloads(kind)
    async with declared(MEMORY, options(schemas, kind)) as served:
        await served.client.put("q", good)
        for payload in (without, without, wrong):
            await refusal(served.client.put("q", payload))
        found = {each.name: list(each.samples) for each in served.route.chain.metrics()}
        assert {dict(sample.labels)["error_type"]: sample.value
                for sample in found["prism_publish_schema_mismatch_total"]} == {"missing": 2, "type": 1}
        assert {dict(each.labels)["result"]: each.counts[-1]
                for each in found["prism_publish_schema_validation_duration_seconds"]} == {"valid": 1, "violated": 3}
