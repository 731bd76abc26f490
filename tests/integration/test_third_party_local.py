"""A third party's backend whose data only one proxy has, and which cannot move them: nobody else ever serves them."""

from __future__ import annotations

import asyncio
from pathlib import Path

import grpc
import pytest

from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from tests.services.cluster import cluster
from tests.services.workers import install_backend

DRIVER = """
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.contracts.driver import Declaration

class Shelf(MemstoreDriver):
    config_class = MemstoreConfig
    declaration = Declaration("shelf", frozenset({"keyvalue_basic"}), state="local", durability="volatile")
"""
SHELF = pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type="shelf")})
STALE_SECONDS = 1.0
ORDERS = (("x-namespace", "orders"),)


async def test_its_data_stay_when_their_proxy_is_to_leave_and_when_it_is_lost(tmp_path: Path) -> None:
    install_backend(tmp_path, "shelf", DRIVER, "Shelf")
    async with cluster(tmp_path, 2, admin=("--stale-after", str(STALE_SECONDS)),
                       environment={"PYTHONPATH": str(tmp_path)}) as found:
        await found.create(["orders"], SHELF)
        await found.client(1).store.Set(kv.SetRequest(key="a", value=b"kept"), metadata=ORDERS)
        owner = await found.client(1).owner(ORDERS)
        keeper, other = (1, 2) if owner == "proxy-01" else (2, 1)

        left = await found.ask_admin("Rebalance", admin_pb2.RebalanceRequest(leave=owner))
        assert list(left.refused.values()) == [
            f"namespace orders keeps its data on {owner}: the data of backend shelf cannot be moved"]
        settled = await found.settled()
        assert sum(item.end - item.start + 1 for item in settled.owners if item.proxy_id == owner) == 1
        assert (await found.client(other).store.Get(kv.GetRequest(key="a"), metadata=ORDERS)).value == b"kept"

        await found.kill(keeper)
        await asyncio.sleep(3 * STALE_SECONDS)
        for _ in range(3):
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await found.client(other).store.Get(kv.GetRequest(key="a"), metadata=ORDERS)
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        info = (await found.ask_admin("GetNamespace", admin_pb2.GetNamespaceRequest(name="orders"))).namespace
        assert (info.assigned_proxy, info.health) == (owner, "owner_down")
