"""The process from outside: what it serves, how it starts or refuses to, how it ends and with which exit code."""

import asyncio
import json
import signal
import socket
import time
from collections.abc import AsyncIterator
from pathlib import Path
from typing import Any

import grpc
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc
from prometheus_client.parser import text_string_to_metric_families

from prism.interfaces.keyvalue import keyvalue_basic_pb2 as pb
from prism.interfaces.keyvalue import keyvalue_basic_pb2_grpc as pb_grpc
from prism.interfaces.pubsub import pubsub_basic_pb2, pubsub_basic_pb2_grpc
from prism.interfaces.queue import queue_basic_pb2, queue_basic_pb2_grpc
from prism.interfaces.storage import storage_object_pb2, storage_object_pb2_grpc
from prism.interfaces.stream import stream_basic_pb2, stream_basic_pb2_grpc
from tests.services.certificates import write_pair
from tests.services.proxy import ProxyProcess, page, proxy

GET = "/prism.interfaces.keyvalue.KeyValueBasicInterface/Get"


def stub(channel: grpc.aio.Channel) -> pb_grpc.KeyValueBasicInterfaceStub:
    return pb_grpc.KeyValueBasicInterfaceStub(channel)


class OpenCall:
    """A Get whose request is sent only by `finish`: a call that is in progress for as long as a test likes."""

    def __init__(self, channel: grpc.aio.Channel) -> None:
        self._go = asyncio.Event()
        self._call = channel.stream_unary(GET, pb.GetRequest.SerializeToString, pb.GetResponse.FromString)(
            self._requests())

    async def _requests(self) -> AsyncIterator[pb.GetRequest]:
        await self._go.wait()
        yield pb.GetRequest(key="k")

    async def finish(self) -> pb.GetResponse:
        self._go.set()
        return await self._call

    async def code(self) -> grpc.StatusCode:
        return await self._call.code()


async def in_progress(process: ProxyProcess, calls: int) -> None:
    """Wait until the proxy itself counts that many calls."""
    async with asyncio.timeout(10):
        while f"prism_server_streams {calls}\n" not in (await process.get("/metrics"))[1]:
            await asyncio.sleep(0.005)


async def refused(*arguments: str, environment: dict[str, str] | None = None) -> str:
    """What a process that exits with 1 says."""
    process = ProxyProcess(*arguments, environment=environment)
    await process.spawn()
    out, errors = await process.process.communicate()
    assert process.process.returncode == 1, errors
    assert out == b""
    return errors.decode()


async def test_it_serves_and_shows_what_it_did() -> None:
    async with proxy() as process, grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        await stub(channel).Set(pb.SetRequest(key="k", value=b"v"))
        for _ in range(2):
            assert (await stub(channel).Get(pb.GetRequest(key="k"))).value == b"v"
        assert (await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())).status == 1
        for name in ("no-such", "nor-this"):
            unknown = stub(channel).Exists(pb.ExistsRequest(key="k"), metadata=(("x-namespace", name),))
            assert await unknown.code() is grpc.StatusCode.NOT_FOUND
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest(service="namespace/default"))
        assert (await watch.read()).status == 1
        assert await process.get("/health") == (200, '{"status": "healthy"}\n')
        status, body = await process.get("/ready")
        assert (status, json.loads(body)["status"]) == (200, "ready")
        assert json.loads(body)["namespaces"]["default"]["backend"] == "memstore"
        _, text = await process.get("/metrics")
        samples = {
            (sample.name, sample.labels.get("operation", "").rpartition("/")[2], sample.labels.get("status")): sample
            for family in text_string_to_metric_families(text) for sample in family.samples}
        assert samples["prism_requests_total", "Get", "OK"].value == 2
        assert samples["prism_requests_total", "Get", "OK"].labels["namespace"] == "default"
        assert samples["prism_request_duration_seconds_count", "Set", None].labels["backend"] == "memstore"
        assert samples["prism_requests_total", "Check", "OK"].labels["namespace"] == ""
        assert samples["prism_requests_total", "Exists", "NOT_FOUND"].labels["namespace"] == "_unknown"
        assert samples["prism_server_connections", "", None].value == 1
        assert samples["prism_ready", "", None].value == 1
        assert samples["backend_driver_uptime_seconds", "", None].value > 0
        assert samples["prism_limit_hits_total", "", None].value == 0
        assert await process.stop() == 0
        assert process.lines[-1]["event"] == "stopped"
        assert process.lines[-1]["aborted"] == 0


def documented_metrics() -> dict[str, tuple[str, set[str]]]:
    """Name -> (type, labels), from the reference page. Steps, of which there are none here, stand apart on it."""
    page = (Path(__file__).parents[2] / "docs/reference/metrics.md").read_text().partition("### Metrics of steps")[0]
    lines = [line for line in page.splitlines() if line.startswith("| `") and line.count("|") == 5]
    rows = [[cell.strip() for cell in line.strip("|").split("|")] for line in lines]
    return {name.strip("`"): (kind, {label.strip("`") for label in labels.split()}) for name, kind, labels, _ in rows}


async def use_every_model(channel: grpc.aio.Channel) -> None:
    """A model has figures from its first use on."""
    topics: Any = pubsub_basic_pb2_grpc.PubSubBasicInterfaceStub(channel)
    await topics.Publish(pubsub_basic_pb2.PublishRequest(topic="t"))
    queues: Any = queue_basic_pb2_grpc.QueueBasicInterfaceStub(channel)
    await queues.Enqueue(queue_basic_pb2.EnqueueRequest(queue="q"))
    streams: Any = stream_basic_pb2_grpc.StreamBasicInterfaceStub(channel)
    await streams.Append(stream_basic_pb2.AppendRequest(stream="s", records=[stream_basic_pb2.StreamRecord()]))
    objects: Any = storage_object_pb2_grpc.StorageObjectInterfaceStub(channel)
    await objects.PutObject(iter([storage_object_pb2.PutObjectRequest(bucket="media", key="k", is_final_chunk=True)]))


async def test_the_reference_page_lists_just_the_metrics_there_are(tmp_path: Path) -> None:
    limited = tmp_path / "limited.yaml"
    limited.write_text("""namespaces: {default: {
        backends: {store: {driver: memstore}, object_store: {driver: memory}}, object: {buckets: [media]},
        limits: {concurrent_calls: 9}}}""")
    async with proxy("--config", str(limited)) as process:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            await stub(channel).Get(pb.GetRequest(key="k"))
            await use_every_model(channel)
        _, text = await process.get("/metrics")
    found, documented = {}, documented_metrics()
    for family in text_string_to_metric_families(text):
        name = f"{family.name}_total" if family.type == "counter" and family.name not in documented else family.name
        labels = {label for sample in family.samples for label in sample.labels} - {"le"}
        if not family.samples:  # of shared backends, and there is none
            labels = documented.get(name, ("", set()))[1]
        found[name] = (family.type, labels)
    assert found == documented


async def test_a_proxy_of_its_own_loads_nothing_for_other_processes_or_other_backends() -> None:
    """Its idle memory is part of the promise, and each of these costs a share of it."""
    async with proxy() as process:
        async with grpc.aio.insecure_channel(process.address) as channel:
            await stub(channel).Set(pb.SetRequest(key="k", value=b"v"))
        loaded = Path(f"/proc/{process.process.pid}/maps").read_text()
    unused = ("_native/forward", "_native/grpc/client", "_hashlib", "_bz2", "_lzma", "_sqlite3", "_yaml")
    assert "_native/memstore" in loaded
    assert [name for name in unused if name in loaded] == []


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT])
async def test_DRN_1_calls_in_progress_finish(number: signal.Signals) -> None:
    async with proxy() as process, grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        await stub(channel).Set(pb.SetRequest(key="k", value=b"v"))
        calls = [OpenCall(channel) for _ in range(20)]
        await in_progress(process, 20)
        process.signal(number)
        await until_draining(process)
        for call in calls:
            assert (await call.finish()).value == b"v"
        assert await process.wait() == 0
        assert (process.lines[-1]["aborted"], process.lines[-1]["forced"]) == (0, False)


async def until_draining(process: ProxyProcess) -> None:
    async with asyncio.timeout(10):
        while (await process.get("/ready"))[0] != 503:
            await asyncio.sleep(0.005)


async def test_DRN_2_what_outlasts_the_timeout_is_ended() -> None:
    async with (proxy(environment={"PRISM_DRAIN_TIMEOUT_SECONDS": "0.5"}) as process,
                grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel):
        call = OpenCall(channel)
        await in_progress(process, 1)
        began = time.monotonic()
        assert await process.stop() == 2
        assert 0.4 < time.monotonic() - began < 4
        assert process.lines[-1]["aborted"] == 1
        assert await call.code() is grpc.StatusCode.UNAVAILABLE


async def test_DRN_3_new_calls_during_the_drain_are_unavailable() -> None:
    async with proxy() as process, grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        call = OpenCall(channel)
        await in_progress(process, 1)
        process.signal(signal.SIGTERM)
        await until_draining(process)
        async with asyncio.timeout(10):  # for one round trip after the first GOAWAY new calls are still served
            while (code := await stub(channel).Get(pb.GetRequest(key="k")).code()) is grpc.StatusCode.OK:
                pass
        assert code is grpc.StatusCode.UNAVAILABLE
        assert json.loads((await process.get("/ready"))[1])["state"] == "draining"
        assert (await process.get("/health"))[0] == 200
        await call.finish()
        assert await process.wait() == 0


async def test_in_the_lead_of_a_drain_the_process_is_not_ready_and_takes_calls() -> None:
    """New connections too. A second signal ends the lead with all the rest."""
    async with proxy("--drain-lead", "3600") as process:
        process.signal(signal.SIGTERM)
        await until_draining(process)
        for _ in range(3):
            async with grpc.aio.insecure_channel(process.address, (("grpc.use_local_subchannel_pool", 1),)) as channel:
                checked = await health_pb2_grpc.HealthStub(channel).Check(health_pb2.HealthCheckRequest())
                assert checked.status == health_pb2.HealthCheckResponse.NOT_SERVING
                await stub(channel).Set(pb.SetRequest(key="k", value=b"v"))
        process.signal(signal.SIGTERM)
        assert await process.wait() == 2


async def test_after_its_lead_a_drain_ends_as_any_other() -> None:
    async with proxy("--drain-lead", "0.5", "--drain-timeout", "0.1") as process:
        began = time.monotonic()
        assert await process.stop() == 0
        assert time.monotonic() - began >= 0.5
        assert (process.lines[-1]["aborted"], process.lines[-1]["forced"]) == (0, False)


async def test_a_second_signal_ends_at_once() -> None:
    async with proxy() as process, grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        OpenCall(channel)
        await in_progress(process, 1)
        process.signal(signal.SIGTERM)
        await until_draining(process)
        began = time.monotonic()
        process.signal(signal.SIGINT)
        assert await process.wait() == 2
        assert time.monotonic() - began < 4
        assert process.lines[-1]["forced"] is True


async def test_open_watches_do_not_hold_up_the_end() -> None:
    async with proxy() as process, grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
        watch = health_pb2_grpc.HealthStub(channel).Watch(health_pb2.HealthCheckRequest())
        assert (await watch.read()).status == 1
        began = time.monotonic()
        assert await process.stop() == 0
        assert time.monotonic() - began < 5
        assert (await watch.read()).status == 2
        assert await watch.code() is grpc.StatusCode.UNAVAILABLE


SICK_BACKEND = """
import os
from prism_proxy.__main__ import main
from prism_proxy.backends.memstore.driver import MemstoreDriver
from prism_proxy.contracts.driver import Health, HealthReport

well = MemstoreDriver.health

def health(self):
    return HealthReport(Health.UNHEALTHY, "it is gone") if os.path.exists(os.environ["SICK"]) else well(self)

MemstoreDriver.health = health
main()
"""


async def test_a_local_backend_that_is_down_shows_everywhere_and_takes_readiness_away(tmp_path: Path) -> None:
    sick = tmp_path / "sick"
    arguments = ("--listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0")
    async with ProxyProcess(*arguments, environment={"SICK": str(sick)}, program=("-c", SICK_BACKEND)) as process:
        async with grpc.aio.insecure_channel(process.address) as channel:
            health = health_pb2_grpc.HealthStub(channel)
            watch = health.Watch(health_pb2.HealthCheckRequest(service="namespace/default"))
            assert (await watch.read()).status == 1
            sick.touch()
            assert (await watch.read()).status == 2
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 2, "it follows /ready"
            status, body = await process.get("/ready")
            assert status == 503, "no namespace can be served, for a reason of this machine"
            assert json.loads(body)["namespaces"]["default"]["health"] == "unhealthy"
            assert json.loads(body)["namespaces"]["default"]["message"] == "it is gone"
            _, metrics = await process.get("/metrics")
            assert 'prism_namespace_health{namespace="default",backend="memstore"} 3\n' in metrics
            sick.unlink()
            assert (await watch.read()).status == 1
            assert (await health.Check(health_pb2.HealthCheckRequest())).status == 1
            assert (await process.get("/ready"))[0] == 200
        assert await process.stop() == 0


BROKEN_CLOSE = """
from prism_proxy.__main__ import main
from prism_proxy.backends.memstore.driver import MemstoreDriver

async def close(self):
    raise OSError("unwilling")

MemstoreDriver.close = close
main()
"""


async def test_a_backend_that_does_not_close_makes_exit_code_1() -> None:
    arguments = ("--listen", "127.0.0.1:0", "--metrics-listen", "off")
    async with ProxyProcess(*arguments, program=("-c", BROKEN_CLOSE)) as process:
        assert await process.stop() == 1
        assert "OSError: unwilling" in next(line["exception"] for line in process.lines if line["level"] == "error")


BLOCKED_LOOP = """
import time
from prism_proxy.server.server import Server
from prism_proxy.__main__ import main

async def stop(self, grace=None):
    time.sleep(600)  # a loop that turns no more

Server.stop = stop
main()
"""


async def test_a_loop_that_hangs_cannot_outlast_the_hard_limit() -> None:
    hanging = ProxyProcess("--listen", "127.0.0.1:0", "--metrics-listen", "off", "--drain-timeout", "0.2", "--limit",
                           "drain_hard_s=0.3", program=("-c", BLOCKED_LOOP))
    async with hanging as process:
        began = time.monotonic()
        assert await process.stop() == 2
        assert 0.4 < time.monotonic() - began < 5
        assert process.lines[-1]["event"].startswith("forced end")


# --- starts -------------------------------------------------------------------------------------------------------


async def test_settings_come_from_the_environment_and_unix_sockets_are_served(tmp_path: Path) -> None:
    path = tmp_path / "prism.sock"
    environment = {"PRISM_LISTEN": f"127.0.0.1:0,unix:{path}", "PRISM_LOG_LEVEL": "debug"}
    async with proxy(environment=environment) as process:
        assert process.lines[-1]["level"] == "info"
        for target in (f"127.0.0.1:{process.port}", f"unix:{path}"):
            async with grpc.aio.insecure_channel(target) as channel:
                await stub(channel).Set(pb.SetRequest(key="k", value=b"v"))
        assert await process.stop() == 0
        assert not path.exists()
        assert any(line["level"] == "debug" for line in process.lines)


async def test_tls_is_served_and_cleartext_is_not(tmp_path: Path) -> None:
    certificate, key = write_pair(tmp_path, "localhost")
    async with proxy("--tls-cert", str(certificate), "--tls-key", str(key)) as process:
        credentials = grpc.ssl_channel_credentials(certificate.read_bytes())
        options = [("grpc.ssl_target_name_override", "localhost")]
        async with grpc.aio.secure_channel(f"127.0.0.1:{process.port}", credentials, options) as channel:
            await stub(channel).Set(pb.SetRequest(key="k", value=b"v"))
        async with grpc.aio.insecure_channel(f"127.0.0.1:{process.port}") as channel:
            with pytest.raises(grpc.aio.AioRpcError) as caught:
                await stub(channel).Get(pb.GetRequest(key="k"))
            assert caught.value.code() is grpc.StatusCode.UNAVAILABLE
        assert await process.stop() == 0


@pytest.mark.parametrize("flag", ["--listen", "--metrics-listen"])
async def test_a_port_in_use_is_named(flag: str) -> None:
    with socket.create_server(("127.0.0.1", 0)) as taken:
        address = f"127.0.0.1:{taken.getsockname()[1]}"
        other = {"--listen": "--metrics-listen", "--metrics-listen": "--listen"}[flag]
        said = await refused(flag, address, other, "127.0.0.1:0")
    assert f"prism-proxy: {flag} {address}: " in said
    assert "in use" in said
    assert "Traceback" not in said


async def test_two_proxies_share_a_port_only_when_both_are_asked_to() -> None:
    async with proxy("--reuse-port") as first:
        address = f"127.0.0.1:{first.port}"
        assert "in use" in await refused("--listen", address, "--metrics-listen", "off")
        async with proxy("--reuse-port", "--listen", address) as second:
            assert await first.stop() == 0
            async with grpc.aio.insecure_channel(address) as channel:
                await stub(channel).Set(pb.SetRequest(key="k", value=b"v"))
            assert await second.stop() == 0


@pytest.mark.parametrize(("arguments", "expected"), [
    (["--listen", "nonsense"], "--listen cannot be used: address 'nonsense'"),
    (["--listen", "0.0.0.0:0"], "--insecure"),
    (["--limit", "header_fields=0"], "--limit header_fields is 0"),
    (["--drain-timeout", "soon"], "--drain-timeout is 'soon'"),
    (["--listen", "192.0.2.1:0", "--insecure"], "--listen 192.0.2.1:0: "),
    (["--listen", "no-such-host.invalid:0", "--insecure"], "--listen no-such-host.invalid:0: "),
    (["--tls-cert", "missing.pem", "--tls-key", "missing.key"], "missing.pem"),
    (["--no-such-flag"], "--no-such-flag"),
])
async def test_bad_settings_exit_1_with_one_line(arguments: list[str], expected: str) -> None:
    own = [] if "--listen" in arguments else ["--listen", "127.0.0.1:0"]
    said = await refused(*own, "--metrics-listen", "off", *arguments)
    assert expected in said
    assert said.startswith("prism-proxy: ")
    assert said.count("\n") == 1


async def test_insecure_is_served_on_request() -> None:
    async with proxy("--listen", "0.0.0.0:0", "--insecure") as process:
        assert await process.stop() == 0


@pytest.mark.parametrize("flag", ["--help", "--version"])
async def test_help_and_version_exit_0(flag: str) -> None:
    process = ProxyProcess(flag)
    await process.spawn()
    out, errors = await process.process.communicate()
    assert (process.process.returncode, errors) == (0, b"")
    assert out.startswith((b"usage: prism-proxy", b"prism-proxy 0."))


async def test_an_idle_proxy_is_small() -> None:
    """45 MB are the goal; the test leaves room for builds of the dependencies that differ."""
    async with proxy() as process:
        assert process.resident_bytes() < 60_000_000
        assert await process.stop() == 0


@pytest.mark.parametrize("workers", [1, 2])
async def test_the_operators_port_may_be_a_unix_socket(tmp_path: Path, workers: int) -> None:
    path = tmp_path / "metrics.sock"
    async with proxy("--metrics-listen", f"unix:{path}", "--workers", str(workers)) as process:
        with socket.socket(socket.AF_UNIX) as connected:
            connected.connect(str(path))
            assert (await page(0, "/ready", connected.dup()))[0] == 200
        assert await process.stop() == 0
    assert not path.exists()
