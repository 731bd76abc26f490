"""Takes secrets out of whatever is shown, logged or audited."""

from __future__ import annotations

import re
from typing import Any

MASK = "***"
_SECRET_KEYS = re.compile(r"pass(word|wd|phrase)?|secret|token|credential|api_?key|private_?key|authorization", re.I)
_IN_URL = re.compile(r"(?P<scheme>[a-z][a-z0-9+.-]*://[^\s/:@]*):\S+@", re.I)


def masked(value: Any, key: str = "") -> Any:
    """A copy of JSON-like data: values under secret names, all credentials, and passwords within URLs are masked."""
    if key.lower() == "credentials" and isinstance(value, dict):
        return dict.fromkeys(value, MASK)
    if isinstance(value, dict):
        return {name: masked(item, str(name)) for name, item in value.items()}
    if isinstance(value, list):
        return [masked(item, key) for item in value]
    if isinstance(value, str):
        return MASK if value and _SECRET_KEYS.search(key) else _IN_URL.sub(rf"\g<scheme>:{MASK}@", value)
    return value
