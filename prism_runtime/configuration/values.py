"""One value from its text: strictly typed in a file, by what is wanted in flags and variables.

Plain text of a file is read by YAML 1.2's core rules, which an editor with the schema also follows: `off` and `yes` are
text, `1e3` is a number, and what should be text but looks like a number must stand in quotes.
"""

from __future__ import annotations

import math
import re
from collections.abc import Mapping
from typing import TYPE_CHECKING, Any

from prism_runtime.configuration import units
from prism_runtime.configuration.shapes import Kind, Leaf
from prism_runtime.configuration.tree import Scalar

if TYPE_CHECKING:
    from fractions import Fraction

_WHOLE = re.compile(r"[-+]?[0-9]+|0o[0-7]+|0x[0-9a-fA-F]+")
_NUMBER = re.compile(r"[-+]?(\.[0-9]+|[0-9]+(\.[0-9]*)?)([eE][-+]?[0-9]+)?|[-+]?\.(inf|Inf|INF)|\.(nan|NaN|NAN)")
_TRUE, _FALSE = ("true", "True", "TRUE"), ("false", "False", "FALSE")
_NULL = ("", "~", "null", "Null", "NULL")
_OFF = ("off", "0")  # what turns off an address that is optional
MAX_DIGITS = 60
_REFERENCE = re.compile(r"\$\$\{|\$\{([^}]*)\}?")
_VARIABLE = re.compile(r"ENV:([A-Za-z_][A-Za-z0-9_]*)")


class UnfitError(ValueError):
    """The text is no value of the wanted kind; the message follows the setting's name."""


def resolved(scalar: Scalar, environment: Mapping[str, str]) -> Scalar:
    """With every `${ENV:NAME}` replaced; `$${` stands for `${`. UnfitError for a variable that is not set."""
    if "${" not in scalar.text:
        return scalar

    def value(found: re.Match[str]) -> str:
        if found[1] is None:
            return "${"
        name = _VARIABLE.fullmatch(found[1])
        if name is None or not found[0].endswith("}"):
            raise UnfitError(f"has {found[0]!r}: write ${{ENV:NAME}} for a variable of the environment, $${{ for ${{")
        if name[1] not in environment:
            raise UnfitError(f"refers to the environment variable {name[1]}, which is not set")
        return environment[name[1]]

    text = _REFERENCE.sub(value, scalar.text)
    refers = any(found[1] is not None for found in _REFERENCE.finditer(scalar.text))
    return Scalar(text, scalar.origin, plain=False, loose=refers, written=scalar.text if refers else None)


def read(scalar: Scalar, leaf: Leaf, *, optional: bool, unit: str = "") -> Any:
    """The value; numbers of a `unit` that has suffixes may have one. UnfitError when the text is not of the leaf's
    kind."""
    text = scalar.text
    if scalar.plain and text in _NULL:
        if optional:
            return None
        raise UnfitError(f"is empty: write {leaf.kind.value}, or remove the key for the default")
    if leaf.kind is Kind.PARSED:
        return _parsed(scalar, leaf, optional=optional)
    if leaf.kind in (Kind.TEXT, Kind.PATH):
        if scalar.plain and (looks := _looks(text)) is not Kind.TEXT:
            raise UnfitError(f"is {text}, which YAML takes for {looks.value}: write it in quotes")
        return leaf.type(text)
    if leaf.kind in (Kind.WHOLE, Kind.NUMBER) and (suffixed := units.with_suffix(text, unit)) is not None:
        return _of_unit(text, suffixed, leaf.kind)
    if not scalar.plain and not scalar.loose:
        raise UnfitError(f"is the text {text!r}: write {leaf.kind.value}, without quotes")
    if leaf.kind is Kind.BOOLEAN:
        return _boolean(scalar)
    try:
        return _number(text, leaf.kind)
    except UnfitError as error:
        if hint := units.examples(unit):
            raise UnfitError(f"{error}: write {leaf.kind.value}, or such as {hint}") from None
        raise


def _of_unit(text: str, value: Fraction, kind: Kind) -> int | float:
    if kind is Kind.NUMBER:
        return float(value)
    if value.denominator != 1:
        raise UnfitError(f"is {text!r}, which is no whole number")
    return int(value)


def _looks(text: str) -> Kind:
    if text in _TRUE or text in _FALSE:
        return Kind.BOOLEAN
    if _WHOLE.fullmatch(text):
        return Kind.WHOLE
    return Kind.NUMBER if _NUMBER.fullmatch(text) else Kind.TEXT


def _boolean(scalar: Scalar) -> bool:
    text = scalar.text
    if text in _TRUE or (scalar.loose and text.lower() in ("1", "true", "yes")):
        return True
    if text in _FALSE or (scalar.loose and text.lower() in ("0", "false", "no")):
        return False
    raise UnfitError(f"is {text!r}: write true or false")


def _number(text: str, kind: Kind) -> int | float:
    if _WHOLE.fullmatch(text) and len(text) <= MAX_DIGITS:
        whole = int(text, 8 if text.startswith("0o") else 16 if text.startswith("0x") else 10)
        return whole if kind is Kind.WHOLE else float(whole)
    if kind is Kind.WHOLE or not _NUMBER.fullmatch(text):
        raise UnfitError(f"is {text!r}, not {kind.value}")
    value = math.inf if text[-1] in "fFnN" else float(text)
    if not math.isfinite(value):
        raise UnfitError(f"is {text}: it must be finite")
    return value


def _parsed(scalar: Scalar, leaf: Leaf, *, optional: bool) -> Any:
    if optional and scalar.text in _OFF:
        return None
    try:
        return leaf.type.parse(scalar.text)
    except ValueError as error:
        raise UnfitError(f"cannot be used: {error}") from None
