"""The native gRPC server, with the part of `grpc.aio.Server` that generated code and servicers use.

Servicers are registered as with grpcio; hot methods may add a native handler, asked first. One object per process and
loop. It must not know namespaces' configuration, backends or patterns.
"""

from __future__ import annotations

import asyncio
import contextlib
import socket
import time
from collections.abc import Callable, Iterable, Mapping, Sequence
from concurrent.futures import ThreadPoolExecutor
from functools import partial
from typing import Any

import grpc

from prism_proxy._native.grpc.call import Handler
from prism_proxy._native.grpc.call_watch import CallWatch
from prism_proxy._native.grpc.connection import ServerConnection, begin_drain, statistics
from prism_proxy._native.grpc.core import Method, ServerCore
from prism_proxy._native.grpc.metrics import MethodStats
from prism_proxy._native.grpc.reply_cache import ReplyCache
from prism_proxy._native.grpc.routing import RouteTable
from prism_proxy._native.grpc.servicer import ServicerHandler, _Metadatum
from prism_proxy._native.grpc.wire import percent_encode
from prism_proxy._native.http2.limits import NativeLimits
from prism_proxy.errors import PrismError, StatusCode, describe
from prism_proxy.server.credentials import ServerCredentials, of_grpc
from prism_proxy.server.interception import Interceptor, checked, intercepted
from prism_proxy.server.limits import Limits
from prism_proxy.server.listener import Listener
from prism_proxy.server.memory import Trimmer
from prism_proxy.server.sync_servicer import adapt
from prism_runtime.address import Address, bind_all
from prism_runtime.tls import TlsConfig, TlsContexts, TlsError

TLS_RELOAD_SECONDS = 1.0
MOST_ADAPTATIONS = 256
RETRY_SHED_S, RETRY_VARIANTS = 0.5, 8


class Server:
    """The interface of `grpc.aio.Server`, and what this product needs beside it.

    As a drop-in it lacks `migration_thread_pool` (there are `servicer_threads`), `options` and `compression` of the
    whole server (there are `limits`, and compression by call), `maximum_concurrent_rpcs` (a limit holds for each
    connection), TLS below 1.3, several certificates by server name, grpc's own credentials where callers show
    certificates, and in `auth_context` the server name that was asked for and the group of the key exchange. With
    interceptors no method is served natively.

    `stats_for(namespace, path, backend)` makes the statistics of a method; by default they go nowhere.

    `namespaced(path)` says which methods belong to a namespace, `lasting(path)` which are streams that last as long as
    their callers want: they end when a drain begins. A server with namespaces attaches the product's details
    to the errors that it makes itself, and returns `x-request-id`; any other one says what grpc.aio's says.

    To be set before `start`: `peer_token` is what other proxies show with calls that they forward; when it is empty,
    callers of this machine are believed, and without it nobody; `watch` hears of the end of calls.
    """

    def __init__(
        self,
        limits: Limits | None = None,
        *,
        stats_for: Callable[[str | None, str, str], MethodStats] | None = None,
        namespaced: Callable[[str], bool] | None = None,
        lasting: Callable[[str], bool] = lambda path: False,
        on_tls_error: Callable[[TlsError], None] = lambda error: None,
        interceptors: Sequence[Interceptor] = (),
    ) -> None:
        self._interceptors = checked(interceptors)
        self.limits = limits or Limits()
        self._counters = NativeLimits(self.limits)
        self._executor = ThreadPoolExecutor(self.limits.servicer_threads, "prism-servicer")
        self._offload = ThreadPoolExecutor(self.limits.offload_threads, "prism-offload")  # the server's own work
        self._stats_for = stats_for or _unmeasured
        self._namespaced = namespaced or (lambda path: False)
        self._lasting = lasting
        self._describe = _plain if namespaced is None else describe
        self._on_tls_error = on_tls_error
        self.peer_token: str | None = None
        self.watch: CallWatch | None = None
        self._generic: list[grpc.GenericRpcHandler[Any, Any]] = []
        self._adaptations: dict[int, tuple[Any, ServicerHandler]] = {}
        self._finding = ServicerHandler.finding(self._intercept)
        self._native: dict[str, list[Handler]] = {}
        self._caches: dict[str, ReplyCache] = {}
        self._servicers: dict[str, grpc.RpcMethodHandler[Any, Any]] = {}
        self._sockets: list[tuple[socket.socket, TlsContexts | ServerCredentials | None, bool, bool]] = []
        self._listeners: list[Listener] = []
        self._routes: RouteTable | None = None
        self._core: ServerCore | None = None
        self._ticker: asyncio.Task[None] | None = None
        self._stopped: asyncio.Event | None = None
        self._stopping: asyncio.Task[int] | None = None

    # --- registration, as grpc.aio.Server ---------------------------------------------------------------------------

    def add_generic_rpc_handlers(self, generic_rpc_handlers: Iterable[grpc.GenericRpcHandler[Any, Any]]) -> None:
        """Handlers asked by path for methods that are not registered by name."""
        self._generic.extend(generic_rpc_handlers)

    def add_registered_method_handlers(
        self, service_name: str, method_handlers: Mapping[str, grpc.RpcMethodHandler[Any, Any]]
    ) -> None:
        """Handlers of a service by method name, at any time; generated code calls this."""
        for name, handler in method_handlers.items():
            path = f"/{service_name}/{name}"
            self._servicers[path] = handler
            if self._core is not None and not self._interceptors:
                self._add_method(self._core, path)

    def add_native_handler(self, path: str, handler: Handler) -> None:
        """One more native handler for `path`, at any time: the first that binds the method on a route serves it, the
        servicer what it falls back from."""
        self._native.setdefault(path, []).append(handler)

    def keep_replies(self, path: str, cache: ReplyCache) -> None:
        """Answer a unary method without a namespace from `cache`, whose owner fills and clears it. Before `start`; the
        method has a servicer."""
        self._caches[path] = cache

    def add_insecure_port(self, address: str) -> int:
        """Bind `address` (HOST:PORT, [IPV6]:PORT, unix:PATH) without TLS; returns the port. OSError when taken."""
        return self.bind(Address.parse(address), None)

    def add_secure_port(
        self, address: str, server_credentials: TlsConfig | ServerCredentials | grpc.ServerCredentials
    ) -> int:
        """Bind `address` with TLS 1.3, by files, by `server.credentials.ssl_server_credentials`, or by grpc's function
        of that name for callers without certificates. TlsError when they cannot be used, OSError when the port is
        taken, TypeError for other credentials of grpc's."""
        if isinstance(server_credentials, grpc.ServerCredentials):
            server_credentials = of_grpc(server_credentials)
        return self.bind(Address.parse(address), server_credentials)

    def bind(
        self, address: Address, tls: TlsConfig | ServerCredentials | None, *, share_port: bool = False,
        trusted: bool = False,
    ) -> int:
        """Bind `address`; with `share_port` other processes may listen too, and the kernel spreads connections.

        `trusted`: only processes of the product can connect. What they say of forwarded calls is believed, and limits
        that hold for one caller do not hold for them.
        """
        contexts = TlsContexts(tls) if isinstance(tls, TlsConfig) else tls
        ports = [self._listen(sock, contexts, owned=True, trusted=trusted)
                 for sock in bind_all(address, share_port=share_port)]
        return ports[0]

    def adopt(self, sock: socket.socket, tls: TlsConfig | None, *, owned: bool, trusted: bool = False) -> int:
        """Serve a socket that listens already, `trusted` as in `bind`; returns its port. TlsError as `bind`.

        The file of a Unix socket that is not `owned` is left in place at the end.
        """
        return self._listen(sock, TlsContexts(tls) if tls is not None else None, owned=owned, trusted=trusted)

    def _listen(
        self, sock: socket.socket, tls: TlsContexts | ServerCredentials | None, *, owned: bool, trusted: bool
    ) -> int:
        self._sockets.append((sock, tls, owned, trusted))
        name = sock.getsockname()
        return int(name[1]) if isinstance(name, tuple) else 0

    def set_routes(self, table: RouteTable) -> None:
        """Activate a routing table, at any time."""
        self._routes = table
        if self._core is not None:
            self._core.set_routes(table)

    # --- life -------------------------------------------------------------------------------------------------------

    async def start(self) -> None:
        loop = asyncio.get_running_loop()
        self._stopped = asyncio.Event()
        core = ServerCore(loop, self.limits, self._counters, self._resolve, self._stats_for, self._describe,
                          self._offload)
        core.echoes_ids = self._describe is describe
        core.encode_shed = _shed
        core.watch = self.watch
        core.peer_token = self.peer_token.encode() if self.peer_token is not None else None
        self._core = core
        if self._routes is not None:
            core.set_routes(self._routes)
        for path in self._servicers.keys() | self._native.keys() if not self._interceptors else ():
            self._add_method(core, path)
        for sock, tls, owned, trusted in self._sockets:
            listener = Listener(sock, tls, self.limits, self._counters, partial(ServerConnection, core, trusted),
                                lambda: len(core.connections), owned=owned)
            self._listeners.append(listener)
            listener.start()
        self._ticker = loop.create_task(self._tick(core))

    def _add_method(self, core: ServerCore, path: str) -> None:
        servicer = self._servicers.get(path)
        handler: Handler | None = self._handler(servicer) if servicer is not None else None
        if handler is not None and path in self._caches:
            self._caches[path].attach(handler)
            handler = self._caches[path]
        core.add_method(path, self._native.setdefault(path, []), handler, self._namespaced(path),
                        self._lasting(path))

    def _handler(self, servicer: grpc.RpcMethodHandler[Any, Any]) -> ServicerHandler:
        return ServicerHandler(servicer, adapt(servicer, self._executor))

    def _resolve(self, path: str, metadata: Sequence[tuple[str, str | bytes]]) -> Method | None:
        """The method of one call whose path is not in the table: generic handlers decide, call by call."""
        if self._core is None:
            return None
        if self._interceptors:
            return self._core.transient_method(path, self._finding, self._namespaced(path), self._lasting(path))
        try:
            found = self._find(_CallDetails(path, metadata))
        except Exception as error:  # noqa: BLE001 - not ours: the call ends as one whose method raises this
            found = _raises(error)
        if found is None:
            return None
        return self._core.transient_method(
            path, self._adapted(found), self._namespaced(path), self._lasting(path))

    def _find(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler[Any, Any] | None:
        """As grpc.aio: registered methods first, then what the first generic handler that knows the path says."""
        found = self._servicers.get(details.method)
        for generic in self._generic if found is None else ():
            found = generic.service(details)
            if found is not None:
                break
        return found

    async def _intercept(self, path: str, metadata: Any) -> ServicerHandler | None:
        found = await intercepted(self._interceptors, self._find, _CallDetails(path, metadata))
        return None if found is None else self._adapted(found)

    def _adapted(self, servicer: grpc.RpcMethodHandler[Any, Any]) -> ServicerHandler:
        """Most generic handlers name one of a few handlers again and again; those need not be adapted each time."""
        known = self._adaptations.get(id(servicer))
        if known is not None:
            return known[1]
        if len(self._adaptations) >= MOST_ADAPTATIONS:
            self._adaptations.clear()
        handler = self._handler(servicer)
        self._adaptations[id(servicer)] = servicer, handler  # holding the servicer keeps its id its own
        return handler

    async def _tick(self, core: ServerCore) -> None:
        """Enforce time limits, at a quarter of the shortest and at most once a second."""
        limits = self.limits
        shortest = min(limits.handshake_timeout_s, limits.header_timeout_s, limits.idle_timeout_s, limits.max_age_s,
                       limits.zero_window_timeout_s, limits.keepalive_time_s, limits.keepalive_timeout_s)
        period = max(0.01, min(1.0, shortest / 4))
        checked_tls = 0.0
        trimmer = Trimmer(self._offload)
        while True:
            self._counters.watch()
            trimmer.tick(time.monotonic())
            await asyncio.sleep(period)
            for count, connection in enumerate(list(core.connections)):
                connection.tick()
                if count % 256 == 255:
                    await asyncio.sleep(0)
            checked_tls += period
            if checked_tls >= TLS_RELOAD_SECONDS:
                checked_tls = 0.0
                self._reload_tls()

    def _reload_tls(self) -> None:
        for _, tls, *_ in self._sockets:
            if tls is not None:
                try:
                    tls.reload_if_changed()
                except TlsError as error:
                    self._on_tls_error(error)

    async def stop(self, grace: float | None = None) -> int:
        """Drain and stop; the number of calls that had to be ended. Without grace, calls end at once.

        Listeners close (their backlog is accepted first), every connection gets the two-step GOAWAY, calls in progress
        may finish for `grace` seconds, and what is left is answered UNAVAILABLE.
        """
        if self._core is None:
            return 0
        if self._stopping is None:
            self._stopping = asyncio.get_running_loop().create_task(self._drain(self._core, grace or 0))
        return await asyncio.shield(self._stopping)

    async def _drain(self, core: ServerCore, grace: float) -> int:
        idle = asyncio.Event()
        await asyncio.gather(*(listener.close() for listener in self._listeners))
        begin_drain(core, idle.set)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(idle.wait(), max(grace, 0.001))
        ended = sum(connection.end_calls("the proxy is shutting down") for connection in list(core.connections))
        if not idle.is_set():
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(idle.wait(), 0.5)
        for connection in list(core.connections):
            connection.close()
        if self._ticker is not None:
            self._ticker.cancel()
        self._executor.shutdown(wait=False, cancel_futures=True)
        self._offload.shutdown(wait=False, cancel_futures=True)
        if self._stopped is not None:
            self._stopped.set()
        return int(ended)

    async def wait_for_termination(self, timeout: float | None = None) -> bool:  # noqa: ASYNC109 - grpc.aio's signature
        """Wait until `stop` is through; False when `timeout` seconds pass first."""
        if self._stopped is None:
            return True
        try:
            await asyncio.wait_for(self._stopped.wait(), timeout)
        except TimeoutError:
            return False
        return True

    # --- figures ----------------------------------------------------------------------------------------------------

    def stats(self) -> dict[str, int]:
        """Gauges: connections, streams, handlers_running, bytes_held."""
        return statistics(self._core) if self._core is not None else {}

    def limit_hits(self) -> dict[str, int]:
        """How often each limit was hit since the start, by name."""
        return self._counters.hit_counts()


class _CallDetails(grpc.HandlerCallDetails):
    def __init__(self, method: str, invocation_metadata: Sequence[tuple[str, str | bytes]]) -> None:
        self.method = method
        self.invocation_metadata = tuple(map(_Metadatum._make, invocation_metadata))


def _raises(error: Exception) -> grpc.RpcMethodHandler[Any, Any]:
    async def behaviour(requests: Any, context: Any) -> None:
        raise error

    return grpc.stream_unary_rpc_method_handler(behaviour)


def _unmeasured(namespace: str | None, path: str, backend: str) -> MethodStats:
    service, _, operation = path.lstrip("/").rpartition("/")
    return MethodStats(namespace or "", service, operation, backend)


def _plain(
    error: PrismError | tuple[int, str, str], request_id: str | None = None
) -> tuple[int, str, list[tuple[bytes, bytes]]]:
    """As `describe`, without anything that grpc.aio's server would not send."""
    if isinstance(error, PrismError):
        return int(error.code.value[0]), error.message, []
    return error[0], error[2], []


def _shed() -> list[list[tuple[bytes, bytes]]]:
    """The trailers of calls that are refused because the event loop is behind, in variants that spread their return."""
    code, message, details = describe(PrismError(
        StatusCode.RESOURCE_EXHAUSTED, "LOAD_SHED", "this proxy gets more calls than it can take: slow down",
        {"outcome": "not_executed", "phase": "admit"}, retry_after=RETRY_SHED_S))
    common = [(b"grpc-status", b"%d" % code), (b"grpc-message", percent_encode(message)),
              *(pair for pair in details if pair[0] == b"grpc-status-details-bin")]
    waits = [RETRY_SHED_S * (1 + variant / RETRY_VARIANTS) for variant in range(RETRY_VARIANTS)]
    return [[*common, (b"grpc-retry-pushback-ms", b"%d" % (1000 * wait))] for wait in waits]
