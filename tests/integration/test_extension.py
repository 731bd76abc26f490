"""A third party's package, installed beside the product and unknown to it, works from the file and through the admin.

It has a data model with a contract of its own, a pattern of three slots, a step, and a backend with a native handler:
`tests/extension`.
"""

from __future__ import annotations

import asyncio
import json
import os
import shutil
import subprocess
import sys
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import grpc_tools
import pytest

from prism import control_plane_pb2 as control
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as kv_rpc
from tests.services.cluster import cluster
from tests.services.proxy import ProxyProcess, proxy

ROOT = Path(__file__).parents[2]
SOURCE = ROOT / "tests" / "extension"
PROTO = "toy/interfaces/counter/counter_basic.proto"
SERVICE = "/toy.interfaces.counter.CounterBasicInterface/"
FILE = """
namespaces:
  plain:
    backends: {store: {driver: tally, config: {start: 5}}}
    counter: {limit: 9}
  books:
    pattern: ledger
    backends:
      counts: {driver: tally}
      book: {driver: memstore}
      copy: {driver: sqlite, config: {path: copy.db}}
    ledger: {title: "n/"}
  short:
    pattern: ledger
    backends: {counts: {driver: tally}, book: {driver: memstore}}
  copy:
    backends: {store: {driver: memstore}}
    stamp: {enabled: true, text: seen}
"""


def varint(value: int) -> bytes:
    return bytes([value]) if value < 128 else bytes([value & 127 | 128]) + varint(value >> 7)


def named(name: str) -> bytes:
    """A request about a counter, as its contract has it: this process has no stubs of it."""
    return b"\x0a" + varint(len(name)) + name.encode()


def value_of(reply: bytes) -> int:
    """`value` of an AddResponse."""
    return 0 if not reply else sum((byte & 127) << 7 * place for place, byte in enumerate(reply[1:]))


class Counters:
    """A client of one namespace."""

    def __init__(self, channel: grpc.aio.Channel, namespace: str) -> None:
        self._channel = channel
        self._metadata = (("x-namespace", namespace),)

    async def add(self, name: str, by: int) -> int:
        call = self._channel.unary_unary(SERVICE + "Add")
        return value_of(await call(named(name) + b"\x10" + varint(by), metadata=self._metadata))

    async def value(self, name: str) -> int:
        return value_of(await self._channel.unary_unary(SERVICE + "Value")(named(name), metadata=self._metadata))

    def watch(self, name: str) -> Any:
        return self._channel.unary_stream(SERVICE + "Watch")(named(name), metadata=self._metadata)


@pytest.fixture(scope="module")
def installed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder as `pip install --target` leaves it."""
    folder = tmp_path_factory.mktemp("installed")
    shutil.copytree(SOURCE / "prism_toy", folder / "prism_toy")
    shutil.copy(SOURCE / "setup.py", folder)
    subprocess.run([sys.executable, "setup.py", "-q", "build_ext", "--inplace"], cwd=folder, check=True,
                   capture_output=True, env={**os.environ, "PRISM": str(ROOT)})
    well_known = Path(grpc_tools.__file__).parent / "_proto"
    subprocess.run([sys.executable, "-m", "grpc_tools.protoc", f"-I{SOURCE}", f"-I{ROOT / 'proto'}", f"-I{well_known}",
                    f"--python_out={folder}", PROTO], check=True, capture_output=True)
    metadata = folder / "prism_toy-1.0.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text("Metadata-Version: 2.1\nName: prism-toy\nVersion: 1.0\n")
    shutil.copy(SOURCE / "entry_points.txt", metadata)
    return folder


@pytest.fixture
def environment(installed: Path) -> dict[str, str]:
    return {"PYTHONPATH": f"{installed}:{ROOT}"}


@pytest.fixture
async def running(tmp_path: Path, environment: dict[str, str]) -> AsyncIterator[ProxyProcess]:
    (tmp_path / "prism.yaml").write_text(FILE)
    process = ProxyProcess("--config", "prism.yaml", "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                           environment=environment, folder=tmp_path)
    async with process as found:
        yield found


async def test_everything_of_a_third_party_works_from_the_file(running: ProxyProcess) -> None:
    async with grpc.aio.insecure_channel(running.address) as channel:
        plain, books, short = (Counters(channel, name) for name in ("plain", "books", "short"))
        assert [await plain.value("a"), await plain.add("a", 3), await plain.value("a")] == [5, 8, 8]
        with pytest.raises(grpc.aio.AioRpcError, match="counter 'a' would be 10: the limit is 9") as full:
            await plain.add("a", 2)
        assert full.value.code() is grpc.StatusCode.RESOURCE_EXHAUSTED

        assert [await books.add("b", 1), await books.add("b", 200)] == [1, 201]
        assert await short.add("c", 7) == 7
        assert await short.value("c") == 7  # by the pattern: native code serves nothing past it
        _, ready = await running.get("/ready")
        assert json.loads(ready)["namespaces"]["plain"]["answered_natively"] == "2"
        assert json.loads(ready)["namespaces"]["short"]["answered_natively"] == "0"
        assert await plain.value("") == 5  # unusual, so by the servicer

        store = kv_rpc.KeyValueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        where = (("x-namespace", "copy"),)
        await store.Set(kv.SetRequest(key="k", value=b"v"), metadata=where)
        assert (await store.Get(kv.GetRequest(key="k"), metadata=where)).value == b"v"
        with pytest.raises(grpc.aio.AioRpcError) as lacking:
            await store.Get(kv.GetRequest(key="k"), metadata=(("x-namespace", "plain"),))
        assert lacking.value.code() is grpc.StatusCode.UNIMPLEMENTED
        assert "tally" in (lacking.value.details() or "")
        with pytest.raises(grpc.aio.AioRpcError) as lacking:
            await Counters(channel, "copy").value("a")
        assert lacking.value.code() is grpc.StatusCode.UNIMPLEMENTED

        watched = plain.watch("a")
        assert value_of(await asyncio.wait_for(anext(aiter(watched)), 5)) == 8
        stopping = asyncio.ensure_future(running.stop())
        assert await asyncio.wait_for(watched.code(), 5) is grpc.StatusCode.UNAVAILABLE
        assert ("x-prism-resume", "8") in list(await watched.trailing_metadata())
        assert await stopping == 0


async def test_the_pattern_writes_into_all_its_slots_and_its_state_is_shown(
    running: ProxyProcess, tmp_path: Path
) -> None:
    async with grpc.aio.insecure_channel(running.address) as channel:
        await Counters(channel, "books").add("b", 42)
    _, ready = await running.get("/ready")
    assert '"books"' in ready
    assert '"tally"' in ready
    _, metrics = await running.get("/metrics")
    assert 'namespace="books",operation="toy.interfaces.counter.CounterBasicInterface/Add"' in metrics
    assert await running.stop() == 0
    stored = (tmp_path / "copy.db").read_bytes() + (tmp_path / "copy.db-wal").read_bytes() if (
        tmp_path / "copy.db-wal").exists() else (tmp_path / "copy.db").read_bytes()
    assert b"n/b" in stored
    assert b"42" in stored


async def test_a_slot_takes_only_what_its_alternatives_allow(tmp_path: Path, environment: dict[str, str]) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("namespaces:\n  a:\n    pattern: ledger\n    backends:\n      counts: {driver: memstore}\n"
                    "      book: {driver: tally}\n      shelf: {driver: memstore}\n    ledger: {titel: x}\n")
    refused = ProxyProcess("config", "check", str(file), environment=environment)
    await refused.spawn()
    _, errors = await refused.process.communicate()
    assert refused.process.returncode == 1
    said = errors.decode()
    for expected in (
            "counts.driver is memstore, which does not implement counter_basic: slot counts of namespace 'a' needs it",
            "book.driver is tally, which does not implement any of keyvalue_basic; document_basic",
            "shelf is 'shelf', which is no slot of pattern ledger", "ledger.titel"):
        assert expected in said


async def test_everything_of_a_third_party_works_through_the_admin(
    tmp_path: Path, environment: dict[str, str]
) -> None:
    def backend(kind: str, **options: str) -> control.BackendConfig:
        return control.BackendConfig(backend_type=kind, options=options)

    ledger = control.NamespaceConfig(
        backends={"counts": backend("tally", start="3"), "book": backend("memstore")},
        patterns={"main": control.PatternConfig(
            pattern_name="ledger", required_interfaces=["counter_basic"],
            settings={"title": "t/", "counter.limit": "10"})})
    stamped = control.NamespaceConfig(
        backends={"store": backend("memstore")},
        patterns={"main": control.PatternConfig(settings={"stamp.enabled": "true"})})
    async with cluster(tmp_path, 2, environment=environment) as found:
        await found.create(["counted"], ledger)
        await found.create(["stamped"], stamped)
        for number in (1, 2):  # the owner, and a proxy that forwards to it
            async with grpc.aio.insecure_channel(found.address(number)) as channel:
                assert await Counters(channel, "counted").add("a", 2) == 3 + 2 * number
        with pytest.raises(grpc.aio.AioRpcError, match="the limit is 10"):
            async with grpc.aio.insecure_channel(found.address(1)) as channel:
                await Counters(channel, "counted").add("a", 4)
        store = found.client(2).store
        where = (("x-namespace", "stamped"),)
        await store.Set(kv.SetRequest(key="k", value=b"v"), metadata=where)
        assert (await found.client(1).store.Get(kv.GetRequest(key="k"), metadata=where)).value == b"v"


async def test_nothing_of_it_is_known_without_the_package() -> None:
    async with proxy() as plain, grpc.aio.insecure_channel(plain.address) as channel:
        with pytest.raises(grpc.aio.AioRpcError) as unknown:
            await Counters(channel, "default").value("a")
        assert unknown.value.code() is grpc.StatusCode.UNIMPLEMENTED
