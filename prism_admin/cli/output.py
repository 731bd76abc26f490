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


def _plain(answer: Message) -> dict[str, Any]:
    return MessageToDict(answer, preserving_proto_field_name=True, always_print_fields_with_no_presence=True)


def _table(columns: Sequence[str], rows: Iterable[Sequence[Any]]) -> None:
    from rich.box import SIMPLE_HEAD
    from rich.console import Console
    from rich.table import Table

    table = Table(*columns, box=SIMPLE_HEAD, pad_edge=False)
    for row in rows:
        table.add_row(*(str(cell) for cell in row))
    Console().print(table)
