"""How commands show answers: a table for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any


class Form(StrEnum):
    """`auto` is a table on a terminal and JSON elsewhere."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def is_table(form: Form) -> bool:
    return form is Form.TABLE or (form is Form.AUTO and sys.stdout.isatty())


def print_answer(form: Form, data: Any, columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """`data` for programs, as one document, or `rows` under `columns` for people."""
    if is_table(form):
        print_table(columns, rows)
    elif form is Form.YAML:
        print_yaml(data, sort=True)
    else:
        sys.stdout.write(json.dumps(data, indent=2, sort_keys=True) + "\n")


def print_yaml(data: Any, *, sort: bool = False) -> None:
    import yaml

    sys.stdout.write(yaml.safe_dump(data, sort_keys=sort, allow_unicode=True))


def print_table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Every cell whole, on one line, however narrow the terminal is: it is copied, and searched."""
    cells = [tuple(columns), *(tuple(" ".join(str(cell).split()) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        sys.stdout.write("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip() + "\n")
