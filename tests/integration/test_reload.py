"""The configuration file with a real process: refused whole at the start, read at SIGHUP without a failed call."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import sqlite3
import time
from collections.abc import AsyncIterator, Iterator
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as pb_grpc
from prism.interfaces.keyvalue import keyvalue_scan_pb2 as scan_pb
from prism.interfaces.keyvalue import keyvalue_scan_pb2_grpc as scan_grpc
from prism.interfaces.keyvalue import keyvalue_transactional_pb2 as tx_pb
from prism.interfaces.keyvalue import keyvalue_transactional_pb2_grpc as tx_grpc
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import RedisServer, binary

TURNS = 300 if os.environ.get("PRISM_SOAK") else 12


class Configured:
    """A proxy with a file; `write` changes the file, `reload` makes the process read it and waits for the outcome."""

    def __init__(self, folder: Path) -> None:
        self.folder = folder
        self.file = folder / "prism.yaml"
        self.process: ProxyProcess

    def write(self, proxy_settings: dict[str, Any] | None = None, **namespaces: Any) -> None:
        """Namespaces are `memstore`, or the settings of another backend. JSON is YAML."""
        def backend(value: Any) -> dict[str, Any]:
            if value == "memstore":
                return {"driver": "memstore"}
            return {"driver": "redis" if "url" in value else "sqlite", "config": value}

        self.file.write_text(json.dumps({"proxy": proxy_settings or {}, "namespaces": {
            name: {"backends": {"store": backend(value)}} for name, value in namespaces.items()}}))

    async def reload(self, event: str = "configuration reloaded") -> dict[str, Any]:
        self.process.signal(signal.SIGHUP)
        return await self.process.line(event)

    async def ready(self) -> dict[str, Any]:
        return dict(json.loads((await self.process.get("/ready"))[1]))


@pytest.fixture
async def configured(tmp_path: Path, request: pytest.FixtureRequest) -> AsyncIterator[Configured]:
    """As one process, or with the further flags that the test asks for."""
    made = Configured(tmp_path)
    made.write(a="memstore", b={"path": f"{tmp_path}/b.db"})
    async with proxy("--config", str(made.file), *getattr(request, "param", ())) as process:
        made.process = process
        yield made
        if process.process.returncode is None:
            assert await process.stop() == 0
            assert [line for line in process.lines if "exception" in line] == []


def stub(channel: grpc.aio.Channel) -> pb_grpc.KeyValueBasicInterfaceStub:
    return pb_grpc.KeyValueBasicInterfaceStub(channel)


def of(namespace: str) -> list[tuple[str, str]]:
    return [("x-namespace", namespace)]


@pytest.fixture
async def redis() -> AsyncIterator[RedisServer | None]:
    """None where Redis is not to be had: the rest of a test is worth running."""
    if binary() is None:
        yield None
        return
    async with RedisServer() as server:
        yield server


def open_files(pid: int) -> Iterator[str]:
    """Those of a process and its children."""
    family = [pid, *map(int, Path(f"/proc/{pid}/task/{pid}/children").read_text().split())]
    for link in (link for member in family for link in Path(f"/proc/{member}/fd").iterdir()):
        with contextlib.suppress(FileNotFoundError):  # closed meanwhile
            yield os.readlink(link)


async def test_a_file_with_mistakes_ends_the_start_with_all_of_them(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("proxy: {log_levl: x}\nnamespaces:\n  a: {backends: {store: {driver: nosuch}}}\n")
    process = ProxyProcess("--config", str(file))
    await process.spawn()
    _, errors = await process.process.communicate()
    assert process.process.returncode == 1
    assert errors.decode().splitlines() == [
        "prism-proxy: 2 mistakes in the configuration",
        f"{file}:1:9: proxy.log_levl is no setting: did you mean 'log_level'? known are "
        + errors.decode().splitlines()[1].partition("known are ")[2],
        f"{file}:3:34: namespaces.a.backends.store.driver is 'nosuch', which is no driver: known are "
        + errors.decode().splitlines()[2].partition("known are ")[2]]


async def test_a_store_in_use_by_another_proxy_ends_the_start(configured: Configured) -> None:
    process = ProxyProcess("--config", str(configured.file), "--listen", "127.0.0.1:0", "--metrics-listen", "off")
    await process.spawn()
    _, errors = await process.process.communicate()
    assert process.process.returncode == 1
    assert f"STORE_IN_USE: {configured.folder}/b.db is in use by process {configured.process.process.pid}" in (
        errors.decode())


async def test_sighup_adds_changes_and_removes_namespaces(configured: Configured) -> None:
    path = f"{configured.folder}/b.db"
    async with grpc.aio.insecure_channel(configured.process.address) as channel:
        keyvalue = stub(channel)
        for namespace in "ab":
            await keyvalue.Set(pb.SetRequest(key="k", value=namespace.encode()), metadata=of(namespace))
        configured.write(a="memstore", b={"path": path, "durability": "checkpointed"}, c="memstore")
        line = await configured.reload()
        assert (line["revision"], line["added"], line["changed"]) == (2, ["c"], ["b"])
        assert not {"removed", "data_lost"} & line.keys()
        for namespace, value in (("a", b"a"), ("b", b"b"), ("c", b"")):
            assert (await keyvalue.Get(pb.GetRequest(key="k"), metadata=of(namespace))).value == value
        body = await configured.ready()
        assert {name: state["durability"] for name, state in body["namespaces"].items()} == {
            "a": "volatile", "b": "checkpointed", "c": "volatile"}
        assert body["configuration"] == {
            "file": str(configured.file), "revision": 2, "reloads": {"ok": 1, "failed": 0}, "problems": [],
            "restart_needed": []}
        configured.write(renamed={"path": path}, a="memstore")
        line = await configured.reload()
        assert (line["added"], line["removed"], line["data_lost"]) == (["renamed"], ["b", "c"], ["c"])
        assert (await keyvalue.Get(pb.GetRequest(key="k"), metadata=of("renamed"))).value == b"b"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await keyvalue.Get(pb.GetRequest(key="k"), metadata=of("b"))
        assert caught.value.code() is grpc.StatusCode.NOT_FOUND


async def test_a_bad_file_changes_nothing_and_is_shown_everywhere(configured: Configured) -> None:
    configured.file.write_text("namespaces:\n  a: {backend: x}\n  b: {backends: {store: {driver: memstor}}}\n")
    line = await configured.reload("configuration refused, the old one stays active")
    assert [problem.split(" ")[0] for problem in line["problems"]] == [
        f"{configured.file}:2:6:", f"{configured.file}:2:7:", f"{configured.file}:3:34:"]
    status, body = await configured.process.get("/ready")
    assert (status, json.loads(body)["configuration"]["problems"]) == (200, line["problems"])
    _, metrics = await configured.process.get("/metrics")
    assert 'prism_config_reloads_total{result="failed"} 1\n' in metrics
    assert "prism_config_revision 1\n" in metrics
    alien = configured.folder / "alien.db"
    with sqlite3.connect(alien) as connection:
        connection.execute("CREATE TABLE other (x)")
    configured.write(a="memstore", b={"path": str(alien)})
    line = await configured.reload("configuration refused, the old one stays active")
    assert "STORE_FORMAT" in line["problems"][0]
    async with grpc.aio.insecure_channel(configured.process.address) as channel:
        await stub(channel).Set(pb.SetRequest(key="k", value=b"v"), metadata=of("b"))


async def test_what_needs_a_restart_is_named_and_what_does_not_is_done(configured: Configured) -> None:
    configured.write({"workers": 3, "limits": {"header_fields": 99}}, a="memstore")
    await configured.reload()
    line = await configured.process.line("these settings changed, and take effect at the next start only")
    assert line["settings"] == ["workers", "limits.header_fields"]
    assert (await configured.ready())["configuration"]["restart_needed"] == line["settings"]
    configured.write({"log_level": "error"}, a="memstore")
    configured.process.signal(signal.SIGHUP)  # nothing is said at level error
    async with asyncio.timeout(10):
        while (await configured.ready())["configuration"]["revision"] != 3:
            await asyncio.sleep(0.01)
    assert (await configured.ready())["configuration"]["restart_needed"] == []


async def test_an_unchanged_namespace_keeps_data_and_transactions(configured: Configured) -> None:
    async with grpc.aio.insecure_channel(configured.process.address) as channel:
        transactions = tx_grpc.KeyValueTransactionalInterfaceStub(channel)
        begun = await transactions.BeginTransaction(tx_pb.BeginTransactionRequest(), metadata=of("a"))
        await transactions.SetInTransaction(tx_pb.SetInTransactionRequest(
            transaction_id=begun.transaction_id, key="k", value=b"v"), metadata=of("a"))
        configured.write(a="memstore", z="memstore")
        await configured.reload()
        await transactions.Commit(tx_pb.CommitRequest(transaction_id=begun.transaction_id), metadata=of("a"))
        assert (await stub(channel).Get(pb.GetRequest(key="k"), metadata=of("a"))).value == b"v"


async def test_a_scan_goes_on_while_its_namespace_is_removed(configured: Configured) -> None:
    async with grpc.aio.insecure_channel(configured.process.address) as channel:
        keyvalue = stub(channel)
        await asyncio.gather(*(keyvalue.Set(pb.SetRequest(key=f"k{number:04}", value=bytes(10_000)), metadata=of("b"))
                               for number in range(500)))
        scan = scan_grpc.KeyValueScanInterfaceStub(channel).Scan(scan_pb.ScanRequest(), metadata=of("b"))
        elements = aiter(scan)
        assert (await anext(elements)).key == "k0000"
        configured.write(a="memstore")
        await configured.reload()
        assert sum([1 async for _ in elements]) == 499


@pytest.mark.parametrize("configured", [(), ("--workers", "2")], indirect=True, ids=["alone", "two-workers"])
async def test_no_call_fails_while_namespaces_come_go_and_change(
    configured: Configured, redis: RedisServer | None
) -> None:
    """Also of the namespaces whose driver changes each time, and whose every acknowledged write is found."""
    path, stop, written = f"{configured.folder}/b.db", asyncio.Event(), dict[str, int]()
    shared = {"r": {"url": redis.url}} if redis is not None else {}
    configured.write(a="memstore", b={"path": path}, **shared)
    await configured.reload()
    calls, slowest = 0, 0.0

    async def load(namespace: str, worker: int) -> None:
        nonlocal calls, slowest
        async with grpc.aio.insecure_channel(configured.process.address) as channel:
            keyvalue, number = stub(channel), 0
            key = f"{namespace}{worker}"
            while not stop.is_set():
                number += 1
                began = time.monotonic()
                await keyvalue.Set(pb.SetRequest(key=key, value=str(number).encode()), metadata=of(namespace))
                written[key] = number
                got = await keyvalue.Get(pb.GetRequest(key=key), metadata=of(namespace))
                assert got.value == str(number).encode()
                calls += 2
                slowest = max(slowest, time.monotonic() - began)

    async with asyncio.TaskGroup() as group:
        for worker in range(4):
            for namespace in ("a", "b", *shared):
                group.create_task(load(namespace, worker))
        for turn in range(TURNS):
            durability = ("synced", "checkpointed")[turn % 2]
            if shared:
                shared["r"]["max_pending"] = 1000 + turn
            extra = {f"extra{turn}": "memstore", f"file{turn % 3}": {"path": f"{configured.folder}/{turn % 2}.db"}}
            configured.write(a="memstore", b={"path": path, "durability": durability}, **shared, **extra)
            await configured.reload()
        stop.set()
    assert calls > 100
    assert slowest < 5.0
    async with grpc.aio.insecure_channel(configured.process.address) as channel:
        for key, number in written.items():
            got = await stub(channel).Get(pb.GetRequest(key=key), metadata=of(key[0]))
            assert got.value == str(number).encode()
    assert (await configured.ready())["configuration"]["reloads"] == {"ok": TURNS + 1, "failed": 0}
    configured.write(a="memstore", b={"path": path}, **shared)
    await configured.reload()
    async with asyncio.timeout(5):  # what is no longer used does not stay open
        while any(file.endswith(("/0.db", "/1.db")) for file in open_files(configured.process.process.pid)):
            await asyncio.sleep(0.01)
