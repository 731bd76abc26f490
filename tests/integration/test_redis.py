"""The Redis driver over every form of server: ACL users, TLS, sentinels, a cluster; and what its errors become."""

from __future__ import annotations

import asyncio
import contextlib
import logging
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from prism_proxy._native.redis.resp import ConnectionLost, RespError
from prism_proxy.backends.redis.config import RedisConfig
from prism_proxy.backends.redis.driver import RedisDriver
from prism_proxy.backends.server_tls import ServerTls
from prism_proxy.contracts.driver import Health
from prism_proxy.errors import PrismError, StatusCode
from tests.services.certificates import Authority
from tests.services.redis import RedisCluster, RedisServer, Replicas, binary
from tests.services.shim import Shim

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no redis-server: run `make tools`")


@contextlib.asynccontextmanager
async def opened(config: RedisConfig, namespace: str = "test") -> AsyncIterator[RedisDriver]:
    driver = RedisDriver(config.within(namespace))
    await driver.open()
    try:
        yield driver
    finally:
        await driver.close()


async def until(driver: RedisDriver, status: Health) -> None:
    async with asyncio.timeout(20):
        while driver.health().status is not status:
            await asyncio.sleep(0.02)


def meaning(driver: RedisDriver, error: Exception) -> PrismError:
    found = driver.classify(error)
    assert found is not None
    return found


async def test_name_health_and_details() -> None:
    async with RedisServer("--appendonly", "yes", "--appendfsync", "always") as server, \
            opened(RedisConfig(server.url)) as driver:
        assert driver.declaration.name == "redis"
        assert "appendonly always, synced to its disk" in driver.declaration.durability
        report = driver.health()
        assert report.status is Health.HEALTHY
        assert report.message.startswith("Redis ")
        assert report.details["total_conns"] == report.details["idle_conns"] == "3"
        assert report.details["role"] == "master"
        assert report.details["server_version"][0].isdigit()


async def test_a_server_that_is_down_is_no_error_at_open_and_recovers() -> None:
    server = RedisServer()
    async with opened(RedisConfig(server.url)) as driver:
        assert driver.health().status is Health.UNHEALTHY
        assert "no connection" in driver.health().message
        assert driver.declaration.durability == "asynchronous"
        with pytest.raises(Exception) as caught:  # noqa: PT011 - what matters is what it means
            await driver.get(b"key")
        error = meaning(driver, caught.value)
        assert (error.code, error.metadata["phase"], error.metadata["outcome"]) == (
            StatusCode.UNAVAILABLE, "connect", "not_executed")
        async with server:
            await until(driver, Health.HEALTHY)
            await driver.set(b"key", b"value")
            assert await driver.get(b"key") == b"value"
        await until(driver, Health.UNHEALTHY)


async def test_calls_after_close_fail() -> None:
    async with RedisServer() as server:
        async with opened(RedisConfig(server.url)) as driver:
            await driver.set(b"key", b"value")
        with pytest.raises(Exception) as caught:  # noqa: PT011
            await driver.set(b"key", b"value")
        assert meaning(driver, caught.value).code is StatusCode.UNAVAILABLE


async def test_namespaces_share_a_server_without_meeting() -> None:
    async with RedisServer() as server, opened(RedisConfig(server.url), "a") as one, \
            opened(RedisConfig(server.url), "a:b") as other:
        await one.set(b"b:c", b"one")
        await other.set(b"c", b"other")
        assert await one.get(b"b:c") == b"one"
        assert await one.count(b"") == await other.count(b"") == 1
        async with server.client() as client:
            assert sorted(await client.keys()) == [b"prism:a%3Ab:c", b"prism:a:b:c"]


async def test_acl_users(caplog: pytest.LogCaptureFixture) -> None:
    caplog.set_level(logging.DEBUG)
    users = ("proxy on >the-secret ~prism:orders:* +@all -@dangerous +info",
             "reader on >the-secret ~prism:orders:* +@read +@connection", "default off")
    async with RedisServer(*(word for user in users for word in ("--user", *user.split()))) as server:
        config = RedisConfig(server.url, username="proxy", password="the-secret")
        assert "the-secret" not in repr(config)
        async with opened(config, "orders") as driver:
            await driver.set(b"key", b"value")
            assert await driver.get(b"key") == b"value"
            assert driver.declaration.durability.startswith("asynchronous")
        async with opened(RedisConfig(server.url.replace("//", "//reader:the-secret@")), "orders") as driver:
            assert await driver.get(b"key") == b"value"
            with pytest.raises(RespError) as refused:
                await driver.set(b"key", b"the-value")
            error = meaning(driver, refused.value)
            assert (error.code, error.reason) == (StatusCode.FAILED_PRECONDITION, "BACKEND_PERMISSION")
            assert error.metadata["outcome"] == "not_executed"
            assert "the-value" not in f"{error} {dict(error.metadata)}"
        async with opened(RedisConfig(server.url, username="proxy", password="another-secret"), "orders") as driver:
            assert driver.health().status is Health.UNHEALTHY
            assert "WRONGPASS" in driver.health().message
    assert "secret" not in caplog.text


async def test_tls_with_certificates_of_both_sides(tmp_path: Path) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "redis.test")
    own, own_key = authority.issue("proxy", "proxy.test")
    files = ServerTls(authority.ca_file, own, own_key)
    options = ("--tls-cert-file", str(certificate), "--tls-key-file", str(key),
               "--tls-ca-cert-file", str(authority.ca_file))
    server = RedisServer(*options, tls=True)
    try:
        await server.start()
    except AssertionError:
        await server.__aexit__()
        pytest.skip("this redis-server was built without TLS")
    async with server:
        for tls in (files, ServerTls(authority.ca_file, own, own_key, "redis.test")):
            async with opened(RedisConfig(server.url, tls=tls)) as driver:
                await driver.set(b"key", b"value" * 100_000)
                assert await driver.get(b"key") == b"value" * 100_000
        for tls in (ServerTls(authority.ca_file, own, own_key, "other.test"), ServerTls(authority.ca_file),
                    ServerTls()):
            async with opened(RedisConfig(server.url, tls=tls, connect_timeout_s=1)) as driver:
                assert driver.health().status is Health.UNHEALTHY


async def test_errors_of_the_server_have_their_meaning() -> None:
    async with RedisServer("--maxmemory", "3mb", "--maxmemory-policy", "noeviction") as server, \
            opened(RedisConfig(server.url)) as driver, server.client() as client:
        await client.rpush("prism:test:list", "x")
        with pytest.raises(RespError) as caught:
            await driver.get(b"list")
        assert meaning(driver, caught.value).reason == "WRONG_TYPE"
        results = await driver.batch_set([(b"key%d" % index, bytes(200_000)) for index in range(20)])
        failed = [error for error in results if error is not None]
        assert 0 < len(failed) < 20
        assert {(error.code, error.reason) for error in failed} == {(StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL")}
        with pytest.raises(RespError) as caught:
            await driver.commit({}, {b"a": bytes(200_000), b"b": b"small"})
        assert meaning(driver, caught.value).reason == "STORE_FULL"
        assert await driver.batch_get([b"a", b"b"]) == [None, None], "half of a transaction was applied"


@pytest.mark.parametrize(("text", "code", "reason"), [
    ("READONLY You can't write against a read only replica.", StatusCode.UNAVAILABLE, "BACKEND_READ_ONLY"),
    ("LOADING Redis is loading the dataset in memory", StatusCode.UNAVAILABLE, "BACKEND_LOADING"),
    ("MASTERDOWN Link with MASTER is down", StatusCode.UNAVAILABLE, "BACKEND_UNAVAILABLE"),
    ("NOAUTH Authentication required.", StatusCode.UNAVAILABLE, "BACKEND_AUTH_FAILED"),
    ("OOM command not allowed when used memory > 'maxmemory'.", StatusCode.RESOURCE_EXHAUSTED, "STORE_FULL"),
    ("MISCONF Redis is configured to save RDB snapshots", StatusCode.UNAVAILABLE, "BACKEND_CANNOT_PERSIST"),
    ("ERR unknown command 'a-secret-value'", StatusCode.INTERNAL, "BACKEND_ERROR"),
    ("a-secret-value with no kind", StatusCode.INTERNAL, "BACKEND_ERROR"),
])
def test_error_replies_were_not_executed_and_are_never_quoted(text: str, code: StatusCode, reason: str) -> None:
    error = meaning(RedisDriver(RedisConfig().within("n")), RespError(text))
    assert (error.code, error.reason, error.metadata["outcome"]) == (code, reason, "not_executed")
    assert "secret" not in f"{error} {dict(error.metadata)}"
    assert error.message.isascii()


async def test_scripts_survive_their_loss() -> None:
    async with RedisServer() as server, opened(RedisConfig(server.url)) as driver, server.client() as client:
        assert (await driver.compare_and_swap(b"key", None, b"1")).done
        await client.script_flush()
        assert (await driver.compare_and_swap(b"key", b"1", b"2")).done


async def test_a_scan_goes_on_while_the_keyspace_grows_and_shrinks() -> None:
    async with RedisServer() as server, opened(RedisConfig(server.url)) as driver, server.client() as client:
        stays = {b"stays%d" % index for index in range(3000)}
        await driver.batch_set([(key, b"") for key in stays])
        found: set[bytes] = set()
        cursor, turn = None, 0
        while True:
            page = await driver.scan(b"stays", cursor, 100, values=False)
            found |= {key for key, _ in page.items}
            turn += 1
            if turn == 3:
                await driver.batch_set([(b"more%d" % index, b"") for index in range(20_000)])
            if turn == 9:
                await client.eval("for i = 0, 19999 do redis.call('DEL', 'prism:test:more' .. i) end", 0)
            cursor = page.after(page.items[-1][0]) if page.items and turn % 2 else page.cursor
            if page.cursor is None:
                break
        assert found == stays


@pytest.mark.parametrize("options", [(), ("--rename-command", "HELLO", "")], ids=["resp3", "resp2"])
async def test_a_failover_by_sentinels_is_followed(options: tuple[str, ...]) -> None:
    async with Replicas(*options) as replicas:
        config = RedisConfig(mode="sentinel", nodes=tuple(server.address for server in replicas.sentinels),
                             master_name=Replicas.NAME)
        async with opened(config) as driver:
            await driver.set(b"key", b"before")
            async with replicas.primary.client() as client:
                await client.execute_command("WAIT", 1, 1000)
            await replicas.primary.kill()
            await until(driver, Health.UNHEALTHY)
            await until(driver, Health.HEALTHY)
            assert await driver.get(b"key") == b"before"
            await driver.set(b"key", b"after")
            async with replicas.replica.client() as client:
                assert await client.get("prism:test:key") == b"after"


async def test_a_cluster() -> None:
    async with RedisCluster() as cluster, opened(
            RedisConfig(mode="cluster", nodes=(cluster.nodes[0].address,))) as driver:
        assert driver.health().status is Health.HEALTHY, driver.health()
        assert driver.native_store is None
        items = [(b"key%d" % index, b"%d" % index) for index in range(600)]
        assert await driver.batch_set(items) == [None] * 600
        for node in cluster.nodes:
            async with node.client() as client:
                assert 100 < await client.dbsize() < 300
        assert await driver.batch_get([key for key, _ in items]) == [value for _, value in items]
        assert await driver.count(b"key1") == 111
        found, cursor = {}, None
        while True:
            page = await driver.scan(b"", cursor, 50, values=True)
            found.update(page.items)
            cursor = page.cursor
            if cursor is None:
                break
        assert found == dict(items)
        assert (await driver.compare_and_swap(b"key1", b"1", b"one")).done
        assert await driver.commit({b"{tag}a": 0, b"{tag}b": 0}, {b"{tag}a": b"1"})
        assert not await driver.commit({b"{tag}a": 0}, {b"{tag}b": b"1"})
        with pytest.raises(RespError) as caught:
            await driver.commit({}, {b"key1": b"x", b"key2": b"y"})
        error = meaning(driver, caught.value)
        assert (error.code, error.reason) == (StatusCode.FAILED_PRECONDITION, "CROSS_SLOT")
        assert await driver.batch_delete([key for key, _ in items]) == [True] * 600
        assert await driver.expire(b"{tag}a", 100)
        assert 99 < (await driver.ttl(b"{tag}a") or 0) <= 100


@pytest.mark.parametrize("options", [(), ("--rename-command", "HELLO", "")], ids=["resp3", "resp2"])
async def test_a_write_that_was_given_up_is_not_executed_after_a_newer_one(options: tuple[str, ...]) -> None:
    """It waits somewhere on its way; the new connection has the server forget the one it would arrive on."""
    async with RedisServer(*options) as server, Shim("127.0.0.1", server.port) as shim, opened(
            RedisConfig(f"redis://127.0.0.1:{shim.port}", read_timeout_s=0.3)) as driver:
        await driver.set(b"key", b"first")
        shim.hold()
        with pytest.raises(ConnectionLost) as caught:
            await driver.set(b"key", b"old")
        assert meaning(driver, caught.value).metadata["outcome"] == "unknown"
        await until(driver, Health.HEALTHY)
        await driver.set(b"key", b"new")
        shim.release()
        await asyncio.sleep(0.2)  # time for what must not happen
        assert await driver.get(b"key") == b"new"


@pytest.mark.serial
async def test_POL_1_more_calls_than_the_pool_takes_wait_and_then_fail() -> None:
    async with RedisServer() as server, Shim("127.0.0.1", server.port) as shim, opened(RedisConfig(
            f"redis://127.0.0.1:{shim.port}", max_pending=20, max_wait_s=0.5, connections=2,
            read_timeout_s=30)) as driver:
        shim.hold()
        calls = [asyncio.ensure_future(driver.set(b"key%d" % index, b"value")) for index in range(1000)]
        most = 0
        while not any(call.done() for call in calls):
            most = max(most, int(driver.health().details["pending"]))
            await asyncio.sleep(0.01)
        assert 20 <= most <= 3 * 20
        assert driver.health().status is Health.DEGRADED
        shim.release()
        ended = await asyncio.gather(*calls, return_exceptions=True)
        failed = [meaning(driver, error) for error in ended if isinstance(error, Exception)]
        assert len(failed) > 900
        assert {(error.code, error.reason, error.metadata["outcome"]) for error in failed} == {
            (StatusCode.UNAVAILABLE, "POOL_EXHAUSTED", "not_executed")}
        assert all("20 commands" in error.metadata["pool_state"] for error in failed)


async def test_POL_2_a_restart_heals_without_one_of_the_caller() -> None:
    async with RedisServer() as server, opened(RedisConfig(server.url)) as driver:
        for turn in range(3):
            assert (await driver.compare_and_swap(b"key", None, b"%d" % turn)).done  # scripts are forgotten too
            await server.kill()
            await until(driver, Health.UNHEALTHY)
            await server.start()
            await until(driver, Health.HEALTHY)
