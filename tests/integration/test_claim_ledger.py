"""kill -9 in the middle of uploads and consumes: no acknowledged payload is unreadable, and no object stays behind."""

from __future__ import annotations

import asyncio
import contextlib
import os
import random
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

import grpc
import pytest

from prism.interfaces.payload import payload_pb2, payload_pb2_grpc
from prism.interfaces.queue import (
    queue_basic_pb2,
    queue_basic_pb2_grpc,
    queue_visibility_pb2,
    queue_visibility_pb2_grpc,
)
from prism_proxy.backends.objects.config import DirectoryConfig
from prism_proxy.object_stores.contract import PENDING_TAG
from prism_proxy.slots.slot import Slot
from prism_proxy.standard import make_driver
from prism_proxy.steps.claim_check.figures import Figures
from prism_proxy.steps.claim_check.objects import ClaimStore
from prism_proxy.steps.claim_check.options import ClaimCheckOptions, TtlOptions
from prism_proxy.steps.claim_check.sweeper import Sweeper
from tests.services.proxy import ProxyProcess

ROUNDS = int(os.environ.get("PRISM_KILLS", "5"))
KIB, MIB = 1024, 1024 * 1024
CONFIG = """
namespaces:
  default:
    backends:
      store: {{driver: sqlite, config: {{path: {folder}/broker.db}}}}
      object_store: {{driver: directory, config: {{path: {folder}/objects}}}}
    claim_check: {{enabled: true, bucket: claims, threshold: 64KiB, upload_timeout: 1s, sweep_interval: 0.2s,
      ttl: {{max_age: 1h, retention_after_read: 0s, grace_period: 1s}}}}
    queue: {{visibility: 2s}}
    pubsub: {{log_max_age: 1h}}
"""


def payload_of(number: int) -> bytes:
    return number.to_bytes(8, "big") * (random.Random(number).randrange(10, 60) * KIB)


class Ledger:
    """What was acknowledged, and what was read and settled."""

    def __init__(self) -> None:
        self.number = 0
        self.acknowledged: set[int] = set()
        self.settled: set[int] = set()  # or asked to be, of the proxy that died before it could say so
        self.wrong: list[str] = []

    async def publish(self, channel: grpc.aio.Channel) -> None:
        basic: Any = queue_basic_pb2_grpc.QueueBasicInterfaceStub(channel)  # type: ignore[no-untyped-call]
        streams: Any = payload_pb2_grpc.PayloadInterfaceStub(channel)  # type: ignore[no-untyped-call]
        while True:
            self.number += 1
            number, payload = self.number, payload_of(self.number)
            if number % 3:
                await basic.Enqueue(queue_basic_pb2.EnqueueRequest(queue="q", payload=payload), timeout=5)
            else:
                parts = [payload_pb2.PublishPayloadRequest(head=payload_pb2.PayloadHead(queue="q"))] + [
                    payload_pb2.PublishPayloadRequest(chunk=payload[at:at + 50 * KIB])
                    for at in range(0, len(payload), 50 * KIB)]
                await streams.Publish(iter(parts), timeout=5)
            self.acknowledged.add(number)

    async def consume(self, channel: grpc.aio.Channel, *, all_of_them: bool = False) -> None:
        stub: Any = queue_visibility_pb2_grpc.QueueVisibilityInterfaceStub(channel)  # type: ignore[no-untyped-call]
        ask = queue_visibility_pb2.DequeueWithTimeoutRequest(queue="q", max_messages=1, visibility_seconds=2,
                                                             wait_ms=2500 if all_of_them else 200)
        while True:
            messages = (await stub.DequeueWithTimeout(ask, timeout=10)).messages
            if all_of_them and not messages:
                return
            for message in messages:
                number = int.from_bytes(message.payload[:8], "big")
                if message.payload != payload_of(number):
                    self.wrong.append(f"message {number} has other bytes")
                self.settled.add(number)
                await stub.Release(queue_visibility_pb2.ReleaseRequest(
                    queue="q", receipt=message.receipt, delete=True), timeout=5)


@pytest.mark.timeout(120 + 10 * ROUNDS)
async def test_no_acknowledged_payload_is_lost_and_nothing_is_left_behind(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text(CONFIG.format(folder=tmp_path))
    anywhere = ("--config", str(file), "--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    ledger = Ledger()
    for _ in range(ROUNDS):
        async with ProxyProcess(*anywhere) as proxy, grpc.aio.insecure_channel(proxy.address) as channel:
            work = [asyncio.ensure_future(each) for each in (
                ledger.publish(channel), ledger.publish(channel), ledger.publish(channel), ledger.consume(channel))]
            await asyncio.sleep(random.uniform(0.3, 1.2))
            proxy.signal(signal.SIGKILL)
            await asyncio.wait(work, timeout=10)
            for each in work:
                each.cancel()
                with contextlib.suppress(grpc.aio.AioRpcError, asyncio.CancelledError):
                    await each
    async with ProxyProcess(*anywhere) as proxy, grpc.aio.insecure_channel(proxy.address) as channel:
        await asyncio.sleep(2.5)  # sweeps collect what was never acknowledged, and nothing else
        await ledger.consume(channel, all_of_them=True)
        await proxy.stop()
    assert len(ledger.acknowledged) > ROUNDS
    assert not ledger.wrong
    assert not ledger.acknowledged - ledger.settled
    await nothing_is_left(tmp_path, file)


async def nothing_is_left(folder: Path, file: Path) -> None:
    """By the time of the sweeps only objects of settled messages are there, which the processes that died had no time
    to delete; and none is when their time is over."""
    await asyncio.sleep(2.5)
    command = (sys.executable, "-m", "prism_proxy", "claims", "sweep", "default", "--config", str(file))
    before = await said(*command, "--dry-run")
    assert "would be removed" in before
    assert await said(*command) == before.replace("would be removed", "were removed")
    driver = make_driver("directory", DirectoryConfig(path=folder / "objects"))
    await driver.open()
    options = ClaimCheckOptions(enabled=True, bucket="claims", threshold=64 * KIB, upload_timeout=1.0,
                                ttl=TtlOptions(max_age=3600.0, grace_period=1.0))
    left = (await driver.objects.list("claims")).objects
    assert len(left) <= ROUNDS
    assert not await driver.objects.list_uploads("claims")
    for found in left:
        assert PENDING_TAG not in await driver.objects.get_tags("claims", found.key)
    store = ClaimStore(Slot("object_store", "default", driver), options)
    await Sweeper("default", store, options, Figures("default"), lambda: time.time() + 3700).sweep()
    assert not (await driver.objects.list("claims")).objects
    await driver.close()


async def said(*command: str) -> str:
    done = await asyncio.to_thread(subprocess.run, command, capture_output=True, text=True, check=False)
    assert (done.returncode, done.stderr) == (0, "")
    return done.stdout


@pytest.mark.parametrize(("name", "says"), [("other", "no namespace 'other'"), ("plain", "no claim_check"),
                                            ("held", "in the memory of its proxy")])
async def test_the_command_says_what_it_cannot_sweep(name: str, says: str, tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text("""
namespaces:
  plain: {backends: {store: {driver: memstore}}}
  held:
    backends: {store: {driver: memstore}, object_store: {driver: memory}}
    claim_check: {enabled: true, bucket: claims}
""")
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-m", "prism_proxy", "claims", "sweep", name, "--config", str(file),
        stderr=asyncio.subprocess.PIPE)
    _, errors = await process.communicate()
    assert process.returncode == 1
    assert says in errors.decode()
