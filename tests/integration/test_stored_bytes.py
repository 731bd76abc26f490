"""How much only one proxy has is told to operators, and how much of it has arrived while it moves."""

from __future__ import annotations

import asyncio
from pathlib import Path

from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism_admin.cli.cluster import _Bytes
from prism_admin.cli.output import size
from tests.services.admin import run
from tests.services.cluster import Cluster, cluster
from tests.services.redis import free_port
from tests.services.shim import Shim

VALUE, COUNT = 1 << 20, 24
CONFIGS = {"in-memory": pb.BackendConfig(backend_type="memstore"),
           "on-disk": pb.BackendConfig(backend_type="sqlite", connection_string="store.db")}


async def filled(found: Cluster, name: str, backend: pb.BackendConfig) -> int:
    """What the admin says of the namespace, once it has heard of its values."""
    await found.create([name], pb.NamespaceConfig(backends={"store": backend}))
    for number in range(COUNT):
        await found.client(1).store.Set(kv.SetRequest(key=f"k{number}", value=bytes(VALUE)),
                                        metadata=(("x-namespace", name),))
    async with asyncio.timeout(10):
        while True:
            info = await found.ask_admin("GetNamespace", admin_pb2.GetNamespaceRequest(name=name))
            if info.namespace.metrics.storage_bytes_used > VALUE * COUNT:
                return int(info.namespace.metrics.storage_bytes_used)
            await asyncio.sleep(0.05)


async def test_bytes_are_shown_where_they_are_and_while_they_move(tmp_path: Path) -> None:
    async with cluster(tmp_path, 2) as found:
        for name, backend in CONFIGS.items():
            assert await filled(found, name, backend) < 3 * VALUE * COUNT
        code, output, _ = await run("-e", found.admin_address, "namespaces", "list", "-o", "table")
        assert code == 0
        assert output.splitlines()[0].split()[6] == "STORED"
        assert all(" MiB" in row for row in output.splitlines()[1:])
        _, output, _ = await run("-e", found.admin_address, "proxies", "list", "-o", "table")
        assert " MiB " in output

        owners = [await found.client(1).owner((("x-namespace", name),)) for name in CONFIGS]
        code, _, errors = await run("-e", found.admin_address, "partitions", "rebalance", "--leave", owners[0],
                                    "--wait")
        assert code == 0, errors
        moved = 1 + (owners[0] == owners[1])
        (line,) = [line for line in errors.splitlines() if " moved in " in line]
        shown = line.partition("partitions, ")[2].partition(" moved in")[0]
        assert shown.split(" of ")[0] == shown.split(" of ")[1]
        assert float(shown.split()[0]) > moved * COUNT


async def test_what_has_arrived_is_shown_in_the_middle_of_a_copy(tmp_path: Path) -> None:
    """The way to the second proxy is held after a third of the data."""
    port = free_port()
    async with cluster(tmp_path, 1) as found, Shim("127.0.0.1", port) as way:
        await filled(found, "in-memory", CONFIGS["in-memory"])
        await found.start(2, "--listen", f"127.0.0.1:{port}", "--advertise", f"127.0.0.1:{way.port}")
        await found.settled()
        way.hold_after(VALUE * COUNT // 3)
        await found.ask_admin("Rebalance", admin_pb2.RebalanceRequest(leave="proxy-01"))
        async with asyncio.timeout(20):
            while True:
                answer = await found.ask_admin("GetPartitionMap", admin_pb2.GetPartitionMapRequest())
                seen = [each for each in answer.progress.values() if VALUE <= each.moved_bytes < each.total_bytes]
                if seen and way.holding:
                    break
                await asyncio.sleep(0.05)
        assert seen[0].moved_bytes < VALUE * COUNT <= seen[0].total_bytes
        way.release()
        await found.settled()
        assert await found.client(1).owner((("x-namespace", "in-memory"),)) == "proxy-02"


def progress(**partitions: tuple[int, int]) -> admin_pb2.GetPartitionMapResponse:
    return admin_pb2.GetPartitionMapResponse(progress={
        int(number[1:]): admin_pb2.MoveProgress(moved_bytes=moved, total_bytes=total)
        for number, (moved, total) in partitions.items()})


def test_what_has_arrived_counts_whole() -> None:
    copied = _Bytes()
    assert str(copied) == ""
    copied.saw(progress(p1=(0, 2048), p2=(0, 1024)), {1, 2, 3})
    assert str(copied) == ", - of 3.0 KiB"
    copied.saw(progress(p1=(1024, 2048), p2=(5000, 1024)), {1, 2, 3})
    assert str(copied) == ", 2.0 KiB of 3.0 KiB"
    copied.saw(progress(p2=(1024, 1024)), {2, 3})
    assert str(copied) == ", 3.0 KiB of 3.0 KiB"


def test_sizes_are_read_by_people() -> None:
    assert [size(count) for count in (0, 1, 1023, 1024, 150 << 20, 3 << 40)] == [
        "-", "1 B", "1023 B", "1.0 KiB", "150 MiB", "3.0 TiB"]
