"""The operators' port over real sockets: its three pages, and what it does with hostile or broken clients."""

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
from prometheus_client.parser import text_string_to_metric_families

from prism_proxy.telemetry.metrics import Metrics
from prism_runtime.address import Address
from prism_runtime.http_port import HEAD_BYTES, TelemetryServer, Timeouts

GET_HEALTH = b"GET /health HTTP/1.1\r\nHost: x\r\n\r\n"
Start = Callable[..., "asyncio.Future[int]"]


@pytest.fixture
async def start() -> AsyncIterator[Start]:
    """Starts a server with the given options; returns its port."""
    servers: list[TelemetryServer] = []

    async def run(metrics=None, ready=True, **options) -> int:
        details = {"namespaces": {"default": "healthy"}}
        server = TelemetryServer(metrics or Metrics().render, lambda: (ready, details), **options)
        servers.append(server)
        return await server.start("127.0.0.1", 0)

    yield run
    for server in servers:
        await server.close()


async def exchange(port: int, request: bytes) -> tuple[int, dict[str, str], bytes]:
    """Send bytes, and read until the server closes or the reply is complete."""
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    try:
        writer.write(request)
        return await read_reply(reader, head_only=request.startswith(b"HEAD"))
    finally:
        writer.close()


async def read_reply(reader: asyncio.StreamReader, *, head_only: bool = False) -> tuple[int, dict[str, str], bytes]:
    head = (await reader.readuntil(b"\r\n\r\n")).decode()
    line, *fields = head.strip().split("\r\n")
    headers = dict(field.split(": ", 1) for field in fields)
    body = b"" if head_only else await reader.readexactly(int(headers["content-length"]))
    return int(line.split()[1]), headers, body


async def test_health_ready_and_metrics(start: Start) -> None:
    port = await start()
    assert (await exchange(port, GET_HEALTH))[2] == b'{"status": "healthy"}\n'
    status, headers, body = await exchange(port, b"GET /ready?verbose HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, headers["content-type"]) == (200, "application/json")
    assert json.loads(body) == {"status": "ready", "namespaces": {"default": "healthy"}}
    status, headers, body = await exchange(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, headers["content-type"]) == (200, "text/plain; version=0.0.4; charset=utf-8")
    names = {family.name for family in text_string_to_metric_families(body.decode())}
    assert {"prism_build_info", "process_cpu_seconds", "prism_loop_stall_seconds"} <= names


async def test_not_ready_is_503_with_the_same_body_form(start: Start) -> None:
    status, _, body = await exchange(await start(ready=False), b"GET /ready HTTP/1.1\r\nHost: x\r\n\r\n")
    assert status == 503
    assert json.loads(body)["status"] == "not ready"


async def test_head_has_the_length_and_no_body(start: Start) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", await start())
    writer.write(b"HEAD /health HTTP/1.1\r\nHost: x\r\nConnection: close\r\n\r\n")
    status, headers, _ = await read_reply(reader, head_only=True)
    assert (status, headers["content-length"]) == (200, "22")
    assert await reader.read() == b""
    writer.close()


async def test_other_methods_and_paths(start: Start) -> None:
    port = await start()
    status, headers, _ = await exchange(port, b"DELETE /health HTTP/1.1\r\nHost: x\r\n\r\n")
    assert (status, headers["allow"]) == (405, "GET, HEAD")
    for path in (b"/", b"/healthz", b"/../health", b"//health", b"/health/"):
        assert (await exchange(port, b"GET " + path + b" HTTP/1.1\r\nHost: x\r\n\r\n"))[0] == 404


async def test_a_connection_is_reused_also_for_pipelined_requests(start: Start) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", await start())
    writer.write(GET_HEALTH * 3 + b"GET /health HTTP/1.1\r\nHost: x\r\nconnection: Close\r\n\r\n")
    replies = [await read_reply(reader) for _ in range(4)]
    assert [(status, headers["connection"]) for status, headers, _ in replies] == [
        (200, "keep-alive")] * 3 + [(200, "close")]
    assert await reader.read() == b""
    writer.close()


async def test_http_1_0_closes_unless_asked_otherwise(start: Start) -> None:
    port = await start()
    assert (await exchange(port, b"GET /health HTTP/1.0\r\n\r\n"))[1]["connection"] == "close"
    kept = await exchange(port, b"GET /health HTTP/1.0\r\nConnection: keep-alive\r\n\r\n")
    assert kept[1]["connection"] == "keep-alive"


@pytest.mark.parametrize("request_bytes", [
    b"\r\r\n\r\n", b"GARBAGE\r\n\r\n", b"GET /health\r\n\r\n", b"GET /health HTTP/2.0\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.9\r\nHost: x\r\n\r\n", b"GET  /health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET health HTTP/1.1\r\nHost: x\r\n\r\n", b"GET /he\x00alth HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /h\xc3\xa9 HTTP/1.1\r\nHost: x\r\n\r\n", b"G\x01T /health HTTP/1.1\r\nHost: x\r\n\r\n",
    b"GET /health HTTP/1.1\r\n\r\n",  # no Host
    b"GET /health HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost : x\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n",
    b"GET /health HTTP/1.1\r\nHost: x\nSmuggled: y\r\n\r\n", b"GET /health HTTP/1.1\r\nHost: x\r\nA: \x00\r\n\r\n",
    b"POST /health HTTP/1.1\r\nHost: x\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /health HTTP/1.1\r\nHost: x\r\nContent-Length: 0\r\nContent-Length: 5\r\n\r\nhello",
    b"GET /health HTTP/1.1\r\nHost: x\r\nTransfer-Encoding: chunked\r\n\r\n0\r\n\r\n",
])
async def test_bad_requests_are_400_and_end_the_connection(start: Start, request_bytes: bytes) -> None:
    status, headers, _ = await exchange(await start(), request_bytes)
    assert (status, headers["connection"]) == (400, "close")


async def test_long_heads_and_lines_are_refused(start: Start) -> None:
    port = await start()
    long_line = b"GET /" + b"a" * 2000 + b" HTTP/1.1\r\nHost: x\r\n\r\n"
    assert (await exchange(port, long_line))[0] == 414
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(b"GET /health HTTP/1.1\r\nHost: x\r\nA: " + b"a" * (2 * HEAD_BYTES))
    assert (await read_reply(reader))[0] == 431
    writer.close()


async def test_a_slow_head_is_408_even_when_it_trickles(start: Start) -> None:
    port = await start(timeouts=Timeouts(head=0.2))
    reader, writer = await asyncio.open_connection("127.0.0.1", port)

    async def trickle() -> None:
        for byte in GET_HEALTH * 100:
            writer.write(bytes([byte]).replace(b"\r", b"a"))
            await asyncio.sleep(0.01)

    task = asyncio.create_task(trickle())
    assert (await read_reply(reader))[0] == 408
    task.cancel()
    writer.close()


async def test_an_idle_connection_is_closed(start: Start) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", await start(timeouts=Timeouts(idle=0.1)))
    assert await reader.read() == b""
    writer.close()


async def test_a_peer_that_does_not_read_is_cut(start: Start) -> None:
    """Its page is larger than every socket buffer, so the write cannot end."""
    port = await start(metrics=lambda: ["x" * 40_000_000], timeouts=Timeouts(write=0.2), max_connections=1)
    _, writer = await asyncio.open_connection("127.0.0.1", port, limit=1024)
    writer.write(b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n")
    async with asyncio.timeout(10):
        while True:  # its place is free once it was cut
            try:
                assert (await exchange(port, GET_HEALTH))[0] == 200
                break
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.02)
    writer.close()


async def test_connections_are_capped_and_places_come_back(start: Start) -> None:
    port = await start(max_connections=2)
    kept = []
    for _ in range(2):
        reader, writer = await asyncio.open_connection("127.0.0.1", port)
        writer.write(GET_HEALTH)
        await read_reply(reader)
        kept.append(writer)
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await exchange(port, GET_HEALTH)
    kept[0].close()
    async with asyncio.timeout(10):
        while True:
            try:
                assert (await exchange(port, GET_HEALTH))[0] == 200
                break
            except (ConnectionError, asyncio.IncompleteReadError):
                await asyncio.sleep(0.01)
    kept[1].close()


async def test_a_large_scrape_does_not_hold_the_loop(start: Start) -> None:
    metrics = Metrics()
    for i in range(2000):
        metrics.stats_for(f"namespace-{i}", "/prism.Service/Method", "memstore").record_status(0, 1000)
    port = await start(metrics=metrics.render)
    loop = asyncio.get_running_loop()
    gaps: list[float] = []
    scrape = asyncio.create_task(exchange(port, b"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n"))
    while not scrape.done():
        before = loop.time()
        await asyncio.sleep(0)
        gaps.append(loop.time() - before)
    status, _, body = await scrape
    assert status == 200
    assert body.count(b"prism_request_duration_seconds_count") == 2000
    assert len(gaps) > 100, "the page was made in one go"


async def test_close_cuts_what_is_open(start: Start) -> None:
    server = TelemetryServer(Metrics().render, lambda: (True, {}))
    port = await server.start("127.0.0.1", 0)
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    writer.write(GET_HEALTH)
    await read_reply(reader)
    await server.close()
    with pytest.raises((ConnectionError, asyncio.IncompleteReadError)):
        await reader.readexactly(1)
    with pytest.raises(ConnectionError):
        await asyncio.open_connection("127.0.0.1", port)
    writer.close()


@pytest.mark.parametrize("host", ["localhost", "0.0.0.0"])
async def test_it_answers_over_both_families(host: str) -> None:
    server = TelemetryServer(Metrics().render, lambda: (True, {}))
    port = await server.start(host, 0)
    try:
        for address in Address("localhost", port).families:  # both, where the machine has both
            reader, writer = await asyncio.open_connection(address.host, port)
            writer.write(GET_HEALTH)
            assert (await read_reply(reader))[0] == 200
            writer.close()
    finally:
        await server.close()
