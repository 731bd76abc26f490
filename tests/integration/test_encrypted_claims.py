"""Encrypted namespaces keep nothing readable in the object store, and an object opens as its own message's alone."""

from __future__ import annotations

import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism_proxy.claim_check.claim import decode
from prism_proxy.models.queue.options import QueueOptions
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.object_stores.contract import PutOptions
from prism_proxy.steps.claim_check.options import ClaimCheckOptions
from tests.services.claims import (
    BUCKET,
    KIB,
    MIB,
    Claims,
    broker_slot,
    namespace,
    object_slot,
    redis,  # noqa: F401 - a fixture
    refusal,
    serving,
    until,
)
from tests.support.encrypted import key_directory, options_of, resources

OPTIONS = ClaimCheckOptions(enabled=True, bucket=BUCKET, sweep_interval=0)
SENTENCE = b"a sentence that must not be readable anywhere. "
CHUNK = 16 * KIB + 16


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> NamespaceConfig:
    broker, scheme, compression = getattr(request, "param", ("memstore", "aes-256-gcm", "none"))
    return namespace(
        broker_slot(broker, request, tmp_path), object_slot("memory", request, tmp_path),
        replace(OPTIONS, compression=compression), encryption=options_of(scheme), queue=QueueOptions(max_receives=2))


@pytest.fixture
async def claims(config: NamespaceConfig) -> AsyncIterator[Claims]:
    async with serving(config, resources=resources(key_directory())) as found:
        yield found


@pytest.mark.parametrize("config", [
    ("memstore", "aes-256-gcm", "none"), ("sqlite", "x-wing", "zstd"), ("redis", "ml-kem-1024", "none"),
], indirect=True)
async def test_a_large_payload_is_encrypted_by_chunk(claims: Claims) -> None:
    payload = SENTENCE * (2 * MIB // len(SENTENCE))
    await claims.enqueue(payload, prism_content_type="text/plain")
    sent = await claims.send([payload, payload], queue="q")
    for found in await claims.stored():
        _, data = await claims.objects().get(BUCKET, found.key)
        assert SENTENCE not in data
        assert found.metadata["prism-encryption"] == "cobblestone-256"
        assert not {"prism-checksum", "prism-original-size"} & found.metadata.keys()  # they would tell what it is
    [first] = await claims.lease(wait_ms=2000)
    assert first.payload == payload
    [second] = await claims.lease(wait_ms=2000)
    name: Any = {"topic": "q", "claim_id": sent.claim_id}
    _, whole = await claims.fetched(**name, claim=second.payload)
    assert whole == payload * 2
    head, part = await claims.fetched(**name, claim=second.payload, offset=MIB, limit=100)
    assert (part, head.read_from_start) == (whole[MIB:MIB + 100], True)
    code, _ = await refusal(claims.fetched(**name))
    assert code is grpc.StatusCode.INVALID_ARGUMENT  # its key is in the claim alone


async def test_the_object_of_another_message_is_refused_before_any_byte_of_it(claims: Claims) -> None:
    payload = os.urandom(2 * MIB)
    await claims.enqueue(payload)
    await claims.enqueue(payload)
    first, second = await claims.stored()
    store = claims.objects()
    _, data = await store.get(BUCKET, first.key)
    _, other = await store.get(BUCKET, second.key)
    await store.put(BUCKET, first.key, other)
    await store.put(BUCKET, second.key, data)
    assert await claims.dequeue(count=2) == []
    assert claims.step().payloads.figures.rejected == {"CLAIM_CHECKSUM_MISMATCH": 2}


@pytest.mark.parametrize("change", ["cut off", "moved", "exchanged"])
async def test_a_streamed_object_ends_at_the_first_chunk_that_is_not_authentic(claims: Claims, change: str) -> None:
    payload = os.urandom(4 * MIB)
    await claims.enqueue(payload)
    await claims.enqueue(payload)
    [first] = await claims.lease()
    claim = decode(first.payload)
    store = claims.objects()
    keys = sorted(found.key for found in await claims.stored())
    info, data = await store.get(BUCKET, claim.object_key)
    _, other = await store.get(BUCKET, next(key for key in keys if key != claim.object_key))
    head = len(data) - 256 * CHUNK  # 4 MiB are 256 chunks
    chunks = [data[at:at + CHUNK] for at in range(head, len(data), CHUNK)]
    if change == "cut off":
        chunks[-1] = b""
    elif change == "moved":
        chunks[100], chunks[101] = chunks[101], chunks[100]
    else:
        chunks[100] = other[head + 100 * CHUNK:head + 101 * CHUNK]
    changed = data[:head] + b"".join(chunks)
    await store.put(BUCKET, claim.object_key, changed, PutOptions(metadata=info.metadata))
    received = bytearray()

    async def fetch() -> None:
        async for part in claims.fetch(topic="q", claim_id=claim.claim_id, claim=first.payload):
            received.extend(part.chunk)

    _, reason = await refusal(fetch())
    assert reason == "CLAIM_CHECKSUM_MISMATCH"
    assert payload.startswith(bytes(received))
    assert len(received) <= 100 * 16 * KIB


async def test_a_key_of_another_message_does_not_open_an_object(claims: Claims) -> None:
    payload = os.urandom(4 * MIB)
    await claims.enqueue(payload)
    await claims.enqueue(payload)
    first, second = (await claims.lease())[0], (await claims.lease())[0]
    one, two = decode(first.payload), decode(second.payload)
    forged = replace(one, sealed_key=two.sealed_key, encryption=two.encryption).encode()
    _, reason = await refusal(claims.fetched(topic="q", claim_id=one.claim_id, claim=forged))
    assert reason == "ENC_AUTH_FAILED"
    unsealed = replace(one, sealed_key=b"", encryption=None).encode()
    _, reason = await refusal(claims.fetched(topic="q", claim_id=one.claim_id, claim=unsealed))
    assert reason == "CLAIM_CORRUPT"


async def test_an_encrypted_payload_survives_the_way_to_the_dead_letters_and_back(claims: Claims) -> None:
    payload = os.urandom(2 * MIB)
    await claims.enqueue(payload)
    for _ in range(2):
        [message] = await claims.lease(wait_ms=2000)
        await claims.release(message.receipt, delete=False)
    [dead] = await until(lambda: claims.lease("q.dlq", seconds=1))
    assert dead.payload == payload
    await claims.release(dead.receipt, delete=False, queue="q.dlq")
    assert await claims.redrive() == 1
    [message] = await claims.lease(wait_ms=2000)
    assert message.payload == payload
