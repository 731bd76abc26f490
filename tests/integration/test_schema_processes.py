"""Real processes, stock clients: serialisers of confluent-kafka register at our registry, and what they made passes a
proxy that validates by it, to deserialisers on the other side."""

from __future__ import annotations

import asyncio
import importlib.util
import json
import sys
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import grpc
import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from prism import control_plane_pb2 as control
from prism.interfaces.pubsub import pubsub_basic_pb2 as pubsub
from tests.services.proxy import ProxyProcess
from tests.services.schema_registry import registry_process
from tests.support.encrypted import Client

AVRO = json.dumps({"type": "record", "name": "shop.Order", "fields": [
    {"name": "id", "type": "string"}, {"name": "total", "type": "double"}]})
JSON = json.dumps({"title": "Order", "type": "object", "required": ["id", "total"], "properties": {
    "id": {"type": "string"}, "total": {"type": "number"}}})
VALUE = {"id": "7", "total": 1.5}
CONTEXT = SerializationContext("orders", MessageField.VALUE)


@pytest.fixture
async def registry() -> AsyncIterator[str]:
    process = await registry_process("--memory").start()
    yield process.url
    await process.stop()


@asynccontextmanager
async def proxy(folder: Path, url: str, **changes: Any) -> AsyncIterator[Client]:
    schema = {"registry_type": "prism", "registry_url": url, "subject": "orders-value",
              "validation": {"publish_time": True, "implicit_fields": False}, **changes}
    file = folder / "prism.yaml"
    file.write_text(json.dumps({"namespaces": {"shop": {
        "backends": {"store": {"driver": "sqlite", "config": {"path": str(folder / "shop.db")}}}, "schema": schema}}}))
    process = await ProxyProcess("--config", str(file), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                                 "--log-format", "json").start()
    try:
        async with grpc.aio.insecure_channel(process.address) as channel:
            yield Client(channel, "shop")
    finally:
        await process.stop()


def formats(client: SchemaRegistryClient, kind: str) -> tuple[Any, Any, Any]:
    """(serialiser, deserialiser, a value)."""
    if kind == "AVRO":
        return AvroSerializer(client, AVRO), AvroDeserializer(client, AVRO), VALUE
    if kind == "JSON":
        return JSONSerializer(JSON, client), JSONDeserializer(JSON), VALUE
    options = {"use.deprecated.format": False}
    message = control.PartitionRange(start=3, end=9)
    return (ProtobufSerializer(control.PartitionRange, client, options),
            ProtobufDeserializer(control.PartitionRange, options), message)


@pytest.mark.parametrize("kind", ["AVRO", "JSON", "PROTOBUF"])
async def test_stock_serialisers_through_registry_and_proxy(registry: str, tmp_path: Path, kind: str) -> None:
    client = SchemaRegistryClient({"url": registry})
    serialise, deserialise, value = formats(client, kind)
    payload = await asyncio.to_thread(serialise, value, CONTEXT)
    assert payload[:1] == b"\0"
    async with proxy(tmp_path, registry) as served:
        await served.put("orders", payload)
        [found] = await served.take("orders")
        assert found.payload == payload
        assert await asyncio.to_thread(deserialise, found.payload, CONTEXT) == value
        assert found.metadata["X-Prism-Schema-URL"] == f"{registry}/subjects/orders-value/versions/1"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await served.put("orders", payload[:-1])
        assert caught.value.code() is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_proxy_does_not_start_without_its_schema(registry: str, tmp_path: Path) -> None:
    with pytest.raises(AssertionError) as caught:
        async with proxy(tmp_path, registry):
            pass
    assert "SCHEMA_NOT_FOUND" in str(caught.value)
    assert f"{registry}/subjects/orders-value/versions/latest" in str(caught.value)


async def test_from_the_command_line_to_a_typed_message(registry: str, tmp_path: Path) -> None:
    """Register by command, publish, subscribe with an assertion, read by generated code; what violates is refused, and
    who expects another version too."""
    async def prismctl(*words: str) -> str:
        process = await asyncio.create_subprocess_exec(
            sys.executable, "-m", "prismctl", "schema", "--registry", registry, *words, stdout=asyncio.subprocess.PIPE)
        output, _ = await process.communicate()
        assert process.returncode == 0
        return output.decode()

    for version, text in enumerate((JSON, JSON.replace('"Order"', '"Order", "description": "more"')), 1):
        (tmp_path / "order.json").write_text(text)
        assert f"v{version}" in await prismctl("register", "--file", str(tmp_path / "order.json"), "--topic", "orders")
    path = (await prismctl("codegen", "--topic", "orders", "--output", str(tmp_path))).strip()
    spec = importlib.util.spec_from_file_location("typed_orders", path)
    assert spec is not None
    assert spec.loader is not None
    typed = sys.modules["typed_orders"] = importlib.util.module_from_spec(spec)
    spec.loader.exec_module(typed)
    async with proxy(tmp_path, registry) as served:
        call = served.subscribing(pubsub.SubscribeRequest(topic="orders", options={"expected_version": "v1"}))
        with pytest.raises(grpc.aio.AioRpcError, match="expects v1"):
            await call.read()
        call = served.subscribing(pubsub.SubscribeRequest(topic="orders", options={"expected_version": "v2"}))
        await call.initial_metadata()
        order = typed.Order(id="7", total=1.5)
        await served.publish("orders", order.encode())
        with pytest.raises(grpc.aio.AioRpcError, match=r"total"):
            await served.publish("orders", b'{"id": "7"}')
        async with asyncio.timeout(10):
            assert typed.Order.decode((await call.read()).payload) == order
        call.cancel()
