"""A proxy with several workers, and what tests do to them."""

from __future__ import annotations

import asyncio
import contextlib
import json
import os
import signal
import threading
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

from prometheus_client.parser import text_string_to_metric_families

from tests.services.proxy import ProxyProcess, proxy


class WorkersProcess:
    """`process` is the supervisor."""

    def __init__(self, process: ProxyProcess) -> None:
        self.process = process

    async def __aenter__(self) -> WorkersProcess:
        await self.process.start()
        return self

    async def __aexit__(self, *_: object) -> None:
        await self.process.__aexit__()

    @property
    def address(self) -> str:
        return self.process.address

    async def ready(self) -> dict[str, Any]:
        """The body of `/ready`."""
        return json.loads((await self.process.get("/ready"))[1])

    async def pids(self) -> list[int | None]:
        return [worker["pid"] for worker in (await self.ready())["workers"]]

    async def until_serving(self, restarts: int) -> dict[str, Any]:
        """Wait until all workers serve, after that many restarts in all; the body of `/ready`."""
        async with asyncio.timeout(20):
            while True:
                body = await self.ready()
                workers = body["workers"]
                healthy = all(namespace["health"] == "healthy" for namespace in body["namespaces"].values())
                if healthy and sum(worker["restarts"] for worker in workers) == restarts and all(
                        worker["state"] == "serving" for worker in workers):
                    return body
                await asyncio.sleep(0.02)

    async def kill(self, worker: int) -> None:
        pid = (await self.pids())[worker]
        assert pid is not None
        os.kill(pid, signal.SIGKILL)

    async def metrics(self) -> dict[tuple[str, frozenset[tuple[str, str]]], float]:
        """Every sample, by name and labels."""
        _, text = await self.process.get("/metrics")
        return {(sample.name, frozenset(sample.labels.items())): sample.value
                for family in text_string_to_metric_families(text) for sample in family.samples}

    async def requests(self, operation: str) -> float:
        """Calls of a method that were counted, over all namespaces and statuses."""
        found = 0.0
        for (name, labels), value in (await self.metrics()).items():
            if name == "prism_requests_total" and dict(labels)["operation"].endswith(f"/{operation}"):
                found += value
        return found


def workers(*arguments: str, count: int = 3, environment: Mapping[str, str] | None = None) -> WorkersProcess:
    """On free ports of the loopback."""
    return WorkersProcess(proxy("--workers", str(count), *arguments, environment=environment))


def alive(pid: int) -> bool:
    """Whether a process runs; one that only waits to be reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] != "Z"
    except FileNotFoundError:
        return False


def install_backend(folder: Path, name: str, code: str, cls: str) -> None:
    """Make `folder` a place in PYTHONPATH that offers a third party's backend."""
    (folder / f"{name}.py").write_text(code)
    metadata = folder / f"{name}-1.dist-info"
    metadata.mkdir()
    (metadata / "METADATA").write_text(f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n")
    (metadata / "entry_points.txt").write_text(f"[prism.backends]\n{name} = {name}:{cls}\n")


@contextlib.contextmanager
def running(process: ProxyProcess) -> Iterator[ProxyProcess]:
    """A process watched by a loop in a thread, so that it can outlive the loop of a test."""
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, daemon=True)
    thread.start()
    asyncio.run_coroutine_threadsafe(process.start(), loop).result(30)
    try:
        yield process
    finally:
        asyncio.run_coroutine_threadsafe(process.__aexit__(), loop).result(30)
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
