"""Proxies and their admin, on both databases: what the admin does that takes proxies which misbehave, or no real ones.

The scenarios of the protocol and of partitions, with real proxies, are in `tests/integration/test_protocol.py` and
`test_partitions.py`.
"""

from __future__ import annotations

import asyncio
from dataclasses import replace
from typing import Any

import grpc
import pytest

from admin_client import AdminError
from prism import control_plane_pb2 as pb
from prism.admin.v1 import admin_pb2
from prism_admin.security import Security
from tests.integration.admin.cluster import MEMORY, REDIS, Cluster
from tests.support.fake_proxy import QUICK, until


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


async def test_an_admin_that_starts_again_knows_configurations_whole(cluster: Cluster) -> None:
    cluster.config = replace(cluster.config, stale_s=60.0)
    await cluster.app.stop()
    await cluster.start()
    (proxy,) = await cluster.join("proxy-01")
    config = pb.NamespaceConfig(
        backends={"store": pb.BackendConfig(backend_type="redis", connection_string="redis://ada:s3cret@db:6379",
                                            credentials={"user": "s3cret"}, options={"database": "3"})},
        patterns={"kv": pb.PatternConfig(pattern_name="keyvalue", settings={"limits.requests_per_second": "5"},
                                         required_interfaces=["keyvalue_basic"])},
        auth=pb.AuthConfig(provider="oidc", options={"issuer": "https://issuer"}), metadata={"team": "a"})
    await cluster.create("orders", config)
    await proxy.stop()
    cluster.proxies.remove(proxy)
    await cluster.app.stop()
    await cluster.start()
    (again,) = await cluster.join("proxy-01")
    assert again.configs == {"orders": config}, "from storage, in the answer to the registration"


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


async def test_data_of_a_backend_that_the_admin_does_not_know_stay_with_their_proxy(cluster: Cluster) -> None:
    """What is shared, and what moves, is the proxies' to say; also after the admin has started again."""
    declared = [pb.BackendDeclaration(backend_type=name, state=state, movable=movable) for name, state, movable in (
        ("ours", "local", False), ("hand", "local", True), ("theirs", "shared", False))]
    proxies = await cluster.join("proxy-01", "proxy-02", "proxy-03", "proxy-04", backends=declared,
                                 metadata={"moves_data": "1"})
    names = {"orders": "ours", "billing": "hand", "default": "theirs", "tenant-2": "unheard-of"}
    for name, backend in names.items():
        await cluster.create(name, pb.NamespaceConfig(backends={"store": pb.BackendConfig(backend_type=backend)}))
    cluster.config = replace(cluster.config, stale_s=60.0)
    await cluster.app.stop()
    await cluster.start()
    await until(lambda: all(proxy.session.joined for proxy in proxies))

    async with cluster.admin() as stub:
        for leaver in proxies:
            plan = await stub.PlanRebalance(admin_pb2.PlanRebalanceRequest(leave=leaver.proxy_id))
            moving = {name for move in plan.moves for name in move.namespaces}
            stay = {name for name in leaver.serving if name not in moving}
            assert stay == {name for name in leaver.serving if names[name] in ("ours", "unheard-of")}
            assert set(plan.refused.values()) == {
                f"namespace {name} keeps its data on {leaver.proxy_id}: the data of backend {names[name]} cannot be "
                "moved" for name in stay}
    assert {name for proxy in proxies for name in proxy.serving} == names.keys()


async def test_a_proxy_that_was_asked_to_leave_is_given_nothing_while_there_are_others(cluster: Cluster) -> None:
    """It is about to be stopped, or has been: who gives it partitions waits for it until it is declared dead."""
    proxies = await cluster.join("proxy-01", "proxy-02", "proxy-03")
    for number in range(20):
        await cluster.create(f"tenant-{number}")

    def has(*names: str) -> bool:
        return {found.proxy_id for found in proxies[0].map.owners} == set(names)

    async with cluster.admin() as stub:
        for leaver, rest in (("proxy-03", ("proxy-01", "proxy-02")), ("proxy-02", ("proxy-01",)),
                             ("proxy-01", ("proxy-02", "proxy-03"))):
            await stub.Rebalance(admin_pb2.RebalanceRequest(leave=leaver))
            await until(lambda rest=rest: has(*rest))
    await proxies[0].client.register(pb.ProxyRegistration(proxy_id="proxy-01", address=proxies[0].address))
    await until(lambda: has("proxy-01", "proxy-02", "proxy-03"))


async def test_a_namespace_whose_proxy_does_not_answer_is_pending_and_told_again(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    proxy.silent = "on its way"
    created = await cluster.create("orders")
    assert created.success
    assert created.message.startswith("activation is pending: ")
    assert "on its way" in created.message
    proxy.silent = ""
    await until(lambda: proxy.serving == {"orders": 1})


async def test_a_namespace_its_proxy_refuses_is_not_stored(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    proxy.refuse = "there is no backend 'memstor'"
    with pytest.raises(AdminError) as caught:
        await cluster.create("orders")
    assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    assert caught.value.message == "proxy-01 cannot serve namespace 'orders': there is no backend 'memstor'"
    async with cluster.admin() as stub:
        with pytest.raises(grpc.aio.AioRpcError) as missing:
            await stub.GetNamespace(admin_pb2.GetNamespaceRequest(name="orders"))
    assert missing.value.code() is grpc.StatusCode.NOT_FOUND
    proxy.refuse = ""
    assert (await cluster.create("orders")).success
    assert proxy.serving["orders"] > 1  # versions never restart


async def test_a_change_its_proxy_refuses_is_taken_back(cluster: Cluster) -> None:
    (proxy,) = await cluster.join("proxy-01")
    await cluster.create("orders")
    proxy.refuse = "no"
    async with cluster.admin() as stub:
        with pytest.raises(grpc.aio.AioRpcError, match="proxy-01 cannot serve namespace 'orders': no"):
            await stub.UpdateNamespace(admin_pb2.UpdateNamespaceRequest(
                name="orders", config=MEMORY, description="never"))
        found = (await stub.GetNamespace(admin_pb2.GetNamespaceRequest(name="orders"))).namespace
    assert (found.config, found.description) == (REDIS, "")
    proxy.refuse = ""
    await until(lambda: proxy.serving["orders"] == found.config_version)
    assert proxy.configs["orders"] == REDIS


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


async def test_a_text_that_one_database_refuses_is_refused_on_both_and_costs_no_other_audit_entry(
    cluster: Cluster
) -> None:
    await cluster.join("proxy-01")
    long = "".join(chr(0x4E00 + number * 7919 % 20000) for number in range(5000))  # no index could hold it

    async def code(call: Any) -> grpc.StatusCode:
        try:
            await call
        except grpc.aio.AioRpcError as error:
            return error.code()
        return grpc.StatusCode.OK

    async with cluster.admin() as stub:
        made = await asyncio.gather(*(
            code(stub.CreateNamespace(admin_pb2.CreateNamespaceRequest(name=name, config=REDIS, description=text)))
            for number in range(40) for name, text in ((f"honest-{number}", ""), ("x\0" if number % 2 else long, ""))))
        assert made == [grpc.StatusCode.OK, grpc.StatusCode.INVALID_ARGUMENT] * 40
        for refused in (
                stub.CreateNamespace(admin_pb2.CreateNamespaceRequest(name="orders", config=REDIS, description="a\0")),
                stub.CreateNamespace(admin_pb2.CreateNamespaceRequest(name="orders", config=REDIS, labels={"a\0": ""})),
                stub.GetNamespace(admin_pb2.GetNamespaceRequest(name="a\0")),
                stub.UpdateNamespace(admin_pb2.UpdateNamespaceRequest(name="honest-1", owner="a\0")),
                stub.DeleteNamespace(admin_pb2.DeleteNamespaceRequest(name="a\0")),
                stub.ListNamespaces(admin_pb2.ListNamespacesRequest(page_token="AAAA"))):
            assert await code(refused) is grpc.StatusCode.INVALID_ARGUMENT
        with pytest.raises(grpc.aio.AioRpcError, match=r"config\.backends\.store\.options\.a has the character"):
            await stub.CreateNamespace(admin_pb2.CreateNamespaceRequest(name="orders", config=pb.NamespaceConfig(
                backends={"store": pb.BackendConfig(backend_type="redis", options={"a": "\0"})})))
        with pytest.raises(grpc.aio.AioRpcError, match="namespace has the character"):
            async for _ in stub.GetAuditLog(admin_pb2.GetAuditLogRequest(namespace="a\0")):
                pass
    for registration in (pb.ProxyRegistration(proxy_id=long, address="127.0.0.1:1"),
                         pb.ProxyRegistration(proxy_id="x", address="127.0.0.1:1", metadata={"a": "\0"})):
        with pytest.raises(AdminError) as caught:
            await cluster.proxies[0].client.register(registration)
        assert caught.value.code is grpc.StatusCode.INVALID_ARGUMENT
    entries = await cluster.audit(operation="CreateNamespace")
    assert sum(entry.success for entry in entries) == 40
    assert {entry.namespace[:9] for entry in entries if not entry.success} == {"x\\x00", long[:9], "orders"}
    assert len(entries) == 83
