"""A real `prism-schema-registry` process on ports of its own choice."""

from __future__ import annotations

import asyncio
import json
import os
import re
import signal
import sys
import time
from collections.abc import Mapping
from pathlib import Path
from typing import Any
from urllib.parse import quote

import aiohttp


class RegistryProcess:
    """`url`, ports and `started_s` are known once `start` returned; `said` after `stop`."""

    def __init__(self, *arguments: str, port: int = 0, environment: Mapping[str, str] | None = None) -> None:
        self._command = (sys.executable, "-m", "prism_schema_registry", "--port", str(port), "--log-format", "json",
                         *arguments)
        self._environment = {**os.environ, **(environment or {})}
        self.said = ""

    async def start(self) -> RegistryProcess:
        """Wait until it serves. AssertionError with what it said when it ends instead."""
        began = time.monotonic()
        self.process = await asyncio.create_subprocess_exec(
            *self._command, env=self._environment, stderr=asyncio.subprocess.PIPE)
        assert self.process.stderr is not None
        async with asyncio.timeout(30):
            while line := await self.process.stderr.readline():
                self.said += line.decode()
                if found := re.search(r"serving on port (\d+)", line.decode()):
                    break
            else:
                raise AssertionError(f"the registry never served, but said:\n{self.said}")
        self.started_s = time.monotonic() - began
        self.port = int(found[1])
        shown = json.loads(line)
        self.grpc_port, self.metrics_port = shown["grpc_port"], shown["metrics_port"]
        self.url = f"http://127.0.0.1:{self.port}"
        self._rest = asyncio.create_task(self.process.stderr.read())
        return self

    def resident_bytes(self) -> int:
        return int(Path(f"/proc/{self.process.pid}/statm").read_text().split()[1]) * 4096

    def cpu_seconds(self) -> float:
        """User and system time so far, to a hundredth."""
        fields = Path(f"/proc/{self.process.pid}/stat").read_text().rpartition(")")[2].split()
        return (int(fields[11]) + int(fields[12])) / os.sysconf("SC_CLK_TCK")

    async def kill(self) -> None:
        self.process.kill()
        await self.process.wait()

    async def stop(self, number: signal.Signals = signal.SIGTERM) -> int:
        self.process.send_signal(number)
        code = await self.process.wait()
        self.said += (await self._rest).decode()
        return code


def registry_process(*arguments: str, **options: Any) -> RegistryProcess:
    """A registry over what the arguments name, with all its ports."""
    return RegistryProcess("--grpc-listen", "127.0.0.1:0", "--metrics-listen", "127.0.0.1:0", *arguments, **options)


class Rest:
    """Calls a registry over HTTP; every call gives (status, decoded body)."""

    def __init__(self, url: str, token: str = "") -> None:
        self._url = url
        headers = {"authorization": f"Bearer {token}"} if token else {}
        self.session = aiohttp.ClientSession(headers=headers)

    async def __aenter__(self) -> Rest:
        return self

    async def __aexit__(self, *error: object) -> None:
        await self.session.close()

    async def get(self, path: str) -> tuple[int, Any]:
        return await self.call("GET", path)

    async def post(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.call("POST", path, body)

    async def put(self, path: str, body: Any) -> tuple[int, Any]:
        return await self.call("PUT", path, body)

    async def delete(self, path: str) -> tuple[int, Any]:
        return await self.call("DELETE", path)

    async def register(self, subject: str, schema: Any, kind: str = "AVRO", **more: Any) -> tuple[int, Any]:
        text = schema if isinstance(schema, str) else json.dumps(schema)
        return await self.post(f"/subjects/{quote(subject, safe='')}/versions",
                               {"schema": text, "schemaType": kind, **more})

    async def call(self, method: str, path: str, body: Any = None) -> tuple[int, Any]:
        data = None if body is None else body if isinstance(body, bytes) else json.dumps(body).encode()
        headers = {"content-type": "application/vnd.schemaregistry.v1+json"} if data is not None else {}
        async with self.session.request(method, self._url + path, data=data, headers=headers) as reply:
            text = await reply.text()
            assert reply.content_type in ("application/vnd.schemaregistry.v1+json", "application/json")
            try:
                return reply.status, json.loads(text)
            except ValueError:
                return reply.status, text


def record(name: str, *fields: str, **defaulted: Any) -> dict[str, Any]:
    """An Avro record of strings; keyword fields have a default."""
    return {"type": "record", "name": name, "fields": [
        *({"name": field, "type": "string"} for field in fields),
        *({"name": field, "type": "string", "default": value} for field, value in defaulted.items())]}
