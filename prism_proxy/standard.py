"""Every built-in backend and pattern, and the extra that installs what a backend needs.

Third parties use the entry point `prism.backends`: a driver class with its configuration class as `config_class`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple

from prism_proxy.contracts.driver import Declaration
from prism_proxy.contracts.pattern import PatternDeclaration


class Entry(NamedTuple):
    """`factory` and `config` are MODULE:CLASS, imported on first use so that start-up pays for nothing unused."""

    factory: str
    config: str
    extra: str | None


BACKENDS: dict[str, Entry] = {
    "memstore": Entry("prism_proxy.backends.memstore.driver:MemstoreDriver",
                      "prism_proxy.backends.memstore.config:MemstoreConfig", None),
    "sqlite": Entry("prism_proxy.backends.sqlite.driver:SqliteDriver",
                    "prism_proxy.backends.sqlite.config:SqliteConfig", None),
    "redis": Entry("prism_proxy.backends.redis.driver:RedisDriver",
                   "prism_proxy.backends.redis.config:RedisConfig", "redis"),
}
PATTERNS: dict[str, str] = {
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
            return self._make(backend, _load(entry.factory), config)
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
    found: type[Any] = _load(entry.config) if entry is not None else _third_party(backend).config_class
    return found


def declaration(backend: str, config: Any) -> Declaration:
    """What a backend so configured declares. ValueError as `make_driver`, for backends only their driver knows."""
    found = getattr(config, "declaration", None)
    if not isinstance(found, Declaration):
        found = make_driver(backend, config).declaration
    assert isinstance(found, Declaration)
    return found


def pattern(name: str) -> PatternDeclaration:
    """The declaration of a pattern. KeyError for an unknown one."""
    found: PatternDeclaration = _load(PATTERNS[name])
    return found


def backends() -> list[str]:
    """The names of all backends, third parties' included."""
    return sorted(BACKENDS.keys() | _entry_points().keys())


def _load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(import_module(module), name)


def _entry_points() -> dict[str, Any]:
    from importlib.metadata import entry_points  # 12 ms that a start with built-in backends need not pay

    return {point.name: point for point in entry_points(group="prism.backends")}


def _third_party(backend: str) -> type[Any]:
    found = _entry_points()
    if backend not in found:
        known = ", ".join(sorted(BACKENDS.keys() | found.keys()))
        raise ValueError(f"there is no backend {backend!r}; known are {known}")
    loaded: type[Any] = found[backend].load()
    return loaded
