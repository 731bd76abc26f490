"""Reads JSON text that strangers wrote."""

from __future__ import annotations

import json
from typing import Any

from prism_schema.limits import MAX_DEPTH
from prism_schema.model import SchemaError


def load(text: str, path: str | None = None) -> Any:
    """The value of `text`. SchemaError with the line where it is not JSON, has a key twice, or nests too deep."""
    try:
        value = json.loads(text, object_pairs_hook=_unique, parse_constant=_no_constant)
        if "\\ud" in text or "\\uD" in text:  # an escape may be half of a pair, which no UTF-8 holds
            json.dumps(value, ensure_ascii=False).encode()
        return value
    except UnicodeEncodeError:
        raise SchemaError("a string holds half of a surrogate pair", path=path) from None
    except json.JSONDecodeError as error:
        raise SchemaError(f"this is not JSON: {error.msg}", error.lineno, path) from None
    except RecursionError:
        raise SchemaError(f"types nest deeper than {MAX_DEPTH}", path=path) from None
    except _RepeatedKeyError as error:
        raise SchemaError(f"the key {str(error)!r} stands twice in one object", path=path) from None
    except SchemaError:
        raise
    except ValueError as error:  # a number of thousands of digits
        raise SchemaError(f"this is not JSON: {error}", path=path) from None


def dump(value: Any, *, sort: bool = False) -> str:
    """The shortest text of a value."""
    return json.dumps(value, separators=(",", ":"), sort_keys=sort, ensure_ascii=False)


class _RepeatedKeyError(ValueError):
    pass


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    made = dict(pairs)
    if len(made) != len(pairs):
        seen: set[str] = set()
        for key, _ in pairs:
            if key in seen:
                raise _RepeatedKeyError(key)
            seen.add(key)
    return made


def _no_constant(name: str) -> Any:
    raise SchemaError(f"{name} is not JSON")
