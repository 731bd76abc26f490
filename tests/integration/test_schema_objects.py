"""Objects of a namespace with a schema say which: claimed payloads, and objects that clients put."""

from __future__ import annotations

import hashlib
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import pytest

from prism.interfaces.storage import storage_object_pb2 as storage
from prism.interfaces.storage import storage_object_pb2_grpc as storage_rpc
from prism_proxy.models.object.options import ObjectOptions
from prism_proxy.schema.options import SchemasOptions
from prism_proxy.steps.claim_check.options import ClaimCheckOptions
from prism_proxy.steps.resources import StepResources
from prism_proxy.steps.validate.options import SchemaOptions
from tests.services.claims import BUCKET, MIB, broker_slot, namespace, object_slot, serving
from tests.services.schemas import schema_server

TEXT = '{"title": "Film", "type": "object"}'


async def put(served: Any, key: str, **metadata: str) -> None:
    async def chunks() -> AsyncIterator[Any]:
        yield storage.PutObjectRequest(bucket="files", key=key, data=b"x", is_final_chunk=True, metadata=metadata)

    await storage_rpc.StorageObjectInterfaceStub(served.channel).PutObject(chunks())  # type: ignore[no-untyped-call]


@pytest.mark.parametrize("kind", ["directory", "s3"])
async def test_the_head_of_an_object_shows_the_schema(request: Any, tmp_path: Path, kind: str) -> None:
    async with schema_server() as schemas:
        schemas.register("films", "JSON", TEXT)
        expected = {"schema_url": f"{schemas.url}/subjects/films/versions/1", "schema_version": "v1",
                    "schema_format": "json-schema",
                    "schema_hash": f"sha256:{hashlib.sha256(TEXT.encode()).hexdigest()}"}
        config = namespace(
            broker_slot("memstore", request, tmp_path), object_slot(kind, request, tmp_path / "objects"),
            ClaimCheckOptions(enabled=True, bucket=BUCKET, sweep_interval=0),
            object=ObjectOptions(buckets=("files",), create_buckets=True),
            schema=SchemaOptions("prism", registry_url=schemas.url, subject="films"))
        async with serving(config, resources=StepResources(None, {}, SchemasOptions())) as served:
            await served.publish(b" " * (2 * MIB))
            [stored] = await served.stored()
            found = (await served.objects().get_metadata(BUCKET, stored.key)).metadata
            assert {name: found.get(name) for name in expected} == expected
            await put(served, "k", colour="red", schema_url="http://elsewhere")
            found = (await served.objects().get_metadata("files", "k")).metadata
            assert found == {**expected, "colour": "red"}
