"""Every configuration in examples/, served by a real proxy, and what `make run` does with its own."""

from __future__ import annotations

import asyncio
import os
import re
import signal
import sys
from pathlib import Path

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as rpc
from tests.services import nats, redis
from tests.services.proxy import ProxyProcess

ROOT = Path(__file__).parents[2]
EXAMPLES = sorted((ROOT / "examples").glob("*.yaml"))


async def serve_and_call(file: Path, folder: Path, *, redis_url: str = "", nats_url: str = "") -> None:
    """Set and Get in every namespace of the file that has keys; messages in all."""
    (folder / ".prism").mkdir()
    text = file.read_text().replace("redis://127.0.0.1:6379/0", redis_url)
    text = text.replace("nats://127.0.0.1:4222", nats_url).replace('path: "', f'path: "{folder}/')
    configured = folder / "example.yaml"
    configured.write_text(re.sub(r"path: (?=[\w.])", f"path: {folder}/", text))
    anywhere = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    async with (
        ProxyProcess("--config", str(configured), *anywhere) as proxy,
        grpc.aio.insecure_channel(proxy.address) as channel,
    ):
        stub = rpc.KeyValueBasicInterfaceStub(channel)
        for namespace in proxy.lines[-1]["namespaces"]:
            metadata = (("x-namespace", namespace),)
            if not nats_url:
                await stub.Set(pb.SetRequest(key="k", value=namespace.encode()), metadata=metadata, timeout=10)
                found = await stub.Get(pb.GetRequest(key="k"), metadata=metadata, timeout=10)
                assert found.value == namespace.encode()
            await publish_and_subscribe(proxy.address, namespace)


async def publish_and_subscribe(address: str, namespace: str) -> None:
    """The publisher's messages reach the subscriber; the worker does its jobs."""
    where = ("--address", address, "--namespace", namespace)
    subscriber = await program("subscriber", *where, "--count", "2")
    assert subscriber.stdout is not None
    assert await subscriber.stdout.readline() == b"subscribed to orders.new\n"
    for name, *arguments in (("publisher", "one", "two"), ("queue_worker", "three")):
        done = await program(name, *where, *arguments)
        said, _ = await done.communicate()
        assert done.returncode == 0
        assert said.decode().splitlines()[-1].endswith(arguments[-1])
    said, _ = await subscriber.communicate()
    assert [line.rpartition(": ")[2] for line in said.decode().splitlines()] == ["one", "two"]
    assert b"from examples.publisher" in said


async def test_a_file_travels_through_a_queue(tmp_path: Path) -> None:
    (tmp_path / ".prism").mkdir()
    configured = tmp_path / "files.yaml"
    text = (ROOT / "examples/files.yaml").read_text()
    configured.write_text(text.replace("path: .prism", f"path: {tmp_path}/.prism"))
    small, large = tmp_path / "small.txt", tmp_path / "large.bin"
    small.write_text("a few bytes")
    large.write_bytes(os.urandom(9 * 1024 * 1024))
    (tmp_path / "received").mkdir()
    async with ProxyProcess(
        "--config", str(configured), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"
    ) as proxy:
        for action, path in (("send", large), ("send", small), ("receive", tmp_path / "received")):
            done = await program("files", action, str(path), "--address", proxy.address)
            await done.communicate()
            assert done.returncode == 0
    for path in (small, large):
        assert (tmp_path / "received" / path.name).read_bytes() == path.read_bytes()


async def test_a_file_is_kept_as_an_object(tmp_path: Path) -> None:
    (tmp_path / ".prism").mkdir()
    configured = tmp_path / "objects.yaml"
    configured.write_text((ROOT / "examples/objects.yaml").read_text().replace(
        "path: .prism", f"path: {tmp_path}/.prism"))
    file, copy = tmp_path / "cat.jpg", tmp_path / "copy.jpg"
    file.write_bytes(os.urandom(5 * 1024 * 1024 + 1))
    async with ProxyProcess(
        "--config", str(configured), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0"
    ) as proxy:
        said = b""
        for action in (("put", str(file), "pets/cat.jpg"), ("get", "pets/cat.jpg", str(copy)), ("list", "pets/"),
                       ("get", "pets/cat.jpg", str(tmp_path / "end"), "--from", "1000")):
            done = await program("objects", "--address", proxy.address, *action)
            said += (await done.communicate())[0]
            assert done.returncode == 0
    assert b"     5242881 pets/cat.jpg" in said
    assert copy.read_bytes() == file.read_bytes()
    assert (tmp_path / "end").read_bytes() == file.read_bytes()[1000:]


async def program(name: str, *arguments: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec(sys.executable, "-m", f"examples.{name}", *arguments, cwd=ROOT,
                                                stdout=asyncio.subprocess.PIPE)


@pytest.mark.parametrize("file", EXAMPLES, ids=lambda file: file.name)
async def test_the_examples_serve(file: Path, tmp_path: Path) -> None:
    if "driver: nats" in file.read_text():
        if nats.binary() is None:
            pytest.skip("no nats-server")
        async with nats.NatsServer(jetstream=True) as broker:
            await serve_and_call(file, tmp_path, nats_url=broker.url)
        return
    if "driver: redis" not in file.read_text():
        await serve_and_call(file, tmp_path)
        return
    if redis.binary() is None:
        pytest.skip("no redis-server")
    async with redis.RedisServer() as server:
        await serve_and_call(file, tmp_path, redis_url=server.url)


async def test_make_run_finds_what_it_left(tmp_path: Path) -> None:
    """Two starts: the second one tells of the first."""
    said = [await run(tmp_path), await run(tmp_path)]
    assert "the last start was: none before this one" in said[0]
    assert "the last start was: 20" in said[1]
    assert all("Set hello=world   -> success: True" in text for text in said)
    assert all("its subscriber received: a first order" in text for text in said)
    assert all("leased and finished: a mail to Ada" in text for text in said)
    assert all("gave it to proxy-01; Get hello -> value: orders" in text for text in said)


async def test_three_proxies_agree_before_and_after_a_fourth(tmp_path: Path) -> None:
    port = redis.free_ports(5)
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", f"from examples import three_proxies; three_proxies.main({port})", cwd=tmp_path,
        stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.PIPE, env={**os.environ, "PYTHONPATH": str(ROOT)})
    said, errors = await process.communicate()
    assert process.returncode == 0, errors.decode()
    assert said.count(b"read through 3 proxies") == 12
    assert said.count(b"read through 4 proxies") == 6


async def run(folder: Path) -> str:
    """What `make run` prints until it serves."""
    addresses = ", ".join(f"'127.0.0.1:{redis.free_port()}'" for _ in range(3))
    program = f"from examples import run; raise SystemExit(run.main({addresses}))"
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", program, cwd=folder, stdout=asyncio.subprocess.PIPE, stderr=asyncio.subprocess.DEVNULL,
        env={**os.environ, "PYTHONPATH": str(ROOT)})
    assert process.stdout is not None
    said = ""
    while "Serving on" not in said:
        line = (await process.stdout.readline()).decode()
        assert line, f"it ended and had said: {said}"
        said += line
    process.send_signal(signal.SIGTERM)
    assert await process.wait() == 0
    return said
