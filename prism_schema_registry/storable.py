"""What every database of the registry can keep, and every reader of its JSON can read.

PostgreSQL takes no NUL and no half of a surrogate pair; neither it nor JSON has numbers that are not finite.
"""

from __future__ import annotations

import math
from typing import Any


def storable(value: Any) -> bool:
    """Whether all within it is: of decoded JSON, of any depth."""
    waiting = [value]
    while waiting:
        item = waiting.pop()
        if isinstance(item, str):
            if "\0" in item or not _encodes(item):
                return False
        elif isinstance(item, float):
            if not math.isfinite(item):
                return False
        elif isinstance(item, dict):
            waiting += [*item, *item.values()]
        elif isinstance(item, list):
            waiting += item
    return True


def _encodes(text: str) -> bool:
    try:
        text.encode()
    except UnicodeEncodeError:
        return False
    return True
