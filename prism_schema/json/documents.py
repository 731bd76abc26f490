"""Finds what a `$ref` means: in the schema itself, or in one of its references. Never anywhere else."""

from __future__ import annotations

from typing import Any
from urllib.parse import unquote, urljoin

from prism_schema import json_text
from prism_schema.model import Resolved

ROOT = "https://schema.invalid/root"  # a name that stands for nothing, of a kind that relative names can be joined to


class Documents:
    """The schema and its references, by the address that their texts or names give them."""

    def __init__(self, root: Any, references: tuple[Resolved, ...]) -> None:
        self._by_address: dict[str, Any] = {}
        self.resources: list[tuple[str, Any]] = []
        base = root.get("$id") if isinstance(root, dict) else None
        self.root = _absolute(base if isinstance(base, str) else ROOT)
        self._by_address[self.root] = root
        for reference in references:
            value = json_text.load(reference.text, f"reference {reference.name!r}")
            named = value.get("$id") if isinstance(value, dict) else None
            for address in {urljoin(self.root, reference.name), _absolute(reference.name),
                            *([_absolute(named)] if isinstance(named, str) else [])}:
                if address not in self._by_address:
                    self._by_address[address] = value
                    self.resources.append((address, value))
        self._anchors = {(address, anchor): found for address, value in self._by_address.items()
                         for anchor, found in _anchors(value)}

    def find(self, reference: str, base: str) -> tuple[Any, str] | None:
        """(schema, its document's address) of a reference made in document `base`; None when it leads nowhere."""
        address, _, fragment = urljoin(base, reference).partition("#")
        value = self._by_address.get(address)
        if value is None:
            return None
        if fragment and not fragment.startswith("/"):
            found = self._anchors.get((address, fragment))
            return None if found is None else (found, address)
        for step in fragment.split("/")[1:]:
            key = unquote(step).replace("~1", "/").replace("~0", "~")
            if isinstance(value, dict) and key in value:
                value = value[key]
            elif isinstance(value, list) and key.isdigit() and int(key) < len(value):
                value = value[int(key)]
            else:
                return None
        return value, address


def _absolute(address: str) -> str:
    return urljoin(ROOT, address).partition("#")[0]


def _anchors(value: Any) -> list[tuple[str, Any]]:
    found: list[tuple[str, Any]] = []
    waiting = [value]
    while waiting:
        one = waiting.pop()
        if isinstance(one, dict):
            if isinstance(one.get("$anchor"), str):
                found.append((one["$anchor"], one))
            identifier = one.get("$id")
            if isinstance(identifier, str) and identifier.startswith("#"):  # draft 7
                found.append((identifier[1:], one))
            waiting += one.values()
        elif isinstance(one, list):
            waiting += one
    return found
