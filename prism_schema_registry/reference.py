"""The table of settings in the reference page: `python -m prism_schema_registry.reference` prints it."""

from __future__ import annotations

import dataclasses
import sys
from collections.abc import Iterator

from prism_runtime.settings import setting_of
from prism_schema_registry.options import RegistryOptions


def table() -> Iterator[str]:
    """Its lines, in Markdown."""
    yield "| Flag | Default | Meaning |"
    yield "|---|---|---|"
    for field in dataclasses.fields(RegistryOptions):
        declared = setting_of(field)
        assert declared is not None
        default = "" if field.default in (None, "") else f"`{_shown(field.default)}`"
        unit = f" ({declared.unit})" if declared.unit else ""
        choices = f" One of {', '.join(declared.choices)}." if declared.choices else ""
        yield f"| `--{field.name.replace('_', '-')}` | {default} | {declared.doc}{choices}{unit} |"


def _shown(default: object) -> str:
    return str(default).lower() if isinstance(default, bool) else str(default)


if __name__ == "__main__":
    sys.stdout.write("\n".join(table()) + "\n")
