"""Durations and sizes as people write them: 30s, 5m, 90d, 64KiB, 1MiB. A bare number has the setting's unit.

Which settings take them follows from their declared unit; no setting needs a type of its own.
"""

from __future__ import annotations

import re
from typing import TYPE_CHECKING

if TYPE_CHECKING:  # loads decimal: 5 ms of a start, where no file has a suffix
    from fractions import Fraction

_DURATIONS = {"ms": (1, 1000), "s": (1, 1), "m": (60, 1), "h": (3600, 1), "d": (86400, 1)}
_SIZES = {"B": (1, 1), "KiB": (1024, 1), "MiB": (1024**2, 1), "GiB": (1024**3, 1), "kB": (1000, 1), "MB": (1000**2, 1),
          "GB": (1000**3, 1)}
_FACTORS = {"s": _DURATIONS, "seconds": _DURATIONS, "bytes": _SIZES}
_EXAMPLES = {"s": "30s, 5m, 90d", "seconds": "30s, 5m, 90d", "bytes": "64KiB, 1MiB"}
_FORM = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([A-Za-z]{1,3})")


def with_suffix(text: str, unit: str) -> Fraction | None:
    """The number of `unit` that a text such as 5m stands for; None when it has no such form."""
    match = _FORM.fullmatch(text)
    factor = _FACTORS.get(unit, {}).get(match[2]) if match is not None else None
    if match is None or factor is None:
        return None
    from fractions import Fraction

    return Fraction(match[1]) * Fraction(*factor)


def examples(unit: str) -> str:
    """Forms that a setting of this unit takes beside a number; empty for other units."""
    return _EXAMPLES.get(unit, "")


def pattern(unit: str) -> str | None:
    """The regular expression of these forms, for the JSON Schema."""
    factors = _FACTORS.get(unit)
    return None if factors is None else rf"^[0-9]+(\.[0-9]+)?({'|'.join(factors)})$"
