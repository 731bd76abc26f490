"""What a stock client sees when a key-value call fails, on grpc.aio and on our server alike."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_rpc
from prism.interfaces.keyvalue import keyvalue_scan_pb2 as scan
from prism.interfaces.keyvalue import keyvalue_scan_pb2_grpc as scan_rpc
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.errors import PrismError, StatusCode
from prism_proxy.models.keyvalue.contract import ScanPage
from prism_proxy.models.keyvalue.options import KeyValueOptions
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import build
from prism_proxy.testing.contracts.serving import Way, serve
from prism_proxy.testing.contracts.wire_subject import refusal

WAYS = [Way.REFERENCE, Way.SERVER, Way.NATIVE]


class Troubled(MemstoreDriver):
    """Each key is a trouble."""

    def __init__(self) -> None:
        super().__init__(MemstoreConfig())
        self.native_store = None  # type: ignore[assignment]
        self.waiting, self.cancelled = asyncio.Event(), asyncio.Event()
        self.pages = 0

    async def get(self, key: bytes) -> bytes | None:
        if key == b"defect":
            raise KeyError("the inner text")
        if key == b"down":
            raise ConnectionRefusedError("the inner text")
        try:
            self.waiting.set()
            await asyncio.Event().wait()
        except asyncio.CancelledError:
            self.cancelled.set()
            raise
        return None

    async def scan(self, prefix: bytes, cursor: bytes | None, count: int, *, values: bool) -> ScanPage:
        self.pages += 1
        return ScanPage([(b"%d-%d" % (self.pages, index), bytes(100_000)) for index in range(count)], b"more",
                        lambda key: key)

    def classify(self, error: Exception) -> PrismError | None:
        if isinstance(error, ConnectionError):
            return PrismError(StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE", "the store is down", retry_after=2.0)
        return None


@pytest.fixture
async def troubled() -> Troubled:
    return Troubled()


@pytest.fixture(params=WAYS, ids=lambda way: way.value)
async def channel(request: pytest.FixtureRequest, troubled: Troubled) -> AsyncIterator[grpc.aio.Channel]:
    ordinary = MemstoreDriver(MemstoreConfig())
    configs = [NamespaceConfig.of_store("default", "ordinary", None),
               NamespaceConfig.of_store("troubled", "troubled", None),
               NamespaceConfig.of_store("narrow", "ordinary", None, keyvalue=KeyValueOptions(narrow_keys=True))]
    snapshot = build(1, configs, lambda backend, settings: troubled if backend == "troubled" else ordinary)
    async with serve(request.param, snapshot) as opened:
        yield opened


async def get(
    channel: grpc.aio.Channel, key: str, *metadata: tuple[str, str], seconds: float = 10
) -> basic.GetResponse:
    stub = basic_rpc.KeyValueBasicInterfaceStub(channel)
    return await stub.Get(basic.GetRequest(key=key), metadata=metadata, timeout=seconds)


async def failure(channel: grpc.aio.Channel, key: str, *metadata: tuple[str, str]) -> grpc.aio.AioRpcError:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await get(channel, key, *metadata)
    return caught.value


async def test_the_default_namespace_answers_when_none_is_named(channel: grpc.aio.Channel) -> None:
    assert not (await get(channel, "missing")).found
    assert not (await get(channel, "missing", ("x-namespace", ""))).found


async def test_an_unknown_namespace_is_not_found(channel: grpc.aio.Channel) -> None:
    error = await failure(channel, "key", ("x-namespace", "nobody's"), ("x-request-id", "r-17"))
    assert error.code() is StatusCode.NOT_FOUND
    assert error.details() == """there is no namespace "nobody's" on this proxy"""
    assert refusal(error).reason == "NAMESPACE_NOT_FOUND"
    assert ("x-request-id", "r-17") in [*error.trailing_metadata(), *error.initial_metadata()]


@pytest.mark.parametrize("key", ["a b", "ключ", "a/b", ""])
async def test_narrow_keys_of_a_namespace(channel: grpc.aio.Channel, key: str) -> None:
    """The same key is fine in the namespace beside it; native handlers must leave this one alone."""
    error = await failure(channel, key, ("x-namespace", "narrow"))
    assert error.code() is StatusCode.INVALID_ARGUMENT
    assert (refusal(error).reason, refusal(error).field) == ("INVALID_KEY", "key")
    assert not (await get(channel, "A-z:0_9", ("x-namespace", "narrow"))).found
    if key:
        assert not (await get(channel, key)).found


async def test_a_defect_is_internal_logged_and_keeps_its_text_to_itself(
    channel: grpc.aio.Channel, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.ERROR):
        error = await failure(channel, "defect", ("x-namespace", "troubled"), ("x-request-id", "r-18"))
    assert error.code() is StatusCode.INTERNAL
    assert refusal(error).reason == "INTERNAL"
    assert "inner text" not in str(error.details()) + str(error.trailing_metadata())
    logged = [record for record in caplog.records if record.exc_info]
    assert len(logged) == 1
    assert "r-18" in f"{logged[0].__dict__}"


async def test_err5_a_store_that_is_down_is_unavailable_and_says_when_to_retry(channel: grpc.aio.Channel) -> None:
    error = await failure(channel, "down", ("x-namespace", "troubled"))
    assert error.code() is StatusCode.UNAVAILABLE
    assert refusal(error).reason == "BACKEND_UNAVAILABLE"
    assert dict(error.trailing_metadata())["grpc-retry-pushback-ms"] == "2000"


async def test_a_cancelled_call_cancels_the_drivers_command(channel: grpc.aio.Channel, troubled: Troubled) -> None:
    call = asyncio.ensure_future(get(channel, "wait", ("x-namespace", "troubled")))
    await troubled.waiting.wait()
    call.cancel()
    await asyncio.wait_for(troubled.cancelled.wait(), 5)


async def test_a_deadline_ends_the_drivers_command(channel: grpc.aio.Channel, troubled: Troubled) -> None:
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await get(channel, "wait", ("x-namespace", "troubled"), seconds=0.2)
    assert caught.value.code() is StatusCode.DEADLINE_EXCEEDED
    await asyncio.wait_for(troubled.cancelled.wait(), 5)


async def test_a_scan_fetches_no_more_than_its_reader_takes(channel: grpc.aio.Channel, troubled: Troubled) -> None:
    """The store is endless: only back-pressure stops this."""
    call = scan_rpc.KeyValueScanInterfaceStub(channel).Scan(
        scan.ScanRequest(), metadata=(("x-namespace", "troubled"),))
    assert len((await call.read()).value) == 100_000
    before = -1
    while troubled.pages != before:  # until the windows are full
        before = troubled.pages
        await asyncio.sleep(0.2)
    assert troubled.pages < 60, "elements were fetched that nobody took"
    call.cancel()
