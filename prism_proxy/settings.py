"""How a setting is declared: once, on the field of a frozen dataclass, with its documentation and its bounds.

The configuration file, its JSON Schema, `config explain` and the reference page are all derived from these fields. This
module reads no files and knows no setting.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Callable
from typing import Any

_KEY = "prism.setting"


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """`doc` is one sentence for the reference page; bounds are inclusive; a `secret` is never shown or logged."""

    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    secret: bool = False


def setting(
    doc: str, default: Any = dataclasses.MISSING, *, factory: Callable[[], Any] | None = None,
    minimum: float | None = None, maximum: float | None = None, choices: tuple[str, ...] = (), unit: str = "",
    secret: bool = False,
) -> Any:
    """A dataclass field that is a setting; without default or factory it must be given."""
    metadata = {_KEY: Setting(doc, minimum, maximum, choices, unit, secret)}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata)
    return dataclasses.field(default=default, metadata=metadata)


def setting_of(field: dataclasses.Field[Any]) -> Setting | None:
    """What was declared for a field; None when it is no setting."""
    found = field.metadata.get(_KEY)
    return found if isinstance(found, Setting) else None


def check(instance: Any) -> None:
    """Hold an instance's values against their declared bounds; call it from `__post_init__`.

    ValueError names the first setting out of bounds, and what is allowed.
    """
    for field in dataclasses.fields(instance):
        found = setting_of(field)
        if found is not None:
            problem = violation(found, getattr(instance, field.name))
            if problem:
                raise ValueError(f"{field.name} {problem}")


def violation(declared: Setting, value: Any) -> str | None:
    """What is wrong with a value of the right type, as words that follow the setting's name; None when it may stand."""
    if declared.choices and value is not None and value not in declared.choices:
        return f"is {value!r}: it must be one of {', '.join(declared.choices)}"
    if isinstance(value, (int, float)) and not isinstance(value, bool):
        unit = f" {declared.unit}" if declared.unit else ""
        if declared.minimum is not None and value < declared.minimum:
            return f"is {value}: it must be at least {declared.minimum}{unit}"
        if declared.maximum is not None and value > declared.maximum:
            return f"is {value}: it must be at most {declared.maximum}{unit}"
    return None
