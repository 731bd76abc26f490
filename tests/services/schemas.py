"""A small server that schemas are fetched from: files as a git host serves them, and a registry. It keeps what it was
asked, and answers badly on demand."""

from __future__ import annotations

import contextlib
import json
from collections.abc import AsyncIterator
from typing import Any

from aiohttp import web


class SchemaServer:
    """`files` by path; `subjects` with the bodies of their versions, from 1. `status` other than 200 is what everything
    is answered with."""

    def __init__(self) -> None:
        self.files: dict[str, bytes] = {}
        self.redirects: dict[str, str] = {}
        self.subjects: dict[str, list[dict[str, Any]]] = {}
        self.status = 200
        self.requests: list[str] = []
        self.url = ""

    def register(self, subject: str, kind: str, schema: str, **more: Any) -> None:
        """Another version of a subject."""
        versions = self.subjects.setdefault(subject, [])
        versions.append({"subject": subject, "id": 100 + len(versions), "version": len(versions) + 1, "schema": schema,
                         "schemaType": kind, **more})

    async def answer(self, request: web.Request) -> web.StreamResponse:
        self.requests.append(request.path)
        if self.status != 200:
            return web.Response(status=self.status)
        if request.path in self.redirects:
            return web.Response(status=302, headers={"Location": self.redirects[request.path]})
        if request.path in self.files:
            return web.Response(body=self.files[request.path])
        parts = request.path.split("/")
        versions = self.subjects.get(parts[2], []) if parts[1:2] == ["subjects"] and len(parts) == 5 else []
        number = len(versions) if parts[-1] == "latest" else int(parts[-1]) if parts[-1].isdigit() else 0
        if not 1 <= number <= len(versions):
            return web.Response(status=404, text=json.dumps({"error_code": 40401, "message": "not found"}))
        return web.json_response(versions[number - 1])


@contextlib.asynccontextmanager
async def schema_server() -> AsyncIterator[SchemaServer]:
    """A server on a port of its own."""
    made = SchemaServer()
    app = web.Application()
    app.router.add_route("GET", "/{path:.*}", made.answer)
    runner = web.AppRunner(app)
    await runner.setup()
    site = web.TCPSite(runner, "127.0.0.1", 0)
    await site.start()
    made.url = f"http://127.0.0.1:{runner.addresses[0][1]}"
    try:
        yield made
    finally:
        await runner.cleanup()
