"""The capability registry in `registry/` and the code say the same, both ways."""

from __future__ import annotations

import importlib
from pathlib import Path
from typing import Any

import pytest
import yaml

from prism_proxy import standard
from prism_proxy.interfaces.catalogue import catalogue, reads, served
from prism_proxy.interfaces.descriptors import interfaces_of
from prism_runtime.configuration.binder import Binder
from prism_runtime.configuration.document import parse
from prism_runtime.configuration.problems import Problems
from prism_runtime.configuration.tree import Table
from scripts import registry

ROOT = Path(__file__).parents[2]
REGISTRY = ROOT / "registry"
INTERFACES = catalogue()


def files(kind: str) -> dict[str, dict[str, Any]]:
    return {file.stem: yaml.safe_load(file.read_text()) for file in sorted((REGISTRY / kind).iterdir())}


def load(reference: str) -> Any:
    module, _, name = reference.partition(":")
    return getattr(importlib.import_module(module), name)


def test_there_is_one_file_for_everything_built_and_for_nothing_else() -> None:
    assert set(files("interfaces")) == set(INTERFACES)
    assert set(files("backends")) == set(standard.BACKENDS), "registry/backends needs one file for each backend"
    assert set(files("patterns")) == set(standard.PATTERNS)
    for interface in served():
        servicer = load(standard.model(interface.model).servicers[interface.name])
        assert servicer.interface == interface.name
        assert all(callable(getattr(servicer, method.name)) for method in interface.methods)
    assert b"/prism.interfaces.keyvalue.KeyValueTTLInterface/GetTTL" in reads(frozenset(INTERFACES))


@pytest.mark.parametrize("name", files("interfaces"))
def test_interfaces_are_those_of_the_contract(name: str) -> None:
    """`python -m scripts.registry` writes the files."""
    interface = INTERFACES[name]
    assert (REGISTRY / "interfaces" / f"{name}.yaml").read_text() == registry.page(interface)
    assert files("interfaces")[name]["methods"] == [method.name for method in interface.methods]
    stub = importlib.import_module(interface.stubs)
    assert list(interfaces_of(stub.DESCRIPTOR, interface.doc)) == [interface], "the build is older than the contract"


@pytest.mark.parametrize("name", files("backends"))
def test_backends_declare_what_their_drivers_declare(name: str) -> None:
    """The example is a configuration that can be used."""
    found, problems = files("backends")[name], Problems()
    assert found.keys() == {"backend", "description", "plugin", "state", "durability", "example", "implements"}
    example = parse((REGISTRY / "backends" / f"{name}.yaml").read_text(), name, problems).entries["example"]
    assert isinstance(example, Table)
    config = Binder(problems, {}).group(standard.config_class(name), example, "example")
    assert problems.found == []
    declared = standard.declaration(name, config)
    assert (found["backend"], found["plugin"]) == (name, standard.BACKENDS[name].factory)
    assert declared.name == name
    assert (found["state"], set(found["implements"])) == (declared.state, declared.interfaces)
    assert declared.durability in found["durability"]
    assert standard.make_driver(name, config).declaration == declared


@pytest.mark.parametrize("name", files("patterns"))
def test_patterns_declare_the_slots_of_the_code(name: str) -> None:
    found, declared = files("patterns")[name], standard.pattern(name)
    assert found.keys() == {"pattern", "version", "description", "executor", "api", "slots"}
    assert (found["pattern"], found["version"], found["description"]) == (name, declared.version, declared.doc)
    assert callable(load(found["executor"]))
    assert found["api"] == "*" if declared.interfaces is None else (
        set(found["api"]) == declared.interfaces <= INTERFACES.keys())
    assert found["executor"] == declared.factory
    assert list(found["slots"]) == [slot.name for slot in declared.slots]
    for slot in declared.slots:
        about = found["slots"][slot.name]
        assert (about["description"], about["optional"]) == (slot.doc, slot.optional_slot)
        assert (set(about["required_interfaces"]), set(about["optional_interfaces"])) == (slot.required, slot.optional)
        assert slot.required | slot.optional <= INTERFACES.keys()
        for backend in about["recommended_backends"]:
            assert slot.required <= set(files("backends")[backend]["implements"])
