"""Puts the admin together: storage, coordinator, both services on one port."""

from __future__ import annotations

import asyncio
import os
import secrets
import signal
from collections.abc import Awaitable, Callable, Iterator
from dataclasses import dataclass, field
from functools import partial
from pathlib import Path

import grpc

from admin_client import Credentials
from prism import control_plane_pb2_grpc
from prism.admin.v1 import admin_pb2_grpc
from prism_admin.admin_api import AdminService
from prism_admin.control_plane import ControlPlane
from prism_admin.coordinator import Coordinator
from prism_admin.membership import STALE_SECONDS, SWEEP_SECONDS, Membership
from prism_admin.metrics import Metrics, standby_page
from prism_admin.proxy_client import ProxyClient
from prism_admin.rbac import RateLimiter, Rates
from prism_admin.registry import Registry
from prism_admin.request_log import Observer
from prism_admin.security import Authentication, Security
from prism_admin.storage.audit import Audit
from prism_admin.storage.store import Store, open_store
from prism_runtime import log
from prism_runtime.http_port import TelemetryServer
from prism_runtime.storage.database_url import Database
from prism_runtime.storage.errors import StorageError
from prism_runtime.storage.exclusive import FileLock
from prism_runtime.storage.lease import TERM_SECONDS, Lease
from prism_runtime.tls import TlsError, check_files

STOP_GRACE_SECONDS = 5.0
MAX_MESSAGE_BYTES = 16 * 1024 * 1024
PING_SECONDS = 5.0  # a proxy pings twice as slowly; gRPC's own bound, 300 s, would cut off every healthy one
_log = log.get("prism.admin")


class StartError(RuntimeError):
    """The admin cannot start; the message says what to change."""


@dataclass(frozen=True, slots=True)
class AdminConfig:
    """`push_ca` lets the admin trust the proxies it pushes to over TLS; None pushes in cleartext. A caller that pings
    an idle connection more often than every `ping_s` is cut off. `standby` False refuses to start beside another admin
    of the same PostgreSQL database; else this one waits for its end."""

    database: Database
    listen: str = "127.0.0.1:8981"
    security: Security = field(default_factory=Security)
    insecure: bool = False
    push_ca: Path | None = None
    audit_key_file: Path | None = None
    stale_s: float = STALE_SECONDS
    sweep_s: float = SWEEP_SECONDS
    metrics_listen: str = "off"
    rates: Rates = field(default_factory=Rates)
    ping_s: float = PING_SECONDS
    standby: bool | None = None
    lease_s: float = TERM_SECONDS


class App:
    """One admin process: `run`, or `start` and `stop` within a loop of somebody else."""

    def __init__(self, config: AdminConfig) -> None:
        self._config = config
        self._stop = asyncio.Event()
        self._closing: list[Callable[[], Awaitable[None]]] = []
        self.port = 0
        self.metrics_port = 0
        self._serving = False
        self._metrics: Metrics | None = None
        self._holder = ""  # of the lease that we wait for
        self._ended_by: StorageError | None = None

    async def run(self) -> None:
        """Serve until SIGTERM or SIGINT. StartError, StorageError (also when another admin took over), OSError."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._stop.set)
        try:
            await self._start_unless_stopped()
            await self._stop.wait()
        finally:
            await self.stop()
        if self._ended_by is not None:
            raise self._ended_by

    async def _start_unless_stopped(self) -> None:
        """A start may wait for another admin for days."""
        starting = asyncio.ensure_future(self.start())
        stopping = asyncio.ensure_future(self._stop.wait())
        await asyncio.wait((starting, stopping), return_when=asyncio.FIRST_COMPLETED)
        stopping.cancel()
        if not starting.done():
            starting.cancel()
        await asyncio.gather(starting, return_exceptions=True)
        if not starting.cancelled():
            starting.result()

    async def start(self) -> None:
        """Serve; `port` is known afterwards. Call `stop` also when this fails."""
        config = self._config
        if problem := config.security.problem():
            raise StartError(problem)
        self._hold_database()
        store = await open_store(config.database)
        self._closing.append(store.close)
        await self._serve_metrics()
        store = await self._lease(store)
        audit = Audit(store.engine, _audit_key(config))
        audit.start()
        self._closing.append(audit.close)
        proxy_client = ProxyClient(self._push_credentials())
        self._closing.append(proxy_client.close)
        coordinator = Coordinator(store, Membership(config.stale_s), proxy_client, sweep_s=config.sweep_s)
        await coordinator.open()
        self._closing.append(coordinator.close)
        registry = Registry(store, coordinator, proxy_client)
        observer = Observer(audit)
        server = grpc.aio.server(
            interceptors=(Authentication(config.security, RateLimiter(config.rates), observer),),
            options=(("grpc.max_receive_message_length", MAX_MESSAGE_BYTES), ("grpc.so_reuseport", 0),
                     ("grpc.http2.min_ping_interval_without_data_ms", int(config.ping_s * 1000)),
                     ("grpc.keepalive_permit_without_calls", 1)))
        control_plane_pb2_grpc.add_ControlPlaneServicer_to_server(  # type: ignore[no-untyped-call]
            ControlPlane(coordinator, registry), server)
        admin_pb2_grpc.add_AdminServiceServicer_to_server(  # type: ignore[no-untyped-call]
            AdminService(store, coordinator, registry, audit), server)
        self.port = self._bind(server)
        self._metrics = Metrics(store, coordinator, observer, audit)
        await server.start()
        self._closing.append(partial(server.stop, STOP_GRACE_SECONDS))
        self._closing.append(coordinator.placement.close)  # watchers go elsewhere; nothing waits for them
        coordinator.start()
        self._serving = True
        _log.info(f"serving on port {self.port}", database=config.database.shown, metrics_port=self.metrics_port)
        await audit.sweep()

    async def stop(self) -> None:
        """Finish calls, write what waits, close everything."""
        self._serving = False
        while self._closing:
            await self._closing.pop()()

    async def _lease(self, store: Store) -> Store:
        """The store, while no other admin writes it. A file has one process at a time: see `_hold_database`."""
        if self._config.database.path is not None:
            return store
        lease = Lease(store.engine, "prism-admin", "admin_lease", self._config.lease_s)
        self._closing.append(lease.close)
        await lease.take(wait=self._config.standby is not False, waiting=self._wait_for)
        lease.start(self._lost)
        self._holder = ""
        return store.leased(lease)

    def _wait_for(self, holder: str) -> None:
        self._holder = holder
        _log.info("waiting: another admin serves the database", holder=holder, database=self._config.database.shown,
                  metrics_port=self.metrics_port)

    def _lost(self, error: StorageError) -> None:
        _log.error("this admin ends", reason=str(error))
        self._ended_by = error
        self._stop.set()

    def _hold_database(self) -> None:
        path = self._config.database.path
        if path is None:
            return
        lock = FileLock(path)
        lock.acquire()

        async def release() -> None:
            lock.close()

        self._closing.append(release)

    def _bind(self, server: grpc.aio.Server) -> int:
        config = self._config
        host = config.listen.rpartition(":")[0].strip("[]")
        credentials = config.security.server_credentials()
        if host not in ("127.0.0.1", "::1", "localhost") and not config.insecure:
            missing = "--tls-cert and --tls-key" if credentials is None else "--token-file or --tls-client-ca"
            if credentials is None or not config.security.asks:
                raise StartError(f"--listen {config.listen} is open to other machines: give {missing}, or --insecure")
        try:
            if credentials is None:
                return int(server.add_insecure_port(config.listen))
            return int(server.add_secure_port(config.listen, credentials))
        except RuntimeError as error:
            raise StartError(f"--listen {config.listen}: the port is taken, or the address is not of this machine; "
                             "choose another") from error

    def _page(self) -> Iterator[str]:
        yield standby_page(self._metrics is None)
        if self._metrics is not None:
            yield from self._metrics.render()

    def _readiness(self) -> tuple[bool, dict[str, object]]:
        if self._metrics is not None:
            return self._serving, self._metrics.readiness()
        return False, {"database": self._config.database.shown, "standby": self._holder}

    async def _refresh(self) -> None:
        if self._metrics is not None:
            await self._metrics.refresh()

    async def _serve_metrics(self) -> None:
        """`/metrics`, `/health` and `/ready`, until all calls have ended."""
        where = self._config.metrics_listen
        if where == "off":
            return
        host, _, port = where.rpartition(":")
        if not port.isdecimal():
            raise StartError(f"--metrics-listen {where!r}: write HOST:PORT, or off")
        server = TelemetryServer(self._page, self._readiness, refresh=self._refresh)
        try:
            self.metrics_port = await server.start(host.strip("[]") or "127.0.0.1", int(port))
        except OSError as error:
            raise StartError(f"--metrics-listen {where}: {error.strerror}; choose another, or off") from error
        self._closing.append(server.close)

    def _push_credentials(self) -> Credentials:
        security, ca = self._config.security, self._config.push_ca
        if ca is None:
            return Credentials(security.token)
        try:
            check_files(None, None, ca)
        except TlsError as error:
            raise StartError(f"--push-ca: {error}") from error
        return Credentials(security.token, ca, security.certificate, security.key)



def _audit_key(config: AdminConfig) -> bytes:
    """The key that signs the audit log: a file of its own beside the database, made when missing."""
    path = config.audit_key_file
    if path is None:
        folder = config.database.path.parent if config.database.path is not None else Path.home() / ".prism"
        path = folder / "audit.key"
    try:
        return path.read_bytes()
    except FileNotFoundError:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        key = secrets.token_bytes(32)
        handle = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL, 0o600)
        with os.fdopen(handle, "wb") as file:
            file.write(key)
        return key
