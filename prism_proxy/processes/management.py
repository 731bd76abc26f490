"""What changes the namespaces of a running proxy: its configuration file, and the admin it has joined.

The same for a proxy of one process and for a supervisor of workers; what it changes is behind `Managed`. It serves no
call, and it never activates anything by itself: `Managed.apply` does.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Iterator, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

from prism_proxy.configuration.loader import Configuration, ConfigurationSource
from prism_proxy.configuration.reloader import Reloader
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.status import NamespaceStatus
from prism_proxy.process_config import ProxyConfig
from prism_proxy.telemetry.metrics import Metric
from prism_runtime import log

if TYPE_CHECKING:  # a proxy of its own needs no client of the admin
    from prism_proxy.forwarding.partitions import PartitionMap
    from prism_proxy.membership.control_call import ControlCall, ControlReply
    from prism_proxy.membership.member import Member
    from prism_proxy.membership.migration.coordinator import MigrationCoordinator, MigrationWorkers

JOINING = 14  # UNAVAILABLE


class Managed(Protocol):
    """One process that serves calls, or the workers of a supervisor."""

    async def apply(self, proxy: ProxyConfig, namespaces: Sequence[NamespaceConfig]) -> None:
        """Serve these namespaces and no others. ValueError or PrismError, and then nothing has changed."""
        ...

    def end_calls(self, namespaces: Collection[str]) -> None: ...

    def families(self) -> Iterable[Metric | None]: ...

    def states(self) -> Mapping[str, NamespaceStatus]: ...

    def set_partition_map(self, found: PartitionMap) -> None: ...

    def migration_workers(self) -> MigrationWorkers: ...


class Management:
    """Make it on the running loop; SIGHUP asks for a reload from then on. `join` before `start`, `close` first."""

    def __init__(self, source: ConfigurationSource, configuration: Configuration, managed: Managed) -> None:
        self._managed = managed
        self._configuration = configuration
        self._active = configuration.proxy
        self._member: Member | None = None
        self._moves: MigrationCoordinator | None = None
        self._reloader = Reloader(source, configuration, self._apply)
        self._reloader.on_signal()

    async def join(self, ports: Sequence[int]) -> None:
        """Register at the admin, where one is configured, and serve what it assigns. StartError when a file cannot be
        read."""
        config = self._configuration.proxy
        if not config.admin.joined:
            return
        from prism_proxy.membership.member import make_member
        from prism_proxy.membership.migration.coordinator import MigrationCoordinator

        managed = self._managed
        self._moves = MigrationCoordinator(managed.migration_workers())
        self._member = make_member(
            config, ports, self._configuration.namespaces, self._apply_namespaces, managed.end_calls, managed.families,
            managed.states, self._moves, managed.set_partition_map)
        await self._member.start()

    def start(self) -> None:
        """Read the file again when that is asked for."""
        self._reloader.start()

    async def close(self) -> None:
        """No more changes; the admin learns that this proxy stops."""
        await self._reloader.close()
        if self._member is not None:
            await self._member.close()
        if self._moves is not None:
            await self._moves.close()

    async def answer(self, request: ControlCall) -> ControlReply:
        """The reply to a call of the control plane, which may come before this proxy has joined."""
        if self._member is None:
            from prism_proxy.membership.control_call import ControlReply

            return ControlReply(
                code=JOINING, reason="JOINING", text="this proxy has not joined its admin yet: try again")
        return await self._member.answer(request)

    def status(self) -> dict[str, object]:
        """For `/ready`."""
        return {"configuration": self._reloader.status(),
                **({"admin": self._member.status()} if self._member is not None else {})}

    def collect(self) -> Iterator[Metric]:
        yield from self._reloader.collect()
        if self._member is not None:
            yield from self._member.collect()
        if self._moves is not None:
            yield from self._moves.collect()

    async def _apply(self, found: Configuration) -> None:
        """A file that was read again."""
        self._active = found.proxy
        if self._member is None:
            await self._managed.apply(found.proxy, found.namespaces)
        else:
            await self._member.set_file(found.namespaces)
        log.configure(found.proxy.log_level, found.proxy.log_format)

    async def _apply_namespaces(self, namespaces: tuple[NamespaceConfig, ...]) -> None:
        """What the admin assigned, merged with the file."""
        await self._managed.apply(self._active, namespaces)
