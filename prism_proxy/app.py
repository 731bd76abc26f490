"""Puts the process together. The only module that knows every room.

Start: snapshot, drivers, native server, telemetry port. Stop: one signal drains (see `server.lifecycle`), a second one
ends at once; `hard` seconds after the drain's own limit the process ends whatever is left.
"""

from __future__ import annotations

import asyncio
import os
import signal
import threading
import time
from collections.abc import Iterable

from prism_proxy import __version__
from prism_proxy._native import keyvalue as native_keyvalue
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.config import ProxyConfig
from prism_proxy.contracts.driver import Health
from prism_proxy.interfaces.registry import add_interfaces, namespaced
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import DEFAULT, Namespaces, build
from prism_proxy.server.health import HealthServicer, add_health
from prism_proxy.server.lifecycle import Lifecycle, State, close_all
from prism_proxy.server.listener import Address
from prism_proxy.server.reflection import Reflection, add_reflection
from prism_proxy.server.server import Server
from prism_proxy.server.tls import TlsError
from prism_proxy.standard import make_driver
from prism_proxy.telemetry import log
from prism_proxy.telemetry.http import TelemetryServer
from prism_proxy.telemetry.loop_monitor import LoopMonitor
from prism_proxy.telemetry.metrics import Metric, Metrics, Sample, counters, gauges

EXIT_CLEAN, EXIT_ERROR, EXIT_FORCED = 0, 1, 2
HEALTH_REFRESH_SECONDS = 1.0
DRIVER_DRAIN_SECONDS = 3.0  # for writes under way in a driver once the last call has ended
FORCED_END_SECONDS = 1.0  # for closing what is left once the end is forced


class StartError(RuntimeError):
    """The process cannot start; the message says what to change."""


class App:
    """One proxy process."""

    def __init__(self, config: ProxyConfig) -> None:
        log.configure(config.log_level, config.log_format)
        self._log = log.get("prism.proxy")
        self._config = config
        self._namespaces = Namespaces()
        self._metrics = Metrics(version=__version__, namespaced=namespaced)
        self._metrics.collectors.append(self._collect)
        self._health = HealthServicer()
        self._lifecycle = Lifecycle(self._state_changed)
        self._monitor = LoopMonitor(self._metrics.loop_stall)
        self._telemetry = TelemetryServer(self._metrics.render, self._readiness)
        self._server = Server(
            config.limits, stats_for=self._metrics.stats_for, namespaced=namespaced,
            on_tls_error=lambda error: self._log.error("TLS files were not reloaded", error=str(error)))
        self._reflection: Reflection | None = None
        self._refresher: asyncio.Task[None] | None = None
        self._opened = time.monotonic()
        self._signals = 0
        self._stop = asyncio.Event()
        self._force = asyncio.Event()

    async def run(self) -> int:
        """Serve until told to stop; the exit code. StartError when a port or a file cannot be used."""
        loop = asyncio.get_running_loop()
        for number in (signal.SIGTERM, signal.SIGINT):
            loop.add_signal_handler(number, self._signalled)
        await self._start()
        self._lifecycle.enter(State.RUNNING)
        await self._stop.wait()
        return await self._shut_down()

    # --- start ------------------------------------------------------------------------------------------------------

    async def _start(self) -> None:
        memstore = MemstoreConfig(max_bytes=self._config.memory_bytes)
        snapshot = build(1, [NamespaceConfig(DEFAULT, "memstore", memstore)], make_driver)
        for route in snapshot.routes.values():
            await route.driver.open()
        self._namespaces.swap(snapshot)
        self._namespaces.on_swap(lambda current: self._server.set_routes(current.table()))
        services = add_interfaces(self._server, self._namespaces.resolve)
        for path, handler in native_keyvalue.handlers().items():
            self._server.add_native_handler(path, handler)
        services.append(add_health(self._server, self._health))
        self._reflection = add_reflection(self._server, services)
        ports = [self._bind(address) for address in self._config.listen]
        await self._server.start()
        metrics_port = await self._start_telemetry()
        self._monitor.start()
        self._refresher = asyncio.get_running_loop().create_task(self._refresh_health())
        self._log.info("serving", version=__version__, ports=ports, metrics_port=metrics_port, pid=os.getpid(),
                       namespaces=list(snapshot.routes))

    def _bind(self, address: Address) -> int:
        try:
            return self._server.bind(address, self._config.tls, share_port=self._config.reuse_port)
        except TlsError as error:
            raise StartError(str(error)) from error
        except OSError as error:
            raise StartError(f"--listen {address}: {error.strerror or error}; choose another address, or stop the "
                             "process that has it") from error

    async def _start_telemetry(self) -> int | None:
        address = self._config.metrics_listen
        if address is None:
            return None
        try:
            return await self._telemetry.start(address.host, address.port)
        except OSError as error:
            raise StartError(f"--metrics-listen {address}: {error.strerror or error}; choose another address or 'off'"
                             ) from error

    async def _refresh_health(self) -> None:
        """Keep `namespace/<name>` of grpc.health.v1 at what the drivers say."""
        known: set[str] = set()
        while True:
            routes = self._namespaces.current.routes
            for name in known - routes.keys():
                self._health.remove(f"namespace/{name}")
            for name, route in routes.items():
                self._health.set(f"namespace/{name}", route.driver.health().status is not Health.UNHEALTHY)
            known = set(routes)
            await asyncio.sleep(HEALTH_REFRESH_SECONDS)

    # --- stop -------------------------------------------------------------------------------------------------------

    def _signalled(self) -> None:
        self._signals += 1
        (self._stop if self._signals == 1 else self._force).set()

    async def _shut_down(self) -> int:
        limits = self._config.limits
        began = time.monotonic()
        self._end_after(limits.drain_timeout_s + limits.drain_hard_s)
        self._lifecycle.enter(State.DRAINING)
        stop = asyncio.ensure_future(self._server.stop(limits.drain_timeout_s))
        forced = asyncio.ensure_future(self._force.wait())
        await asyncio.wait({stop, forced}, timeout=limits.drain_timeout_s + limits.drain_hard_s,
                           return_when=asyncio.FIRST_COMPLETED)
        ended = stop.result() if stop.done() else None
        self._lifecycle.enter(State.STOPPING)
        forced.cancel()
        if ended is None:
            self._end_after(FORCED_END_SECONDS)
        if self._refresher is not None:
            self._refresher.cancel()
        self._monitor.stop()
        await self._telemetry.close()
        problems = await close_all((route.driver for route in self._namespaces.current.routes.values()),
                                   DRIVER_DRAIN_SECONDS if ended is not None else 0)
        for problem in problems:
            self._log.error("a backend did not close cleanly", exc_info=problem)
        self._lifecycle.enter(State.STOPPED)
        self._log.info("stopped", seconds=round(time.monotonic() - began, 3), aborted=ended, forced=ended is None)
        if ended != 0:
            return EXIT_FORCED
        return EXIT_ERROR if problems else EXIT_CLEAN

    def _end_after(self, seconds: float) -> None:
        """The last resort, from a thread: nothing that hangs, the loop included, may keep the process alive."""

        def end() -> None:
            self._log.error("forced end: something did not stop in time", seconds=seconds)
            os._exit(EXIT_FORCED)

        timer = threading.Timer(seconds, end)
        timer.daemon = True
        timer.start()

    def _state_changed(self, old: State, new: State) -> None:
        if new is State.DRAINING:
            self._health.drain()
            if self._reflection is not None:
                self._reflection.drain()
        self._log.debug("state changed", old=old.value, new=new.value)

    # --- what is shown ----------------------------------------------------------------------------------------------

    def _readiness(self) -> tuple[bool, dict[str, object]]:
        """Ready while calls are served; the state of each namespace is shown, and never takes readiness away."""
        namespaces: dict[str, object] = {}
        for name, route in self._namespaces.current.routes.items():
            report, declared = route.driver.health(), route.driver.declaration
            namespaces[name] = {
                "backend": route.backend, "health": report.status.name.lower(), "message": report.message,
                "state": declared.state, "durability": declared.durability}
        state = self._lifecycle.state
        return state is State.RUNNING, {"state": state.value, "namespaces": namespaces}

    def _collect(self) -> Iterable[Metric]:
        yield counters("prism_limit_hits_total", "Limits hit, by name.", "limit", self._server.limit_hits())
        yield Metric("prism_loop_long_stalls_total", "counter", "Timers of the event loop that fired over 2 ms late.",
                     [Sample((), self._monitor.long_stalls)])
        yield gauges("prism_ready", "1 while this process should get calls.", {(): float(self._readiness()[0])})
        for name, value in self._server.stats().items():
            yield gauges(f"prism_server_{name}", f"Server gauge: {name.replace('_', ' ')}.", {(): value})
        routes = self._namespaces.current.routes
        yield gauges("prism_namespace_health", "1 healthy, 2 degraded, 3 unhealthy.", {
            (("namespace", name), ("backend", route.backend)): float(route.driver.health().status.value)
            for name, route in routes.items()})
        drivers = {route.backend: __version__ for route in routes.values()}
        yield gauges("backend_driver_info", "Drivers in use.", {
            (("name", name), ("version", version)): 1.0 for name, version in drivers.items()})
        yield gauges("backend_driver_uptime_seconds", "Time since the driver was opened.", {
            (("name", name),): time.monotonic() - self._opened for name in drivers})
