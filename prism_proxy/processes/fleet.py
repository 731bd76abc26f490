"""The workers there are: each is kept running, started again when it ends, and told what all of them must know.

    start --> ready --> ends --> (backoff) --> start, with the same sockets
                         \\--> given up, after its fifth death in a minute
"""

from __future__ import annotations

import asyncio
import dataclasses
from collections.abc import Callable, Collection, Iterator, Sequence
from typing import Any

from prism_proxy.forwarding.partitions import PartitionMap
from prism_proxy.membership.control_call import ControlCall, ControlCallHandler, ControlReply
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.status import NamespaceStatus
from prism_proxy.process_config import ProxyConfig
from prism_proxy.processes.broadcast import Broadcast
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
from prism_proxy.processes.restarts import Restarts
from prism_proxy.processes.rpc import Rpc
from prism_proxy.processes.status_aggregator import StatusAggregator
from prism_proxy.processes.worker_process import WorkerProcess
from prism_proxy.telemetry.merge import MergedMetrics
from prism_runtime import log
from prism_runtime.lifecycle import EXIT_CLEAN, EXIT_ERROR, EXIT_FORCED, StartError
from prism_runtime.tasks import Tasks

PREPARE_SECONDS = 30.0
CONCLUDE_SECONDS = 10.0  # a file goes from driver to driver within about two
COLLECT_SECONDS = 2.0
FORCED_SECONDS = 2.0  # for workers to end at once by themselves
SILENT_SECONDS = 15.0  # of a worker that runs and answers nothing: it serves nobody either
COLLECT_EVERY_SECONDS = 5.0  # so that little is lost of what a worker counted before it is killed


class _HalfwayError(ValueError):
    """A change is active in some workers and could not be activated in another."""


class WorkerSlot:
    """The place of one worker: what it is started with, and the process that has it now."""

    def __init__(self, start: Start) -> None:
        self.start = start
        self.restarts = Restarts()
        self.process: WorkerProcess | None = None
        self.killed = False
        self.silent_since: float | None = None

    @property
    def serving(self) -> bool:
        return self.process is not None and self.process.ready

    def shown(self) -> dict[str, Any]:
        """The form of `/ready`."""
        return {"worker": self.start.worker, "pid": self.process.pid if self.process is not None else None,
                "state": "serving" if self.serving else "restarting" if self.start.epoch else "starting",
                "restarts": self.restarts.total}


class Fleet:
    """`given_up` is set when a worker cannot be kept running; `on_death(worker)` takes back what one held; `answer`
    replies to calls of the control plane."""

    def __init__(self, starts: Sequence[Start], *, on_death: Callable[[int], None] = lambda worker: None,
                 answer: ControlCallHandler | None = None) -> None:
        self._log = log.get("prism.supervisor")
        self.worker_slots = [WorkerSlot(start) for start in starts]
        self.metrics = MergedMetrics()
        self.aggregator = StatusAggregator()
        self.given_up = asyncio.Event()
        self._on_death = on_death
        self._answer = answer
        self._answering = Tasks()
        self._partitions: PartitionMap | None = None
        self._ending = asyncio.Event()
        self._began = asyncio.get_running_loop().create_future()
        self._keepers: list[asyncio.Task[int]] = []
        self._collector: asyncio.Task[None] | None = None
        self._changing = asyncio.Lock()
        self._broadcast = Broadcast()
        self._rpc = Rpc()
        self._known: dict[str, NamespaceStatus] = {}

    def _processes(self) -> Iterator[WorkerProcess]:
        return (worker_slot.process for worker_slot in self.worker_slots if worker_slot.process is not None)

    def _tell(self, message: Any) -> None:
        for process in self._processes():
            process.send(message)

    # --- start and restart ------------------------------------------------------------------------------------------

    async def start(self) -> None:
        """Start all workers and wait until they serve. StartError with what one of them says."""
        loop = asyncio.get_running_loop()
        self._keepers = [loop.create_task(self._keep(worker_slot)) for worker_slot in self.worker_slots]
        for keeper in self._keepers:
            keeper.add_done_callback(self._kept)
        gone = loop.create_task(self.given_up.wait())
        await asyncio.wait({self._began, gone}, return_when=asyncio.FIRST_COMPLETED)
        gone.cancel()
        if not self._began.done():
            self._began.cancel()
            raise StartError("the workers end again and again while they start; what they said stands above")
        self._began.result()
        self._collector = loop.create_task(self._collect_regularly())

    async def _keep(self, worker_slot: WorkerSlot) -> int:
        """Run the worker of a worker_slot until the proxy ends; the exit code of the last one."""
        while True:
            pid, code = await self._run(worker_slot)
            if self._ending.is_set():
                return EXIT_FORCED if worker_slot.killed else EXIT_ERROR if code < 0 else code
            delay = worker_slot.restarts.died()
            self._log.error("a worker ended", worker=worker_slot.start.worker, pid=pid, code=code, restart_in=delay)
            if delay is None:
                self.given_up.set()
                return EXIT_ERROR
            worker_slot.start = dataclasses.replace(worker_slot.start, epoch=worker_slot.start.epoch + 1)
            try:
                await asyncio.wait_for(self._ending.wait(), delay)
            except TimeoutError:
                continue
            return EXIT_CLEAN

    async def _run(self, worker_slot: WorkerSlot) -> tuple[int | None, int]:
        """Run one process in a worker_slot, to its end; its id, if there was one, and its exit code."""
        try:
            async with self._changing:  # a new worker gets the configuration before or after a change, never between
                process = worker_slot.process = await WorkerProcess.start(worker_slot.start, self._heard)
        except OSError as error:
            self._log.error("no process for a worker", worker=worker_slot.start.worker, problem=str(error))
            return None, EXIT_ERROR
        if self._ending.is_set():
            process.send(Drain())
            process.send(Stop())
        code = await process.watch()
        worker_slot.process = worker_slot.silent_since = None
        self._left(worker_slot, code)
        return process.pid, code

    def _kept(self, keeper: asyncio.Task[int]) -> None:
        """A defect in keeping one worker must not leave the others without it for good."""
        if not keeper.cancelled() and keeper.exception() is not None:
            self._log.error("a worker cannot be kept running", exc_info=keeper.exception())
            self.given_up.set()

    def _left(self, worker_slot: WorkerSlot, code: int) -> None:
        worker = worker_slot.start.worker
        self.metrics.retire(str(worker))
        self.aggregator.lost(worker)
        self._on_death(worker)
        self._broadcast.gone(worker)
        self._rpc.gone(worker)
        self._publish()

    # --- what workers say -------------------------------------------------------------------------------------------

    def _heard(self, process: WorkerProcess, message: Any) -> None:
        match message:
            case Ready():
                process.ready = True
                self.worker_slots[process.worker].restarts.serves()
                self._log.debug("a worker serves", worker=process.worker, pid=process.pid, epoch=process.epoch)
                process.send(MergedStatus(self._known))
                if self._partitions is not None:
                    process.send(Partitions(self._partitions))
                start = self.worker_slots[process.worker].start  # may be newer than what this process started with
                process.send(SetOverrides(start.unlisted, start.paused))
                if not self._began.done() and all(worker_slot.serving for worker_slot in self.worker_slots):
                    self._began.set_result(None)
            case Failed(text):
                if not self._began.done():
                    self._ending.set()
                    self._began.set_exception(StartError(text))
                elif not self._ending.is_set():  # else others have said the same
                    self._log.error("a worker cannot start", worker=process.worker, problem=text)
            case MetricsSnapshot(number, metrics):
                self.metrics.put(str(process.worker), metrics)
                self._broadcast.answered(process.worker, number)
            case Answer(number, problem):
                self._broadcast.answered(process.worker, number, problem)
            case StatusUpdate(namespaces):
                self.aggregator.put(process.worker, namespaces)
                self._publish()
            case Asked(number, request):
                self._answering.spawn(self._reply(process, number, request))
            case Replied(number, reply):
                self._rpc.replied(process.worker, number, reply)
            case Drained():
                process.drained.set()
                if not self._ending.is_set():
                    process.send(Stop())  # it was told to end by someone else, alone

    def _publish(self) -> None:
        """Let every worker show the same states, when they have changed."""
        states = self.aggregator.states()
        if states != self._known:
            self._known = states
            self._tell(MergedStatus(states))

    async def _reply(self, process: WorkerProcess, number: int, request: ControlCall) -> None:
        if self._answer is not None:
            process.send(Replied(number, await self._answer(request)))

    def set_partition_map(self, found: PartitionMap) -> None:
        """Let every worker know which proxy serves what."""
        self._partitions = found
        for worker_slot in self.worker_slots:
            worker_slot.start = dataclasses.replace(worker_slot.start, partitions=found)
        self._tell(Partitions(found))

    # --- moves of data ------------------------------------------------------------------------------------------------

    def set_overrides(self, unlisted: frozenset[str], paused: frozenset[str]) -> None:
        """Let every worker know which namespaces get no call, and of which calls wait; workers that start later too."""
        for worker_slot in self.worker_slots:
            worker_slot.start = dataclasses.replace(worker_slot.start, unlisted=unlisted, paused=paused)
        self._tell(SetOverrides(unlisted, paused))

    def end_calls(self, namespaces: Collection[str]) -> None:
        """Fail the calls that are still in progress on inactive routes of these namespaces."""
        self._tell(EndCalls(frozenset(namespaces)))

    async def ask(self, worker: int, request: ControlCall, limit_s: float) -> ControlReply:
        """What one worker replies. WorkerGoneError when it ends before it does; TimeoutError, and it goes on."""
        return await self._rpc.ask(self.worker_slots[worker].process, request, limit_s)

    # --- configuration ----------------------------------------------------------------------------------------------

    async def apply(self, config: ProxyConfig, namespaces: tuple[NamespaceConfig, ...]) -> None:
        """Let every worker serve these namespaces. ValueError, and nothing has changed, when one of them cannot.

        In force when all workers have confirmed it; one that does not is replaced by one that starts with it.
        """
        async with self._changing:
            before = self.worker_slots[0].start
            try:
                await self._put_in_force(config, namespaces)
            except _HalfwayError:
                # One worker could not take over a file, and has put everything back: so do the others.
                await self._put_in_force(before.config, before.namespaces)
                raise

    async def _put_in_force(self, config: ProxyConfig, namespaces: tuple[NamespaceConfig, ...]) -> None:
        everyone = list(self._processes())
        problems, silent = await self._broadcast.ask(
            lambda number: Prepare(number, config, namespaces), everyone, PREPARE_SECONDS)
        if silent:
            problems.append(f"worker {silent[0].worker} did not open the backends within {PREPARE_SECONDS:g} s")
        if problems:
            await self._broadcast.ask(Discard, everyone, CONCLUDE_SECONDS)
            raise ValueError(problems[0])
        for worker_slot in self.worker_slots:
            # What only a new start of the proxy changes stays as it is, so that all workers are alike.
            kept = dataclasses.replace(
                worker_slot.start.config, log_level=config.log_level, log_format=config.log_format)
            worker_slot.start = dataclasses.replace(worker_slot.start, config=kept, namespaces=namespaces)
        self.aggregator.keep({namespace.name for namespace in namespaces})
        problems, silent = await self._broadcast.ask(Commit, everyone, CONCLUDE_SECONDS)
        for process in silent:
            process.kill()
        if problems:
            raise _HalfwayError(problems[0])

    # --- metrics ----------------------------------------------------------------------------------------------------

    async def collect(self) -> None:
        """Bring `metrics` up to date; a worker that does not answer in time counts with what it said last."""
        serving = [process for process in self._processes() if process.ready]
        _, silent = await self._broadcast.ask(Collect, serving, COLLECT_SECONDS)
        now = asyncio.get_running_loop().time()
        for worker_slot in self.worker_slots:
            if worker_slot.process not in silent:
                worker_slot.silent_since = None
            elif worker_slot.silent_since is None:
                worker_slot.silent_since = now
            elif now - worker_slot.silent_since > SILENT_SECONDS and worker_slot.process is not None:
                self._log.error("a worker does not answer, and is killed", worker=worker_slot.start.worker,
                                pid=worker_slot.process.pid, seconds=round(now - worker_slot.silent_since, 1))
                worker_slot.process.kill()

    async def _collect_regularly(self) -> None:
        while True:
            await asyncio.sleep(COLLECT_EVERY_SECONDS)
            await self.collect()

    # --- end --------------------------------------------------------------------------------------------------------

    async def drain(self, force: asyncio.Event, limit_s: float) -> int:
        """End all workers at the same time; their combined exit code, within `limit_s` seconds.

        Each goes on serving what others forward to it until all of them have drained.
        """
        self._ending.set()
        if self._collector is not None:
            self._collector.cancel()
        self._tell(Drain())
        loop = asyncio.get_running_loop()
        deadline = loop.time() + limit_s
        forced = loop.create_task(self._force(force))
        drained = [asyncio.ensure_future(process.drained.wait()) for process in self._processes()]
        if drained:
            await asyncio.wait(drained, timeout=limit_s)
        self._tell(Stop())
        await asyncio.wait(self._keepers, timeout=max(0.0, deadline - loop.time()))
        forced.cancel()
        self.kill()
        codes = await asyncio.gather(*self._keepers, return_exceptions=True)
        return max((EXIT_ERROR if isinstance(code, BaseException) else code for code in codes), default=EXIT_CLEAN)

    async def _force(self, force: asyncio.Event) -> None:
        await force.wait()
        self._tell(Force())
        await asyncio.sleep(FORCED_SECONDS)
        self.kill()

    def kill(self) -> None:
        """End what is left of the workers, now."""
        self._ending.set()
        for worker_slot in self.worker_slots:
            if worker_slot.process is not None:
                worker_slot.killed = True
                worker_slot.process.kill()
