"""A worker: the app around a control channel. It ends when its supervisor says so, and when its supervisor is gone."""

from __future__ import annotations

import asyncio
import os
import signal
import socket
from collections.abc import Mapping

from prism_proxy._native.grpc.quota import SharedQuotaTable
from prism_proxy._native.runtime.process import signal_at_parent_death
from prism_proxy.app import App
from prism_proxy.errors import PrismError
from prism_proxy.membership.control_call import ControlCall, ControlReply
from prism_proxy.namespaces.activator import Prepared
from prism_proxy.namespaces.placement import Placement
from prism_proxy.namespaces.status import NamespaceStatus
from prism_proxy.process_config import ProxyConfig
from prism_proxy.processes.channel import Channel
from prism_proxy.processes.internal_sockets import remove
from prism_proxy.processes.messages import (
    Answer,
    Asked,
    Collect,
    Commit,
    Discard,
    Drain,
    Drained,
    EndCalls,
    Failed,
    Force,
    MergedStatus,
    MetricsSnapshot,
    Partitions,
    Prepare,
    Ready,
    Replied,
    SetOverrides,
    Start,
    StatusUpdate,
    Stop,
)
from prism_proxy.telemetry.merge import pack
from prism_runtime import log
from prism_runtime.lifecycle import EXIT_ERROR, StartError, spare_collector
from prism_runtime.tasks import Tasks

UNASKED = 0  # the number of figures that nobody asked for


async def run(channel_fd: int) -> int:
    """Be the worker that the supervisor at the other end of `channel_fd` asks for; the exit code."""
    channel = await Channel.open(socket.socket(fileno=channel_fd))
    start = await channel.receive()
    if not isinstance(start, Start):
        return EXIT_ERROR  # the supervisor ended meanwhile
    log.configure(start.config.log_level, start.config.log_format, worker=start.worker)
    return await Worker(channel, start).run()


class Worker:
    def __init__(self, channel: Channel, start: Start) -> None:
        self._channel = channel
        self._start = start
        self._drain = asyncio.Event()
        self._force = asyncio.Event()
        self._stop = asyncio.Event()
        self._opened = asyncio.Event()
        self._prepared: tuple[Prepared, ProxyConfig] | None = None
        self._told: Mapping[str, NamespaceStatus] | None = None
        self._tasks = Tasks()
        self._asked: dict[int, asyncio.Future[ControlReply]] = {}
        self._asked_last = 0
        self._app = App(
            start.config, placement=Placement(start.worker, start.workers),
            page=SharedQuotaTable(fd=start.quotas, worker=start.worker),
            peers=[f"unix:{path}" for path in start.internal_paths], report=self._report,
            ask=self._ask if start.config.admin.joined else None)

    async def run(self) -> int:
        loop = asyncio.get_running_loop()
        loop.add_signal_handler(signal.SIGTERM, self._drain.set)
        loop.add_signal_handler(signal.SIGINT, lambda: None)  # a terminal sends it to supervisor and workers alike
        signal_at_parent_death(signal.SIGTERM)
        listening = loop.create_task(self._listen())
        self._app.cluster.set_overrides(self._start.unlisted, self._start.paused)
        try:
            await self._app.open(self._start.namespaces)
            if self._start.partitions is not None:
                self._app.cluster.set_partition_map(self._start.partitions)
            await self._app.serve(
                [socket.socket(fileno=number) for number in self._start.sockets],
                internal=socket.socket(fileno=self._start.internal_socket), owned=False)
        except StartError as error:
            self._channel.send(Failed(str(error)))
            await self._channel.flush()
            return EXIT_ERROR
        self._opened.set()
        spare_collector()
        self._channel.send(Ready())
        await self._drain.wait()
        await self._app.drain(self._force)
        await self._figures(UNASKED)
        self._channel.send(Drained())
        await self._stop.wait()
        code = await self._app.close()
        await self._figures(UNASKED)
        await self._channel.flush()
        listening.cancel()
        return code

    async def _listen(self) -> None:
        """Do what the supervisor says; its end is the end of the worker too."""
        while (message := await self._channel.receive()) is not None:
            match message:
                case Collect(number):
                    self._tasks.spawn(self._figures(number))
                case Prepare():
                    self._tasks.spawn(self._prepare(message))
                case Commit(number) | Discard(number):
                    self._tasks.spawn(self._conclude(number, commit=isinstance(message, Commit)))
                case MergedStatus(namespaces):
                    self._app.show_health(namespaces)
                case Partitions(found):
                    self._app.cluster.set_partition_map(found)
                case SetOverrides(unlisted, paused):
                    self._app.cluster.set_overrides(unlisted, paused)
                case EndCalls(namespaces):
                    self._app.activator.end_calls(namespaces)
                case Asked(number, request):
                    self._tasks.spawn(self._answer(number, request))
                case Replied(number, reply):
                    self._asked.pop(number).set_result(reply)
                case Drain():
                    self._drain.set()
                case Stop():
                    self._stop.set()
                case Force():
                    self._force.set()
                    self._stop.set()
        log.get("prism.worker").warning("the supervisor is gone: draining", pid=os.getpid())
        remove(self._start.internal_paths)
        self._drain.set()
        self._stop.set()

    async def _ask(self, request: ControlCall) -> ControlReply:
        """What the supervisor, who is the member of the admin's cluster, replies to a call."""
        self._asked_last += 1
        number = self._asked_last
        self._asked[number] = reply = asyncio.get_running_loop().create_future()
        self._channel.send(Asked(number, request))
        return await asyncio.shield(reply)

    async def _answer(self, number: int, request: ControlCall) -> None:
        """What the supervisor asks of the worker that has the data of a move."""
        await self._opened.wait()
        from prism_proxy.processes.migration_workers import WorkerMigration  # a proxy of its own needs none

        assert self._app.cluster.migration_worker is not None
        self._channel.send(Replied(number, await WorkerMigration(self._app.cluster.migration_worker).answer(request)))

    async def _figures(self, number: int) -> None:
        self._channel.send(MetricsSnapshot(number, await pack(self._app.metrics.families())))

    async def _prepare(self, request: Prepare) -> None:
        await self._opened.wait()
        try:
            self._prepared = await self._app.activator.prepare(request.namespaces), request.config
        except (ValueError, PrismError) as error:
            self._channel.send(Answer(request.number, str(error)))
        else:
            self._channel.send(Answer(request.number))

    async def _conclude(self, number: int, *, commit: bool) -> None:
        """The end of a change that was prepared here, or not: the supervisor need not know which."""
        problem = None
        if self._prepared is not None:
            (change, config), self._prepared = self._prepared, None
            if not commit:
                await change.discard()
            elif (problem := await self._commit(change)) is None:
                log.configure(config.log_level, config.log_format, worker=self._start.worker)
                self._report(self._app.process_status.namespaces())
        self._channel.send(Answer(number, problem))

    async def _commit(self, change: Prepared) -> str | None:
        """What kept the change from being activated, if anything."""
        try:
            await change.commit()
        except PrismError as error:
            return str(error)
        return None

    def _report(self, namespaces: Mapping[str, NamespaceStatus]) -> None:
        if namespaces != self._told:
            self._told = namespaces
            self._channel.send(StatusUpdate(namespaces))
