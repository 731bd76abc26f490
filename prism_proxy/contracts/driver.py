"""The life of a backend driver, and what it declares about itself.

`Driver` is what every driver has. What else a driver or its settings may offer is found by name; this is all of it:

    of a driver object     `Adaptable`, `Native`; `contracts.movable.Movable` where it declares `movable`
    of a driver class      `Sharer`: what the drivers of one process have together; `ThirdParty`
    of settings            `Declares`, `Scoped` and `Sharing`, `Relocatable`, `Inspectable`,
                           `Ambient`
    of option groups       `Occupying`
"""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from dataclasses import dataclass, field
from enum import Enum
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple, Protocol

if TYPE_CHECKING:
    from prism_proxy.errors import PrismError


VOLATILE = "volatile"  # the durability of what ends with the process


class Health(Enum):
    """Values are those of prism.interfaces.HealthStatus."""

    HEALTHY = 1
    DEGRADED = 2
    UNHEALTHY = 3


class Connections(NamedTuple):
    """Connections that a driver has `open` at `server`, of which `idle` ones have nothing to do. Drivers that share
    them name the same `pool`; it is empty for a driver's own."""

    server: str
    open: int
    idle: int
    pool: str = ""


@dataclass(frozen=True, slots=True)
class HealthReport:
    """A driver's own view; `details` are shown to operators and hold no secrets. A driver that was `closed` does not
    become better. Metrics are made of `connections`, and of `evicted`: keys dropped for want of memory. `stored_bytes`
    is what the data take in this process or on this machine."""

    status: Health
    message: str = ""
    details: dict[str, str] = field(default_factory=dict)
    closed: bool = False
    connections: Connections | None = None
    evicted: int | None = None
    stored_bytes: int | None = None


@dataclass(frozen=True, slots=True)
class Declaration:
    """Made once, in driver code. What does not depend on settings stands as `DECLARES` on the settings class, or as
    `declaration` on the driver class, where it can be read without an instance.

    `state` is "local" (data lives in this process or machine) or "shared"; `durability` names the strongest loss a
    caller must expect: "volatile", "checkpointed", "synced", or what the product promises. `exclusive` names what only
    one driver at a time can have, such as a file. `parts` are the driver's attributes that are not commands but objects
    with the commands of one data model, such as `pubsub`. `movable` says that a local driver is
    `contracts.movable.Movable`: without it, its data never leave the proxy that has them. `switched_off` are
    interfaces that it would have with other settings, and `switch` says which.
    """

    name: str
    interfaces: frozenset[str]
    state: str
    durability: str
    exclusive: str = ""
    parts: frozenset[str] = frozenset()
    movable: bool = False
    switched_off: frozenset[str] = frozenset()
    switch: str = ""


class Area(NamedTuple):
    """Part of what a `server` keeps: all whose names begin with `prefix`. Areas that cover each other are no mistake
    where both are `shared`. `machine`: the name of the server means another one on each machine, as localhost does."""

    server: str
    prefix: bytes
    shared: bool = False
    machine: bool = False


class Sharing(Protocol):
    """What settings may offer of a server that namespaces share: where their data are, once `within` has named the
    namespace. Areas of two namespaces must not cover each other."""

    def within(self, namespace: str) -> Sharing: ...

    @property
    def areas(self) -> Collection[Area]: ...


class Occupying(Protocol):
    """What a group of options may offer that names places of a server, such as buckets: the slot whose server it is,
    and the areas there. `slots` has the configuration of each slot by name."""

    def areas_in(self, namespace: str, slots: Mapping[str, Any]) -> tuple[str, Collection[Area]]: ...


class Scoped(Protocol):
    """What settings may offer whose server serves several namespaces: to keep the data of each apart."""

    def within(self, namespace: str) -> Any:
        """These settings, for the data of one namespace."""
        ...


class Declares(Protocol):
    """What settings may offer: the declaration of their driver, without making one. A built-in backend has it."""

    DECLARES: Declaration

    @property
    def declaration(self) -> Declaration:
        """As these settings have it: durability may follow from them."""
        ...


class Native(Protocol):
    """What a driver may offer beside `Driver`: its store, for handlers in native code. The class of a third party's
    driver names as `native` the MODULE:FUNCTION that makes these handlers, by the path of their method."""

    native: str | None

    @property
    def native_store(self) -> object | None:
        """None while native handlers must leave the calls to servicers."""
        ...


class Sharer(Protocol):
    """What a driver class may offer: `Shared` makes what all its drivers of one process have together, such as
    connections, and each gets it as its second argument."""

    Shared: type[Any]


class ThirdParty(Protocol):
    """What the driver class of an entry point `prism.backends` has: the class of its settings."""

    config_class: type[Any]


class Adaptable(Protocol):
    """What a driver may offer beside `Driver`: to take another configuration while it serves."""

    def adapts(self, config: Any) -> bool:
        """Whether `adapt` would do; nothing changes."""
        ...

    def adapt(self, config: Any) -> None: ...


class Relocatable(Protocol):
    """What settings may offer that name files other than by fields of type Path: of assigned namespaces, no file may be
    outside of one folder. Fields of type Path are seen to without it."""

    def relocated(self, place: Callable[[Path], Path]) -> Any:
        """These settings with each path replaced by what `place` says, which raises ValueError for a forbidden one."""
        ...


class Ambient(Protocol):
    """What settings may offer whose driver can use credentials of the machine. Namespaces of an admin must not, nor one
    that waits for credentials of a provider: it has the settings `without_credentials` until they come."""

    @property
    def ambient(self) -> bool: ...

    def without_credentials(self) -> Any: ...


class Inspectable(Protocol):
    """What settings may offer: a look at the files they name, for `config check`. Nothing is changed by it."""

    def trouble(self) -> tuple[str, str] | None:
        """The setting that cannot be used on this machine now, and why; None when there is none."""
        ...


class Driver(Protocol):
    """`open` may be called once; a backend that is not up yet is no error, it shows in `health`.

    After `drain` no new work arrives and running work ends; `close` frees everything and may follow at any time.
    """

    @property
    def declaration(self) -> Declaration: ...

    async def open(self) -> None: ...

    async def drain(self, deadline_s: float) -> None: ...

    async def close(self) -> None: ...

    def health(self) -> HealthReport: ...

    def classify(self, error: Exception) -> PrismError | None:
        """The caller's error for a raw error of this backend; None when it is a defect of ours."""
        ...
