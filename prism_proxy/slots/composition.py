"""What a pattern is made of, and what a namespace asks of it.

A namespace fills the slots of its pattern with drivers. The pattern serves thin interfaces over these slots, mostly by
data models: one object per model, which gives the methods of its interfaces their meaning over one slot.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Mapping
from dataclasses import dataclass, field
from typing import Any, Protocol, TypeVar

from prism_proxy._native.grpc.replies import QueuedTotal
from prism_proxy.contracts.driver import HealthReport
from prism_proxy.slots.chain import EMPTY, Chain
from prism_proxy.slots.slot import Slot
from prism_proxy.telemetry.metrics import Metric

OptionsT = TypeVar("OptionsT")
QUEUED_BYTES = 256 * 1024 * 1024


def _nothing(interface: str) -> Any:
    return None


@dataclass(frozen=True, slots=True)
class Surroundings:
    """Where a pattern or a model serves. `implementation` is what serves another thin interface of the namespace, for a
    model that builds on others; None where nothing does. `process` names this process in handles (see `handles`),
    `chain` has the steps of the namespace, `queued` bounds what waits for subscribers of all namespaces."""

    namespace: str = "default"
    process: str = "local-0"
    chain: Chain = EMPTY
    options: Mapping[str, Any] = field(default_factory=dict)
    implementation: Callable[[str], Any] = field(default=_nothing, compare=False, repr=False)
    queued: QueuedTotal = field(default_factory=lambda: QueuedTotal(QUEUED_BYTES))

    def group(self, name: str, cls: type[OptionsT]) -> OptionsT:
        """A group of options that models share; its defaults where nothing is written."""
        found = self.options.get(name)
        return found if isinstance(found, cls) else cls()


@dataclass(frozen=True, slots=True)
class Composition:
    """`slots` by name, those that are filled; `options` has the groups of options of the namespace by name."""

    slots: Mapping[str, Slot[Any]]
    options: Mapping[str, Any] = field(default_factory=dict)
    surroundings: Surroundings = Surroundings()


class Part:
    """The life of a pattern, and of a model within it. Drivers are open before `open` and close after `close`.

    A configuration change makes a new object. Where all drivers stay it gets the one before it as `previous`, and may
    share its state; both are closed, each when its own calls have ended.
    """

    def offers(self, interface: str) -> bool:
        """Of a pattern: whether it serves an interface."""
        return self.implementation(interface) is not None

    def implementation(self, interface: str) -> Any:
        """Of a pattern: see `Pattern`."""
        return None

    async def open(self) -> None:
        """The drivers of its slots are open; it is not active yet, and may never be."""

    async def drain(self, deadline_s: float) -> None:
        """No new work arrives: end what runs."""

    async def close(self) -> None:
        """Let go of everything. May follow at any time, once."""

    def health(self) -> HealthReport | None:
        """What is to be said beside the health of the drivers."""
        return None

    def metrics(self) -> Iterable[Metric]:
        return ()

    def native_slot(self, interface: str) -> Slot[Any] | None:
        """Of a pattern: nothing is served past it."""
        return None


class Pattern(Protocol):
    """One per namespace and configuration; `Part` has what most of them need of it."""

    def native_slot(self, interface: str) -> Slot[Any] | None:
        """The slot by which native handlers may serve an interface: what they do is what the pattern would do."""
        ...

    def offers(self, interface: str) -> bool:
        """Whether it serves an interface; makes nothing that serves it."""
        ...

    def implementation(self, interface: str) -> Any:
        """What serves a thin interface; None when the namespace does not offer it."""
        ...

    async def open(self) -> None: ...

    async def drain(self, deadline_s: float) -> None: ...

    async def close(self) -> None: ...

    def health(self) -> HealthReport | None: ...

    def metrics(self) -> Iterable[Metric]: ...


class PatternFactory(Protocol):
    """A class of patterns; `previous` is of the same namespace and the same pattern, over the same drivers."""

    def __call__(self, composition: Composition, previous: Any = None) -> Pattern: ...


class ModelFactory(Protocol):
    """A class of models, which are `Part`s; `previous` is of the same namespace and the same model."""

    def __call__(self, slot: Slot[Any], options: Any, surroundings: Surroundings, previous: Any = None) -> Any: ...
