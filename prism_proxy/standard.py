"""Every built-in backend, and the extra that installs what it needs.

Third parties use the entry point `prism.backends`.
"""

from __future__ import annotations

from importlib import import_module
from typing import Any, NamedTuple


class Entry(NamedTuple):
    """`factory` is MODULE:CLASS, imported on first use so that start-up pays for nothing unused."""

    factory: str
    extra: str | None


BACKENDS: dict[str, Entry] = {
    "memstore": Entry("prism_proxy.backends.memstore.driver:MemstoreDriver", None),
    "sqlite": Entry("prism_proxy.backends.sqlite.driver:SqliteDriver", None),
}


def make_driver(backend: str, config: Any) -> Any:
    """A new driver of a backend. ValueError names the backends there are, or the extra to install."""
    entry = BACKENDS.get(backend)
    if entry is None:
        from importlib.metadata import entry_points  # 12 ms that a start with built-in backends need not pay

        found = {point.name: point for point in entry_points(group="prism.backends")}
        if backend not in found:
            known = ", ".join(sorted(BACKENDS.keys() | found.keys()))
            raise ValueError(f"there is no backend {backend!r}; known are {known}")
        return found[backend].load()(config)
    module, _, name = entry.factory.partition(":")
    try:
        return getattr(import_module(module), name)(config)
    except ModuleNotFoundError as error:
        raise ValueError(f"backend {backend!r} needs {error.name}: pip install 'prism-proxy[{entry.extra}]'") from error
