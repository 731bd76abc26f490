"""How a setting is declared: once, on the field of a frozen dataclass, with its documentation and its bounds.

The configuration file, its JSON Schema, `config explain` and the reference page are all derived from these fields. This
module reads no files and knows no setting.
"""

from __future__ import annotations

import dataclasses
import re
from collections.abc import Callable
from typing import Any

MASK = "********"
_KEY = "prism.setting"
_PASSWORD = re.compile(r"(\w://[^/@:\s]*:)\S*@")  # to the last @: it may hold any character where it is malformed


@dataclasses.dataclass(frozen=True, slots=True)
class Setting:
    """`doc` is one sentence for the reference page; bounds are inclusive; a `secret` is never shown or logged.

    A `live` setting of the process takes effect when the file is read again; the others need a restart.
    """

    doc: str
    minimum: float | None = None
    maximum: float | None = None
    choices: tuple[str, ...] = ()
    unit: str = ""
    secret: bool = False
    live: bool = False


def setting(
    doc: str, default: Any = dataclasses.MISSING, *, factory: Callable[[], Any] | None = None,
    minimum: float | None = None, maximum: float | None = None, choices: tuple[str, ...] = (), unit: str = "",
    secret: bool = False, live: bool = False,
) -> Any:
    """A dataclass field that is a setting; without default or factory it must be given."""
    metadata = {_KEY: Setting(doc, minimum, maximum, choices, unit, secret, live)}
    if factory is not None:
        return dataclasses.field(default_factory=factory, metadata=metadata, repr=not secret)
    return dataclasses.field(default=default, metadata=metadata, repr=not secret)


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
    shown = shown_value(declared, value)
    if declared.choices and value is not None and value not in declared.choices:
        return f"is {shown!r}: it must be one of {', '.join(declared.choices)}"
    if not isinstance(value, (int, float)) or isinstance(value, bool):
        return None
    least, most = declared.minimum, declared.maximum
    if (least is None or value >= least) and (most is None or value <= most):
        return None
    unit = f" {declared.unit}" if declared.unit else ""
    if least is not None and most is not None:
        return f"is {shown}: allowed are {least} to {most}{unit}"
    return f"is {shown}: it must be at {f'least {least}' if most is None else f'most {most}'}{unit}"


def shown_value(declared: Setting, value: Any) -> Any:
    """The value as it may be shown to people: secrets and passwords within URLs are masked."""
    if value is None or (isinstance(value, (bool, int, float)) and not declared.secret):
        return value
    if declared.secret:
        return MASK if value not in ("", ()) else value
    if isinstance(value, (tuple, frozenset)):
        return [shown_value(declared, item) for item in value]
    return _PASSWORD.sub(rf"\1{MASK}@", str(value))
