"""The process: how fast and small it starts, where it listens, and how it ends."""

from __future__ import annotations

import asyncio
import shlex
import signal
import subprocess
import sys
from pathlib import Path

import pytest

from prism_schema_registry.options import parse
from prism_schema_registry.reference import table
from tests.services.proxy import page
from tests.services.schema_registry import RegistryProcess, Rest, registry_process


def run(*arguments: str) -> tuple[int, str, str]:
    done = subprocess.run([sys.executable, "-m", "prism_schema_registry", *arguments], capture_output=True, text=True,
                          timeout=30, check=False)
    return done.returncode, done.stdout, done.stderr


async def test_a_registry_for_tests_starts_fast_and_small() -> None:
    """By the CPU of its start, which a busy machine does not change; `benchmarks.registry` has the time."""
    started = []
    for _ in range(3):
        process = await RegistryProcess("--memory").start()
        started.append(process.cpu_seconds())
        async with Rest(process.url) as rest:
            assert (await rest.register("a", '"string"'))[0] == 200
        assert process.resident_bytes() < 60 * 1024 * 1024
        assert (process.grpc_port, process.metrics_port) == (0, 0)
        assert await process.stop() == 0
    assert min(started) < 0.4


async def test_each_registry_of_tests_is_its_own() -> None:
    first, second = await asyncio.gather(RegistryProcess("--memory").start(), RegistryProcess("--memory").start())
    async with Rest(first.url) as one, Rest(second.url) as other:
        await one.register("a", '"string"')
        assert await other.get("/subjects") == (200, [])
    assert [await first.stop(), await second.stop(signal.SIGINT)] == [0, 0]


async def test_the_port_comes_from_the_environment_too() -> None:
    process = await RegistryProcess(
        environment={"PRISM_SCHEMA_REGISTRY_MEMORY": "true", "PRISM_SCHEMA_REGISTRY_COMPATIBILITY": "FULL"}).start()
    async with Rest(process.url) as rest:
        assert await rest.get("/config") == (200, {"compatibilityLevel": "FULL"})
    assert await process.stop() == 0


async def test_what_operators_see(tmp_path: Path) -> None:
    process = await registry_process("--db", f"sqlite://{tmp_path / 'schemas.db'}").start()
    async with Rest(process.url) as rest:
        await rest.register("a", '"string"')
        for _ in range(3):
            await rest.get("/schemas/ids/1")
        await rest.get("/schemas/ids/7")
        assert await rest.get("/ready") == (200, {"status": "ready"})
        assert await rest.get("/healthz") == (200, {"status": "healthy"})
    status, shown = await page(process.metrics_port, "/metrics")
    assert status == 200
    for line in ('prism_schema_registry_requests_total{operation="get_by_id",status="200"} 3',
                 'prism_schema_registry_requests_total{operation="get_by_id",status="404"} 1',
                 'prism_schema_registry_cached_replies_total{operation="get_by_id"} 2',
                 'prism_schema_registry_request_duration_seconds_count{operation="register"} 1',
                 "prism_schema_registry_subjects 1", "prism_schema_registry_last_id 1",
                 "prism_schema_registry_storage_up 1"):
        assert line in shown
    assert (await page(process.metrics_port, "/ready"))[0] == 200
    assert await process.stop() == 0


@pytest.mark.parametrize(("arguments", "message"), [
    (("--listen", "0.0.0.0:0", "--memory"), "--listen 0.0.0.0:0 is open to other machines: give --tls-cert"),
    (("--memory", "--listen", "nowhere"), "is not HOST:PORT"),
    (("--memory", "--port", "99999"), "port is 99999: allowed are 0 to 65535"),
    (("--compatibility", "sideward"), "it must be one of NONE, BACKWARD"),
    (("--memory", "--db", "sqlite://x"), "memory and db exclude each other"),
    (("--db", "mysql://x"), "unsupported database URN"),
    (("--memory", "--token-file", "/nowhere"), "/nowhere: No such file"),
    (("--memory", "--tls-cert", "/nowhere"), "tls_cert and tls_key go together"),
])
def test_what_cannot_be_is_one_line_and_exit_1(arguments: tuple[str, ...], message: str) -> None:
    code, output, errors = run(*arguments)
    assert (code, output) == (1, "")
    assert message in errors
    assert "Traceback" not in errors


async def test_a_port_that_is_taken() -> None:
    process = await RegistryProcess("--memory").start()
    code, _, errors = run("--memory", "--port", str(process.port))
    assert code == 1
    assert "choose another" in errors
    assert await process.stop() == 0


def test_help_and_version() -> None:
    code, output, _ = run("--help")
    assert code == 0
    assert "--read-token-file" in output
    code, output, _ = run("--version")
    assert (code, output.split()[0]) == (0, "prism-schema-registry")


async def test_a_request_that_has_begun_is_answered_before_the_end() -> None:
    process = await RegistryProcess("--memory").start()
    reader, writer = await asyncio.open_connection("127.0.0.1", process.port)
    body = b'{"schema": "\\"string\\""}'
    writer.write(b"POST /subjects/a/versions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                 b"content-length: %d\r\n\r\n" % len(body))
    await asyncio.sleep(0.2)
    stopping = asyncio.create_task(process.stop())
    await asyncio.sleep(0.3)
    writer.write(body)
    reply = await reader.read()
    assert reply.startswith(b"HTTP/1.1 200 OK")
    assert b"connection: close" in reply
    assert await stopping == 0


def test_the_reference_page_has_every_setting() -> None:
    page_ = (Path(__file__).parents[3] / "docs/reference/schema-registry.md").read_text()
    assert "\n".join(table()) in page_


def test_the_unit_runs_a_command_that_exists() -> None:
    text = (Path(__file__).parents[3] / "deploy/prism-schema-registry.service").read_text()
    program, *arguments = shlex.split(next(
        line.removeprefix("ExecStart=") for line in text.splitlines() if line.startswith("ExecStart=")))
    assert Path(program).name == "prism-schema-registry"
    assert parse(arguments, {}).listen == "127.0.0.1:8081"
