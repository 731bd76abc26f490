"""How answers are shown: a table for people, JSON or YAML for programs."""

from __future__ import annotations

import json
import sys
from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message


class Form(StrEnum):
    """`auto` is a table on a terminal and JSON elsewhere."""

    AUTO = "auto"
    TABLE = "table"
    JSON = "json"
    YAML = "yaml"


def is_table(form: Form) -> bool:
    return form is Form.TABLE or (form is Form.AUTO and sys.stdout.isatty())


def show(
    form: Form, answer: Message | Sequence[Message], columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Print `answer` for programs, as one document, or `rows` under `columns` for people."""
    if is_table(form):
        _table(columns, rows)
        return
    data = _plain(answer) if isinstance(answer, Message) else [_plain(each) for each in answer]
    if form is not Form.YAML:
        print(json.dumps(data, indent=2, sort_keys=True))
        return
    import yaml

    print(yaml.safe_dump(data, sort_keys=True, allow_unicode=True), end="")


def document(data: object) -> None:
    """Print YAML."""
    import yaml

    print(yaml.safe_dump(data, sort_keys=False, allow_unicode=True), end="")


def size(count: int) -> str:
    """Bytes as people read them; a dash where nothing is told."""
    amount, unit = float(count), "B"
    for larger in ("KiB", "MiB", "GiB", "TiB"):
        if amount < 1024:
            break
        amount, unit = amount / 1024, larger
    return f"{amount:.{0 if unit == 'B' or amount >= 100 else 1}f} {unit}" if count else "-"


def ranges(numbers: Iterable[int]) -> str:
    """`0-3, 7`."""
    found: list[list[int]] = []
    for number in sorted(numbers):
        if found and found[-1][1] == number - 1:
            found[-1][1] = number
        else:
            found.append([number, number])
    return ", ".join(str(first) if first == last else f"{first}-{last}" for first, last in found) or "-"


def _plain(answer: Message) -> dict[str, Any]:
    found = MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)
    _rename(found)
    return found


def _rename(value: Any) -> None:
    """What the wire calls by names that mean nothing here."""
    if isinstance(value, list):
        for item in value:
            _rename(item)
    elif isinstance(value, dict):
        if "goroutine_count" in value:
            value["tasks"] = value.pop("goroutine_count")
        for item in value.values():
            _rename(item)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    """Every cell whole, on one line, however narrow the terminal is: it is copied, and searched."""
    cells = [tuple(columns), *(tuple(" ".join(str(cell).split()) for cell in row) for row in rows)]
    widths = [max(map(len, column)) for column in zip(*cells, strict=True)]
    for row in cells:
        print("  ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)).rstrip())
