"""Processes that are started without descriptors 0, 1 and 2: they serve, drain and end as any other."""

from __future__ import annotations

import asyncio
import os
import signal
import sys
from pathlib import Path

import grpc
import pytest

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as kv
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as stubs
from tests.services.proxy import page
from tests.services.redis import free_port
from tests.support.echo import FRESH

CLOSED = {"all": "<&- >&- 2>&-", "stdin": "<&- >/dev/null 2>&1", "stdout": "</dev/null >&- 2>/dev/null",
          "stderr": "</dev/null >/dev/null 2>&-"}


async def started(closed: str, *command: str) -> asyncio.subprocess.Process:
    return await asyncio.create_subprocess_exec("/bin/sh", "-c", f'exec "$@" {CLOSED[closed]}', "sh", sys.executable,
                                                "-m", *command)


async def ready(port: int, process: asyncio.subprocess.Process) -> None:
    async with asyncio.timeout(20):
        while process.returncode is None:
            try:
                if (await page(port, "/ready"))[0] == 200:
                    return
            except (OSError, IndexError):
                pass
            await asyncio.sleep(0.05)
    raise AssertionError(f"the process ended with {process.returncode}")


def standard_files(pid: int) -> list[str]:
    return [os.readlink(f"/proc/{pid}/fd/{number}") for number in range(3)]


def children(pid: int) -> list[int]:
    return [int(child) for child in Path(f"/proc/{pid}/task/{pid}/children").read_text().split()]


@pytest.mark.parametrize(("closed", "workers"), [("all", "1"), ("all", "2"), ("stdin", "1"), ("stdout", "1"),
                                                 ("stderr", "1"), ("stderr", "2")])
async def test_a_proxy_serves_and_ends_cleanly_without_them(closed: str, workers: str) -> None:
    port, operators = free_port(), free_port()
    process = await started(closed, "prism_proxy", "--listen", f"127.0.0.1:{port}", "--workers", workers,
                            "--metrics-listen", f"127.0.0.1:{operators}")
    try:
        await ready(operators, process)
        for pid in (process.pid, *children(process.pid)):
            assert all("socket" not in name and "anon_inode" not in name for name in standard_files(pid))
        if closed == "all":
            assert standard_files(process.pid) == ["/dev/null"] * 3
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}", options=FRESH) as channel:
            store = stubs.KeyValueBasicInterfaceStub(channel)
            await store.Set(kv.SetRequest(key="a", value=b"1"))
            assert (await store.Get(kv.GetRequest(key="a"))).value == b"1"
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def test_an_admin_serves_and_ends_cleanly_without_them(tmp_path: Path) -> None:
    operators = free_port()
    process = await started("all", "prism_admin", "serve", "--listen", f"127.0.0.1:{free_port()}", "--metrics-listen",
                            f"127.0.0.1:{operators}", "--db", f"sqlite:///{tmp_path}/admin.db")
    try:
        await ready(operators, process)
        assert standard_files(process.pid) == ["/dev/null"] * 3
        process.send_signal(signal.SIGTERM)
        assert await asyncio.wait_for(process.wait(), 15) == 0
    finally:
        if process.returncode is None:
            process.kill()


async def test_mistakes_end_with_their_exit_code_without_them() -> None:
    process = await started("all", "prism_proxy", "--listen", "nowhere")
    assert await asyncio.wait_for(process.wait(), 15) == 1
    process = await started("all", "prism_proxy", "config", "schema")
    assert await asyncio.wait_for(process.wait(), 15) == 0
