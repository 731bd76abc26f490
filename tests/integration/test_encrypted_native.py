"""Encrypted values by native handlers: the same bytes in the store, the same refusals, and every use counted."""

from __future__ import annotations

import asyncio
import contextlib
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_rpc
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.crypto.algorithms import ALGORITHMS, RSA_DIRECT
from prism_proxy.namespaces.activator import Activator
from prism_proxy.namespaces.snapshot import Namespaces
from prism_proxy.steps.encrypt import values as values_module
from prism_proxy.steps.encrypt.options import EncryptionOptions
from prism_proxy.steps.encrypt.values import EncryptedValues, parse
from tests.services.redis import RedisServer, binary, running
from tests.support import in_process
from tests.support.encrypted import NAME, config_of, files_in, key_directory, options_of, resources
from tests.support.redis_stand_in import RedisStandIn

HEADERS = (("x-namespace", NAME),)


@pytest.fixture(scope="module")
def redis() -> Iterator[RedisServer]:
    if binary() is None:
        pytest.skip("there is no redis-server: run `make tools`")
    with running(RedisServer()) as server:
        yield server


class Native:
    """A namespace behind a server with native handlers; `in_python` counts values that the step opened or sealed."""

    def __init__(self, channel: grpc.aio.Channel, namespaces: Namespaces, activator: Activator) -> None:
        self._stub: Any = basic_rpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        self._namespaces = namespaces
        self.activator = activator
        self.channel = channel
        self.in_python = 0

    async def set(self, key: str, value: bytes) -> None:
        assert (await self._stub.Set(basic.SetRequest(key=key, value=value), metadata=HEADERS)).success

    async def get(self, key: str) -> bytes | None:
        reply = await self._stub.Get(basic.GetRequest(key=key), metadata=HEADERS)
        return bytes(reply.value) if reply.found else None

    async def refusal(self, key: str) -> str:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await self.get(key)
        return str(caught.value.details())

    @property
    def route(self) -> Any:
        return self._namespaces.current.routes[NAME]

    @property
    def driver(self) -> Any:
        return self.route.drivers[0]

    def uses(self) -> dict[tuple[str, str], int]:
        [metric] = [each for each in self.route.chain.metrics() if each.name == "prism_encryption_key_uses_total"]
        return {(dict(each.labels)["operation"], dict(each.labels)["key"]): int(each.value) for each in metric.samples}


@pytest.fixture
async def serve(monkeypatch: pytest.MonkeyPatch) -> AsyncIterator[Any]:
    stack = contextlib.AsyncExitStack()

    async def start(store: tuple[str, Any], options: EncryptionOptions, directory: Path) -> Native:
        namespaces, activator = await stack.enter_async_context(
            in_process.applied(config_of(store, options), resources=resources(directory)))
        served = await stack.enter_async_context(in_process.serving(namespaces, native=True))
        channel = await stack.enter_async_context(grpc.aio.insecure_channel(served.address))
        found = Native(channel, namespaces, activator)
        for name in ("seal", "open"):
            original = getattr(EncryptedValues, name)

            def counted(self: Any, *given: bytes, original: Any = original) -> bytes:
                found.in_python += 1
                return bytes(original(self, *given))

            monkeypatch.setattr(EncryptedValues, name, counted)
        return found

    async with stack:
        yield start


@pytest.fixture(params=["memstore", "redis"])
def store(request: pytest.FixtureRequest) -> tuple[str, Any]:
    if request.param == "memstore":
        return "memstore", MemstoreConfig()
    server = request.getfixturevalue("redis")
    return "redis", RedisConfig(url=server.url, prefix=f"{time.time_ns()}:")


@pytest.mark.parametrize("name", ALGORITHMS)
async def test_native_handlers_serve_every_scheme(serve: Any, store: tuple[str, Any], name: str) -> None:
    native: Native = await serve(store, options_of(name), key_directory())
    values = {f"k{number}": b"value %d" % number * (1 + number % 4) for number in range(40)} | {"empty": b""}
    for key, value in values.items():
        await native.set(key, value)
    for key, value in values.items():
        assert await native.get(key) == value
    assert await native.get("none") is None
    if name != RSA_DIRECT:
        assert native.in_python <= 2
        for size in (8000, 9000, 100_000):
            await native.set("large", bytes(size))
            assert await native.get("large") == bytes(size)
        assert sum(native.uses().values()) == 2 * len(values) + 6
    chain = native.route.chain
    seen = set()
    for key, value in values.items():
        stored = await native.driver.get(key.encode())
        parsed = parse(stored)
        assert parsed is not None
        assert chain.unseal(key.encode(), stored) == value  # by the step itself
        seen.add((parsed[0].encapsulated_key, parsed[0].iv))
    assert len(seen) == len(values) or name == RSA_DIRECT


async def test_what_native_code_cannot_open_is_refused_by_the_step(serve: Any, store: tuple[str, Any]) -> None:
    native: Native = await serve(store, options_of("aes-256-gcm"), key_directory())
    driver = native.driver
    for key in ("one", "two"):
        await native.set(key, b"value of " + key.encode())
        assert await native.get(key) == b"value of " + key.encode()
    stored = await driver.get(b"one")
    parsed = parse(stored)
    assert parsed is not None
    bound = [parsed[0].key_id.encode(), parsed[0].algorithm.encode(), parsed[0].iv, parsed[0].aad, parsed[1]]
    places = [range(stored.index(part), stored.index(part) + len(part)) for part in bound if part is not None]
    for at in range(len(stored)):
        await driver.set(b"one", stored[:at] + bytes([stored[at] ^ 1]) + stored[at + 1:])
        if not any(at in place for place in places):  # the type and the names of parameters are not bound
            with contextlib.suppress(grpc.aio.AioRpcError):
                assert await native.get("one") == b"value of one"
            continue
        said = await native.refusal("one")
        assert any(part in said for part in ("does not open", "is not encrypted", "is not one of", "no such version",
                                             "is unknown", "is not what")), (at, said)
    for at in range(len(stored)):
        await driver.set(b"one", stored[:at])
        await native.refusal("one")
    await driver.set(b"one", stored + b"\x00")
    assert "does not open" in await native.refusal("one")
    await driver.set(b"two", stored)
    assert "does not open" in await native.refusal("two")
    await driver.set(b"two", b"plain")
    assert "is not encrypted" in await native.refusal("two")
    await driver.set(b"one", stored)
    assert await native.get("one") == b"value of one"


async def test_versions_come_and_go_while_native_code_serves(
    serve: Any, store: tuple[str, Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values_module, "ASK_SECONDS", 0.1)
    files = files_in(tmp_path)
    files.generate("k", "aes-256-gcm", time.time() - 100)
    native: Native = await serve(store, EncryptionOptions(enabled=True, key_ref="disk://k"), tmp_path)
    await native.set("old", b"1")
    assert await native.get("old") == b"1"
    files.rotate("k", time.time() - 50)
    await native.route.chain.steps["encryption"]._cipher._keys.renew("disk://k", "aes-256-gcm")
    await asyncio.sleep(0.25)
    await native.set("new", b"2")
    assert b"disk://k#2" in await native.driver.get(b"new")
    assert [await native.get("old"), await native.get("new")] == [b"1", b"2"]
    files.remove("k", "1", time.time())
    await native.route.chain.steps["encryption"]._cipher._keys.renew("disk://k", "aes-256-gcm")
    await asyncio.sleep(0.25)
    assert "has no such version" in await native.refusal("old")
    assert await native.get("new") == b"2"
    await native.activator.apply([config_of(store, EncryptionOptions(enabled=True, key_ref="disk://k"))])
    assert await native.get("new") == b"2"
    assert native.uses() == {("seal", "disk://k#1"): 1, ("open", "disk://k#1"): 2, ("seal", "disk://k#2"): 1,
                             ("open", "disk://k#2"): 3}


async def test_one_call_asks_again_and_not_all(
    serve: Any, store: tuple[str, Any], monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(values_module, "ASK_SECONDS", 0.5)
    native: Native = await serve(store, options_of("aes-256-gcm"), key_directory())
    await native.set("k", b"value")
    assert await native.get("k") == b"value"
    ends, calls = time.monotonic() + 2, 0

    async def work() -> None:
        nonlocal calls
        while time.monotonic() < ends:
            await native.set("k", b"value")
            assert await native.get("k") == b"value"
            calls += 2

    await asyncio.gather(*(work() for _ in range(16)))
    assert calls > 100
    assert native.in_python <= 2 + 2 * 4 + 2  # two a window of half a second


async def test_no_iv_repeats_between_native_code_and_the_step(serve: Any) -> None:
    """A large value is sealed by the step, under the data key that native code uses meanwhile."""
    native: Native = await serve(("memstore", MemstoreConfig()), options_of("x-wing"), key_directory())
    for number in range(50):
        await native.set(f"k{number}", bytes(20_000 if number % 3 == 0 else 10))
    pairs = set()
    for number in range(50):
        parsed = parse(await native.driver.get(b"k%d" % number))
        assert parsed is not None
        pairs.add((parsed[0].encapsulated_key, parsed[0].iv))
    assert len(pairs) == 50
    assert len({key for key, _ in pairs}) == 1


async def test_handlers_that_know_no_cipher_stay_away(serve: Any, store: tuple[str, Any]) -> None:
    """Native handlers of other methods do not compare or return ciphertext."""
    from prism.interfaces.keyvalue import keyvalue_cas_pb2 as cas
    from prism.interfaces.keyvalue import keyvalue_cas_pb2_grpc as cas_rpc

    native: Native = await serve(store, options_of("aes-256-gcm"), key_directory())
    await native.set("k", b"value")
    stub: Any = cas_rpc.KeyValueCASInterfaceStub(native.channel)  # type: ignore[no-untyped-call]
    with pytest.raises(grpc.aio.AioRpcError) as caught:
        await stub.CompareAndSwap(cas.CompareAndSwapRequest(key="k", expected=b"x", value=b"y"),
                                  metadata=HEADERS)
    assert caught.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert await native.get("k") == b"value"
    for model in ("pubsub_basic", "queue_basic", "stream_basic"):
        assert not native.route.implementation(model).native


async def test_a_set_that_redis_did_not_execute_is_sealed_once(serve: Any) -> None:
    """It comes back from the connection as ciphertext, and the servicer, which tries again, seals by itself."""
    stored: list[bytes] = []

    def answer(command: list[bytes]) -> bytes:
        if command[0] != b"SET":
            return b"$-1\r\n"
        stored.append(command[2])
        return b"-LOADING Redis is loading the dataset in memory\r\n" if len(stored) == 2 else b"+OK\r\n"

    async with RedisStandIn(answer) as server:
        native: Native = await serve(("redis", RedisConfig(url=server.url)), options_of("x-wing"), key_directory())
        for number in range(3):
            await native.set("k", b"value %d" % number)
        assert len(stored) == 4
        opened = [native.route.chain.unseal(b"k", value) for value in stored]
        assert opened == [b"value 0", b"value 1", b"value 1", b"value 2"]
        assert len({parse(value)[0].iv for value in stored}) == 4  # type: ignore[index]
