"""Reads the `namespaces:` section: patterns, their slots, the drivers that fill them, and their typed options.

It opens nothing: what drivers and patterns need of each other is known from their declarations.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from prism_proxy import standard
from prism_proxy.configuration.binder import DEFAULT_ORIGIN, Binder, Bound
from prism_proxy.configuration.problems import Problems
from prism_proxy.configuration.shapes import Group, fields_of
from prism_proxy.configuration.tree import Node, Origin, Scalar, Table
from prism_proxy.contracts.driver import Declaration
from prism_proxy.contracts.pattern import PatternDeclaration, SlotDeclaration
from prism_proxy.namespaces.model import NamespaceConfig

SECTION = "namespaces"
DEFAULT_PATTERN = "keyvalue"
_READ_HERE = frozenset({"name", "backend", "backend_config"})
_SLOT = "store"  # the one that NamespaceConfig holds


def option_groups() -> dict[str, type[Any]]:
    """The keys of a namespace that are settings classes, by name."""
    return {field.name: field.shape.type for field in fields_of(NamespaceConfig, skip=_READ_HERE)
            if isinstance(field.shape, Group)}


class NamespacesReader:
    """Reads all namespaces of one file; `problems` has what is wrong with any of them."""

    def __init__(self, problems: Problems, environment: Mapping[str, str], look: bool = False) -> None:
        self._problems = problems
        self._look = look  # at the files that settings name
        self._binder = Binder(problems, environment)
        self._owners: dict[str, str] = {}  # what only one driver can have -> the namespace that has it
        self._groups = option_groups()

    @property
    def bound(self) -> list[Bound]:
        return self._binder.bound

    def read(self, section: Table) -> tuple[NamespaceConfig, ...]:
        """Those without mistakes, in the order of the file."""
        found = []
        for name, node in section.entries.items():
            key = f"{SECTION}.{name}"
            if not 0 < len(name.encode()) <= 253 or not name.isprintable():
                self._problems.add(section.keys[name], key, "is no name: it must be 1 to 253 bytes of printable text")
                continue
            table = self._binder.table(node, key)
            config = self._namespace(name, table, key) if table is not None else None
            if config is not None:
                found.append(config)
        return tuple(found)

    def _namespace(self, name: str, node: Table, key: str) -> NamespaceConfig | None:
        before = len(self._problems.found)
        self._binder.refuse_unknown(node, key, ["pattern", "backends", *self._groups])
        pattern = self._pattern(node.entries.get("pattern"), f"{key}.pattern")
        backends = self._slots(name, node, key, pattern) if pattern is not None else {}
        options = {}
        for group, cls in self._groups.items():
            empty = Table({}, {}, node.origin)
            table = self._binder.table(node.entries.get(group, empty), f"{key}.{group}")
            options[group] = self._binder.group(cls, table, f"{key}.{group}") if table is not None else None
        if len(self._problems.found) > before:
            return None
        backend, config = backends[_SLOT]
        values = {"name": name, "backend": backend, "backend_config": config, **options}
        return self._binder.make(NamespaceConfig, values, node, key)

    def _pattern(self, node: Node | None, key: str) -> PatternDeclaration | None:
        if node is None:
            self._binder.bound.append(Bound(key, DEFAULT_PATTERN, DEFAULT_ORIGIN))
            return standard.pattern(DEFAULT_PATTERN)
        if not isinstance(node, Scalar):
            self._problems.add(node.origin, key, "must be the name of a pattern")
            return None
        name = self._binder.text(node, key)
        if name is None:
            return None
        if name.text not in standard.PATTERNS:
            self._problems.unknown(node.origin, key, name.text, standard.PATTERNS, "pattern")
            return None
        self._binder.bound.append(Bound(key, name.text, node.origin))
        return standard.pattern(name.text)

    def _slots(self, namespace: str, node: Table, key: str, pattern: PatternDeclaration) -> dict[str, tuple[str, Any]]:
        key = f"{key}.backends"
        table = self._binder.table(node.entries.get("backends", Table({}, {}, node.origin)), key)
        if table is None:
            return {}
        for name in table.entries.keys() - {slot.name for slot in pattern.slots}:
            self._problems.unknown(table.keys[name], f"{key}.{name}", name, [slot.name for slot in pattern.slots],
                                   f"slot of pattern {pattern.name}")
        filled = {}
        for slot in pattern.slots:
            entry = table.entries.get(slot.name)
            if entry is None:
                if not slot.optional_slot:
                    self._problems.add(table.origin, f"{key}.{slot.name}",
                                       f"is missing: slot {slot.name} of pattern {pattern.name} must be filled with a "
                                       f"driver, one of {', '.join(standard.backends())}")
            elif (found := self._driver(namespace, slot, entry, f"{key}.{slot.name}")) is not None:
                filled[slot.name] = found
        return filled

    def _driver(self, namespace: str, slot: SlotDeclaration, node: Node, key: str) -> tuple[str, Any] | None:
        table = self._binder.table(node, key)
        if table is None:
            return None
        self._binder.refuse_unknown(table, key, ("driver", "config"))
        driver = self._driver_name(table, f"{key}.driver")
        if driver is None:
            return None
        config_table = self._binder.table(table.entries.get("config", Table({}, {}, driver.origin)), f"{key}.config")
        if config_table is None:
            return None
        config = self._binder.group(standard.config_class(driver.text), config_table, f"{key}.config")
        if config is None:
            return None
        self._check(namespace, slot, driver, config, key)
        return driver.text, config

    def _driver_name(self, table: Table, key: str) -> Scalar | None:
        node = table.entries.get("driver")
        if not isinstance(node, Scalar):
            self._problems.add(node.origin if node is not None else table.origin, key,
                               f"is missing: write one of {', '.join(standard.backends())}")
            return None
        driver = self._binder.text(node, key)
        if driver is None:
            return None
        if driver.text not in standard.BACKENDS and driver.text not in standard.backends():
            self._problems.unknown(driver.origin, key, driver.text, standard.backends(), "driver")
            return None
        self._binder.bound.append(Bound(key, driver.text, driver.origin))
        return driver

    def _check(self, namespace: str, slot: SlotDeclaration, driver: Scalar, config: Any, key: str) -> None:
        """The driver has the interfaces that the slot needs, and nobody else has what it needs alone."""
        try:
            declared: Declaration = standard.declaration(driver.text, config)
        except ValueError as error:
            self._problems.add(driver.origin, f"{key}.driver", f"cannot be used: {error}")
            return
        missing = slot.required - declared.interfaces
        if missing:
            self._problems.add(
                driver.origin, f"{key}.driver",
                f"is {driver.text}, which does not implement {', '.join(sorted(missing))}: slot {slot.name} of "
                f"namespace {namespace!r} needs {'it' if len(missing) == 1 else 'them'}")
        if declared.exclusive:
            owner = self._owners.setdefault(declared.exclusive, namespace)
            if owner != namespace:
                self._problems.add(
                    driver.origin, f"{key}.config",
                    f"shares {declared.exclusive} with namespace {owner!r}: each namespace needs its own")
        if self._look:
            self._look_at(config, f"{key}.config", driver.origin)

    def _look_at(self, config: Any, key: str, place: Origin) -> None:
        trouble = getattr(config, "trouble", None)
        found = trouble() if trouble is not None else None
        if found is not None:
            setting, reason = found
            origins = {bound.key: bound.origin for bound in self._binder.bound}
            self._problems.add(origins.get(f"{key}.{setting}", place), f"{key}.{setting}", reason)
