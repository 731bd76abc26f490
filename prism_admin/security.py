"""Who calls: mTLS identity, the shared token, or, where neither is asked for, somebody on this machine."""

from __future__ import annotations

import hmac
from collections.abc import Awaitable, Callable, Mapping
from contextlib import AbstractContextManager
from contextvars import ContextVar
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc

from prism_admin.certificates import Certificates
from prism_admin.error_mapping import ANSWERED, abort, abort_with
from prism_admin.rbac import SCOPES, Access, RateLimiter, permitted
from prism_admin.texts import problem_of
from prism_runtime.tokens import shown

Context = Any  # grpc.aio.ServicerContext
LOCAL = "local"
_STORES_NOTHING = frozenset({"/prism.ControlPlane/Heartbeat"})  # and may name ten thousand namespaces
_principal: ContextVar[str] = ContextVar("principal", default="")
_role: ContextVar[str] = ContextVar("role", default="")


@dataclass(frozen=True, slots=True)
class Identity:
    """`principal` names the caller in the audit log; empty when the call has no valid credentials."""

    principal: str
    reason: str = ""
    role: str = "admin"


@dataclass(frozen=True, slots=True)
class Security:
    """What callers must show. `token` empty asks for none; with `client_ca` they must have a certificate of it.
    `access` gives roles to certificates and further tokens, and then a caller must have one of those, or the shared
    `token`, which is an admin's."""

    token: str = ""
    certificate: Path | None = None
    key: Path | None = None
    client_ca: Path | None = None
    access: Access | None = None

    @property
    def asks(self) -> bool:
        return bool(self.token) or self.client_ca is not None or self.access is not None

    def problem(self) -> str | None:
        """Why these cannot go together; None when they can."""
        if self.access is not None and self.access.certificates and self.client_ca is None:
            return ("--access-file gives roles to certificates, but no caller is asked for one: give --tls-client-ca, "
                    "with --tls-cert and --tls-key")
        return None

    def server_credentials(self) -> grpc.ServerCredentials | None:
        """None without TLS. OSError when a file cannot be used."""
        if self.certificate is None or self.key is None:
            return None
        return Certificates(self.certificate, self.key, self.client_ca).credentials()

    def identify(self, context: Context) -> Identity:
        """Who the caller is."""
        metadata = {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}
        shown = _token(metadata)
        if shown and self.token and hmac.compare_digest(shown.encode(), self.token.encode()):
            return Identity(_certified(context) or metadata.get("x-admin-user", "token"))
        bearer = self.access.of_token(shown) if shown and self.access is not None else None
        if bearer is not None:
            return Identity(bearer[0], role=bearer[1])
        certified = _certified(context)
        if certified:
            return Identity(certified, role=self.access.of_certificate(certified) if self.access else "admin")
        if self.asks:
            return Identity("", "the token is not valid" if shown else
                            "no credentials: send authorization: Bearer TOKEN, or a client certificate")
        return Identity(metadata.get("x-admin-user", LOCAL))


def principal_of(context: Context) -> str:
    """The caller of the call in progress."""
    return _principal.get()


def role_of(context: Context) -> str:
    """What its caller is."""
    return _role.get()


def _token(metadata: Mapping[str, str]) -> str:
    return shown(metadata) or metadata.get("x-admin-token", "")


def _certified(context: Context) -> str:
    """The common name, or the first alternative name, of a verified client certificate."""
    found = context.auth_context() or {}
    for name in ("x509_common_name", "x509_subject_alternative_name"):
        for value in found.get(name, ()):
            if value:
                return bytes(value).decode(errors="replace")
    return ""


class Authentication(grpc.aio.ServerInterceptor):  # type: ignore[type-arg]
    """Lets a call pass when its caller is known, may make it, has not made too many, and says what every database
    takes, within `observe(method, request, context)`."""

    def __init__(self, security: Security, limiter: RateLimiter,
                 observe: Callable[..., AbstractContextManager[Any]]) -> None:
        self._security = security
        self._limiter = limiter
        self._observe = observe

    async def intercept_service(
        self, continuation: Callable[[Any], Awaitable[Any]], details: grpc.HandlerCallDetails
    ) -> Any:
        handler = await continuation(details)
        if handler is None or details.method.startswith("/grpc.health."):
            return handler
        wrap = self._stream if handler.response_streaming else self._unary
        make = (grpc.unary_stream_rpc_method_handler if handler.response_streaming
                else grpc.unary_unary_rpc_method_handler)
        inner = handler.unary_stream if handler.response_streaming else handler.unary_unary
        return make(wrap(details.method, inner), handler.request_deserializer, handler.response_serializer)

    async def _enter(self, method: str, request: Any, context: Context) -> None:
        identity = self._security.identify(context)
        _principal.set(identity.principal)
        _role.set(identity.role if identity.principal else "")
        if not identity.principal:
            await abort(context, grpc.StatusCode.UNAUTHENTICATED, "UNAUTHENTICATED", identity.reason)
        if not permitted(method, identity.role):
            operation, needed = method.rpartition("/")[2], SCOPES.get(method, "the role admin")
            await abort(context, grpc.StatusCode.PERMISSION_DENIED, "PERMISSION_DENIED",
                        f"{identity.principal} may not call {operation}: it needs {needed}, and the role "
                        f"{identity.role or '(none)'} does not have it")
        problem = self._limiter.refuse(identity.principal, method)
        if problem is not None:
            await abort(context, grpc.StatusCode.RESOURCE_EXHAUSTED, "RATE_LIMITED", problem)
        problem = problem_of(request) if method not in _STORES_NOTHING else None
        if problem is not None:
            await abort(context, grpc.StatusCode.INVALID_ARGUMENT, "INVALID_REQUEST", problem)

    def _unary(self, method: str, inner: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def call(request: Any, context: Context) -> Any:
            with self._observe(method, request, context) as observed:
                await self._enter(method, request, context)
                try:
                    observed.response = await inner(request, context)
                except ANSWERED as error:
                    await abort_with(context, error)
                return observed.response

        return call

    def _stream(self, method: str, inner: Callable[..., Any]) -> Callable[..., Any]:
        async def call(request: Any, context: Context) -> Any:
            with self._observe(method, request, context):
                await self._enter(method, request, context)
                try:
                    async for item in inner(request, context):
                        yield item
                except ANSWERED as error:
                    await abort_with(context, error)

        return call
