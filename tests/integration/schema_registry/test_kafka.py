"""The stock serialisers through a real Kafka broker: what a producer registers, a consumer decodes, in each format."""

from __future__ import annotations

import asyncio
import json
from collections.abc import Callable, Iterator
from typing import Any

import pytest
from confluent_kafka import DeserializingConsumer, SerializingProducer
from confluent_kafka.schema_registry import SchemaRegistryClient
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer

from prism.control_plane_pb2 import PartitionRange
from tests.services.kafka import KafkaServer, jars
from tests.services.redis import running
from tests.services.schema_registry import RegistryProcess, record

pytestmark = [pytest.mark.heavy, pytest.mark.skipif(
    jars() is None, reason="there is no Kafka: run `make tools` (needs Java and Maven)")]

ORDER = json.dumps(record("Order", "id", note=""))
PERSON = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "title": "Person", "type": "object",
                     "properties": {"name": {"type": "string"}}})
COUNT = 20
Formats = dict[str, tuple[Callable[[Any], Any], Callable[[Any], Any], list[Any]]]
FORMATS: Formats = {
    "avro": (lambda client: AvroSerializer(client, ORDER), AvroDeserializer,
             [{"id": str(number), "note": "a"} for number in range(COUNT)]),
    "json": (lambda client: JSONSerializer(PERSON, client),
             lambda client: JSONDeserializer(None, schema_registry_client=client),
             [{"name": str(number)} for number in range(COUNT)]),
    "protobuf": (lambda client: ProtobufSerializer(PartitionRange, client, {"use.deprecated.format": False}),
                 lambda client: ProtobufDeserializer(PartitionRange, {"use.deprecated.format": False}),
                 [PartitionRange(start=number, end=number + 1) for number in range(COUNT)]),
}


@pytest.fixture(scope="module")
def kafka() -> Iterator[KafkaServer]:
    with running(KafkaServer()) as server:
        yield server


@pytest.mark.parametrize("name", FORMATS)
async def test_what_is_produced_is_consumed(name: str, kafka: KafkaServer, registry: RegistryProcess) -> None:
    serializer, deserializer, sent = FORMATS[name]

    def produce() -> None:
        producer = SerializingProducer({
            "bootstrap.servers": kafka.address, "log_level": 0,
            "value.serializer": serializer(SchemaRegistryClient({"url": registry.url}))})
        for message in sent:
            producer.produce(name, value=message)
        assert producer.flush(30) == 0

    def consume() -> list[Any]:
        consumer = DeserializingConsumer({
            "bootstrap.servers": kafka.address, "log_level": 0, "group.id": name, "auto.offset.reset": "earliest",
            "value.deserializer": deserializer(SchemaRegistryClient({"url": registry.url}))})
        consumer.subscribe([name])
        found: list[Any] = []
        for _ in range(300):
            message = consumer.poll(0.1)
            if message is not None and message.error() is None:
                found.append(message.value())
            if len(found) == len(sent):
                break
        consumer.close()
        return found

    await asyncio.to_thread(produce)
    assert await asyncio.to_thread(consume) == sent
    assert f"{name}-value" in SchemaRegistryClient({"url": registry.url}).get_subjects()
