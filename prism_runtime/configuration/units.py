"""Durations and sizes as people write them: 30s, 5m, 90d, 64KiB, 1MiB. A bare number has the setting's unit.

Which settings take them follows from their declared unit; no setting needs a type of its own.
"""

from __future__ import annotations

import re
from fractions import Fraction

_DURATIONS = {"ms": Fraction(1, 1000), "s": Fraction(1), "m": Fraction(60), "h": Fraction(3600), "d": Fraction(86400)}
_SIZES = {"B": Fraction(1), "KiB": Fraction(1024), "MiB": Fraction(1024**2), "GiB": Fraction(1024**3),
          "kB": Fraction(1000), "MB": Fraction(1000**2), "GB": Fraction(1000**3)}
_FACTORS = {"s": _DURATIONS, "seconds": _DURATIONS, "bytes": _SIZES}
_EXAMPLES = {"s": "30s, 5m, 90d", "seconds": "30s, 5m, 90d", "bytes": "64KiB, 1MiB"}
_FORM = re.compile(r"([0-9]{1,18}(?:\.[0-9]{1,9})?)([A-Za-z]{1,3})")


def with_suffix(text: str, unit: str) -> Fraction | None:
    """The number of `unit` that a text such as 5m stands for; None when it has no such form."""
    match = _FORM.fullmatch(text)
    factor = _FACTORS.get(unit, {}).get(match[2]) if match is not None else None
    return Fraction(match[1]) * factor if match is not None and factor is not None else None


def examples(unit: str) -> str:
    """Forms that a setting of this unit takes beside a number; empty for other units."""
    return _EXAMPLES.get(unit, "")


def pattern(unit: str) -> str | None:
    """The regular expression of these forms, for the JSON Schema."""
    factors = _FACTORS.get(unit)
    return None if factors is None else rf"^[0-9]+(\.[0-9]+)?({'|'.join(factors)})$"
