"""Every setting's effective value and its source, for people and programs. Secrets are masked before they get here."""

from __future__ import annotations

import json
from collections.abc import Iterable, Sequence
from typing import Any

from prism_proxy import standard
from prism_proxy.configuration.loader import Configuration
from prism_proxy.namespaces.model import SlotConfig
from prism_runtime.configuration.tree import Source

FORMS = ("table", "json", "yaml")


def explain(configuration: Configuration, form: str, *, changed: bool = False) -> str:
    """The configuration as text, in one of `FORMS`; of settings those alone that are `changed`, if so asked."""
    document = _document(configuration, changed)
    if form == "json":
        return json.dumps(document, indent=2, ensure_ascii=False) + "\n"
    if form == "yaml":
        import yaml

        return str(yaml.safe_dump(document, sort_keys=False, allow_unicode=True, width=1000))
    settings = [(row["key"], _plain(row["value"]), row["source"]) for row in document["settings"]]
    namespaces = [(name, about["driver"], about["state"], about["durability"], ", ".join(about["interfaces"]))
                  for namespace, first in document["namespaces"].items()
                  for name, about in [(namespace, first), *(
                      (f"{namespace}.{slot}", found) for slot, found in first.get("slots", {}).items())]]
    return _table(("SETTING", "VALUE", "SOURCE"), settings) + "\n" + _table(
        ("NAMESPACE", "DRIVER", "STATE", "DURABILITY", "INTERFACES"), namespaces)


def _document(configuration: Configuration, changed: bool) -> dict[str, Any]:
    namespaces = {}
    for namespace in configuration.namespaces:
        (_, first), *others = namespace.slots.items()
        namespaces[namespace.name] = _slot(first)
        if others:
            namespaces[namespace.name]["slots"] = {name: _slot(slot) for name, slot in others}
    return {
        "settings": [{"key": value.key, "value": value.value, "source": str(value.origin)}
                     for value in configuration.values
                     if not changed or value.origin.source is not Source.DEFAULT],
        "namespaces": namespaces,
    }


def _slot(slot: SlotConfig) -> dict[str, Any]:
    declared = standard.declaration(slot.driver, slot.config)
    return {"driver": slot.driver, "state": declared.state, "durability": declared.durability,
            "interfaces": sorted(declared.interfaces)}


def _plain(value: Any) -> str:
    if value is None:
        return "-"
    if isinstance(value, bool):
        return "true" if value else "false"
    if isinstance(value, list):
        return ", ".join(map(str, value))
    return str(value) if str(value).isprintable() else json.dumps(value)


def _table(head: Sequence[str], rows: Iterable[Sequence[str]]) -> str:
    lines = [head, *rows]
    widths = [max(len(line[column]) for line in lines) for column in range(len(head) - 1)]
    return "".join("  ".join([*(cell.ljust(width) for cell, width in zip(line[:-1], widths, strict=True)), line[-1]])
                   .rstrip() + "\n" for line in lines)
