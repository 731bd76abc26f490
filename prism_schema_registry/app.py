"""Puts the registry together: store, HTTP, gRPC and the operators' port, and their life."""

from __future__ import annotations

import asyncio
import ssl
from collections.abc import Awaitable, Callable, Iterable
from functools import partial

from prism_runtime import log
from prism_runtime.address import Address
from prism_runtime.http_port import TelemetryServer
from prism_runtime.lifecycle import StartError, StopRequest, spare_collector
from prism_runtime.storage.errors import StorageError
from prism_runtime.tasks import cancel
from prism_runtime.tls import TlsConfig, TlsContexts, TlsError
from prism_runtime.tokens import read_token
from prism_schema import Level
from prism_schema_registry.access import Access
from prism_schema_registry.metrics import Metrics
from prism_schema_registry.options import RegistryOptions
from prism_schema_registry.registry import Registry
from prism_schema_registry.rest.api import Api
from prism_schema_registry.rest.reply_cache import ReplyCache
from prism_schema_registry.rest.server import HttpServer, Limits
from prism_schema_registry.storage.opening import open_store

TLS_RELOAD_SECONDS = 1.0
_log = log.get("prism.schema_registry")


class App:
    """One registry process: `run`, or `start` and `stop` within a loop of somebody else."""

    def __init__(self, options: RegistryOptions) -> None:
        self._options = options
        self._stop = StopRequest()
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self._ended_by: StorageError | None = None
        self._serving = False
        self.port = self.grpc_port = self.metrics_port = 0

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. StartError, StorageError (also when another registry took over), OSError."""
        self._stop.on_signals()
        starting = asyncio.ensure_future(self.start())
        stopping = asyncio.ensure_future(self._stop.drain.wait())
        try:
            await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
            if starting.done():
                starting.result()
            else:  # a start may wait for another registry for days
                await cancel([starting])
            await stopping
        finally:
            stopping.cancel()
            await self.stop()
        if self._ended_by is not None:
            raise self._ended_by

    async def start(self) -> None:
        """Serve; ports are known afterwards. Call `stop` also when this fails."""
        options = self._options
        access = Access(*(read_token(path) if path is not None else ""
                          for path in (options.token_file, options.read_token_file)))
        address, tls = self._address(access), self._tls()
        store = await open_store(options, self._closing, self._lost)
        registry = Registry(store, Level(options.compatibility), options.pii_validation)
        await registry.open()
        cache = ReplyCache(lambda: registry.catalog.revision)
        metrics = Metrics(lambda: cache.hits, partial(_gauges, registry))
        limits = Limits(options.max_body, options.max_connections, options.idle_timeout, options.request_timeout)
        http = HttpServer(Api(registry, access, cache, metrics, self._readiness).answer, cache, access.may_read, limits)
        self._closing.append(http.close)
        await self._serve_metrics(metrics)
        self.port = await self._listen(http, address, tls)
        self._closing.append(partial(http.drain, options.graceful_timeout))
        if options.grpc_listen != "off":
            await self._serve_grpc(registry, access, metrics)
        self._serving = True
        spare_collector()
        _log.info(f"serving on port {self.port}", database=store.shown, grpc_port=self.grpc_port,
                  metrics_port=self.metrics_port, subjects=sum(1 for _ in registry.catalog.subjects()))

    async def stop(self) -> None:
        """Finish requests, close everything."""
        self._serving = False
        while self._closing:
            await self._closing.pop()()

    def _lost(self, error: StorageError) -> None:
        _log.error("this registry ends", reason=str(error))
        self._ended_by = error
        self._stop()

    def _address(self, access: Access) -> Address:
        """Of HTTP. StartError when it is open to others without protection."""
        options = self._options
        address = _parsed("--listen", options.listen)
        if options.port is not None:
            address = Address(address.host, options.port)
        for flag, shown in (("--listen", address), ("--grpc-listen", options.grpc_listen)):
            open_ = shown != "off" and not (shown if isinstance(shown, Address) else _parsed(flag, shown)).loopback
            asks = access.asks or options.tls_client_ca is not None
            if open_ and not options.insecure and (options.tls_cert is None or not asks):
                missing = "--tls-cert and --tls-key" if options.tls_cert is None else "--token-file or --tls-client-ca"
                raise StartError(f"{flag} {shown} is open to other machines: give {missing}, or --insecure")
        return address

    async def _listen(self, http: HttpServer, address: Address, tls: TlsContexts | None) -> int:
        try:
            return await http.start(address, _following(tls) if tls is not None else None)
        except OSError as error:
            raise StartError(f"--listen {address}: {error.strerror or error}; choose another") from error

    def _tls(self) -> TlsContexts | None:
        """Read again as files change. TlsError."""
        options = self._options
        if options.tls_cert is None or options.tls_key is None:
            return None
        contexts = TlsContexts(TlsConfig(options.tls_cert, options.tls_key, options.tls_client_ca), ("http/1.1",))
        task = asyncio.get_running_loop().create_task(_reload(contexts))
        self._closing.append(partial(cancel, [task]))
        return contexts

    async def _serve_grpc(self, registry: Registry, access: Access, metrics: Metrics) -> None:
        from prism_schema_registry.rpc.server import GrpcServer

        options = self._options
        tls = TlsConfig(options.tls_cert, options.tls_key, options.tls_client_ca) \
            if options.tls_cert is not None and options.tls_key is not None else None
        scheme, host = "https" if tls is not None else "http", options.listen.rpartition(":")[0]
        url = options.url or f"{scheme}://{host}:{self.port}"
        server = GrpcServer(registry, access, metrics, url)
        try:
            self.grpc_port = await server.start(_parsed("--grpc-listen", options.grpc_listen), tls)
        except OSError as error:
            raise StartError(f"--grpc-listen {options.grpc_listen}: {error.strerror or error}; choose another, or off"
                             ) from error
        self._closing.append(partial(server.stop, options.graceful_timeout))

    async def _serve_metrics(self, metrics: Metrics) -> None:
        where = self._options.metrics_listen
        if where == "off":
            return
        address = _parsed("--metrics-listen", where)
        server = TelemetryServer(metrics.render, self._readiness)
        try:
            self.metrics_port = await server.start(address.host, address.port)
        except OSError as error:
            raise StartError(f"--metrics-listen {where}: {error.strerror or error}; choose another, or off") from error
        self._closing.append(server.close)

    def _readiness(self) -> tuple[bool, dict[str, object]]:
        return self._serving, {}


def _parsed(flag: str, text: str) -> Address:
    try:
        return Address.parse(text)
    except ValueError as error:
        raise StartError(f"{flag}: {error}") from error


def _gauges(registry: Registry) -> Iterable[tuple[str, str, float]]:
    catalog = registry.catalog
    yield "prism_schema_registry_schemas", "schemas with an id", len(catalog.schemas)
    yield "prism_schema_registry_subjects", "subjects", sum(1 for _ in catalog.subjects())
    yield "prism_schema_registry_last_id", "the largest id that was given", catalog.last_id
    yield "prism_schema_registry_storage_up", "1 when the last write was stored", not registry.commits.problem


def _following(contexts: TlsContexts) -> ssl.SSLContext:
    """A listener's context whose handshakes use the current one, for as long as it is reloaded."""
    first = contexts.current

    def follow(connection: ssl.SSLObject, name: str | None, context: ssl.SSLContext) -> None:
        if connection.context is not contexts.current:
            connection.context = contexts.current

    first.sni_callback = follow
    return first


async def _reload(contexts: TlsContexts) -> None:
    while True:
        await asyncio.sleep(TLS_RELOAD_SECONDS)
        try:
            if contexts.reload_if_changed():
                _log.info("new TLS files are active")
        except TlsError as error:
            _log.error("the TLS files that changed cannot be used; the old ones stay active", reason=str(error))
