"""The part of the Kubernetes API that reads secrets."""

from __future__ import annotations

from base64 import b64encode

from aiohttp import web


class Kubernetes:
    """`secrets` by namespace and name; `status` answers everything with that status."""

    def __init__(self) -> None:
        self.secrets: dict[tuple[str, str], dict[str, bytes]] = {}
        self.token = "token-of-the-pod"
        self.status = 0

    async def start(self) -> Kubernetes:
        app = web.Application()
        app.router.add_get("/api/v1/namespaces/{namespace}/secrets/{name}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        await web.TCPSite(self._runner, "127.0.0.1", 0).start()
        self.address = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def stop(self) -> None:
        await self._runner.cleanup()

    async def _answer(self, request: web.Request) -> web.Response:
        if self.status or request.headers.get("Authorization") != f"Bearer {self.token}":
            return web.json_response({"kind": "Status"}, status=self.status or 401)
        found = self.secrets.get((request.match_info["namespace"], request.match_info["name"]))
        if found is None:
            return web.json_response({"kind": "Status"}, status=404)
        return web.json_response({"data": {name: b64encode(value).decode() for name, value in found.items()}})
