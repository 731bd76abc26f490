"""How answers are shown: a table for people, JSON or YAML for programs."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from typing import Any

from google.protobuf.json_format import MessageToDict
from google.protobuf.message import Message

from prism_runtime.command_output import Form, is_table, print_answer, print_yaml


def show(
    form: Form, answer: Message | Sequence[Message], columns: Sequence[str], rows: Iterable[Sequence[Any]]
) -> None:
    """Print `answer` for programs, as one document, or `rows` under `columns` for people."""
    data = None if is_table(form) else _plain(answer) if isinstance(answer, Message) else [
        _plain(each) for each in answer]
    print_answer(form, data, columns, rows)


def document(data: object) -> None:
    """Print YAML."""
    print_yaml(data)


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
