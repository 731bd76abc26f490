"""The catalogue of the thin interfaces: those of our contract, and those of third parties' data models.

A backend declares the names it implements, once, in its driver; presence means the capability works. Servicers,
operations, suites, registry files and errors take services and methods from here and nowhere else. Ours are made from
the `.proto` files by the build, so that a start imports no stubs.
"""

from __future__ import annotations

import functools
from collections.abc import Mapping
from importlib import import_module

from prism.interfaces.catalogue import INTERFACES
from prism_proxy import standard
from prism_proxy.interfaces.interface import BLOCKING, READ, STREAM, Interface, Method


@functools.cache
def catalogue() -> Mapping[str, Interface]:
    """The interfaces of our contract by name."""
    return {name: Interface(name, model, service, proto, doc, tuple(Method(*method) for method in methods))
            for name, model, service, proto, doc, methods in INTERFACES}


def interface(name: str) -> Interface | None:
    """An interface that this proxy can serve: of the contract, if there is a model for it, or of a third party."""
    found = catalogue().get(name)
    if found is None:
        return third_party().get(name)
    return found if found.model in standard.MODELS else None


@functools.cache
def third_party() -> Mapping[str, Interface]:
    """The interfaces of the data models that others installed, by name."""
    from prism_proxy.interfaces.descriptors import interfaces_of

    return {found.name: found for name in standard.models() if name not in standard.MODELS
            for stubs in standard.model(name).stubs for found in interfaces_of(import_module(stubs).DESCRIPTOR)}


def of_model(model: str) -> tuple[Interface, ...]:
    """The interfaces of a data model of the contract."""
    return tuple(found for found in catalogue().values() if found.model == model)


def served() -> tuple[Interface, ...]:
    """The interfaces of the contract that a data model here serves."""
    return tuple(found for found in catalogue().values()
                 if found.model in standard.MODELS and found.name in standard.model(found.model).servicers)


@functools.cache
def _services() -> Mapping[str, Interface]:
    return {found.service: found for found in served()}


def namespaced(path: str) -> bool:
    """Whether the method at `path` belongs to a service whose calls name a namespace."""
    service = path.lstrip("/").rpartition("/")[0]
    return service in _services() or of_third_party(service) is not None


def lasting(path: str) -> bool:
    """Whether the method at `path` is a stream that lasts as long as its caller wants."""
    return _has_effect(path, STREAM)


def waits(path: str) -> bool:
    """Whether the method at `path` may wait for something to arrive."""
    return _has_effect(path, BLOCKING)


def _has_effect(path: str, effect: str) -> bool:
    service, _, name = path.lstrip("/").rpartition("/")
    found = _services().get(service) or of_third_party(service)
    return found is not None and any(method.name == name and method.effect == effect for method in found.methods)


def of_third_party(service: str) -> Interface | None:
    """The interface of a third party that a service is."""
    if service.startswith(("prism.", "grpc.")):  # ours, and nobody need be asked
        return None
    return next((found for found in third_party().values() if found.service == service), None)


@functools.lru_cache(maxsize=16)
def reads(interfaces: frozenset[str]) -> frozenset[bytes]:
    """Paths of those of their methods that change nothing, and need nothing of the process that serves them but the
    data."""
    known = [found for name in interfaces if (found := interface(name)) is not None]
    return frozenset(found.path(method.name).encode() for found in known for method in found.methods
                     if method.effect == READ)
