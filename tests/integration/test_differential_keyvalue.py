"""Native key-value handlers against the servicers they stand in for, over requests that are odd on the wire.

The same bytes go to two servers over equal stores, with and without native handlers. Replies must be equal to the byte,
and a request fails exactly when the protobuf runtime cannot decode it or the servicer's rules refuse it.
"""

from __future__ import annotations

import contextlib
import random
from collections.abc import AsyncIterator
from typing import Any

import pytest
from google.protobuf.message import DecodeError

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_cas_pb2 as cas
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, build
from tests.support import in_process
from tests.support.h2peer import DATA, END_HEADERS, END_STREAM, HEADERS, H2Peer, Reply, frame, grpc_headers, message

SERVICE = "/prism.interfaces.keyvalue.KeyValueBasicInterface/"
CAS = "/prism.interfaces.keyvalue.KeyValueCASInterface/"
REQUESTS: dict[str, Any] = {
    SERVICE + "Get": basic.GetRequest, SERVICE + "Set": basic.SetRequest, SERVICE + "Delete": basic.DeleteRequest,
    SERVICE + "Exists": basic.ExistsRequest, CAS + "CompareAndSwap": cas.CompareAndSwapRequest,
    CAS + "CompareAndDelete": cas.CompareAndDeleteRequest}
INTERNAL = 13
VARINT, FIXED64, LEN, GROUP, END_GROUP, FIXED32 = range(6)


def varint(value: int, *, overlong: int = 0) -> bytes:
    out = []
    while value >= 0x80 or overlong > 0:
        out.append(value & 0x7F | 0x80)
        value >>= 7
        overlong -= 1
    return bytes([*out, value])


def field(number: int, payload: bytes, wire: int = LEN) -> bytes:
    return varint(number << 3 | wire) + (varint(len(payload)) if wire == LEN else b"") + payload


KEYS = [b"k", b"key-%d", "ключ".encode(), b"a" * 200, b"", b"\xff", b"\xed\xa0\x80", b"\xc0\x80", b"\xf4\x90\x80\x80",
        b"ab\xe2\x82", b"nul\x00inside", "😀".encode(), b"k" * 65536, b"k" * 65537]


def tags(rng: random.Random) -> bytes:
    entry = field(1, rng.choice([b"team", b"\xff", b""])) + field(2, rng.choice([b"a", b"\xfe\xff", b""]))
    entry += rng.choice([b"", field(9, b"unknown"), b"\x0a", field(1, b"again"), varint(1 << 3) + b"\x05"])
    return rng.choice([field(1, entry), field(1, entry) * 2, entry, b"", b"\x0a\x05abc", field(2, b"x")])


def piece(rng: random.Random) -> bytes:
    key = rng.choice(KEYS[:4] * 4 + KEYS)
    return rng.choice([
        lambda: field(1, key), lambda: field(1, key), lambda: field(1, b"k"), lambda: field(2, rng.randbytes(5)),
        lambda: field(2, bytes(9000)), lambda: field(2, b""), lambda: field(3, tags(rng)), lambda: field(3, tags(rng)),
        lambda: field(rng.choice([4, 15, 16, 2047, 536870911]), b"unknown"),
        lambda: field(rng.choice([1, 2, 3, 7]), varint(rng.getrandbits(64)), VARINT),
        lambda: field(rng.choice([1, 2, 3, 7]), bytes(8), FIXED64),
        lambda: field(rng.choice([1, 7]), bytes(4), FIXED32),
        lambda: field(7, field(1, b"in") + field(7, b"", END_GROUP), GROUP),
        lambda: field(7, field(8, b"", END_GROUP), GROUP), lambda: field(7, b"", END_GROUP),
        lambda: field(6, b"", GROUP) * 30 + field(6, b"", END_GROUP) * 30,
        lambda: field(6, b"", GROUP) * 200 + field(6, b"", END_GROUP) * 200,
        lambda: varint(1 << 3 | LEN, overlong=3) + varint(1, overlong=3) + b"o",
        lambda: varint(1 << 3 | LEN) + b"\xff" * 9 + b"\x7f", lambda: varint(1 << 3 | LEN) + b"\xff" * 4 + b"\x0f",
        lambda: field(7, b"\xff" * 10, VARINT), lambda: field(7, b"\xff" * 9 + b"\x01", VARINT),
        lambda: b"\x00", lambda: b"\x06", lambda: b"\x0f", lambda: b"\xff" * 5 + b"\x01",
    ])()


def request(rng: random.Random) -> bytes:
    out = b"".join(piece(rng) for _ in range(rng.choice([1, 1, 2, 3, 5])))
    if rng.random() < 0.2:
        out = out[:rng.randrange(len(out) + 1)]
    if rng.random() < 0.1 and out:
        at = rng.randrange(len(out))
        out = out[:at] + rng.randbytes(1) + out[at + 1:]
    return out


@contextlib.asynccontextmanager
async def served(*, native: bool, max_bytes: int = 256 << 20) -> AsyncIterator[int]:
    """Namespaces `default`, `aa` and `bb`, each over a store of its own."""
    drivers = {name: MemstoreDriver(MemstoreConfig(max_bytes=max_bytes)) for name in ("default", "aa", "bb")}
    namespaces = Namespaces()
    namespaces.swap(build(1, [NamespaceConfig.of_store(name, name, None) for name in drivers],
                          lambda backend, settings: drivers[backend]))
    for driver in drivers.values():
        await driver.open()
    try:
        async with in_process.serving(namespaces, native=["memstore"] if native else []) as found:
            yield found.port
    finally:
        for driver in drivers.values():
            await driver.close()


async def call(peer: H2Peer, path: str, payload: bytes) -> Reply:
    """DATA frames of the largest size, the last of which ends the request."""
    stream, framed = peer.next_stream(), message(payload)
    parts = [framed[at:at + 16384] for at in range(0, len(framed), 16384)]
    await peer.send(peer.head(stream, grpc_headers(path)), *(
        frame(DATA, END_STREAM if index == len(parts) - 1 else 0, stream, part) for index, part in enumerate(parts)))
    return await peer.reply(stream)


def decodes(path: str, payload: bytes) -> bool:
    try:
        REQUESTS[path].FromString(payload)
    except DecodeError:
        return False
    return True


@pytest.mark.parametrize("seed", range(8))
async def test_native_and_servicer_agree_on_generated_requests(seed: int) -> None:
    rng = random.Random(seed)
    async with (served(native=False) as first, served(native=True) as second, H2Peer(first) as servicer,
                H2Peer(second) as native):
        for _ in range(150):
            method, payload = rng.choice(list(REQUESTS)), request(rng)
            expected, got = await call(servicer, method, payload), await call(native, method, payload)
            assert (got.body, got.status, got.text) == (expected.body, expected.status, expected.text), (
                method, payload[:300])
            assert got.reset is None
            assert (got.status == INTERNAL) == (not decodes(method, payload)), (method, payload[:300])


async def test_identical_blocks_under_different_tables_reach_their_own_namespace() -> None:
    """Index 62 is the newest entry of the decoder's table: the same bytes mean another namespace after an insertion."""
    async with served(native=True) as port, H2Peer(port) as peer:
        for name in ("aa", "bb"):
            setting = basic.SetRequest(key="k", value=name.encode()).SerializeToString()
            reply = await peer.unary(SERVICE + "Set", setting, ("x-namespace", name))
            assert reply.status == 0
        seen = []
        for name in ("aa", "bb", "aa", "bb", "bb", "aa"):
            setup = peer.next_stream()  # puts NAME at index 62 by a literal that is always inserted
            insertion = b"\x40\x0bx-namespace" + bytes([len(name)]) + name.encode()
            await peer.send(frame(HEADERS, END_HEADERS | END_STREAM, setup, fresh_block() + insertion))
            await peer.reply(setup)
            stream = peer.next_stream()
            await peer.send(
                frame(HEADERS, END_HEADERS, stream, fresh_block() + b"\xbe"),
                frame(DATA, END_STREAM, stream, message(basic.GetRequest(key="k").SerializeToString())))
            seen.append(basic.GetResponse.FromString((await peer.reply(stream)).messages()[0]).value)
        assert seen == [b"aa", b"bb", b"aa", b"bb", b"bb", b"aa"]


def fresh_block() -> bytes:
    """A request head of literals without indexing, so that it is the same bytes whatever the table holds."""
    return b"".join(
        b"\x00" + varint(len(name)) + name + varint(len(value)) + value
        for name, value in ((str(name).encode(), str(value).encode()) for name, value in grpc_headers(SERVICE + "Get")))


VALUES = (None, b"", b"a", b"b", b"x" * 5000, b"y" * 20_000)


def compared(rng: random.Random) -> tuple[str, bytes]:
    """A conditional write of few values, so that both outcomes are met."""
    expected, value, key = rng.choice(VALUES), rng.choice(VALUES) or b"", rng.choice(["k1", "k2"])
    if rng.random() < 0.2:
        deletion = cas.CompareAndDeleteRequest(key=key, expected=expected or b"")
        return CAS + "CompareAndDelete", deletion.SerializeToString()
    return CAS + "CompareAndSwap", cas.CompareAndSwapRequest(
        key=key, expected=expected, value=value).SerializeToString()


async def test_native_comparisons_agree_with_the_servicer_s() -> None:
    rng, swapped, found = random.Random(5), 0, 0
    async with (served(native=False) as first, served(native=True) as second, H2Peer(first) as servicer,
                H2Peer(second) as native):
        for _ in range(300):
            path, payload = compared(rng)
            expected, got = await call(servicer, path, payload), await call(native, path, payload)
            assert (got.body, got.status, got.text) == (expected.body, expected.status, expected.text), payload[:99]
            answer = cas.CompareAndSwapResponse.FromString(got.body[5:])
            swapped += answer.swapped
            found += answer.HasField("actual")
    assert min(swapped, found) > 20, "both outcomes were met"


async def test_comparisons_are_native_and_a_full_store_is_the_servicer_s(monkeypatch: Any) -> None:
    """A store at its bound answers as the servicer does, and nothing else reaches the servicer."""
    asked = []
    swap = MemstoreDriver.compare_and_swap

    async def counted(self: MemstoreDriver, key: bytes, expected: bytes | None, value: bytes) -> Any:
        asked.append(key)
        return await swap(self, key, expected, value)

    monkeypatch.setattr(MemstoreDriver, "compare_and_swap", counted)
    async with served(native=True, max_bytes=1 << 20) as port, H2Peer(port) as peer:
        small = cas.CompareAndSwapRequest(key="k", value=b"1").SerializeToString()
        assert (await call(peer, CAS + "CompareAndSwap", small)).status == 0
        assert asked == []
        large = cas.CompareAndSwapRequest(key="k", expected=b"1", value=bytes(2 << 20)).SerializeToString()
        reply = await call(peer, CAS + "CompareAndSwap", large)
        assert (reply.status, asked) == (8, [b"k"])
        got = cas.CompareAndSwapResponse.FromString((await call(peer, CAS + "CompareAndSwap", small)).body[5:])
        assert (got.swapped, got.actual) == (False, b"1"), "the refused one changed nothing"
