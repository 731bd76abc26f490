"""A Kafka broker of one node, controller included, from the jars that `make tools` brings."""

from __future__ import annotations

import asyncio
import contextlib
import shutil
import tempfile
from pathlib import Path

from scripts import tools
from tests.services.redis import free_port

HOST = "127.0.0.1"
READY_SECONDS = 60.0
CLUSTER_ID = "MkU3OEVBNTcwNTJENDM2Qk"
SETTINGS = """
process.roles=broker,controller
node.id=1
controller.quorum.voters=1@{host}:{controller}
controller.listener.names=CONTROLLER
listeners=PLAINTEXT://{host}:{port},CONTROLLER://{host}:{controller}
listener.security.protocol.map=PLAINTEXT:PLAINTEXT,CONTROLLER:PLAINTEXT
log.dirs={folder}/log
offsets.topic.replication.factor=1
transaction.state.log.replication.factor=1
transaction.state.log.min.isr=1
share.coordinator.state.topic.replication.factor=1
share.coordinator.state.topic.min.isr=1
group.initial.rebalance.delay.ms=0
"""


def jars() -> Path | None:
    """The folder of the jars; None where they, or Java, cannot be had."""
    found = tools.path("kafka")
    return found if found is not None and shutil.which("java") else None


class KafkaServer:
    """One process in a folder of its own."""

    def __init__(self) -> None:
        self.port = free_port()
        self._folder = Path(tempfile.mkdtemp(prefix="prism-kafka-"))
        self._process: asyncio.subprocess.Process | None = None

    @property
    def address(self) -> str:
        return f"{HOST}:{self.port}"

    async def __aenter__(self) -> KafkaServer:
        settings = self._folder / "server.properties"
        settings.write_text(SETTINGS.format(host=HOST, port=self.port, controller=free_port(), folder=self._folder))
        formatting = await self._java("kafka.tools.StorageTool", "format", "-t", CLUSTER_ID, "-c", str(settings))
        assert await formatting.wait() == 0, (self._folder / "out").read_text()
        self._process = await self._java("kafka.Kafka", str(settings))
        async with asyncio.timeout(READY_SECONDS):
            while "Kafka Server started" not in (self._folder / "out").read_text():
                assert self._process.returncode is None, (self._folder / "out").read_text()[-2000:]
                await asyncio.sleep(0.1)
        return self

    async def _java(self, main: str, *arguments: str) -> asyncio.subprocess.Process:
        with (self._folder / "out").open("ab") as out:
            return await asyncio.create_subprocess_exec(
                "java", "-Xmx512m", "-cp", f"{jars()}/*", main, *arguments, cwd=self._folder, stdout=out, stderr=out)

    async def __aexit__(self, *_: object) -> None:
        if self._process is not None:
            with contextlib.suppress(ProcessLookupError):
                self._process.kill()
            await self._process.wait()
        shutil.rmtree(self._folder, ignore_errors=True)
