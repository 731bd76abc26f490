"""Real proxies tell the admin where the namespaces of their files have their names, also after a reload."""

from __future__ import annotations

import asyncio
import signal
from pathlib import Path

import grpc

from prism import control_plane_pb2 as pb
from tests.services.cluster import Cluster, cluster
from tests.services.redis import RedisServer

FILE = """
namespaces:
  stock:
    backends: {{store: {{driver: redis, config: {{url: "{url}", prefix: "{prefix}"}}}}}}
"""


async def create(found: Cluster, name: str, url: str, prefix: str) -> str:
    """What is wrong with it; empty when it was created."""
    try:
        await found.create([name], pb.NamespaceConfig(backends={"store": pb.BackendConfig(
            backend_type="redis", connection_string=url, options={"prefix": prefix})}))
    except grpc.aio.AioRpcError as error:
        return f"{error.code().name}: {error.details()}"
    return ""


async def test_names_of_a_file_and_of_other_proxies_are_kept_apart(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    async with RedisServer() as server, cluster(tmp_path, 1) as found:
        file.write_text(FILE.format(url=server.url, prefix="goods:"))
        second = await found.start(2, "--config", str(file))
        assert "'stock' of the file of proxy-02" in await create(found, "goods", server.url, "")
        for number in range(8):  # on both proxies
            assert await create(found, f"shop-{number}", server.url, "shops:") == ""
        assert "namespace 'shop-" in await create(found, "shops", server.url, "")

        file.write_text(FILE.format(url=server.url, prefix="wares:"))
        second.process.send_signal(signal.SIGHUP)
        async with asyncio.timeout(10):
            while await create(found, "goods", server.url, ""):
                await asyncio.sleep(0.05)
        assert "'stock'" in await create(found, "wares", server.url, "")
        assert (await found.status(2))["state"] == "joined"
