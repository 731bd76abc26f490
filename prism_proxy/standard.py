"""Every built-in backend, data model and pattern, and the extra that installs what a backend needs.

Third parties use entry points: `prism.backends` for a driver class with its configuration class as `config_class`,
`prism.models` for a `ModelDeclaration`, `prism.patterns` for a `PatternDeclaration`.
"""

from __future__ import annotations

import functools
from collections.abc import Callable, Iterable, Iterator, Mapping, Sequence
from importlib import import_module
from types import MappingProxyType
from typing import Any, NamedTuple

from prism_proxy.contracts.driver import Declaration
from prism_proxy.contracts.pattern import ModelDeclaration, PatternDeclaration
from prism_proxy.contracts.steps import StepDeclaration


class Entry(NamedTuple):
    """`factory` and `config` are MODULE:CLASS, imported on first use so that start-up pays for nothing unused. `native`
    is MODULE:FUNCTION, which makes the native handlers of the backend by the path of their method; `native_sealed` is
    the same for encrypted values; `deferred` has paths by MODULE:FUNCTION of handlers that are not imported before a
    call of theirs."""

    factory: str
    config: str
    extra: str | None
    native: str | None = None
    native_sealed: str | None = None
    deferred: Mapping[str, Sequence[str]] = MappingProxyType({})


_PUBSUB = "/prism.interfaces.pubsub.PubSub"
_QUEUE = "/prism.interfaces.queue.Queue"
_CAS = "/prism.interfaces.keyvalue.KeyValueCASInterface/"
BACKENDS: dict[str, Entry] = {
    "memstore": Entry("prism_proxy.backends.memstore.driver:MemstoreDriver",
                      "prism_proxy.backends.memstore.config:MemstoreConfig", None,
                      "prism_proxy._native.keyvalue.memstore:handlers",
                      "prism_proxy._native.keyvalue.sealed_memstore:handlers",
                      {"prism_proxy._native.pubsub.publish_stream:handlers": (
                          _PUBSUB + "BasicInterface/Publish", _PUBSUB + "BatchInterface/PublishBatch",
                          _PUBSUB + "BatchInterface/PublishStream"),
                       "prism_proxy._native.queue.enqueue:handlers": (
                           _QUEUE + "BasicInterface/Enqueue", _QUEUE + "BatchInterface/EnqueueBatch"),
                       "prism_proxy._native.queue.lease:handlers": (
                           _QUEUE + "BasicInterface/Dequeue", _QUEUE + "VisibilityInterface/DequeueWithTimeout",
                           _QUEUE + "VisibilityInterface/Release", _QUEUE + "BatchInterface/ReleaseBatch")}),
    "sqlite": Entry("prism_proxy.backends.sqlite.driver:SqliteDriver",
                    "prism_proxy.backends.sqlite.config:SqliteConfig", None),
    "redis": Entry("prism_proxy.backends.redis.driver:RedisDriver",
                   "prism_proxy.backends.redis.config:RedisConfig", "redis",
                   "prism_proxy._native.keyvalue.redis:handlers",
                   "prism_proxy._native.keyvalue.sealed_redis:handlers",
                   {"prism_proxy._native.pubsub.redis:handlers": (_PUBSUB + "BasicInterface/Publish",),
                    "prism_proxy._native.pubsub.broker_batch:handlers": (
                        _PUBSUB + "BatchInterface/PublishBatch", _PUBSUB + "BatchInterface/PublishStream"),
                    "prism_proxy._native.keyvalue.compare_redis:handlers": (
                        _CAS + "CompareAndSwap", _CAS + "CompareAndDelete")}),
    "nats": Entry("prism_proxy.backends.nats.driver:NatsDriver",
                  "prism_proxy.backends.nats.config:NatsConfig", "nats", deferred={
                      "prism_proxy._native.pubsub.nats:handlers": (_PUBSUB + "BasicInterface/Publish",),
                      "prism_proxy._native.pubsub.broker_batch:handlers": (
                          _PUBSUB + "BatchInterface/PublishBatch", _PUBSUB + "BatchInterface/PublishStream")}),
    "memory": Entry("prism_proxy.backends.objects.driver:ObjectsDriver",
                    "prism_proxy.backends.objects.config:MemoryObjectsConfig", None),
    "directory": Entry("prism_proxy.backends.objects.driver:ObjectsDriver",
                       "prism_proxy.backends.objects.config:DirectoryConfig", None),
    "s3": Entry("prism_proxy.backends.objects.driver:ObjectsDriver",
                "prism_proxy.backends.objects.config:S3Config", "objects"),
    "minio": Entry("prism_proxy.backends.objects.driver:ObjectsDriver",
                   "prism_proxy.backends.objects.config:MinioConfig", "objects"),
    "gcs": Entry("prism_proxy.backends.objects.driver:ObjectsDriver",
                 "prism_proxy.backends.objects.config:GcsConfig", "objects"),
    "azure": Entry("prism_proxy.backends.objects.driver:ObjectsDriver",
                   "prism_proxy.backends.objects.config:AzureConfig", "objects"),
}
MODELS: dict[str, str] = {
    "keyvalue": "prism_proxy.models.keyvalue.declaration:DECLARATION",
    "pubsub": "prism_proxy.models.pubsub.declaration:DECLARATION",
    "queue": "prism_proxy.models.queue.declaration:DECLARATION",
    "stream": "prism_proxy.models.stream.declaration:DECLARATION",
    "object": "prism_proxy.models.object.declaration:DECLARATION",
    "payload": "prism_proxy.models.payload.declaration:DECLARATION",
}
STEPS: dict[str, str] = {
    "schema": "prism_proxy.steps.validate.declaration:DECLARATION",
    "claim_check": "prism_proxy.steps.claim_check.declaration:DECLARATION",
    "encryption": "prism_proxy.steps.encrypt.declaration:DECLARATION",
}
PATTERNS: dict[str, str] = {
    "primitives": "prism_proxy.patterns.primitives.declaration:DECLARATION",
    "keyvalue": "prism_proxy.patterns.keyvalue.declaration:DECLARATION",
}


def make_driver(backend: str, config: Any) -> Any:
    """A new driver of a backend, which shares nothing. ValueError names the backends there are, or the extra to
    install."""
    return DriverFactory()(backend, config)


class DriverFactory:
    """Makes the drivers of one process. Those whose class names a `Shared` get one of these, the same for all, such as
    connections to one server that they have together."""

    def __init__(self) -> None:
        self._shared: dict[str, Any] = {}

    def __call__(self, backend: str, config: Any) -> Any:
        """As `make_driver`, but for what is shared."""
        entry = BACKENDS.get(backend)
        if entry is None:
            return self._make(backend, _third_party(backend), config)
        try:
            return self._make(backend, load(entry.factory), config)
        except ModuleNotFoundError as error:
            raise ValueError(
                f"backend {backend!r} needs {error.name}: pip install 'prism-proxy[{entry.extra}]'") from error

    def _make(self, backend: str, made: type[Any], config: Any) -> Any:
        kind = getattr(made, "Shared", None)
        if kind is None:
            return made(config)
        if backend not in self._shared:
            self._shared[backend] = kind()
        return made(config, self._shared[backend])


def config_class(backend: str) -> type[Any]:
    """The settings class of a backend. ValueError names the backends there are."""
    entry = BACKENDS.get(backend)
    found: type[Any] = load(entry.config) if entry is not None else _third_party(backend).config_class
    return found


def native(backend: str, *, sealed: bool = False) -> Callable[[], Mapping[str, Any]] | None:
    """What makes the native handlers of a backend, by path, or those for encrypted values (`sealed`); None where it has
    none. A third party's driver class names it as `native`."""
    entry = BACKENDS.get(backend)
    if sealed:
        reference = entry.native_sealed if entry is not None else None
    elif entry is None:
        entry_point = _entry_points("prism.backends").get(backend)
        reference = getattr(entry_point.load(), "native", None) if entry_point is not None else None
    else:
        reference = entry.native
    return None if reference is None else load(reference)


def deferred(backend: str) -> Iterator[tuple[str, Callable[[], Any]]]:
    """The native handlers of a backend that are made at their first call: a method's path, and what makes its one."""
    for reference, paths in BACKENDS[backend].deferred.items() if backend in BACKENDS else ():
        for path in paths:
            yield path, functools.partial(_handler, reference, path)


def _handler(reference: str, path: str) -> Any:
    return load(reference)()[path]


def declaration(backend: str, config: Any) -> Declaration:
    """What a backend so configured declares. ValueError as `make_driver`, for backends only their driver knows."""
    found = getattr(config, "declaration", None)
    if not isinstance(found, Declaration):
        found = make_driver(backend, config).declaration
    assert isinstance(found, Declaration)
    return found


def declares(backend: str) -> Declaration | None:
    """What a backend declares whatever its settings: a `declaration` that its driver class has without an instance, or
    `DECLARES` of its settings class. None where only an instance knows. ValueError as `make_driver`."""
    entry = BACKENDS.get(backend)
    if entry is not None:
        found = [load(entry.config).DECLARES]
    else:
        driver = _third_party(backend)
        found = [getattr(driver, "declaration", None), getattr(driver.config_class, "DECLARES", None)]
    return next((declared for declared in found if isinstance(declared, Declaration)), None)


def pattern(name: str) -> PatternDeclaration:
    """The declaration of a pattern. ValueError names the patterns there are."""
    found: PatternDeclaration = _declared("pattern", name, PATTERNS)
    return found


def step(name: str) -> StepDeclaration:
    """The declaration of a step. ValueError names the steps there are."""
    found: StepDeclaration = _declared("step", name, STEPS)
    return found


def steps(names: Iterable[str] | None = None) -> list[StepDeclaration]:
    """The steps, or those of them that are named, in the order of a chain. Other names are none of steps."""
    wanted = set(STEPS.keys() | _entry_points("prism.steps").keys() if names is None else names)
    known = wanted & STEPS.keys()
    others = wanted - known - MODELS.keys() - PATTERNS.keys()
    if others:
        known |= others & _entry_points("prism.steps").keys()
    return sorted((step(name) for name in known), key=lambda found: (found.place, found.name))


def conflicts(found: Sequence[StepDeclaration]) -> Iterator[tuple[StepDeclaration, StepDeclaration, str]]:
    """The pairs of these steps that a namespace cannot have together, and why."""
    for position, first in enumerate(found):
        for second in found[position + 1:]:
            why = first.conflicts.get(second.name) or second.conflicts.get(first.name)
            if why is None and first.place == second.place:
                why = "both stand at the same place of the chain"
            if why is not None:
                yield first, second, why


def unfit(found: Sequence[StepDeclaration], options: Mapping[str, Any]) -> Iterator[tuple[StepDeclaration, str]]:
    """The steps that cannot work with the groups of options of their namespace, and why."""
    for step in found:
        for why in step.check(options):
            yield step, why


def disagreements(first: Mapping[str, Any], second: Mapping[str, Any]) -> Iterator[str]:
    """Why namespaces with these groups of options cannot get each other's messages."""
    for found in steps(first.keys() | second.keys()):
        yield from found.agree(first.get(found.name) or found.options(), second.get(found.name) or found.options())


def model(name: str) -> ModelDeclaration:
    """The declaration of a data model. ValueError names the models there are."""
    found: ModelDeclaration = _declared("model", name, MODELS)
    return found


def _declared(kind: str, name: str, built_in: Mapping[str, str]) -> Any:
    if name in built_in:
        return load(built_in[name])
    found = _entry_points(f"prism.{kind}s")
    if name not in found:
        raise ValueError(f"there is no {kind} {name!r}; known are {', '.join(sorted(built_in.keys() | found.keys()))}")
    return found[name].load()


def patterns() -> list[str]:
    """The names of all patterns, third parties' included; the built-in ones first."""
    return [*PATTERNS, *sorted(_entry_points("prism.patterns").keys() - PATTERNS.keys())]


def models() -> list[str]:
    """The names of all data models, as `patterns`."""
    return [*MODELS, *sorted(_entry_points("prism.models").keys() - MODELS.keys())]


def backends() -> list[str]:
    """The names of all backends, third parties' included."""
    return sorted(BACKENDS.keys() | _entry_points("prism.backends").keys())


def load(reference: str) -> Any:
    """What MODULE:NAME refers to."""
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


@functools.cache
def _entry_points(group: str) -> Mapping[str, Any]:
    from importlib.metadata import entry_points  # 12 ms that a start with built-in backends need not pay

    return {point.name: point for point in entry_points(group=group)}


def _third_party(backend: str) -> type[Any]:
    found = _entry_points("prism.backends")
    if backend not in found:
        known = ", ".join(sorted(BACKENDS.keys() | found.keys()))
        raise ValueError(f"there is no backend {backend!r}; known are {known}")
    loaded: type[Any] = found[backend].load()
    return loaded
