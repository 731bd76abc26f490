"""From a request to its reply: who may, which handler, and what an error looks like."""

from __future__ import annotations

import time
from collections.abc import Callable

from prism_runtime import log
from prism_schema_registry.access import Access, Role
from prism_schema_registry.errors import RegistryError
from prism_schema_registry.metrics import Metrics
from prism_schema_registry.registry import Registry
from prism_schema_registry.rest.call import Call
from prism_schema_registry.rest.http import ACCEPTED_TYPES, Reply, Request, encode, error_reply, wire
from prism_schema_registry.rest.reply_cache import ReplyCache
from prism_schema_registry.rest.router import Route, Router
from prism_schema_registry.rest.routes import ROUTES

_log = log.get("prism.schema_registry")
_PROBES = (b"/ready", b"/healthz")
_CHALLENGE = (("www-authenticate", 'Basic realm="prism-schema-registry"'),)


class Api:
    """Answers all requests over one registry."""

    def __init__(self, registry: Registry, access: Access, cache: ReplyCache, metrics: Metrics,
                 readiness: Callable[[], tuple[bool, dict[str, object]]]) -> None:
        self._registry = registry
        self._access = access
        self._cache = cache
        self._metrics = metrics
        self._readiness = readiness
        self._router = Router(ROUTES)

    async def answer(self, request: Request) -> Reply:
        """Never raises: what the registry refuses is an answer, and a defect is one of 500, and logged."""
        began = time.perf_counter()
        reply = await self._answer(request)
        self._metrics.count(reply.operation or "unknown", reply.status, time.perf_counter() - began)
        return reply

    async def _answer(self, request: Request) -> Reply:
        path, _, query = request.target.partition(b"?")
        if path in _PROBES:
            return self._probe(path)
        method = request.method.decode()
        found = self._router.find("GET" if method == "HEAD" else method, path.decode("ascii", "replace"))
        if not isinstance(found, tuple):
            return _nowhere(found)
        route, parameters = found
        if refused := self._refusal(route, request):
            return refused
        revision = self._registry.catalog.revision
        try:
            answer = await route.handler(Call(self._registry, parameters, query, request.body))
        except RegistryError as error:
            return error_reply(error.status, error.code, error.message, route.operation)
        except Exception as error:  # noqa: BLE001 - a defect in one handler must not end a connection without a word
            _log.error("a request failed", operation=route.operation, reason=repr(error), defect=True)
            return error_reply(500, 50001, "the registry failed; its log says why", route.operation)
        if isinstance(answer, Reply):
            reply = Reply(answer.status, answer.body, answer.content_type, answer.headers, route.operation)
        else:
            reply = Reply(200, encode(answer), operation=route.operation)
        if method == "GET" and reply.status == 200:
            self._cache.put(request.target, wire(reply), route.operation, revision)
        return reply

    def _probe(self, path: bytes) -> Reply:
        """For who watches the process, with no token."""
        ready, details = self._readiness() if path == b"/ready" else (True, {})
        words = ("ready", "not ready") if path == b"/ready" else ("healthy", "")
        return Reply(200 if ready else 503, encode({"status": words[not ready], **details}), "application/json",
                     operation="probe")

    def _refusal(self, route: Route, request: Request) -> Reply | None:
        role = self._access.role(request.headers)
        if role is None:
            return error_reply(401, 401, "give the token of this registry, as bearer or as the password of basic "
                                         "authentication", route.operation, _CHALLENGE)
        if route.writes and role is not Role.WRITE:
            return error_reply(403, 40301, f"this token may read; {route.operation} needs one that may write",
                               route.operation)
        kind = request.headers.get(b"content-type", b"").partition(b";")[0].strip().lower()
        if request.body and kind.decode("latin-1") not in ACCEPTED_TYPES:
            return error_reply(415, 415, "HTTP 415 Unsupported Media Type: send application/json", route.operation)
        return None


def _nowhere(allowed: object) -> Reply:
    if allowed is None:
        return error_reply(404, 404, "HTTP 404 Not Found")
    assert isinstance(allowed, list)
    return error_reply(405, 405, "HTTP 405 Method Not Allowed", headers=(("allow", ", ".join(allowed)),))
