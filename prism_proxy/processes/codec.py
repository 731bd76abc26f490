"""Values of dataclasses as JSON and back, exactly: what comes out equals what went in.

For the control channel between a supervisor and its workers, which are the same program: every value names its class,
so that a configuration class of any backend travels without being known here. Not for bytes from anyone else.
"""

from __future__ import annotations

import base64
import dataclasses
import json
from collections.abc import Mapping
from enum import Enum
from importlib import import_module
from pathlib import Path
from typing import Any

_PLAIN = (bool, int, float, str, type(None))


def dumps(value: Any) -> bytes:
    """TypeError for what is neither plain data nor a dataclass of plain data."""
    return json.dumps(_encode(value), separators=(",", ":")).encode()


def loads(data: bytes) -> Any:
    """ValueError for what `dumps` did not make; what a class refuses is raised as it is."""
    return _decode(json.loads(data))


def _encode(value: Any) -> Any:
    if type(value) in _PLAIN:
        return value
    if isinstance(value, list):
        return [_encode(item) for item in value]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        fields = {item.name: _encode(getattr(value, item.name)) for item in dataclasses.fields(value) if item.init}
        return {"class": _name(type(value)), "fields": fields}
    if isinstance(value, Enum):
        return {"enum": _name(type(value)), "name": value.name}
    if isinstance(value, Mapping):
        return {"map": [[_encode(key), _encode(item)] for key, item in value.items()]}
    if isinstance(value, tuple):
        return {"tuple": [_encode(item) for item in value]}
    if isinstance(value, frozenset):
        return {"set": [_encode(item) for item in value]}
    if isinstance(value, Path):
        return {"path": str(value)}
    if isinstance(value, bytes):
        return {"bytes": base64.b64encode(value).decode()}
    raise TypeError(f"a {type(value).__name__} cannot be sent to a worker")


def _decode(value: Any) -> Any:
    if isinstance(value, list):
        return [_decode(item) for item in value]
    if not isinstance(value, dict):
        return value
    kind, content = next(iter(value.items()))
    if kind == "class":
        found = _find(content)
        if not isinstance(found, type) or not dataclasses.is_dataclass(found):
            raise ValueError(f"{content} is no dataclass")
        return found(**{name: _decode(item) for name, item in value["fields"].items()})
    if kind == "enum":
        return _find(content)[value["name"]]
    return _FORMS[kind](content)


_FORMS: Mapping[str, Any] = {
    "map": lambda pairs: {_decode(key): _decode(item) for key, item in pairs},
    "tuple": lambda items: tuple(_decode(item) for item in items),
    "set": lambda items: frozenset(_decode(item) for item in items),
    "path": Path,
    "bytes": base64.b64decode,
}


def _name(kind: type) -> str:
    return f"{kind.__module__}:{kind.__qualname__}"


def _find(name: str) -> Any:
    module, _, path = name.partition(":")
    found: Any = import_module(module)
    for part in path.split("."):
        found = getattr(found, part)
    return found
