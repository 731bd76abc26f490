"""confluent-kafka's client and serialisers, as they are, against a real process: they register, look up and decode."""

from __future__ import annotations

import json
import uuid
from collections.abc import Iterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import Schema, SchemaReference, SchemaRegistryClient, ServerConfig
from confluent_kafka.schema_registry.avro import AvroDeserializer, AvroSerializer
from confluent_kafka.schema_registry.common.schema_registry_client import ConfigCompatibilityLevel
from confluent_kafka.schema_registry.error import SchemaRegistryError
from confluent_kafka.schema_registry.json_schema import JSONDeserializer, JSONSerializer
from confluent_kafka.schema_registry.protobuf import ProtobufDeserializer, ProtobufSerializer
from confluent_kafka.serialization import MessageField, SerializationContext

from prism.control_plane_pb2 import PartitionRange
from prism.interfaces.queue import queue_basic_pb2
from tests.services.schema_registry import RegistryProcess, record

ORDER = json.dumps(record("Order", "id", note=""))
PERSON = json.dumps({"$schema": "http://json-schema.org/draft-07/schema#", "title": "Person", "type": "object",
                     "properties": {"name": {"type": "string"}}, "required": ["name"], "additionalProperties": False})
VALUE = MessageField.VALUE


@pytest.fixture
def client(registry: RegistryProcess) -> Iterator[SchemaRegistryClient]:
    with SchemaRegistryClient({"url": registry.url}) as found:
        yield found


@pytest.fixture
def topic() -> str:
    return f"t-{uuid.uuid4().hex}"


def fresh(registry: RegistryProcess) -> SchemaRegistryClient:
    """A consumer's client: it has seen nothing."""
    return SchemaRegistryClient({"url": registry.url})


async def test_avro_serialised_and_decoded(client: Any, registry: RegistryProcess, topic: str) -> None:
    context = SerializationContext(topic, VALUE)
    sent = AvroSerializer(client, ORDER)({"id": "1", "note": "two"}, context)
    assert sent[:1] == b"\0"
    assert int.from_bytes(sent[1:5], "big") == client.get_latest_version(f"{topic}-value").schema_id
    assert AvroDeserializer(fresh(registry))(sent, context) == {"id": "1", "note": "two"}
    newer = json.dumps(record("Order", "id", note="", more="x"))
    assert AvroDeserializer(fresh(registry), newer)(sent, context) == {"id": "1", "note": "two", "more": "x"}


async def test_json_schema_serialised_and_decoded(client: Any, registry: RegistryProcess, topic: str) -> None:
    context = SerializationContext(topic, VALUE)
    sent = JSONSerializer(PERSON, client)({"name": "Ada"}, context)
    assert client.get_latest_version(f"{topic}-value").schema.schema_type == "JSON"
    assert JSONDeserializer(None, schema_registry_client=fresh(registry))(sent, context) == {"name": "Ada"}
    assert JSONDeserializer(PERSON, schema_registry_client=fresh(registry))(sent, context) == {"name": "Ada"}


async def test_protobuf_serialised_and_decoded(client: Any, registry: RegistryProcess, topic: str) -> None:
    """The serialiser registers a descriptor, with those that it imports as references."""
    context = SerializationContext(topic, VALUE)
    options = {"use.deprecated.format": False}
    message = PartitionRange(start=3, end=9)
    sent = ProtobufSerializer(PartitionRange, client, options)(message, context)
    got = ProtobufDeserializer(PartitionRange, options, fresh(registry))(sent, context)
    assert (got.start, got.end) == (3, 9)
    found = client.get_latest_version(f"{topic}-value")
    assert found.schema.schema_type == "PROTOBUF"
    assert "message PartitionRange" in found.schema.schema_str  # a .proto file, which other clients read
    assert [reference.name for reference in found.schema.references]
    again = ProtobufSerializer(PartitionRange, fresh(registry), options)(message, context)
    assert again == sent
    item = queue_basic_pb2.EnqueueRequest()
    other = ProtobufSerializer(queue_basic_pb2.EnqueueRequest, client, options)(
        item, SerializationContext(f"{topic}-2", VALUE))
    assert other[1:5] != sent[1:5]


async def test_register_look_up_check_and_delete(client: Any, topic: str) -> None:
    subject, schema = f"{topic}-value", Schema(ORDER, "AVRO")
    number = client.register_schema(subject, schema)
    assert client.register_schema(subject, schema) == number
    assert client.get_schema(number).schema_str == ORDER
    assert client.lookup_schema(subject, schema).version == 1
    assert subject in client.get_subjects()
    assert client.get_versions(subject) == [1]
    assert client.get_version(subject, 1).schema_id == number
    assert "AVRO" in client.get_schema_types()
    assert subject in client.get_subjects_by_schema_id(number)
    assert [(one.subject, one.version) for one in client.get_schema_versions(number) if one.subject == subject]
    breaking = Schema(json.dumps(record("Order", "id", "total")), "AVRO")
    assert client.test_compatibility(subject, schema)
    assert not client.test_compatibility(subject, breaking)
    assert not client.test_compatibility_all_versions(subject, breaking)
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema(subject, breaking)
    assert (refused.value.http_status_code, refused.value.error_code) == (409, 409)
    assert client.delete_version(subject, 1) == 1
    with pytest.raises(SchemaRegistryError) as missing:
        client.get_versions(subject)
    assert missing.value.error_code == 40401
    assert client.register_schema(subject, Schema(json.dumps(record("Order", "id", other="")), "AVRO"))
    assert client.delete_subject(subject) == [2]
    assert subject in client.get_subjects(deleted_only=True)
    assert client.delete_subject(subject, permanent=True) == [1, 2]
    assert subject not in client.get_subjects(deleted=True)


async def test_levels_modes_references_and_contexts(client: Any, topic: str) -> None:
    subject = f"{topic}-value"
    client.set_compatibility(subject, "FULL")
    assert client.get_compatibility(subject) == "FULL"
    none = ServerConfig(compatibility=ConfigCompatibilityLevel.NONE)
    assert client.set_config(subject, none) == {"compatibility": "NONE"}
    assert client.get_config(subject).compatibility_level.value == "NONE"
    client.delete_config(subject)
    assert client.update_mode(subject, "READONLY") == "READONLY"
    assert client.get_mode(subject) == "READONLY"
    with pytest.raises(SchemaRegistryError) as refused:
        client.register_schema(subject, Schema(ORDER, "AVRO"))
    assert refused.value.error_code == 42205
    assert client.delete_mode(subject) == "READONLY"
    assert client.get_global_mode() == "READWRITE"
    client.register_schema(f"{topic}-customer", Schema(json.dumps(record("Customer", "name")), "AVRO"))
    order = json.dumps({"type": "record", "name": "Order", "fields": [{"name": "buyer", "type": "Customer"}]})
    number = client.register_schema(
        subject, Schema(order, "AVRO", [SchemaReference("Customer", f"{topic}-customer", 1)]))
    assert client.get_referenced_by(f"{topic}-customer", 1) == [number]
    assert client.get_schema(number).references[0].subject == f"{topic}-customer"
    client.register_schema(f":.{topic}:orders-value", Schema(ORDER, "AVRO"))
    assert f".{topic}" in client.get_contexts()
    made = client.register_schema_full_response(f"{topic}-full", Schema(ORDER, "AVRO"), normalize_schemas=True)
    assert made.version == 1
    assert json.loads(client.get_schema_by_guid(made.guid).schema_str) == json.loads(ORDER)
