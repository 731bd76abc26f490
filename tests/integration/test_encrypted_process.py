"""A real proxy with encrypted namespaces over SQLite, Redis and NATS: what somebody finds who reads all they keep and
all that the proxy says, and what becomes of what he writes there himself."""

from __future__ import annotations

import asyncio
import base64
import contextlib
import json
import shutil
import sqlite3
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import nats
import pytest
from redis.asyncio import Redis

from prism.envelope.v1.envelope_pb2 import PrismEnvelope
from prism.interfaces.keyvalue import keyvalue_basic_pb2 as basic
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as basic_rpc
from prism_proxy._native.envelope.codec import new_message_id, now_ms
from prism_proxy.backends.sqlite.messaging.content import content_sum, headers_to_bytes
from prism_proxy.crypto.algorithms import ALGORITHMS
from prism_proxy.envelope.writer import EnvelopeWriter
from prism_proxy.secrets import key_document
from tests.services.nats import NatsServer
from tests.services.nats import binary as nats_binary
from tests.services.proxy import ProxyProcess
from tests.services.redis import RedisServer, binary
from tests.support.encrypted import KINDS, Client, key_directory, received

SECRET = b"the address of a customer"
pytestmark = pytest.mark.skipif(binary() is None or nats_binary() is None,
                                reason="there is no redis-server or nats-server: run `make tools`")


def configuration(folder: Path, stores: dict[str, str]) -> Path:
    def group(algorithm: str) -> str:
        found = ALGORITHMS[algorithm]
        references = (f"key_ref: 'disk://{found.key_type}'" if found.type == 1 else
                      f"public_key_ref: 'disk://{found.key_type}.pub', private_key_ref: 'disk://{found.key_type}'")
        return f"{{enabled: true, type: {KINDS[found.type]}, algorithm: {algorithm}, {references}}}"

    provider = f"{{type: file, directory: '{key_directory()}'}}"
    lines = [f"proxy: {{secrets: {{providers: {{disk: {provider}}}}}}}", "namespaces:"]
    for (name, store), algorithm in zip(stores.items(), ("aes-256-gcm", "x-wing", "ml-kem-768"), strict=True):
        lines += [f"  {name}:", f"    backends: {{store: {store}}}", f"    encryption: {group(algorithm)}"]
        if name != "nats":
            lines.append("    queue: {max_receives: 3}")
    file = folder / "prism.yaml"
    file.write_text("\n".join(lines) + "\n")
    return file


class Setting:
    def __init__(self, proxy: ProxyProcess, channel: grpc.aio.Channel, redis: RedisServer, broker: NatsServer,
                 file: Path) -> None:
        self.proxy, self.channel, self.redis, self.broker, self.file = proxy, channel, redis, broker, file

    def client(self, namespace: str) -> Client:
        return Client(self.channel, namespace)

    async def set(self, namespace: str, key: str, value: bytes) -> None:
        stub: Any = basic_rpc.KeyValueBasicInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        await stub.Set(basic.SetRequest(key=key, value=value), metadata=(("x-namespace", namespace),))

    async def get(self, namespace: str, key: str) -> bytes:
        stub: Any = basic_rpc.KeyValueBasicInterfaceStub(self.channel)  # type: ignore[no-untyped-call]
        return bytes((await stub.Get(basic.GetRequest(key=key), metadata=(("x-namespace", namespace),))).value)


@contextlib.asynccontextmanager
async def setting(tmp_path: Path) -> AsyncIterator[Setting]:
    file = tmp_path / "messages.db"
    async with RedisServer() as redis, NatsServer() as broker:
        stores = {"sqlite": f"{{driver: sqlite, config: {{path: '{file}'}}}}",
                  "redis": f"{{driver: redis, config: {{url: '{redis.url}'}}}}",
                  "nats": f"{{driver: nats, config: {{url: '{broker.url}'}}}}"}
        proxy = await ProxyProcess("--config", str(configuration(tmp_path, stores)), "--listen", "127.0.0.1:0",
                                   "--metrics-listen", "127.0.0.1:0", "--log-level", "debug").start()
        try:
            async with grpc.aio.insecure_channel(proxy.address) as channel:
                yield Setting(proxy, channel, redis, broker, file)
        finally:
            if proxy.process.returncode is None:
                await proxy.stop()


async def everything_in(server: RedisServer) -> bytes:
    async with Redis.from_url(server.url) as connection:
        found = []
        for key in await connection.keys("*"):
            kind = await connection.type(key)
            read = {b"string": connection.get, b"hash": connection.hgetall, b"stream": connection.xrange,
                    b"zset": lambda name: connection.zrange(name, 0, -1), b"set": connection.smembers,
                    b"list": lambda name: connection.lrange(name, 0, -1)}[kind]
            found += [key, repr(await read(key)).encode()]
        return b"\n".join(found)


async def metrics(proxy: ProxyProcess) -> str:
    return str((await proxy.get("/metrics"))[1])


def secrets() -> list[bytes]:
    """All private bytes of the keys, as they are and in the forms that they could be written in."""
    found = []
    for path in key_directory().iterdir():
        if path.suffix != ".pub":
            for version in key_document.decode_any(path.read_bytes(), "x").versions:
                for part in version.key.parts.values():
                    piece = part[-24:]
                    found += [piece, piece.hex().encode(), base64.b64encode(part)[:32], repr(piece)[2:-1].encode()]
    return found


async def test_ENC_4_no_key_and_no_plaintext_is_found_anywhere(tmp_path: Path) -> None:
    async with setting(tmp_path) as found:
        heard = []
        async with await nats.connect(found.broker.url) as spy:
            subscription = await spy.subscribe(">")
            for name in ("sqlite", "redis", "nats"):
                client = found.client(name)
                listening = await client.subscribe("t")
                await client.publish("t", SECRET)
                assert (await received(listening)).payload == SECRET
                listening.cancel()
                if name == "nats":
                    continue
                await client.put("q", SECRET)
                await client.append("s", SECRET)
                await found.set(name, "k", SECRET)
                assert await found.get(name, "k") == SECRET
                assert [record.value for record in await client.read("s")] == [SECRET]
            heard.append((await subscription.next_msg(5)).data)
        connection = sqlite3.connect(found.file)  # a wrong message, for an error that is logged
        [(row, headers, published, expires)] = connection.execute(
            "SELECT id, headers, enqueued, expires FROM message").fetchall()
        data = b"\x00" * 60
        connection.execute("UPDATE message SET data = ?, sum = ? WHERE id = ?",
                           (data, content_sum(headers, data, published, expires), row))
        connection.commit()
        connection.close()
        assert await found.client("sqlite").lease("q") == []
        shown = [await metrics(found.proxy), *heard, await everything_in(found.redis),
                 *(path.read_bytes() for path in tmp_path.glob("messages.db*"))]
        pid = found.proxy.process.pid
        limits = Path(f"/proc/{pid}/limits").read_text()
        assert [line.split()[4] for line in limits.splitlines() if line.startswith("Max core file size")] == ["0"]
        assert await found.proxy.stop() == 0
        shown.append(json.dumps(found.proxy.lines).encode())
        everything = b"\n".join(text.encode() if isinstance(text, str) else text for text in shown)
        assert b"disk://x-wing.pub#1" in everything
        assert b"disk://aes-256-gcm#1" in everything
        assert b"ENC_AUTH_FAILED" in everything
        assert SECRET not in everything
        assert base64.b64encode(SECRET)[:28] not in everything
        assert not [secret for secret in secrets() if secret in everything]


async def test_what_is_written_past_the_proxy_is_refused(tmp_path: Path) -> None:
    async with setting(tmp_path) as found:
        injected = b"injected"
        for name in ("sqlite", "redis"):
            await found.client(name).put("q", b"ours")
            await found.client(name).append("s", b"ours")
            await found.set(name, "k", b"ours")

        connection = sqlite3.connect(found.file)
        for table, published in (("message", "enqueued"), ("record", "published")):
            columns = [column for _, column, *_ in connection.execute(f"PRAGMA table_info({table})") if column != "id"]
            row = dict(zip(columns, connection.execute(f"SELECT {', '.join(columns)} FROM {table}").fetchone(),
                           strict=True))
            headers = headers_to_bytes({"kind": "mine"})
            row |= {"data": injected, "headers": headers, "message_id": new_message_id(),
                    "sum": content_sum(headers, injected, row[published], row["expires"])}
            if table == "message":
                connection.execute(f"INSERT INTO message ({', '.join(row)}) VALUES ({', '.join('?' * len(row))})",
                                   list(row.values()))
            else:
                connection.execute("UPDATE record SET data = :data, headers = :headers, sum = :sum", row)
        connection.commit()
        connection.close()

        async with Redis.from_url(found.redis.url) as redis, await nats.connect(found.broker.url) as broker:
            [stream] = [key async for key in redis.scan_iter(_type="stream")]
            await redis.xadd(stream, {"data": injected})
            [key] = [key async for key in redis.scan_iter(_type="string") if key.endswith(b"k")]
            await redis.set(key, injected)
            listening = [await found.client(name).subscribe("t") for name in ("redis", "nats")]
            for data in (injected, EnvelopeWriter("redis", "t").write(
                    injected, message_id=new_message_id(), published_ms=now_ms())):
                [channel] = await redis.pubsub_channels()
                assert await redis.publish(channel, data) == 1
            await broker.publish("nats.t", injected)
            await broker.flush()
            await asyncio.sleep(0.1)
            for name, call in zip(("redis", "nats"), listening, strict=True):
                await found.client(name).publish("t", b"ours")
                assert (await received(call)).payload == b"ours"
                call.cancel()

        client = found.client("sqlite")
        assert [message.payload for message in await client.lease("q", 10)] == [b"ours"]
        assert await client.read("s") == []
        assert [record.value for record in await found.client("redis").read("s")] == [b"ours"]
        with pytest.raises(grpc.aio.AioRpcError, match="not encrypted"):
            await found.get("redis", "k")
        assert await found.get("sqlite", "k") == b"ours"
        text = await metrics(found.proxy)
        counted = {line.split('namespace="')[1].split('"')[0]: float(line.split()[-1]) for line in text.splitlines()
                   if line.startswith("prism_encryption_failures_total") and "ENC_PLAINTEXT_REFUSED" in line}
        assert counted == {"sqlite": 2, "redis": 4, "nats": 1}
        await found.proxy.stop()
        audited = [line for line in found.proxy.lines if line.get("reason") == "ENC_PLAINTEXT_REFUSED"]
        assert len(audited) == 7


async def test_a_rotation_under_load_fails_no_call(tmp_path: Path) -> None:
    from tests.support.encrypted import files_in

    keys = tmp_path / "keys"
    files = files_in(keys)
    files.generate("k", "aes-256-gcm", time.time() - 3600)
    file = tmp_path / "prism.yaml"
    file.write_text(f"""
proxy: {{secrets: {{cache_ttl: 1s, providers: {{disk: {{type: file, directory: '{keys}'}}}}}}}}
namespaces:
  n: {{backends: {{store: {{driver: memstore}}}}, encryption: {{enabled: true, key_ref: "disk://k"}}}}
""")
    proxy = await ProxyProcess("--config", str(file), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0",
                               "--workers", "2").start()
    try:
        async with contextlib.AsyncExitStack() as stack:
            channels = [await stack.enter_async_context(grpc.aio.insecure_channel(
                proxy.address, options=[("grpc.use_local_subchannel_pool", 1)])) for _ in range(4)]
            ends, done = time.monotonic() + 4, 0

            async def work(client: Client, number: int) -> None:
                nonlocal done
                while time.monotonic() < ends:
                    await client.put(f"q{number}", b"payload")
                    [taken] = await client.take(f"q{number}")
                    assert taken.payload == b"payload"
                    done += 1

            working = [asyncio.ensure_future(work(Client(channel, "n"), number))
                       for number, channel in enumerate(channels)]
            await asyncio.sleep(1)
            files.rotate("k", time.time())
            await asyncio.gather(*working)
            assert done > 100
        text = await metrics(proxy)
        assert 'key="disk://k#1"' in text
        assert 'key="disk://k#2"' in text
        assert "prism_encryption_failures_total{" not in text
    finally:
        await proxy.stop()


@pytest.mark.parametrize("algorithm", ["aes-256-gcm", "x-wing"])
async def test_ENC_5_proxies_with_one_key_of_which_one_is_restored_from_a_copy_repeat_no_iv(
    tmp_path: Path, algorithm: str
) -> None:
    """A copy knows nothing of what was sealed since it was made: neither does a proxy count on it."""
    found = ALGORITHMS[algorithm]
    backup = tmp_path / "backup"
    shutil.copytree(key_directory(), backup)
    seen: list[tuple[bytes, bytes]] = []
    async with RedisServer() as redis, Redis.from_url(redis.url).pubsub() as spy:

        def started(name: str) -> ProxyProcess:
            references = (f"key_ref: 'disk://{found.key_type}'" if found.type == 1 else
                          f"public_key_ref: 'disk://{found.key_type}.pub', private_key_ref: 'disk://{found.key_type}'")
            file = tmp_path / f"{name}.yaml"
            file.write_text(
                f"proxy: {{secrets: {{providers: {{disk: {{type: file, directory: '{tmp_path / name}'}}}}}}}}\n"
                f"namespaces: {{default: {{backends: {{store: {{driver: redis, config: {{url: '{redis.url}'}}}}}}, "
                f"encryption: {{enabled: true, type: {KINDS[found.type]}, algorithm: {algorithm}, {references}}}}}}}\n")
            return ProxyProcess("--config", str(file), "--listen", "127.0.0.1:0", "--metrics-listen", "off")

        async def publish(proxy: ProxyProcess, count: int) -> None:
            async with grpc.aio.insecure_channel(proxy.address) as channel:
                client = Client(channel, "default")
                await asyncio.gather(*(client.publish("t", b"") for _ in range(count)))

        async def collect(count: int) -> None:
            async with asyncio.timeout(20):
                while count:
                    heard = await spy.get_message(ignore_subscribe_messages=True, timeout=1)
                    if heard is not None:
                        sealed = PrismEnvelope.FromString(heard["data"]).security.encryption
                        seen.append((sealed.encapsulated_key, sealed.iv))
                        count -= 1

        await spy.psubscribe("*")
        for name in ("a", "b"):
            shutil.copytree(backup, tmp_path / name)
        a, b = await asyncio.gather(started("a").start(), started("b").start())
        await asyncio.gather(publish(a, 300), publish(b, 300), collect(600))
        a.process.kill()
        await a.process.wait()
        shutil.rmtree(tmp_path / "a")
        shutil.copytree(backup, tmp_path / "a")
        a = await started("a").start()
        await asyncio.gather(publish(a, 300), publish(b, 300), collect(600))
        assert [await a.stop(), await b.stop()] == [0, 0]
    assert len(set(seen)) == 1200
    assert all(iv for _, iv in seen)
