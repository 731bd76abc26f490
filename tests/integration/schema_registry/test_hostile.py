"""What strangers send: refused within 100 ms and 50 MB, while the registry goes on serving."""

from __future__ import annotations

import asyncio
import json
import time
from collections.abc import AsyncIterator
from typing import Any

import aiohttp
import pytest

from tests.services.schema_registry import RegistryProcess, Rest, record

QUICK_S = 0.1  # of CPU, as the machine may be busy with other tests; the best of three
TRIES = 3
ROOM = 50 * 1024 * 1024


@pytest.fixture
async def server() -> AsyncIterator[RegistryProcess]:
    process = await RegistryProcess("--memory").start()
    async with Rest(process.url) as rest:
        await rest.register("warm-a", '"string"')  # the formats are loaded, by a first schema of each
        await rest.register("warm-j", '{"type": "object"}', "JSON")
        await rest.register("warm-p", 'syntax = "proto3"; message A { int32 a = 1; }', "PROTOBUF")
    yield process
    assert await process.stop() == 0
    assert '"defect"' not in process.said, process.said


def nested_avro(depth: int) -> str:
    return '{"type":"array","items":' * depth + '"int"' + "}" * depth


def nested_json(depth: int) -> str:
    return '{"properties":{"a":' * depth + "{}" + "}}" * depth


def nested_proto(depth: int) -> str:
    return 'syntax = "proto3"; ' + "".join(f"message M{n} {{ " for n in range(depth)) + "}" * depth


def many_protos(count: int) -> str:
    return 'syntax = "proto3"; ' + " ".join(f"message M{n} {{ int32 a = 1; }}" for n in range(count))


LARGE = " " * 10_000_000
HOSTILE = {
    "10 MB of Avro": ("AVRO", json.dumps({"type": "string", "doc": "x" * 10_000_000})),
    "10 MB of space": ("JSON", LARGE + "{}"),
    "Avro nested 10,000 deep": ("AVRO", nested_avro(10_000)),
    "JSON Schema nested 10,000 deep": ("JSON", nested_json(10_000)),
    "Protobuf nested 10,000 deep": ("PROTOBUF", nested_proto(10_000)),
    "10,000 Protobuf messages": ("PROTOBUF", many_protos(10_000)),
    "10,000 Avro records": ("AVRO", json.dumps([record(f"R{n}", "a") for n in range(10_000)])),
    "an exponential pattern": ("JSON", json.dumps({"type": "string", "pattern": r"^(a+)+\1$"})),
    "a circle of $ref": ("JSON", json.dumps({"$ref": "#/$defs/a", "$defs": {
        "a": {"$ref": "#/$defs/b"}, "b": {"$ref": "#/$defs/a"}}})),
    "a $ref to elsewhere": ("JSON", json.dumps({"$ref": "http://127.0.0.1:1/secret.json"})),
    "an import of a file": ("PROTOBUF", 'syntax = "proto3"; import "/etc/passwd"; message A {}'),
    "an unclosed comment": ("PROTOBUF", "/*" * 100_000),
    "half a string": ("AVRO", '"' + "\\u0000" * 50_000),
}


@pytest.mark.parametrize("name", HOSTILE)
async def test_a_hostile_schema_is_refused_at_once(server: RegistryProcess, name: str) -> None:
    kind, text = HOSTILE[name]
    body = json.dumps({"schema": text, "schemaType": kind}).encode()
    async with Rest(server.url) as rest:
        held, took = server.resident_bytes(), []
        for _ in range(TRIES):
            before = server.cpu_seconds()
            status = await refused(rest, body)
            took.append(server.cpu_seconds() - before)
            assert status in (413, 422, None)
        assert min(took) <= QUICK_S, took
        assert server.resident_bytes() - held < ROOM
        assert (await rest.get("/schemas/ids/1"))[0] == 200


async def refused(rest: Rest, body: bytes) -> int | None:
    """The status; None when the connection was cut while the body was still on its way."""
    try:
        status, reply = await rest.call("POST", "/subjects/hostile/versions", body)
    except aiohttp.ClientError:
        return None
    assert reply["error_code"] in (42201, 42209), reply
    return status


async def test_references_that_multiply_cost_no_more_than_their_number(server: RegistryProcess) -> None:
    """Each level names the one below it ten times: 10^12 paths, 13 schemas."""
    async with Rest(server.url) as rest:
        await rest.register("level0", record("Level0", "a"))
        for level in range(1, 13):
            below = f"Level{level - 1}"
            schema = {"type": "record", "name": f"Level{level}", "fields": [
                {"name": f"f{n}", "type": below} for n in range(10)]}
            began = time.perf_counter()
            status, made = await rest.register(f"level{level}", schema, references=[
                {"name": below, "subject": f"level{level - 1}", "version": 1}])
            if status != 200:  # the number of types that it stands for has a bound
                assert made["error_code"] == 42201
                break
            assert time.perf_counter() - began < 1
        assert (await rest.get("/subjects"))[0] == 200


async def test_more_references_than_are_read_are_refused(server: RegistryProcess) -> None:
    async with Rest(server.url) as rest:
        schemas = [record(f"R{n}", "a") for n in range(210)]
        for number, schema in enumerate(schemas):
            assert (await rest.register(f"r{number}", schema))[0] == 200
        status, reply = await rest.register("all", record("All", "a"), references=[
            {"name": f"R{n}", "subject": f"r{n}", "version": 1} for n in range(210)])
        assert (status, reply["error_code"]) == (422, 42201)


async def test_a_circle_made_by_import_ends(server: RegistryProcess) -> None:
    """An import may give a version that others refer to already another content."""
    async with Rest(server.url) as rest:
        await rest.put("/mode?force=true", {"mode": "IMPORT"})
        a, b = record("A", "x"), record("B", "x")
        assert (await rest.register("a", a, id=101, version=1))[0] == 200
        assert (await rest.register("b", b, id=102, version=1, references=[
            {"name": "A", "subject": "a", "version": 1}]))[0] == 200
        await rest.delete("/subjects/b")
        reply = await rest.register("a", record("A", "y"), id=103, version=2, references=[
            {"name": "A", "subject": "a", "version": 1}, {"name": "B", "subject": "b", "version": 1}])
        assert reply[0] in (200, 422)
        assert (await rest.get("/schemas/ids/101"))[0] == 200


async def test_bytes_that_are_no_http(server: RegistryProcess) -> None:
    two_lengths = (b"POST /subjects/a/versions HTTP/1.1\r\nhost: x\r\ncontent-length: 1\r\n"
                   b"transfer-encoding: chunked\r\n\r\n0\r\n\r\n")
    for sent in (b"\x16\x03\x01\x02\x00" * 10, b"GET\r\n\r\n", b"GET / HTTP/9.9\r\n\r\n", two_lengths,
                 b"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", b"CONNECT a:1 HTTP/1.1\r\nhost: a\r\n\r\n",
                 b"GET /" + b"a" * 100_000 + b" HTTP/1.1\r\n\r\n",
                 b"GET / HTTP/1.1\r\n" + b"x: y\r\n" * 50_000):
        reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
        writer.write(sent)
        async with asyncio.timeout(5):
            try:
                reply = await reader.read()
            except ConnectionError:
                reply = b""
        assert not reply or reply.startswith((b"HTTP/1.1 400", b"HTTP/1.1 405", b"HTTP/1.1 431")), reply
        writer.close()
    async with Rest(server.url) as rest:
        assert (await rest.get("/subjects"))[0] == 200


async def test_chunked_bodies_have_the_same_bound(server: RegistryProcess) -> None:
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /subjects/a/versions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                 b"transfer-encoding: chunked\r\n\r\n")
    try:
        for _ in range(30):
            writer.write(b"10000\r\n" + b"x" * 0x10000 + b"\r\n")
            await writer.drain()
        reply = await reader.read()
    except ConnectionError:
        reply = b""
    assert not reply or reply.startswith(b"HTTP/1.1 413"), reply[:200]


async def test_slow_and_silent_connections_end() -> None:
    process = await RegistryProcess(
        "--memory", "--idle-timeout", "1", "--request-timeout", "1", "--max-connections", "8").start()
    try:
        silent = await asyncio.open_connection("127.0.0.1", process.port)
        slow = await asyncio.open_connection("127.0.0.1", process.port)
        slow[1].write(b"POST /subjects/a/versions HTTP/1.1\r\nhost: x\r\ncontent-length: 100\r\n\r\n")

        async def ended(reader: asyncio.StreamReader) -> bool:
            try:
                return await reader.read() == b""
            except ConnectionError:
                return True

        async with asyncio.timeout(5):
            assert await ended(silent[0])
            assert await ended(slow[0])
        crowd = [await asyncio.open_connection("127.0.0.1", process.port) for _ in range(8)]
        last = await asyncio.open_connection("127.0.0.1", process.port)
        async with asyncio.timeout(5):
            assert await ended(last[0])
        for _, writer in crowd:
            writer.close()
    finally:
        assert await process.stop() == 0


async def test_requests_sent_together_are_answered_in_order(server: RegistryProcess) -> None:
    """Those of the cache do not overtake others; and a reader that takes nothing holds nobody up."""
    body = json.dumps({"schema": '"int"'}).encode()
    register = (b"POST /subjects/p/versions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                b"content-length: %d\r\n\r\n" % len(body)) + body
    get = b"GET /schemas/ids/1 HTTP/1.1\r\nhost: x\r\n\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(get + (register + get + b"GET /subjects/p/versions HTTP/1.1\r\nhost: x\r\n\r\n") * 20)
    got: list[Any] = []
    async with asyncio.timeout(10):
        for _ in range(61):
            head = await reader.readuntil(b"\r\n\r\n")
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            got.append(json.loads(await reader.readexactly(length)))
    assert got[0] == {"schema": '"string"'}
    assert [reply["id"] for reply in got[1::3]] == [4] * 20
    assert got[2::3] == [{"schema": '"string"'}] * 20
    assert got[3::3] == [[1]] * 20
    writer.close()


async def test_an_offer_of_http_2_is_not_taken(server: RegistryProcess) -> None:
    """Java's client makes one with every first request, also with a body."""
    body = json.dumps({"schema": '"long"'}).encode()
    offer = b"connection: Upgrade, HTTP2-Settings\r\nupgrade: h2c\r\nhttp2-settings: AAEAAEAAAAIAAAAB\r\n"
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    for sent in (b"GET /schemas/ids/1 HTTP/1.1\r\nhost: x\r\n" + offer + b"\r\n",
                 b"POST /subjects/h/versions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n" + offer
                 + b"content-length: %d\r\n\r\n" % len(body) + body,
                 b"GET /subjects/h/versions HTTP/1.1\r\nhost: x\r\n\r\n"):
        writer.write(sent)
        async with asyncio.timeout(5):
            head = await reader.readuntil(b"\r\n\r\n")
            assert head.startswith(b"HTTP/1.1 200"), head
            length = int(head.lower().split(b"content-length: ")[1].split(b"\r\n")[0])
            reply = await reader.readexactly(length)
    assert reply == b"[1]"
    writer.close()


async def test_expect_continue_and_head(server: RegistryProcess) -> None:
    body = json.dumps({"schema": '"double"'}).encode()
    reader, writer = await asyncio.open_connection("127.0.0.1", server.port)
    writer.write(b"POST /subjects/e/versions HTTP/1.1\r\nhost: x\r\ncontent-type: application/json\r\n"
                 b"expect: 100-continue\r\ncontent-length: %d\r\n\r\n" % len(body))
    async with asyncio.timeout(5):
        assert await reader.readuntil(b"\r\n\r\n") == b"HTTP/1.1 100 Continue\r\n\r\n"
        writer.write(body + b"HEAD /schemas/ids/1 HTTP/1.1\r\nhost: x\r\nconnection: close\r\n\r\n")
        assert (await reader.readuntil(b"\r\n\r\n")).startswith(b"HTTP/1.1 200")
        rest = await reader.read()
    made, _, head = rest.partition(b"HTTP/1.1 200")
    assert json.loads(made)["version"] == 1
    assert b"content-length: 23" in head
    assert head.endswith(b"\r\n\r\n")
