"""Reads the configuration file again when asked to (SIGHUP), and activates it: whole, or not at all.

It hands the namespaces to the process or the workers that serve them. What a running process cannot change is named.
"""

from __future__ import annotations

import asyncio
import dataclasses
import signal
from collections.abc import Awaitable, Callable, Iterable, Iterator, Sequence
from typing import Any

from prism_proxy import standard
from prism_proxy.configuration.loader import Configuration, ConfigurationSource
from prism_proxy.contracts.driver import VOLATILE
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.process_config import ProxyConfig
from prism_proxy.telemetry.metrics import Metric, counters, gauges
from prism_runtime import log
from prism_runtime.configuration.problems import ConfigurationError
from prism_runtime.settings import setting_of

NAMES_LOGGED = 50
Apply = Callable[[Configuration], Awaitable[None]]


class Reloader:
    """`apply` activates a configuration or raises, and then nothing has changed; one reload runs at a time."""

    def __init__(self, source: ConfigurationSource, current: Configuration, apply: Apply) -> None:
        self._log = log.get("prism.configuration")
        self._source = source
        self._apply = apply
        self._one = asyncio.Lock()
        self._asked = asyncio.Event()
        self._task: asyncio.Task[None] | None = None
        self._results = {"ok": 0, "failed": 0}
        self._problems: tuple[str, ...] = ()
        self._started = current.proxy
        self._later: list[str] = []
        self._namespaces = {one.name: one for one in current.namespaces}
        self.revision = 1

    def on_signal(self) -> None:
        """From now on SIGHUP asks for a reload, where there is a file; `start` lets it happen."""
        if self._source.file is not None:
            asyncio.get_running_loop().add_signal_handler(signal.SIGHUP, self._asked.set)

    def start(self) -> None:
        """Do what was asked for, and will be: the first configuration is active."""
        self._task = asyncio.get_running_loop().create_task(self._follow())

    async def close(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def reload(self) -> bool:
        """Read and apply. False when it is refused: then everything is as before, and the log says why."""
        from prism_proxy.errors import PrismError  # brings grpc, which a supervisor of workers starts without

        async with self._one:
            try:
                # In a thread: a file of a thousand namespaces takes longer to read than a call may wait.
                found = await asyncio.to_thread(self._source.load)
                await self._apply(found)
            except ConfigurationError as error:
                return self._refused([str(problem) for problem in error.problems])
            except (ValueError, PrismError) as error:
                return self._refused([str(error)])
            except Exception as error:  # noqa: BLE001 - a defect of ours must not end what reads the next file
                self._log.error("reading the configuration failed unexpectedly", exc_info=error)
                return self._refused([repr(error)])
            self._accepted(found)
            return True

    def _accepted(self, found: Configuration) -> None:
        self.revision += 1
        self._results["ok"] += 1
        self._problems = ()
        self._later = restart_needed(self._started, found.proxy)
        self._log.info("configuration reloaded", file=str(self._source.file), revision=self.revision,
                       namespaces=len(found.namespaces), **self._changes(found.namespaces))
        if self._later:
            self._log.warning("these settings changed, and take effect at the next start only", settings=self._later)

    def _changes(self, found: Sequence[NamespaceConfig]) -> dict[str, Any]:
        """What differs from the configuration before, for the log. Of what was removed, data in memory are gone."""
        before, self._namespaces = self._namespaces, {one.name: one for one in found}
        after = self._namespaces
        removed = [name for name in before if name not in after]
        told = {"added": [name for name in after if name not in before],
                "changed": [name for name in after if name in before and before[name] != after[name]],
                "removed": removed, "data_lost": [name for name in removed if _volatile(before[name])]}
        changes = {
            what: [*names[:NAMES_LOGGED], *([f"and {len(names) - NAMES_LOGGED} more"] * (len(names) > NAMES_LOGGED))]
            for what, names in told.items() if names}
        return changes or {"changed": []}

    def status(self) -> dict[str, Any]:
        """For `/ready`."""
        return {"file": str(self._source.file) if self._source.file is not None else None, "revision": self.revision,
                "reloads": dict(self._results), "problems": list(self._problems), "restart_needed": self._later}

    def collect(self) -> Iterable[Metric]:
        """The metrics of reloading."""
        yield counters("prism_config_reloads_total", "Times the configuration was read again, by result.", "result",
                       self._results)
        yield gauges("prism_config_revision", "Configurations activated since the start.",
                     {(): float(self.revision)}, merge="max")

    async def _follow(self) -> None:
        while True:
            await self._asked.wait()
            self._asked.clear()
            await self.reload()

    def _refused(self, problems: list[str]) -> bool:
        self._results["failed"] += 1
        self._problems = tuple(problems)
        self._log.error("configuration refused, the old one stays active", file=str(self._source.file),
                        problems=problems)
        return False


def _volatile(namespace: NamespaceConfig) -> bool:
    """Whether some data of it are kept by its driver alone, in memory."""
    return any(standard.declaration(slot.driver, slot.config).durability == VOLATILE
               for slot in namespace.slots.values())


def restart_needed(before: ProxyConfig, after: ProxyConfig) -> list[str]:
    """The settings that differ and that a running process cannot change."""
    return list(_changed(before, after, ""))


def _changed(before: Any, after: Any, prefix: str) -> Iterator[str]:
    for field in dataclasses.fields(before):
        declared = setting_of(field)
        old, new = getattr(before, field.name), getattr(after, field.name)
        if old == new or (declared is not None and declared.live):
            continue
        if dataclasses.is_dataclass(old) and type(old) is type(new) and old is not None:
            yield from _changed(old, new, f"{prefix}{field.name}.")
        else:
            yield f"{prefix}{field.name}"
