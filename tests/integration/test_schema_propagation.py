"""A schema is copied to a registry for Kafka's clients; ours, by its Confluent face, stands for that of a cluster."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from typing import Any

import pytest
from confluent_kafka.schema_registry import SchemaRegistryClient

from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.errors import PrismError
from prism_proxy.schema.options import RegistryOptions, SchemasOptions
from prism_proxy.steps.resources import StepResources
from prism_proxy.steps.validate.options import PropagationOptions, SchemaOptions, ValidationOptions
from prism_schema_registry.app import App
from prism_schema_registry.options import RegistryOptions as ServerOptions
from tests.services.schemas import SchemaServer, schema_server
from tests.support.encrypted import serving

V1 = 'syntax = "proto3"; package shop; message Order { optional string id = 1; }'
V2 = 'syntax = "proto3"; package shop; message Order { optional string id = 1; optional int32 size = 2; }'
BREAKING = 'syntax = "proto3"; package shop; message Order { optional int32 id = 1; }'


@pytest.fixture
async def schemas() -> AsyncIterator[SchemaServer]:
    async with schema_server() as made:
        made.register("orders", "PROTOBUF", V1)
        yield made


@pytest.fixture
async def kafka() -> AsyncIterator[App]:
    app = App(ServerOptions(memory=True, port=0, grpc_listen="off", metrics_listen="off"))
    await app.start()
    yield app
    await app.stop()


def url(app: App) -> str:
    return f"http://127.0.0.1:{app.port}"


def declared(schemas: SchemaServer, target: str, *, config_time: bool = True, **more: Any) -> Any:
    schema = SchemaOptions("prism", registry_url=schemas.url, subject="orders",
                           validation=ValidationOptions(config_time=config_time),
                           propagation=PropagationOptions(registry_url=target, topics=("orders", "returns"), **more))
    return serving(("memstore", MemstoreConfig()), None, schema=schema,
                   used=StepResources(None, {}, SchemasOptions(latest_ttl=0.1)))


async def subjects(app: App) -> dict[str, str]:
    """Text of the latest version of each subject, as a stock client reads it."""
    def read() -> dict[str, str]:
        client = SchemaRegistryClient({"url": url(app)})
        return {name: client.get_latest_version(name).schema.schema_str for name in client.get_subjects()}
    return await asyncio.to_thread(read)


@pytest.mark.parametrize(("naming", "names"), [
    ("TopicNameStrategy", {"orders-value", "returns-value"}), ("RecordNameStrategy", {"shop.Order"}),
    ("TopicRecordNameStrategy", {"orders-shop.Order", "returns-shop.Order"})])
async def test_a_stock_client_finds_the_schema(schemas: SchemaServer, kafka: App, naming: str, names: set[str]) -> None:
    for _ in range(2):  # again is the same
        async with declared(schemas, url(kafka), subject_naming=naming, compatibility="full"):
            assert await subjects(kafka) == dict.fromkeys(names, V1)
    client = SchemaRegistryClient({"url": url(kafka)})
    found = await asyncio.to_thread(lambda: [client.get_versions(name) for name in names]
                                    + [client.get_compatibility(name) for name in names])
    assert found == [[1]] * len(names) + ["FULL"] * len(names)


async def test_a_followed_version_is_copied_too(schemas: SchemaServer, kafka: App) -> None:
    async with declared(schemas, url(kafka)):
        schemas.register("orders", "PROTOBUF", V2)
        async with asyncio.timeout(10):
            while (await subjects(kafka))["returns-value"] != V2:
                await asyncio.sleep(0.05)


async def test_a_registry_that_refuses_it_or_is_away_refuses_the_namespace(schemas: SchemaServer, kafka: App) -> None:
    client = SchemaRegistryClient({"url": url(kafka)})
    async with declared(schemas, url(kafka)):
        pass
    await asyncio.to_thread(client.set_compatibility, "orders-value", "BACKWARD")
    schemas.register("orders", "PROTOBUF", BREAKING)
    with pytest.raises(PrismError, match=r"409.*incompatible") as caught:
        async with declared(schemas, url(kafka)):
            pass
    assert caught.value.reason == "REGISTRY_REFUSED"
    with pytest.raises(PrismError) as caught:
        async with declared(schemas, "http://127.0.0.1:1"):
            pass
    assert caught.value.reason == "SCHEMA_UNREACHABLE"


async def test_without_config_time_publishing_goes_on_and_the_copy_follows(schemas: SchemaServer, kafka: App) -> None:
    port = kafka.port
    await kafka.stop()
    async with declared(schemas, f"http://127.0.0.1:{port}", config_time=False) as served:
        await served.client.publish("orders", b"")
        later = App(ServerOptions(memory=True, port=port, grpc_listen="off", metrics_listen="off"))
        await later.start()
        try:
            async with asyncio.timeout(15):
                while set(await subjects(later)) != {"orders-value", "returns-value"}:
                    await asyncio.sleep(0.1)
        finally:
            await later.stop()


async def test_an_assigned_namespace_names_a_registry_that_allows_it() -> None:
    from prism_proxy.steps.validate.places import propagation

    schemas = SchemasOptions(registries={
        "main": RegistryOptions("confluent", "http://kafka-registry", allow=("shop-*",)),
        "files": RegistryOptions("https", "http://files")})

    def target(namespace: str, **more: str) -> Any:
        options = SchemaOptions("prism", registry="main", subject="orders",
                                propagation=PropagationOptions(topics=("t",), **more))  # type: ignore[arg-type]
        return propagation(namespace, options, schemas, assigned=True)

    assert target("shop-1", registry="main").place.url == "http://kafka-registry"
    for namespace, more, problem in (
            ("other", {"registry": "main"}, "does not allow it"), ("shop-1", {"registry": "files"}, "takes no schemas"),
            ("shop-1", {"registry_url": "http://x"}, "may not"), ("shop-1", {"registry": "none"}, "is not there")):
        with pytest.raises(PrismError, match=problem):
            target(namespace, **more)
