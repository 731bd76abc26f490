"""Tokens that write, tokens that read, and TLS whose files change, to stock clients too."""

from __future__ import annotations

import asyncio
import json
import shutil
import ssl
from pathlib import Path
from typing import Any

import aiohttp
import pytest
from confluent_kafka.schema_registry import Schema, SchemaRegistryClient
from confluent_kafka.schema_registry.error import SchemaRegistryError

from tests.services.certificates import Authority
from tests.services.schema_registry import RegistryProcess, Rest, record

ORDER = Schema(json.dumps(record("Order", "id")), "AVRO")


@pytest.fixture
def tokens(tmp_path: Path) -> tuple[str, ...]:
    (tmp_path / "write").write_text("writer\n")
    (tmp_path / "read").write_text("reader\n")
    return "--token-file", str(tmp_path / "write"), "--read-token-file", str(tmp_path / "read")


async def test_stock_clients_show_tokens_by_basic_authentication(tokens: tuple[str, ...]) -> None:
    process = await RegistryProcess("--memory", *tokens).start()

    def client(user_info: str) -> Any:
        return SchemaRegistryClient({"url": process.url, "basic.auth.user.info": user_info, "max.retries": 0})

    try:
        assert client("anybody:writer").register_schema("a", ORDER) == 1
        assert client("anybody:reader").get_latest_version("a").version == 1
        assert client("anybody:reader").lookup_schema("a", ORDER).version == 1
        with pytest.raises(SchemaRegistryError) as refused:
            client("anybody:reader").register_schema("a", ORDER)
        assert (refused.value.http_status_code, refused.value.error_code) == (403, 40301)
        for user_info in ("writer:x", "anybody:"):
            with pytest.raises(SchemaRegistryError) as unknown:
                client(user_info).get_latest_version("a")
            assert unknown.value.http_status_code == 401
    finally:
        assert await process.stop() == 0


async def test_kept_replies_need_a_token_as_well(tokens: tuple[str, ...]) -> None:
    process = await RegistryProcess("--memory", *tokens).start()
    try:
        async with Rest(process.url, "writer") as writer, Rest(process.url, "reader") as reader, \
                Rest(process.url) as nobody, Rest(process.url, "thief") as thief:
            await writer.register("a", '"string"')
            for _ in range(3):
                assert (await reader.get("/schemas/ids/1"))[0] == 200
                assert (await nobody.get("/schemas/ids/1"))[0] == 401
                assert (await thief.get("/schemas/ids/1"))[1]["error_code"] == 401
            for refused in (await reader.delete("/subjects/a"), await reader.put("/config", {"compatibility": "NONE"}),
                            await reader.put("/mode", {"mode": "READONLY"})):
                assert refused[0] == 403
            assert (await reader.post("/compatibility/subjects/a/versions/1", {"schema": '"int"'}))[0] == 200
            assert (await nobody.get("/ready"))[0] == 200
    finally:
        assert await process.stop() == 0


async def test_tls_and_its_reload(tmp_path: Path, tokens: tuple[str, ...]) -> None:
    authority, later = Authority(tmp_path, "one"), Authority(tmp_path, "two")
    first, second = authority.issue("first", "localhost"), later.issue("second", "localhost")
    cert, key = tmp_path / "cert.pem", tmp_path / "key.pem"
    shutil.copy(first[0], cert)
    shutil.copy(first[1], key)
    process = await RegistryProcess(
        "--memory", "--listen", "0.0.0.0:0", "--tls-cert", str(cert), "--tls-key", str(key), *tokens).start()
    url = process.url.replace("http:", "https:")
    try:
        stock: Any = SchemaRegistryClient({"url": url, "ssl.ca.location": str(authority.ca_file),
                                           "basic.auth.user.info": "x:writer"})
        assert stock.register_schema("a", ORDER) == 1
        with pytest.raises(aiohttp.ClientConnectorCertificateError):
            await status(url, later.ca_file)
        shutil.copy(second[1], key)
        await asyncio.sleep(1.3)
        assert await status(url, authority.ca_file) == 401  # half a pair: the old one stays
        shutil.copy(second[0], cert)
        async with asyncio.timeout(10):
            while True:
                try:
                    assert await status(url, later.ca_file) == 401
                    break
                except aiohttp.ClientConnectorCertificateError:
                    await asyncio.sleep(0.2)
    finally:
        assert await process.stop() == 0


async def status(url: str, ca: Path) -> int:
    context = ssl.create_default_context(cafile=str(ca))
    async with aiohttp.ClientSession() as session, session.get(f"{url}/subjects", ssl=context) as reply:
        return reply.status
