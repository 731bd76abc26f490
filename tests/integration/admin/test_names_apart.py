"""Namespaces whose names meet at one server are refused, whichever proxies serve them."""

from __future__ import annotations

import asyncio
from dataclasses import replace
from pathlib import Path
from typing import Any

import grpc
import pytest

from admin_client import AdminError
from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism_admin.name_areas import Holder, NameAreas
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.membership.data_folder import DataFolder
from prism_proxy.membership.name_areas import name_areas
from prism_proxy.membership.translation import translate
from prism_proxy.namespaces.model import NamespaceConfig
from tests.integration.admin.cluster import MEMORY, REDIS, Cluster
from tests.services.admin import run

EIGHT = [f"ns-{number}" for number in range(8)]  # over all proxies


def describe(name: str, config: pb.NamespaceConfig) -> list[pb.NameArea]:
    """As a proxy does."""
    return name_areas([translate(name, config, DataFolder(Path("/nowhere")))])


def of_file(name: str, host: str = "db", **settings: Any) -> list[pb.NameArea]:
    config = RedisConfig(url=f"redis://{host}:6379/0", **settings)
    return name_areas([NamespaceConfig.of_store(name, "redis", config)])


def redis(url: str = "redis://db:6379/0", **options: str) -> pb.NamespaceConfig:
    return pb.NamespaceConfig(backends={"store": pb.BackendConfig(
        backend_type="redis", connection_string=url, options=options)})


async def join(cluster: Cluster, count: int = 2, **options: Any) -> None:
    await cluster.join(*(f"proxy-{number:02}" for number in range(1, count + 1)), describe=describe, **options)


async def refused(cluster: Cluster, name: str, config: pb.NamespaceConfig) -> str:
    with pytest.raises(AdminError) as caught:
        await cluster.create(name, config)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    async with cluster.admin() as stub:
        listed = await stub.ListNamespaces(admin_pb2.ListNamespacesRequest())
    assert name not in [found.name for found in listed.namespaces], "nothing is stored"
    return caught.value.message


async def test_a_namespace_that_would_see_the_keys_of_another_is_not_created(cluster: Cluster) -> None:
    await join(cluster)
    for name in EIGHT:
        await cluster.create(name, redis())
    assert len({proxy.proxy_id for proxy in cluster.proxies if proxy.serving}) == 2
    assert await refused(cluster, "prism", redis("redis://DB/0", prefix="")) == (
        "namespace 'prism' has the names that begin with 'prism:', and namespace 'ns-0' those that begin with "
        "'prism:ns-0/queue/{' on the same server and database: one would see and delete what the other has; give one "
        "of them another prefix or database")
    await cluster.create("prism", redis("redis://db/1", prefix=""))
    await cluster.create("inner", redis("redis://db/2", prefix="outer:b:"))
    assert "'inner'" in await refused(cluster, "outer", redis("redis://db/2", prefix=""))
    for proxy in cluster.proxies:
        assert "outer" not in proxy.serving
    async with cluster.admin() as stub:
        await stub.DeleteNamespace(admin_pb2.DeleteNamespaceRequest(name="inner"))
    await cluster.create("outer", redis("redis://db/2", prefix=""))


async def test_topics_may_be_shared_where_both_say_so(cluster: Cluster) -> None:
    await join(cluster)
    await cluster.create("world", redis(topic_prefix="events.", shared_names="true"))
    assert "'events.'" in await refused(cluster, "europe", redis(topic_prefix="events.eu."))
    await cluster.create("europe", redis(topic_prefix="events.eu.", shared_names="true"))


async def test_a_change_is_refused_and_what_was_before_stays(cluster: Cluster) -> None:
    await join(cluster)
    await cluster.create("orders", redis())
    await cluster.create("prism", redis("redis://db/1", prefix=""))
    async with cluster.admin() as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="namespace 'orders' those that begin with"):
            await stub.UpdateNamespace(admin_pb2.UpdateNamespaceRequest(name="prism", config=redis(prefix="")))
        kept = (await stub.GetNamespace(admin_pb2.GetNamespaceRequest(name="prism"))).namespace
        assert (kept.config_version, kept.config.backends["store"].connection_string) == (1, "redis://db/1")
        await stub.UpdateNamespace(admin_pb2.UpdateNamespaceRequest(name="orders", config=MEMORY))
        await stub.UpdateNamespace(admin_pb2.UpdateNamespaceRequest(name="prism", config=redis(prefix="")))
    assert "'prism'" in await refused(cluster, "billing", redis())


async def test_a_change_that_its_proxy_refuses_leaves_the_names_as_they_were(cluster: Cluster) -> None:
    await join(cluster, 1)
    await cluster.create("orders", redis("redis://db/3"))
    cluster.proxies[0].refuse = "not today"
    async with cluster.admin() as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="not today"):
            await stub.UpdateNamespace(admin_pb2.UpdateNamespaceRequest(name="orders", config=redis("redis://db/4")))
    assert "not today" in await refused(cluster, "prism", redis("redis://db/4", prefix=""))
    cluster.proxies[0].refuse = ""
    await cluster.create("prism", redis("redis://db/4", prefix=""))
    assert "'orders'" in await refused(cluster, "all", redis("redis://db/3", prefix="prism", topic_prefix=""))


async def test_of_two_at_once_one_is_refused(cluster: Cluster) -> None:
    await join(cluster)
    made = await asyncio.gather(cluster.create("outer", redis(prefix="")),
                                cluster.create("inner", redis(prefix="outer:")),
                                return_exceptions=True)
    assert sorted(isinstance(found, AdminError) for found in made) == [False, True]


async def test_a_manifest_is_refused(cluster: Cluster, tmp_path: Path) -> None:
    await join(cluster)
    await cluster.create("orders", redis())
    file = tmp_path / "prism.yaml"
    file.write_text("backends: {store: {driver: redis, config: {url: 'redis://db:6379/0', prefix: ''}}}\n")
    code, _, errors = await run("--endpoint", f"127.0.0.1:{cluster.app.port}", "namespaces", "create", "prism", "-f",
                                str(file))
    assert code == 1
    assert "namespace 'orders' those that begin with 'prism:orders" in errors


async def test_the_names_in_the_files_of_proxies_count(cluster: Cluster) -> None:
    await join(cluster, file_areas=of_file("cache") + of_file("stock"))
    assert "namespace 'cache' of the file of proxy-01" in await refused(
        cluster, "all", redis(prefix="", topic_prefix="prism:cache"))
    await cluster.create("cache", redis())  # takes the place of the file's
    cluster.config = replace(cluster.config, stale_s=60.0)
    for proxy in cluster.proxies:
        await proxy.silence()
    await cluster.app.stop()
    await cluster.start()
    await cluster.join("proxy-03", describe=describe)
    cluster.proxies.insert(0, cluster.proxies.pop())
    assert "of the file of proxy-01" in await refused(cluster, "all", redis(topic_prefix="prism:stock")), "away"


async def test_files_that_meet_are_logged(cluster: Cluster, caplog: pytest.LogCaptureFixture) -> None:
    await cluster.join("proxy-01", describe=describe, file_areas=of_file("orders"))
    await cluster.join("proxy-02", describe=describe, file_areas=of_file("prism", prefix=""))
    assert "namespace 'prism' of the file of proxy-02 has the names that begin with 'prism:'" in caplog.text


async def test_an_admin_that_takes_over_knows_what_the_one_before_stored(cluster: Cluster) -> None:
    await join(cluster)
    await cluster.create("orders", redis())
    await cluster.app.stop()
    await cluster.start()
    for proxy in cluster.proxies:
        assert proxy.session is not None
    async with asyncio.timeout(10):
        while not all(proxy.session.joined for proxy in cluster.proxies):
            await asyncio.sleep(0.01)
    assert "'orders'" in await refused(cluster, "prism", redis(prefix=""))


async def test_proxies_that_cannot_tell_hinder_nobody(cluster: Cluster) -> None:
    await cluster.join("proxy-01")
    await cluster.create("orders", redis())
    await cluster.create("prism", redis("redis://db/0", prefix=""))  # what was so before stays so
    await cluster.join("proxy-02", describe=describe)
    assert "'prism'" in await refused(cluster, "all", redis(topic_prefix="prism:o"))


def test_localhost_is_another_server_on_another_machine() -> None:
    found = NameAreas()
    assert found.put_file("p1", "10.0.0.1", of_file("orders", host="localhost")) == []
    assert found.put_file("p2", "10.0.0.2", of_file("prism", host="127.0.0.1", prefix="")) == []
    assert len(found.put_file("p3", "10.0.0.1", of_file("prism", host="127.0.0.1", prefix=""))) == 1
    assert found.conflict(Holder("prism"), describe("prism", REDIS)) == ""
    assert "p1" in found.conflict(Holder("prism"), of_file("prism", host="localhost", prefix=""))


def test_what_is_dropped_is_gone() -> None:
    found = NameAreas()
    found.put(Holder("orders"), of_file("orders"))
    found.put_file("p1", "h", of_file("cache"))
    assert found.conflict(Holder("prism"), of_file("prism", prefix=""))
    found.put_file("p1", "h", [])
    found.drop(Holder("orders"))
    found.drop(Holder("orders"))
    assert found.conflict(Holder("prism"), of_file("prism", prefix="")) == ""
