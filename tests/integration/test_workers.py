"""Several workers behind one port, from outside: starts, ends, deaths, and what operators see."""

import asyncio
import contextlib
import json
import os
import signal
import socket
import sys
import tempfile
import time
from pathlib import Path

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism_proxy._native.runtime.crc32 import partition_of
from tests.integration.test_process import OpenCall, in_progress, refused, stub, until_draining
from tests.services.proxy import ProxyProcess, proxy
from tests.services.redis import free_port
from tests.services.workers import WorkersProcess, alive, install_backend, workers

OWN_CHANNEL = [("grpc.use_local_subchannel_pool", 1)]


async def check(process: WorkersProcess) -> int:
    """A call over a connection of its own; the status of the process."""
    async with grpc.aio.insecure_channel(process.address, OWN_CHANNEL) as channel:
        return int((await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())).status)


async def test_all_workers_take_calls_and_operators_see_one_proxy() -> None:
    async with workers() as process:
        assert await asyncio.gather(*(check(process) for _ in range(24))) == [1] * 24
        body = await process.ready()
        assert body["state"] == "running"
        assert [worker["state"] for worker in body["workers"]] == ["serving"] * 3
        assert len(set(await process.pids())) == 3
        assert body["namespaces"]["default"]["volatile"] is True
        assert await process.requests("Check") == 24
        metrics = await process.metrics()
        assert metrics["prism_workers", frozenset()] == 3
        assert metrics["prism_ready", frozenset()] == 1
        assert all(metrics["prism_worker_restarts_total", frozenset({("worker", str(worker))})] == 0
                   for worker in range(3))
        resident = {dict(labels)["worker"] for name, labels in metrics if name == "process_resident_memory_bytes"}
        assert resident == {"supervisor", "0", "1", "2"}
        assert await process.process.get("/health") == (200, '{"status": "healthy"}\n')
        assert await process.process.stop() == 0
        assert (process.process.lines[-1]["event"], process.process.lines[-1]["code"]) == ("stopped", 0)


async def test_a_unix_socket_is_shared_and_removed_at_the_end(tmp_path: Path) -> None:
    path = tmp_path / "prism.sock"
    async with workers("--listen", f"unix:{path}", count=2) as process:
        for _ in range(8):
            async with grpc.aio.insecure_channel(f"unix:{path}", OWN_CHANNEL) as channel:
                await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
        assert await process.process.stop() == 0
        assert not path.exists()


# --- starts that fail ---------------------------------------------------------------------------------------------


@pytest.mark.parametrize("shared", [False, True])
async def test_a_port_of_another_process_is_refused(shared: bool) -> None:
    """Also when that process would let others listen there: its calls would go to two different proxies."""
    with socket.socket() as taken:
        if shared:
            taken.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        said = await refused("--workers", "2", "--listen", address, "--metrics-listen", "off")
    assert said.startswith(f"prism-proxy: --listen {address}: ")
    assert "in use" in said
    assert said.count("\n") == 1


async def test_two_proxies_with_workers_share_a_port_when_both_are_asked_to() -> None:
    async with workers("--reuse-port", count=2) as first:  # noqa: SIM117 - the address is known then
        async with workers("--reuse-port", "--listen", first.address, count=2) as second:
            assert await first.process.stop() == 0
            assert await check(second) == 1
            assert await second.process.stop() == 0


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--workers", "0"], "--workers is 0: allowed are 1 to 256"),
    (["--workers", "two"], "--workers is 'two'"),
    (["--workers", "2", "--tls-cert", "missing.pem", "--tls-key", "missing.key"], "missing.pem"),
])
async def test_what_no_worker_can_start_with_is_said_once(arguments: list[str], expected: str) -> None:
    said = await refused("--listen", "127.0.0.1:0", "--metrics-listen", "off", "--drain-timeout", "1", *arguments)
    assert expected in said
    assert said.startswith("prism-proxy: ")
    assert said.count("\n") == 1


async def test_a_taken_metrics_port_leaves_nothing_behind() -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        with tempfile.TemporaryDirectory() as folder:
            said = await refused("--workers", "2", "--listen", "127.0.0.1:0", "--metrics-listen", address,
                                 environment={"TMPDIR": folder})
            assert os.listdir(folder) == []
    assert said.startswith(f"prism-proxy: --metrics-listen {address}: ")


async def test_the_supervisor_starts_without_what_only_workers_need() -> None:
    """It stands before every worker's start, and its memory is beside theirs."""
    process = await asyncio.create_subprocess_exec(
        sys.executable, "-c", "import sys, prism_proxy.__main__, prism_proxy.processes.supervisor; "
        "print({'grpc', 'uvloop'} & {*sys.modules})", stdout=asyncio.subprocess.PIPE)
    assert (await process.communicate())[0] == b"set()\n"


# --- ends ---------------------------------------------------------------------------------------------------------


async def test_in_the_lead_of_a_drain_workers_take_calls() -> None:
    async with workers("--drain-lead", "3600") as process:
        process.process.signal(signal.SIGTERM)
        await until_draining(process.process)
        for _ in range(8):
            async with grpc.aio.insecure_channel(process.address, OWN_CHANNEL) as channel:
                await stub(channel).Set(pb.SetRequest(key="k", value=b"v"))
        process.process.signal(signal.SIGTERM)
        assert await process.process.wait() == 2


async def test_DRN_1_calls_in_progress_in_any_worker_finish() -> None:
    async with workers() as process:
        channels = [grpc.aio.insecure_channel(process.address, OWN_CHANNEL) for _ in range(12)]
        calls = [OpenCall(channel) for channel in channels]
        await in_progress(process.process, 12)
        process.process.signal(signal.SIGTERM)
        await until_draining(process.process)
        assert (await process.ready())["state"] == "draining"
        for call in calls:
            await call.finish()
        assert await process.process.wait() == 0
        for channel in channels:
            await channel.close()


async def test_what_outlasts_the_timeout_in_one_worker_makes_exit_code_2() -> None:
    async with (workers("--drain-timeout", "0.5", count=2) as process,
                grpc.aio.insecure_channel(process.address) as channel):
        call = OpenCall(channel)
        await in_progress(process.process, 1)
        assert await process.process.stop() == 2
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_a_second_signal_ends_all_workers_at_once() -> None:
    async with workers(count=2) as process, grpc.aio.insecure_channel(process.address) as channel:
        OpenCall(channel)
        await in_progress(process.process, 1)
        pids = await process.pids()
        process.process.signal(signal.SIGTERM)
        await until_draining(process.process)
        began = time.monotonic()
        process.process.signal(signal.SIGINT)
        assert await process.process.wait() == 2
        assert time.monotonic() - began < 4
        assert not any(alive(pid) for pid in pids if pid is not None)


HANGING = """
import time
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.backends.memstore.driver import MemstoreDriver

class Hanging(MemstoreDriver):
    config_class = MemstoreConfig

    async def open(self):
        time.sleep(60)
"""


async def test_a_start_that_hangs_can_be_ended(tmp_path: Path) -> None:
    """By one signal in good order, where the workers can hear it; by a second one in any case."""
    install_backend(tmp_path, "hanging", HANGING, "Hanging")
    file = tmp_path / "prism.yaml"
    file.write_text(configuration("default", driver="hanging"))
    metrics = free_port()
    process = ProxyProcess("--workers", "2", "--listen", "127.0.0.1:0", "--metrics-listen", f"127.0.0.1:{metrics}",
                           "--config", str(file), environment={"PYTHONPATH": str(tmp_path)})
    await process.spawn()
    process.metrics_port = metrics
    async with asyncio.timeout(20):
        while True:
            with contextlib.suppress(OSError):
                status, body = await process.get("/ready")
                if all(worker["pid"] for worker in json.loads(body)["workers"]):
                    break
            await asyncio.sleep(0.05)
    assert status == 503
    process.signal(signal.SIGTERM)
    await asyncio.sleep(0.2)
    began = time.monotonic()
    process.signal(signal.SIGTERM)
    assert await process.wait() == 2
    assert time.monotonic() - began < 10


async def test_workers_end_when_their_supervisor_is_killed() -> None:
    async with workers(count=2) as process:
        pids = [pid for pid in await process.pids() if pid is not None]
        process.process.process.kill()
        async with asyncio.timeout(5):
            while any(alive(pid) for pid in pids):
                await asyncio.sleep(0.02)
        async with proxy("--listen", process.address) as after:
            assert await after.stop() == 0


# --- deaths -------------------------------------------------------------------------------------------------------


async def test_a_worker_told_to_end_is_replaced() -> None:
    async with workers(count=2) as process:
        pid = (await process.pids())[0]
        assert pid is not None
        os.kill(pid, signal.SIGTERM)
        await process.until_serving(restarts=1)
        assert pid not in await process.pids()
        assert await asyncio.gather(*(check(process) for _ in range(8))) == [1] * 8
        assert await process.process.stop() == 0


async def test_the_fifth_death_in_a_minute_ends_the_proxy_with_1() -> None:
    async with workers(count=2) as process:
        for deaths in range(5):
            await process.until_serving(restarts=deaths)
            await process.kill(1)
        assert await process.process.wait() == 1
        events = [line["event"] for line in process.process.lines]
        assert events.count("a worker ended") == 5
        assert any(event.startswith("giving up") for event in events)
        assert process.process.lines[-1]["code"] == 1


async def test_connections_to_a_dead_worker_wait_for_its_restart() -> None:
    """Nothing is reset: the supervisor holds the socket open in which they wait."""
    async with workers(count=2) as process:
        await process.kill(0)
        assert await asyncio.gather(*(check(process) for _ in range(16))) == [1] * 16
        await process.until_serving(restarts=1)
        assert await process.process.stop() == 0


async def test_counts_of_a_dead_worker_stay() -> None:
    async with workers(count=2) as process:
        for round_ in range(1, 4):
            await asyncio.gather(*(check(process) for _ in range(20)))
            assert await process.requests("Check") == 20 * round_
            if round_ < 3:
                await process.kill(round_ - 1)
                await process.until_serving(restarts=round_)
                assert await process.requests("Check") == 20 * round_
        restarts = {dict(labels)["worker"]: value for (name, labels), value in (await process.metrics()).items()
                    if name == "prism_worker_restarts_total"}
        assert restarts == {"0": 1, "1": 1}


async def test_all_workers_show_that_an_owner_is_gone_and_back() -> None:
    async with workers() as process:
        victim = partition_of("default") % 3
        channels = [grpc.aio.insecure_channel(process.address, OWN_CHANNEL) for _ in range(12)]
        request = health_pb2.HealthCheckRequest(service="namespace/default")
        watches = [health_pb2_grpc.HealthStub(channel).Watch(request) for channel in channels]
        assert [(await watch.read()).status for watch in watches] == [1] * 12
        await process.kill(victim)
        cut = 0
        for watch in watches:
            try:
                assert [(await watch.read()).status, (await watch.read()).status] == [2, 1]
            except grpc.aio.AioRpcError as error:
                assert error.code() is grpc.StatusCode.UNAVAILABLE  # noqa: PT017 - it was connected to the victim
                cut += 1
        assert cut < 12
        shown = (await process.ready())["namespaces"]["default"]
        assert (shown["health"], shown["restarts"], shown["volatile"]) == ("healthy", 1, True)
        assert "lost_at" in shown
        assert (await process.process.get("/ready"))[0] == 200
        for channel in channels:
            await channel.close()


@pytest.mark.skipif(os.environ.get("PRISM_SOAK") != "1", reason="takes 20 s: in the long form only")
async def test_a_worker_that_hangs_is_replaced() -> None:
    async with workers(count=2) as process:
        pid = (await process.pids())[1]
        assert pid is not None
        os.kill(pid, signal.SIGSTOP)
        async with asyncio.timeout(40):
            while pid in await process.pids():
                await asyncio.sleep(0.2)
        await process.until_serving(restarts=1)
        assert await process.process.stop() == 0


async def test_without_a_place_for_the_sockets_between_workers_nothing_starts(tmp_path: Path) -> None:
    folder = tmp_path / ("long" * 30)
    folder.mkdir()
    said = await refused("--workers", "2", "--listen", "127.0.0.1:0", "--metrics-listen", "off",
                         environment={"TMPDIR": str(folder)})
    assert "set TMPDIR" in said
    assert said.count("\n") == 1
    assert os.listdir(folder) == []


# --- configuration ------------------------------------------------------------------------------------------------


def configuration(*names: str, driver: str = "memstore") -> str:
    entries = "".join(f"  {name}:\n    backends: {{store: {{driver: {driver}}}}}\n" for name in names)
    return f"namespaces:\n{entries}"


async def reloaded(process: WorkersProcess, result: str, times: int = 1) -> dict[str, object]:
    """Wait until that many reloads ended so; what `/ready` says of the configuration."""
    async with asyncio.timeout(10):
        while True:
            shown = (await process.ready())["configuration"]
            if shown["reloads"][result] == times:
                return shown
            await asyncio.sleep(0.02)


async def health_of(process: WorkersProcess, name: str) -> set[grpc.StatusCode]:
    """What twelve connections, so most likely every worker, answer about a namespace."""
    async def one() -> grpc.StatusCode:
        async with grpc.aio.insecure_channel(process.address, OWN_CHANNEL) as channel:
            request = health_pb2.HealthCheckRequest(service=f"namespace/{name}")
            return await health_pb2_grpc.HealthStub(channel).Check(request).code()

    return set(await asyncio.gather(*(one() for _ in range(12))))


async def test_a_reload_is_in_force_in_all_workers_or_in_none(tmp_path: Path) -> None:
    file = tmp_path / "prism.yaml"
    file.write_text(configuration("one", "two"))
    async with workers("--config", str(file)) as process:
        assert set((await process.ready())["namespaces"]) == {"one", "two"}
        file.write_text(configuration("two", "three", "four"))
        process.process.signal(signal.SIGHUP)
        assert (await reloaded(process, "ok"))["revision"] == 2
        async with asyncio.timeout(5):
            while set((await process.ready())["namespaces"]) != {"two", "three", "four"}:
                await asyncio.sleep(0.02)
        assert await health_of(process, "four") == {grpc.StatusCode.OK}
        assert await health_of(process, "one") == {grpc.StatusCode.NOT_FOUND}
        for refused_text in (configuration("two", driver="no-such"), "namespaces: 3"):
            failed = (await process.ready())["configuration"]["reloads"]["failed"]
            file.write_text(refused_text)
            process.process.signal(signal.SIGHUP)
            assert (await reloaded(process, "failed", failed + 1))["revision"] == 2
            assert set((await process.ready())["namespaces"]) == {"two", "three", "four"}
        await process.kill(0)
        body = await process.until_serving(restarts=1)
        assert set(body["namespaces"]) == {"two", "three", "four"}, "a new worker starts with what is active"
        assert await process.process.stop() == 0
