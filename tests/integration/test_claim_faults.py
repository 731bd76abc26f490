"""An object store that is slow, full, denying, lying or away: a clear error or another try, never wrong bytes."""

from __future__ import annotations

import asyncio
import os
from collections.abc import AsyncIterator
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism_proxy.backends.objects.config import S3Config
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.errors import PrismError
from prism_proxy.namespaces.model import NamespaceConfig, SlotConfig
from prism_proxy.object_stores.contract import PENDING_TAG
from prism_proxy.object_stores.errors import AccessDenied, ErrorCode, ObjectStoreError, QuotaExceeded
from prism_proxy.object_stores.transfer import CountedDownload
from prism_proxy.steps.claim_check.options import ClaimCheckOptions, TtlOptions
from tests.services.claims import (
    BUCKET,
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
from tests.services.redis import free_port

OPTIONS = ClaimCheckOptions(enabled=True, bucket=BUCKET, sweep_interval=0, retrieval_timeout=0.3, upload_timeout=1.0)
PAYLOAD = os.urandom(2 * MIB)


@pytest.fixture
def config(request: pytest.FixtureRequest, tmp_path: Path) -> NamespaceConfig:
    return namespace(broker_slot("memstore", request, tmp_path), object_slot("memory", request, tmp_path), OPTIONS)


@pytest.fixture
async def claims(config: NamespaceConfig) -> AsyncIterator[Claims]:
    async with serving(config) as found:
        yield found


class Failing:
    """Replaces a command of the store, until it is healed."""

    def __init__(self, store: Any, name: str, behaviour: Any) -> None:
        self._store, self._name, self._real = store, name, getattr(store, name)
        self.calls = 0

        async def command(*args: Any, **more: Any) -> Any:
            self.calls += 1
            if isinstance(behaviour, Exception):
                raise behaviour
            return await behaviour(self._real, *args, **more)

        setattr(store, name, command)

    def heal(self) -> None:
        setattr(self._store, self._name, self._real)


async def silent(*_: Any, **__: Any) -> Any:
    await asyncio.sleep(60)


AWAY = ObjectStoreError("the store does not answer", ErrorCode.UNAVAILABLE)
DENIED = AccessDenied("the credentials may not do this")


ODD = ObjectStoreError("odd")


@pytest.mark.parametrize("fault", [silent, AWAY, DENIED, ODD], ids=["slow", "away", "denies", "odd"])
async def test_a_message_waits_while_its_payload_cannot_be_read(claims: Claims, fault: Any) -> None:
    await claims.enqueue(PAYLOAD)
    broken = Failing(claims.objects(), "get_stream", fault)
    code, _ = await refusal(claims.dequeue())
    assert code is grpc.StatusCode.UNAVAILABLE
    broken.heal()
    [message] = await until(lambda: claims.dequeue(wait_ms=2000))
    assert message.payload == PAYLOAD


async def test_a_subscription_waits_and_the_status_says_why(claims: Claims) -> None:
    async with claims.subscription() as stream:
        broken = Failing(claims.objects(), "get_stream", AWAY)
        await claims.publish(PAYLOAD)

        async def paused() -> Any:
            report = claims.route().pattern.health()
            return report is not None and "claim_check" in report.message

        await until(paused)
        broken.heal()
        assert (await stream.read()).payload == PAYLOAD


@pytest.mark.parametrize(("fault", "code"), [
    (QuotaExceeded("the store is full"), grpc.StatusCode.RESOURCE_EXHAUSTED),
    (DENIED, grpc.StatusCode.PERMISSION_DENIED), (AWAY, grpc.StatusCode.UNAVAILABLE),
    (silent, grpc.StatusCode.UNAVAILABLE)], ids=["full", "denies", "away", "slow"])
async def test_a_publish_fails_with_its_reason_and_publishes_nothing(
    claims: Claims, fault: Any, code: grpc.StatusCode
) -> None:
    for command in ("put", "begin_upload"):
        broken = Failing(claims.objects(), command, fault)
        found, _ = await refusal(claims.enqueue(PAYLOAD) if command == "put" else claims.enqueue(PAYLOAD * 6))
        broken.heal()
        assert found is code
    assert await claims.dequeue() == []
    assert not await claims.stored()


async def test_bytes_that_a_connection_damaged_are_right_at_the_second_try(claims: Claims) -> None:
    async def damaged(real: Any, *args: Any, **more: Any) -> Any:
        download = await real(*args, **more)

        async def bytes_of() -> AsyncIterator[bytes]:
            async for chunk in download:
                yield bytes([chunk[0] ^ 1]) + chunk[1:] if broken.calls == 1 else chunk

        return CountedDownload(download.info, download.start, download.end, bytes_of())

    await claims.enqueue(PAYLOAD)
    broken = Failing(claims.objects(), "get_stream", damaged)
    [message] = await claims.dequeue()
    assert message.payload == PAYLOAD
    assert broken.calls == 2


@pytest.mark.parametrize("lie", ["short", "long", "other"])
async def test_a_store_that_lies_delivers_nothing(claims: Claims, lie: str) -> None:
    async def lying(real: Any, *args: Any, **more: Any) -> Any:
        download = await real(*args, **more)

        async def bytes_of() -> AsyncIterator[bytes]:
            data = b"".join([chunk async for chunk in download])
            yield {"short": data[:-1], "long": data + b"x", "other": data[::-1]}[lie]

        return CountedDownload(download.info, download.start, download.end, bytes_of())

    await claims.enqueue(PAYLOAD)
    Failing(claims.objects(), "get_stream", lying)
    assert await claims.dequeue() == []
    assert claims.step().payloads.figures.rejected == {"CLAIM_CHECKSUM_MISMATCH": 1}


async def test_a_publisher_hears_that_its_object_was_not_confirmed(claims: Claims) -> None:
    broken = Failing(claims.objects(), "set_tags", AWAY)
    code, reason = await refusal(claims.enqueue(PAYLOAD))
    assert (code, reason, broken.calls > 1) == (grpc.StatusCode.UNAVAILABLE, "CLAIM_NOT_CONFIRMED", True)
    broken.heal()
    [message] = await claims.dequeue()  # it is there all the same, until a sweep
    assert message.payload == PAYLOAD


async def test_a_message_that_may_be_at_the_broker_keeps_its_object(claims: Claims) -> None:
    driver = claims.route().slots["store"].driver.queue
    real = driver.enqueue

    async def unknown(*args: Any) -> Any:
        await real(*args)
        raise PrismError(grpc.StatusCode.UNAVAILABLE, "BROKE", "the connection broke", {"outcome": "unknown"})

    driver.enqueue = unknown
    await refusal(claims.enqueue(PAYLOAD))
    driver.enqueue = real
    [found] = await claims.stored()

    async def confirmed() -> bool:
        return PENDING_TAG not in await claims.objects().get_tags(BUCKET, found.key)

    await until(confirmed)
    [message] = await claims.dequeue()
    assert message.payload == PAYLOAD


async def test_deletions_that_fail_in_part_are_counted_and_made_by_a_sweep(config: NamespaceConfig) -> None:
    ttl = TtlOptions(retention_after_read=0.0, grace_period=0.0)
    config = replace(config, options={"claim_check": replace(OPTIONS, ttl=ttl)})
    async with serving(config) as claims:
        await claims.enqueue(PAYLOAD)
        await claims.enqueue(PAYLOAD)

        async def some(real: Any, bucket: str, keys: Any) -> Any:
            return dict.fromkeys(keys[:1], DENIED) | dict(await real(bucket, keys[1:]))

        broken = Failing(claims.objects(), "delete_many", some)
        await claims.dequeue(count=2)

        async def counted() -> bool:
            return bool(claims.step().payloads.figures.delete_failures == 2)

        await until(counted)
        step = claims.step()
        step.sweeper._now = lambda: 4e9
        report = await step.sweeper.sweep()
        assert (report.failed, len(await claims.stored())) == (1, 1)
        broken.heal()
        assert (await step.sweeper.sweep()).failed == 0
        assert not await claims.stored()


async def test_a_namespace_that_requires_its_store_is_not_activated_without_it(
    config: NamespaceConfig, request: pytest.FixtureRequest
) -> None:
    nobody = S3Config(endpoint=f"http://127.0.0.1:{free_port()}", access_key="a", secret_key="b", max_retries=0)
    slots = {**config.slots, "object_store": SlotConfig("s3", nobody)}
    required = replace(config, slots=slots, options={"claim_check": replace(OPTIONS, required=True)})
    with pytest.raises(PrismError) as caught:
        async with serving(required):
            pass
    assert (caught.value.code, caught.value.reason) == (grpc.StatusCode.FAILED_PRECONDITION, "CLAIM_STORE_REFUSED")
    async with serving(replace(config, slots=slots)) as claims:  # it serves what is small meanwhile
        await claims.enqueue(b"small")
        assert (await claims.dequeue())[0].payload == b"small"
        code, _ = await refusal(claims.enqueue(PAYLOAD))
        assert code is grpc.StatusCode.UNAVAILABLE
        del claims


async def test_CLM_7_namespaces_that_share_a_topic_have_the_same_lives(
    request: pytest.FixtureRequest, tmp_path: Path
) -> None:
    server = request.getfixturevalue("redis")
    store = SlotConfig("redis", RedisConfig(url=server.url, topic_prefix="shared:", shared_names=True))
    objects = object_slot("memory", request, tmp_path)
    first = namespace(store, objects, OPTIONS, "producers")
    second = namespace(store, objects, replace(OPTIONS, ttl=TtlOptions(max_age=7200.0)), "consumers")
    with pytest.raises(ValueError, match=r"max_age is 86400 s here and 7200 s there"):
        async with serving(first, second):
            pass
    required = namespace(store, objects, replace(OPTIONS, required=True), "producers")
    without = NamespaceConfig.of_store("consumers", "redis", store.config)
    with pytest.raises(ValueError, match="requires claim_check"):
        async with serving(required, without):
            pass
    async with serving(first, replace(first, name="consumers")):
        pass
