"""Snapshots: built whole or not at all, swapped whole, keeping what did not change."""

from __future__ import annotations

import dataclasses
from typing import Any

import pytest

from prism_proxy._native.runtime.crc32 import partition_of
from prism_proxy.backends.memstore.config import MemstoreConfig
from prism_proxy.models.keyvalue.options import KeyValueOptions
from prism_proxy.namespaces.model import NamespaceConfig
from prism_proxy.namespaces.snapshot import Namespaces, Snapshot, build
from prism_proxy.standard import BACKENDS, make_driver

SMALL = MemstoreConfig(max_bytes=1024 * 1024)


def config(name: str, settings: MemstoreConfig = SMALL, **options: Any) -> NamespaceConfig:
    return NamespaceConfig.of_store(name, "memstore", settings, **options)


def test_a_route_has_all_that_a_call_needs() -> None:
    route = build(7, [config("orders")], make_driver).routes["orders"]
    assert (route.namespace, route.partition, route.revision, route.backend) == (
        "orders", partition_of("orders"), 7, "memstore")
    assert 0 <= route.partition < 256
    binding = route.bindings[b"prism.interfaces.keyvalue.KeyValueBasicInterface"]
    assert binding.store is route.drivers[0].native_store  # type: ignore[attr-defined]


def test_narrow_keys_are_served_by_the_servicer() -> None:
    """A native handler knows only the ordinary rules for keys."""
    narrow = config("orders", keyvalue=KeyValueOptions(narrow_keys=True))
    assert not any(b"keyvalue" in name for name in build(1, [narrow], make_driver).routes["orders"].bindings)


def test_what_did_not_change_keeps_its_driver_and_open_transactions() -> None:
    first = build(1, [config("a"), config("b"), config("c")], make_driver)
    second = build(2, [config("a"), config("b", MemstoreConfig(evict=True)), config("d")], make_driver,
                   first)
    assert second.routes["a"] is first.routes["a"]
    assert second.routes["b"].drivers[0] is not first.routes["b"].drivers[0]
    assert set(second.routes) == {"a", "b", "d"}
    assert set(first.routes) == {"a", "b", "c"}


def test_a_driver_that_adapts_to_its_new_settings_is_kept() -> None:
    first = build(1, [config("a"), config("b")], make_driver)
    second = build(2, [config("a", MemstoreConfig(max_keys=5)),
                       config("b", MemstoreConfig(evict=True))], make_driver, first)
    assert second.routes["a"].drivers[0] is first.routes["a"].drivers[0]
    assert second.routes["b"].drivers[0] is not first.routes["b"].drivers[0]


def test_a_snapshot_cannot_be_changed() -> None:
    snapshot = build(1, [config("a")], make_driver)
    with pytest.raises(TypeError):
        snapshot.routes["b"] = snapshot.routes["a"]  # type: ignore[index]
    with pytest.raises(dataclasses.FrozenInstanceError):
        snapshot.routes["a"].revision = 2  # type: ignore[misc]


def test_swap_tells_listeners_once_and_revisions_grow() -> None:
    namespaces, seen = Namespaces(), list[Snapshot]()
    namespaces.on_swap(seen.append)
    first, second = build(1, [config("a")], make_driver), build(2, [config("b")], make_driver)
    namespaces.swap(first)
    namespaces.swap(second)
    assert seen[1:] == [first, second]
    assert namespaces.resolve("a") is None
    assert namespaces.resolve("b") is second.routes["b"]
    with pytest.raises(ValueError, match="revision 2 is not after 2"):
        namespaces.swap(second)
    assert namespaces.current is second


@pytest.mark.parametrize("configs", [[config("a"), config("a")],
                                     [NamespaceConfig.of_store("a", "no-such-store", None)]],
                         ids=["twice", "unknown-backend"])
def test_a_bad_configuration_is_refused_whole(configs: list[NamespaceConfig]) -> None:
    with pytest.raises(ValueError, match=r"configured twice|no backend 'no-such-store'; known are .*memstore"):
        build(1, configs, make_driver)


@pytest.mark.parametrize("name", ["", "x" * 254, "line\nbreak", "nul\x00", "größe", " lead", "trail ", "\u00a0"])
def test_names_that_no_client_can_send_are_refused(name: str) -> None:
    with pytest.raises(ValueError, match=r"namespace name .* must be 1 to 253 printable ASCII characters"):
        config(name)


def test_names_may_have_all_else() -> None:
    assert config("a b/C:~!").name == "a b/C:~!"


def test_every_built_in_backend_can_be_imported() -> None:
    for backend in BACKENDS:
        with pytest.raises((TypeError, AttributeError)):
            make_driver(backend, object())  # found and called: it is the configuration that is wrong
