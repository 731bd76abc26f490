"""Reads the `namespaces:` section: patterns, their slots, the drivers that fill them, and their typed options.

It opens nothing: what drivers and patterns need of each other is known from their declarations.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Sequence
from typing import Any, TypeVar

from prism_proxy import standard
from prism_proxy.contracts.driver import Declaration
from prism_proxy.contracts.pattern import PatternDeclaration, SlotDeclaration
from prism_proxy.contracts.steps import StepDeclaration
from prism_proxy.interfaces.catalogue import interface
from prism_proxy.namespaces.areas import overlaps, reason
from prism_proxy.namespaces.limits import LoadLimits
from prism_proxy.namespaces.model import DEFAULT_PATTERN, NAME_RULE, NamespaceConfig, SlotConfig, usable_name
from prism_proxy.secrets.options import AuthOptions
from prism_proxy.slots.options import SlotOptions
from prism_runtime.configuration.binder import DEFAULT_ORIGIN, Binder, Bound
from prism_runtime.configuration.problems import Problems
from prism_runtime.configuration.tree import Node, Origin, Scalar, Source, Table

# driver, its settings, resilience where the slot has its own, and where its credentials come from
_Filled = tuple[str, Any, SlotOptions | None, AuthOptions | None]

GroupT = TypeVar("GroupT")
SECTION = "namespaces"
RESILIENCE, LIMITS, AUTH = "resilience", "limits", "auth"
SCHEMA, MESSAGE_SCHEMA = "schema", "message_schema"  # the group of a namespace, and its older form at a slot
_COMMON: Mapping[str, type[Any]] = {RESILIENCE: SlotOptions, LIMITS: LoadLimits}


def option_groups(pattern: str | None = None, *, third_party: bool = True) -> dict[str, type[Any]]:
    """The keys of a namespace that are settings classes, by name: of data models, of the pattern, and of every
    namespace. Without a pattern those of all of them."""
    declared = [standard.pattern(name) for name in ([pattern] if pattern is not None else standard.patterns())]
    offered = frozenset[str]().union(*(found.interfaces or () for found in declared))
    models = {found.model for name in offered if (found := interface(name)) is not None}
    everything = any(found.interfaces is None for found in declared)
    names = standard.models() if third_party else list(standard.MODELS)
    groups: dict[str, type[Any]] = {}
    for name in names:
        if everything or name in models:
            groups |= {name: standard.model(name).options, **standard.model(name).groups}
    groups.update({found.name: found.options for found in declared if found.options is not None})
    groups.update({found.name: found.options for found in standard.steps(None if third_party else standard.STEPS)})
    return {**groups, **_COMMON}


class NamespacesReader:
    """Reads all namespaces of one file; `problems` has what is wrong with any of them."""

    def __init__(self, problems: Problems, environment: Mapping[str, str], look: bool = False) -> None:
        self._problems = problems
        self._look = look  # at the files that settings name
        self._binder = Binder(problems, environment)
        self._owners: dict[str, tuple[str, str]] = {}  # what only one driver can have -> namespace and slot that has it
        self._groups: dict[str | None, dict[str, type[Any]]] = {}  # by pattern
        self._at_slots: dict[str, Any] = {}  # what slots of the namespace at hand say of its schema

    @property
    def bound(self) -> list[Bound]:
        return self._binder.bound

    def read(self, section: Table) -> tuple[NamespaceConfig, ...]:
        """Those without mistakes, in the order of the file."""
        found = []
        for name, node in section.entries.items():
            key = f"{SECTION}.{name}"
            if not usable_name(name):
                self._problems.add(section.keys[name], key, f"is no name: it must be {NAME_RULE}")
                continue
            table = self._binder.table(node, key)
            config = self._namespace(name, table, key) if table is not None else None
            if config is not None:
                found.append(config)
        self._refuse_overlaps(found, section)
        return tuple(found)

    def _refuse_overlaps(self, configs: Sequence[NamespaceConfig], section: Table) -> None:
        origins = {bound.key: bound.origin for bound in self._binder.bound}
        for first, second in overlaps(configs):
            key = f"{SECTION}.{second.namespace}.backends.{second.slot}.config"
            origin = origins.get(f"{key}.prefix", DEFAULT_ORIGIN)
            written = origin.source is not Source.DEFAULT
            self._problems.add(origin if written else section.keys[second.namespace],
                               f"{key}.prefix" if written else key, reason(first, second))

    def _namespace(self, name: str, node: Table, key: str) -> NamespaceConfig | None:
        before = len(self._problems.found)
        pattern = self._pattern(node.entries.get("pattern"), f"{key}.pattern")
        groups = self._groups_of(pattern, node)
        self._binder.refuse_unknown(node, key, ["pattern", "backends", *groups])
        self._at_slots = {}
        steps = standard.steps((node.entries.keys() & groups.keys()) | _declared_at_slots(node))
        slots = self._slots(name, node, key, pattern, steps) if pattern is not None else {}
        options: dict[str, Any] = {}
        for group, cls in groups.items():
            empty = Table({}, {}, node.origin)
            table = self._binder.table(node.entries.get(group, empty), f"{key}.{group}")
            options[group] = self._binder.group(cls, table, f"{key}.{group}") if table is not None else None
        written = set(node.entries) & groups.keys()
        if self._at_slots and len(self._problems.found) == before:
            self._merge(options, node, key)
            written.add(SCHEMA)
        enabled = [step for step in steps if getattr(options[step.name], "enabled", False)]
        self._check_steps(enabled, slots, node, key)
        if len(self._problems.found) == before:  # what is missing is reported already
            for step, why in standard.unfit(enabled, options):
                self._problems.add(node.keys.get(step.name, node.origin), f"{key}.{step.name}", why)
        if len(self._problems.found) > before or pattern is None:
            return None
        resilience, limits = options.pop(RESILIENCE), options.pop(LIMITS)
        filled = {slot: SlotConfig(driver, config, own or resilience, auth)
                  for slot, (driver, config, own, auth) in slots.items()}
        return NamespaceConfig(name, pattern.name, filled,
                               {group: found for group, found in options.items() if group in written}, limits)

    def _merge(self, options: dict[str, Any], node: Table, key: str) -> None:
        """What slots say of the schema of messages. The group `schema` wins; of its settings `validation` alone."""
        forms = {found.as_schema(): slot for slot, found in self._at_slots.items()}
        if len(forms) > 1:
            self._problems.add(node.origin, f"{key}.backends",
                               f"has several schemas, at {' and '.join(sorted(forms.values()))}: a namespace has one")
            return
        [form] = forms
        group = node.entries.get(SCHEMA)
        if group is None:
            options[SCHEMA] = form if form is not None else options[SCHEMA]
        elif form is not None and isinstance(group, Table) and "validation" not in group.entries:
            options[SCHEMA] = dataclasses.replace(options[SCHEMA], validation=form.validation)

    def _check_steps(
        self, enabled: Sequence[StepDeclaration], slots: Mapping[str, _Filled], node: Table, key: str
    ) -> None:
        """The steps go together, and their slots are filled."""
        for first, second, why in standard.conflicts(enabled):
            self._problems.add(node.keys[second.name], f"{key}.{second.name}",
                               f"cannot be used with {first.name}: {why}")
        for step in enabled:
            for slot in step.slots:
                if slot.name not in slots and not slot.optional_slot:
                    self._problems.add(node.keys[step.name], f"{key}.backends.{slot.name}",
                                       f"is missing: step {step.name} needs it. {slot.doc}")

    def _groups_of(self, pattern: PatternDeclaration | None, node: Table) -> dict[str, type[Any]]:
        """Third parties are asked only where something is written that is not ours."""
        key = pattern.name if pattern is not None else None
        if key not in self._groups:
            self._groups[key] = option_groups(key, third_party=False)
        found = self._groups[key]
        if node.entries.keys() <= {"pattern", "backends", *found}:
            return found
        return option_groups(key)

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
        if name.text not in standard.PATTERNS and name.text not in standard.patterns():
            self._problems.unknown(node.origin, key, name.text, standard.patterns(), "pattern")
            return None
        self._binder.bound.append(Bound(key, name.text, node.origin))
        return standard.pattern(name.text)

    def _slots(
        self, namespace: str, node: Table, key: str, pattern: PatternDeclaration, steps: Sequence[StepDeclaration]
    ) -> dict[str, _Filled]:
        key = f"{key}.backends"
        table = self._binder.table(node.entries.get("backends", Table({}, {}, node.origin)), key)
        if table is None:
            return {}
        of_steps = [slot for step in steps for slot in step.slots if pattern.slot(slot.name) is None]
        names = [slot.name for slot in (*pattern.slots, *of_steps)]
        for name in table.entries.keys() - set(names):
            self._problems.unknown(table.keys[name], f"{key}.{name}", name, names, f"slot of pattern {pattern.name}")
        filled = {}
        for slot in (*pattern.slots, *of_steps):
            entry = table.entries.get(slot.name)
            if entry is None:
                if not slot.optional_slot and slot in pattern.slots:
                    self._problems.add(table.origin, f"{key}.{slot.name}",
                                       f"is missing: slot {slot.name} of pattern {pattern.name} must be filled with a "
                                       f"driver, one of {', '.join(standard.backends())}")
            elif (found := self._driver(namespace, slot, entry, f"{key}.{slot.name}")) is not None:
                filled[slot.name] = found
        return filled

    def _driver(self, namespace: str, slot: SlotDeclaration, node: Node, key: str) -> _Filled | None:
        table = self._binder.table(node, key)
        if table is None:
            return None
        self._binder.refuse_unknown(table, key, ("driver", "config", RESILIENCE, AUTH, MESSAGE_SCHEMA))
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
        if MESSAGE_SCHEMA in table.entries:
            form = self._optional(_slot_form(), table, MESSAGE_SCHEMA, key)
            if form is not None:
                self._at_slots[slot.name] = form
        resilience = self._optional(SlotOptions, table, RESILIENCE, key)
        auth = self._optional(AuthOptions, table, AUTH, key)
        if auth is not None and not hasattr(config, "with_credentials"):
            self._problems.add(table.entries[AUTH].origin, f"{key}.{AUTH}",
                               f"cannot be used: driver {driver.text} takes no credentials")
        return driver.text, config, resilience, auth

    def _optional(self, cls: type[GroupT], table: Table, name: str, key: str) -> GroupT | None:
        """A group of settings that need not be there."""
        if name not in table.entries:
            return None
        group = self._binder.table(table.entries[name], f"{key}.{name}")
        return self._binder.group(cls, group, f"{key}.{name}") if group is not None else None

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
        lacks = slot.lacks(declared.interfaces)
        if lacks is not None:
            self._problems.add(
                driver.origin, f"{key}.driver",
                f"is {driver.text}, which does not implement {lacks}: slot {slot.name} of namespace {namespace!r} "
                f"needs {'them' if ', ' in lacks else 'it'}")
        if declared.exclusive:
            owner = self._owners.setdefault(declared.exclusive, (namespace, slot.name))
            if owner != (namespace, slot.name):
                other = f"namespace {owner[0]!r}" if owner[0] != namespace else f"slot {owner[1]}"
                self._problems.add(driver.origin, f"{key}.config",
                                   f"shares {declared.exclusive} with {other}: each needs its own")
        if self._look:
            self._look_at(config, f"{key}.config", driver.origin)

    def _look_at(self, config: Any, key: str, place: Origin) -> None:
        trouble = getattr(config, "trouble", None)
        found = trouble() if trouble is not None else None
        if found is not None:
            setting, reason = found
            origins = {bound.key: bound.origin for bound in self._binder.bound}
            self._problems.add(origins.get(f"{key}.{setting}", place), f"{key}.{setting}", reason)


def _declared_at_slots(node: Table) -> set[str]:
    """The step of schemas, where a slot names one."""
    backends = node.entries.get("backends")
    slots = backends.entries.values() if isinstance(backends, Table) else ()
    return {SCHEMA} if any(isinstance(slot, Table) and MESSAGE_SCHEMA in slot.entries for slot in slots) else set()


def _slot_form() -> type[Any]:
    """Loaded where it is used: few namespaces have it."""
    from prism_proxy.steps.validate.slot_form import MessageSchemaOptions

    return MessageSchemaOptions
