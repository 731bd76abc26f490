"""A small server of Vault's documented HTTP interface: logins, leases, the KV engine, the transit engine.

Vault itself cannot be had from a package registry. With `PRISM_TEST_VAULT` (URL) and `PRISM_TEST_VAULT_TOKEN` set, the
suite of the KV engine runs against a real one too.
"""

from __future__ import annotations

import os
from base64 import b64decode, b64encode
from collections.abc import Callable
from typing import Any

from aiohttp import web
from cryptography.exceptions import InvalidTag
from cryptography.hazmat.primitives.ciphers.aead import AESGCM


class Vault:
    """`requests` as METHOD PATH; `status` answers everything with that status; `lease` seconds of a login."""

    def __init__(self, root: str = "root-token") -> None:
        self.tokens = {root}
        self.secrets: dict[str, dict[str, Any]] = {}
        self.wrapping: dict[str, list[bytes]] = {}
        self.requests: list[str] = []
        self.namespaces: set[str] = set()
        self.status = 0
        self.lease = 0
        self.logins = 0
        self.renewable = True
        self.dynamic: Callable[[str], dict[str, str]] | None = None  # makes credentials of a role
        self.leases: list[str] = []

    async def start(self) -> Vault:
        app = web.Application()
        app.router.add_route("*", "/v1/{path:.*}", self._answer)
        self._runner = web.AppRunner(app)
        await self._runner.setup()
        site = web.TCPSite(self._runner, "127.0.0.1", 0)
        await site.start()
        self.address = "http://{}:{}".format(*self._runner.addresses[0][:2])
        return self

    async def stop(self) -> None:
        await self._runner.cleanup()

    def revoke(self) -> None:
        """Every token ends."""
        self.tokens.clear()

    async def _answer(self, request: web.Request) -> web.Response:
        path = request.match_info["path"]
        self.requests.append(f"{request.method} {path}")
        self.namespaces.add(request.headers.get("X-Vault-Namespace", ""))
        if self.status:
            return web.json_response({"errors": ["told to"]}, status=self.status)
        body = await request.json() if request.can_read_body else {}
        if path in ("auth/approle/login", "auth/kubernetes/login"):
            return self._login(body)
        if request.headers.get("X-Vault-Token") not in self.tokens:
            return web.json_response({"errors": ["permission denied"]}, status=403)
        if path == "auth/token/renew-self":
            if not self.renewable:
                return web.json_response({"errors": ["lease is not renewable"]}, status=400)
            return web.json_response({"auth": {"client_token": request.headers["X-Vault-Token"],
                                               "lease_duration": self.lease}})
        if path == "sys/leases/renew":
            known = self.renewable and body.get("lease_id") in self.leases
            return (web.json_response({"lease_duration": self.lease}) if known
                    else web.json_response({"errors": ["lease not found"]}, status=400))
        engine, _, rest = path.partition("/")
        if rest.startswith("creds/") and self.dynamic is not None:
            self.leases.append(f"{path}/{len(self.leases) + 1}")
            return web.json_response({"lease_id": self.leases[-1], "lease_duration": self.lease,
                                      "data": self.dynamic(rest.partition("/")[2])})
        if engine == "transit":
            return self._transit(rest, body)
        found = self.secrets.get(path)
        if found is None:
            return web.json_response({"errors": []}, status=404)
        data = {"data": found, "metadata": {"version": 1}} if rest.startswith("data/") else found
        return web.json_response({"data": data})

    def _login(self, body: dict[str, Any]) -> web.Response:
        if body not in ({"role_id": "proxy", "secret_id": "s3cret"}, {"role": "proxy", "jwt": "jwt-of-the-pod"}):
            return web.json_response({"errors": ["invalid role or secret"]}, status=400)
        self.logins += 1
        token = f"login-{self.logins}"
        self.tokens.add(token)
        return web.json_response({"auth": {"client_token": token, "lease_duration": self.lease, "renewable": True}})

    def _transit(self, rest: str, body: dict[str, Any]) -> web.Response:
        operation, _, name = rest.partition("/")
        versions = self.wrapping.get(name)
        if versions is None:
            return web.json_response({"errors": ["encryption key not found"]}, status=400)
        bound = b64decode(body.get("associated_data", ""))
        if operation == "encrypt":
            iv = os.urandom(12)
            sealed = iv + AESGCM(versions[-1]).encrypt(iv, b64decode(body["plaintext"]), bound)
            return web.json_response({"data": {"ciphertext": f"vault:v{len(versions)}:{b64encode(sealed).decode()}"}})
        _, version, text = body["ciphertext"].split(":")
        sealed = b64decode(text)
        try:
            plain = AESGCM(versions[int(version[1:]) - 1]).decrypt(sealed[:12], sealed[12:], bound)
        except InvalidTag:
            return web.json_response({"errors": ["cipher: message authentication failed"]}, status=400)
        return web.json_response({"data": {"plaintext": b64encode(plain).decode()}})
