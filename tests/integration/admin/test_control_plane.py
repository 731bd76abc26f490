"""Proxies and their admin, on both databases: the scenarios of the protocol and of partitions."""

from __future__ import annotations

import time
from dataclasses import replace

import grpc
import pytest

from admin_client import AdminError
from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism_admin.layout import partition_of
from prism_admin.security import Security
from tests.integration.admin.cluster import MEMORY, REDIS, Cluster
from tests.support.fake_proxy import QUICK, until


async def test_a_proxy_alone_owns_everything(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    assert proxy.ranges == [(0, 255)]
    async with cluster.admin() as stub:
        (found,) = (await stub.ListProxies(admin_pb2.ListProxiesRequest())).proxies
    assert (found.proxy_id, found.status, found.address) == ("proxy-01", "healthy", proxy.address)
    assert abs(found.last_seen.ToNanoseconds() / 1e9 - time.time()) < 1


async def test_four_proxies_share_equally_in_any_order(cluster: Cluster) -> None:
    proxies = await cluster.join("proxy-03", "proxy-01", "proxy-04", "proxy-02")
    await until(lambda: all(len(proxy.map.owners) == 4 for proxy in proxies))
    assert [(found.proxy_id, found.start, found.end) for found in proxies[0].map.owners] == [
        ("proxy-01", 0, 63), ("proxy-02", 64, 127), ("proxy-03", 128, 191), ("proxy-04", 192, 255)]


async def test_a_namespace_goes_to_the_owner_of_its_partition(cluster: Cluster) -> None:
    proxies = await cluster.join("proxy-01", "proxy-02", "proxy-03", "proxy-04")
    created = await cluster.create("orders")
    assert (created.success, created.assigned_partition, created.assigned_proxy) == (True, 238, "proxy-04")
    assert [proxy.serving for proxy in proxies] == [{}, {}, {}, {"orders": 1}]
    (entry,) = await cluster.audit(operation="CreateNamespace")
    assert (entry.resource, entry.namespace, entry.success) == ("namespace:orders", "orders", True)
    assert (await cluster.create("orders")).assigned_proxy == "proxy-04"  # the same again is the same again
    with pytest.raises(AdminError) as caught:
        await cluster.create("orders", MEMORY)
    assert caught.value.code is grpc.StatusCode.ALREADY_EXISTS


async def test_without_proxies_a_namespace_has_no_owner(cluster: Cluster) -> None:
    async with cluster.admin() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.CreateNamespace(admin_pb2.CreateNamespaceRequest(name="orders", config=REDIS))
    assert caught.value.code() is grpc.StatusCode.FAILED_PRECONDITION
    assert "no proxy assigned to partition 238" in caught.value.details()


async def test_proxies_come_back_to_an_admin_that_was_away(cluster: Cluster) -> None:
    proxies = await cluster.join("proxy-01", "proxy-02")
    await cluster.create("orders")
    await cluster.create("default")
    before = [dict(proxy.serving) for proxy in proxies]
    await cluster.app.stop()
    await until(lambda: all(proxy.away_errors for proxy in proxies))
    with pytest.raises(AdminError) as caught:
        await cluster.create("late")
    assert caught.value.away
    await cluster.start()
    await until(lambda: all(proxy.session.joined for proxy in proxies))
    assert [proxy.serving for proxy in proxies] == before
    assert [proxy.registrations > 1 for proxy in proxies] == [True, True]
    assert (await cluster.create("late")).success


async def test_an_older_version_changes_nothing(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    await cluster.create("orders")
    async with cluster.admin() as stub:
        changed = await stub.UpdateNamespace(admin_pb2.UpdateNamespaceRequest(
            name="orders", config=pb.NamespaceConfig(backends={"store": pb.BackendConfig(
                backend_type="redis", connection_string="redis://ada:s3cret@db:6379")})))
        assert changed.namespace.config_version == 2
        assert proxy.serving == {"orders": 2}
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.UpdateNamespace(
                admin_pb2.UpdateNamespaceRequest(name="orders", config=MEMORY, expected_version=1))
        assert caught.value.code() is grpc.StatusCode.ABORTED
    assert proxy.assigned == ["orders", "orders"]
    assert proxy.configs["orders"].backends["store"].connection_string == "redis://ada:s3cret@db:6379"


async def test_secrets_reach_the_proxy_and_nobody_else(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    config = pb.NamespaceConfig(backends={"store": pb.BackendConfig(
        backend_type="redis", connection_string="redis://ada:s3cret@db:6379", credentials={"user": "s3cret"},
        options={"password": "s3cret", "database": "3"})})
    await cluster.create("orders", config)
    assert proxy.configs["orders"] == config
    async with cluster.admin() as stub:
        listed = await stub.ListNamespaces(admin_pb2.ListNamespacesRequest())
        shown = await stub.GetNamespace(admin_pb2.GetNamespaceRequest(name="orders"))
    entries = await cluster.audit()
    for answer in (listed, shown, *entries):
        assert "s3cret" not in str(answer)
    assert listed.namespaces[0].config.backends["store"].options["database"] == "3"


async def test_a_silent_proxy_is_lost_and_its_shared_namespaces_move(cluster: Cluster) -> None:
    proxies = await cluster.join("proxy-01", "proxy-02", "proxy-03", "proxy-04")
    for number in range(40):
        await cluster.create(f"ns-{number}")
    lost = proxies[3]
    theirs = set(lost.serving)
    untouched = {proxy.proxy_id: set(proxy.serving) for proxy in proxies[:3]}
    await lost.silence()
    await until(lambda: theirs <= set().union(*(proxy.serving for proxy in proxies[:3])))
    for proxy in proxies[:3]:
        assert untouched[proxy.proxy_id] <= set(proxy.serving)
        assert not proxy.revoked
    await until(lambda: not any(found.proxy_id == "proxy-04" for found in proxies[0].map.owners))
    async with cluster.admin() as stub:
        found = {proxy.proxy_id: proxy.status for proxy in (await stub.ListProxies(
            admin_pb2.ListProxiesRequest())).proxies}
    assert found["proxy-04"] == "unhealthy"


async def test_local_data_stays_with_its_proxy_until_that_is_given_up(cluster: Cluster) -> None:
    proxies = await cluster.join("proxy-01", "proxy-02", "proxy-03", "proxy-04")
    assert (await cluster.create("orders", MEMORY)).assigned_proxy == "proxy-04"
    async with cluster.admin() as stub:
        plan = await stub.PlanRebalance(admin_pb2.PlanRebalanceRequest(leave="proxy-04"))
        assert dict(plan.refused) == {238: "namespace orders keeps its data on proxy-04: proxy-04 is of an older "
                                           "version, which moves no data"}
        assert 238 not in [move.partition for move in plan.moves]
        await proxies[3].silence()
        await until(lambda: {found.proxy_id: found.end - found.start for found in proxies[0].map.owners}.get("proxy-04")
                    == 0)
        assert (await stub.GetNamespace(admin_pb2.GetNamespaceRequest(name="orders"))).namespace.health == "owner_down"
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ReassignNamespace(admin_pb2.ReassignNamespaceRequest(name="orders"))
        assert "accept_data_loss" in caught.value.details()
        await stub.ReassignNamespace(admin_pb2.ReassignNamespaceRequest(name="orders", accept_data_loss=True))
    await until(lambda: any("orders" in proxy.serving for proxy in proxies[:3]))


async def test_a_fifth_proxy_takes_51_partitions_and_only_their_namespaces(cluster: Cluster) -> None:
    proxies = await cluster.join("proxy-01", "proxy-02", "proxy-03", "proxy-04")
    for number in range(120):
        await cluster.create(f"tenant-{number}")
    await until(lambda: proxies[0].map.revision == proxies[3].map.revision)
    before = {partition: found.proxy_id for found in proxies[0].map.owners
              for partition in range(found.start, found.end + 1)}
    async with cluster.admin() as stub:
        plan = await stub.PlanRebalance(admin_pb2.PlanRebalanceRequest(join="proxy-05"))
    assert len(plan.moves) == 51
    (new,) = await cluster.join("proxy-05")
    await until(lambda: sum(new.owns(partition) for partition in range(256)) == 51)
    after = {partition: found.proxy_id for found in new.map.owners
             for partition in range(found.start, found.end + 1)}
    moved = {partition for partition in before if before[partition] != after[partition]}
    assert {after[partition] for partition in moved} == {"proxy-05"}
    assert set(new.serving) == {f"tenant-{number}" for number in range(120)
                                if partition_of(f"tenant-{number}") in moved}
    await until(lambda: sorted(name for proxy in proxies for name in proxy.revoked) == sorted(new.serving))


async def test_a_namespace_its_proxy_refuses_is_pending_and_told_again(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    proxy.refuse = "backend redis needs a url"
    created = await cluster.create("orders")
    assert created.success
    assert created.message.startswith("activation is pending: ")
    assert "backend redis needs a url" in created.message
    proxy.refuse = ""
    await until(lambda: proxy.serving == {"orders": 1})


async def test_a_heartbeat_of_a_stranger_asks_for_a_registration(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    with pytest.raises(AdminError) as caught:
        await proxy.client.heartbeat(pb.ProxyHeartbeat(proxy_id="stranger"))
    assert caught.value.code is grpc.StatusCode.NOT_FOUND
    await proxy.client.heartbeat(pb.ProxyHeartbeat(proxy_id="proxy-01"))  # without resources or health


@pytest.mark.parametrize(("field", "value"), [("proxy_id", ""), ("address", "")])
async def test_half_a_registration_is_refused(cluster: Cluster, field: str, value: str) -> None:
    (proxy,) = await cluster.join("proxy-01")
    registration = pb.ProxyRegistration(proxy_id="x", address="127.0.0.1:1")
    setattr(registration, field, value)
    with pytest.raises(AdminError, match=f"{field} is empty"):
        await proxy.client.register(registration)


@pytest.mark.parametrize("name", ["", "Ab", "a", "-abc", "a_b", "x" * 64])
async def test_names_that_cannot_be_are_refused(cluster: Cluster, name: str) -> None:
    await cluster.join("proxy-01")
    with pytest.raises(AdminError) as caught:
        await cluster.create(name)
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT


async def test_a_token_is_asked_for_and_refusals_are_audited(cluster: Cluster) -> None:
    await cluster.app.stop()
    cluster.config = replace(cluster.config, security=Security(token="s3cret"))
    await cluster.start()
    async with cluster.admin() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.ListProxies(admin_pb2.ListProxiesRequest())
        assert caught.value.code() is grpc.StatusCode.UNAUTHENTICATED
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ListProxies(admin_pb2.ListProxiesRequest(), metadata=(("authorization", "Bearer wrong"),))
        request = admin_pb2.GetAuditLogRequest(operation="ListProxies")
        entries = [entry async for entry in stub.GetAuditLog(request, metadata=(("x-admin-token", "s3cret"),))]
    assert [entry.success for entry in entries] == [False, False]
    await cluster.join("proxy-01", token="s3cret", timing=QUICK)


async def test_lists_come_in_pages(cluster: Cluster) -> None:
    await cluster.join("proxy-01")
    for number in range(25):
        await cluster.create(f"ns-{number:02}")
    async with cluster.admin() as stub:
        sizes, token = [], None
        while token != "":
            page = await stub.ListNamespaces(admin_pb2.ListNamespacesRequest(page_size=10, page_token=token))
            sizes.append(len(page.namespaces))
            token = page.next_page_token
        assert sizes == [10, 10, 5]
        with pytest.raises(grpc.aio.AioRpcError):
            await stub.ListNamespaces(admin_pb2.ListNamespacesRequest(page_size=1001))


async def test_a_deleted_namespace_leaves_its_proxy(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    await cluster.create("orders")
    async with cluster.admin() as stub:
        await stub.DeleteNamespace(admin_pb2.DeleteNamespaceRequest(name="orders"))
        assert proxy.revoked == ["orders"]
        with pytest.raises(grpc.aio.AioRpcError) as caught:
            await stub.DeleteNamespace(admin_pb2.DeleteNamespaceRequest(name="orders"))
    assert caught.value.code() is grpc.StatusCode.NOT_FOUND
    await cluster.create("orders")
    assert proxy.serving["orders"] > 1  # versions never restart
